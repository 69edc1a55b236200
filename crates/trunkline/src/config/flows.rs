//! What the configuration says of flows.

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_model::Secret;

use super::choreography::{Loops, Subscription, Webhook};

/// Flows: chains of tools that survive a crash and take back what they did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Flows {
    /// Files and folders of workflows (Open Workflow Specification 1.0.3, YAML or JSON). Each is a tool.
    pub definitions: Vec<PathBuf>,
    /// What is declared of tools for their use in flows, by the names they are called by.
    pub tools: IndexMap<String, FlowTool>,
    /// The hosts that workflows may call by themselves (`call: http`, `openapi`, `mcp`), with `*` for any part, each alone
    /// or with its port: `*.example.com`, `127.0.0.1:8080`. None where left out.
    pub allow_hosts: Vec<String>,
    /// The programs that workflows may run by themselves (`run: shell`, `script`, MCP servers as children), with any
    /// arguments, with `*` for any part: `git`, `python3`, `/opt/tools/*`. A command that needs a shell needs `sh`. None
    /// where left out.
    pub allow_commands: Vec<String>,
    /// Secrets that authentication policies of workflows may use (`basic: { use: NAME }`), by name. No expression, journal or
    /// page shows them.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub secrets: IndexMap<String, FlowSecret>,
    /// How many instances or calls may go on at the same time. Who is over a limit waits in order: `trunkline flow queues`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<FlowLimit>,
    /// What reacts to events, by name.
    pub subscriptions: IndexMap<String, Subscription>,
    /// Webhooks that come in at `/v1/webhooks/NAME`, by name.
    pub webhooks: IndexMap<String, Webhook>,
    /// Where events that go round are stopped.
    pub loops: Loops,
}

/// A secret for workflows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowSecret {
    /// To which hosts it may be shown, with `*` for any part, each alone or with its port. They have to be in `allow_hosts`,
    /// too. Of OAuth 2 the token endpoint as well as the host that is called.
    pub hosts: Vec<String>,
    /// What it holds: the members of the policy that uses it, such as `username` and `password`, `token`, or `authority`,
    /// `client.id` and `client.secret`.
    pub values: IndexMap<String, Secret>,
}

/// How many may go on at the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowLimit {
    /// Of this flow: its name, or `namespace/name`. Its instances are counted, or with `tool` their calls of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Calls of this tool by flows, by the name it is called by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// jq that gives a key: each value is counted by itself. `.` is the input of the instance or the arguments of the call,
    /// `$principal` for whom it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How many at a time.
    pub max: std::num::NonZeroU32,
}

/// What is declared of a tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FlowTool {
    /// How it is undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<FlowUndo>,
    /// It recognises a repeated call by its idempotency key: the header `Idempotency-Key`, or
    /// `_meta["dev.trunkline/idempotencyKey"]` of MCP.
    pub keyed: bool,
}

/// How a tool is undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowUndo {
    /// The tool that does it.
    pub tool: String,
    /// Its arguments. A string `${ jq }` takes values of `{input, args, result}` of the step that is undone.
    #[serde(default)]
    pub args: IndexMap<String, Value>,
    /// It does no harm where the step had no effect.
    #[serde(default)]
    pub safe: bool,
}
