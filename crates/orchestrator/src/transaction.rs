//! Agents' transactions: sagas whose steps are calls from outside.
//!
//! Between `begin` and `commit` or `rollback` an agent calls tools as always. The transaction is an instance like any
//! other: the intent of every call is in its journal before the call, what came of it before the answer. A rollback, or
//! the end of its time, undoes the calls in reverse order of their completion.
//!
//! No task of the instance waits for a call, so a replay passes the calls over ([`Step::outside`]) and takes again only
//! how the transaction was ended, and what was undone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot, watch};
use trunkline_model::{BoxFuture, Failure, Json, Outcome, Principal};

use crate::engine::{Engine, Instance};
use crate::entry::{Ended, Entry, InstanceId, Key, Started, StepOutcome, Undo};
use crate::fault::Fault;
use crate::run::{Run, Step, Target};
use crate::workflow::Workflow;
use crate::{Error, workflow};

/// `namespace/name` of what transactions are instances of.
pub const FLOW: &str = "trunkline/transaction";

/// How long a transaction stays open where nobody says.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// The longest that one may stay open.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// The most calls of one transaction.
const MAX_CALLS: usize = 1000;

/// The key under which the end of a transaction is journaled.
const END: &str = "/end";

/// A transaction's definition: what is shown of it.
const DEFINITION: &str = r#"{
  "document": {
    "dsl": "1.0.3", "namespace": "trunkline", "name": "transaction", "version": "1.0.0",
    "title": "A transaction: its steps are calls from outside"
  },
  "do": [{"open": {"listen": {"to": {"one": {"with": {"type": "dev.trunkline.transaction.ended"}}}}}}]
}"#;

/// On what terms a transaction is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// When it rolls back where nobody has ended it.
    pub until: Timestamp,
    /// The conversation whose calls belong to it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conversation: Option<Arc<str>>,
}

/// How a transaction ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// What was done stays done.
    Commit {
        /// Who says so.
        by: String,
    },
    /// What was done is undone.
    Rollback {
        /// Who says so; nobody where its time was over.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        by: Option<String>,
        /// Why, in their words.
        reason: String,
    },
}

/// Makes a call under an idempotency key.
pub type Make = Box<dyn FnOnce(Arc<str>) -> BoxFuture<'static, Result<Outcome, Failure>> + Send>;

/// A call to be made as a step of a transaction.
pub struct OutsideCall {
    /// The tool, by its advertised name.
    pub tool: Arc<str>,
    /// Its arguments: an object.
    pub arguments: Json,
    /// The caller's own idempotency key.
    pub idempotency_key: Option<Arc<str>>,
    /// How it is undone, where the caller says that.
    pub undo: Option<Undo>,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Makes the call.
    pub make: Make,
}

/// A transaction as it runs.
pub(crate) struct Transaction {
    pub(crate) terms: Terms,
    state: Mutex<State>,
    /// Told when the last call under way has ended.
    idle: Notify,
    /// Whether calls are taken yet: after a crash the transaction is first brought back.
    ready: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// Takes the decision; there while calls are taken.
    end: Option<oneshot::Sender<Decision>>,
    /// Calls under way.
    under_way: usize,
    /// Calls so far, in former processes too.
    calls: usize,
}

impl Transaction {
    pub(crate) fn new(terms: Terms) -> Self {
        Self { terms, state: Mutex::default(), idle: Notify::new(), ready: watch::Sender::new(false) }
    }

    fn open(&self, calls: usize) -> oneshot::Receiver<Decision> {
        let (sender, decision) = oneshot::channel();
        let mut state = self.state.lock();
        state.end = Some(sender);
        state.calls = state.calls.max(calls);
        drop(state);
        self.ready.send_replace(true);
        decision
    }

    /// Waits until calls are taken, or never will be.
    async fn ready(&self) {
        // The sender is here: it can't have gone.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    fn close(&self) {
        self.state.lock().end = None;
        self.ready.send_replace(true);
    }

    /// Begins a call and gives its number.
    fn enter(self: &Arc<Self>, id: InstanceId) -> Result<(Inside, usize), Error> {
        let mut state = self.state.lock();
        if state.end.is_none() {
            return Err(Error::TransactionOver(id));
        }
        if state.calls >= MAX_CALLS {
            return Err(Error::TooManyCalls { transaction: id, limit: MAX_CALLS });
        }
        state.under_way += 1;
        state.calls += 1;
        Ok((Inside(self.clone()), state.calls))
    }

