//! What an answer over HTTP comes to: a result, a tool's own error (4xx), or a failure of the service (5xx, 429).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};
use trunkline_model::{Freshness, Json, Outcome, ToolResult};

use crate::Error;
use crate::http_client::Answer;

use super::freshness::freshness;
use super::media::{self, Kind};
use super::schema::shortened;

/// The longest text that an error quotes of an answer, in bytes.
const MAX_QUOTE: usize = 2000;

/// What the tool promises of its structured result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing.
    Open,
    /// It is an object.
    Object,
    /// It is an object with the answer as `result`.
    Wrapped,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    /// The request's URL without its query: what stands in a query may be secret.
    pub(super) url: &'a str,
    /// The request could not have changed anything.
    pub(super) safe: bool,
    /// What to say of credentials where the service refuses the caller.
    pub(super) missing: Option<&'a str>,
    /// The caller keeps an answer that the service was asked about.
    pub(super) known: bool,
}

/// What `answer` comes to.
///
/// # Errors
/// 429 and 5xx.
pub(super) fn outcome(answer: Answer, shape: Shape, origin: Origin<'_>) -> Result<Outcome, Error> {
    let status = answer.status;
    let url = || origin.url.to_owned();
    if status == StatusCode::TOO_MANY_REQUESTS {
        let retry_after = retry_after(&answer.headers);
        return Err(Error::RateLimited { url: url(), said: said(&answer), retry_after });
    }
    if status.is_server_error() {
        return Err(Error::ServiceStatus {
            url: url(),
            status: status.as_u16(),
            said: said(&answer),
            retry_after: retry_after(&answer.headers),
            safe: origin.safe,
        });
    }
    if status.is_client_error() {
        return Ok(refusal(&answer, origin).into());
    }
    if status == StatusCode::NOT_MODIFIED && origin.known {
        let freshness = freshness(&answer.headers).unwrap_or_default();
        let unchanged = ToolResult::raw(Json::empty_object(), false);
        return Ok(unchanged.fresh(Freshness { not_modified: true, ..freshness }).into());
    }
    if status.is_redirection() {
        return Ok(redirection(&answer, shape).into());
    }
    // What changes something is never kept; of the rest, only a whole answer (RFC 9111, section 3).
    let kept = origin.safe && status == StatusCode::OK;
    let freshness = if kept { freshness(&answer.headers) } else { None };
    let result = success(answer, shape, origin.url);
    Ok(match freshness {
        Some(freshness) => result.fresh(freshness),
        None => result,
    }
    .into())
}

fn success(answer: Answer, shape: Shape, url: &str) -> ToolResult {
    if answer.body.is_empty() {
        return plain(&answer.status.to_string(), shape);
    }
    let media_type = media_type(&answer.headers);
    let kind = match &media_type {
        Some(media_type) => media::kind(media_type),
        None if matches!(answer.body.trim_ascii_start().first(), Some(b'{' | b'[')) => Kind::Json,
        None if std::str::from_utf8(&answer.body).is_ok() => Kind::Text,
        None => Kind::Binary,
    };
    match kind {
        Kind::Json => match Json::parse(answer.body.clone()) {
            Ok(document) => structured(&document, shape),
            Err(_) => plain(&String::from_utf8_lossy(&answer.body), shape),
        },
        Kind::Text | Kind::Form | Kind::Multipart => plain(&String::from_utf8_lossy(&answer.body), shape),
        Kind::Binary => binary(&answer.body, media_type.as_deref(), shape, url),
    }
}

