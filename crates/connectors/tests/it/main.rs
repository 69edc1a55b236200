//! Tests of the connectors against real services and real commands.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where something is wrong, and tells figures"
)]

mod consul;
mod openapi_bounds;
mod openapi_calls;
mod process;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use trunkline_model::{
    Call, CallContext, CallId, Failure, Json, Operation, Outcome, Principal, Service, ServiceId, Tool,
    ToolResult,
};

/// A tool of a service by its name.
pub fn tool(service: &dyn Service, name: &str) -> Arc<dyn Tool> {
    let contents = service.contents();
    let names: Vec<_> = contents.tools.iter().map(|tool| tool.spec().name.clone()).collect();
    let tool = contents.tools.iter().find(|tool| &*tool.spec().name == name);
    tool.unwrap_or_else(|| panic!("no tool {name} among {names:?}")).clone()
}

/// A call with arguments.
pub fn call(name: &str, arguments: Value) -> Call {
    Call {
        id: CallId(uuid::Uuid::nil()),
        operation: Operation::CallTool,
        service: ServiceId::new("test"),
        name: Arc::from(name),
        arguments: Json::from(arguments),
        meta: None,
        resume: None,
        idempotency_key: None,
        known: None,
    }
}

/// A context with time enough.
pub fn context() -> CallContext {
    CallContext::unattended(Arc::new(Principal::local()), Instant::now() + Duration::from_secs(30))
}

/// Calls a tool.
pub async fn execute(service: &dyn Service, name: &str, arguments: Value) -> Result<ToolResult, Failure> {
    let outcome = tool(service, name).execute(&call(name, arguments), &context()).await?;
    match outcome {
        Outcome::Complete(result) => Ok(result),
        other => panic!("{other:?}"),
    }
}

/// The text of a result.
pub fn text(result: &ToolResult) -> String {
    result.body.to_value()["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}
