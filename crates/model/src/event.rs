//! Events: CloudEvents 1.0 on the wire, with the specification's event schema as a lossless view.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{Json, Principal, PrincipalKind};

/// The specification's three kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A tool, prompt or resource was used.
    ToolExecution,
    /// Something happened to a service, or between Trunkline and it.
    ServiceCall,
    /// Data moved.
    DataSync,
}

/// Where in its life the thing is that an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is about to happen.
    Started,
    /// It has happened, or the tool answered with an error of its own.
    Completed,
    /// It failed.
    Failed,
    /// It asked the caller a question and waits.
    Asked,
    /// The caller answered.
    Answered,
    /// It was refused before it began.
    Refused,
    /// It is something else than it was: a service came up, a configuration was loaded.
    Changed,
}

/// What an event carries: the specification's payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventData {
    /// The specific action: the tool's own name, or what happened.
    pub action: Cow<'static, str>,
    /// What it was done with: the arguments.
    pub parameters: Json,
    /// What came of it and what surrounds it: an object.
    pub context: Json,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// UUIDv7.
    pub id: Uuid,
    /// The CloudEvents type: `dev.trunkline.<kind>.<phase>.v1`, or the sender's own where the event came from outside.
    pub kind: Cow<'static, str>,
    /// When it happened.
    pub time: Timestamp,
    /// Who tells it: a URI reference.
    pub source: Arc<str>,
    /// What it is about: `service/tool`. The specification's `target`.
    pub target: Arc<str>,
    /// What it carries.
    pub data: EventData,
    /// What belongs together: the call's id.
    pub correlation: Uuid,
    /// The event that led to this one.
    pub causation: Option<Uuid>,
    /// The whole `traceparent` header.
    pub traceparent: Option<Arc<str>>,
    /// For whom it happened. Informational; no decision is ever made by it.
    pub principal: Arc<Principal>,
}

