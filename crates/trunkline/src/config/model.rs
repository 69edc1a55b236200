//! The typed configuration. Its JSON Schema drives the checks, the XML form and editors.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use trunkline_connectors::{consul, dns, mcp, openapi, process};
use trunkline_discovery::Names;
use trunkline_discovery::discover::About;
use trunkline_gateway::LeaseConfig;
use trunkline_gateway::pool::HealthConfig;
use trunkline_model::{Capability, Instance, Secret};
use trunkline_resilience::GuardConfig;
use trunkline_resilience::balance::BalanceConfig;
use trunkline_resilience::repetition::LoopsConfig;

/// The configuration of Trunkline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address of this schema, for editors.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Where to listen: an address and port, or a list of them.
    pub listen: Listen,
    /// Where the record and other state are kept.
    pub data_dir: PathBuf,
    /// What is logged.
    pub log: Log,
    /// Who may call.
    pub auth: trunkline_policy::identity::Config,
    /// What they may do.
    pub policy: trunkline_policy::authorize::Config,
    /// Limits and habits of the doors.
    pub doors: trunkline_gateway::Config,
    /// The pages for people.
    pub console: trunkline_gateway::ConsoleConfig,
    /// How long the record is kept.
    pub events: Events,
    /// How long one answer of a service may take where the service has no `timeout_ms` of its own, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_timeout_ms: Option<u64>,
    /// What is behind the gateway, by name.
    pub services: IndexMap<String, Service>,
    /// The registries and name servers that tell of instances of services.
    pub registry: Registry,
    /// How calls are guarded: breakers, retries, timeouts, hedges, bulkheads.
    pub resilience: GuardConfig,
    /// What is done about calls that fail.
    pub recovery: trunkline_gateway::RecoveryConfig,
    /// How many calls callers may make, and how dear ones. A call has to fit every limit that holds for it.
    pub limits: Vec<trunkline_gateway::Limit>,
    /// What calls cost, for limits on money.
    pub prices: Vec<trunkline_gateway::Price>,
    /// When equal calls on end are a loop.
    pub loops: LoopsConfig,
    /// How much calls matter where a service can't take all of them.
    pub priorities: trunkline_gateway::PrioritiesConfig,
    /// How much is kept of what services answer.
    pub cache: trunkline_gateway::CacheConfig,
    /// How tools are found in plain words.
    pub search: Search,
    /// What is measured, traced and told.
    pub telemetry: trunkline_telemetry::Config,
    /// What people say in plain words or as commands, by the name of what they mean by it.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub intents: IndexMap<String, trunkline_gateway::IntentConfig>,
    /// A model that fills in arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<super::Model>,
    /// Chains of tools.
    pub flows: super::Flows,
    /// Programs that are started before the services and end with the gateway, by name.
    pub children: IndexMap<String, Child>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            schema: None,
            listen: Listen(vec!["127.0.0.1:7400".to_owned()]),
            data_dir: PathBuf::from(".trunkline"),
            log: Log::default(),
            auth: trunkline_policy::identity::Config::default(),
            policy: trunkline_policy::authorize::Config::default(),
            doors: trunkline_gateway::Config::default(),
            console: trunkline_gateway::ConsoleConfig::default(),
            events: Events::default(),
            service_timeout_ms: None,
            services: IndexMap::new(),
            registry: Registry::default(),
            resilience: GuardConfig::default(),
            recovery: trunkline_gateway::RecoveryConfig::default(),
            limits: Vec::new(),
            prices: Vec::new(),
            loops: LoopsConfig::default(),
            priorities: trunkline_gateway::PrioritiesConfig::default(),
            cache: trunkline_gateway::CacheConfig::default(),
            search: Search::default(),
            telemetry: trunkline_telemetry::Config::default(),
            intents: IndexMap::new(),
            model: None,
            flows: super::Flows::default(),
            children: IndexMap::new(),
        }
    }
}

impl Config {
    /// The JSON Schema (2020-12) of the configuration.
    #[must_use]
    pub fn json_schema() -> &'static Value {
        static SCHEMA: OnceLock<Value> = OnceLock::new();
        SCHEMA.get_or_init(|| schemars::schema_for!(Config).to_value())
    }
}

