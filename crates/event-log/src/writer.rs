//! The one that writes: group commit first, then projections, retention and checkpoints as time allows.

mod checkpoint;
mod commit;
pub(crate) mod recent;
mod versions;

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::projection::{self, Projections};
use crate::queue::{Command, Request, Task};
use crate::shared::Shared;
use crate::{Clock, Config, Error, Expected, Result, retention, snapshot};

use checkpoint::Checkpoints;
use commit::Committer;
use recent::Recent;

/// The time between two looks of the projections at the log, unless one is behind by more than a step. Where much happens
/// it is longer: what begins and ends between two looks costs a projection less.
const PROJECT_EVERY: Duration = Duration::from_millis(10);
const PROJECT_EVERY_BUSY: Duration = Duration::from_millis(40);

/// So many events in a look are much.
const BUSY: u64 = 64;

/// How long projections and retention wait after the disk has failed them.
const RETRY: Duration = Duration::from_secs(1);

/// How often retention looks whether there is something to drop.
const RETAIN_EVERY: Duration = Duration::from_secs(5);

/// Writes what the handles ask for.
pub struct Writer {
    config: Config,
    clock: Clock,
    connection: Connection,
    shared: Arc<Shared>,
    committer: Committer,
    projections: Projections,
    recent: Recent,
    next_projection: Instant,
    next_retention: Instant,
    /// Held for as long as the file is open.
    _lock: File,
}

impl Writer {
    pub(crate) fn new(
        config: Config,
        clock: Clock,
        connection: Connection,
        lock: File,
        shared: Arc<Shared>,
    ) -> Self {
        let now = Instant::now();
        Self {
            committer: Committer::new(Arc::clone(&shared)),
            projections: Projections::new(Arc::clone(&shared)),
            recent: Recent::default(),
            config,
            clock,
            connection,
            shared,
            next_projection: now,
            next_retention: now,
            _lock: lock,
        }
    }

    /// Writes until the log is shut down and everything queued is committed. Blocks: it wants a thread of its own. It
    /// keeps a second one for checkpoints while it runs.
    ///
    /// # Errors
    /// [`Error::Open`] where the checkpoint's connection can't be opened; the error of the last commit where recorded
    /// events were lost because it failed at the end. Otherwise failed commits are answered to those who wait for them,
    /// and do not end the writer.
    pub fn run(mut self) -> Result<()> {
        self.committer.start(&self.connection)?;
        let path = self.config.path.clone();
        let mut checkpoints = Checkpoints::new(&mut self.connection, self.config.wal_bytes)?;
        std::thread::scope(|scope| {
            checkpoints.start(scope, &path)?;
            let mut batch = Vec::new();
            loop {
                let closed = self.shared.queue.take(&mut batch, self.due());
                let last = closed && batch.is_empty();
                self.work(&mut batch);
                if closed && let Some(error) = self.committer.failure() {
                    return Err(error.clone());
                }
                if last {
                    break;
                }
                self.maintain();
                checkpoints.after_commit(&self.connection);
            }
            checkpoints.finish(&self.connection);
            Ok(())
        })
    }

    /// Does all that is asked, in order.
    fn work(&mut self, batch: &mut Vec<Request>) {
        let mut requests = std::mem::take(batch).into_iter().peekable();
        while requests.peek().is_some() {
            match requests.next_if(|request| matches!(request, Request::Command(_))) {
                Some(Request::Command(command)) => self.command(*command),
                _ => {
                    let recent = self.projections.any().then_some(&mut self.recent);
                    self.committer.commit(&mut self.connection, &self.clock, &mut requests, recent);
                }
            }
        }
    }

    fn command(&mut self, Command { task, reply }: Command) {
        let connection = &mut self.connection;
        let result = match task {
            Task::SaveSnapshot(snapshot) => match self.committer.version(connection, &snapshot.stream) {
                Ok(actual) if actual < snapshot.version => Err(Error::Conflict {
                    stream: snapshot.stream,
                    expected: Expected::Version(snapshot.version),
                    actual,
                }),
                Ok(_) => snapshot::save(connection, &snapshot).map_err(Error::from),
                Err(error) => Err(error),
            },
            Task::Hold(name, position) => connection
                .execute(
                    "INSERT INTO hold (name, position) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET position = excluded.position",
                    (name, position),
                )
                .map(drop)
                .map_err(Error::from),
            Task::Release(name) => {
                connection.execute("DELETE FROM hold WHERE name = ?1", [name]).map(drop).map_err(Error::from)
            }
            Task::Project(projection) => self.projections.start(connection, projection),
            Task::Rebuild(name) => self.projections.rebuild(connection, &name),
            Task::Forget(name) => self.projections.forget(connection, &name),
            Task::Retain => self.retain_all(),
        };
        // Whoever asked may have gone.
        let _ = reply.send(result);
    }

    /// When the writer has something to do, should nothing be asked of it.
    fn due(&self) -> Option<Instant> {
        let projection = (self.projections.lag() > 0).then_some(self.next_projection);
        let retention = self.retains().then_some(self.next_retention);
        match (projection, retention) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn maintain(&mut self) {
        let now = Instant::now();
        let lag = self.projections.lag();
        if now >= self.next_projection && lag > 0 {
            self.next_projection = match self.projections.step(&mut self.connection, &mut self.recent) {
                Ok(()) if self.projections.lag() >= projection::STEP => now,
                Ok(()) if lag >= BUSY => now + PROJECT_EVERY_BUSY,
                Ok(()) => now + PROJECT_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "projections can't go on; they will be tried again");
                    now + RETRY
                }
            };
        }
        if now >= self.next_retention && self.retains() {
            self.next_retention = match self.retain() {
                // More may be there: go on after what has come meanwhile.
                Ok(true) => now,
                Ok(false) => now + RETAIN_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "old events can't be dropped; it will be tried again");
                    now + RETRY
                }
            };
        }
    }

    fn retains(&self) -> bool {
        self.config.retention != crate::Retention::default()
    }

    fn retain(&mut self) -> Result<bool> {
        let dropped = retention::step(&self.connection, &self.config.retention, (self.clock)())?;
        if let Some(oldest) = dropped {
            self.committer.forget_versions();
            self.shared.set_oldest(oldest);
        }
        Ok(dropped.is_some())
    }

    fn retain_all(&mut self) -> Result<()> {
        while self.retain()? {}
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.abandon();
        self.shared.head.send_modify(|head| head.closed = true);
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("config", &self.config).finish_non_exhaustive()
    }
}