    fn decide(&self, id: InstanceId, decision: Decision) -> Result<(), Error> {
        let end = self.state.lock().end.take().ok_or(Error::TransactionOver(id))?;
        end.send(decision).map_err(|_| Error::TransactionOver(id))
    }

    /// Waits until no call is under way.
    async fn idle(&self) {
        loop {
            let told = self.idle.notified();
            let mut told = std::pin::pin!(told);
            // Before the look, so that nothing is missed between the two.
            told.as_mut().enable();
            if self.state.lock().under_way == 0 {
                return;
            }
            told.await;
        }
    }
}

/// A call under way.
struct Inside(Arc<Transaction>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.state.lock().under_way -= 1;
        self.0.idle.notify_waiters();
    }
}

/// A call that comes from outside, within its step.
pub(crate) struct Outside {
    make: Mutex<Option<Make>>,
    answer: Mutex<Option<Result<Outcome, Failure>>>,
    /// It counts as under way until its outcome is known, also where its caller has gone.
    _inside: Inside,
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outside")
    }
}

impl Outside {
    /// Makes the call and keeps its answer for the caller.
    pub(crate) async fn call(self: Arc<Self>, key: Arc<str>) -> Result<Outcome, Failure> {
        let make = self.make.lock().take();
        let Some(make) = make else { return Err(Error::CalledTwice.into()) };
        let answer = make(key).await;
        *self.answer.lock() = Some(answer.clone());
        answer
    }
}

/// A principal and one of its conversations.
type Whose = (Arc<str>, Arc<str>);

/// The open transactions by whose calls belong to them.
#[derive(Default)]
pub(crate) struct ByConversation {
    open: AtomicUsize,
    map: Mutex<HashMap<Whose, InstanceId>>,
}

impl ByConversation {
    fn of(&self, principal: &Principal, conversation: &Arc<str>) -> Option<InstanceId> {
        // Most calls belong to none.
        if self.open.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.map.lock().get(&(principal.id.clone(), conversation.clone())).copied()
    }

    pub(crate) fn insert(&self, id: InstanceId, principal: &Principal, terms: &Terms) -> Result<(), Error> {
        let Some(conversation) = &terms.conversation else { return Ok(()) };
        let mut map = self.map.lock();
        let key = (principal.id.clone(), conversation.clone());
        if let Some(other) = map.get(&key) {
            return Err(Error::TransactionOpen(*other));
        }
        map.insert(key, id);
        self.open.store(map.len(), Ordering::Release);
        Ok(())
    }

    pub(crate) fn remove(&self, id: InstanceId) {
        let mut map = self.map.lock();
        map.retain(|_, open| *open != id);
        self.open.store(map.len(), Ordering::Release);
    }
}

impl Engine {
    /// Opens a transaction. Calls belong to it that name it, or that are made in `conversation`.
    ///
    /// # Errors
    /// [`Error::TooMany`]; [`Error::TransactionOpen`] where the conversation has one open already.
    pub fn begin(
        &self,
        principal: Arc<Principal>,
        timeout: Duration,
        conversation: Option<Arc<str>>,
        title: Option<&str>,
    ) -> Result<Instance, Error> {
        let timeout = SignedDuration::try_from(timeout.min(MAX_TIMEOUT)).unwrap_or(SignedDuration::ZERO);
        let until = self.now().saturating_add(timeout).unwrap_or(Timestamp::MAX);
        let terms = Terms { until, conversation };
        let workflow = Arc::new(definition()?);
        let input = Json::from_value(&json!({"title": title}));
        let started = Started { transaction: Some(terms), ..Started::of(&workflow, input) };
        self.launch(started, workflow, principal)
    }

    /// The open transaction that calls of a conversation belong to.
    #[must_use]
    pub fn transaction_of(&self, principal: &Principal, conversation: &Arc<str>) -> Option<InstanceId> {
        self.conversations().of(principal, conversation)
    }

