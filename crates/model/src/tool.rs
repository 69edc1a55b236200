//! The standard tool interface.

use std::sync::Arc;

use crate::{
    BoxFuture, Call, CallContext, Capability, Effects, Failure, Json, Outcome, Schema, ServiceId, Violation,
};

/// What a tool says of itself.
#[derive(Clone, Debug)]
pub struct ToolSpec {
    /// The service it belongs to.
    pub service: ServiceId,
    /// Its own name there.
    pub name: Arc<str>,
    /// Its version, or the version of its service; empty where unknown.
    pub version: Arc<str>,
    /// A title for people.
    pub title: Option<String>,
    /// What it does, for models and people.
    pub description: String,
    /// What it can do, as terms.
    pub capabilities: Vec<Capability>,
    /// Names of the services or tools that it needs to work.
    pub dependencies: Vec<String>,
    /// The schema of its arguments.
    pub input: Schema,
    /// The schema of its structured result.
    pub output: Option<Schema>,
    /// What it does to the world.
    pub effects: Effects,
    /// The MCP tool object as the server sent it, where it came from one: listed as it came, but for the name.
    pub raw: Option<Json>,
}

/// The standard tool interface: every tool, whatever stands behind it, is called through this.
pub trait Tool: Send + Sync {
    /// What the tool says of itself: name, version, capabilities, dependencies, schemas, effects.
    fn spec(&self) -> &ToolSpec;

    /// What the tool can do, as terms.
    fn capabilities(&self) -> &[Capability] {
        &self.spec().capabilities
    }

    /// Whether it can go on by itself, so that a call may come to [`Outcome::Task`].
    fn goes_on(&self) -> bool {
        false
    }

    /// Checks arguments against the tool's schema.
    ///
    /// # Errors
    /// Every violation with its path and what was expected there.
    fn validate_parameters(&self, parameters: &Json) -> Result<(), Vec<Violation>> {
        self.spec().input.validate(parameters)
    }

    /// The tool keeps a journal of its own in the event log, which is on the disk before it answers: the record of its
    /// call need not be waited for.
    fn journals(&self) -> bool {
        false
    }

    /// Calls the tool. Dropping the future cancels the call.
    ///
    /// # Errors
    /// [`Failure`] where the tool could not be asked or did not answer. A tool's own error is an [`Outcome`].
    fn execute<'a>(
        &'a self,
        call: &'a Call,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>>;
}
