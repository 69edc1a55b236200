//! Following the log.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use crate::reader::{Filter, Readers};
use crate::shared::{Head, Shared};
use crate::{Error, RecordedEvent, Result};

/// How many events are read at once.
const PAGE: usize = 256;

/// Follows the log from a position on: first what is stored, then what comes, without a gap or a repetition.
///
/// It always reads from the file and keeps one page in memory, so a slow subscriber costs no more than a fast one. A
/// subscription does not keep the log open.
pub struct Subscription {
    shared: Arc<Shared>,
    readers: Readers,
    head: watch::Receiver<Head>,
    page: VecDeque<RecordedEvent>,
    /// The position that is read next.
    from: u64,
}

impl Subscription {
    pub(crate) fn new(shared: Arc<Shared>, readers: Readers, from: u64) -> Self {
        let from = if from <= 1 { shared.oldest() } else { from };
        Self { head: shared.head.subscribe(), shared, readers, page: VecDeque::new(), from }
    }

    /// The next event, as soon as it is durable; none when the log is shut down and all was delivered. The future may be
    /// dropped and `next` called again; nothing is lost.
    ///
    /// # Errors
    /// [`Error::Dropped`] where retention was faster; the next call goes on with the oldest event there is.
    /// [`Error::Io`], [`Error::Corrupt`] as from reading.
    pub async fn next(&mut self) -> Result<Option<RecordedEvent>> {
        loop {
            if let Some(event) = self.page.pop_front() {
                return Ok(Some(event));
            }
            let head = *self.head.borrow_and_update();
            if head.position >= self.from {
                self.read().await?;
            } else if head.closed || self.head.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn read(&mut self) -> Result<()> {
        let page = self.readers.all(&self.shared, self.from, PAGE, Filter::default()).await?;
        let wanted = self.from;
        let Some(first) = page.events.first().map(|event| event.position) else {
            // Dropped between the look at the oldest position and the read.
            self.from = self.shared.oldest().max(wanted);
            return if self.from > wanted {
                Err(Error::Dropped { from: wanted, oldest: self.from })
            } else {
                Ok(())
            };
        };
        self.from = page.next;
        self.page = page.events.into();
        if first > wanted {
            return Err(Error::Dropped { from: wanted, oldest: first });
        }
        Ok(())
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("from", &self.from).field("ready", &self.page.len()).finish()
    }
}
