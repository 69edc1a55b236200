//! Checkpoints: copying the write-ahead log into the file, off the way of commits.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Scope;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::{Result, schema};

/// At this many times the size it should have, the log is checkpointed in the way of commits.
const HARD_LIMIT: u64 = 4;

/// Keeps the write-ahead log small.
///
/// A thread of its own copies the log's pages into the file while commits go on (`PASSIVE`). What was added meanwhile is
/// little; the writer copies that itself, and its next commit begins the log anew.
pub(super) struct Checkpoints {
    /// The log's size in pages after the last commit.
    pages: Arc<AtomicU64>,
    /// At this size the thread begins.
    limit: u64,
    start: Option<SyncSender<()>>,
    begun: bool,
    done: Arc<AtomicBool>,
}

impl Checkpoints {
    pub(super) fn new(connection: &mut Connection, wal_bytes: u64) -> Result<Self> {
        let pages = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut Wal, pages: i32| {
            count.store(u64::from(pages.unsigned_abs()), Ordering::Relaxed);
            Ok(())
        }))?;
        let page_size: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        // Keeps its room when it begins anew, so that commits overwrite and do not extend the file.
        let room = wal_bytes.saturating_mul(HARD_LIMIT);
        connection.execute_batch(&format!("PRAGMA journal_size_limit = {room}"))?;
        let limit = (wal_bytes / page_size).max(1);
        Ok(Self { pages, limit, start: None, begun: false, done: Arc::new(AtomicBool::new(false)) })
    }

    /// Starts the thread. It ends when `self` is finished or dropped.
    pub(super) fn start<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, path: &Path) -> Result<()> {
        let connection = schema::open_checkpointer(path)?;
        let (start, starts) = sync_channel(1);
        let done = Arc::clone(&self.done);
        scope.spawn(move || {
            while starts.recv().is_ok() {
                if let Err(error) = copy(&connection) {
                    tracing::warn!(%error, "a checkpoint failed; it will be tried again");
                }
                done.store(true, Ordering::Release);
            }
        });
        self.start = Some(start);
        Ok(())
    }

    /// Looks whether there is something to do.
    pub(super) fn after_commit(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.limit {
            return;
        }
        let done = self.begun && self.done.swap(false, Ordering::Acquire);
        if done || pages >= self.limit.saturating_mul(HARD_LIMIT) {
            if let Err(error) = copy(connection) {
                tracing::warn!(%error, "a checkpoint failed; it will be tried again");
            }
            self.begun &= !done;
            // The next commit tells the true size: small where the log began anew.
            self.pages.store(0, Ordering::Relaxed);
        } else if !self.begun
            && let Some(start) = &self.start
        {
            self.begun = start.try_send(()).is_ok();
        }
    }

    /// Ends the thread and empties the log.
    pub(super) fn finish(&mut self, connection: &Connection) {
        self.start = None;
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the last checkpoint failed; the log is complete all the same");
        }
    }
}

fn copy(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}
