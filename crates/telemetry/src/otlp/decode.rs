//! Spans that come in, in protobuf or JSON. All of it is from outside: names, values and numbers have bounds, and a span
//! that is none is left out and counted.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use serde_json::{Map, Value, json};
use trunkline_model::{Json, SpanId, TraceId};

use super::proto;
use crate::Error;
use crate::span::{Link, Span, SpanEvent, SpanKind, Status};

/// The most spans of one request.
const MAX_SPANS: usize = 10_000;

/// The most attributes, events and links of a span.
const MAX_ATTRIBUTES: usize = 64;
const MAX_EVENTS: usize = 32;

/// The longest name and value, in characters.
const MAX_NAME: usize = 256;
const MAX_VALUE: usize = 2_048;

/// How deep values may nest.
const MAX_DEPTH: usize = 8;

/// The service of spans whose resource names none, as OpenTelemetry has it.
const UNKNOWN: &str = "unknown_service";

/// What was received.
#[derive(Debug)]
pub struct Received {
    /// The spans.
    pub spans: Vec<Span>,
    /// How many were no spans.
    pub rejected: usize,
    /// Whether it was JSON; the answer is the same then.
    pub json: bool,
}

impl Received {
    /// The body of the answer.
    #[must_use]
    pub fn answer(&self) -> Bytes {
        let rejected = i64::try_from(self.rejected).unwrap_or(i64::MAX);
        let words = "spans without a trace, a span or a time were left out";
        if self.json {
            let answer = match rejected {
                0 => json!({}),
                _ => {
                    json!({"partialSuccess": {"rejectedSpans": rejected.to_string(), "errorMessage": words}})
                }
            };
            return Bytes::from(answer.to_string());
        }
        let partial_success = (rejected > 0)
            .then(|| proto::PartialSuccess { rejected_spans: rejected, error_message: words.to_owned() });
        Bytes::from(proto::ExportResponse { partial_success }.encode_to_vec())
    }
}

/// Reads an `ExportTraceServiceRequest` of this media type.
///
/// # Errors
/// [`Error::NotOtlp`].
pub fn decode(media_type: &str, body: Bytes) -> Result<Received, Error> {
    let kind = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (request, json) = match kind.as_str() {
        "application/x-protobuf" | "application/protobuf" => {
            let request =
                proto::ExportRequest::decode(body).map_err(|error| Error::NotOtlp(error.to_string()))?;
            (request, false)
        }
        "application/json" => {
            // The model's reader bounds the nesting.
            let json = Json::parse(body).map_err(|error| Error::NotOtlp(error.to_string()))?;
            (of_json(&json.to_value())?, true)
        }
        other => {
            let other: String = other.chars().take(64).collect();
            return Err(Error::NotOtlp(format!("the media type {other:?} is not known")));
        }
    };
    let (mut spans, mut rejected) = (Vec::new(), 0);
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = service_of(&attributes);
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            if spans.len() >= MAX_SPANS {
                return Err(Error::NotOtlp(format!("there are more than {MAX_SPANS} spans")));
            }
            match read(span, &service) {
                Some(span) => spans.push(span),
                None => rejected += 1,
            }
        }
    }
    Ok(Received { spans, rejected, json })
}

fn service_of(attributes: &[proto::KeyValue]) -> Arc<str> {
    let name = attributes.iter().find(|attribute| attribute.key == crate::semconv::SERVICE_NAME);
    match name.and_then(|name| name.value.as_ref()?.value.as_ref()) {
        Some(proto::Value::String(name)) if !name.is_empty() => Arc::from(bounded(name, MAX_NAME)),
        _ => Arc::from(UNKNOWN),
    }
}

fn read(span: proto::Span, service: &Arc<str>) -> Option<Span> {
    let trace = TraceId::new(span.trace_id.as_slice().try_into().ok()?)?;
    let id = SpanId::new(span.span_id.as_slice().try_into().ok()?)?;
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    // What SQLite can't hold is no time.
    if start == 0 || end < start || i64::try_from(end).is_err() {
        return None;
    }
    let status = span.status.unwrap_or_default();
    let error = status.code == 2;
    Some(Span {
        trace,
        id,
        parent: span.parent_span_id.as_slice().try_into().ok().and_then(SpanId::new),
        name: bounded(&span.name, MAX_NAME),
        kind: match span.kind {
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Internal,
        },
        start,
        end,
        status: match status.code {
            1 => Status::Ok,
            2 => Status::Error,
            _ => Status::Unset,
        },
        error: (error && !status.message.is_empty()).then(|| bounded(&status.message, MAX_VALUE)),
        service: service.clone(),
        received: true,
        attributes: attributes(span.attributes),
        events: span
            .events
            .into_iter()
            .take(MAX_EVENTS)
            .map(|event| SpanEvent {
                time: event.time_unix_nano,
                name: bounded(&event.name, MAX_NAME),
                attributes: attributes(event.attributes),
            })
            .collect(),
        links: span.links.into_iter().take(MAX_EVENTS).filter_map(|link| of_link(&link)).collect(),
    })
}