/// A JSON answer in the shape that the tool promises.
fn structured(document: &Json, shape: Shape) -> ToolResult {
    match shape {
        Shape::Wrapped => {
            let mut body = Vec::with_capacity(document.len() * 2 + 96);
            body.extend_from_slice(br#"{"content":[{"type":"text","text":"#);
            body.extend_from_slice(Value::from(document.as_str()).to_string().as_bytes());
            body.extend_from_slice(br#"}],"structuredContent":{"result":"#);
            body.extend_from_slice(document.as_bytes());
            body.extend_from_slice(b"}}");
            let body = Json::parse(body).unwrap_or_else(|_| Json::empty_object());
            ToolResult::raw(body, false)
        }
        // A promised object that did not come: an empty one fits every loosened schema.
        Shape::Object if !document.is_object() => plain(document.as_str(), shape),
        _ => ToolResult::document(document, false),
    }
}

/// An answer that is text.
fn plain(text: &str, shape: Shape) -> ToolResult {
    let promised = (shape != Shape::Open).then(|| Value::Object(Map::new()));
    ToolResult::content(json!([{"type": "text", "text": text}]), promised, false)
}

fn binary(body: &Bytes, media_type: Option<&str>, shape: Shape, url: &str) -> ToolResult {
    let media_type = media_type.unwrap_or("application/octet-stream");
    let data = STANDARD.encode(body);
    let content = match media_type.split('/').next() {
        Some(kind @ ("image" | "audio")) => json!({"type": kind, "data": data, "mimeType": media_type}),
        _ => json!({"type": "resource", "resource": {"uri": url, "mimeType": media_type, "blob": data}}),
    };
    let promised = (shape != Shape::Open).then(|| Value::Object(Map::new()));
    ToolResult::content(json!([content]), promised, false)
}

/// A tool's own error: the status, what the service says of it, and its problem document (RFC 9457) for programs.
fn refusal(answer: &Answer, origin: Origin<'_>) -> ToolResult {
    let mut text = format!("{}{}", answer.status, said(answer));
    if answer.status == StatusCode::UNAUTHORIZED
        && let Some(missing) = origin.missing
    {
        text.push_str(&format!("\nThe request went without credentials: {missing}."));
    }
    let structured = serde_json::from_slice::<Value>(&answer.body).ok().filter(Value::is_object);
    ToolResult::content(json!([{"type": "text", "text": text}]), structured, true)
}

fn redirection(answer: &Answer, shape: Shape) -> ToolResult {
    let target = answer.headers.get(header::LOCATION).and_then(|target| target.to_str().ok());
    let text = match target {
        Some(target) => format!("{}: the answer is at {target}, which was not asked.", answer.status),
        None => answer.status.to_string(),
    };
    plain(&text, shape)
}

/// What the service says of an error, after ": "; the members of a problem document, or its text.
fn said(answer: &Answer) -> String {
    if answer.body.is_empty() {
        return String::new();
    }
    let whole = || shortened(&String::from_utf8_lossy(&answer.body), MAX_QUOTE);
    let problem = serde_json::from_slice::<Value>(&answer.body).ok();
    let text = |name: &str| problem.as_ref().and_then(|problem| problem.get(name)).and_then(Value::as_str);
    let text = match (text("title"), text("detail")) {
        (Some(title), Some(detail)) => shortened(&format!("{title}: {detail}"), MAX_QUOTE),
        _ => whole(),
    };
    format!(": {text}")
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(media::essence(value)).filter(|essence| essence.contains('/'))
}

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3), at most a day.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match value.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
            u64::try_from(at.as_second() - jiff::Timestamp::now().as_second()).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds.min(86_400)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn answer(status: u16, media_type: &str, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        if !media_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(media_type).unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    const ORIGIN: Origin<'_> =
        Origin { url: "http://h/x", safe: false, missing: Some("set the key"), known: false };

    fn result(answer: Answer, shape: Shape) -> (Value, bool) {
        match outcome(answer, shape, ORIGIN).unwrap() {
            Outcome::Complete(result) => (result.body.to_value(), result.is_error),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn good_answers_become_content_by_their_media_type() {
        let (body, _) = result(answer(200, "application/hal+json", r#"{"a":1}"#), Shape::Object);
        assert_eq!(body["structuredContent"], json!({"a": 1}));
        let (body, _) = result(answer(200, "application/json", "[1]"), Shape::Wrapped);
        assert_eq!(body["structuredContent"], json!({"result": [1]}));
        assert_eq!(body["content"][0]["text"], "[1]");
        let (body, _) = result(answer(200, "application/json", "[1]"), Shape::Object);
        assert_eq!(body["structuredContent"], json!({}));
        let (body, _) = result(answer(204, "", ""), Shape::Open);
        assert_eq!(body, json!({"content": [{"type": "text", "text": "204 No Content"}]}));
        let (body, _) = result(answer(200, "text/csv; charset=utf-8", "a,b"), Shape::Open);
        assert_eq!(body["content"][0]["text"], "a,b");
        let (body, _) = result(answer(200, "image/png", "hi"), Shape::Open);
        assert_eq!(body["content"][0], json!({"type": "image", "data": "aGk=", "mimeType": "image/png"}));
        let (body, _) = result(answer(200, "application/pdf", "hi"), Shape::Open);
        let resource = json!({"uri": "http://h/x", "mimeType": "application/pdf", "blob": "aGk="});
        assert_eq!(body["content"][0], json!({"type": "resource", "resource": resource}));
        let (body, _) = result(answer(200, "application/json", "{oops"), Shape::Open);
        assert_eq!(body["content"][0]["text"], "{oops");
    }

    #[test]
    fn a_refusal_is_the_tools_own_error() {
        let problem = r#"{"title": "No such pet", "detail": "7 is not there", "status": 404}"#;
        let (body, is_error) = result(answer(404, "application/problem+json", problem), Shape::Object);
        assert!(is_error);
        assert_eq!(body["content"][0]["text"], "404 Not Found: No such pet: 7 is not there");
        assert_eq!(body["structuredContent"]["status"], 404);
        let (body, _) = result(answer(401, "", ""), Shape::Open);
        let text = body["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("set the key"), "{text}");
    }

    #[test]
    fn limits_and_breakdowns_are_failures_with_their_wait() {
        let mut limited = answer(429, "", "slow down");
        limited.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        match outcome(limited, Shape::Open, ORIGIN) {
            Err(Error::RateLimited { retry_after, said, .. }) => {
                assert_eq!((retry_after, said.as_str()), (Some(Duration::from_secs(7)), ": slow down"));
            }
            other => panic!("{other:?}"),
        }
        let mut broken = answer(503, "", "");
        broken.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("Wed, 21 Oct 2015 07:28:00 GMT"));
        match outcome(broken, Shape::Open, ORIGIN) {
            Err(Error::ServiceStatus { retry_after, status, .. }) => {
                assert_eq!((retry_after, status), (Some(Duration::ZERO), 503));
            }
            other => panic!("{other:?}"),
        }
    }
}
