//! Views: tables of instances and their steps, made of journals. They can be dropped and rebuilt while all runs.

mod count;
mod queue;
mod saga;
mod whole;

use jiff::Timestamp;
use serde::Serialize;
use trunkline_event_log::rusqlite::{self, OptionalExtension, Row, Transaction, params};
use trunkline_event_log::{EventLog, Projection, ProjectionResult, RecordedEvent};
use trunkline_model::Json;
use uuid::Uuid;

use crate::entry::{Ending, Entry, Finished, InstanceId, Intended, StepOutcome};

pub use count::count;
pub use queue::{QueuedRow, queued};
pub use saga::{SagaRow, SagaStep, StuckRow, saga};

/// The name of the projection.
pub const NAME: &str = "flow";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS flow_instance (
  id BLOB PRIMARY KEY, flow TEXT NOT NULL, version TEXT NOT NULL, hash TEXT NOT NULL, status TEXT NOT NULL,
  principal TEXT NOT NULL, started INTEGER NOT NULL, updated INTEGER NOT NULL, ended INTEGER, wake INTEGER,
  aside INTEGER, position INTEGER NOT NULL, fault TEXT, output TEXT, retry_of BLOB, retried_as BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS flow_instance_status ON flow_instance (status, started);
CREATE INDEX IF NOT EXISTS flow_instance_unfinished ON flow_instance (position) WHERE ended IS NULL;
CREATE TABLE IF NOT EXISTS flow_step (
  instance BLOB NOT NULL, key TEXT NOT NULL, tool TEXT NOT NULL, target TEXT NOT NULL, status TEXT NOT NULL,
  attempt INTEGER NOT NULL, started INTEGER NOT NULL, ended INTEGER, duration_us INTEGER, undoes TEXT,
  undoable INTEGER NOT NULL, idempotency_key TEXT NOT NULL, fault TEXT, pivot INTEGER NOT NULL, undo TEXT,
  PRIMARY KEY (instance, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS flow_queue (
  instance BLOB NOT NULL, key TEXT NOT NULL, since INTEGER NOT NULL, what TEXT NOT NULL, PRIMARY KEY (instance, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS flow_queue_what ON flow_queue (what, since);
CREATE TABLE IF NOT EXISTS flow_stuck (
  instance BLOB NOT NULL, key TEXT NOT NULL, since INTEGER NOT NULL, unknown INTEGER NOT NULL, fault TEXT NOT NULL,
  PRIMARY KEY (instance, key)
) STRICT, WITHOUT ROWID;
";

const DROP: &str = "DROP TABLE IF EXISTS flow_instance; DROP TABLE IF EXISTS flow_step;
DROP TABLE IF EXISTS flow_stuck; DROP TABLE IF EXISTS flow_queue;";

/// The views of flows.
#[derive(Debug)]
pub struct Views;

impl Projection for Views {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> u32 {
        3
    }

    fn setup(&self, transaction: &Transaction<'_>) -> ProjectionResult {
        Ok(transaction.execute_batch(TABLES)?)
    }

    fn apply(&self, transaction: &Transaction<'_>, event: &RecordedEvent) -> ProjectionResult {
        let Some(entry) = Entry::of_event(event)? else { return Ok(()) };
        Applied::of(transaction, event).apply(entry, event)?;
        Ok(())
    }

    fn apply_all(&self, transaction: &Transaction<'_>, events: &[RecordedEvent]) -> ProjectionResult {
        whole::apply(transaction, events)
    }

    fn reset(&self, transaction: &Transaction<'_>) -> ProjectionResult {
        Ok(transaction.execute_batch(DROP)?)
    }
}

/// One entry on its way into the tables.
struct Applied<'a> {
    transaction: &'a Transaction<'a>,
    id: Uuid,
    now: i64,
}

impl<'a> Applied<'a> {
    fn of(transaction: &'a Transaction<'a>, event: &RecordedEvent) -> Self {
        Self { transaction, id: event.event.correlation, now: event.event.time.as_millisecond() }
    }

    fn apply(&self, entry: Entry, event: &RecordedEvent) -> rusqlite::Result<()> {
        match entry {
            Entry::Started(started) => {
                let sql = "INSERT OR REPLACE INTO flow_instance \
                           (id, flow, version, hash, status, principal, started, updated, position, retry_of) \
                           VALUES (?1, ?2, ?3, ?4, 'running', ?5, ?6, ?6, ?7, ?8)";
                let position = i64::try_from(event.position).unwrap_or(i64::MAX);
                self.transaction.prepare_cached(sql)?.execute(params![
                    self.id.as_bytes(),
                    &*started.flow,
                    &*started.version,
                    &*started.hash,
                    &*event.event.principal.id,
                    self.now,
                    position,
                    started.retry_of.map(|of| of.instance.0.into_bytes()),
                ])?;
            }
            Entry::Intended(intended) => {
                self.intended(&intended)?;
                let status = if intended.undoes.is_some() { "compensating" } else { "running" };
                self.status(status, None, None)?;
            }
            Entry::Ended(ended) => {
                let (status, fault) = ended_as(&ended.outcome);
                let sql = "UPDATE flow_step SET status = ?3, ended = ?4, duration_us = ?5, fault = ?6 \
                           WHERE instance = ?1 AND key = ?2";
                let took = i64::try_from(ended.duration_us).unwrap_or(i64::MAX);
                let values = params![self.id.as_bytes(), &*ended.key, status, self.now, took, fault];
                self.transaction.prepare_cached(sql)?.execute(values)?;
            }
            Entry::Waiting { until, after, .. } => {
                self.status("waiting", Some(until.as_millisecond()), after.map(|fault| fault.words()))?;
            }
            Entry::Decided { .. } => self.status("running", None, None)?,
            Entry::Resolved { key, .. } => {
                self.unstuck(Some(&key))?;
                self.status("running", None, None)?;
            }
            Entry::Compensating { fault } => self.status("compensating", None, Some(fault.words()))?,
            Entry::CancelRequested { by, .. } => {
                self.status("running", None, Some(format!("cancelled by {by}")))?;
            }
            Entry::Stuck { key, fault, unknown } => {
                let sql = "INSERT OR REPLACE INTO flow_stuck VALUES (?1, ?2, ?3, ?4, ?5)";
                self.status("stuck", None, Some(format!("{key}: {}", fault.words())))?;
                let values = params![self.id.as_bytes(), &*key, self.now, unknown, fault.words()];
                self.transaction.prepare_cached(sql)?.execute(values)?;
            }
            Entry::Finished(finished) => self.finished(&finished)?,
            Entry::PutAside { .. }
            | Entry::Queued { .. }
            | Entry::Unqueued { .. }
            | Entry::UndoRequested { .. }
            | Entry::Retried { .. } => {
                self.of_life(entry)?;
            }
            // Nobody waits for the answer any more.
            Entry::Passed { key } => {
                if self.unstuck(Some(&key))? {
                    self.status("running", None, None)?;
                }
            }
        }
        Ok(())
    }

    /// Waiting for a turn, and what is asked after the end.
    fn of_life(&self, entry: Entry) -> rusqlite::Result<()> {
        match entry {
            Entry::PutAside { until } => {
                let sql = "UPDATE flow_instance SET aside = ?2 WHERE id = ?1 AND ended IS NULL";
                let values = params![self.id.as_bytes(), until.as_millisecond()];
                self.transaction.prepare_cached(sql)?.execute(values)?;
            }
            Entry::Queued { key, what } => {
                let sql = "INSERT OR REPLACE INTO flow_queue VALUES (?1, ?2, ?3, ?4)";
                let values = params![self.id.as_bytes(), &*key, self.now, &*what];
                self.transaction.prepare_cached(sql)?.execute(values)?;
                self.status("queued", None, None)?;
            }
            Entry::Unqueued { key } => {
                let sql = "DELETE FROM flow_queue WHERE instance = ?1 AND key = ?2";
                self.transaction.prepare_cached(sql)?.execute(params![self.id.as_bytes(), &*key])?;
                self.status("running", None, None)?;
            }
            Entry::UndoRequested { by, .. } => {
                let sql = "UPDATE flow_instance SET ended = NULL WHERE id = ?1";
                self.transaction.prepare_cached(sql)?.execute([self.id.as_bytes()])?;
                self.status("compensating", None, Some(format!("undone by {by}")))?;
            }
            Entry::Retried { instance, .. } => {
                let sql = "UPDATE flow_instance SET retried_as = ?2 WHERE id = ?1";
                self.transaction.prepare_cached(sql)?.execute([self.id.as_bytes(), instance.0.as_bytes()])?;
            }
            _ => {}
        }
        Ok(())
    }

    fn intended(&self, intended: &Intended) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO flow_step \
                   (instance, key, tool, target, status, attempt, started, undoes, undoable, idempotency_key, \
                   pivot, undo) VALUES (?1, ?2, ?3, ?4, 'running', ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        self.transaction.prepare_cached(sql)?.execute(params![
            self.id.as_bytes(),
            &*intended.key,
            &*intended.tool,
            &*intended.target,
            intended.attempt,
            self.now,
            intended.undoes.as_deref(),
            intended.undo.is_some(),
            &*intended.idempotency_key,
            intended.pivot,
            intended.undo.as_ref().map(|undo| &*undo.tool),
        ])?;
        Ok(())
    }

    /// Nobody is asked any more: about a step, or about any. Gives whether somebody was.
    fn unstuck(&self, key: Option<&str>) -> rusqlite::Result<bool> {
        let sql = "DELETE FROM flow_stuck WHERE instance = ?1 AND (?2 IS NULL OR key = ?2)";
        Ok(self.transaction.prepare_cached(sql)?.execute(params![self.id.as_bytes(), key])? > 0)
    }

    /// What the instance does now. Whatever its other branches do, it is stuck as long as a person is asked.
    fn status(&self, status: &str, wake: Option<i64>, fault: Option<String>) -> rusqlite::Result<()> {
        let sql = "UPDATE flow_instance SET status = ?2, wake = ?3, aside = NULL, updated = ?4, \
                   fault = coalesce(?5, fault) \
                   WHERE id = ?1 AND ended IS NULL \
                   AND NOT EXISTS (SELECT 1 FROM flow_stuck WHERE instance = ?1)";
        self.transaction.prepare_cached(sql)?.execute(params![
            self.id.as_bytes(),
            status,
            wake,
            self.now,
            fault
        ])?;
        Ok(())
    }

    fn finished(&self, finished: &Finished) -> rusqlite::Result<()> {
        self.unstuck(None)?;
        let sql = "DELETE FROM flow_queue WHERE instance = ?1";
        self.transaction.prepare_cached(sql)?.execute([self.id.as_bytes()])?;
        let sql = "UPDATE flow_instance SET status = ?2, wake = NULL, updated = ?3, ended = ?3, fault = ?4, \
                   output = ?5 WHERE id = ?1";
        let fault = finished.fault.as_ref().map(crate::fault::Fault::words);
        let output = finished.output.as_ref().map(|output| output.as_str().to_owned());
        let values = params![self.id.as_bytes(), ending(finished.status), self.now, fault, output];
        self.transaction.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }
}

/// How a step's outcome is called, and what went wrong.
fn ended_as(outcome: &StepOutcome) -> (&'static str, Option<String>) {
    match outcome {
        StepOutcome::Succeeded(_) => ("completed", None),
        StepOutcome::Refused(fault) => ("refused", Some(fault.words())),
        StepOutcome::Unknown(fault) => ("unknown", Some(fault.words())),
    }
}

/// How an ending is called.
#[must_use]
pub fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed => "completed",
        Ending::Faulted => "faulted",
        Ending::Cancelled => "cancelled",
        Ending::Undone => "undone",
    }
}

/// A row of the view of instances. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceRow {
    /// The identity.
    pub id: InstanceId,
    /// `namespace/name`.
    pub flow: String,
    /// The version of its definition.
    pub version: String,
    /// `running`, `waiting`, `compensating`, `stuck`, `completed`, `faulted`, `cancelled`, `undone`.
    pub status: String,
    /// For whom it runs.
    pub principal: String,
    /// When it was started.
    pub started_ms: i64,
    /// When anything last happened.
    pub updated_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Until when it waits.
    pub wake_ms: Option<i64>,
    /// What is or went wrong, in words.
    pub fault: Option<String>,
    /// The instance in whose place it was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<InstanceId>,
    /// The instance that was begun in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried_as: Option<InstanceId>,
}

const COLUMNS: &str =
    "id, flow, version, status, principal, started, updated, ended, wake, fault, retry_of, retried_as";

fn id_of(row: &Row<'_>) -> rusqlite::Result<InstanceId> {
    Ok(InstanceId(Uuid::from_bytes(row.get(0)?)))
}

fn instance_row(row: &Row<'_>) -> rusqlite::Result<InstanceRow> {
    Ok(InstanceRow {
        id: id_of(row)?,
        flow: row.get(1)?,
        version: row.get(2)?,
        status: row.get(3)?,
        principal: row.get(4)?,
        started_ms: row.get(5)?,
        updated_ms: row.get(6)?,
        ended_ms: row.get(7)?,
        wake_ms: row.get(8)?,
        fault: row.get(9)?,
        retry_of: other(row, 10)?,
        retried_as: other(row, 11)?,
    })
}

fn other(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<InstanceId>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(|id| InstanceId(Uuid::from_bytes(id))))
}

