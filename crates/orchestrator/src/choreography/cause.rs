//! What a delivery is a consequence of, and where an event that goes round is stopped.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_event_log::RecordedEvent;
use trunkline_model::Json;
use uuid::Uuid;

use crate::Error;
use crate::entry::InstanceId;
use crate::identity;
use crate::published::CHAIN;

/// The event that an instance is a delivery of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// The event's identity in the log.
    pub event: Uuid,
    /// The id that its publisher gave it.
    pub id: Arc<str>,
    /// Its source.
    pub source: Arc<str>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// Its position in the log.
    pub position: u64,
    /// Who published it.
    pub publisher: Arc<str>,
    /// The subscription that it is delivered to.
    pub subscription: Arc<str>,
    /// The group of which that subscription is a member.
    pub group: Arc<str>,
    /// Which delivery of this event to this group it is, from 1: each replay is another.
    pub attempt: u32,
    /// The subscriptions by which the event came about, the first first, and this one last.
    pub chain: Vec<Arc<str>>,
    /// The event, where it is not the input of the instance.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub envelope: Option<Json>,
}

/// Where events that go round are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loops {
    /// How often an event may come about by the same subscription.
    pub repeats: usize,
    /// By how many subscriptions in all.
    pub hops: usize,
}

impl Default for Loops {
    fn default() -> Self {
        Self { repeats: 3, hops: 32 }
    }
}

impl Cause {
    /// The first delivery of an event to a subscription.
    pub(crate) fn of(
        recorded: &RecordedEvent,
        event: &Value,
        subscription: &Arc<str>,
        group: &Arc<str>,
    ) -> Self {
        let before = event[CHAIN].as_str().unwrap_or_default();
        let before = before.split(',').filter(|name| !name.is_empty()).map(Arc::from);
        Self {
            event: recorded.event.id,
            id: Arc::from(event["id"].as_str().unwrap_or_default()),
            source: recorded.event.source.clone(),
            kind: Arc::from(&*recorded.event.kind),
            position: recorded.position,
            publisher: recorded.event.principal.id.clone(),
            subscription: subscription.clone(),
            group: group.clone(),
            attempt: 1,
            chain: before.chain([subscription.clone()]).collect(),
            envelope: None,
        }
    }

    /// The identity of the delivery: the same however often the event is looked at.
    pub(crate) fn delivery(&self) -> InstanceId {
        let attempt = self.attempt.to_string();
        InstanceId(identity::of(&["delivery", &self.group, &self.source, &self.id, &attempt]))
    }

    /// Whether the event may go on to its subscription.
    ///
    /// # Errors
    /// [`Error::Loop`].
    pub(crate) fn check(&self, loops: Loops) -> Result<(), Error> {
        let same = self.chain.iter().filter(|name| **name == self.subscription).count();
        if same <= loops.repeats && self.chain.len() <= loops.hops {
            return Ok(());
        }
        Err(Error::Loop { path: self.chain.iter().map(ToString::to_string).collect() })
    }
}
