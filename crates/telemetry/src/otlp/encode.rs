//! Our spans as OTLP, in protobuf.

use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;

use super::proto;
use crate::span::{Span, SpanKind, Status};

/// Spans as an `ExportTraceServiceRequest`. `resource` are the attributes of all.
#[must_use]
pub fn encode(spans: &[Span], resource: &[(String, String)]) -> Bytes {
    let attribute = |(key, value): &(String, String)| proto::KeyValue {
        key: key.clone(),
        value: Some(any(&Value::from(value.clone()))),
    };
    let request = proto::ExportRequest {
        resource_spans: vec![proto::ResourceSpans {
            resource: Some(proto::Resource { attributes: resource.iter().map(attribute).collect() }),
            scope_spans: vec![proto::ScopeSpans {
                scope: Some(proto::Scope {
                    name: "trunkline".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                }),
                spans: spans.iter().map(span).collect(),
            }],
        }],
    };
    Bytes::from(request.encode_to_vec())
}

fn span(span: &Span) -> proto::Span {
    proto::Span {
        trace_id: span.trace.bytes().to_vec(),
        span_id: span.id.bytes().to_vec(),
        trace_state: String::new(),
        parent_span_id: span.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        name: span.name.clone(),
        kind: match span.kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
            SpanKind::Producer => 4,
            SpanKind::Consumer => 5,
        },
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: attributes(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| proto::Event {
                time_unix_nano: event.time,
                name: event.name.clone(),
                attributes: attributes(&event.attributes),
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|link| proto::Link {
                trace_id: link.trace.bytes().to_vec(),
                span_id: link.span.bytes().to_vec(),
            })
            .collect(),
        status: (span.status != Status::Unset).then(|| proto::Status {
            message: span.error.clone().unwrap_or_default(),
            code: if span.status == Status::Error { 2 } else { 1 },
        }),
        flags: 1,
    }
}

fn attributes(attributes: &[(std::sync::Arc<str>, Value)]) -> Vec<proto::KeyValue> {
    let one = |(key, value): &(std::sync::Arc<str>, Value)| proto::KeyValue {
        key: key.to_string(),
        value: Some(any(value)),
    };
    attributes.iter().map(one).collect()
}

fn any(value: &Value) -> proto::AnyValue {
    let value = match value {
        Value::Null => None,
        Value::Bool(bool) => Some(proto::Value::Bool(*bool)),
        Value::Number(number) => Some(match number.as_i64() {
            Some(int) => proto::Value::Int(int),
            None => proto::Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Value::String(text) => Some(proto::Value::String(text.clone())),
        Value::Array(items) => {
            Some(proto::Value::Array(proto::ArrayValue { values: items.iter().map(any).collect() }))
        }
        Value::Object(members) => Some(proto::Value::List(proto::KeyValueList {
            values: members
                .iter()
                .map(|(key, value)| proto::KeyValue { key: key.clone(), value: Some(any(value)) })
                .collect(),
        })),
    };
    proto::AnyValue { value }
}