/// Which instances to list.
#[derive(Clone, Debug, Default)]
pub struct InstanceFilter {
    /// Only those of this status, or of one of these, with commas between them.
    pub status: Option<String>,
    /// Only those of this flow (`namespace/name` or `name`).
    pub flow: Option<String>,
    /// Only those that began before this identity.
    pub before: Option<InstanceId>,
    /// Only those of this principal.
    pub principal: Option<String>,
    /// Only those that were started at this time or later (milliseconds since 1970).
    pub started_from: Option<i64>,
    /// Only those that were started before this time.
    pub started_before: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

/// Lists instances, the newest first.
///
/// # Errors
/// Where the log can't be read.
pub async fn instances(
    log: &EventLog,
    filter: InstanceFilter,
) -> trunkline_event_log::Result<Vec<InstanceRow>> {
    log.query(move |connection| {
        let sql = format!(
            "SELECT {COLUMNS} FROM flow_instance WHERE (?1 IS NULL OR instr(',' || ?1 || ',', ',' || status || ',')) \
             AND (?2 IS NULL OR flow = ?2 OR flow LIKE '%/' || ?2) AND (?3 IS NULL OR id < ?3) \
             AND (?5 IS NULL OR principal = ?5) AND (?6 IS NULL OR started >= ?6) \
             AND (?7 IS NULL OR started < ?7) ORDER BY id DESC LIMIT ?4"
        );
        let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
        let before = filter.before.map(|id| id.0.into_bytes());
        let mut statement = connection.prepare_cached(&sql)?;
        let values = params![
            filter.status,
            filter.flow,
            before,
            limit,
            filter.principal,
            filter.started_from,
            filter.started_before,
        ];
        let rows = statement.query_map(values, instance_row)?;
        rows.collect()
    })
    .await
}

/// One instance.
///
/// # Errors
/// Where the log can't be read.
pub async fn instance(log: &EventLog, id: InstanceId) -> trunkline_event_log::Result<Option<InstanceRow>> {
    log.query(move |connection| {
        let sql = format!("SELECT {COLUMNS} FROM flow_instance WHERE id = ?1");
        connection.prepare_cached(&sql)?.query_row(params![id.0.as_bytes()], instance_row).optional()
    })
    .await
}

/// A row of the view of steps. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepRow {
    /// Where it stands in the run.
    pub key: String,
    /// The tool, by the name it was called by.
    pub tool: String,
    /// `service/tool`.
    pub target: String,
    /// `running`, `completed`, `refused`, `unknown`.
    pub status: String,
    /// How often it was tried.
    pub attempt: u32,
    /// When the last attempt began.
    pub started_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// How long it took, in microseconds.
    pub duration_us: Option<i64>,
    /// The step that it undoes.
    pub undoes: Option<String>,
    /// It can be undone.
    pub undoable: bool,
    /// The key under which the tool may recognise a repetition.
    pub idempotency_key: String,
    /// What went wrong.
    pub fault: Option<String>,
}

