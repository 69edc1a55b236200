//! The engine: starts instances, brings them back after a crash, and passes on what people say to them.

mod aside;
mod delivery;
mod drive;
mod roster;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_event_log::EventLog;
use trunkline_model::{Json, Principal, TraceContext, TraceParent};

use crate::Error;
use crate::entry::{Entry, Finished, InstanceId, Key, Resolution, Started};
use crate::journal::{Journal, Sources};
use crate::limits::{Limit, Limits, Queue};
use crate::outside::{Endpoints, Tools};
use crate::run::{Attempts, Base, Bounds, Definitions, Held, Quiet, Run, Stuck};
use crate::saga::Saga;
use crate::trace::Watcher;
use crate::transaction::{ByConversation, Transaction};
use crate::workflow::Workflow;
pub(crate) use delivery::Beside;
use drive::{End, drive};
use roster::Roster;
pub use roster::Standing;
pub(crate) use roster::Told;

/// How many events are read of a stream at once.
const PAGE: usize = 1000;

/// How long an instance that was brought back may take to ask a person again.
const ASKED_AGAIN: Duration = Duration::from_secs(2);

/// What an engine is built from.
pub struct Parts {
    /// The record.
    pub log: EventLog,
    /// What steps call.
    pub tools: Arc<dyn Tools>,
    /// What steps call that name their endpoint themselves.
    pub endpoints: Arc<dyn Endpoints>,
    /// Workflows that others may run.
    pub definitions: Arc<dyn Definitions>,
    /// Where time and identities come from.
    pub sources: Sources,
    /// Limits of every run.
    pub bounds: Bounds,
    /// Runs the instances.
    pub tasks: TaskTracker,
    /// Where they run that nobody waits for.
    pub runtime: tokio::runtime::Handle,
    /// Cancelled when the process ends. Instances stop where they are; the next process goes on.
    pub closing: CancellationToken,
}

/// The engine. Cloning is cheap.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    parts: Parts,
    roster: Roster,
    shelf: aside::Shelf,
    /// What is put aside is looked after.
    keeping: AtomicBool,
    conversations: ByConversation,
    limits: Limits,
    /// Held while it is decided what becomes of an instance that has ended.
    deciding: tokio::sync::Mutex<()>,
    /// Told when an instance ends.
    left: tokio::sync::Notify,
    watcher: OnceLock<Arc<dyn Watcher>>,
}

/// What to start.
pub struct Start {
    /// The definition, which the instance keeps.
    pub workflow: Arc<Workflow>,
    /// The input.
    pub input: Json,
    /// For whom.
    pub principal: Arc<Principal>,
}

/// An instance that was started.
pub struct Instance {
    /// Its identity.
    pub id: InstanceId,
    told: Arc<Told>,
    /// It goes when the instance has ended or is put aside.
    run: Weak<Run>,
    closing: CancellationToken,
}

impl Instance {
    /// Returns when the start is durable: from then on the instance survives a crash.
    ///
    /// # Errors
    /// Where the event log takes nothing.
    pub async fn durable(&self) -> Result<(), Error> {
        match self.run.upgrade() {
            Some(run) => run.journal.flush().await.map_err(Error::Log),
            None => Ok(()),
        }
    }

    /// Waits until a step waits for a person. Gives all that do.
    pub async fn stuck(&self) -> Vec<Stuck> {
        loop {
            let mut stuck = std::pin::pin!(self.told.stuck.notified());
            // Before the look, so that nothing is missed between the two.
            stuck.as_mut().enable();
            let asked = self.told.interventions.lock().values().map(|asked| asked.stuck.clone()).collect();
            let asked: Vec<Stuck> = asked;
            if !asked.is_empty() {
                // The views are to know it, too. What can't be written ends the run.
                let _ = self.durable().await;
                return asked;
            }
            stuck.await;
        }
    }

