//! Waiting for a turn where a limit is met: the instance itself, and its steps.

use std::sync::Arc;

use super::{Run, Step, Target};
use crate::entry::{Entry, Key};
use crate::fault::Fault;
use crate::limits::{Entered, Holder, Pass, Waiting};

/// The key under which an instance itself waits.
const INSTANCE: &str = "~queue";

/// Waits for a turn. Where nobody needs it any longer, that is journaled, too.
struct Queued<'a> {
    run: &'a Run,
    key: Key,
    waiting: Waiting,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.run.journal.note(Entry::Unqueued { key: self.key.clone() });
    }
}

impl Run {
    /// Takes a place among the instances. One that is `begun` does not wait for it.
    pub(crate) fn enter(&self, begun: bool) -> Entered {
        let journal = &self.journal;
        let bounds = self.bounds.expression;
        let mut slots =
            self.limits.slots(&journal.flow, None, || self.input.clone(), &journal.principal, bounds);
        slots.extend(journal.cause().and_then(|cause| self.limits.delivery(&cause.subscription)));
        let holder = Holder { instance: journal.instance, step: None };
        let since = journal.queued_since(INSTANCE).unwrap_or_else(|| journal.now());
        self.limits.enter(holder, slots, since, begun)
    }

    /// Waits until the instance may begin, or is cancelled.
    pub(crate) async fn begin(&self, entered: Entered) -> Result<Option<Pass>, Fault> {
        tokio::select! {
            biased;
            pass = self.turn(Arc::from(INSTANCE), entered) => pass.map(Some),
            () = self.cancel.cancelled() => Ok(None),
        }
    }

    /// Waits until a step may be done.
    pub(super) async fn admit(&self, step: &Step) -> Result<Pass, Fault> {
        let journal = &self.journal;
        let tool = match &step.target {
            Target::Tool(tool) => tool,
            Target::Endpoint(..) => return Ok(Pass::free(&self.limits)),
        };
        let dot = || step.arguments.to_value();
        let slots =
            self.limits.slots(&journal.flow, Some(&**tool), dot, &journal.principal, self.bounds.expression);
        if slots.is_empty() {
            return Ok(Pass::free(&self.limits));
        }
        let holder = Holder { instance: journal.instance, step: Some(step.key.clone()) };
        let since = journal.queued_since(&step.key).unwrap_or_else(|| journal.now());
        let entered = self.limits.enter(holder, slots, since, false);
        self.turn(step.key.clone(), entered).await
    }

    async fn turn(&self, key: Key, entered: Entered) -> Result<Pass, Fault> {
        let waiting = match entered {
            Entered::Now(pass) => {
                if self.journal.take_queued(&key).is_some() {
                    self.journal.note(Entry::Unqueued { key });
                }
                return Ok(pass);
            }
            Entered::Later(waiting) => waiting,
        };
        if self.journal.take_queued(&key).is_none() {
            let what = waiting.what.clone();
            self.journal.note(Entry::Queued { key: key.clone(), what });
        }
        let mut queued = Queued { run: self, key, waiting };
        self.flush().await?;
        queued.waiting.turn().await.ok_or_else(|| Fault::runtime("the engine ends"))
    }
}
