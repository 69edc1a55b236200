//! The way back to the caller while its call runs: progress, log messages, questions.

use crate::{BoxFuture, Json, Quota};

/// What the caller's client can do, as it declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientFeatures {
    /// It can show a form and return what was filled in.
    pub elicitation_form: bool,
    /// It can open a URL for its user.
    pub elicitation_url: bool,
    /// It can ask its model.
    pub sampling: bool,
    /// It can name the folders it works in.
    pub roots: bool,
    /// It has declared nothing: any program can answer, and may not expect to be asked.
    pub presumed: bool,
}

/// A question that a service asks the caller: an MCP request in the direction server to client.
#[derive(Clone, Debug)]
pub struct Question {
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: String,
    /// The request's params as they came.
    pub params: Json,
}

/// Why a question has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    /// The caller's client did not declare the capability.
    #[error("the client does not support {0}")]
    Unsupported(String),
    /// The client answered with a JSON-RPC error object.
    #[error("the client answered with an error: {0}")]
    Refused(Json),
    /// The client went away or did not answer in time.
    #[error("the client did not answer: {0}")]
    Gone(String),
}

/// The way back to the caller while its call runs.
pub trait Client: Send + Sync {
    /// What the caller's client can do.
    fn features(&self) -> ClientFeatures;

    /// Whether the caller asked for progress notifications.
    fn wants_progress(&self) -> bool {
        false
    }

    /// How long the call has waited in all for the caller's answers. That time does not count against its deadline.
    fn waited(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// How long the caller waits for a tool that can go on by itself; it follows what takes longer
    /// ([`Outcome::Task`](crate::Outcome::Task)). None where it can follow nothing.
    fn patience(&self) -> Option<std::time::Duration> {
        None
    }

    /// Tells what is left of the caller's limits, beside the answer. Never blocks; may drop.
    fn quotas(&self, quotas: &[Quota]) {
        let _ = quotas;
    }

    /// Passes on a `notifications/progress`. `params` is the object as it came; the door puts the caller's own
    /// `progressToken` in it. Never blocks; may drop.
    fn progress(&self, params: &Json) {
        let _ = params;
    }

    /// Passes on a `notifications/message`. Never blocks; may drop.
    fn log(&self, params: &Json) {
        let _ = params;
    }

    /// Asks the caller and waits for its answer, the result object of the request.
    fn ask<'a>(&'a self, question: Question) -> BoxFuture<'a, Result<Json, AskError>>;
}

/// A caller that can be told and asked nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoClient;

impl Client for NoClient {
    fn features(&self) -> ClientFeatures {
        ClientFeatures::default()
    }

    fn ask<'a>(&'a self, question: Question) -> BoxFuture<'a, Result<Json, AskError>> {
        Box::pin(async move { Err(AskError::Unsupported(question.method)) })
    }
}
