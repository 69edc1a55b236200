//! A span as it is kept, shown and sent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_model::{SpanId, TraceId};

/// What a span is to the one on the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// There is no other side.
    #[default]
    Internal,
    /// It answers a request.
    Server,
    /// It makes a request.
    Client,
    /// It sends a message.
    Producer,
    /// It takes a message.
    Consumer,
}

/// How a span ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing is said.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// With an error.
    Error,
}

/// Something that happened within a span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanEvent {
    /// When, in nanoseconds since 1970.
    pub time: u64,
    /// What.
    pub name: String,
    /// More of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(Arc<str>, Value)>,
}

/// Another span that a span has to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its trace.
    pub trace: TraceId,
    /// It.
    pub span: SpanId,
}

/// A span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// It.
    pub id: SpanId,
    /// The span that it is a child of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SpanId>,
    /// What is done.
    pub name: String,
    /// What it is to the one on the other side.
    #[serde(default)]
    pub kind: SpanKind,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// How it ended.
    #[serde(default)]
    pub status: Status,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The service that tells it: `service.name` of its resource.
    pub service: Arc<str>,
    /// It was received, and is none of ours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub received: bool,
    /// More of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(Arc<str>, Value)>,
    /// What happened within.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<SpanEvent>,
    /// What it has to do with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

/// The name that our own spans have as their service.
pub const OURS: &str = "trunkline";

/// An attribute.
#[must_use]
pub fn attribute(name: &'static str, value: impl Into<Value>) -> (Arc<str>, Value) {
    (Arc::from(name), value.into())
}

impl Span {
    /// One of our own.
    #[must_use]
    pub fn ours(
        trace: TraceId,
        id: SpanId,
        parent: Option<SpanId>,
        name: String,
        start: u64,
        end: u64,
    ) -> Self {
        thread_local! {
            static NAME: Arc<str> = Arc::from(OURS);
        }
        Self {
            trace,
            id,
            parent,
            name,
            kind: SpanKind::Internal,
            start,
            end: end.max(start),
            status: Status::Unset,
            error: None,
            service: NAME.with(Clone::clone),
            received: false,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
        }
    }

    /// The text of an attribute.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| &**known == name)?.1.as_str()
    }

    /// How long it took, in nanoseconds.
    #[must_use]
    pub fn took(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}
