//! Taking back what was done: undo in reverse order of completion.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use trunkline_model::Json;

use crate::entry::{Entry, Intended, Key, Resolution, StepOutcome, Undo};
use crate::error::CHANGED;
use crate::fault::Fault;
use crate::interpret::again;
use crate::run::{Run, Step, Target};

/// What is known of the steps of a run.
#[derive(Default)]
pub(crate) struct Saga(Mutex<Known>, Notify);

#[derive(Default)]
struct Known {
    /// Steps that were done or may have been, in the order of their completion.
    steps: Vec<Done>,
    past_pivot: bool,
    /// How many pivots are under way.
    pivots: usize,
}

/// A step that was done or may have been.
#[derive(Clone, Debug)]
struct Done {
    intended: Intended,
    /// Its result; `None` where its outcome is unknown.
    result: Option<Json>,
    /// The arguments of its undo, where they were made when it was done.
    prepared: Option<Result<Value, Fault>>,
}

impl Saga {
    /// Takes in what came of a step.
    pub(crate) fn learn(&self, intended: &Intended, outcome: &StepOutcome) {
        let mut known = self.0.lock();
        // What is repeated under its key, or changes nothing more, is one and the same.
        let same = |step: &Done| {
            let repeated = intended.keyed || intended.effects.repeatable();
            let by_key = repeated && step.intended.idempotency_key == intended.idempotency_key;
            step.intended.key == intended.key
                && (step.intended.attempt == intended.attempt || step.result.is_none() && by_key)
        };
        match outcome {
            StepOutcome::Refused(_) => {}
            StepOutcome::Succeeded(result) => {
                known.steps.retain(|step| !same(step));
                known.past_pivot |= intended.pivot;
                known.steps.push(Done {
                    intended: intended.clone(),
                    result: Some(result.clone()),
                    prepared: None,
                });
            }
            StepOutcome::Unknown(_) => {
                known.steps.retain(|step| !same(step));
                known.steps.push(Done { intended: intended.clone(), result: None, prepared: None });
            }
        }
    }

    /// Whether it is not known whether a step was done.
    pub(crate) fn is_unknown(&self, key: &str) -> bool {
        self.0.lock().steps.iter().any(|step| step.result.is_none() && *step.intended.key == *key)
    }

    /// A person has said what became of a step of unknown outcome: its result where it was done.
    pub(crate) fn settle(&self, key: &str, result: Option<Json>) {
        let mut known = self.0.lock();
        let unknown = |step: &Done| step.result.is_none() && *step.intended.key == *key;
        let Some(mut step) = known.steps.iter().rev().find(|step| unknown(step)).cloned() else { return };
        known.steps.retain(|step| !unknown(step));
        if result.is_some() {
            known.past_pivot |= step.intended.pivot;
            step.result = result;
            known.steps.push(step);
        }
    }

    /// A pivot is under way until what is given is dropped.
    pub(crate) fn pivot(&self) -> impl Drop + '_ {
        self.0.lock().pivots += 1;
        Pivot(self)
    }

    /// Waits until no pivot is under way, and for ever where one was done.
    pub(crate) async fn before_pivot(&self) {
        loop {
            let told = self.1.notified();
            let mut told = std::pin::pin!(told);
            // Before the look, so that nothing is missed between the two.
            told.as_mut().enable();
            {
                let known = self.0.lock();
                if known.pivots == 0 && !known.past_pivot {
                    return;
                }
            }
            told.await;
        }
    }

    /// The pivots of unknown outcome.
    fn unknown_pivots(&self) -> Vec<Intended> {
        let known = self.0.lock();
        let unknown = known
            .steps
            .iter()
            .filter(|step| step.intended.pivot && step.result.is_none() && !step.intended.effects.read_only);
        unknown.map(|step| step.intended.clone()).collect()
    }

    /// Whether the step after which there is no way back is done.
    pub(crate) fn is_past_pivot(&self) -> bool {
        self.0.lock().past_pivot
    }

    /// How a step that was done is undone.
    pub(crate) fn undo_of(&self, key: &str) -> Option<Undo> {
        let known = self.0.lock();
        known.steps.iter().rev().find(|step| *step.intended.key == *key)?.intended.undo.clone()
    }

    /// Keeps the arguments of a step's undo.
    pub(crate) fn prepare(&self, key: &str, arguments: Result<Value, Fault>) {
        let mut known = self.0.lock();
        if let Some(step) = known.steps.iter_mut().rev().find(|step| *step.intended.key == *key) {
            step.prepared = Some(arguments);
        }
    }

    /// Forgets steps that belong to another instance.
    pub(crate) fn give_away(&self, keys: &[Key]) {
        self.0.lock().steps.retain(|step| !keys.contains(&step.intended.key));
    }

    /// The steps, the last first, that would be undone (`true`) or whose outcome would be found out first.
    pub(crate) fn ahead(&self) -> Vec<(Intended, bool)> {
        let steps = self.0.lock().steps.clone();
        of_interest(steps).into_iter().map(|step| (step.intended, step.result.is_some())).collect()
    }

    /// Takes the steps, the last first, that are to be undone or whose outcome is to be found out.
    fn take(&self) -> Vec<Done> {
        of_interest(std::mem::take(&mut self.0.lock().steps))
    }
}