    /// Waits for the end; `None` where the process ends first, and another one will go on.
    pub async fn finished(&self) -> Option<Finished> {
        tokio::select! {
            biased;
            finished = self.told.finished() => finished,
            () = self.closing.cancelled() => None,
        }
    }
}

impl Engine {
    /// Puts the parts together. Nothing runs yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared {
            parts,
            roster: Roster::default(),
            shelf: aside::Shelf::default(),
            keeping: AtomicBool::new(false),
            conversations: ByConversation::default(),
            limits: Limits::default(),
            deciding: tokio::sync::Mutex::default(),
            left: tokio::sync::Notify::new(),
            watcher: OnceLock::new(),
        }))
    }

    /// Has someone see what becomes of instances. Once, before any of them runs.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) {
        // A second one would be a defect of the wiring; the first stays.
        let _ = self.0.watcher.set(watcher);
    }

    /// Starts an instance. It goes on whether or not anyone waits for it.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn start(&self, start: Start) -> Result<Instance, Error> {
        self.start_within(start, &TraceContext::default())
    }

    /// Starts an instance as a part of a trace.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn start_within(&self, start: Start, trace: &TraceContext) -> Result<Instance, Error> {
        let Start { workflow, input, principal } = start;
        let workflow = self.0.shelf.share(workflow);
        let traceparent = trace.traceparent.clone();
        self.launch(Started { traceparent, ..Started::of(&workflow, input) }, workflow, principal)
    }

    /// Begins an instance.
    pub(crate) fn launch(
        &self,
        started: Started,
        workflow: Arc<Workflow>,
        principal: Arc<Principal>,
    ) -> Result<Instance, Error> {
        let running = self.0.roster.len();
        if running >= self.0.parts.bounds.instances {
            return Err(Error::TooMany(running));
        }
        let id = InstanceId((self.0.parts.sources.time_id)());
        if let Some(terms) = &started.transaction {
            self.0.conversations.insert(id, &principal, terms)?;
        }
        let run = self.prepare(id, workflow, &started, principal, Arc::default());
        run.journal.note(Entry::Started(Box::new(started)));
        Ok(self.go(run, false))
    }

    pub(crate) fn prepare(
        &self,
        id: InstanceId,
        workflow: Arc<Workflow>,
        started: &Started,
        principal: Arc<Principal>,
        told: Arc<Told>,
    ) -> Arc<Run> {
        let parts = &self.0.parts;
        let (log, sources) = (parts.log.clone(), parts.sources.clone());
        let begun_by = started.traceparent.as_deref().and_then(TraceParent::parse);
        let base = Base {
            journal: Journal::new(id, workflow.full_name(), principal, log, sources)
                .watched(self.0.watcher.get().cloned(), begun_by),
            tools: parts.tools.clone(),
            endpoints: parts.endpoints.clone(),
            definitions: parts.definitions.clone(),
            bounds: parts.bounds,
            cancel: CancellationToken::new(),
            leaving: AtomicBool::new(false),
            orphans: TaskTracker::new(),
            saga: Saga::default(),
            attempts: Attempts::default(),
            permits: Semaphore::new(workflow.concurrency().min(parts.bounds.concurrency)),
            limits: self.0.limits.clone(),
            told,
            quiet: Quiet::default(),
            passed: AtomicU64::new(0),
            beside: Beside::new(self),
            depth: started.parent.as_ref().map_or(0, |parent| parent.depth),
            transaction: started.transaction.clone().map(|terms| Arc::new(Transaction::new(terms))),
        };
        Run::new(base, workflow, started.input.to_value())
    }

    /// Runs an instance to its end, here or on the runtime of the engine. One that is `begun` does not wait for its turn.
    fn go(&self, run: Arc<Run>, begun: bool) -> Instance {
        // Here, so that those who come back after a crash stand in the queue before anyone is let in.
        let entered = run.enter(begun);
        let instance = self.instance(run.journal.instance, run.told.clone(), Arc::downgrade(&run));
        self.0.roster.enter(run.clone());
        let (engine, closing) = (self.clone(), self.0.parts.closing.clone());
        let driven = async move {
            let mut driven = Box::pin(drive(run.clone(), entered));
            let end = tokio::select! {
                biased;
                () = closing.cancelled() => None,
                end = &mut driven => Some(end),
            };
            // What goes with the process, or is put aside, comes back.
            run.leaving.store(!matches!(end, Some(End::Over(_))), Ordering::Relaxed);
            drop(driven);
            if let Some(End::Aside(wake)) = end {
                engine.put_aside(&run, wake);
                return;
            }
            engine.0.roster.remove(run.journal.instance);
            engine.0.conversations.remove(run.journal.instance);
            engine.0.left.notify_waiters();
            run.told.end(match end {
                Some(End::Over(finished)) => Some(finished),
                _ => None,
            });
        };
        match tokio::runtime::Handle::try_current() {
            Ok(here) => self.0.parts.tasks.spawn_on(driven, &here),
            Err(_) => self.0.parts.tasks.spawn_on(driven, &self.0.parts.runtime),
        };
        instance
    }

    fn instance(&self, id: InstanceId, told: Arc<Told>, run: Weak<Run>) -> Instance {
        Instance { id, told, run, closing: self.0.parts.closing.clone() }
    }

    /// Puts other limits in force.
    pub fn limit(&self, limits: Vec<Limit>) {
        self.0.limits.set(limits);
    }

    /// The queues as they are now.
    #[must_use]
    pub fn queues(&self) -> Vec<Queue> {
        self.0.limits.queues()
    }

    /// Brings back one instance.
    pub(crate) async fn resume(&self, id: InstanceId) -> Result<Instance, Error> {
        self.bring(id, false).await
    }

    /// Brings back one instance, or begins one whose journal is written already.
    pub(crate) async fn bring(&self, id: InstanceId, new: bool) -> Result<Instance, Error> {
        let run = self.replay(id, new, Arc::default()).await?;
        Ok(self.instance(id, run.told.clone(), Arc::downgrade(&run)))
    }

    async fn replay(&self, id: InstanceId, new: bool, told: Arc<Told>) -> Result<Held, Error> {
        let entries = self.journal_of(id).await?;
        let Some((started, principal)) = entries.iter().find_map(|(entry, _, principal)| match entry {
            Entry::Started(started) => Some((started.clone(), principal.clone())),
            _ => None,
        }) else {
            return Err(Error::UnknownInstance(id));
        };
        let workflow = self.0.shelf.read(&started.hash, &started.definition)?;
        let over = entries.iter().any(|(entry, ..)| matches!(entry, Entry::Finished(_)));
        if let Some(terms) = started.transaction.as_ref().filter(|_| !over) {
            self.0.conversations.insert(id, &principal, terms)?;
        }
        let run = self.prepare(id, workflow, &started, principal, told);
        let cancelled = entries.iter().any(|(entry, ..)| matches!(entry, Entry::CancelRequested { .. }));
        if cancelled {
            run.cancel.cancel();
        }
        run.journal.load(entries.into_iter().map(|(entry, time, _)| (entry, time)));
        let begun = !new && run.journal.was_begun();
        // Before it runs: else it might be put aside again before anyone has looked at it.
        let held = Held::new(run.clone());
        self.go(run, begun);
        Ok(held)
    }

    /// The journal of an instance, as far as it is durable.
    ///
    /// # Errors
    /// Where the log can't be read.
    pub async fn journal_of(&self, id: InstanceId) -> Result<Vec<(Entry, Timestamp, Arc<Principal>)>, Error> {
        let (mut entries, mut next) = (Vec::new(), 1);
        loop {
            let page = self.0.parts.log.read_stream(id.0, next, PAGE).await?;
            let Some(last) = page.events.last() else { return Ok(entries) };
            next = last.version + 1;
            for recorded in &page.events {
                match Entry::of_event(recorded) {
                    Ok(Some(entry)) => {
                        entries.push((entry, recorded.event.time, recorded.event.principal.clone()));
                    }
                    Ok(None) => {}
                    Err(error) => return Err(Error::Journal { instance: id, error }),
                }
            }
        }
    }

    /// Asks an instance to end. It undoes what it has done.
    ///
    /// # Errors
    /// Where it does not run.
    pub async fn cancel(&self, id: InstanceId, by: &str, reason: Option<&str>) -> Result<(), Error> {
        let run = self.load(id).await?;
        if run.journal.is_over() {
            return Err(Error::UnknownInstance(id));
        }
        let (by, reason) = (by.to_owned(), reason.map(str::to_owned));
        run.journal.note(Entry::CancelRequested { by, reason });
        run.journal.flush().await?;
        run.cancel.cancel();
        // It may have been put aside meanwhile, and come back without having seen the request.
        match self.load(id).await {
            Ok(now) if !Arc::ptr_eq(&now.0, &run.0) => now.cancel.cancel(),
            _ => {}
        }
        Ok(())
    }

    /// Says what to do with a step that is stuck.
    ///
    /// # Errors
    /// Where the instance does not run or no such step is stuck.
    pub async fn resolve(
        &self,
        id: InstanceId,
        key: &str,
        resolution: Resolution,
        by: &str,
    ) -> Result<(), Error> {
        let brought_back = self.run(id).is_err();
        let run = self.load(id).await?;
        let told = &run.told;
        if brought_back {
            // The run has to come to the step again before it asks.
            let asked = async {
                loop {
                    let mut stuck = std::pin::pin!(told.stuck.notified());
                    stuck.as_mut().enable();
                    if told.interventions.lock().contains_key(key) {
                        return;
                    }
                    stuck.await;
                }
            };
            let _ = tokio::time::timeout(ASKED_AGAIN, asked).await;
        }
        let waiting = told.interventions.lock().remove(key);
        let question = waiting.ok_or_else(|| Error::NotStuck { instance: id, key: key.to_owned() })?;
        question
            .answer
            .send((resolution, by.to_owned()))
            .map_err(|_| Error::NotStuck { instance: id, key: key.to_owned() })
    }

    /// How many instances have not ended, and how many of them are in memory.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.0.roster.standing()
    }

    /// An instance that has not ended, to wait for.
    #[must_use]
    pub fn attach(&self, id: InstanceId) -> Option<Instance> {
        let (told, run) = self.0.roster.told(id)?;
        Some(self.instance(id, told, run))
    }

    /// The steps of an instance that wait for a person now.
    #[must_use]
    pub fn stuck(&self, id: InstanceId) -> Vec<Key> {
        let run = self.run(id);
        run.map(|run| run.told.interventions.lock().keys().cloned().collect()).unwrap_or_default()
    }

    /// Whether an instance has been asked to end, and has not ended yet.
    #[must_use]
    pub fn is_cancelling(&self, id: InstanceId) -> bool {
        self.run(id).is_ok_and(|run| run.cancel.is_cancelled())
    }

    /// The record, for what reads the views.
    #[must_use]
    pub fn log(&self) -> &EventLog {
        &self.0.parts.log
    }

    /// The time of day.
    pub(crate) fn now(&self) -> Timestamp {
        (self.0.parts.sources.now)()
    }

    /// What steps call.
    pub(crate) fn tools(&self) -> Arc<dyn Tools> {
        self.0.parts.tools.clone()
    }

    /// The open transactions of conversations.
    pub(crate) fn conversations(&self) -> &ByConversation {
        &self.0.conversations
    }

    /// Where time and identities come from.
    pub(crate) fn sources(&self) -> &Sources {
        &self.0.parts.sources
    }

    /// Waits until nobody else decides what becomes of instances that have ended.
    pub(crate) async fn deciding(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.deciding.lock().await
    }

    /// An instance that is in memory.
    pub(crate) fn run(&self, id: InstanceId) -> Result<Arc<Run>, Error> {
        self.0.roster.running(id).ok_or(Error::UnknownInstance(id))
    }
}
