//! Which tools a client is told of at once: all of them, or those that it finds the others with.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_discovery::ToolEntry;

use super::{ASK, CALL, DESCRIBE, SEARCH, SERVICE};

/// Which tools clients are told of by `tools/list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listing {
    /// All tools, or those that the others are found with.
    pub show: Show,
    /// With `auto`: the most tokens that the list of all tools may have, estimated as a quarter of its bytes.
    pub most_tokens: usize,
    /// The same by the name that a client gives itself (`clientInfo.name`).
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub clients: IndexMap<String, Show>,
}

/// Which tools are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Show {
    /// All of them where they are few, `search` where they are many.
    #[default]
    Auto,
    /// All of them.
    All,
    /// Those that the others are found and called with.
    Search,
}

impl Show {
    /// As it is named in a URL and on the command line.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "auto" => Self::Auto,
            "all" => Self::All,
            "search" => Self::Search,
            _ => return None,
        })
    }
}

impl Default for Listing {
    fn default() -> Self {
        Self { show: Show::Auto, most_tokens: 10_000, clients: IndexMap::new() }
    }
}

impl Listing {
    /// What a client is shown: as it asks itself, as its name says, or as all are.
    pub(crate) fn of(&self, asked: Option<Show>, client: Option<&str>) -> Show {
        asked.or_else(|| self.clients.get(client?).copied()).unwrap_or(self.show)
    }

    /// Whether a list of so many bytes is too long to be given whole.
    pub(crate) fn is_long(&self, show: Show, bytes: usize) -> bool {
        match show {
            Show::All => false,
            Show::Search => true,
            Show::Auto => tokens(bytes) > self.most_tokens,
        }
    }
}

/// How many tokens a text of so many bytes is about: English and JSON have about four bytes a token.
pub(crate) fn tokens(bytes: usize) -> usize {
    bytes.div_ceil(4)
}

/// Whether a tool is listed where the list is whole, or where it is not.
pub(crate) fn is_listed(entry: &ToolEntry, whole: bool) -> bool {
    let spec = entry.tool.spec();
    let finds = spec.service.as_str() == SERVICE && matches!(&*spec.name, SEARCH | DESCRIBE | CALL);
    let plans =
        spec.service.as_str() == trunkline_orchestrator::service::SERVICE && &*spec.name == "run_plan";
    let asks = spec.service.as_str() == SERVICE && &*spec.name == ASK;
    if whole { !finds } else { finds || plans || asks }
}
