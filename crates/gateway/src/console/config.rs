//! What is configured of the console.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The pages for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConsoleConfig {
    /// Shows, and does nothing: no page has an action, and none is taken.
    pub read_only: bool,
    /// Where people and clients reach the gateway when a proxy stands before it: `https://tools.example.com`. With `https`
    /// the cookie of a sign-in goes over TLS alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// How long a sign-in lasts, in milliseconds.
    pub session_ms: u64,
    /// How long a sign-in lasts that is not used, in milliseconds.
    pub session_idle_ms: u64,
    /// The most sign-ins at once; the longest unused one ends first.
    pub max_sessions: usize,
}

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self {
            read_only: false,
            public_url: None,
            session_ms: 43_200_000,
            session_idle_ms: 3_600_000,
            max_sessions: 1_000,
        }
    }
}

impl ConsoleConfig {
    /// The scheme and authority of the public address.
    fn public(&self) -> Option<(&str, &str)> {
        self.public_url.as_deref()?.trim_end_matches('/').split_once("://")
    }

    /// Whether people come by TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.public().is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
    }

    /// Whether this is the origin of the public address.
    pub(crate) fn is_public(&self, origin: &str) -> bool {
        let Some((scheme, authority)) = self.public() else { return false };
        origin
            .split_once("://")
            .is_some_and(|(of, at)| of.eq_ignore_ascii_case(scheme) && at.eq_ignore_ascii_case(authority))
    }

    /// Whether this is the `Host` of the public address.
    pub(crate) fn is_public_host(&self, host: &str) -> bool {
        self.public().is_some_and(|(_, authority)| host.eq_ignore_ascii_case(authority))
    }

    /// Where clients reach the gateway; `host` is what this request said.
    pub(crate) fn base(&self, host: &str) -> String {
        match self.public() {
            Some((scheme, authority)) => format!("{scheme}://{authority}"),
            None => format!("http://{host}"),
        }
    }

    /// The name of the cookie of a sign-in. Browsers take one with this prefix over TLS only, for the whole host (RFC 6265bis).
    pub(crate) fn cookie(&self) -> &'static str {
        if self.is_secure() { "__Host-trunkline-session" } else { "trunkline-session" }
    }
}
