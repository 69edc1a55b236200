//! Snapshots: the state of a stream at a version.

use rusqlite::{Connection, OptionalExtension};
use trunkline_model::Json;

use crate::{Error, Result, StreamId};

/// The state of a stream at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The stream.
    pub stream: StreamId,
    /// The version of the last event that is in the state.
    pub version: u64,
    /// The state.
    pub state: Json,
}

/// Stores a snapshot unless a newer one is there.
pub(crate) fn save(connection: &Connection, snapshot: &Snapshot) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO snapshot (stream, version, state) VALUES (?1, ?2, ?3)
         ON CONFLICT (stream) DO UPDATE SET version = excluded.version, state = excluded.state
         WHERE excluded.version >= version",
    )?;
    statement.execute((&snapshot.stream, snapshot.version, snapshot.state.as_str()))?;
    Ok(())
}

pub(crate) fn load(connection: &Connection, stream: &StreamId) -> Result<Option<Snapshot>> {
    let mut statement = connection.prepare_cached("SELECT version, state FROM snapshot WHERE stream = ?1")?;
    let row: Option<(u64, String)> =
        statement.query_row([stream], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((version, state)) = row else { return Ok(None) };
    let state = Json::parse(state)
        .map_err(|error| Error::Corrupt { detail: format!("the snapshot of {stream} is {error}") })?;
    Ok(Some(Snapshot { stream: stream.clone(), version, state }))
}
