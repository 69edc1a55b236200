//! What can go wrong with the log, and what to do about it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use trunkline_model::{Failure, Fault, Retry};

use crate::{Expected, StreamId};

/// What can go wrong with the log. It can be cloned, as one failed commit fails every append in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The stream is not at the expected version.
    #[error("the stream {stream} is at version {actual}, not at {expected}")]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// What the append took it to be.
        expected: Expected,
        /// What it is.
        actual: u64,
    },
    /// The append is larger than [`Config::max_append_bytes`](crate::Config::max_append_bytes), or has no events or too many.
    #[error(
        "an append of {events} events and {bytes} bytes is outside of 1 to {max_events} events and {max_bytes} bytes"
    )]
    Size {
        /// How many events it has.
        events: usize,
        /// The bytes they take.
        bytes: usize,
        /// The most events.
        max_events: usize,
        /// The most bytes.
        max_bytes: usize,
    },
    /// The log is shut down.
    #[error("the event log is shut down")]
    Closed,
    /// Another process has the file open.
    #[error("{} is in use by another process", .path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be created or opened.
    #[error("{} can't be opened: {detail}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's words.
        detail: String,
    },
    /// The file was written by a newer Trunkline.
    #[error("{} has format {found}; this version of Trunkline reads formats up to {supported}", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that is known here.
        supported: i64,
    },
    /// The file is an SQLite database, but not an event log.
    #[error("{} is a database of some other program", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged, or not a database.
    #[error("the event log is damaged: {detail}")]
    Corrupt {
        /// What SQLite or the check of a row found.
        detail: String,
    },
    /// No room is left on the disk.
    #[error("no room is left for the event log: {detail}")]
    Full {
        /// SQLite's words.
        detail: String,
    },
    /// Reading or writing failed otherwise.
    #[error("the event log can't be read or written: {detail}")]
    Io {
        /// SQLite's words.
        detail: String,
    },
    /// Retention has dropped events that were to be read.
    #[error("the events from position {from} to {} have been dropped by retention", .oldest - 1)]
    Dropped {
        /// The first position that was wanted.
        from: u64,
        /// The oldest position there is.
        oldest: u64,
    },
    /// Too many events wait for the writer.
    #[error("the queue of the event log is full")]
    Busy,
    /// A projection failed, or none has this name.
    #[error("the projection {name}: {detail}")]
    Projection {
        /// Its name.
        name: String,
        /// What is wrong.
        detail: String,
    },
}

impl Error {
    /// The error that SQLite's means for us.
    pub(crate) fn sqlite(error: &rusqlite::Error) -> Self {
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { detail },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { detail },
            _ => match error {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..) => Self::Corrupt { detail },
                _ => Self::Io { detail },
            },
        }
    }

    pub(crate) fn open(path: &Path, detail: &dyn std::fmt::Display) -> Self {
        Self::Open { path: path.to_owned(), detail: detail.to_string() }
    }

    /// The code; `docs/errors/` has a page for each.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "TL5001",
            Self::Size { .. } => "TL5002",
            Self::Closed => "TL5003",
            Self::Locked { .. } => "TL5004",
            Self::Open { .. } => "TL5005",
            Self::Newer { .. } => "TL5006",
            Self::Foreign { .. } => "TL5007",
            Self::Corrupt { .. } => "TL5008",
            Self::Full { .. } => "TL5009",
            Self::Io { .. } => "TL5010",
            Self::Dropped { .. } => "TL5011",
            Self::Projection { .. } => "TL5012",
            Self::Busy => "TL5013",
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::sqlite(&error)
    }
}

impl Error {
    /// What it is called, and whose it is to change something.
    fn title(&self) -> (&'static str, Fault) {
        match self {
            Self::Conflict { .. } => ("Stream has moved on", Fault::Caller),
            Self::Size { .. } => ("Append is too large or empty", Fault::Caller),
            Self::Closed => ("Event log is shut down", Fault::Gateway),
            Self::Locked { .. } => ("Event log is in use", Fault::Operator),
            Self::Open { .. } => ("Event log can't be opened", Fault::Operator),
            Self::Newer { .. } => ("Event log is of a newer format", Fault::Operator),
            Self::Foreign { .. } => ("File is not an event log", Fault::Operator),
            Self::Corrupt { .. } => ("Event log is damaged", Fault::Operator),
            Self::Full { .. } => ("No room for the event log", Fault::Operator),
            Self::Io { .. } => ("Event log can't be read or written", Fault::Operator),
            Self::Dropped { .. } => ("Events are no longer kept", Fault::Caller),
            Self::Projection { .. } => ("Projection failed", Fault::Gateway),
            Self::Busy => ("Event log is behind", Fault::Gateway),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Closed | Self::Full { .. } | Self::Io { .. } | Self::Busy => Retry::Soon,
            _ => Retry::No,
        }
    }

    fn next(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "Read the stream and decide again from its last version.",
            Self::Size { .. } => "Send fewer or smaller events.",
            Self::Closed => "Wait until Trunkline has started again.",
            Self::Locked { .. } => {
                "Stop the other Trunkline, or set a data directory of its own for this one."
            }
            Self::Open { .. } => "Check that the data directory exists and that Trunkline may write to it.",
            Self::Newer { .. } => "Start the newer Trunkline, or set another data directory.",
            Self::Foreign { .. } => "Set the path of an event log or of a new file.",
            Self::Corrupt { .. } => {
                "Move the file away and restore a copy; `sqlite3 FILE .recover` saves what can be read."
            }
            Self::Full { .. } => "Free space on the disk of the data directory, or set a smaller retention.",
            Self::Io { .. } => "Check the disk of the data directory and its permissions.",
            Self::Dropped { .. } => {
                "Go on from the oldest position; keep events longer where they are needed."
            }
            Self::Projection { .. } => "Rebuild the projection; if it fails again, report it.",
            Self::Busy => "Try again; if it lasts, the disk of the data directory is too slow for the load.",
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let (title, fault) = error.title();
        let failure = Self::gateway(error.code(), title, error.to_string(), error.next());
        failure.fault(fault).retry(error.retry())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_to_do_and_has_a_page() {
        let path = PathBuf::from("events.db");
        let detail = || "words of SQLite".to_owned();
        let errors = [
            Error::Conflict { stream: StreamId::new("s"), expected: Expected::Empty, actual: 2 },
            Error::Size { events: 0, bytes: 0, max_events: 1, max_bytes: 1 },
            Error::Closed,
            Error::Locked { path: path.clone() },
            Error::open(&path, &"no such folder"),
            Error::Newer { path: path.clone(), found: 2, supported: 1 },
            Error::Foreign { path },
            Error::Corrupt { detail: detail() },
            Error::Full { detail: detail() },
            Error::Io { detail: detail() },
            Error::Dropped { from: 1, oldest: 5 },
            Error::Projection { name: "calls".to_owned(), detail: detail() },
            Error::Busy,
        ];
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        for error in errors {
            let failure = Failure::from(&error);
            let page = std::fs::read_to_string(docs.join(format!("{}.md", failure.code))).unwrap();
            assert_eq!(page.lines().next(), Some(&*format!("# {} {}", failure.code, failure.title)));
        }
    }
}