fn of_link(link: &proto::Link) -> Option<Link> {
    let trace = TraceId::new(link.trace_id.as_slice().try_into().ok()?)?;
    Some(Link { trace, span: SpanId::new(link.span_id.as_slice().try_into().ok()?)? })
}

/// Attributes from outside. What is ours to say nobody else says, and what looks like a secret is left out.
fn attributes(attributes: Vec<proto::KeyValue>) -> Vec<(Arc<str>, Value)> {
    let ours = |key: &str| key.starts_with("trunkline.") || key == crate::semconv::ENDUSER;
    let mut object = Map::new();
    for attribute in attributes.into_iter().take(MAX_ATTRIBUTES) {
        if !ours(&attribute.key) {
            object.insert(bounded(&attribute.key, MAX_NAME), value(attribute.value, 0));
        }
    }
    let mut object = Value::Object(object);
    crate::redact::hide(&mut object);
    let Value::Object(object) = object else { return Vec::new() };
    object.into_iter().map(|(key, value)| (Arc::from(key), value)).collect()
}

fn value(any: Option<proto::AnyValue>, depth: usize) -> Value {
    let Some(any) = any.and_then(|any| any.value) else { return Value::Null };
    match any {
        proto::Value::String(text) => Value::from(bounded(&text, MAX_VALUE)),
        proto::Value::Bool(bool) => Value::from(bool),
        proto::Value::Int(int) => Value::from(int),
        proto::Value::Double(double) => Value::from(double),
        proto::Value::Bytes(bytes) => Value::from(format!("{} bytes", bytes.len())),
        _ if depth >= MAX_DEPTH => Value::from("…"),
        proto::Value::Array(array) => {
            array.values.into_iter().take(MAX_ATTRIBUTES).map(|any| value(Some(any), depth + 1)).collect()
        }
        proto::Value::List(list) => {
            let one = |pair: proto::KeyValue| (bounded(&pair.key, MAX_NAME), value(pair.value, depth + 1));
            Value::Object(list.values.into_iter().take(MAX_ATTRIBUTES).map(one).collect())
        }
    }
}

fn bounded(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// The JSON form (OTLP/JSON): identities in hexadecimal, 64-bit numbers as text or numbers, enumerations as numbers.
fn of_json(json: &Value) -> Result<proto::ExportRequest, Error> {
    let Some(resources) = json.get("resourceSpans").and_then(Value::as_array) else {
        if json.is_object() {
            return Ok(proto::ExportRequest::default());
        }
        return Err(Error::NotOtlp("it is no object with resourceSpans".to_owned()));
    };
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let resource = |resource: &Value| proto::ResourceSpans {
        resource: Some(proto::Resource { attributes: pairs(&resource["resource"]["attributes"]) }),
        scope_spans: list(resource, "scopeSpans")
            .iter()
            .map(|scope| proto::ScopeSpans {
                scope: None,
                spans: list(scope, "spans").iter().map(json_span).collect(),
            })
            .collect(),
    };
    Ok(proto::ExportRequest { resource_spans: resources.iter().map(resource).collect() })
}

fn json_span(span: &Value) -> proto::Span {
    let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
    let list = |name: &str| span[name].as_array().cloned().unwrap_or_default();
    proto::Span {
        trace_id: hex(&span["traceId"]),
        span_id: hex(&span["spanId"]),
        trace_state: String::new(),
        parent_span_id: hex(&span["parentSpanId"]),
        name: text("name"),
        kind: enumeration(
            &span["kind"],
            &["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"],
        ),
        start_time_unix_nano: number(&span["startTimeUnixNano"]),
        end_time_unix_nano: number(&span["endTimeUnixNano"]),
        attributes: pairs(&span["attributes"]),
        events: list("events")
            .iter()
            .map(|event| proto::Event {
                time_unix_nano: number(&event["timeUnixNano"]),
                name: event["name"].as_str().unwrap_or_default().to_owned(),
                attributes: pairs(&event["attributes"]),
            })
            .collect(),
        links: list("links")
            .iter()
            .map(|link| proto::Link { trace_id: hex(&link["traceId"]), span_id: hex(&link["spanId"]) })
            .collect(),
        status: span["status"].as_object().map(|status| proto::Status {
            message: status.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
            code: enumeration(status.get("code").unwrap_or(&Value::Null), &["UNSET", "OK", "ERROR"]),
        }),
        flags: 0,
    }
}

/// An enumeration as a number, or, as some senders have it, by its name.
fn enumeration(value: &Value, names: &[&str]) -> i32 {
    let named = value.as_str().and_then(|name| names.iter().position(|known| name.ends_with(known)));
    let number = value.as_i64().or_else(|| named.and_then(|index| i64::try_from(index).ok()));
    number.and_then(|number| i32::try_from(number).ok()).unwrap_or(0)
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default();
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0 && digits.len() <= 32).unwrap_or_default();
    digits.chunks_exact(2).map(|two| u8::try_from(two[0] << 4 | two[1]).unwrap_or(0)).collect()
}

