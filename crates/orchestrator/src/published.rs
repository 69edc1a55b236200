//! Events that tools, flows and people publish, as CloudEvents 1.0.
//!
//! Each stands in a stream of its own, which is named by what a CloudEvent is known by: its source and id. So an event
//! that is published again is seen to be the same, as long as the record keeps the first.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use trunkline_event_log::{Error as LogError, EventLog, Expected, RecordedEvent, Subscription};
use trunkline_model::{Event, EventData, Json, Principal};
use uuid::Uuid;

use crate::Error;
use crate::choreography::Cause;
use crate::fault::Fault;
use crate::identity;
use crate::journal::Sources;

/// The largest event, in bytes of its JSON.
pub const MAX_EVENT: usize = 1 << 20;

/// The attributes that have a place of their own in the log.
const ATTRIBUTES: [&str; 7] = ["id", "specversion", "type", "source", "subject", "time", "data"];

/// The extension attribute that names the subscriptions by which an event came about, the first first.
pub(crate) const CHAIN: &str = "trunklinechain";

/// The extension attribute that counts them.
const HOPS: &str = "trunklinehops";

/// The extension attribute that names the event that led to this one.
const CAUSATION: &str = "causationid";

/// Who publishes, and within what.
pub(crate) struct By {
    /// For whom.
    pub(crate) principal: Arc<Principal>,
    /// What the event belongs to: an instance or a call.
    pub(crate) correlation: Uuid,
    /// What it is a consequence of.
    pub(crate) cause: Option<Arc<Cause>>,
}

/// What came of publishing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event's id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its position in the log; `None` where it had been published before.
    pub position: Option<u64>,
}

/// Publishes an event. It is durable when this returns.
///
/// # Errors
/// [`Error::NotAnEvent`], or that of the log.
pub(crate) async fn publish(
    log: &EventLog,
    sources: &Sources,
    event: &Value,
    by: By,
) -> Result<Published, Error> {
    let refused = |why: &str| Error::NotAnEvent(why.to_owned());
    let Value::Object(members) = event else { return Err(refused("it is no object")) };
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let Some(kind) = text("type").filter(|kind| !kind.is_empty()) else {
        return Err(refused("it has no `type`"));
    };
    if kind.starts_with("dev.trunkline.") {
        return Err(refused("types that begin with `dev.trunkline.` are Trunkline's own"));
    }
    let data = Json::from_value(members.get("data").unwrap_or(&Value::Null));
    if data.len() > MAX_EVENT {
        return Err(refused("its data has more than 1 MiB"));
    }
    let new = (sources.time_id)();
    let id = text("id").map_or_else(|| new.to_string(), str::to_owned);
    let source = text("source").unwrap_or("/flows").to_owned();
    let mut more: Map<String, Value> = members
        .iter()
        .filter(|(name, _)| !ATTRIBUTES.contains(&name.as_str()) && !name.starts_with("trunkline"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(cause) = &by.cause {
        let chain: Vec<&str> = cause.chain.iter().map(|name| &**name).collect();
        more.insert(CHAIN.to_owned(), json!(chain.join(",")));
        more.insert(HOPS.to_owned(), json!(chain.len()));
        more.insert(CAUSATION.to_owned(), json!(cause.id));
    }
    let stream = identity::of(&["event", &source, &id]);
    let recorded = Event {
        id: id.parse::<Uuid>().unwrap_or(stream),
        kind: Cow::Owned(kind.to_owned()),
        time: text("time").and_then(|time| time.parse().ok()).unwrap_or_else(|| (sources.now)()),
        source: Arc::from(&*source),
        target: Arc::from(text("subject").unwrap_or_default()),
        data: EventData {
            action: Cow::Borrowed("published"),
            parameters: data,
            context: Json::from_value(&json!({"attributes": more, "id": id})),
        },
        correlation: by.correlation,
        causation: by.cause.as_ref().map(|cause| cause.event),
        traceparent: None,
        principal: by.principal,
    };
    match log.append(stream, Expected::Empty, vec![recorded]).await {
        Ok(appended) => Ok(Published { id, source, position: Some(appended.first_position) }),
        Err(LogError::Conflict { .. }) => Ok(Published { id, source, position: None }),
        Err(error) => Err(error.into()),
    }
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
    // CloudEvents allows one of the two.
    if !out.contains_key("data_base64") {
        out.insert("data".to_owned(), event.data.parameters.to_value());
    }
    Some(Value::Object(out))
}

/// Follows published events.
pub(crate) struct Followed(pub(crate) Subscription);

impl Followed {
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
