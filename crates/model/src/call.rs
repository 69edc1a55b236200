//! A call and what goes with it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Client, Json, NoClient, Principal, Validators};

/// The identity of a call: a UUIDv7, so it sorts by time. It is the correlation id of the call's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub Uuid);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a service in the configuration. Policy, limits and metrics use (service, original tool name).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ServiceId(#[schemars(with = "String")] Arc<str>);

impl ServiceId {
    /// A service's name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, to keep.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is asked of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Call a tool.
    CallTool,
    /// Get a prompt.
    GetPrompt,
    /// Read a resource.
    ReadResource,
    /// Complete an argument of a prompt or of a resource template.
    Complete,
}

impl Operation {
    /// The MCP method.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::CallTool => "tools/call",
            Self::GetPrompt => "prompts/get",
            Self::ReadResource => "resources/read",
            Self::Complete => "completion/complete",
        }
    }
}

/// The answers to an earlier [`InputRequired`](crate::InputRequired) outcome of the same call.
#[derive(Clone, Debug)]
pub struct Resume {
    /// An object: question id to the answer's result object.
    pub responses: Json,
    /// The service's own state, as it gave it.
    pub state: Option<String>,
}

/// One request to one service.
#[derive(Clone, Debug)]
pub struct Call {
    /// The call's identity.
    pub id: CallId,
    /// What is asked.
    pub operation: Operation,
    /// The service that is asked.
    pub service: ServiceId,
    /// The service's own name of the tool or prompt, or the URI of the resource. For [`Operation::Complete`] it is
    /// the name or URI in `ref`.
    pub name: Arc<str>,
    /// The arguments: an object. For [`Operation::Complete`] the whole params object.
    pub arguments: Json,
    /// Members of `_meta` that the caller sent and that are passed on; an object.
    pub meta: Option<Json>,
    /// The answers, where this continues a call that asked for input.
    pub resume: Option<Resume>,
    /// A key under which a service may recognise a repeated call.
    pub idempotency_key: Option<Arc<str>>,
    /// By what the caller's kept answer is known: that it has not changed is answer enough.
    pub known: Option<Arc<Validators>>,
}

/// W3C trace context of a call, as it came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// The `traceparent` header.
    pub traceparent: Option<Arc<str>>,
    /// The `tracestate` header.
    pub tracestate: Option<Arc<str>>,
    /// The `baggage` header.
    pub baggage: Option<Arc<str>>,
}

impl TraceContext {
    /// The trace id within `traceparent`: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        let id = self.traceparent.as_deref()?.get(3..35)?;
        id.bytes().all(|b| b.is_ascii_hexdigit()).then_some(id)
    }
}

/// What goes with a call through every phase. Cloning is cheap.
///
/// A call is cancelled by dropping its future; a connector tells its service then.
#[derive(Clone)]
pub struct CallContext {
    /// When the caller stops waiting. Nothing goes on past it.
    pub deadline: Instant,
    /// Who the call is made for.
    pub principal: Arc<Principal>,
    /// The conversation it belongs to: the MCP session, or what the caller named.
    pub conversation: Option<Arc<str>>,
    /// The caller's trace.
    pub trace: TraceContext,
    /// The way back to the caller.
    pub client: Arc<dyn Client>,
}

impl CallContext {
    /// A context for calls that nobody watches.
    #[must_use]
    pub fn unattended(principal: Arc<Principal>, deadline: Instant) -> Self {
        Self {
            deadline,
            principal,
            conversation: None,
            trace: TraceContext::default(),
            client: Arc::new(NoClient),
        }
    }
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext")
            .field("deadline", &self.deadline)
            .field("principal", &self.principal)
            .field("conversation", &self.conversation)
            .finish_non_exhaustive()
    }
}
