//! Steps: the tasks of a run that have effects.
//!
//! The intent is in the log before the call, the outcome after it. A call whose branch is dropped (a timeout, a sibling
//! that failed, a race that was lost) is not broken off: what it comes to is waited for, so that it can be undone.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;
use trunkline_model::{BoxFuture, EffectState, Effects, Failure, Json, Outcome, Retry};

use super::Run;
use crate::Error;
use crate::entry::{Ended, Entry, Intended, Key, Resolution, StepOutcome, Undo};
use crate::fault::Fault;
use crate::identity;
use crate::limits::Pass;
use crate::outside::{Contract, EndpointCall, StepCall, value_of};
use crate::transaction::Outside;

/// How often it is looked for a tool whose service is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a step calls.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A tool, by its advertised name.
    Tool(Arc<str>),
    /// An endpoint that the workflow names itself.
    Endpoint(&'static str, Effects),
}

/// A step to be done.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) key: Key,
    /// The task, as a JSON Pointer into the definition.
    pub(crate) pointer: Arc<str>,
    pub(crate) target: Target,
    pub(crate) arguments: Json,
    /// What proves who asks. It goes into no journal.
    pub(crate) credentials: Value,
    pub(crate) undo: Option<Undo>,
    /// The variables that its undo names.
    pub(crate) bound: Option<Json>,
    /// Nothing has to be undone: its author says so.
    pub(crate) needs_no_undo: bool,
    pub(crate) pivot: bool,
    /// The step that this one undoes.
    pub(crate) undoes: Option<Key>,
    pub(crate) timeout: Option<Duration>,
    /// The contract that the tool must still have.
    pub(crate) expect: Option<Arc<str>>,
    /// The key under which the tool may recognise it, where it is not the step's own.
    pub(crate) idempotency_key: Option<Arc<str>>,
    /// The call comes from outside: no task of the run waits for it.
    pub(crate) outside: Option<Arc<Outside>>,
}

/// How often each step was tried.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<HashMap<Key, Tried>>);

#[derive(Default)]
struct Tried {
    attempts: u32,
    /// How often it was refused under a key of its own.
    refusals: u32,
    /// It may have been done under the present key: that one is kept.
    unknown: bool,
}

impl Attempts {
    /// Counts another attempt. Gives its number and that of the refusals before.
    fn next(&self, key: &Key) -> (u32, u32) {
        let mut map = self.0.lock();
        let tried = map.entry(key.clone()).or_default();
        tried.attempts += 1;
        (tried.attempts, tried.refusals)
    }

    fn ended(&self, key: &Key, outcome: &StepOutcome) {
        let mut map = self.0.lock();
        let tried = map.entry(key.clone()).or_default();
        match outcome {
            StepOutcome::Unknown(_) => tried.unknown = true,
            StepOutcome::Refused(_) if !tried.unknown => tried.refusals += 1,
            _ => {}
        }
    }
}

impl Run {
    /// Does a step, and gives the value it has for the tasks after it.
    ///
    /// After the pivot there is no way back: a step that fails is tried again until it succeeds, or a person is asked.
    pub(crate) async fn step(self: &Arc<Self>, step: &Step) -> Result<Value, Fault> {
        let _pivot = step.pivot.then(|| self.saga.pivot());
        let (mut failures, mut asked) = (0, 0);
        loop {
            let fault = match self.attempt(step).await? {
                StepOutcome::Succeeded(result) => return Ok(result.to_value()),
                StepOutcome::Refused(fault) => fault.at(&step.pointer),
                StepOutcome::Unknown(fault) => {
                    Fault { unknown: !self.repeatable(step), ..fault.at(&step.pointer) }
                }
            };
            failures += 1;
            let unknown = self.saga.is_unknown(&step.key);
            let forward = self.saga.is_past_pivot() && step.undoes.is_none();
            let limit = if forward { self.bounds.attempts } else { self.bounds.retries + 1 };
            let repeatable = self.repeatable(step);
            let again = repeatable || (forward && !unknown);
            if failures < limit && fault.transient && again && step.undoes.is_none() {
                let key: Key = Arc::from(format!("{}~again", step.key));
                self.pause(&key, self.backoff(failures), Some(fault)).await?;
                continue;
            }
            // Whether there is a way back depends on what became of a pivot.
            if !(forward || step.pivot && unknown) {
                return Err(fault);
            }
            let again = (repeatable || !unknown).then_some(asked);
            match self.intervene(&step.key, fault.clone(), unknown, again).await? {
                Resolution::Retry => (failures, asked) = (0, asked + 1),
                Resolution::Resolve { done: true, result } => {
                    self.saga.settle(&step.key, Some(Json::from_value(&result)));
                    return Ok(result);
                }
                Resolution::Skip { .. } | Resolution::Resolve { .. } => {
                    self.saga.settle(&step.key, None);
                    return if forward { Ok(Value::Null) } else { Err(fault) };
                }
            }
        }
    }