/// The steps of an instance, in the order of their last attempts.
///
/// # Errors
/// Where the log can't be read.
pub async fn steps(log: &EventLog, id: InstanceId) -> trunkline_event_log::Result<Vec<StepRow>> {
    log.query(move |connection| {
        let sql = "SELECT key, tool, target, status, attempt, started, ended, duration_us, undoes, undoable, \
                   idempotency_key, fault FROM flow_step WHERE instance = ?1 ORDER BY started, key";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![id.0.as_bytes()], |row| {
            Ok(StepRow {
                key: row.get(0)?,
                tool: row.get(1)?,
                target: row.get(2)?,
                status: row.get(3)?,
                attempt: row.get(4)?,
                started_ms: row.get(5)?,
                ended_ms: row.get(6)?,
                duration_us: row.get(7)?,
                undoes: row.get(8)?,
                undoable: row.get(9)?,
                idempotency_key: row.get(10)?,
                fault: row.get(11)?,
            })
        })?;
        rows.collect()
    })
    .await
}

/// The output of an instance that completed.
///
/// # Errors
/// Where the log can't be read.
pub async fn output(log: &EventLog, id: InstanceId) -> trunkline_event_log::Result<Option<Json>> {
    let text: Option<Option<String>> = log
        .query(move |connection| {
            let sql = "SELECT output FROM flow_instance WHERE id = ?1";
            connection.prepare_cached(sql)?.query_row(params![id.0.as_bytes()], |row| row.get(0)).optional()
        })
        .await?;
    Ok(text.flatten().and_then(|text| Json::parse(text).ok()))
}

/// The instances that have not ended, the oldest first, with the flow and the time until which they are put aside.
pub(crate) async fn unfinished(
    log: &EventLog,
) -> trunkline_event_log::Result<Vec<(InstanceId, String, Option<Timestamp>)>> {
    log.query(|connection| {
        let sql = "SELECT id, flow, aside FROM flow_instance WHERE ended IS NULL ORDER BY position";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            let aside = row.get::<_, Option<i64>>(2)?;
            Ok((id_of(row)?, row.get(1)?, aside.and_then(|aside| Timestamp::from_millisecond(aside).ok())))
        })?;
        rows.collect()
    })
    .await
}

/// The position of the first event of the oldest instance that has not ended.
pub(crate) async fn oldest_unfinished(log: &EventLog) -> trunkline_event_log::Result<Option<u64>> {
    log.query(|connection| {
        let sql = "SELECT min(position) FROM flow_instance WHERE ended IS NULL";
        connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
    })
    .await
}
