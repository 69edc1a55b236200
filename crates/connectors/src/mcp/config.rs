//! What is configured of an MCP server.

use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use trunkline_model::Secret;

use crate::ToolSettings;

/// An MCP server. Exactly one of `command` and `url` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Starts the server as a child that speaks over standard input and output: program and arguments.
    pub command: Vec<String>,
    /// The child's environment, beside `PATH`, `HOME`, `USER`, `LANG`, `TMPDIR` and what `inherit_env` names.
    pub env: IndexMap<String, Secret>,
    /// Names of variables that the child inherits from Trunkline.
    pub inherit_env: Vec<String>,
    /// The child's working directory.
    pub cwd: Option<PathBuf>,
    /// The endpoint of a server over Streamable HTTP.
    pub url: Option<String>,
    /// Headers sent with every request over HTTP.
    pub headers: IndexMap<String, Secret>,
    /// A bearer token sent with every request over HTTP.
    pub bearer: Option<Secret>,
    /// How to get a token from the server's authorization server.
    pub oauth: Option<OAuth>,
    /// The newest protocol revision to offer; the newest known where left out.
    pub protocol: Option<String>,
    /// Who shares a session of the server.
    pub session: Session,
    /// How long a connection and its handshake may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long one answer may take where the caller sets no nearer deadline, in milliseconds.
    pub timeout_ms: u64,
    /// The largest answer, in bytes.
    pub max_response_bytes: usize,
    /// What to say of single tools, by the server's own tool name.
    pub tools: IndexMap<String, ToolSettings>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            env: IndexMap::new(),
            inherit_env: Vec::new(),
            cwd: None,
            url: None,
            headers: IndexMap::new(),
            bearer: None,
            oauth: None,
            protocol: None,
            session: Session::Shared,
            connect_timeout_ms: 15_000,
            timeout_ms: 120_000,
            max_response_bytes: 32 << 20,
            tools: IndexMap::new(),
        }
    }
}

impl Config {
    /// How long a connection and its handshake may take.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
}

/// Who shares a session (or child process) of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// All callers share one: right for servers that keep nothing between calls.
    #[default]
    Shared,
    /// Each conversation has its own: for servers that keep state between calls.
    PerConversation,
}

/// OAuth 2.1 as MCP uses it: the authorization server is found from the MCP server's metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth {
    /// For whom the token is: a person who follows a link once, or this client itself.
    pub grant: Grant,
    /// A registered client's id. Left out: a client metadata document or dynamic registration.
    pub client_id: Option<String>,
    /// The registered client's secret.
    pub client_secret: Option<Secret>,
    /// The URL of a client metadata document that names this client.
    pub client_metadata_url: Option<String>,
    /// Scopes to ask for, beside those that the server demands.
    pub scopes: Vec<String>,
}

/// For whom a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// For a person, who follows a link once.
    #[default]
    AuthorizationCode,
    /// For this client itself, with its id and secret.
    ClientCredentials,
}
