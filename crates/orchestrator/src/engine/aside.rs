//! Instances that wait for long are put aside and brought back by replay; retention keeps what that needs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::roster::{Look, Next};
use super::{Engine, Told};
use crate::entry::{Entry, InstanceId};
use crate::run::{Held, Run};
use crate::workflow::Workflow;
use crate::{Error, transaction, views};

/// The name under which retention is told what unfinished instances need.
const HOLD: &str = "flow";

/// How often it is told.
const HOLD_EVERY: Duration = Duration::from_secs(10);

/// How long the start of a process waits for instances that an earlier one left. What is left of them then comes back
/// while requests are taken.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many definitions are kept that no instance uses now.
const KEPT: usize = 64;

/// Definitions by their hash, so that instances share them. The newest is last.
#[derive(Default)]
pub(super) struct Shelf(Mutex<VecDeque<Arc<Workflow>>>);

impl Shelf {
    /// The definition of this hash, where it was used lately.
    fn find(&self, hash: &str) -> Option<Arc<Workflow>> {
        self.0.lock().iter().find(|known| **known.hash() == *hash).cloned()
    }

    /// The one that there is already of the same text, or this one.
    pub(super) fn share(&self, workflow: Arc<Workflow>) -> Arc<Workflow> {
        let mut shelf = self.0.lock();
        if let Some(known) = shelf.iter().find(|known| known.hash() == workflow.hash()) {
            return known.clone();
        }
        if shelf.len() >= KEPT {
            shelf.pop_front();
        }
        shelf.push_back(workflow.clone());
        workflow
    }

    /// The definition that an instance was started with.
    ///
    /// # Errors
    /// Where it can't be read.
    pub(super) fn read(&self, hash: &str, source: &trunkline_model::Json) -> Result<Arc<Workflow>, Error> {
        match self.find(hash) {
            Some(known) => Ok(known),
            None => Ok(self.share(Arc::new(Workflow::from_source(Arc::new(source.to_value()))?))),
        }
    }
}

impl Engine {
    /// Brings back every instance that an earlier process left: those that do not wait for long at once, one after the
    /// other. Gives how many there are in all. What takes longer than half a second goes on by itself.
    ///
    /// # Errors
    /// Where the log can't be read.
    pub async fn resume_all(&self) -> Result<usize, Error> {
        let head = self.0.parts.log.head();
        self.0.parts.log.projected(views::NAME, head).await?;
        let unfinished = views::unfinished(&self.0.parts.log).await?;
        let now = self.now();
        let mut resumed = 0;
        let mut due = Vec::new();
        let mut transactions = Vec::new();
        for (id, flow, aside) in unfinished {
            let wake = aside.unwrap_or(now);
            if self.0.roster.expect(id, wake) {
                resumed += 1;
                let kind = if flow == transaction::FLOW { &mut transactions } else { &mut due };
                kind.extend((wake <= now).then_some(id));
            }
        }
        // All of them, however long it takes: calls have to find the transaction that they belong to.
        for id in transactions {
            let _ = self.load(id).await;
        }
        self.keep_going();
        // Who waited for a turn comes back before anyone else is let in.
        self.0.limits.close();
        let engine = self.clone();
        let closing = self.0.parts.closing.clone();
        let work = async move {
            for id in due {
                // What can't be brought back has said so.
                let _ = engine.load(id).await;
            }
            engine.0.limits.open();
        };
        let work = async move { closing.run_until_cancelled(work).await };
        let coming = self.0.parts.tasks.spawn_on(work, &self.0.parts.runtime);
        let _ = tokio::time::timeout(PATIENCE, coming).await;
        Ok(resumed)
    }

