//! The dispatcher: follows the log, and starts a delivery for every event that a group wants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use trunkline_event_log::{Error as LogError, EventLog, RecordedEvent};
use trunkline_model::{Failure, Json, Retry};

use super::{Cause, Choreography, Rules, Subscription, letters};
use crate::published::cloudevent;
use crate::{Error, identity};

/// The stream whose snapshot says how far the groups are, and the hold that keeps what they have not had.
const NAME: &str = "choreography";

/// How many events are looked at while earlier ones are written.
const AT_ONCE: usize = 32;

/// How often it is written down how far the groups are. After a crash the events since then are looked at again.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// The pause before something is tried again that the log did not take.
pub(super) const AGAIN: Duration = Duration::from_millis(500);

/// A subscription that wants an event, or that can't say whether it does.
type Asked = (Arc<Subscription>, Result<(), Error>);

/// How far the groups are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// All have had the events up to this position.
    cursor: u64,
    /// The position from which each has events.
    groups: BTreeMap<Arc<str>, u64>,
    /// It was read from the log.
    #[serde(skip)]
    known: bool,
}

impl Choreography {
    /// Writes down which groups there are, so that each has the events from now on. To be called when other rules have
    /// been put in force, before anything is published that is to be seen.
    ///
    /// # Errors
    /// Where the log can't be read or written.
    pub async fn settle(&self) -> Result<(), Error> {
        let log = self.0.engine.log();
        let mut progress = self.0.progress.lock().clone();
        if !progress.known {
            if let Some(snapshot) = log.load_snapshot(NAME).await? {
                progress = snapshot.state.to().unwrap_or_default();
            }
            progress.known = true;
        }
        let rules = self.rules();
        let next = log.head() + 1;
        let mut groups = BTreeMap::new();
        for subscription in &rules.subscriptions {
            let from = progress.groups.get(&subscription.group).copied().unwrap_or(next);
            groups.insert(subscription.group.clone(), from);
        }
        if progress.groups.is_empty() {
            // Nobody has followed so far.
            progress.cursor = next - 1;
        }
        let same = groups == progress.groups;
        progress.groups = groups;
        if !same {
            save(log, &progress).await?;
        }
        {
            let mut shared = self.0.progress.lock();
            // The dispatcher may have gone on meanwhile.
            progress.cursor = progress.cursor.max(shared.cursor);
            *shared = progress;
        }
        self.0.changed.notify_one();
        Ok(())
    }

    /// Up to where the events of the log have been looked at.
    pub(super) fn position(&self) -> u64 {
        self.0.progress.lock().cursor
    }

    /// Follows events, and the clock, until `closing`.
    pub async fn run(self, closing: CancellationToken) {
        tokio::join!(closing.run_until_cancelled(self.follow()), self.keep_time(&closing));
        let progress = self.0.progress.lock().clone();
        if progress.known && !progress.groups.is_empty() {
            // Without it, some events are looked at again.
            let _ = save(self.0.engine.log(), &progress).await;
        }
    }