    /// Whether a step may be done again, as its journaled intent says: the same in every replay.
    pub(crate) fn repeatable(&self, step: &Step) -> bool {
        self.journal.last_intent(&step.key).is_some_and(|(effects, keyed)| effects.repeatable() || keyed)
    }

    /// The pause after so many failures.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let factor = 1 << failures.saturating_sub(1).min(16);
        self.bounds.backoff.saturating_mul(factor).min(Duration::from_secs(60))
    }

    /// One attempt at a step.
    pub(crate) async fn attempt(self: &Arc<Self>, step: &Step) -> Result<StepOutcome, Fault> {
        let (attempt, refusals) = self.attempts.next(&step.key);
        let outcome = match self.journal.ended(&step.key).await {
            Some(ended) => {
                let intended = self.journal.known_intent(&step.key);
                self.learn_orphans(false);
                self.learn(step, intended.as_ref(), &ended.outcome);
                ended.outcome
            }
            None => {
                self.journal.live().await;
                self.learn_orphans(true);
                self.try_now(step, attempt, refusals).await?
            }
        };
        self.attempts.ended(&step.key, &outcome);
        Ok(outcome)
    }

    /// Makes an attempt that is in no journal, or that an earlier process did not see to its end.
    async fn try_now(
        self: &Arc<Self>,
        step: &Step,
        attempt: u32,
        refusals: u32,
    ) -> Result<StepOutcome, Fault> {
        let before = self.journal.take_intent(&step.key, attempt);
        let begun = before.is_some();
        let mut waiting = Waiting { run: self, step, attempt, intended: before, begun };
        let end = |waiting: &mut Waiting<'_>, outcome| {
            let before = waiting.intended.take();
            Ok(self.write_end(step, attempt, before.as_ref(), Instant::now(), outcome, false))
        };
        // The process had ended meanwhile, and not the branch.
        if let Some(outcome) = self.journal.late_end(&step.key, attempt) {
            return end(&mut waiting, outcome);
        }
        let contract = match self.contract(step).await {
            Ok(contract) => contract,
            // What keeps this process from calling it does not say whether an earlier one has called it.
            Err(fault) if begun => return end(&mut waiting, StepOutcome::Unknown(fault)),
            Err(fault) => return end(&mut waiting, StepOutcome::Refused(fault)),
        };
        if let Some(before) = &waiting.intended
            && !(contract.repeatable() && before.contract == contract.hash)
        {
            let fault = Fault::timeout("the process ended while the call was under way");
            return end(&mut waiting, StepOutcome::Unknown(fault));
        }
        if let Some(expected) = &step.expect
            && *expected != contract.hash
        {
            let changed = Error::ContractChanged(step.target.name().to_string());
            return end(&mut waiting, StepOutcome::Refused(Fault::from(&changed.into())));
        }
        let pass = self.admit(step).await?;
        if waiting.intended.is_none() {
            let intended = self.intent(step, attempt, refusals, &contract);
            self.journal.note(Entry::Intended(Box::new(intended.clone())));
            waiting.intended = Some(intended);
        }
        let permit = self.permits.acquire().await.map_err(|_| Fault::runtime("the engine ends"))?;
        // Nothing is done to the world before its intent is in the log.
        if !contract.effects.read_only {
            self.flush().await?;
        }
        let Some(intended) = waiting.intended.take() else {
            return Err(Fault::runtime("a step has no intent"));
        };
        drop(waiting);
        let call = self.call(step, attempt, intended.idempotency_key.clone());
        let (step, start) = (step.clone(), Instant::now());
        let work = InFlight {
            run: self.clone(),
            step,
            attempt,
            intended,
            start,
            call: Some(call),
            begun,
            pass: Some(pass),
        };
        let outcome = work.await;
        drop(permit);
        Ok(outcome)
    }

    fn intent(&self, step: &Step, attempt: u32, refusals: u32, contract: &Contract) -> Intended {
        // After a certain refusal the step may be tried under a new key: a service may keep a refusal with its key.
        let again = if refusals == 0 { String::new() } else { format!(".{refusals}") };
        let own_undo = step.undo.clone();
        let declared = step.undoes.is_none() && !step.needs_no_undo;
        let undo = own_undo.or_else(|| contract.undo.clone().filter(|_| declared));
        Intended {
            key: step.key.clone(),
            attempt,
            tool: step.target.name(),
            target: contract.target.clone(),
            version: contract.version.clone(),
            contract: contract.hash.clone(),
            effects: contract.effects,
            keyed: contract.keyed,
            idempotency_key: step.idempotency_key.clone().unwrap_or_else(|| {
                Arc::from(format!("{}{}{again}", self.journal.instance, identity::header_safe(&step.key)))
            }),
            undo_contract: undo.as_ref().and_then(|undo| {
                let contract = self.tools.contract(&self.journal.principal, &undo.tool);
                contract.ok().map(|contract| contract.hash)
            }),
            undo,
            bound: step.bound.clone(),
            needs_no_undo: step.needs_no_undo,
            pivot: step.pivot,
            undoes: step.undoes.clone(),
            arguments: Some(step.arguments.clone()),
        }
    }

    /// What the step calls, as it is now. A tool whose service is not there yet is waited for.
    async fn contract(&self, step: &Step) -> Result<Contract, Fault> {
        let limit = Instant::now() + step.timeout.unwrap_or(self.bounds.step);
        match &step.target {
            Target::Tool(tool) => loop {
                match self.tools.contract(&self.journal.principal, tool) {
                    Ok(contract) => return Ok(contract),
                    Err(failure) if failure.retry == Retry::No || Instant::now() > limit => {
                        return Err(Fault::from(&failure));
                    }
                    Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
                }
            },
            Target::Endpoint(kind, effects) => Ok(Contract {
                target: Arc::from(*kind),
                version: Arc::from(""),
                hash: Arc::from(""),
                effects: *effects,
                keyed: false,
                undo: None,
            }),
        }
    }

    pub(super) fn call(
        &self,
        step: &Step,
        attempt: u32,
        idempotency_key: Arc<str>,
    ) -> BoxFuture<'static, StepOutcome> {
        let deadline = Instant::now() + step.timeout.unwrap_or(self.bounds.step);
        match &step.target {
            Target::Tool(_) if let Some(outside) = &step.outside => {
                let call = outside.clone().call(idempotency_key);
                Box::pin(async move { outcome_of(call.await) })
            }
            Target::Tool(tool) => {
                let call = self.tools.call(StepCall {
                    instance: self.journal.instance,
                    tool: tool.clone(),
                    arguments: step.arguments.clone(),
                    idempotency_key,
                    principal: self.journal.principal.clone(),
                    deadline,
                    trace: self.journal.trace(&step.key, attempt),
                });
                Box::pin(async move { outcome_of(call.await) })
            }
            Target::Endpoint(kind, _) => {
                let (with, credentials) = (step.arguments.to_value(), step.credentials.clone());
                let call =
                    self.endpoints.call(EndpointCall { kind, with, credentials, idempotency_key, deadline });
                Box::pin(async move {
                    match tokio::time::timeout_at(deadline.into(), call).await {
                        Ok(Ok(value)) => StepOutcome::Succeeded(Json::from_value(&value)),
                        Ok(Err((fault, EffectState::None))) => StepOutcome::Refused(fault),
                        Ok(Err((fault, EffectState::Unknown))) => StepOutcome::Unknown(fault),
                        Err(_) => StepOutcome::Unknown(Fault::timeout("no answer in time")),
                    }
                })
            }
        }
    }

    /// Journals what an attempt came to.
    fn write_end(
        &self,
        step: &Step,
        attempt: u32,
        intended: Option<&Intended>,
        start: Instant,
        outcome: StepOutcome,
        orphan: bool,
    ) -> StepOutcome {
        self.learn(step, intended, &outcome);
        let orphan = orphan || step.outside.is_some();
        let duration_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let ended = Ended { key: step.key.clone(), attempt, duration_us, orphan, outcome: outcome.clone() };
        // What a step that may only be done once has come to must not be lost while others are waited for.
        if intended.is_some_and(|intended| !intended.effects.read_only) {
            self.journal.note_soon(Entry::Ended(ended));
        } else {
            self.journal.note(Entry::Ended(ended));
        }
        outcome
    }

    /// Tells the saga of the steps that an earlier process saw end when their branch had gone.
    pub(crate) fn learn_orphans(&self, upto_next: bool) {
        for (intended, outcome) in self.journal.take_orphans(upto_next) {
            self.saga.learn(&intended, &outcome);
        }
    }

    /// Tells the saga what is known of a step now.
    fn learn(&self, step: &Step, intended: Option<&Intended>, outcome: &StepOutcome) {
        if let Some(intended) = intended
            && step.undoes.is_none()
        {
            self.saga.learn(intended, outcome);
        }
    }
}

