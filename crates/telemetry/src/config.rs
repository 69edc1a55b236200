//! How telemetry is configured.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_model::Secret;

/// What is measured, traced and told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether anything is measured and traced at all.
    pub enabled: bool,
    /// Which traces are kept, and how long.
    pub traces: Traces,
    /// Where spans are sent. The variables `OTEL_*` of the environment fill what is left out here.
    pub otlp: Otlp,
    /// How much is measured.
    pub metrics: Measures,
    /// What is watched for.
    pub alerts: Alerts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            traces: Traces::default(),
            otlp: Otlp::default(),
            metrics: Measures::default(),
            alerts: Alerts::default(),
        }
    }
}

/// Which traces are kept, and how long. Those with an error or a slow call are kept, the others as far as `per_second`
/// goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// Traces older than this many days are removed.
    pub retention_days: u32,
    /// The oldest traces are removed where all are larger than this, in mebibytes: ordinary ones first.
    pub max_mb: u64,
    /// A call that takes longer than this is slow, in milliseconds; so is one that takes longer than 99 of 100 calls of
    /// its tool and 100 milliseconds.
    pub slow_ms: u64,
    /// How many ordinary traces are kept a second.
    pub per_second: u32,
    /// Whether the arguments of calls are kept in spans, with what looks like a secret left out.
    pub arguments: bool,
    /// Whether results are kept in spans, with what looks like a secret left out.
    pub results: bool,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            retention_days: 7,
            max_mb: 256,
            slow_ms: 1_000,
            per_second: 20,
            arguments: false,
            results: false,
        }
    }
}

/// Where spans are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// The address of a receiver of OTLP over HTTP, without `/v1/traces`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Headers that go with each request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
}

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Measures {
    /// The most tools that have figures of their own, for each door; the others are counted together as `other`.
    pub max_tools: usize,
}

impl Default for Measures {
    fn default() -> Self {
        Self { max_tools: 2_000 }
    }
}

/// What is watched for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Alerts {
    /// Whether the rules that come with Trunkline are evaluated.
    pub shipped: bool,
    /// Files of rules in the form of Prometheus, beside those.
    pub rules: Vec<PathBuf>,
    /// How often rules are evaluated, in milliseconds.
    pub interval_ms: u64,
    /// Addresses of Alertmanagers, without `/api/v2/alerts`.
    pub alertmanagers: Vec<String>,
    /// Addresses that get what Alertmanager would send to a webhook (version 4).
    pub webhooks: Vec<Secret>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            shipped: true,
            rules: Vec::new(),
            interval_ms: 15_000,
            alertmanagers: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}