fn pairs(value: &Value) -> Vec<proto::KeyValue> {
    let pair = |pair: &Value| proto::KeyValue {
        key: pair["key"].as_str().unwrap_or_default().to_owned(),
        value: Some(any(&pair["value"])),
    };
    value.as_array().map(|all| all.iter().take(MAX_ATTRIBUTES).map(pair).collect()).unwrap_or_default()
}

fn any(value: &Value) -> proto::AnyValue {
    let Some((kind, value)) = value.as_object().and_then(|object| object.iter().next()) else {
        return proto::AnyValue::default();
    };
    let value = match kind.as_str() {
        "stringValue" => value.as_str().map(|text| proto::Value::String(text.to_owned())),
        "boolValue" => value.as_bool().map(proto::Value::Bool),
        "intValue" => value.as_i64().or_else(|| value.as_str()?.parse().ok()).map(proto::Value::Int),
        "doubleValue" => value.as_f64().map(proto::Value::Double),
        "arrayValue" => value["values"].as_array().map(|values| {
            proto::Value::Array(proto::ArrayValue {
                values: values.iter().take(MAX_ATTRIBUTES).map(any).collect(),
            })
        }),
        "kvlistValue" => Some(proto::Value::List(proto::KeyValueList { values: pairs(&value["values"]) })),
        "bytesValue" => value.as_str().map(|text| proto::Value::Bytes(text.as_bytes().to_vec())),
        _ => None,
    };
    proto::AnyValue { value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::otlp::encode;
    use crate::span::attribute;

    #[test]
    fn what_is_written_is_read_again() {
        let (trace, id) = (TraceId::new([1; 16]).unwrap(), SpanId::new([2; 8]).unwrap());
        let mut span = Span::ours(trace, id, SpanId::new([3; 8]), "work".to_owned(), 5, 9);
        span.kind = SpanKind::Client;
        span.status = Status::Error;
        span.error = Some("no".to_owned());
        span.attributes = vec![attribute("a", 1), attribute("b", json!({"c": [1.5, "x", true]}))];
        span.events = vec![SpanEvent { time: 6, name: "e".to_owned(), attributes: Vec::new() }];
        span.links = vec![Link { trace, span: id }];
        let body =
            encode(std::slice::from_ref(&span), &[("service.name".to_owned(), "trunkline".to_owned())]);
        let received = decode("application/x-protobuf", body).unwrap();
        span.received = true;
        assert_eq!((received.spans, received.rejected), (vec![span], 0));
    }

    #[test]
    fn the_json_form_is_read_and_what_is_no_span_is_left_out() {
        let body = json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "agent"}}]},
            "scopeSpans": [{"spans": [
                {"traceId": "0AF7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "prompt",
                 "kind": 1, "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": 1700000000000000001u64,
                 "attributes": [{"key": "api_key", "value": {"stringValue": "s3cret"}},
                    {"key": "trunkline.call.id", "value": {"stringValue": "forged"}},
                    {"key": "n", "value": {"intValue": "7"}}],
                 "status": {"code": "STATUS_CODE_ERROR", "message": "m"}},
                {"traceId": "00", "spanId": "b7ad6b7169203331", "name": "none"},
            ]}],
        }]});
        let received = decode("application/json; charset=utf-8", Bytes::from(body.to_string())).unwrap();
        assert_eq!((received.spans.len(), received.rejected), (1, 1));
        let span = &received.spans[0];
        assert_eq!((&*span.service, span.status, span.took()), ("agent", Status::Error, 1));
        assert_eq!(span.attributes, [attribute("api_key", "***"), attribute("n", 7)]);
        assert!(String::from_utf8_lossy(&received.answer()).contains("\"rejectedSpans\":\"1\""));
        assert!(decode("text/plain", Bytes::new()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(0..=255_u8, 0..200), text in "\\PC{0,80}") {
            let _ = decode("application/x-protobuf", Bytes::from(bytes));
            let _ = decode("application/json", Bytes::from(text));
        }
    }
}
