//! One running instance: its steps, its pauses, and its way to the journal.

mod alone;
mod queue;
mod quiet;
mod step;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::{Beside, Told};
use crate::entry::{Entry, Key, Resolution};
use crate::expression::Limits;
use crate::fault::Fault;
use crate::journal::Journal;
use crate::limits::Limits as Concurrency;
use crate::outside::{Endpoints, Tools};
use crate::saga::Saga;
use crate::transaction::Transaction;
use crate::workflow::Workflow;

pub(crate) use quiet::{Fan, Held, Quiet};
pub(crate) use step::{Attempts, Step, Target};

/// Limits of a run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Instances that have begun and not ended.
    pub instances: usize,
    /// Steps that are done at the same time.
    pub concurrency: usize,
    /// Tasks that a run may pass in all.
    pub tasks: u64,
    /// What one expression may use.
    pub expression: Limits,
    /// How long a step may take that has no timeout of its own.
    pub step: Duration,
    /// How often a step that may be repeated is tried again after a failure that may pass, before the flow sees it.
    pub retries: u32,
    /// How often an undo, or a step after the pivot, is tried before a person is asked.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with every further one.
    pub backoff: Duration,
    /// How long after a person was asked it is tried again without them, where the failure may pass; it doubles with
    /// every further time, up to an hour.
    pub again: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            instances: 100_000,
            concurrency: 32,
            tasks: 1_000_000,
            expression: Limits::default(),
            step: Duration::from_secs(60),
            retries: 2,
            attempts: 4,
            backoff: Duration::from_millis(100),
            again: Duration::from_secs(30),
        }
    }
}

/// Who tries again what a person was asked about and has not answered.
const ITSELF: &str = "trunkline";

/// A step that waits for a person.
#[derive(Clone, Debug, Serialize)]
pub struct Stuck {
    /// The step.
    pub step: Key,
    /// Why.
    pub fault: Fault,
    /// Whether it has had its effect is not known.
    pub unknown: bool,
}

/// What a person is asked, and where the answer goes.
pub(crate) struct Question {
    pub(crate) stuck: Stuck,
    pub(crate) answer: oneshot::Sender<(Resolution, String)>,
}

/// Answers that a person may give.
pub(crate) type Interventions = Mutex<HashMap<Key, Question>>;

/// Definitions that a run may name.
pub trait Definitions: Send + Sync {
    /// The workflow of this namespace, name and version; `latest` is the newest.
    fn find(&self, namespace: &str, name: &str, version: &str) -> Option<Arc<Workflow>>;
}

/// One running instance, as seen by one workflow in it.
pub(crate) struct Run {
    base: Arc<Base>,
    pub(crate) workflow: Arc<Workflow>,
    /// The workflow's input, as it came.
    pub(crate) input: Value,
    /// What tasks have exported.
    context: Mutex<Arc<Value>>,
}

/// What all workflows of an instance share.
pub(crate) struct Base {
    pub(crate) journal: Journal,
    pub(crate) tools: Arc<dyn Tools>,
    pub(crate) endpoints: Arc<dyn Endpoints>,
    pub(crate) definitions: Arc<dyn Definitions>,
    pub(crate) bounds: Bounds,
    /// Cancelled when no further step is to begin.
    pub(crate) cancel: CancellationToken,
    /// The process ends: branches that go now have not gone from the run.
    pub(crate) leaving: AtomicBool,
    /// Steps whose branch has gone: their outcome is still waited for.
    pub(crate) orphans: TaskTracker,
    pub(crate) saga: Saga,
    pub(crate) attempts: Attempts,
    pub(crate) permits: Semaphore,
    pub(crate) limits: Concurrency,
    /// What those who wait for the instance are told.
    pub(crate) told: Arc<Told>,
    /// Whether all of it waits for a time.
    pub(crate) quiet: Quiet,
    pub(crate) passed: AtomicU64,
    /// Where it begins other instances.
    pub(crate) beside: Beside,
    /// How many instances have begun each other up to this one.
    pub(crate) depth: u32,
    /// Its steps are calls from outside.
    pub(crate) transaction: Option<Arc<Transaction>>,
}

impl std::ops::Deref for Run {
    type Target = Base;

    fn deref(&self) -> &Base {
        &self.base
    }
}

impl Run {
    /// A run of an instance's own workflow.
    pub(crate) fn new(base: Base, workflow: Arc<Workflow>, input: Value) -> Arc<Self> {
        Arc::new(Self { base: Arc::new(base), workflow, input, context: Mutex::default() })
    }

    /// A workflow within this run.
    pub(crate) fn nested(&self, workflow: Arc<Workflow>, input: Value) -> Arc<Self> {
        Arc::new(Self { base: self.base.clone(), workflow, input, context: Mutex::default() })
    }