/// The steps that a saga has to do with, the last first.
fn of_interest(mut steps: Vec<Done>) -> Vec<Done> {
    steps.retain(|step| !step.intended.effects.read_only);
    // What can't be undone is not called again to find out whether it was done: that may do it.
    steps.retain(|step| {
        let found_out = step.intended.keyed || step.intended.effects.repeatable();
        step.intended.undo.is_some() || (step.result.is_none() && !step.intended.needs_no_undo && !found_out)
    });
    steps.reverse();
    steps
}

struct Pivot<'a>(&'a Saga);

impl Drop for Pivot<'_> {
    fn drop(&mut self) {
        self.0.0.lock().pivots -= 1;
        self.0.1.notify_waiters();
    }
}

/// How a step of unknown outcome turned out.
enum Found {
    Done(Json),
    NotDone,
    /// It may stay unknown: its undo does no harm.
    Either,
}

impl Run {
    /// Undoes what was done, the last step first. Gives whether there was anything to undo.
    pub(crate) async fn compensate(self: &Arc<Self>, fault: &Fault) -> Result<bool, Fault> {
        self.learn_orphans(true);
        for intended in self.journal.take_unfinished() {
            let fault = Fault::timeout("the process ended while the call was under way");
            self.saga.learn(&intended, &StepOutcome::Unknown(fault));
        }
        for pivot in self.saga.unknown_pivots() {
            let found = match self.find_out(&pivot).await? {
                Found::Done(result) => Some(result),
                Found::NotDone | Found::Either => None,
            };
            self.saga.settle(&pivot.key, found);
        }
        if self.saga.is_past_pivot() {
            return Ok(false);
        }
        let steps = self.saga.take();
        // Where nothing can be undone, it does not matter whether a step of unknown outcome was done.
        if steps.iter().all(|step| step.intended.undo.is_none()) {
            return Ok(false);
        }
        if !self.journal.was_compensating() {
            self.journal.note(Entry::Compensating { fault: fault.clone() });
        }
        for step in steps {
            let found = match &step.result {
                Some(result) => Found::Done(result.clone()),
                None => self.find_out(&step.intended).await?,
            };
            let result = match found {
                Found::NotDone => continue,
                Found::Done(result) => result,
                Found::Either => Json::null(),
            };
            if let Some(undo) = &step.intended.undo {
                self.undo(&step, undo, &result).await?;
            }
        }
        Ok(true)
    }

