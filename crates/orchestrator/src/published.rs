//! Events that tools, flows and people publish, as CloudEvents 1.0. All stand in one stream of the log.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use trunkline_event_log::{Expected, RecordedEvent, Subscription};
use trunkline_model::{Event, EventData, Json};
use uuid::Uuid;

use crate::fault::Fault;
use crate::journal::Journal;

/// The stream.
pub const STREAM: &str = "events";

/// The attributes that have a place of their own in the log.
const ATTRIBUTES: [&str; 8] =
    ["id", "specversion", "type", "source", "subject", "time", "data", "datacontenttype"];

/// Publishes an event of a run.
pub(crate) async fn publish(journal: &Journal, event: &Value) -> Result<(), Fault> {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let Some(kind) = text("type").filter(|kind| !kind.is_empty()) else {
        return Err(Fault::configuration("an event needs a `type`"));
    };
    if kind.starts_with("dev.trunkline.") {
        return Err(Fault::configuration("types that begin with `dev.trunkline.` are Trunkline's own"));
    }
    let id = text("id").and_then(|id| id.parse::<Uuid>().ok()).unwrap_or_else(|| journal.new_id());
    let more: Map<String, Value> = match event {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !ATTRIBUTES.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        _ => Map::new(),
    };
    let recorded = Event {
        id,
        kind: Cow::Owned(kind.to_owned()),
        time: text("time").and_then(|time| time.parse().ok()).unwrap_or_else(|| journal.now()),
        source: Arc::from(text("source").unwrap_or("/flows")),
        target: Arc::from(text("subject").unwrap_or_default()),
        data: EventData {
            action: Cow::Borrowed("published"),
            parameters: Json::from_value(event.get("data").unwrap_or(&Value::Null)),
            context: Json::from_value(&json!({"attributes": more, "id": text("id")})),
        },
        correlation: journal.instance.0,
        causation: None,
        traceparent: None,
        principal: journal.principal.clone(),
    };
    journal
        .log()
        .append(STREAM, Expected::Any, vec![recorded])
        .await
        .map(drop)
        .map_err(|error| Fault::runtime(format!("the event can't be published: {error}")))
}

/// A published event as it came in; `None` for an event of the log's own.
#[must_use]
pub fn cloudevent(recorded: &RecordedEvent) -> Option<Value> {
    let event = &recorded.event;
    if event.data.action != "published" || event.kind.starts_with("dev.trunkline.") {
        return None;
    }
    let context = event.data.context.to_value();
    let mut out = match context.get("attributes") {
        Some(Value::Object(more)) => more.clone(),
        _ => Map::new(),
    };
    let id = context["id"].as_str().map_or_else(|| json!(event.id), |id| json!(id));
    out.insert("id".to_owned(), id);
    out.insert("specversion".to_owned(), json!("1.0"));
    out.insert("type".to_owned(), json!(event.kind));
    out.insert("source".to_owned(), json!(&*event.source));
    if !event.target.is_empty() {
        out.insert("subject".to_owned(), json!(&*event.target));
    }
    out.insert("time".to_owned(), json!(event.time.to_string()));
    out.insert("data".to_owned(), event.data.parameters.to_value());
    Some(Value::Object(out))
}

/// Follows published events.
pub(crate) struct Published(pub(crate) Subscription);

impl Published {
    /// The next one with its position; `None` when the log is shut down.
    pub(crate) async fn next(&mut self) -> Result<Option<(u64, Value)>, Fault> {
        loop {
            match self.0.next().await {
                Ok(Some(recorded)) => {
                    if let Some(event) = cloudevent(&recorded) {
                        return Ok(Some((recorded.position, event)));
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => return Err(Fault::runtime(format!("the event log can't be read: {error}"))),
            }
        }
    }
}
