//! The vocabulary every part of Trunkline speaks. No I/O, no clock, no randomness: what is here is plain data and
//! the traits by which the parts meet.
//!
//! - [`Tool`] is the standard tool interface; [`Service`] is what a connector brings (tools, prompts, resources).
//! - [`Call`] and [`CallContext`] go in, [`Outcome`] or [`Failure`] comes out.
//! - [`Event`] is what the log keeps of it: a CloudEvents 1.0 event, with the specification's schema as a view.

mod call;
mod capability;
mod client;
mod document;
mod effects;
mod event;
mod failure;
mod freshness;
mod glob;
mod instance;
mod json;
mod outcome;
mod plain;
mod principal;
mod quota;
mod schema;
mod secret;
mod service;
mod task;
mod tool;
mod trace;

pub use call::{Call, CallContext, CallId, Operation, Resume, ServiceId, TraceContext};
pub use capability::Capability;
pub use client::{AskError, Client, ClientFeatures, NoClient, Question};
pub use document::{Budget, DocumentError, MAX_DOCUMENT_DEPTH, Repeated, read_document};
pub use effects::Effects;
pub use event::{Event, EventData, EventError, EventKind, Phase};
pub use failure::{EffectState, Failure, Fault, Retry};
pub use freshness::{Freshness, Served, ServedState, Validators};
pub use glob::Glob;
pub use instance::{Instance, InstanceSource, InstanceStatus};
pub use json::{Json, JsonError, MAX_DEPTH};
pub use outcome::{InputRequired, Outcome, ToolResult};
pub use principal::{Principal, PrincipalKind};
pub use quota::Quota;
pub use schema::{Schema, Violation};
pub use secret::Secret;
pub use service::{Contents, Item, Service, ServiceObserver, ServiceState, ServiceStatus};
pub use task::{Task, TaskOrder, TaskState};
pub use tool::{Tool, ToolSpec};
pub use trace::{SpanId, TraceId, TraceParent};

/// A boxed future, the return type of the object-safe async methods of this crate.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