    /// Undoes one step. One that keeps failing waits for a person.
    async fn undo(self: &Arc<Self>, done: &Done, undo: &Undo, result: &Json) -> Result<(), Fault> {
        let intended = &done.intended;
        let key: Key = Arc::from(format!("{}~undo", intended.key));
        // A tool that has changed since may do something else: a person decides.
        let mut expect = intended.undo_contract.clone();
        let (mut failures, mut asked) = (0, 0);
        loop {
            let arguments = match &done.prepared {
                Some(prepared) => prepared.clone(),
                None => self.undo_arguments(intended, undo, result),
            };
            let fault = match arguments {
                Ok(arguments) => {
                    let arguments = if arguments.is_null() { json!({}) } else { arguments };
                    let step = Step {
                        key: key.clone(),
                        pointer: key.clone(),
                        target: Target::Tool(undo.tool.clone()),
                        arguments: Json::from_value(&arguments),
                        credentials: Value::Null,
                        undo: None,
                        bound: None,
                        needs_no_undo: true,
                        pivot: false,
                        undoes: Some(intended.key.clone()),
                        timeout: None,
                        idempotency_key: None,
                        expect: expect.clone(),
                        outside: None,
                    };
                    match self.step(&step).await {
                        Ok(_) => return Ok(()),
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            failures += 1;
            if failures < self.bounds.attempts && fault.transient {
                let pause: Key = Arc::from(format!("{key}~again"));
                self.pause(&pause, self.backoff(failures), Some(fault)).await?;
                continue;
            }
            match self.intervene(&key, fault, false, Some(asked)).await? {
                Resolution::Retry => (failures, asked, expect) = (0, asked + 1, None),
                Resolution::Skip { .. } | Resolution::Resolve { .. } => return Ok(()),
            }
        }
    }

    /// The arguments of an undo whose step was not seen to end.
    fn undo_arguments(&self, intended: &Intended, undo: &Undo, result: &Json) -> Result<Value, Fault> {
        let result = &result.to_value();
        let arguments = intended.arguments.as_ref().map_or(Value::Null, Json::to_value);
        let mut steps = self.exported_steps();
        // A step of a plan goes by its id.
        let name = intended.key.rsplit('/').next().unwrap_or_default();
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        steps.entry(name).or_insert_with(|| result.clone());
        let dot = scope(&self.input, steps, &arguments, result);
        again(self, &undo.args, intended.bound.as_ref(), result, &dot)
    }

    /// Finds out what became of a step of unknown outcome: by its key where the tool recognises it, else by asking a
    /// person. Nothing is undone blindly.
    async fn find_out(self: &Arc<Self>, intended: &Intended) -> Result<Found, Fault> {
        if intended.undo.as_ref().is_some_and(|undo| undo.safe) && !intended.pivot {
            return Ok(Found::Either);
        }
        let arguments = intended.arguments.clone().unwrap_or_else(Json::empty_object);
        let mut repeatable = intended.effects.repeatable() || intended.keyed;
        let mut expect = Some(intended.contract.clone());
        let (mut failures, mut asked) = (0, 0);
        loop {
            let fault = if repeatable {
                let key: Key = Arc::from(format!("{}~query", intended.key));
                let step = Step {
                    pointer: key.clone(),
                    key,
                    target: Target::Tool(intended.tool.clone()),
                    arguments: arguments.clone(),
                    credentials: Value::Null,
                    undo: None,
                    bound: None,
                    needs_no_undo: true,
                    pivot: false,
                    undoes: Some(intended.key.clone()),
                    timeout: None,
                    idempotency_key: Some(intended.idempotency_key.clone()),
                    expect: expect.clone(),
                    outside: None,
                };
                match self.attempt(&step).await? {
                    StepOutcome::Succeeded(result) => return Ok(Found::Done(result)),
                    StepOutcome::Refused(fault) if fault.code.as_deref() == Some(CHANGED) => {
                        repeatable = false;
                        fault
                    }
                    // A tool that knows its keys would have said that it was done.
                    StepOutcome::Refused(fault) if intended.keyed && fault.is_an_answer() => {
                        return Ok(Found::NotDone);
                    }
                    StepOutcome::Refused(fault) | StepOutcome::Unknown(fault) => fault,
                }
            } else {
                Fault::timeout(format!("it is not known whether {} took effect", intended.target))
            };
            failures += 1;
            if repeatable && failures < self.bounds.attempts {
                let pause: Key = Arc::from(format!("{}~query~again", intended.key));
                self.pause(&pause, self.backoff(failures), Some(fault)).await?;
                continue;
            }
            let again = repeatable.then_some(asked);
            match self.intervene(&intended.key, fault, true, again).await? {
                Resolution::Retry => {
                    (failures, asked, expect) = (0, asked + 1, None);
                    repeatable = intended.effects.repeatable() || intended.keyed;
                }
                Resolution::Skip { .. } | Resolution::Resolve { done: false, .. } => {
                    return Ok(Found::NotDone);
                }
                Resolution::Resolve { done: true, result } => {
                    return Ok(Found::Done(Json::from_value(&result)));
                }
            }
        }
    }
}

/// What the arguments of an undo are made of.
pub(crate) fn scope(input: &Value, steps: Map<String, Value>, arguments: &Value, result: &Value) -> Value {
    json!({"input": input, "steps": steps, "args": arguments, "result": result})
}
