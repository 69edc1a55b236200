//! What can be set, and the way from there to a running log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::reader::Readers;
use crate::schema::{self, Opened};
use crate::shared::Shared;
use crate::{EventLog, Result, Writer};

/// The time of day, for retention. Passed in so that tests can move it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The settings of an event log.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file. Beside it stand SQLite's `-wal` and `-shm` and a `-lock` that keeps a second process out.
    pub path: PathBuf,
    /// The longest that a recorded event waits for its commit.
    pub batch_interval: Duration,
    /// The most events that wait for the writer; more wait outside, in `append` or `record`.
    pub queue_events: usize,
    /// The most bytes of events that wait for the writer.
    pub queue_bytes: usize,
    /// The most bytes of one append or recorded event.
    pub max_append_bytes: usize,
    /// The size of the write-ahead log, in bytes, at which its pages are copied into the file. The log stays under
    /// about four times as much, unless a reader holds on to an old state.
    pub wal_bytes: u64,
    /// How many connections read at the same time.
    pub readers: usize,
    /// What is kept.
    pub retention: Retention,
}

/// What is kept. Events are dropped from the oldest on; never the newest one, nor any that a projection has not seen or
/// a hold protects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Events that were committed longer ago than this are dropped.
    pub max_age: Option<Duration>,
    /// An event is dropped when those after it take this many bytes. It counts what the events hold; the file is larger
    /// by indexes and what projections store, and does not shrink: the room is used again.
    pub max_bytes: Option<u64>,
}

impl Config {
    /// The defaults for a log in this file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            batch_interval: Duration::from_millis(50),
            queue_events: 16_384,
            queue_bytes: 32 << 20,
            max_append_bytes: 16 << 20,
            wal_bytes: 16 << 20,
            readers: 4,
            retention: Retention::default(),
        }
    }

    /// Opens the file, creates it or brings it up to date. Nothing is written before [`Writer::run`] runs.
    ///
    /// # Errors
    /// [`Error::Open`](crate::Error::Open), [`Error::Locked`](crate::Error::Locked),
    /// [`Error::Newer`](crate::Error::Newer), [`Error::Foreign`](crate::Error::Foreign),
    /// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Full`](crate::Error::Full).
    pub fn build(self, clock: Clock) -> Result<(EventLog, Writer)> {
        let Opened { connection, lock, bounds } = schema::open(&self.path)?;
        let readers = Readers::new(&self.path, self.readers);
        let shared = Arc::new(Shared::new(&self, bounds));
        let writer = Writer::new(self, clock, connection, lock, Arc::clone(&shared));
        Ok((EventLog::new(shared, readers), writer))
    }
}
