//! Events that were just committed, so that projections need not read them back from the file.

use crate::{RecordedEvent, row};

/// The most events that are kept, and the most bytes of them. Beyond that all are let go, and read from the file.
const MAX_EVENTS: usize = 8_192;
const MAX_BYTES: usize = 16 << 20;

/// The newest events, without gaps.
#[derive(Default)]
pub(crate) struct Recent {
    events: Vec<RecordedEvent>,
    bytes: usize,
}

impl Recent {
    /// Takes an event that was committed.
    pub(crate) fn push(&mut self, event: RecordedEvent) {
        let follows = self.events.last().is_none_or(|last| last.position + 1 == event.position);
        if !follows || self.events.len() >= MAX_EVENTS || self.bytes >= MAX_BYTES {
            self.events.clear();
            self.bytes = 0;
        }
        self.bytes += row::size(&event.event);
        self.events.push(event);
    }

    /// The events from a position on, at most so many; none where that position is not kept.
    pub(crate) fn from(&self, position: u64, most: usize) -> Option<&[RecordedEvent]> {
        let first = self.events.first()?.position;
        let skipped = usize::try_from(position.checked_sub(first)?).ok()?;
        let events = self.events.get(skipped..)?;
        (!events.is_empty()).then(|| &events[..events.len().min(most)])
    }

    /// Lets go of the events up to a position.
    pub(crate) fn forget(&mut self, position: u64) {
        let seen = self.events.partition_point(|event| event.position <= position);
        self.bytes -= self.events.drain(..seen).map(|event| row::size(&event.event)).sum::<usize>();
    }
}
