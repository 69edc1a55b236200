//! Failures as RFC 9457 problem details.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Response as HttpResponse, StatusCode};
use serde_json::{Value, json};
use trunkline_model::{Failure, Retry};

use crate::{Error, aside};

/// A failure on its way to an HTTP caller.
pub(crate) struct Problem(pub(crate) Failure);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

impl From<trunkline_orchestrator::Error> for Problem {
    fn from(error: trunkline_orchestrator::Error) -> Self {
        Self(error.into())
    }
}

impl From<trunkline_telemetry::Error> for Problem {
    fn from(error: trunkline_telemetry::Error) -> Self {
        Self(error.into())
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        response(&self.0)
    }
}

/// The members of the problem details.
pub(crate) fn details(failure: &Failure) -> Value {
    let mut details = json!({
        "type": format!("https://trunkline.dev/errors/{}", failure.code),
        "title": failure.title,
        "status": failure.status,
        "detail": failure.detail,
        "code": failure.code,
        "fault": failure.fault,
        "retryable": failure.retry != Retry::No,
        "effect": failure.effect,
        "next": failure.next,
    });
    if let Retry::After(wait) = failure.retry {
        details["retry_after_ms"] = json!(wait.as_millis());
    }
    if let Some(Value::Object(more)) = failure.data.as_ref().map(|data| data.to_value()) {
        for (key, value) in more {
            details[&key] = value;
        }
    }
    if let Some(error) = &failure.rpc {
        details["service_error"] = error.to_value();
    }
    details
}

/// A failure as a response.
pub(crate) fn response(failure: &Failure) -> HttpResponse<Body> {
    let mut response = HttpResponse::new(Body::from(details(failure).to_string()));
    *response.status_mut() =
        StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if failure.status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    headers.extend(aside::of_failure(failure));
    response
}
