//! What a call comes to when it does not fail.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{Freshness, Json, Task};

/// What a call comes to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The service answered, well or with an error of its own.
    Complete(ToolResult),
    /// The service needs answers before it can go on (MCP 2026-07-28, multi-round requests).
    InputRequired(InputRequired),
    /// The tool goes on by itself, and the caller follows it. Only a caller is answered so that says how long it waits
    /// ([`Client::patience`](crate::Client::patience)).
    Task(Box<Task>),
}

/// A service's answer: an MCP result object (`CallToolResult`, `GetPromptResult`, `ReadResourceResult`,
/// `CompleteResult`), whatever the service speaks.
#[derive(Clone, Debug)]
pub struct ToolResult {
    /// The result object as JSON text, as it came where the service speaks MCP.
    pub body: Json,
    /// The tool reports an error of its own (`isError`).
    pub is_error: bool,
    /// How long it may be kept, where the service says so, and whether it was.
    pub freshness: Option<Box<Freshness>>,
}

/// Questions that the service asks before it goes on.
#[derive(Clone, Debug)]
pub struct InputRequired {
    /// An object: question id to `{"method": …, "params": …}`. May be empty where only `state` is given.
    pub requests: Json,
    /// What to hand back to the service with the answers. Opaque to us.
    pub state: Option<String>,
}

impl ToolResult {
    /// A result object as it came from an MCP server.
    #[must_use]
    pub fn raw(body: Json, is_error: bool) -> Self {
        Self { body, is_error, freshness: None }
    }

    /// Text for the model.
    #[must_use]
    pub fn text(text: &str, is_error: bool) -> Self {
        Self::content(json!([{"type": "text", "text": text}]), None, is_error)
    }

    /// Content blocks and, where there is one, the structured value.
    #[must_use]
    pub fn content(content: Value, structured: Option<Value>, is_error: bool) -> Self {
        let mut body = json!({ "content": content });
        if let Some(structured) = structured {
            body["structuredContent"] = structured;
        }
        if is_error {
            body["isError"] = Value::Bool(true);
        }
        Self::raw(Json::from_value(&body), is_error)
    }

    /// A JSON document that is already text: as text for the model and as structured content for programs, with one
    /// copy of each. `structuredContent` is only set for objects, as revisions before 2026-07-28 demand.
    #[must_use]
    pub fn document(document: &Json, is_error: bool) -> Self {
        let mut body = Vec::with_capacity(document.len() * 2 + 96);
        body.extend_from_slice(br#"{"content":[{"type":"text","text":"#);
        let text = serde_json::to_vec(document.as_str()).unwrap_or_else(|_| b"\"\"".to_vec());
        body.extend_from_slice(&text);
        body.extend_from_slice(b"}]");
        if document.is_object() {
            body.extend_from_slice(br#","structuredContent":"#);
            body.extend_from_slice(document.as_bytes());
        }
        if is_error {
            body.extend_from_slice(br#","isError":true"#);
        }
        body.push(b'}');
        let body = Json::parse(Bytes::from(body)).unwrap_or_else(|_| Json::empty_object());
        Self::raw(body, is_error)
    }

    /// With what is known of how long it may be kept.
    #[must_use]
    pub fn fresh(mut self, freshness: Freshness) -> Self {
        self.freshness = Some(Box::new(freshness));
        self
    }
}

impl From<ToolResult> for Outcome {
    fn from(result: ToolResult) -> Self {
        Self::Complete(result)
    }
}
