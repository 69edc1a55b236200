//! Streams, versions and positions.

use std::fmt;
use std::sync::Arc;

use trunkline_model::{CallId, Event};
use uuid::Uuid;

/// The name of a stream: events that belong together and are numbered from 1.
///
/// A stream that is named by a UUID takes 16 bytes wherever it is stored. UUIDv7 keeps the index growing at its end.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(crate) Name);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Name {
    Text(Arc<str>),
    Id(Uuid),
}

impl StreamId {
    /// The stream of this name. The text of a UUID names the same stream as the UUID.
    #[must_use]
    pub fn new(name: &str) -> Self {
        match Uuid::try_parse(name) {
            Ok(id) if id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == name => Self(Name::Id(id)),
            _ => Self(Name::Text(Arc::from(name))),
        }
    }
}

impl From<Uuid> for StreamId {
    fn from(id: Uuid) -> Self {
        Self(Name::Id(id))
    }
}

impl From<CallId> for StreamId {
    fn from(id: CallId) -> Self {
        Self(Name::Id(id.0))
    }
}

impl From<&str> for StreamId {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Text(name) => name.fmt(f),
            Name::Id(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an append takes the version of its stream to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Any,
    /// The stream has no events.
    Empty,
    /// The stream's last event has this version; `Version(0)` is [`Expected::Empty`].
    Version(u64),
}

impl Expected {
    pub(crate) fn holds(self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Empty => version == 0,
            Self::Version(expected) => version == expected,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::Empty => f.write_str("no events"),
            Self::Version(version) => write!(f, "version {version}"),
        }
    }
}

/// Where appended events stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The global position of the first event.
    pub first_position: u64,
    /// The global position of the last event.
    pub last_position: u64,
    /// The version of the stream after the append: that of its last event.
    pub version: u64,
}

/// An event as the log keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    /// The global position, from 1 without gaps, in the order of commits.
    pub position: u64,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its number within the stream, from 1.
    pub version: u64,
    /// The event.
    pub event: Event,
}
