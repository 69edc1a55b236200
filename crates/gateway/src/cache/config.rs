//! What is configured of the cache.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answers of tools and resources that only read, kept for a while. A service's are kept where it has a section `cache`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// The most memory for all of them, in mebibytes.
    pub max_mb: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { max_mb: 64 }
    }
}

/// How the answers of a service are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceCache {
    /// How long they are fresh where the service does not say, in milliseconds; 0 keeps only what the service says may
    /// be kept.
    pub ttl_ms: u64,
    /// The longest that they are fresh, whatever the service says, in milliseconds.
    pub max_ttl_ms: u64,
    /// Who may have an answer that another asked for.
    pub scope: Scope,
    /// How long after that they are given while a new one is fetched, where the service does not say, in milliseconds.
    pub stale_while_revalidate_ms: u64,
    /// How long after that they are given where no new one can be had and the service does not say, in milliseconds.
    pub stale_if_error_ms: u64,
    /// What is different for single tools and resources. The first that fits decides.
    pub rules: Vec<CacheRule>,
    /// What calls that change something make out of date. The first that fits decides; a call that none fits makes all
    /// answers of its service out of date.
    pub writes: Vec<WriteRule>,
}

impl Default for ServiceCache {
    fn default() -> Self {
        Self {
            ttl_ms: 0,
            max_ttl_ms: 3_600_000,
            scope: Scope::Declared,
            stale_while_revalidate_ms: 0,
            stale_if_error_ms: 0,
            rules: Vec::new(),
            writes: Vec::new(),
        }
    }
}

/// Who may have an answer that another asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Nobody, unless the service says that it is public.
    #[default]
    Declared,
    /// Nobody.
    Private,
    /// Nobody, and not the same principal in another conversation either.
    Conversation,
    /// Everybody who may call the tool.
    Public,
}

/// What is different for single tools and resources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheRule {
    /// The service's own names of tools, or the URIs of resources, with `*` for any part.
    pub tool: String,
    /// How long answers are fresh where the service does not say, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Who may have an answer that another asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Answers are never kept.
    #[serde(default)]
    pub never: bool,
    /// What the answers are about, for `writes` of this and other services.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// What calls that change something make out of date.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteRule {
    /// The service's own names of the tools that change something, with `*` for any part.
    pub tool: String,
    /// Tools and resources whose answers are then out of date, with `*` for any part: of this service, or as
    /// `service/tool`.
    #[serde(default)]
    pub touches: Vec<String>,
    /// Answers with any of these tags are out of date, of whatever service.
    #[serde(default)]
    pub tags: Vec<String>,
}
