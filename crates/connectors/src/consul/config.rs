//! What is configured of Consul.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_model::Secret;

/// The Consul agent that is asked, and what it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the agent's HTTP API is.
    pub address: String,
    /// The ACL token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// The datacenter; the agent's own where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// A file with the certificates (PEM) that the agent's is checked against, in place of those of the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A file with our own certificate chain (PEM), where the agent asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// A file with its key (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// How long one question may wait for a change, in milliseconds; ten minutes at most.
    pub wait_ms: u64,
    /// What the agent is told of: by name in Consul.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub announce: BTreeMap<String, Announce>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "http://127.0.0.1:8500".to_owned(),
            token: None,
            datacenter: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            wait_ms: 300_000,
            announce: BTreeMap::new(),
        }
    }
}

/// A service whose instances Consul knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lookup {
    /// Its name in Consul; that of the service here where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Tags that an instance has to have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What stands before a capability in a tag: with `capability=` the tag `capability=stock.read` says that the instance can
    /// `stock.read`. No tag says so where this is empty.
    pub capability_prefix: String,
    /// The URL of an instance; `http://{host}:{port}/mcp` for MCP servers and `http://{host}:{port}/` for others where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Default for Lookup {
    fn default() -> Self {
        Self { service: None, tags: Vec::new(), capability_prefix: "capability=".to_owned(), url: None }
    }
}

/// Something that the agent is told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Announce {
    /// Tells it from others of the name; the name where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where it is; the agent's own address where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its port.
    pub port: u16,
    /// Its tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What else is said of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// The service behind this gateway whose health the heartbeat tells; that of the gateway itself where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How its health is found out; not at all where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<AnnouncedCheck>,
}

/// How the agent finds out the health of something. Exactly one of `http`, `tcp` and `ttl_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnnouncedCheck {
    /// A URL that the agent asks: 2xx is well, 429 a warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// A host and port that the agent connects to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// We say how it is, and at least so often, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// How often the agent looks, in milliseconds.
    pub interval_ms: u64,
    /// How long it waits, in milliseconds.
    pub timeout_ms: u64,
    /// The agent forgets what has been critical for so long, in milliseconds; a minute at least. Never where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forget_after_ms: Option<u64>,
}

impl Default for AnnouncedCheck {
    fn default() -> Self {
        Self {
            http: None,
            tcp: None,
            ttl_ms: None,
            interval_ms: 10_000,
            timeout_ms: 5_000,
            forget_after_ms: None,
        }
    }
}
