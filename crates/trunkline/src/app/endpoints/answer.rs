//! What an answer over HTTP comes to: the output that a task asks for, or an error.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_connectors::http_client::{Answer, HttpError};
use trunkline_model::{EffectState, Json};
use trunkline_orchestrator::Fault;
use url::Url;

use super::Failed;

/// The most that an error quotes of an answer, in characters.
const MAX_QUOTE: usize = 500;

/// What a task wants of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Output {
    /// The body as it came, in Base64.
    Raw,
    /// The body, read by its content type.
    #[default]
    Content,
    /// Status, headers and content, with the request.
    Response,
}

/// What was asked, without what proves who asks.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

impl Asked {
    /// For people: without the query, in which secrets may stand.
    fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        format!("{} {url}", self.method)
    }
}

/// The output of a task. `redirect`: an answer that sends elsewhere is one too; it is never followed.
pub(super) fn output(
    asked: &Asked,
    answer: &Answer,
    output: Output,
    redirect: bool,
) -> Result<Value, Failed> {
    let status = answer.status;
    if !(status.is_success() || redirect && status.is_redirection()) {
        return Err(unsuccessful(asked, answer));
    }
    Ok(match output {
        Output::Raw => json!(STANDARD.encode(&answer.body)),
        Output::Content => content(answer),
        Output::Response => json!({
            "request": {
                "method": asked.method.as_str(),
                "uri": asked.url.as_str(),
                "headers": headers(&asked.headers),
            },
            "statusCode": status.as_u16(),
            "headers": headers(&answer.headers),
            "content": content(answer),
        }),
    })
}

/// The error where there was no answer.
pub(super) fn unanswered(asked: &Asked, error: &HttpError) -> Failed {
    let detail = format!("{}: {error}", asked.shown());
    let unknown = if asked.method.is_safe() { EffectState::None } else { EffectState::Unknown };
    let communication =
        |title, transient| Fault { transient, ..Fault::standard("communication", 502, title, &*detail) };
    match error {
        HttpError::Connect(_) => {
            let fault = Fault::standard("communication", 503, "Service Unavailable", &*detail);
            (Fault { transient: true, ..fault }, EffectState::None)
        }
        HttpError::TimedOut => (Fault::timeout(&*detail), EffectState::Unknown),
        HttpError::Broken(_) => (communication("Connection Broken", true), unknown),
        HttpError::TooLarge { .. } => (communication("Answer Too Large", false), unknown),
    }
}

fn unsuccessful(asked: &Asked, answer: &Answer) -> Failed {
    let status = answer.status;
    let body = String::from_utf8_lossy(&answer.body);
    let quote: String = body.trim().chars().take(MAX_QUOTE).collect();
    let said = if quote.is_empty() { quote } else { format!(": {quote}") };
    let hint = if status.is_redirection() { " (`redirect: true` takes that for an answer)" } else { "" };
    let detail = format!("{} answered {}{hint}{said}", asked.shown(), status.as_u16());
    let title = status.canonical_reason().unwrap_or("Communication Error");
    let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    let fault = Fault {
        transient: again.contains(&status)
            || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED),
        ..Fault::standard("communication", status.as_u16(), title, detail)
    };
    // Of an answer that sends elsewhere nobody knows what was done before.
    (fault, if status.is_client_error() { EffectState::None } else { EffectState::Unknown })
}

/// The body, read by its content type: JSON where it is JSON, else text, and Base64 where it is no text.
fn content(answer: &Answer) -> Value {
    let media_type = answer.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let is_json = essence == "application/json" || essence == "text/json" || essence.ends_with("+json");
    if answer.body.is_empty() && !essence.starts_with("text/") {
        return Value::Null;
    }
    // Within bounds of depth, too.
    if is_json && let Ok(json) = Json::parse(answer.body.clone()) {
        return json.to_value();
    }
    match std::str::from_utf8(&answer.body) {
        Ok(text) => json!(text),
        Err(_) => json!(STANDARD.encode(&answer.body)),
    }
}

/// Headers as an object; several of a name are joined by commas (RFC 9110, section 5.3).
fn headers(headers: &HeaderMap) -> Value {
    let mut out = Map::new();
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_sensitive()) {
        let value = String::from_utf8_lossy(value.as_bytes());
        match out.get_mut(name.as_str()) {
            Some(Value::String(text)) => {
                text.push_str(", ");
                text.push_str(&value);
            }
            _ => {
                out.insert(name.as_str().to_owned(), json!(value));
            }
        }
    }
    Value::Object(out)
}