    /// The instance, running: it is brought back where it is put aside, and stays in memory as long as it is held.
    ///
    /// # Errors
    /// [`Error::UnknownInstance`].
    pub(crate) async fn load(&self, id: InstanceId) -> Result<Held, Error> {
        loop {
            let mut came = std::pin::pin!(self.0.roster.came());
            // Before the look, so that nothing is missed between the two.
            came.as_mut().enable();
            match self.0.roster.look(id) {
                Look::Running(run) => return Ok(run),
                Look::Nothing => return Err(Error::UnknownInstance(id)),
                Look::Coming => came.await,
                Look::BringBack(told) => {
                    // Whether or not anyone goes on waiting for it.
                    let work = self.clone().bring_back(id, told);
                    let work = self.0.parts.tasks.spawn_on(work, &self.0.parts.runtime);
                    return work.await.ok().flatten().ok_or(Error::UnknownInstance(id));
                }
            }
        }
    }

    async fn bring_back(self, id: InstanceId, told: Arc<Told>) -> Option<Held> {
        let closing = self.0.parts.closing.clone();
        match closing.run_until_cancelled(self.replay(id, false, told.clone())).await? {
            Ok(run) => Some(run),
            Err(error) => {
                tracing::error!(instance = %id, %error, "an instance can't be brought back");
                self.0.roster.remove(id);
                told.end(None);
                None
            }
        }
    }

    /// Puts an instance aside whose run has been dropped.
    pub(super) fn put_aside(&self, run: &Run, wake: Timestamp) {
        let journal = &run.journal;
        let entry = Entry::PutAside { until: wake };
        let (id, time) = ((self.0.parts.sources.time_id)(), journal.now());
        let event = entry.into_event(journal.instance, &journal.flow, &journal.principal, id, time);
        // Lost in a crash, it only takes the next process longer to start.
        if let Err(error) = journal.log().try_record(journal.instance.0, event) {
            tracing::debug!(instance = %run.journal.instance, %error, "it is not noted that an instance is put aside");
        }
        self.0.roster.put_aside(run.journal.instance, wake, &run.told);
        self.keep_going();
    }

    /// Has what is put aside woken, and retention told what is needed, as long as the process lives.
    pub(super) fn keep_going(&self) {
        if self.0.keeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let (waker, keeper) = (self.clone(), self.clone());
        let (closing, ended) = (self.0.parts.closing.clone(), self.0.parts.closing.clone());
        let wake = async move { closing.run_until_cancelled(waker.wake_as_due()).await };
        let hold = async move { ended.run_until_cancelled(keeper.hold_as_needed()).await };
        self.0.parts.tasks.spawn_on(wake, &self.0.parts.runtime);
        self.0.parts.tasks.spawn_on(hold, &self.0.parts.runtime);
    }

    /// Wakes one after the other.
    async fn wake_as_due(&self) {
        // Looks at the clock again from time to time: it may have been set.
        const STEP: Duration = Duration::from_secs(60);
        loop {
            let changed = self.0.roster.changed();
            let now = self.now();
            let pause = match self.0.roster.next(now) {
                Next::Now(id) => {
                    let _ = self.load(id).await;
                    continue;
                }
                Next::At(wake) => Duration::try_from(wake.duration_since(now)).unwrap_or_default().min(STEP),
                Next::Nothing => STEP,
            };
            let _ = tokio::time::timeout(pause, changed).await;
        }
    }

    /// Keeps retention from the events of instances that have not ended. What begins meanwhile stands behind the
    /// position that is held already.
    async fn hold_as_needed(&self) {
        let log = &self.0.parts.log;
        let mut held = 0;
        loop {
            let head = log.head();
            let oldest = views::oldest_unfinished(log).await;
            let needed = oldest.map(|oldest| oldest.unwrap_or(head).min(head).max(1));
            let done = match needed {
                Ok(needed) if needed == held => Ok(()),
                Ok(needed) => log.hold(HOLD, needed).await.map(|()| held = needed),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::warn!(%error, "retention is not told of running instances; it keeps what it was told before");
            }
            tokio::time::sleep(HOLD_EVERY).await;
        }
    }
}
