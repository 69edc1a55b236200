//! Errors as RFC 9457 problem documents.

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

/// The status codes, under a name that says what they are where they are used.
pub(crate) use axum::http::StatusCode as status;

/// One member of a request that can't be accepted.
#[derive(Debug, Serialize)]
pub(crate) struct Violation {
    /// Where it is: a JSON Pointer in a URI fragment.
    pub(crate) pointer: String,
    /// What is asked for there.
    pub(crate) detail: String,
}

/// An error as a problem document.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    violations: Vec<Violation>,
}

impl Problem {
    /// A problem. `kind` is the last part of its type URI, `title` the same for every occurrence.
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, kind, title, detail: detail.into(), violations: Vec::new() }
    }

    /// The thing that the path names does not exist.
    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        Self::new(status::NOT_FOUND, "not-found", "Not found", format!("there is no {what} {id:?}"))
    }

    /// The thing is in a state that does not allow this.
    pub(crate) fn conflict(kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(status::CONFLICT, kind, title, detail)
    }

    /// A body or query that can't be read.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(status::BAD_REQUEST, "malformed-request", "Malformed request", detail)
    }

    /// A body that can be read but asks for something impossible.
    pub(crate) fn invalid(violations: Vec<Violation>) -> Self {
        let detail = violations
            .iter()
            .map(|violation| format!("{}: {}", violation.pointer, violation.detail))
            .collect::<Vec<_>>()
            .join("; ");
        Self {
            violations,
            ..Self::new(status::UNPROCESSABLE_ENTITY, "invalid-request", "Invalid request", detail)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("/problems/{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if !self.violations.is_empty() {
            body["errors"] = json!(self.violations);
        }
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        eprintln!("shop: the database failed: {error}");
        Self::new(
            status::INTERNAL_SERVER_ERROR,
            "storage",
            "The storage failed",
            "nothing was changed; the log of the shop says why",
        )
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(rejection.status(), "unreadable-body", "Unreadable body", rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::malformed(rejection.body_text())
    }
}