/// How tools are found in plain words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Search {
    /// A file with the weights of a stronger encoder (all-MiniLM-L6-v2), as `training/minilm.py` writes it; from the
    /// configuration's own folder. It takes some ten milliseconds a request, and as much once for every tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<PathBuf>,
    /// An endpoint that makes vectors, in place of `encoder`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<super::Embeddings>,
}

/// Addresses to listen on: one as text, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Listen(pub Vec<String>);

impl JsonSchema for Listen {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1})
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Listen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a list of addresses")
            }

            fn visit_str<E>(self, text: &str) -> Result<Listen, E> {
                Ok(Listen(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Listen, A::Error> {
                let mut addresses = Vec::new();
                while let Some(address) = items.next_element()? {
                    addresses.push(address);
                }
                Ok(Listen(addresses))
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

/// What is logged, to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`), or levels by module: `info,trunkline_gateway=debug`.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How long the record is kept, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// Events older than this many days are removed; 0 keeps all.
    pub retention_days: u32,
    /// The oldest events are removed where the record is larger than this, in mebibytes; 0 keeps all.
    pub retention_mb: u64,
    /// How long the events of read-only calls may wait to be written together, in milliseconds.
    pub batch_interval_ms: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self { retention_days: 30, retention_mb: 1024, batch_interval_ms: 50 }
    }
}

/// A service behind the gateway. Exactly one of `mcp`, `openapi` and `process` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// What the service is for, for people and models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether the service is there at all; `true` where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How its tools are named to callers.
    pub names: Names,
    /// How its calls are guarded, in place of the section `resilience` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resilience: Option<GuardConfig>,
    /// The places where it runs, where these are several: in place of `mcp.url` or `openapi.base_url`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<Instance>,
    /// Where its instances are learned from, in place of `instances`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discover: Option<Discover>,
    /// What all of its tools can do, as dotted terms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// Its version, where its tools have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The zone that it runs in, where its instances have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What else is known of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How calls are spread over its instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<BalanceConfig>,
    /// How its instances are checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthConfig>,
    /// How its answers are kept; they aren't where this is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<trunkline_gateway::ServiceCache>,
    /// An MCP server, as a child or over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp: Option<mcp::Config>,
    /// An HTTP service with an OpenAPI document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openapi: Option<openapi::Config>,
    /// Commands of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<process::Config>,
}

impl Service {
    /// Whether it runs in several places.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        !self.instances.is_empty() || self.discover.is_some()
    }

    /// Whether a registry or a name server tells of its instances.
    #[must_use]
    pub fn is_told_by_registry(&self) -> bool {
        self.discover.as_ref().is_some_and(|discover| discover.consul.is_some() || discover.dns.is_some())
    }

    /// What is known of it beside what it says itself.
    #[must_use]
    pub fn about(&self) -> Arc<About> {
        Arc::new(About {
            capabilities: self.capabilities.clone(),
            told: Vec::new(),
            version: self.version.clone(),
            zone: self.zone.clone(),
            metadata: self.metadata.clone(),
        })
    }

    /// Whether the service is there at all.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }
}

/// Where the instances of a service are learned from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Discover {
    /// They register themselves over HTTP, each for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseConfig>,
    /// Consul knows them: the agent under `registry.consul`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consul: Option<consul::Lookup>,
    /// A name server knows them: those under `registry.dns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<dns::Lookup>,
}

/// The registries and name servers that tell of instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// The Consul agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consul: Option<consul::Config>,
    /// Whole services may register themselves over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<trunkline_gateway::RegistrationsConfig>,
    /// The name servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<dns::Config>,
}

/// A program that is started before the services and ends with the gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Child {
    /// Program and arguments. There is no shell.
    pub command: Vec<String>,
    /// Its working directory; the configuration file's folder where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// A URL that answers with success as soon as the program is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_url: Option<String>,
    /// Its environment, beside Trunkline's own.
    pub env: IndexMap<String, Secret>,
}
