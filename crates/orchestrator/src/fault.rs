//! Errors within a run: the problem details of the Open Workflow Specification (RFC 9457 in shape).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_model::{Failure, Fault as Whose};

/// Where the specification's own error types live.
const BASE: &str = "https://open-workflow-specification.org/dsl/errors/types/";

/// An error within a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.words())]
pub struct Fault {
    /// A URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status that fits.
    pub status: u16,
    /// A short name of the kind.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// What went wrong this time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// The task, as a JSON Pointer into the definition.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub instance: Option<Arc<str>>,
    /// The code of our own error, where it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<Arc<str>>,
    /// The same request may succeed later.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub transient: bool,
    /// It may have happened all the same, and trying again would not find out.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub unknown: bool,
}

impl Fault {
    /// One of the specification's own types: `communication`, `timeout`, `expression`…
    #[must_use]
    pub fn standard(name: &str, status: u16, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("{BASE}{name}"),
            status,
            title: Some(title.to_owned()),
            detail: Some(detail.into()),
            instance: None,
            code: None,
            transient: false,
            unknown: false,
        }
    }

    /// Something took too long.
    #[must_use]
    pub fn timeout(detail: impl Into<String>) -> Self {
        Self { transient: true, ..Self::standard("timeout", 408, "Timeout", detail) }
    }

    /// An expression has no value.
    #[must_use]
    pub fn expression(text: &str, error: &dyn std::fmt::Display) -> Self {
        let text: String = text.chars().take(200).collect();
        Self::standard("expression", 400, "Expression Error", format!("{error} in: {text}"))
    }

    /// Data does not fit its schema.
    #[must_use]
    pub fn validation(detail: impl Into<String>) -> Self {
        Self::standard("validation", 400, "Validation Error", detail)
    }

    /// The definition can't be followed.
    #[must_use]
    pub fn configuration(detail: impl Into<String>) -> Self {
        Self::standard("configuration", 400, "Configuration Error", detail)
    }

    /// The engine itself has failed.
    #[must_use]
    pub fn runtime(detail: impl Into<String>) -> Self {
        Self { transient: true, ..Self::standard("runtime", 500, "Runtime Error", detail) }
    }

    /// It was cancelled.
    #[must_use]
    pub fn cancelled(detail: impl Into<String>) -> Self {
        Self::standard("runtime", 499, "Cancelled", detail)
    }

    /// Whether it is what the tool itself has answered to the call, and not what kept the call from it.
    #[must_use]
    pub fn is_an_answer(&self) -> bool {
        self.code.is_none() && !self.transient && self.status < 500 && !matches!(self.status, 408 | 425 | 429)
    }

    /// At a task.
    #[must_use]
    pub fn at(mut self, pointer: &str) -> Self {
        self.instance.get_or_insert_with(|| Arc::from(pointer));
        self
    }

    /// For a person.
    #[must_use]
    pub fn words(&self) -> String {
        let title = self.title.as_deref().unwrap_or("Error");
        match &self.detail {
            Some(detail) => format!("{title}: {detail}"),
            None => title.to_owned(),
        }
    }

    /// As a value that expressions can look into.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

impl From<&Failure> for Fault {
    fn from(failure: &Failure) -> Self {
        let name = match (failure.status, failure.fault) {
            (401, _) => "authentication",
            (403, _) => "authorization",
            (408 | 504, _) => "timeout",
            (_, Whose::Caller) => "validation",
            (_, Whose::Operator) => "configuration",
            (_, Whose::Gateway) => "runtime",
            (_, Whose::Service) => "communication",
        };
        Self {
            code: Some(Arc::from(failure.code)),
            transient: failure.retry != trunkline_model::Retry::No,
            ..Self::standard(name, failure.status, failure.title, failure.detail.clone())
        }
    }
}