impl Target {
    fn name(&self) -> Arc<str> {
        match self {
            Self::Tool(tool) => tool.clone(),
            Self::Endpoint(kind, _) => Arc::from(*kind),
        }
    }
}

/// A step whose intent is known and whose call is not made yet.
struct Waiting<'a> {
    run: &'a Arc<Run>,
    step: &'a Step,
    attempt: u32,
    /// `None` where it waits no more.
    intended: Option<Intended>,
    /// An earlier process may have made the call.
    begun: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(intended) = self.intended.take() else { return };
        if self.run.is_left() {
            return;
        }
        let outcome = if self.begun {
            StepOutcome::Unknown(Fault::timeout("the process ended while the call was under way"))
        } else {
            StepOutcome::Refused(Fault::cancelled("its branch had gone before it began"))
        };
        self.run.write_end(self.step, self.attempt, Some(&intended), Instant::now(), outcome, true);
    }
}

/// A call that is under way.
struct InFlight {
    run: Arc<Run>,
    step: Step,
    attempt: u32,
    intended: Intended,
    start: Instant,
    call: Option<BoxFuture<'static, StepOutcome>>,
    /// An earlier process may have made the call, too.
    begun: bool,
    /// It counts towards its limits until its outcome is known.
    pass: Option<Pass>,
}

