//! What a tool does to the world, as far as it says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What calling a tool may do. The fields are those of MCP's tool annotations, and so are the defaults: a tool that
/// says nothing may change things, may destroy, may not be repeated, and touches an open world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Effects {
    /// It changes nothing.
    pub read_only: bool,
    /// Calling it again with the same arguments changes nothing more.
    pub idempotent: bool,
    /// It may delete or overwrite.
    pub destructive: bool,
    /// It touches things outside its own domain (the web, other people).
    pub open_world: bool,
}

impl Default for Effects {
    fn default() -> Self {
        Self { read_only: false, idempotent: false, destructive: true, open_world: true }
    }
}

impl Effects {
    /// Changes nothing.
    pub const READ_ONLY: Self =
        Self { read_only: true, idempotent: true, destructive: false, open_world: true };

    /// Whether a repeated call can do no harm.
    #[must_use]
    pub fn repeatable(self) -> bool {
        self.read_only || self.idempotent
    }

    /// The effects that an HTTP method promises (RFC 9110, section 9.2): GET and HEAD are safe, PUT and DELETE are
    /// idempotent, DELETE destroys, PUT and PATCH overwrite.
    #[must_use]
    pub fn of_http_method(method: &str) -> Self {
        let (read_only, idempotent, destructive) = match method.to_ascii_uppercase().as_str() {
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "QUERY" => (true, true, false),
            "PUT" | "DELETE" => (false, true, true),
            "PATCH" => (false, false, true),
            _ => (false, false, false),
        };
        Self { read_only, idempotent, destructive, open_world: true }
    }
}
