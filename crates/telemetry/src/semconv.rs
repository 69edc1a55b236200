//! The names of OpenTelemetry's semantic conventions that are used here, in one place.
//!
//! Those of MCP and generative AI are in development and move; these are of the repository
//! `open-telemetry/semantic-conventions-genai` (`docs/gen-ai/mcp.md`, `docs/gen-ai/gen-ai-spans.md`) as it was on
//! [`REVISION`].

/// The day on which the conventions for MCP and generative AI were read.
pub const REVISION: &str = "2026-11-22";

/// The method of an MCP request or notification.
pub const MCP_METHOD: &str = "mcp.method.name";
/// The MCP session.
pub const MCP_SESSION: &str = "mcp.session.id";
/// The URI of a resource.
pub const MCP_RESOURCE: &str = "mcp.resource.uri";
/// What a span of generative AI does.
pub const GEN_AI_OPERATION: &str = "gen_ai.operation.name";
/// The value of [`GEN_AI_OPERATION`] where a tool is called.
pub const EXECUTE_TOOL: &str = "execute_tool";
/// The tool.
pub const GEN_AI_TOOL: &str = "gen_ai.tool.name";
/// The prompt.
pub const GEN_AI_PROMPT: &str = "gen_ai.prompt.name";
/// The arguments of a tool call; only where asked for.
pub const GEN_AI_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
/// The result of a tool call; only where asked for.
pub const GEN_AI_RESULT: &str = "gen_ai.tool.call.result";
/// What went wrong, of few values.
pub const ERROR_TYPE: &str = "error.type";
/// The value of [`ERROR_TYPE`] where a tool answers with an error of its own.
pub const TOOL_ERROR: &str = "tool_error";
/// The value of [`ERROR_TYPE`] where no other is known.
pub const OTHER_ERROR: &str = "_OTHER";
/// `tcp` or `pipe`.
pub const NETWORK_TRANSPORT: &str = "network.transport";
/// The service that an outgoing call goes to.
pub const PEER_SERVICE: &str = "peer.service";
/// The address that an outgoing call goes to.
pub const SERVER_ADDRESS: &str = "server.address";
/// Who calls.
pub const ENDUSER: &str = "enduser.id";
/// The conversation.
pub const CONVERSATION: &str = "gen_ai.conversation.id";
/// The name of a service, of a resource.
pub const SERVICE_NAME: &str = "service.name";
/// The version of a service, of a resource.
pub const SERVICE_VERSION: &str = "service.version";

/// Ours: the door that a call came by.
pub const DOOR: &str = "trunkline.door";
/// Ours: the identity of a call, the correlation id of its events.
pub const CALL: &str = "trunkline.call.id";
/// Ours: `service/tool`.
pub const TARGET: &str = "trunkline.target";
/// Ours: which attempt at a call or step it is, from 1.
pub const ATTEMPT: &str = "trunkline.attempt";
/// Ours: a phase of the pipeline.
pub const PHASE: &str = "trunkline.phase";
/// Ours: the code of a failure.
pub const CODE: &str = "trunkline.error.code";
/// Ours: whose fault a failure is.
pub const FAULT: &str = "trunkline.error.fault";
/// Ours: whether a failed call may have taken effect.
pub const EFFECT: &str = "trunkline.error.effect";
/// Ours: how an answer was served by the cache.
pub const CACHE: &str = "trunkline.cache";
/// Ours: the instance of a flow.
pub const INSTANCE: &str = "trunkline.flow.instance";
/// Ours: the flow.
pub const FLOW: &str = "trunkline.flow";
/// Ours: the step of a flow.
pub const STEP: &str = "trunkline.flow.step";
/// Ours: the step that a step takes back.
pub const UNDOES: &str = "trunkline.flow.undoes";
/// Ours: what something waited for.
pub const WAITS_FOR: &str = "trunkline.waits_for";

/// The bounds of the histograms of MCP, in seconds.
pub const MCP_BOUNDS: [f64; 14] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