impl Future for InFlight {
    type Output = StepOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<StepOutcome> {
        let this = &mut *self;
        let Some(call) = &mut this.call else { return Poll::Pending };
        let Poll::Ready(outcome) = call.as_mut().poll(context) else { return Poll::Pending };
        this.call = None;
        let outcome = after_crash(this.begun, &this.intended, outcome);
        this.pass = None;
        let intended = Some(&this.intended);
        Poll::Ready(this.run.write_end(&this.step, this.attempt, intended, this.start, outcome, false))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        if self.intended.effects.read_only {
            return;
        }
        let (run, step, intended) = (self.run.clone(), self.step.clone(), self.intended.clone());
        let (attempt, start, begun, pass) = (self.attempt, self.start, self.begun, self.pass.take());
        self.run.orphans.spawn(async move {
            let outcome = after_crash(begun, &intended, call.await);
            run.write_end(&step, attempt, Some(&intended), start, outcome, true);
            drop(pass);
            // The run may wait for something else for a long time.
            if let Err(fault) = run.flush().await {
                tracing::error!(instance = %run.journal.instance, %fault, "the end of a step is not in the log");
            }
        });
    }
}

/// What is known of an attempt: where an earlier process may have made its call, too, a refusal of this one says nothing
/// of that, unless it comes of a tool that would have recognised it.
fn after_crash(begun: bool, intended: &Intended, outcome: StepOutcome) -> StepOutcome {
    match outcome {
        StepOutcome::Refused(fault) if begun && !(intended.keyed && fault.is_an_answer()) => {
            StepOutcome::Unknown(fault)
        }
        outcome => outcome,
    }
}

fn outcome_of(answer: Result<Outcome, Failure>) -> StepOutcome {
    match answer {
        Ok(Outcome::Complete(result)) if result.is_error => {
            let body = result.body.to_value();
            let status = body["structuredContent"]["status"].as_u64();
            let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or(422);
            let said = match body["content"][0]["text"].as_str() {
                Some(text) => text.chars().take(1000).collect(),
                None => "the tool gave no reason".to_owned(),
            };
            StepOutcome::Refused(Fault::standard("communication", status, "Refused by the tool", said))
        }
        Ok(Outcome::Complete(result)) => StepOutcome::Succeeded(Json::from_value(&value_of(&result.body))),
        // Steps wait for the end of what they call: none is answered with a task.
        Ok(Outcome::InputRequired(_) | Outcome::Task(_)) => {
            let fault = Fault::standard("runtime", 422, "Input required", "the tool asks a person something");
            StepOutcome::Refused(fault)
        }
        Err(failure) if failure.effect == EffectState::None => StepOutcome::Refused(Fault::from(&failure)),
        Err(failure) => StepOutcome::Unknown(Fault::from(&failure)),
    }
}
