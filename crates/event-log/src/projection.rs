//! Projections: rows made of events. The rows and how far they are commit together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::reader::{Filter, read_range};
use crate::shared::Shared;
use crate::writer::recent::Recent;
use crate::{Error, RecordedEvent, Result};

/// The most events that a projection sees in one transaction.
pub(crate) const STEP: u64 = 512;

/// What a projection's own functions return.
pub type ProjectionResult = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Rows made of events, by the writer, after the events are durable.
///
/// Each function gets the transaction that also stores how far the projection is, so after a crash no event is missed
/// and none is seen twice. It must not end that transaction, nor keep state of its own: what was done may be undone. Its
/// tables are read with [`EventLog::query`](crate::EventLog::query); name them after the projection.
pub trait Projection: Send {
    /// The name under which its progress is kept.
    fn name(&self) -> &str;

    /// The version of its tables and rules. With another one than before, it is reset and sees all events again.
    fn version(&self) -> u32;

    /// Creates its tables where they are not there yet.
    ///
    /// # Errors
    /// Whatever keeps it from running.
    fn setup(&self, transaction: &Transaction<'_>) -> ProjectionResult;

    /// Takes in one event.
    ///
    /// # Errors
    /// Whatever it can't go on after: the projection stops there until it is rebuilt or the log starts again.
    fn apply(&self, transaction: &Transaction<'_>, event: &RecordedEvent) -> ProjectionResult;

    /// Takes in several events, in their order. What it leaves is what [`Projection::apply`] of each would leave; it is there
    /// for projections to which several together are cheaper.
    ///
    /// # Errors
    /// As [`Projection::apply`].
    fn apply_all(&self, transaction: &Transaction<'_>, events: &[RecordedEvent]) -> ProjectionResult {
        events.iter().try_for_each(|event| self.apply(transaction, event))
    }

    /// Drops its tables.
    ///
    /// # Errors
    /// Whatever keeps it from doing so.
    fn reset(&self, transaction: &Transaction<'_>) -> ProjectionResult;
}

/// How far a projection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The position of the last event that it has seen.
    pub position: u64,
    /// Why it has stopped, where it has.
    pub error: Option<String>,
}

/// The projections that run.
pub(crate) struct Projections {
    shared: Arc<Shared>,
    running: Vec<Box<dyn Projection>>,
}

impl Projections {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, running: Vec::new() }
    }