    /// Whether the process ends, and the next one goes on.
    pub(crate) fn is_left(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// What tasks have exported.
    pub(crate) fn context(&self) -> Arc<Value> {
        self.context.lock().clone()
    }

    /// The results that the steps of a plan have exported so far, by step.
    pub(crate) fn exported_steps(&self) -> Map<String, Value> {
        match self.context.lock().get("steps") {
            Some(Value::Object(steps)) => steps.clone(),
            _ => Map::new(),
        }
    }

    /// Exports.
    pub(crate) fn set_context(&self, context: Value) {
        *self.context.lock() = Arc::new(context);
    }

    /// Counts a task.
    ///
    /// # Errors
    /// Where the run has passed more tasks than it may.
    pub(crate) fn count(&self) -> Result<(), Fault> {
        if self.passed.fetch_add(1, Ordering::Relaxed) < self.bounds.tasks {
            return Ok(());
        }
        Err(Fault::runtime(format!(
            "the run has passed {} tasks: is there a loop without end?",
            self.bounds.tasks
        )))
    }

    /// Waits until a time that is journaled, so that it is the same after a crash. `key` names the pause.
    pub(crate) async fn pause(&self, key: &Key, length: Duration, after: Option<Fault>) -> Result<(), Fault> {
        if self.journal.decided(key).await.is_some() {
            return Ok(());
        }
        self.journal.live().await;
        let until = match self.journal.waiting(key) {
            Some(until) => until,
            None => {
                let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
                let until = self.journal.now().saturating_add(length).unwrap_or(Timestamp::MAX);
                self.journal.note(Entry::Waiting { key: key.clone(), until, after });
                self.flush().await?;
                until
            }
        };
        let pausing = self.quiet.pause(until);
        self.sleep_until(until).await;
        drop(pausing);
        self.journal.note(Entry::Decided { key: key.clone(), value: Value::Null });
        Ok(())
    }

    /// The time until which nothing happens by itself, where that is known: every branch pauses, and no call is under way.
    /// `waker` is woken where it is so later because nobody holds the run any more.
    pub(crate) fn quiet_until(&self, waker: &std::task::Waker) -> Option<Timestamp> {
        let until = self.quiet.until(waker)?;
        // Calls have to find a transaction.
        let still = self.transaction.is_none();
        let still = still && self.journal.is_live() && self.orphans.is_empty() && !self.cancel.is_cancelled();
        still.then_some(until)
    }

    /// Sleeps until a time of day.
    pub(crate) async fn sleep_until(&self, until: Timestamp) {
        // Looks at the clock again from time to time: it may have been set.
        const STEP: Duration = Duration::from_secs(3600);
        loop {
            let left = Duration::try_from(until.duration_since(self.journal.now())).unwrap_or_default();
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(STEP)).await;
        }
    }

    /// Runs `work` for as long as it may take. Running out of time is journaled.
    pub(crate) async fn within<T>(
        &self,
        key: &str,
        limit: Duration,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let key: Key = Arc::from(format!("{key}~timeout"));
        let start = self.journal.time();
        let over = async {
            if self.journal.decided(&key).await.is_some() {
                return;
            }
            self.journal.live().await;
            let limit = SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX);
            let end = start.saturating_add(limit).unwrap_or(Timestamp::MAX);
            let _limit = self.quiet.limit(end);
            self.sleep_until(end).await;
            self.journal.note(Entry::Decided { key: key.clone(), value: Value::Null });
        };
        tokio::select! {
            biased;
            done = work => done,
            () = over => Err(Fault::timeout(format!("it took longer than {limit:?}"))),
        }
    }

    /// Asks a person what to do about a step. Where that can do no harm, it is tried again without them after a while: `asked`
    /// is how often they were asked before.
    pub(crate) async fn intervene(
        &self,
        key: &Key,
        fault: Fault,
        unknown: bool,
        asked: Option<u32>,
    ) -> Result<Resolution, Fault> {
        if let Some(resolution) = self.journal.resolved(key).await {
            return Ok(resolution);
        }
        self.journal.live().await;
        let (sender, answer) = oneshot::channel();
        let stuck = Stuck { step: key.clone(), fault: fault.clone(), unknown };
        self.told.interventions.lock().insert(key.clone(), Question { stuck, answer: sender });
        let mut asking = Asking { run: self, key, answered: false };
        let pause = asked
            .filter(|_| fault.transient)
            .map(|asked| self.bounds.again.saturating_mul(1 << asked.min(16)).min(Duration::from_secs(3600)));
        self.journal.note(Entry::Stuck { key: key.clone(), fault, unknown });
        self.flush().await?;
        self.told.stuck.notify_waiters();
        let answer =
            async { answer.await.map_err(|_| Fault::runtime("nobody can answer any more: the engine ends")) };
        let (resolution, by) = match pause {
            None => answer.await?,
            Some(pause) => match tokio::time::timeout(pause, answer).await {
                Ok(answer) => answer?,
                Err(_) => (Resolution::Retry, ITSELF.to_owned()),
            },
        };
        asking.answered = true;
        // Without a wait: what follows from an answer that is in the journal must have followed.
        self.journal.note_soon(Entry::Resolved { key: key.clone(), resolution: resolution.clone(), by });
        Ok(resolution)
    }

    /// Writes what was noted.
    pub(crate) async fn flush(&self) -> Result<(), Fault> {
        self.journal
            .flush()
            .await
            .map_err(|error| Fault::runtime(format!("the event log takes no more: {error}")))
    }
}

/// A person is asked. Where the branch goes that waits for the answer, nobody is any more.
struct Asking<'a> {
    run: &'a Run,
    key: &'a Key,
    answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.run.told.interventions.lock().remove(self.key);
        if !self.answered && !self.run.is_left() {
            self.run.journal.note(Entry::Passed { key: self.key.clone() });
        }
    }
}
