//! Publishing events: CloudEvents 1.0 in the structured, batch and binary modes of its HTTP binding.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};
use trunkline_model::{Failure, Json as RawJson, Operation, Outcome, Principal};
use trunkline_orchestrator::choreography::PUBLISH;

use super::problem::{self, Problem};
use crate::pipeline::Request;
use crate::server::read_body;
use crate::{Error, Gateway};

/// The most events of a batch.
const MAX_BATCH: usize = 100;

/// The largest body: a batch of the largest events is sent in parts.
const MAX_BODY: usize = 4 << 20;

/// The attributes that are arguments of the tool by themselves; all others are extensions.
const ATTRIBUTES: [&str; 9] =
    ["type", "source", "subject", "id", "time", "data", "data_base64", "datacontenttype", "dataschema"];

/// Publishes an event, or up to 100: CloudEvents 1.0 as `application/cloudevents+json`,
/// `application/cloudevents-batch+json`, or with its attributes in `ce-` headers. The same as a call of the tool
/// `publish_event`. One that was published before under the same source and id is not published again.
#[utoipa::path(post, path = "/v1/events", request_body = Value,
    responses((status = 200, description = "Where it stands; of a batch, `events` with an answer for each", body = Value),
        (status = 422, description = "Not an event")))]
pub(crate) async fn publish(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let limit = gateway.rules.load().config.max_request_bytes.min(MAX_BODY);
    let body = read_body(body, limit).await?;
    match given(&headers, &body)? {
        Given::One(arguments) => Ok(Json(call(&gateway, &principal, arguments).await?)),
        Given::Batch(batch) => {
            let mut answers = Vec::with_capacity(batch.len());
            for arguments in batch {
                let answer = match arguments {
                    Ok(arguments) => call(&gateway, &principal, arguments).await,
                    Err(error) => Err(error.into()),
                };
                answers.push(answer.unwrap_or_else(|failure| json!({"problem": problem::details(&failure)})));
            }
            Ok(Json(json!({"events": answers})))
        }
    }
}

/// Calls the tool, by the pipeline.
pub(crate) async fn call(
    gateway: &Arc<Gateway>,
    principal: &Arc<Principal>,
    arguments: Value,
) -> Result<Value, Failure> {
    let request = Request {
        id: gateway.new_call(),
        door: "http",
        operation: Operation::CallTool,
        name: Arc::from(PUBLISH),
        arguments: RawJson::from_value(&arguments),
        meta: None,
        resume: None,
        idempotency_key: None,
        transaction: None,
        stands_in: false,
        priority: None,
        wish: None,
        // The event itself is durable before the answer.
        journaled: true,
    };
    match gateway.call(request, gateway.context(principal.clone())).await? {
        Outcome::Complete(result) => {
            let mut body = result.body.to_value();
            Ok(body["structuredContent"].take())
        }
        // The tool does neither.
        Outcome::InputRequired(_) | Outcome::Task(_) => {
            Err(Error::Params("the tool gave no answer".to_owned()).into())
        }
    }
}

/// What a request brings.
enum Given {
    One(Value),
    Batch(Vec<Result<Value, Error>>),
}

fn given(headers: &HeaderMap, body: &Bytes) -> Result<Given, Error> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if headers.contains_key("ce-type") && !plain.starts_with("application/cloudevents") {
        return binary(headers, kind, &plain, body).map(Given::One);
    }
    let json = RawJson::parse(body.clone()).map_err(|error| Error::Params(format!("the body is {error}")))?;
    match json.to_value() {
        Value::Array(events) if events.len() > MAX_BATCH => {
            Err(Error::Params(format!("a batch has at most {MAX_BATCH} events")))
        }
        Value::Array(events) => Ok(Given::Batch(events.into_iter().map(structured).collect())),
        event => structured(event).map(Given::One),
    }
}