    async fn follow(&self) {
        loop {
            let (cursor, idle) = {
                let progress = self.0.progress.lock();
                (progress.cursor, progress.groups.is_empty())
            };
            if idle {
                self.0.changed.notified().await;
                continue;
            }
            match self.follow_from(cursor + 1).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(%error, "events can't be followed; trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Follows events until the log is shut down.
    async fn follow_from(&self, position: u64) -> Result<(), LogError> {
        let log = self.0.engine.log();
        let events = stream::unfold(log.subscribe(position), |mut events| async move {
            let next = events.next().await.transpose()?;
            Some((next, events))
        });
        let looked = events.map(|recorded| async move {
            match recorded {
                Ok(recorded) => Ok(self.look(recorded).await),
                // Retention was faster: the oldest that is kept comes next.
                Err(error @ LogError::Dropped { .. }) => {
                    tracing::error!(%error, "events were dropped before they were delivered");
                    Ok(0)
                }
                Err(error) => Err(error),
            }
        });
        let mut looked = std::pin::pin!(looked.buffered(AT_ONCE));
        let mut written = position - 1;
        let mut due = std::pin::pin!(tokio::time::sleep(CHECKPOINT));
        loop {
            let cursor = self.0.progress.lock().cursor;
            tokio::select! {
                biased;
                () = &mut due, if cursor > written => {
                    let progress = self.0.progress.lock().clone();
                    save(log, &progress).await?;
                    written = progress.cursor;
                }
                next = looked.next() => {
                    let Some(position) = next.transpose()? else { return Ok(()) };
                    if cursor == written {
                        due.as_mut().reset(tokio::time::Instant::now() + CHECKPOINT);
                    }
                    let mut progress = self.0.progress.lock();
                    progress.cursor = progress.cursor.max(position);
                }
            }
        }
    }

    /// Looks at one event of the log. Gives its position when all its deliveries are durable.
    async fn look(&self, recorded: RecordedEvent) -> u64 {
        if let Some(event) = cloudevent(&recorded) {
            let rules = self.rules();
            for (subscription, wanted) in self.due(&rules, &recorded, &event) {
                self.give(&rules, &subscription, wanted, &recorded, &event).await;
            }
        }
        recorded.position
    }

    /// The subscriptions that an event goes to: one of each group that wants it. With each, what keeps it from looking.
    fn due(&self, rules: &Rules, recorded: &RecordedEvent, event: &Value) -> Vec<Asked> {
        let groups = self.0.progress.lock().groups.clone();
        let limits = self.0.engine.expression_limits();
        let mut members: BTreeMap<&Arc<str>, Vec<Asked>> = BTreeMap::new();
        for subscription in &rules.subscriptions {
            if groups.get(&subscription.group).is_none_or(|from| recorded.position < *from) {
                continue;
            }
            let wanted = match subscription.wants(event, limits) {
                Ok(true) => Ok(()),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            members.entry(&subscription.group).or_default().push((subscription.clone(), wanted));
        }
        let chosen = members.into_values().filter_map(|mut members| {
            if members.iter().any(|(_, wanted)| wanted.is_ok()) {
                members.retain(|(_, wanted)| wanted.is_ok());
            }
            // By the event's identity: the same one where it is looked at again.
            let id = identity::of(&[&recorded.event.source, event["id"].as_str().unwrap_or_default()]);
            let which = usize::from(id.as_bytes()[0]) % members.len();
            (which < members.len()).then(|| members.swap_remove(which))
        });
        chosen.collect()
    }

    /// Starts the delivery of an event, or writes down why there is none.
    async fn give(
        &self,
        rules: &Rules,
        subscription: &Subscription,
        wanted: Result<(), Error>,
        recorded: &RecordedEvent,
        event: &Value,
    ) {
        let engine = &self.0.engine;
        let first = Cause::of(recorded, event, &subscription.name, &subscription.group);
        let id = first.delivery();
        let mut hindered = wanted.and_then(|()| first.check(rules.loops)).err().map(Failure::from);
        loop {
            let mut cause = first.clone();
            let done = match &hindered {
                Some(failure) => {
                    let by = subscription.principal.clone();
                    letters::bury(engine.log(), engine.sources(), id, &cause, event, by, failure).await
                }
                None => {
                    engine.room().await;
                    let limits = engine.expression_limits();
                    match subscription.start(event, &self.0.library, limits, &mut cause) {
                        Ok(start) => engine.deliver(id, start, cause).await.map(drop),
                        Err(error) => Err(error),
                    }
                }
            };
            let Err(error) = done else { return };
            if passes(&error) {
                tracing::warn!(%error, subscription = %subscription.name, "a delivery can't begin; trying again");
                tokio::time::sleep(AGAIN).await;
            } else if hindered.is_none() {
                hindered = Some(error.into());
            } else {
                tracing::error!(%error, subscription = %subscription.name, event = %first.id, "a delivery is lost");
                return;
            }
        }
    }
}

/// Whether what went wrong may be right when it is tried again.
pub(super) fn passes(error: &Error) -> bool {
    match error {
        Error::Log(error) => Failure::from(error.clone()).retry != Retry::No,
        _ => false,
    }
}

/// Writes down how far the groups are, and keeps what they have not had.
async fn save(log: &EventLog, progress: &Progress) -> Result<(), LogError> {
    log.save_snapshot(NAME, 0, Json::from_serialize(progress).unwrap_or_else(|_| Json::empty_object()))
        .await?;
    if progress.groups.is_empty() {
        return log.release(NAME).await;
    }
    log.hold(NAME, progress.cursor + 1).await
}
