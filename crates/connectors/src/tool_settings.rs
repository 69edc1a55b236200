//! What an operator says of a tool, over what the tool says of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_model::{Capability, Effects};

/// What an operator says of a tool, over what the tool says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToolSettings {
    /// Leaves the tool out.
    pub hidden: bool,
    /// What the tool does, in other words.
    pub description: Option<String>,
    /// What the tool does to the world.
    pub effects: Option<ToolEffects>,
    /// What the tool can do, as dotted terms.
    pub capabilities: Vec<Capability>,
}

/// Effects as an operator states them: what is not stated stays as the tool says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToolEffects {
    /// It changes nothing.
    pub read_only: Option<bool>,
    /// Calling it again with the same arguments changes nothing more.
    pub idempotent: Option<bool>,
    /// It may delete or overwrite.
    pub destructive: Option<bool>,
    /// It touches things outside its own domain.
    pub open_world: Option<bool>,
}

impl ToolEffects {
    /// The tool's own effects with what is stated here in their place.
    #[must_use]
    pub fn over(self, own: Effects) -> Effects {
        let read_only = self.read_only.unwrap_or(own.read_only);
        Effects {
            read_only,
            idempotent: self.idempotent.unwrap_or(own.idempotent || read_only),
            destructive: self.destructive.unwrap_or(own.destructive && !read_only),
            open_world: self.open_world.unwrap_or(own.open_world),
        }
    }
}