    /// Makes a call as a step of a transaction.
    ///
    /// # Errors
    /// The call's own, and where the transaction is not open, or another principal's.
    pub async fn within(
        &self,
        id: InstanceId,
        principal: &Principal,
        call: OutsideCall,
    ) -> Result<Outcome, Failure> {
        let (run, transaction) = self.transaction(id, principal)?;
        transaction.ready().await;
        let (inside, number) = transaction.enter(id)?;
        let outside = Arc::new(Outside {
            make: Mutex::new(Some(call.make)),
            answer: Mutex::default(),
            _inside: inside,
        });
        let key: Key = Arc::from(format!("/calls/{number}/{}", call.tool));
        let step = Step {
            pointer: key.clone(),
            key,
            target: Target::Tool(call.tool),
            arguments: call.arguments,
            credentials: Value::Null,
            undo: call.undo,
            bound: None,
            needs_no_undo: false,
            pivot: false,
            undoes: None,
            timeout: Some(call.deadline.saturating_duration_since(Instant::now())),
            idempotency_key: call.idempotency_key,
            expect: None,
            outside: Some(outside.clone()),
        };
        let attempted = run.attempt(&step).await;
        // What is answered is known for good.
        let written = run.journal.flush().await;
        let answer = outside.answer.lock().take();
        written.map_err(|error| Failure::from(Error::Log(error)))?;
        match (answer, attempted) {
            (Some(answer), _) => answer,
            (None, Ok(StepOutcome::Refused(fault) | StepOutcome::Unknown(fault)) | Err(fault)) => {
                Err(Error::NotCalled { transaction: id, fault: Box::new(fault) }.into())
            }
            (None, Ok(StepOutcome::Succeeded(_))) => Err(Error::CalledTwice.into()),
        }
    }

    /// Commits a transaction or rolls it back. The instance tells when that is done.
    ///
    /// # Errors
    /// Where it is not open, or another principal's.
    pub async fn end(
        &self,
        id: InstanceId,
        principal: &Principal,
        decision: Decision,
    ) -> Result<Instance, Error> {
        let (_, transaction) = self.transaction(id, principal)?;
        transaction.ready().await;
        let instance = self.attach(id).ok_or(Error::TransactionOver(id))?;
        transaction.decide(id, decision)?;
        Ok(instance)
    }

    fn transaction(
        &self,
        id: InstanceId,
        principal: &Principal,
    ) -> Result<(Arc<Run>, Arc<Transaction>), Error> {
        let run = self.run(id).map_err(|_| Error::TransactionOver(id))?;
        if run.journal.principal.id != principal.id {
            return Err(Error::TransactionOver(id));
        }
        let transaction = run.transaction.clone().ok_or(Error::TransactionOver(id))?;
        Ok((run, transaction))
    }
}

/// What transactions are instances of.
pub(crate) fn definition() -> Result<Workflow, workflow::Invalid> {
    Workflow::read(DEFINITION)
}

/// Keeps a transaction open until it is ended, and gives what it came to: an error where it is to be undone.
pub(crate) async fn until_end(run: &Arc<Run>, transaction: &Arc<Transaction>) -> Result<Value, Fault> {
    let decision = match run.journal.decided(END).await {
        Some(decision) => serde_json::from_value(decision)
            .map_err(|error| Fault::runtime(format!("the journal has no end of a transaction: {error}")))?,
        None => open(run, transaction).await?,
    };
    transaction.close();
    transaction.idle().await;
    match decision {
        Decision::Commit { .. } => Ok(json!({"calls": run.journal.intended()})),
        Decision::Rollback { reason, .. } => {
            run.cancel.cancel();
            Err(Fault::cancelled(reason))
        }
    }
}

/// Takes calls until somebody ends the transaction, or its time is over.
async fn open(run: &Arc<Run>, transaction: &Arc<Transaction>) -> Result<Decision, Fault> {
    run.journal.live().await;
    run.learn_orphans(true);
    for intended in run.journal.take_unfinished() {
        let fault = Fault::timeout("the process ended while the call was under way");
        let outcome = StepOutcome::Unknown(fault);
        run.saga.learn(&intended, &outcome);
        let (key, attempt) = (intended.key, intended.attempt);
        run.journal.note(Entry::Ended(Ended { key, attempt, duration_us: 0, orphan: true, outcome }));
    }
    let decision = transaction.open(run.journal.intended());
    // From here on the transaction can be used, so it has to be there after a crash.
    run.flush().await?;
    let rollback = |reason: &str| Decision::Rollback { by: None, reason: reason.to_owned() };
    let decision = tokio::select! {
        biased;
        decision = decision => decision.unwrap_or_else(|_| rollback("the engine ends")),
        () = run.cancel.cancelled() => rollback("it was cancelled"),
        () = run.sleep_until(transaction.terms.until) => rollback("it was left open past its time"),
    };
    transaction.close();
    let value = serde_json::to_value(&decision).unwrap_or_default();
    run.journal.note(Entry::Decided { key: Arc::from(END), value });
    run.flush().await?;
    Ok(decision)
}
