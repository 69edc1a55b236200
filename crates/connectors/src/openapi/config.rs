//! What is configured of an HTTP service.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use trunkline_model::Secret;

use crate::ToolSettings;

/// An HTTP service with an OpenAPI 3.1, 3.0 or Swagger 2.0 document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The document: a path (relative to the configuration file) or a URL, JSON or YAML.
    pub document: String,
    /// Where the service is, in place of the document's `servers`.
    pub base_url: Option<String>,
    /// Credentials by the name of the document's security scheme.
    pub credentials: IndexMap<String, Credential>,
    /// Headers sent with every request.
    pub headers: IndexMap<String, Secret>,
    /// Patterns of operation ids or `METHOD /path` to take; all where empty. `*` stands for any text.
    pub include: Vec<String>,
    /// Patterns of operation ids or `METHOD /path` to leave out.
    pub exclude: Vec<String>,
    /// How long one answer may take where the caller sets no nearer deadline, in milliseconds.
    pub timeout_ms: u64,
    /// The largest answer, in bytes.
    pub max_response_bytes: usize,
    /// The largest document with all it refers to, in bytes.
    pub max_document_bytes: usize,
    /// What to say of single tools, by tool name.
    pub tools: IndexMap<String, ToolSettings>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            document: String::new(),
            base_url: None,
            credentials: IndexMap::new(),
            headers: IndexMap::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            timeout_ms: 30_000,
            max_response_bytes: 32 << 20,
            max_document_bytes: 32 << 20,
            tools: IndexMap::new(),
        }
    }
}

/// A credential for one security scheme. Which members are needed follows from the scheme's type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Credential {
    /// The value of an `apiKey` scheme.
    pub key: Option<Secret>,
    /// The token of an `http` bearer scheme, or a fixed token for `oauth2` and `openIdConnect`.
    pub token: Option<Secret>,
    /// The user of an `http` basic scheme.
    pub username: Option<String>,
    /// The password of an `http` basic scheme.
    pub password: Option<Secret>,
    /// The client of an `oauth2` client credentials flow.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<Secret>,
    /// Scopes to ask for in place of those that the operation names.
    pub scopes: Option<Vec<String>>,
    /// The token endpoint in place of the document's.
    pub token_url: Option<String>,
}