/// Text that is not an event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// A required attribute is missing or of the wrong type.
    #[error("the event has no usable {0:?}")]
    Attribute(&'static str),
    /// An identifier or time can't be read.
    #[error("{0:?} can't be read: {1}")]
    Value(&'static str, String),
}

impl Event {
    /// The CloudEvents type of one of our own events.
    #[must_use]
    pub fn type_of(kind: EventKind, phase: Phase) -> &'static str {
        macro_rules! types {
            ($($kind:ident $k:literal: $($phase:ident $p:literal),*;)*) => {
                match (kind, phase) {
                    $($((EventKind::$kind, Phase::$phase) => concat!("dev.trunkline.", $k, ".", $p, ".v1"),)*)*
                }
            };
        }
        types! {
            ToolExecution "tool_execution": Started "started", Completed "completed", Failed "failed",
                Asked "asked", Answered "answered", Refused "refused", Changed "changed";
            ServiceCall "service_call": Started "started", Completed "completed", Failed "failed",
                Asked "asked", Answered "answered", Refused "refused", Changed "changed";
            DataSync "data_sync": Started "started", Completed "completed", Failed "failed",
                Asked "asked", Answered "answered", Refused "refused", Changed "changed";
        }
    }

    /// The specification's kind. Events from outside are service calls.
    #[must_use]
    pub fn event_kind(&self) -> EventKind {
        match self.kind.strip_prefix("dev.trunkline.").and_then(|rest| rest.split('.').next()) {
            Some("tool_execution") => EventKind::ToolExecution,
            Some("data_sync") => EventKind::DataSync,
            _ => EventKind::ServiceCall,
        }
    }

    /// The event in the JSON format of CloudEvents 1.0.
    #[must_use]
    pub fn to_cloudevent(&self) -> Value {
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id,
            "type": self.kind,
            "source": self.source,
            "subject": self.target,
            "time": self.time,
            "datacontenttype": "application/json",
            "data": {
                "action": self.data.action,
                "parameters": self.data.parameters.to_value(),
                "context": self.data.context.to_value(),
            },
            "correlationid": self.correlation,
            "authtype": auth_type(self.principal.kind),
            "authid": self.principal.id,
        });
        self.put_optional(&mut event, "causationid", "traceparent");
        event
    }

    /// Reads the JSON format of CloudEvents 1.0.
    ///
    /// # Errors
    /// [`EventError`] names the attribute.
    pub fn from_cloudevent(event: &Value) -> Result<Self, EventError> {
        if event.get("specversion").and_then(Value::as_str) != Some("1.0") {
            return Err(EventError::Attribute("specversion"));
        }
        Self::read(event, &CLOUDEVENTS)
    }

    /// The event in the specification's schema. What that schema has no field for stands in further members of
    /// `metadata`, so that nothing is lost.
    #[must_use]
    pub fn to_specification(&self) -> Value {
        let trace_id = self.traceparent.as_deref().and_then(|header| header.get(3..35));
        let mut metadata = json!({
            "correlation_id": self.correlation,
            "trace_id": trace_id,
            "user_id": self.principal.id,
            "type": self.kind,
            "auth_type": auth_type(self.principal.kind),
        });
        self.put_optional(&mut metadata, "causation_id", "traceparent");
        json!({
            "event_id": self.id,
            "event_type": self.event_kind(),
            "timestamp": self.time,
            "source": self.source,
            "target": self.target,
            "payload": {
                "action": self.data.action,
                "parameters": self.data.parameters.to_value(),
                "context": self.data.context.to_value(),
            },
            "metadata": metadata,
        })
    }

    /// Reads an event in the specification's schema, with or without the further members of `metadata`.
    ///
    /// # Errors
    /// [`EventError`] names the field.
    pub fn from_specification(event: &Value) -> Result<Self, EventError> {
        Self::read(event, &SPECIFICATION)
    }

    fn put_optional(&self, object: &mut Value, causation: &str, traceparent: &str) {
        if let Some(id) = self.causation {
            object[causation] = json!(id);
        }
        if let Some(header) = &self.traceparent {
            object[traceparent] = json!(header);
        }
    }

    fn read(event: &Value, names: &Names) -> Result<Self, EventError> {
        let more = if names.more.is_empty() { event } else { &event[names.more] };
        let data = &event[names.data];
        let kind = match text(more, "type") {
            Ok(kind) => kind.to_owned(),
            Err(missing) => match text(event, "event_type") {
                Ok(kind) => format!("dev.trunkline.{kind}.changed.v1"),
                Err(_) => return Err(missing),
            },
        };
        let optional = |object: &Value, key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        let id = uuid(text(event, names.id)?, names.id)?;
        let authid = optional(more, names.user).unwrap_or_else(|| "unknown".to_owned());
        Ok(Self {
            id,
            kind: Cow::Owned(kind),
            time: text(event, names.time)?.parse().map_err(|e: jiff::Error| value(names.time, &e))?,
            source: Arc::from(text(event, "source")?),
            target: Arc::from(optional(event, names.target).unwrap_or_default()),
            data: EventData {
                action: Cow::Owned(optional(data, "action").unwrap_or_default()),
                parameters: member(data, "parameters"),
                context: member(data, "context"),
            },
            correlation: match optional(more, names.correlation) {
                Some(text) => uuid(&text, names.correlation)?,
                None => id,
            },
            causation: optional(more, names.causation).map(|t| uuid(&t, names.causation)).transpose()?,
            traceparent: optional(more, "traceparent").map(Arc::from),
            principal: Arc::new(Principal {
                id: Arc::from(authid),
                kind: principal_kind(optional(more, names.auth).as_deref()),
            }),
        })
    }
}

/// The names that the two forms give to the same attribute.
struct Names {
    id: &'static str,
    time: &'static str,
    target: &'static str,
    data: &'static str,
    more: &'static str,
    correlation: &'static str,
    causation: &'static str,
    user: &'static str,
    auth: &'static str,
}