/// The arguments of the tool for an event in the JSON format.
pub(crate) fn structured(event: Value) -> Result<Value, Error> {
    let Value::Object(members) = event else {
        return Err(Error::Params("an event is a JSON object".to_owned()));
    };
    let mut arguments = Map::new();
    let mut extensions = Map::new();
    for (name, value) in members {
        match &*name {
            "specversion" if value == "1.0" => {}
            "specversion" => return Err(Error::Params("specversion is to be \"1.0\"".to_owned())),
            name if ATTRIBUTES.contains(&name) => drop(arguments.insert(name.to_owned(), value)),
            _ => drop(extensions.insert(name, value)),
        }
    }
    if !extensions.is_empty() {
        arguments.insert("extensions".to_owned(), Value::Object(extensions));
    }
    Ok(Value::Object(arguments))
}

/// The arguments of the tool for an event whose attributes stand in headers and whose data is the body.
fn binary(headers: &HeaderMap, kind: &str, plain: &str, body: &Bytes) -> Result<Value, Error> {
    let mut event = Map::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let unreadable = || Error::Params(format!("the header ce-{name} can't be read"));
        let value = value.to_str().ok().and_then(percent_decoded).ok_or_else(unreadable)?;
        event.insert(name.to_owned(), json!(value));
    }
    for name in ["data", "data_base64", "datacontenttype"] {
        event.remove(name);
    }
    if !kind.is_empty() {
        event.insert("datacontenttype".to_owned(), json!(kind));
    }
    if plain == "application/json" || plain.ends_with("+json") {
        let data =
            RawJson::parse(body.clone()).map_err(|error| Error::Params(format!("the body is {error}")))?;
        event.insert("data".to_owned(), data.to_value());
    } else if !body.is_empty() {
        match std::str::from_utf8(body) {
            Ok(text) => event.insert("data".to_owned(), json!(text)),
            Err(_) => event.insert("data_base64".to_owned(), json!(STANDARD.encode(body))),
        };
    }
    structured(Value::Object(event))
}

/// A header's value as CloudEvents writes it: UTF-8, percent-encoded.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| ((*name).parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn one(all: &[(&'static str, &str)], body: &'static [u8]) -> Value {
        match given(&headers(all), &Bytes::from_static(body)) {
            Ok(Given::One(arguments)) => arguments,
            Ok(Given::Batch(_)) => panic!("a batch"),
            Err(error) => json!(error.to_string()),
        }
    }

    #[test]
    fn all_modes_give_the_same_arguments() {
        let expected = json!({"type": "a.b", "source": "/s €", "id": "1", "data": {"n": 1}, "extensions": {"shop": "x"}});
        let structured = "{\"specversion\":\"1.0\",\"type\":\"a.b\",\"source\":\"/s €\",\"id\":\"1\",\"shop\":\"x\",\"data\":{\"n\":1}}";
        let kind = ("content-type", "application/cloudevents+json; charset=utf-8");
        assert_eq!(one(&[kind], structured.as_bytes()), expected);
        let attributes = [
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-type", "a.b"),
            ("ce-source", "/s%20%E2%82%AC"),
            ("ce-id", "1"),
            ("ce-shop", "x"),
        ];
        let mut binary = one(&attributes, b"{\"n\":1}");
        assert_eq!(
            binary.as_object_mut().unwrap().remove("datacontenttype"),
            Some(json!("application/json"))
        );
        assert_eq!(binary, expected);
        let text = one(&[("content-type", "text/plain"), ("ce-type", "a")], b"hello");
        assert_eq!(text, json!({"type": "a", "data": "hello", "datacontenttype": "text/plain"}));
        let bytes = one(&[("ce-type", "a")], &[0xff]);
        assert_eq!(bytes, json!({"type": "a", "data_base64": "/w=="}));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        assert!(one(&[], b"{").as_str().unwrap().contains("the body is"));
        assert!(one(&[], b"1").as_str().unwrap().contains("JSON object"));
        assert!(one(&[], b"{\"specversion\":\"0.3\"}").as_str().unwrap().contains("1.0"));
        assert!(one(&[("ce-type", "a"), ("ce-id", "%zz")], b"").as_str().unwrap().contains("ce-id"));
    }
}
