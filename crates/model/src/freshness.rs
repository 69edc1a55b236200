//! How long an answer may be kept, as its service says, and whether it is one that was kept.

use std::sync::Arc;
use std::time::Duration;

/// How long an answer may be kept, as its service says: MCP's `ttlMs` and `cacheScope`, HTTP's `Cache-Control`, `Age`,
/// `Expires`, `ETag` and `Last-Modified`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// How long it is fresh from now on; none where the service does not say.
    pub fresh_for: Option<Duration>,
    /// It must not be kept.
    pub no_store: bool,
    /// Every caller may have it.
    pub public: bool,
    /// How long after that it may be given while a new one is fetched.
    pub stale_while_revalidate: Option<Duration>,
    /// How long after that it may be given where no new one can be had.
    pub stale_if_error: Option<Duration>,
    /// By what the service knows it again.
    pub validators: Option<Arc<Validators>>,
    /// It is none: what the caller keeps is still right ([`Call::known`](crate::Call::known)).
    pub not_modified: bool,
    /// It was kept, and this is how old it is.
    pub served: Option<Served>,
}

/// By what an HTTP service knows an answer again (RFC 9110, section 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`, as it came.
    pub etag: Option<Arc<str>>,
    /// `Last-Modified`, as it came.
    pub last_modified: Option<Arc<str>>,
}

/// An answer that was not asked for anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Why it may be given.
    pub state: ServedState,
    /// How long ago the service gave it.
    pub age: Duration,
    /// How long it is fresh; nothing where it is not.
    pub fresh_for: Duration,
}

/// Why an answer that was kept may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServedState {
    /// It is fresh.
    Hit,
    /// The service says that it has not changed.
    Revalidated,
    /// An equal call was under way.
    Shared,
    /// It is not fresh, and a new one is being fetched.
    Stale,
    /// It is not fresh, and no new one can be had.
    StaleIfError,
}

impl ServedState {
    /// In one word, for the record and for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Revalidated => "revalidated",
            Self::Shared => "shared",
            Self::Stale => "stale",
            Self::StaleIfError => "stale_if_error",
        }
    }
}
