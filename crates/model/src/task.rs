//! Tasks: calls that go on by themselves while their caller follows them (the MCP extension
//! `io.modelcontextprotocol/tasks`, and the tasks of revision 2025-11-25).

use std::sync::Arc;

use jiff::Timestamp;

use crate::{Json, ToolResult};

/// A call that goes on by itself.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its identity, as its service knows it.
    pub id: Arc<str>,
    /// How it is.
    pub state: TaskState,
    /// What is to be said of that, for people and models.
    pub message: Option<String>,
    /// When it began.
    pub created: Timestamp,
    /// When anything last happened.
    pub updated: Timestamp,
    /// How long after its beginning it may be forgotten, in milliseconds; none where it is kept.
    pub ttl_ms: Option<u64>,
    /// How often to look at it, in milliseconds.
    pub poll_ms: Option<u64>,
}

/// How a task is.
#[derive(Clone, Debug)]
pub enum TaskState {
    /// It is under way.
    Working,
    /// Its end was asked for, and it has not ended yet.
    Cancelling,
    /// It needs answers: an object of question id to `{"method": …, "params": …}`.
    InputRequired(Json),
    /// It has ended with the result of the call, which may be the tool's own error.
    Completed(ToolResult),
    /// It has ended without one: a JSON-RPC error object.
    Failed(Json),
    /// It was ended.
    Cancelled,
}

/// What is asked of a task.
#[derive(Clone, Debug)]
pub enum TaskOrder {
    /// To go on with these answers to what it has asked: an object of question id to the answer's result object. Answers
    /// to other questions are passed over.
    Update(Json),
    /// To end. It may do so later, or not at all.
    Cancel,
}

impl TaskState {
    /// Whether nothing changes any more.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed(_) | Self::Failed(_) | Self::Cancelled)
    }
}
