//! What the handles and the writer both see.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::projection::ProjectionStatus;
use crate::queue::Queue;
use crate::schema::Bounds;
use crate::{Config, Result, row};
use crate::{Error, queue::Request};

/// The most events in one append.
const MAX_APPEND_EVENTS: usize = 4096;

/// The end of the log, as subscribers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The newest durable position; 0 in a log that never had an event.
    pub(crate) position: u64,
    /// Nothing more will come.
    pub(crate) closed: bool,
}

/// What the handles and the writer both see.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) head: watch::Sender<Head>,
    pub(crate) projections: watch::Sender<Vec<ProjectionStatus>>,
    oldest: AtomicU64,
    max_append_bytes: usize,
}

impl Shared {
    pub(crate) fn new(config: &Config, (oldest, newest): Bounds) -> Self {
        Self {
            queue: Queue::new(config),
            head: watch::Sender::new(Head { position: newest, closed: false }),
            projections: watch::Sender::new(Vec::new()),
            oldest: AtomicU64::new(oldest),
            max_append_bytes: config.max_append_bytes,
        }
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Acquire)
    }

    pub(crate) fn set_oldest(&self, position: u64) {
        self.oldest.store(position, Ordering::Release);
    }

    /// The bytes that the request's events count for.
    pub(crate) fn measure(&self, request: &Request) -> Result<(usize, usize)> {
        let (events, bytes) = match request {
            Request::Record(_, event) => (1, row::size(event)),
            Request::Append(append) => (append.events.len(), append.events.iter().map(row::size).sum()),
            Request::Command(_) => return Ok((0, 0)),
        };
        if (1..=MAX_APPEND_EVENTS).contains(&events) && bytes <= self.max_append_bytes {
            return Ok((events, bytes));
        }
        Err(Error::Size { events, bytes, max_events: MAX_APPEND_EVENTS, max_bytes: self.max_append_bytes })
    }
}
