//! What a run needs of the world: tools, and calls that name their endpoint themselves.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use trunkline_model::{BoxFuture, EffectState, Effects, Failure, Json, Outcome, Principal, TraceContext};

use crate::entry::{InstanceId, Undo};
use crate::fault::Fault;

/// What a tool is at the moment it is called.
#[derive(Clone, Debug)]
pub struct Contract {
    /// `service/tool`.
    pub target: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// The SHA-256 of its schemas and effects, in hexadecimal.
    pub hash: Arc<str>,
    /// What it does to the world.
    pub effects: Effects,
    /// It recognises a repeated call by its idempotency key.
    pub keyed: bool,
    /// How it is undone, where that is known of the tool itself.
    pub undo: Option<Undo>,
}

impl Contract {
    /// Whether a call of unknown outcome may be made again, under the same key.
    #[must_use]
    pub fn repeatable(&self) -> bool {
        self.effects.repeatable() || self.keyed
    }
}

/// A step as it goes out.
pub struct StepCall {
    /// The instance it belongs to.
    pub instance: InstanceId,
    /// The tool, by its advertised name.
    pub tool: Arc<str>,
    /// Its arguments: an object.
    pub arguments: Json,
    /// The key under which the tool may recognise a repeated call.
    pub idempotency_key: Arc<str>,
    /// For whom.
    pub principal: Arc<Principal>,
    /// When nobody waits any more.
    pub deadline: Instant,
    /// The trace that it belongs to, with the step's span.
    pub trace: TraceContext,
}

/// Tools as a flow sees them. Every call goes through the same phases as one from outside: limits, authorisation, record.
pub trait Tools: Send + Sync {
    /// What the tool is now.
    ///
    /// # Errors
    /// [`Failure`] where there is none of this name, or the principal may not use it.
    fn contract(&self, principal: &Principal, tool: &str) -> Result<Contract, Failure>;

    /// Calls it.
    fn call(&self, step: StepCall) -> BoxFuture<'static, Result<Outcome, Failure>>;
}

/// A call that names its endpoint itself.
pub struct EndpointCall {
    /// `http`, `openapi`, `mcp`, `process`.
    pub kind: &'static str,
    /// The task's `with`, all expressions evaluated.
    pub with: Value,
    /// What proves who asks: an authentication policy of the workflow language with all expressions evaluated, such as
    /// `{"basic": {username, password}}`, or `{"basic": {"use": NAME}}` of a secret; or null. Never to be logged.
    pub credentials: Value,
    /// The key under which the endpoint may recognise a repeated call.
    pub idempotency_key: Arc<str>,
    /// When nobody waits any more.
    pub deadline: Instant,
}

/// Endpoints that a workflow names itself.
pub trait Endpoints: Send + Sync {
    /// Calls one and gives the task's raw output.
    ///
    /// The error says what went wrong and whether it may have happened all the same.
    fn call(&self, call: EndpointCall) -> BoxFuture<'static, Result<Value, (Fault, EffectState)>>;
}

/// No endpoints: every such call is refused.
#[derive(Debug)]
pub struct NoEndpoints;

impl Endpoints for NoEndpoints {
    fn call(&self, call: EndpointCall) -> BoxFuture<'static, Result<Value, (Fault, EffectState)>> {
        let fault = Fault::configuration(format!("calls of kind {:?} are not available here", call.kind));
        Box::pin(std::future::ready(Err((fault, EffectState::None))))
    }
}

/// The value that a tool's answer has for the tasks after it: its structured content, or else its text, read as JSON
/// where it is JSON.
#[must_use]
pub fn value_of(body: &Json) -> Value {
    let mut result = body.to_value();
    if let Some(structured) = result.get_mut("structuredContent") {
        return structured.take();
    }
    let text = match result.get("content").and_then(Value::as_array).map(Vec::as_slice) {
        Some([only]) if only["type"] == "text" => only["text"].as_str(),
        _ => None,
    };
    match text {
        Some(text) => match Json::parse(text.to_owned()) {
            Ok(json) => json.to_value(),
            Err(_) => Value::from(text),
        },
        None => result,
    }
}
