//! The engine: starts instances, brings them back after a crash, and passes on what people say to them.

mod delivery;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_event_log::EventLog;
use trunkline_model::{BoxFuture, Json, Principal};

use crate::entry::{Ending, Entry, Finished, InstanceId, Key, Resolution, Started};
use crate::fault::Fault;
use crate::journal::{Journal, Sources};
use crate::limits::{Entered, Limit, Limits, Queue};
use crate::outside::{Endpoints, Tools};
use crate::run::{Attempts, Base, Bounds, Definitions, Run};
use crate::saga::Saga;
use crate::transaction::{self, ByConversation, Transaction};
use crate::workflow::Workflow;
use crate::{Error, interpret, views};

/// What is stuck where a run fails past its pivot: nothing is undone, and not all is done.
const PAST_PIVOT: &str = "~pivot";

/// How many events are read of a stream at once.
const PAGE: usize = 1000;

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
    running: Mutex<HashMap<InstanceId, Running>>,
    conversations: ByConversation,
    limits: Limits,
    /// Held while it is decided what becomes of an instance that has ended.
    deciding: tokio::sync::Mutex<()>,
    /// Told when an instance ends.
    left: tokio::sync::Notify,
}

/// An instance that runs in this process.
struct Running {
    run: Arc<Run>,
    finished: watch::Receiver<Option<Finished>>,
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
    run: Arc<Run>,
    finished: watch::Receiver<Option<Finished>>,
}

impl Instance {
    /// Returns when the start is durable: from then on the instance survives a crash.
    ///
    /// # Errors
    /// Where the event log takes nothing.
    pub async fn durable(&self) -> Result<(), Error> {
        self.run.journal.flush().await.map_err(Error::Log)
    }

    /// Waits until a step waits for a person. Gives the keys of all that do.
    pub async fn stuck(&self) -> Vec<Key> {
        loop {
            let told = self.run.stuck.notified();
            let mut told = std::pin::pin!(told);
            // Before the look, so that nothing is missed between the two.
            told.as_mut().enable();
            let keys: Vec<Key> = self.run.interventions.lock().keys().cloned().collect();
            if !keys.is_empty() {
                return keys;
            }
            told.await;
        }
    }

    /// Waits for the end; `None` where the process ends first, and another one will go on.
    pub async fn finished(&self) -> Option<Finished> {
        self.finished.clone().wait_for(Option::is_some).await.ok().and_then(|finished| finished.clone())
    }
}

