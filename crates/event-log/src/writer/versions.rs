//! The versions of streams, mostly from memory.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection};
use uuid::Uuid;

use crate::stream::Name;
use crate::{Result, StreamId};

/// How many streams are remembered.
const MAX_KNOWN: usize = 8192;

/// The version of a stream. One that has a snapshot keeps it even when retention has dropped its events.
pub(super) const VERSION_OF: &str = "SELECT coalesce((SELECT max(version) FROM event WHERE stream = ?1),
    (SELECT version FROM snapshot WHERE stream = ?1), 0)";

/// The versions of the streams that were last written to.
///
/// Most streams are calls, named by UUIDv7, so nearly every first event has a name above all that were there before.
/// Such a stream is new, and need not be looked for in the file.
#[derive(Default)]
pub(super) struct Versions {
    known: HashMap<StreamId, u64>,
    /// Streams named by a UUID above this are all in `known`, or have no events.
    floor: Uuid,
    /// The greatest UUID of a stream that was written to.
    newest: Uuid,
}

impl Versions {
    /// Reads the greatest UUID of a stream.
    pub(super) fn start(&mut self, connection: &Connection) -> Result<()> {
        // Blobs sort after text.
        for table in ["event", "snapshot"] {
            let newest: Option<StreamId> =
                connection.query_row(&format!("SELECT max(stream) FROM {table}"), [], |row| row.get(0))?;
            if let Some(StreamId(Name::Id(id))) = newest {
                self.newest = self.newest.max(id);
            }
        }
        self.forget();
        Ok(())
    }

    /// The version of a stream, with the prepared [`VERSION_OF`].
    pub(super) fn get(
        &mut self,
        stream: &StreamId,
        version_of: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<u64> {
        if let Some(version) = self.known.get(stream) {
            return Ok(*version);
        }
        match stream.0 {
            Name::Id(id) if id > self.floor => Ok(0),
            _ => version_of.query_row([stream], |row| row.get(0)),
        }
    }

    /// The stream has this version now.
    pub(super) fn set(&mut self, stream: &StreamId, version: u64) {
        if let Name::Id(id) = stream.0 {
            self.newest = self.newest.max(id);
        }
        if self.known.len() >= MAX_KNOWN {
            self.forget();
        }
        self.known.insert(stream.clone(), version);
    }

    /// Forgets what is known: it may no longer be so.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.floor = self.newest;
    }
}
