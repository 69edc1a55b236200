//! Dead letters: deliveries that have failed in the end, until a person has them replayed or discarded.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_event_log::rusqlite::{self, OptionalExtension, Row, Transaction, params};
use trunkline_event_log::{
    Error as LogError, EventLog, Expected, Projection, ProjectionResult, RecordedEvent,
};
use trunkline_model::{Event, EventData, Failure, Json, Principal};
use uuid::Uuid;

use super::{Cause, Choreography};
use crate::entry::{Ending, Entry, InstanceId};
use crate::fault::Fault;
use crate::journal::Sources;
use crate::{Error, views};

/// The name of the projection.
pub const NAME: &str = "dead_letter";

/// An event could not be delivered, and there is no instance that tells why.
const FAILED: &str = "dev.trunkline.delivery.failed.v1";

/// A person has said what becomes of a dead letter.
const SETTLED: &str = "dev.trunkline.delivery.settled.v1";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS dead_letter (
  id BLOB PRIMARY KEY, state TEXT NOT NULL, subscription TEXT NOT NULL, type TEXT NOT NULL, publisher TEXT NOT NULL,
  position INTEGER NOT NULL, time INTEGER NOT NULL, cause TEXT NOT NULL, event TEXT NOT NULL, fault TEXT,
  by TEXT, reason TEXT, replayed_as BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS dead_letter_state ON dead_letter (state, position);
";

/// The view of dead letters. Deliveries that are under way stand in it, too, until they have done what they are for.
#[derive(Debug)]
pub struct Letters;

/// What an event of the kind [`FAILED`] holds.
#[derive(Serialize, Deserialize)]
struct Failed {
    cause: Cause,
    fault: Fault,
}

/// What an event of the kind [`SETTLED`] holds.
#[derive(Serialize, Deserialize)]
struct Settled {
    state: State,
    reason: Option<String>,
    replayed_as: Option<Uuid>,
}

/// What has become of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing yet.
    Open,
    /// It was delivered again.
    Replayed,
    /// Nobody wants it.
    Discarded,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

impl Projection for Letters {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn setup(&self, transaction: &Transaction<'_>) -> ProjectionResult {
        Ok(transaction.execute_batch(TABLES)?)
    }

    fn apply(&self, transaction: &Transaction<'_>, recorded: &RecordedEvent) -> ProjectionResult {
        let event = &recorded.event;
        let (id, now) = (event.correlation, event.time.as_millisecond());
        match &*event.kind {
            // Of all instances only deliveries are caused by an event.
            "dev.trunkline.flow.started.v1" if event.causation.is_some() => {
                if let Some(Entry::Started(started)) = Entry::of_event(recorded)?
                    && let Some(cause) = started.cause
                {
                    if let Some(of) = &started.retry_of {
                        let sql = "UPDATE dead_letter SET state = 'replayed', by = ?2, replayed_as = ?3 \
                                   WHERE id = ?1 AND state = 'open'";
                        let values = params![of.instance.0.as_bytes(), of.by, id.as_bytes()];
                        transaction.prepare_cached(sql)?.execute(values)?;
                    }
                    let envelope = cause.envelope.clone().unwrap_or(started.input);
                    insert(transaction, id, recorded, &cause, envelope.as_str(), None)?;
                }
            }
            // Few instances are deliveries, and what came of the others need not be read.
            "dev.trunkline.flow.finished.v1" if is_there(transaction, id)? => {
                if let Some(Entry::Finished(finished)) = Entry::of_event(recorded)? {
                    let done = finished.status == Ending::Completed;
                    let fault = finished.fault.as_ref().and_then(|fault| serde_json::to_string(fault).ok());
                    ended(transaction, id, now, done, fault)?;
                }
            }
            FAILED => {
                let failed: Failed = event.data.context.to()?;
                let fault = serde_json::to_string(&failed.fault)?;
                insert(
                    transaction,
                    id,
                    recorded,
                    &failed.cause,
                    event.data.parameters.as_str(),
                    Some(&fault),
                )?;
            }
            SETTLED => {
                let settled: Settled = event.data.context.to()?;
                let sql =
                    "UPDATE dead_letter SET state = ?2, by = ?3, reason = ?4, replayed_as = ?5 WHERE id = ?1";
                let replayed = settled.replayed_as.map(Uuid::into_bytes);
                let by = &*event.principal.id;
                let values = params![id.as_bytes(), settled.state.name(), by, settled.reason, replayed];
                transaction.prepare_cached(sql)?.execute(values)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn reset(&self, transaction: &Transaction<'_>) -> ProjectionResult {
        Ok(transaction.execute_batch("DROP TABLE IF EXISTS dead_letter")?)
    }
}

fn insert(
    transaction: &Transaction<'_>,
    id: Uuid,
    recorded: &RecordedEvent,
    cause: &Cause,
    event: &str,
    fault: Option<&str>,
) -> ProjectionResult {
    let cause = Cause { envelope: None, ..cause.clone() };
    let sql = "INSERT OR REPLACE INTO dead_letter \
               (id, state, subscription, type, publisher, position, time, cause, event, fault) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    transaction.prepare_cached(sql)?.execute(params![
        id.as_bytes(),
        if fault.is_some() { "open" } else { "running" },
        &*cause.subscription,
        &*cause.kind,
        &*cause.publisher,
        i64::try_from(recorded.position)?,
        recorded.event.time.as_millisecond(),
        serde_json::to_string(&cause)?,
        event,
        fault,
    ])?;
    Ok(())
}

fn is_there(transaction: &Transaction<'_>, id: Uuid) -> rusqlite::Result<bool> {
    transaction.prepare_cached("SELECT 1 FROM dead_letter WHERE id = ?1")?.exists([id.as_bytes()])
}

fn ended(
    transaction: &Transaction<'_>,
    id: Uuid,
    now: i64,
    done: bool,
    fault: Option<String>,
) -> rusqlite::Result<()> {
    let sql = if done {
        // One that was dead and has come to its end all the same is settled.
        "DELETE FROM dead_letter WHERE id = ?1 AND state IN ('running', 'open') AND ?2 IS NOT NULL AND ?3 IS NULL"
    } else {
        "UPDATE dead_letter SET state = 'open', time = ?2, fault = ?3 WHERE id = ?1 AND state IN ('running', 'open')"
    };
    transaction.prepare_cached(sql)?.execute(params![id.as_bytes(), now, fault])?;
    Ok(())
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Letter {
    /// The identity of the delivery. Where an instance ran, it is that instance's.
    pub id: InstanceId,
    /// `open`, `replayed` or `discarded`.
    pub state: String,
    /// The subscription.
    pub subscription: String,
    /// When the delivery failed, in milliseconds since 1970.
    pub time_ms: i64,
    /// What it is a consequence of.
    pub cause: Cause,
    /// The event.
    pub event: Value,
    /// Why it was not delivered.
    pub fault: Value,
    /// Who settled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The delivery that took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed_as: Option<InstanceId>,
}

/// Which dead letters.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    /// This one.
    pub id: Option<InstanceId>,
    /// Of this state.
    pub state: Option<String>,
    /// Of this subscription.
    pub subscription: Option<String>,
    /// Events of this type.
    pub kind: Option<String>,
    /// Events that this principal has published.
    pub publisher: Option<String>,
    /// Those that failed before this one.
    pub before: Option<InstanceId>,
    /// At most so many.
    pub limit: usize,
}

/// Lists dead letters, the newest first.
///
/// # Errors
/// Where the log can't be read.
pub async fn list(log: &EventLog, filter: LetterFilter) -> Result<Vec<Letter>, Error> {
    log.projected(NAME, log.head()).await?;
    let letters = log.query(move |connection| {
        let before: Option<i64> = match filter.before {
            Some(id) => {
                let sql = "SELECT position FROM dead_letter WHERE id = ?1";
                connection.prepare_cached(sql)?.query_row([id.0.as_bytes()], |row| row.get(0)).optional()?
            }
            None => None,
        };
        let sql = "SELECT id, state, subscription, time, cause, event, fault, by, reason, replayed_as \
                   FROM dead_letter WHERE state <> 'running' AND (?1 IS NULL OR id = ?1) \
                   AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR subscription = ?3) \
                   AND (?4 IS NULL OR type = ?4) AND (?5 IS NULL OR publisher = ?5) \
                   AND (?6 IS NULL OR position < ?6) ORDER BY position DESC LIMIT ?7";
        let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
        let id = filter.id.map(|id| id.0.into_bytes());
        let mut statement = connection.prepare_cached(sql)?;
        let values =
            params![id, filter.state, filter.subscription, filter.kind, filter.publisher, before, limit];
        statement.query_map(values, letter)?.collect()
    });
    Ok(letters.await?)
}

fn letter(row: &Row<'_>) -> rusqlite::Result<Letter> {
    let json = |column: usize| -> rusqlite::Result<Value> {
        let text: Option<String> = row.get(column)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    };
    let cause = serde_json::from_value(json(4)?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, Box::new(error))
    })?;
    let replayed: Option<[u8; 16]> = row.get(9)?;
    Ok(Letter {
        id: InstanceId(Uuid::from_bytes(row.get(0)?)),
        state: row.get(1)?,
        subscription: row.get(2)?,
        time_ms: row.get(3)?,
        cause,
        event: json(5)?,
        fault: json(6)?,
        by: row.get(7)?,
        reason: row.get(8)?,
        replayed_as: replayed.map(|bytes| InstanceId(Uuid::from_bytes(bytes))),
    })
}

