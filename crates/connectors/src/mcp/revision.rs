//! The protocol's revisions and what a server says of itself.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use trunkline_model::Json;

/// A revision of the protocol that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

impl Revision {
    /// The newest with a handshake.
    pub(super) const NEWEST_LEGACY: Self = Self::V2025_11_25;
    /// The newest of all.
    pub(super) const NEWEST: Self = Self::V2026_07_28;

    const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text)
    }

    /// Without handshake and sessions: everything is said in each request.
    pub(super) fn is_modern(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// The newest in `names` that is known here and no newer than `self`.
    pub(super) fn newest_of(self, names: &[String]) -> Option<Self> {
        names.iter().filter_map(|name| Self::parse(name)).filter(|revision| *revision <= self).max()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a server says of itself in the handshake or in the answer to `server/discover`.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) tools: bool,
    pub(super) prompts: bool,
    pub(super) resources: bool,
    pub(super) completions: bool,
    pub(super) logging: bool,
    pub(super) subscribe: bool,
    /// It tells when its tools, prompts or resources change.
    pub(super) tools_changed: bool,
    pub(super) prompts_changed: bool,
    pub(super) resources_changed: bool,
    pub(super) version: String,
    pub(super) instructions: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default)]
    supported_versions: Option<Vec<String>>,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, default)]
    server_info: Option<&'a RawValue>,
    #[serde(borrow, default)]
    instructions: Option<Cow<'a, str>>,
    #[serde(default, rename = "_meta")]
    meta: Option<serde_json::Value>,
}

/// The answer to `initialize` or `server/discover`.
pub(super) struct Greeting {
    /// The revision that `initialize` settled on.
    pub(super) chosen: Option<String>,
    /// The revisions that `server/discover` names.
    pub(super) supported: Option<Vec<String>>,
    pub(super) facts: Facts,
}

impl Greeting {
    /// Reads the answer. Capabilities of an unexpected form count as declared: some servers send `true` for `{}`.
    pub(super) fn read(result: &Json) -> Option<Self> {
        let wire: Wire<'_> = serde_json::from_slice(result.as_bytes()).ok()?;
        let parse = |raw: &RawValue| serde_json::from_str::<serde_json::Value>(raw.get()).unwrap_or_default();
        let capabilities = wire.capabilities.map(parse).unwrap_or_default();
        let info = wire
            .server_info
            .map(parse)
            .or_else(|| Some(wire.meta.as_ref()?.get("io.modelcontextprotocol/serverInfo")?.clone()));
        let has = |name: &str| capabilities.get(name).is_some_and(|value| !value.is_null() && value != false);
        let flag = |name: &str, of: &str| capabilities[name][of] == true;
        let version = info.as_ref().and_then(|info| info["version"].as_str()).unwrap_or_default();
        let facts = Facts {
            tools: has("tools"),
            prompts: has("prompts"),
            resources: has("resources"),
            completions: has("completions"),
            logging: has("logging"),
            subscribe: flag("resources", "subscribe"),
            tools_changed: flag("tools", "listChanged"),
            prompts_changed: flag("prompts", "listChanged"),
            resources_changed: flag("resources", "listChanged"),
            version: super::jsonrpc::shorten(version.to_owned(), 100),
            instructions: wire.instructions.map(|text| super::jsonrpc::shorten(text.into_owned(), 64 << 10)),
        };
        Some(Self { chosen: wire.protocol_version, supported: wire.supported_versions, facts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_revision_is_chosen() {
        let names = ["2099-01-01", "2025-11-25", "2026-07-28"].map(str::to_owned);
        assert_eq!(Revision::NEWEST.newest_of(&names), Some(Revision::V2026_07_28));
        assert_eq!(Revision::NEWEST_LEGACY.newest_of(&names), Some(Revision::V2025_11_25));
        assert_eq!(Revision::V2024_11_05.newest_of(&names), None);
    }

    #[test]
    fn a_greeting_of_either_era_is_read() {
        let discover = Json::parse(
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"extensions":
               {"io.modelcontextprotocol/tasks":{}}},"_meta":{"io.modelcontextprotocol/serverInfo":{"version":"3"}}}"#,
        );
        let greeting = Greeting::read(&discover.unwrap()).unwrap();
        assert!(greeting.facts.tools && greeting.facts.tools_changed);
        assert!(!greeting.facts.prompts);
        assert_eq!(greeting.facts.version, "3");
        assert!(Greeting::read(&Json::null()).is_none());
    }
}
