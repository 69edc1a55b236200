//! One of the places where a service runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BoxFuture, Capability, Failure};

/// One of the places where a service runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Where it is: the base URL of an HTTP service, the endpoint of an MCP server.
    pub url: String,
    /// The zone that it runs in, as the operator calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The version that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How much of the calls it takes beside the others; 0 takes none.
    #[serde(default = "one")]
    pub weight: u32,
    /// What it can do, beside what all of its service can, as dotted terms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// What else is known of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

impl Instance {
    /// An instance of which only the address is known.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            zone: None,
            version: None,
            weight: 1,
            capabilities: Vec::new(),
            metadata: BTreeMap::new(),
        }
    }
}

/// How an instance is, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceStatus {
    /// Where it is.
    pub url: String,
    /// Its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether calls go to it.
    pub healthy: bool,
    /// Why none do, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Arc<str>>,
    /// Calls that run there now.
    pub pending: usize,
    /// How long its calls take lately, in milliseconds, slow ones first; none where there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// How often it has been left out for its failures.
    pub ejections: u32,
    /// What it can do, beside what all of its service can.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// What else is known of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Tells of the instances of one service, as a registry or a name server knows them.
pub trait InstanceSource: Send {
    /// Waits until the set of instances has changed, or is known again, and gives the whole of it; the first call gives what is
    /// there. May be dropped and called again. It paces itself, also where it fails again and again.
    ///
    /// # Errors
    /// [`Failure`] where the source can't be asked or answers what can't be used. The set that it gave last stays in force.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Instance>, Failure>>;
}