/// Writes down that an event can't be delivered, once.
pub(super) async fn bury(
    log: &EventLog,
    sources: &Sources,
    id: InstanceId,
    cause: &Cause,
    event: &Value,
    by: Arc<Principal>,
    failure: &Failure,
) -> Result<(), Error> {
    let fault = Fault::from(failure);
    let failed = Failed { cause: cause.clone(), fault };
    let data = EventData {
        action: Cow::Borrowed("dead_letter"),
        parameters: Json::from_value(event),
        context: Json::from_serialize(&failed).unwrap_or_else(|_| Json::empty_object()),
    };
    let dead = written(sources, FAILED, id, &cause.subscription, by, data, Some(cause.event));
    match log.append(id.0, Expected::Empty, vec![dead]).await {
        Ok(_) | Err(LogError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn written(
    sources: &Sources,
    kind: &'static str,
    id: InstanceId,
    subscription: &Arc<str>,
    by: Arc<Principal>,
    data: EventData,
    causation: Option<Uuid>,
) -> Event {
    Event {
        id: (sources.time_id)(),
        kind: Cow::Borrowed(kind),
        time: (sources.now)(),
        source: Arc::from("/choreography"),
        target: subscription.clone(),
        data,
        correlation: id.0,
        causation,
        traceparent: None,
        principal: by,
    }
}

impl Choreography {
    /// Lists dead letters, the newest first.
    ///
    /// # Errors
    /// Where the log can't be read.
    pub async fn dead_letters(&self, filter: LetterFilter) -> Result<Vec<Letter>, Error> {
        list(self.0.engine.log(), filter).await
    }

    /// Delivers the event of a dead letter again, as another delivery to the same subscription. Gives that delivery.
    ///
    /// # Errors
    /// [`Error::LetterSettled`], [`Error::NoTarget`], [`Error::Unevaluated`], or that of the log.
    pub async fn replay(
        &self,
        letter: &Letter,
        by: Arc<Principal>,
        reason: Option<String>,
    ) -> Result<InstanceId, Error> {
        open(letter)?;
        let rules = self.rules();
        let subscription = rules.subscriptions.iter().find(|one| *one.name == *letter.subscription);
        let missing = || Error::NoTarget { what: "subscription", name: letter.subscription.clone() };
        let subscription = subscription.ok_or_else(missing)?;
        let mut cause = Cause { attempt: letter.cause.attempt + 1, ..letter.cause.clone() };
        let id = cause.delivery();
        let engine = &self.0.engine;
        let limits = engine.expression_limits();
        let start = subscription.start(&letter.event, &self.0.library, limits, &mut cause)?;
        // Where it was begun before and not written down here, the same delivery is found.
        engine.deliver(id, start, cause).await?;
        let settled = Settled { state: State::Replayed, reason, replayed_as: Some(id.0) };
        self.settle_letter(letter, by, settled).await?;
        Ok(id)
    }

    /// Leaves a dead letter as it is, for good.
    ///
    /// # Errors
    /// [`Error::LetterSettled`], or that of the log.
    pub async fn discard(
        &self,
        letter: &Letter,
        by: Arc<Principal>,
        reason: Option<String>,
    ) -> Result<(), Error> {
        open(letter)?;
        self.settle_letter(letter, by, Settled { state: State::Discarded, reason, replayed_as: None }).await
    }

    async fn settle_letter(
        &self,
        letter: &Letter,
        by: Arc<Principal>,
        settled: Settled,
    ) -> Result<(), Error> {
        let data = EventData {
            action: Cow::Borrowed(settled.state.name()),
            parameters: Json::empty_object(),
            context: Json::from_serialize(&settled).unwrap_or_else(|_| Json::empty_object()),
        };
        let engine = &self.0.engine;
        let event = written(engine.sources(), SETTLED, letter.id, &letter.cause.subscription, by, data, None);
        engine.log().append(letter.id.0, Expected::Any, vec![event]).await?;
        Ok(())
    }

    /// How each subscription is: what it has under way and what has died, and how far all are.
    ///
    /// # Errors
    /// Where the log can't be read.
    pub async fn overview(&self) -> Result<Value, Error> {
        let log = self.0.engine.log();
        log.projected(NAME, log.head()).await?;
        log.projected(views::NAME, log.head()).await?;
        let counts: Vec<(String, String, u64)> = log
            .query(|connection| {
                let sql = "SELECT subscription, state, count(*) FROM dead_letter \
                           WHERE state IN ('running', 'open') GROUP BY 1, 2";
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                rows.collect()
            })
            .await?;
        let count = |name: &str, state: &str| {
            let found = counts.iter().find(|(of, is, _)| of == name && is == state);
            found.map_or(0, |(_, _, count)| *count)
        };
        let rules = self.rules();
        let rows = rules.subscriptions.iter().map(|one| {
            json!({
                "name": &*one.name, "group": &*one.group, "concurrency": one.concurrency,
                "under_way": count(&one.name, "running"), "dead": count(&one.name, "open"),
            })
        });
        let cursor = self.position();
        Ok(json!({"subscriptions": rows.collect::<Value>(), "position": cursor, "head": log.head()}))
    }
}

fn open(letter: &Letter) -> Result<(), Error> {
    if letter.state == State::Open.name() {
        return Ok(());
    }
    Err(Error::LetterSettled { id: letter.id, state: letter.state.clone() })
}
