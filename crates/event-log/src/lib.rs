//! The record of everything that happens: append, read, subscribe, project, snapshot.
//!
//! One SQLite file (WAL, `synchronous=FULL`), one writer thread with group commit, readers on connections of their own.
//! [`Config::build`] gives the cheap handle [`EventLog`] and the [`Writer`], which the wiring runs on a thread.
//!
//! - [`EventLog::append`] returns when its events are durable; [`EventLog::record`] leaves an event for the next batch.
//! - Every event has a global position (gapless, in commit order) and a version within its stream.
//! - [`EventLog::subscribe`] follows the log; a [`Projection`] turns it into rows, whose checkpoint commits with them.

mod config;
mod error;
mod log;
mod projection;
mod queue;
mod reader;
mod retention;
mod row;
mod schema;
mod shared;
mod snapshot;
mod stream;
mod subscription;
mod writer;

pub use config::{Clock, Config, Retention};
pub use error::Error;
pub use log::EventLog;
pub use projection::{Projection, ProjectionResult, ProjectionStatus};
pub use reader::{Filter, Page};
pub use rusqlite;
pub use snapshot::Snapshot;
pub use stream::{Appended, Expected, RecordedEvent, StreamId};
pub use subscription::Subscription;
pub use writer::Writer;

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