const CLOUDEVENTS: Names = Names {
    id: "id",
    time: "time",
    target: "subject",
    data: "data",
    more: "",
    correlation: "correlationid",
    causation: "causationid",
    user: "authid",
    auth: "authtype",
};

const SPECIFICATION: Names = Names {
    id: "event_id",
    time: "timestamp",
    target: "target",
    data: "payload",
    more: "metadata",
    correlation: "correlation_id",
    causation: "causation_id",
    user: "user_id",
    auth: "auth_type",
};

fn text<'a>(object: &'a Value, key: &'static str) -> Result<&'a str, EventError> {
    object.get(key).and_then(Value::as_str).ok_or(EventError::Attribute(key))
}

fn member(object: &Value, key: &str) -> Json {
    match object.get(key) {
        Some(value) => Json::from_value(value),
        None => Json::from_value(&Value::Object(Map::new())),
    }
}

fn uuid(text: &str, key: &'static str) -> Result<Uuid, EventError> {
    text.parse().map_err(|error: uuid::Error| value(key, &error))
}

fn value(key: &'static str, error: &dyn std::fmt::Display) -> EventError {
    EventError::Value(key, error.to_string())
}

/// The values of the CloudEvents extension `authtype`.
fn auth_type(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::Local => "unauthenticated",
        PrincipalKind::ApiKey => "api_key",
        PrincipalKind::Operator => "user",
        PrincipalKind::Mesh => "service_account",
        PrincipalKind::System => "system",
    }
}

fn principal_kind(auth_type: Option<&str>) -> PrincipalKind {
    match auth_type {
        Some("api_key") => PrincipalKind::ApiKey,
        Some("user") => PrincipalKind::Operator,
        Some("service_account") => PrincipalKind::Mesh,
        Some("system") => PrincipalKind::System,
        _ => PrincipalKind::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            id: Uuid::from_u128(1),
            kind: Cow::Borrowed(Event::type_of(EventKind::ToolExecution, Phase::Completed)),
            time: "2026-11-22T10:00:00.123456Z".parse().unwrap(),
            source: Arc::from("/doors/mcp"),
            target: Arc::from("git/log"),
            data: EventData {
                action: Cow::Borrowed("log"),
                parameters: Json::from(json!({"count": 3})),
                context: Json::from(json!({"outcome": "complete"})),
            },
            correlation: Uuid::from_u128(2),
            causation: Some(Uuid::from_u128(3)),
            traceparent: Some(Arc::from("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
            principal: Arc::new(Principal::api_key("ci")),
        }
    }

    #[test]
    fn both_forms_read_back_equal() {
        let event = event();
        assert_eq!(Event::from_cloudevent(&event.to_cloudevent()).unwrap(), event);
        assert_eq!(Event::from_specification(&event.to_specification()).unwrap(), event);
        assert_eq!(event.to_specification()["metadata"]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn the_bare_schema_of_the_specification_is_enough() {
        let bare = json!({
            "event_id": Uuid::from_u128(9), "event_type": "data_sync", "timestamp": "2026-11-22T10:00:00Z",
            "source": "crm", "target": "erp",
            "payload": {"action": "sync", "parameters": {}, "context": {}},
            "metadata": {"correlation_id": Uuid::from_u128(8), "trace_id": "", "user_id": "anna"},
        });
        let event = Event::from_specification(&bare).unwrap();
        assert_eq!(event.event_kind(), EventKind::DataSync);
        assert_eq!(&*event.principal.id, "anna");
    }

    #[test]
    fn a_missing_attribute_is_named() {
        let mut value = event().to_cloudevent();
        value.as_object_mut().unwrap().remove("source");
        assert!(matches!(Event::from_cloudevent(&value), Err(EventError::Attribute("source"))));
    }
}
