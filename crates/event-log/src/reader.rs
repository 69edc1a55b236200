//! Reading: a few read-only connections, and pages bounded by count and bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use trunkline_model::Event;

use crate::shared::Shared;
use crate::{Error, RecordedEvent, Result, StreamId, row, schema};

/// The most events in a page.
const MAX_PAGE_EVENTS: usize = 4096;

/// The bytes after which a page ends. Its last event may go over.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// The most events that one filtered page looks at.
const MAX_SCAN: u64 = 20_000;

/// A part of what was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The events, oldest first.
    pub events: Vec<RecordedEvent>,
    /// Where to go on: a position, or the version in a stream.
    pub next: u64,
    /// There was nothing more at the time.
    pub end: bool,
}

/// Which events to read. What is not set is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The beginning of the type.
    pub type_prefix: Option<String>,
    /// The whole target.
    pub target: Option<String>,
    /// The id of the principal.
    pub principal: Option<String>,
}

impl Filter {
    /// Whether the event is one of those.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.type_prefix.as_ref().is_none_or(|prefix| event.kind.starts_with(prefix.as_str()))
            && self.target.as_ref().is_none_or(|target| **target == *event.target)
            && self.principal.as_ref().is_none_or(|principal| **principal == *event.principal.id)
    }
}

/// The connections that read. Each is opened when it is first needed.
#[derive(Clone)]
pub(crate) struct Readers(Arc<Pool>);

struct Pool {
    path: PathBuf,
    free: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(path: &Path, size: usize) -> Self {
        Self(Arc::new(Pool {
            path: path.to_owned(),
            free: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(size.max(1))),
        }))
    }

    /// Runs `read` on a thread that may block, with a connection of the pool.
    pub(crate) async fn run<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let pool = Arc::clone(&self.0);
        let permit = Arc::clone(&pool.permits).acquire_owned().await.map_err(|_| Error::Closed)?;
        let task = tokio::task::spawn_blocking(move || {
            let free = pool.free.lock().pop();
            let connection = match free {
                Some(connection) => connection,
                None => schema::open_reader(&pool.path)?,
            };
            let result = read(&connection);
            pool.free.lock().push(connection);
            drop(permit);
            result
        });
        task.await.map_err(|error| Error::Io { detail: error.to_string() })?
    }

    pub(crate) async fn stream(&self, stream: StreamId, from: u64, limit: usize) -> Result<Page> {
        let limit = limit.min(MAX_PAGE_EVENTS);
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {} FROM event WHERE stream = ?1 AND version >= ?2 ORDER BY version",
                row::COLUMNS
            ))?;
            let (events, end) = collect(statement.query((&stream, from))?, limit)?;
            let next = events.last().map_or(from, |last| last.version + 1);
            Ok(Page { events, next, end })
        })
        .await
    }

    /// The newest events of a stream, the newest first.
    pub(crate) async fn newest(&self, stream: StreamId, limit: usize) -> Result<Vec<RecordedEvent>> {
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {} FROM event WHERE stream = ?1 ORDER BY version DESC LIMIT ?2",
                row::COLUMNS
            ))?;
            let limit = limit.min(MAX_PAGE_EVENTS);
            Ok(collect(statement.query((&stream, limit))?, limit)?.0)
        })
        .await
    }

    pub(crate) async fn all(&self, shared: &Shared, from: u64, limit: usize, filter: Filter) -> Result<Page> {
        let limit = limit.min(MAX_PAGE_EVENTS);
        let from = from.max(shared.oldest());
        // What is committed now: the read below sees at least this much, and positions up to here have no gap.
        let after_head = shared.head.borrow().position + 1;
        if from >= after_head {
            return Ok(Page { events: Vec::new(), next: from, end: true });
        }
        let before = after_head.min(from.saturating_add(MAX_SCAN));
        self.run(move |connection| {
            let (events, end) = read_range(connection, from, before, limit, &filter)?;
            let next = match events.last() {
                Some(last) if !end => last.position + 1,
                _ => before,
            };
            Ok(Page { end: next == after_head, events, next })
        })
        .await
    }
}

/// Reads the events from one position to before another, and tells whether these are all.
pub(crate) fn read_range(
    connection: &Connection,
    from: u64,
    before: u64,
    limit: usize,
    filter: &Filter,
) -> Result<(Vec<RecordedEvent>, bool)> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM event WHERE position >= ?1 AND position < ?2
         AND (?3 IS NULL OR substr(type, 1, length(?3)) = ?3)
         AND (?4 IS NULL OR target = ?4) AND (?5 IS NULL OR principal = ?5) ORDER BY position",
        row::COLUMNS
    ))?;
    let rows = statement.query((from, before, &filter.type_prefix, &filter.target, &filter.principal))?;
    collect(rows, limit)
}

fn collect(mut rows: rusqlite::Rows<'_>, limit: usize) -> Result<(Vec<RecordedEvent>, bool)> {
    let mut events = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if events.len() >= limit || bytes >= MAX_PAGE_BYTES {
            return Ok((events, false));
        }
        let event = row::read(row)?;
        bytes += row::size(&event.event);
        events.push(event);
    }
    Ok((events, true))
}
