//! What is configured of DNS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name servers that are asked, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// IP addresses of name servers, with a port where it is not 53; those of the system where empty.
    pub servers: Vec<String>,
    /// An answer is used for at least so long, whatever it says, in milliseconds.
    pub min_ttl_ms: u64,
    /// And for at most so long.
    pub max_ttl_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { servers: Vec::new(), min_ttl_ms: 1_000, max_ttl_ms: 300_000 }
    }
}

/// A service whose instances a name server knows. Exactly one of `name` and `srv`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lookup {
    /// A host name; each of its addresses is an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The port of the instances, where `name` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A name with SRV records, such as `_orders._tcp.example.com`: they say host, port and weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srv: Option<String>,
    /// The URL of an instance; `http://{host}:{port}/mcp` for MCP servers and `http://{host}:{port}/` for others where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}
