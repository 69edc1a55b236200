//! The file: what is refused when it is opened, and what is said about it.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;
use trunkline_event_log::{Config, Error, Expected, rusqlite};
use trunkline_model::{Failure, Fault};

use crate::fixture::{Log, event, event_of_size};

fn open(config: Config) -> Error {
    config.build(Arc::new(Timestamp::now)).unwrap_err()
}

#[tokio::test]
async fn a_second_opening_is_refused_until_the_first_ends() {
    let log = Log::open();
    let path = log.config.path.clone();
    assert_eq!(open(log.config.clone()), Error::Locked { path });
    let log = log.reopen();
    log.append("s", Expected::Empty, vec![event(1)]).await.unwrap();
}

#[test]
fn a_newer_file_is_refused_and_left_alone() {
    let (path, _folder) = Log::open().into_file();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = open(Config::new(&path));
    assert_eq!(error, Error::Newer { path: path.clone(), found: 99, supported: 1 });
    let version: i64 =
        Connection::open(&path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[test]
fn a_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert_eq!(open(Config::new(&path)), Error::Foreign { path });
}

#[test]
fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a database, but long enough to be looked at as one".repeat(100)).unwrap();
    let error = open(Config::new(&path));
    assert_eq!(error.code(), "TL5008", "{error}");
    let failure = Failure::from(error);
    assert_eq!((failure.code, failure.fault), ("TL5008", Fault::Operator));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = open(Config::new("/nonexistent/events.db"));
    assert_eq!(error.code(), "TL5005");
    assert!(error.to_string().contains("/nonexistent/events.db"), "{error}");
}

#[tokio::test]
async fn a_damaged_page_is_an_error_and_not_a_wrong_answer() {
    let log = Log::open();
    log.append("s", Expected::Any, (0..50).map(|n| event_of_size(n, 5000)).collect()).await.unwrap();
    let config = log.config.clone();
    let (path, _folder) = log.into_file();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40_000].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let (log, _writer) = config.build(Arc::new(Timestamp::now)).unwrap();
    let error = log.read_all(1, 100, None).await.unwrap_err();
    assert_eq!(error.code(), "TL5008", "{error}");
}

#[tokio::test]
async fn the_write_ahead_log_stays_small() {
    let log = Log::with(|config| config.wal_bytes = 128 << 10);
    for n in 0..400 {
        log.append("s", Expected::Any, vec![event_of_size(n, 20_000)]).await.unwrap();
    }
    let mut wal = log.config.path.clone().into_os_string();
    wal.push("-wal");
    let size = std::fs::metadata(wal).unwrap().len();
    assert!(size < 5 * (128 << 10), "{size}");
}
