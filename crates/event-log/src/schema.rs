//! The file: opening, locking, tables and their migration.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::{Error, Result};

/// "TLEL": marks the file as ours (`PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x544c_454c;

/// How long a connection waits for a lock that another one holds for a moment.
const BUSY: Duration = Duration::from_secs(10);

/// The steps from an empty file to the newest format. `PRAGMA user_version` counts those that were taken. A step is
/// never changed once it is released; a new one is added.
const MIGRATIONS: &[&str] = &["
-- The log. `stream` is a UUID's 16 bytes or a name. `recorded` is the time of the commit in milliseconds since 1970.
-- `size` is the sum of the sizes of this and all earlier events, so that two seeks tell the size of what is kept.
-- `time` is in nanoseconds since 1970, or text where that is out of range. `correlation` is null where it is the
-- stream itself.
CREATE TABLE event (
  position INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  recorded INTEGER NOT NULL,
  size INTEGER NOT NULL,
  stream ANY NOT NULL,
  type TEXT NOT NULL,
  target TEXT NOT NULL,
  principal TEXT NOT NULL,
  principal_kind INTEGER NOT NULL,
  id BLOB NOT NULL,
  time ANY NOT NULL,
  source TEXT NOT NULL,
  action TEXT NOT NULL,
  correlation BLOB,
  causation BLOB,
  traceparent TEXT,
  parameters TEXT NOT NULL,
  context TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_stream ON event (stream, version);
CREATE TABLE snapshot (stream ANY PRIMARY KEY NOT NULL, version INTEGER NOT NULL, state TEXT NOT NULL) STRICT;
CREATE TABLE projection (name TEXT PRIMARY KEY, version INTEGER NOT NULL, position INTEGER NOT NULL) STRICT;
CREATE TABLE hold (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;
"];

/// The oldest and newest positions that are stored; `(1, 0)` in an empty log.
pub(crate) type Bounds = (u64, u64);

/// An opened log: the writer's connection.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// Keeps other processes out as long as it lives.
    pub(crate) lock: File,
    pub(crate) bounds: Bounds,
}

/// Opens or creates the log in this file.
pub(crate) fn open(path: &Path) -> Result<Opened> {
    let lock = lock(path)?;
    drop(private(path).map_err(|error| Error::open(path, &error))?);
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| Error::open(path, &error))?;
    connection.busy_timeout(BUSY)?;
    migrate(&mut connection, path)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::open(
            path,
            &format!("its file system has no write-ahead log (journal mode {mode})"),
        ));
    }
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY",
    )?;
    connection.set_prepared_statement_cache_capacity(32);
    let bounds = bounds(&connection)?;
    Ok(Opened { connection, lock, bounds })
}

/// A connection that only reads.
pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|error| Error::open(path, &error))?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// A connection for checkpoints.
pub(crate) fn open_checkpointer(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")?;
    Ok(connection)
}

/// The oldest and newest positions, as stored.
pub(crate) fn bounds(connection: &Connection) -> Result<Bounds> {
    let bounds = connection.query_row(
        "SELECT (SELECT min(position) FROM event), (SELECT max(position) FROM event)",
        [],
        |row| Ok((row.get::<_, Option<u64>>(0)?, row.get::<_, Option<u64>>(1)?)),
    )?;
    Ok((bounds.0.unwrap_or(1), bounds.1.unwrap_or(0)))
}

fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let file = private(Path::new(&name)).map_err(|error| Error::open(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(Error::open(path, &error)),
    }
}

/// Opens a file, or creates it so that nobody else can read it. SQLite gives `-wal` and `-shm` the mode of the file.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let supported = MIGRATIONS.len() as i64;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let owner: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables = connection.query_row("SELECT 1 FROM sqlite_schema", [], |_| Ok(())).optional()?.is_some();
    if owner != APPLICATION_ID && (owner != 0 || found != 0 || tables) {
        return Err(Error::Foreign { path: path.to_owned() });
    }
    if !(0..=supported).contains(&found) {
        return Err(Error::Newer { path: path.to_owned(), found, supported });
    }
    if found == supported {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", supported)?;
    transaction.commit()?;
    Ok(())
}