impl Engine {
    /// Puts the parts together. Nothing runs yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared {
            parts,
            running: Mutex::default(),
            conversations: ByConversation::default(),
            limits: Limits::default(),
            deciding: tokio::sync::Mutex::default(),
            left: tokio::sync::Notify::new(),
        }))
    }

    /// Starts an instance. It goes on whether or not anyone waits for it.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn start(&self, start: Start) -> Result<Instance, Error> {
        let Start { workflow, input, principal } = start;
        self.launch(Started::of(&workflow, input), workflow, principal)
    }

    /// Begins an instance.
    pub(crate) fn launch(
        &self,
        started: Started,
        workflow: Arc<Workflow>,
        principal: Arc<Principal>,
    ) -> Result<Instance, Error> {
        let running = self.0.running.lock().len();
        if running >= self.0.parts.bounds.instances {
            return Err(Error::TooMany(running));
        }
        let id = InstanceId((self.0.parts.sources.time_id)());
        if let Some(terms) = &started.transaction {
            self.0.conversations.insert(id, &principal, terms)?;
        }
        let run = self.prepare(id, workflow, &started, principal);
        run.journal.note(Entry::Started(Box::new(started)));
        Ok(self.go(run, false))
    }

    pub(crate) fn prepare(
        &self,
        id: InstanceId,
        workflow: Arc<Workflow>,
        started: &Started,
        principal: Arc<Principal>,
    ) -> Arc<Run> {
        let parts = &self.0.parts;
        let (log, sources) = (parts.log.clone(), parts.sources.clone());
        let base = Base {
            journal: Journal::new(id, workflow.full_name(), principal, log, sources),
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
            interventions: Mutex::default(),
            stuck: tokio::sync::Notify::new(),
            passed: AtomicU64::new(0),
            transaction: started.transaction.clone().map(|terms| Arc::new(Transaction::new(terms))),
        };
        Run::new(base, workflow, started.input.to_value())
    }

    /// Runs an instance to its end, here or on the runtime of the engine. One that is `begun` does not wait for its turn.
    fn go(&self, run: Arc<Run>, begun: bool) -> Instance {
        // Here, so that those who come back after a crash stand in the queue before anyone is let in.
        let entered = run.enter(begun);
        let (sender, finished) = watch::channel(None);
        let id = run.journal.instance;
        let running = Running { run: run.clone(), finished: finished.clone() };
        self.0.running.lock().insert(id, running);
        let (engine, closing, work) = (self.clone(), self.0.parts.closing.clone(), run.clone());
        let driven = async move {
            let mut driven = Box::pin(drive(work.clone(), entered));
            let ended = tokio::select! {
                biased;
                () = closing.cancelled() => None,
                ended = &mut driven => ended,
            };
            work.leaving.store(ended.is_none(), Ordering::Relaxed);
            drop(driven);
            engine.0.running.lock().remove(&id);
            engine.0.conversations.remove(id);
            engine.0.left.notify_waiters();
            if ended.is_some() {
                let _ = sender.send(ended);
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(here) => self.0.parts.tasks.spawn_on(driven, &here),
            Err(_) => self.0.parts.tasks.spawn_on(driven, &self.0.parts.runtime),
        };
        Instance { id, run, finished }
    }

    /// Brings back every instance that an earlier process left. Gives how many.
    ///
    /// # Errors
    /// Where the log can't be read.
    pub async fn resume_all(&self) -> Result<usize, Error> {
        let head = self.0.parts.log.head();
        self.0.parts.log.projected(views::NAME, head).await?;
        let unfinished = views::unfinished(&self.0.parts.log).await?;
        let mut resumed = 0;
        self.0.limits.close();
        for id in unfinished {
            if self.0.running.lock().contains_key(&id) {
                continue;
            }
            match self.resume(id).await {
                Ok(_) => resumed += 1,
                Err(error) => tracing::error!(instance = %id, %error, "an instance can't be brought back"),
            }
        }
        self.0.limits.open();
        Ok(resumed)
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
        let entries = self.journal_of(id).await?;
        let Some((started, principal)) = entries.iter().find_map(|(entry, _, principal)| match entry {
            Entry::Started(started) => Some((started.clone(), principal.clone())),
            _ => None,
        }) else {
            return Err(Error::UnknownInstance(id));
        };
        let workflow = Workflow::from_source(Arc::new(started.definition.to_value()))?;
        let over = entries.iter().any(|(entry, ..)| matches!(entry, Entry::Finished(_)));
        if let Some(terms) = started.transaction.as_ref().filter(|_| !over) {
            self.0.conversations.insert(id, &principal, terms)?;
        }
        let run = self.prepare(id, Arc::new(workflow), &started, principal);
        let cancelled = entries.iter().any(|(entry, ..)| matches!(entry, Entry::CancelRequested { .. }));
        if cancelled {
            run.cancel.cancel();
        }
        run.journal.load(entries.into_iter().map(|(entry, time, _)| (entry, time)));
        let begun = !new && run.journal.was_begun();
        Ok(self.go(run, begun))
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
        let run = self.run(id)?;
        if run.journal.is_over() {
            return Err(Error::UnknownInstance(id));
        }
        let (by, reason) = (by.to_owned(), reason.map(str::to_owned));
        run.journal.note(Entry::CancelRequested { by, reason });
        run.journal.flush().await?;
        run.cancel.cancel();
        Ok(())
    }

    /// Says what to do with a step that is stuck.
    ///
    /// # Errors
    /// Where the instance does not run or no such step is stuck.
    pub fn resolve(&self, id: InstanceId, key: &str, resolution: Resolution, by: &str) -> Result<(), Error> {
        let waiting = self.run(id)?.interventions.lock().remove(key);
        let sender = waiting.ok_or_else(|| Error::NotStuck { instance: id, key: key.to_owned() })?;
        sender
            .send((resolution, by.to_owned()))
            .map_err(|_| Error::NotStuck { instance: id, key: key.to_owned() })
    }

    /// Waits for the end of an instance that runs here.
    #[must_use]
    pub fn attach(&self, id: InstanceId) -> Option<Instance> {
        let running = self.0.running.lock();
        let Running { run, finished } = running.get(&id)?;
        Some(Instance { id, run: run.clone(), finished: finished.clone() })
    }

    /// The steps of an instance that wait for a person now.
    #[must_use]
    pub fn stuck(&self, id: InstanceId) -> Vec<Key> {
        let run = self.run(id);
        run.map(|run| run.interventions.lock().keys().cloned().collect()).unwrap_or_default()
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

    pub(crate) fn run(&self, id: InstanceId) -> Result<Arc<Run>, Error> {
        self.0.running.lock().get(&id).map(|running| running.run.clone()).ok_or(Error::UnknownInstance(id))
    }
}

/// Runs an instance to its end; `None` where the log takes nothing any more.
async fn drive(run: Arc<Run>, entered: Entered) -> Option<Finished> {
    let finished = watched(&run, to_end(run.clone(), entered)).await;
    let finished = match finished {
        Ok(finished) => finished,
        Err(fault) => {
            tracing::error!(instance = %run.journal.instance, %fault, "an instance stops where it is");
            return None;
        }
    };
    run.journal.note(Entry::Finished(finished.clone()));
    match run.journal.flush().await {
        Ok(()) => Some(finished),
        Err(error) => {
            tracing::error!(instance = %run.journal.instance, %error, "the end of an instance is not in the log");
            None
        }
    }
}

/// Polls a run, and writes what must not wait until the run has more to write. A replay that waits for what never comes has lost its way: the definition or this program is another
/// than it was. It stops there, and says so.
async fn watched(run: &Run, work: impl Future<Output = Result<Finished, Fault>>) -> Result<Finished, Fault> {
    let mut work = std::pin::pin!(work);
    let mut writing: Option<BoxFuture<'_, Result<(), Fault>>> = None;
    std::future::poll_fn(|context| {
        loop {
            let taken = run.journal.taken();
            match work.as_mut().poll(context) {
                Poll::Pending if run.journal.is_live() => break,
                // Whoever waits for the next turn is polled again.
                Poll::Pending if run.journal.taken() > taken => {}
                Poll::Pending => {
                    return Poll::Ready(Err(Fault::runtime(
                        "the journal can't be followed: it is that of another run",
                    )));
                }
                ready => return ready,
            }
        }
        loop {
            if writing.is_none() && run.journal.is_urgent() {
                writing = Some(Box::pin(run.flush()));
            }
            let Some(flush) = &mut writing else { return Poll::Pending };
            match flush.as_mut().poll(context) {
                Poll::Ready(Ok(())) => writing = None,
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Interprets the workflow, and undoes what it did where it fails.
async fn to_end(run: Arc<Run>, entered: Entered) -> Result<Finished, Fault> {
    let _pass = run.begin(entered).await?;
    let outcome = match &run.transaction {
        Some(transaction) => transaction::until_end(&run, transaction).await,
        None => interpret::workflow(&run).await,
    };
    // Nothing is undone while a step is still under way.
    run.orphans.close();
    if !run.orphans.is_empty() {
        // What is known is written before the wait, which may be long.
        run.flush().await?;
    }
    run.orphans.wait().await;
    let undo = run.journal.take_undo();
    let fault = match (outcome, undo) {
        (outcome, Some(undo)) => {
            run.saga.give_away(&undo.except);
            if run.compensate(&undo.fault).await? {
                return Ok(Finished { status: Ending::Undone, output: None, fault: Some(undo.fault) });
            }
            let output = outcome.ok().map(|output| Json::from_value(&output));
            return Ok(Finished { status: Ending::Completed, output, fault: None });
        }
        (Ok(output), None) => {
            let output = Some(Json::from_value(&output));
            return Ok(Finished { status: Ending::Completed, output, fault: None });
        }
        (Err(fault), None) => fault,
    };
    let cancelled = run.cancel.is_cancelled();
    run.learn_orphans(true);
    let undone = !run.saga.is_past_pivot() && run.compensate(&fault).await?;
    if run.saga.is_past_pivot() {
        // Neither done nor undone: a person has to know.
        run.intervene(&Arc::from(PAST_PIVOT), fault.clone(), false).await?;
    }
    let status = match (undone, cancelled) {
        (true, _) => Ending::Undone,
        (false, true) => Ending::Cancelled,
        (false, false) => Ending::Faulted,
    };
    Ok(Finished { status, output: None, fault: Some(fault) })
}