    pub(crate) fn start(
        &mut self,
        connection: &mut Connection,
        projection: Box<dyn Projection>,
    ) -> Result<()> {
        let name = projection.name().to_owned();
        if self.find(&name).is_some() {
            return Err(failed(&name, "one of this name runs already"));
        }
        let version = projection.version();
        let stored: Option<(u32, u64)> = connection
            .query_row("SELECT version, position FROM projection WHERE name = ?1", [&name], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let position = match stored {
            Some((same, position)) if same == version => position,
            _ => 0,
        };
        let transaction = connection.transaction()?;
        if stored.is_some_and(|(old, _)| old != version) {
            guard(&name, || projection.reset(&transaction))?;
        }
        guard(&name, || projection.setup(&transaction))?;
        store(&transaction, &name, version, position)?;
        transaction.commit()?;
        self.running.push(projection);
        self.shared
            .projections
            .send_modify(|all| all.push(ProjectionStatus { name, version, position, error: None }));
        Ok(())
    }

    pub(crate) fn rebuild(&mut self, connection: &mut Connection, name: &str) -> Result<()> {
        let index = self.find(name).ok_or_else(|| failed(name, "it does not run"))?;
        let projection = &self.running[index];
        let transaction = connection.transaction()?;
        guard(name, || projection.reset(&transaction))?;
        guard(name, || projection.setup(&transaction))?;
        store(&transaction, name, projection.version(), 0)?;
        transaction.commit()?;
        self.shared.projections.send_modify(|all| {
            all[index].position = 0;
            all[index].error = None;
        });
        Ok(())
    }

    pub(crate) fn forget(&mut self, connection: &mut Connection, name: &str) -> Result<()> {
        let transaction = connection.transaction()?;
        let index = self.find(name);
        if let Some(index) = index {
            guard(name, || self.running[index].reset(&transaction))?;
        }
        transaction.execute("DELETE FROM projection WHERE name = ?1", [name])?;
        transaction.commit()?;
        if let Some(index) = index {
            self.running.remove(index);
            self.shared.projections.send_modify(|all| drop(all.remove(index)));
        }
        Ok(())
    }

    /// How many events the hindmost projection has before it.
    pub(crate) fn lag(&self) -> u64 {
        let head = self.shared.head.borrow().position;
        let all = self.shared.projections.borrow();
        let lags =
            all.iter().filter(|status| status.error.is_none()).map(|status| head - status.position.min(head));
        lags.max().unwrap_or(0)
    }

    /// Takes every projection one step on. Its commit does not wait for the disk: what a crash undoes is done again.
    pub(crate) fn step(&self, connection: &mut Connection, recent: &mut Recent) -> Result<()> {
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        let result = self.advance_all(connection, recent);
        let all = self.shared.projections.borrow();
        let seen = all.iter().filter(|status| status.error.is_none()).map(|status| status.position).min();
        recent.forget(seen.unwrap_or(u64::MAX));
        drop(all);
        connection.execute_batch("PRAGMA synchronous = FULL")?;
        result
    }

    fn advance_all(&self, connection: &mut Connection, recent: &Recent) -> Result<()> {
        let head = self.shared.head.borrow().position;
        let statuses = self.shared.projections.borrow().clone();
        let mut read = (0, Vec::new());
        for (index, status) in statuses.iter().enumerate() {
            if status.error.is_some() || status.position >= head {
                continue;
            }
            let from = (status.position + 1).max(self.shared.oldest());
            let events = match recent.from(from, STEP as usize) {
                Some(events) => events,
                None => {
                    // Most projections are equally far.
                    if read.0 != from {
                        let (events, _) =
                            read_range(connection, from, head + 1, STEP as usize, &Filter::default())?;
                        read = (from, events);
                    }
                    &read.1
                }
            };
            match advance(connection, &*self.running[index], status, head, events) {
                Ok(position) => self.shared.projections.send_modify(|all| all[index].position = position),
                Err(error @ Error::Projection { .. }) => {
                    tracing::error!(projection = status.name, %error, "the projection has stopped");
                    self.shared.projections.send_modify(|all| all[index].error = Some(error.to_string()));
                }
                // The disk's fault: it is tried again.
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether any runs.
    pub(crate) fn any(&self) -> bool {
        !self.running.is_empty()
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.running.iter().position(|projection| projection.name() == name)
    }
}

fn advance(
    connection: &mut Connection,
    projection: &dyn Projection,
    status: &ProjectionStatus,
    head: u64,
    events: &[RecordedEvent],
) -> Result<u64> {
    let transaction = connection.transaction()?;
    guard(&status.name, || projection.apply_all(&transaction, events))?;
    let position = events.last().map_or(head, |last| last.position);
    store(&transaction, &status.name, status.version, position)?;
    transaction.commit()?;
    Ok(position)
}

fn store(transaction: &Transaction<'_>, name: &str, version: u32, position: u64) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO projection (name, version, position) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET version = excluded.version, position = excluded.position",
    )?;
    statement.execute((name, version, position))?;
    Ok(())
}

/// Runs a projection's function. One that panics has failed; the writer goes on.
fn guard(name: &str, function: impl FnOnce() -> ProjectionResult) -> Result<()> {
    match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(match error.downcast_ref().map(Error::sqlite) {
            Some(disk @ (Error::Full { .. } | Error::Corrupt { .. })) => disk,
            _ => failed(name, &error.to_string()),
        }),
        Err(_) => Err(failed(name, "it panicked")),
    }
}

fn failed(name: &str, detail: &str) -> Error {
    Error::Projection { name: name.to_owned(), detail: detail.to_owned() }
}
