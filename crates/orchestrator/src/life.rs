//! The life of an instance after its end: it is undone, or another is begun in its place.
//!
//! What is undone is brought back first: the run is replayed to its end ([`crate::entry::Entry::UndoRequested`] keeps it
//! from doing anything new), so that it knows of every step what its undo needs.

mod many;
mod takeover;

use std::sync::Arc;

use serde::Serialize;
use trunkline_event_log::Expected;
use trunkline_model::Principal;

use crate::engine::{Engine, Instance};
use crate::entry::{Ending, Entry, Finished, InstanceId, Intended, Key, RetryOf, Started, StepOutcome};
use crate::fault::Fault;
use crate::saga::Saga;
use crate::workflow::Workflow;
use crate::{Error, views};

pub use many::{Asked, MAX_MANY, Many, Refused};

/// What can be asked of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It is to end, and to undo what it has done.
    Cancel,
    /// It has ended well, and is to be undone.
    Undo,
    /// It is to be tried again.
    Retry,
}

/// What would be done to an instance, if it were asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Preview {
    /// The steps that would be undone, the first one first.
    pub undone: Vec<StepAhead>,
    /// The steps that would not be done again.
    pub kept: Vec<Key>,
}

/// A step that would be undone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepAhead {
    /// The step.
    pub key: Key,
    /// What it called: `service/tool`.
    pub target: Arc<str>,
    /// The tool that undoes it; none where only its outcome would be found out.
    pub by: Option<Arc<str>>,
    /// Whether it is known to have been done.
    pub known: bool,
}

/// What the journal of an instance says of its life.
struct Life {
    id: InstanceId,
    entries: Vec<Entry>,
    started: Started,
    principal: Arc<Principal>,
    /// How it ended; `None` while it runs.
    ended: Option<Finished>,
    /// The instance in its place, and the steps that belong to that one.
    successor: Option<(InstanceId, Vec<Key>)>,
}

impl Engine {
    /// Undoes what a completed instance did, in reverse order.
    ///
    /// # Errors
    /// [`Error::StillRuns`], [`Error::NotUndoable`], [`Error::UnknownInstance`].
    pub async fn undo(&self, id: InstanceId, by: &str, reason: Option<&str>) -> Result<Instance, Error> {
        let _deciding = self.deciding().await;
        let life = self.life(id).await?;
        life.undoable()?;
        let except = life.given_away();
        let entry = Entry::UndoRequested { by: by.to_owned(), reason: reason.map(str::to_owned), except };
        self.write(id, &life, vec![entry], Expected::Any).await?;
        self.resume(id).await
    }

    /// Begins another instance in the place of one that has ended: from the start, or from a step on. What was done
    /// before that step is not done again and belongs to the new instance.
    ///
    /// # Errors
    /// [`Error::StillRuns`], [`Error::NotRetryable`], [`Error::UnknownStep`], [`Error::UnknownInstance`].
    pub async fn retry(&self, id: InstanceId, from: Option<&str>, by: &str) -> Result<Instance, Error> {
        let _deciding = self.deciding().await;
        let life = self.life(id).await?;
        let (from, taken) = self.taken_over(&life, from)?;
        let new = InstanceId((self.sources().time_id)());
        let kept = taken.iter().filter_map(step_of).cloned().collect();
        // First the old one: two instances must never hold the same steps.
        let retried = Entry::Retried { instance: new, by: by.to_owned(), from: from.clone(), kept };
        self.write(id, &life, vec![retried], Expected::Any).await?;
        let retry_of = RetryOf { instance: id, from, by: by.to_owned() };
        let started = Started { parent: None, retry_of: Some(retry_of), ..life.started.clone() };
        let mut entries = vec![Entry::Started(Box::new(started))];
        entries.extend(taken);
        self.write(new, &life, entries, Expected::Empty).await?;
        self.bring(new, true).await
    }

    /// What would come of it if this were asked of an instance.
    ///
    /// # Errors
    /// Those that asking for it would have.
    pub async fn preview(&self, id: InstanceId, verb: Verb, from: Option<&str>) -> Result<Preview, Error> {
        let life = self.life(id).await?;
        let ahead = |steps: Vec<(Intended, bool)>| {
            let step = |(step, known): (Intended, bool)| StepAhead {
                key: step.key,
                target: step.target,
                by: step.undo.map(|undo| undo.tool),
                known,
            };
            steps.into_iter().map(step).collect()
        };
        match verb {
            Verb::Cancel => {
                if life.ended.is_some() {
                    return Err(Error::UnknownInstance(id));
                }
                let saga = life.saga();
                let steps = if saga.is_past_pivot() { Vec::new() } else { saga.ahead() };
                Ok(Preview { undone: ahead(steps), ..Preview::default() })
            }
            Verb::Undo => Ok(Preview { undone: ahead(life.undoable()?), ..Preview::default() }),
            Verb::Retry => {
                let (_, taken) = self.taken_over(&life, from)?;
                Ok(Preview {
                    kept: taken.iter().filter_map(step_of).cloned().collect(),
                    ..Preview::default()
                })
            }
        }
    }

    /// The step to retry from, by its whole key, and what the new instance takes over.
    fn taken_over(&self, life: &Life, from: Option<&str>) -> Result<(Option<Key>, Vec<Entry>), Error> {
        life.retryable(from.is_some())?;
        let Some(from) = from else { return Ok((None, Vec::new())) };
        let from = takeover::find(life.id, &life.entries, from)?;
        let workflow = Arc::new(Workflow::from_source(Arc::new(life.started.definition.to_value()))?);
        let stands = |entries: &[Entry]| {
            let run = self.prepare(
                life.id,
                workflow.clone(),
                &life.started,
                life.principal.clone(),
                Arc::default(),
            );
            takeover::stands(&run, entries, (self.sources().now)())
        };
        let why = || Error::NotRetryable {
            instance: life.id,
            why: format!(
                "what was done before {from} can't stand without what came after; retry it from its start"
            ),
        };
        let taken = takeover::before(&life.entries, &from, stands).ok_or_else(why)?;
        Ok((Some(from), taken))
    }

    /// Reads what is known of an instance.
    async fn life(&self, id: InstanceId) -> Result<Life, Error> {
        if let Some(instance) = self.attach(id) {
            // It may be over and only about to be put away.
            let over = views::instance(self.log(), id).await?.is_some_and(|row| row.ended_ms.is_some());
            if over {
                instance.finished().await;
            }
        }
        let journal = self.journal_of(id).await?;
        let found = journal.iter().find_map(|(entry, _, principal)| match entry {
            Entry::Started(started) => Some((Started::clone(started), principal.clone())),
            _ => None,
        });
        let (started, principal) = found.ok_or(Error::UnknownInstance(id))?;
        let entries: Vec<Entry> = journal.into_iter().map(|(entry, ..)| entry).collect();
        let ended = entries.iter().rev().find_map(|entry| match entry {
            Entry::Finished(finished) => Some(Some(finished.clone())),
            Entry::UndoRequested { .. } => Some(None),
            _ => None,
        });
        let mut life = Life { id, started, principal, ended: ended.flatten(), successor: None, entries };
        for entry in life.entries.iter().rev() {
            let Entry::Retried { instance, kept, .. } = entry else { continue };
            // A crash may have come before the other one was there.
            if !self.journal_of(*instance).await?.is_empty() {
                life.successor = Some((*instance, kept.clone()));
                break;
            }
        }
        Ok(life)
    }

    /// Appends to the journal of an instance that does not run.
    async fn write(
        &self,
        id: InstanceId,
        life: &Life,
        entries: Vec<Entry>,
        expected: Expected,
    ) -> Result<(), Error> {
        let sources = self.sources();
        let event = |entry: Entry| {
            let (event, now) = ((sources.time_id)(), (sources.now)());
            entry.into_event(id, &life.started.flow, &life.principal, event, now)
        };
        let events = entries.into_iter().map(event).collect();
        self.log().append(id.0, expected, events).await?;
        Ok(())
    }
}

impl Life {
    /// What its saga knows.
    fn saga(&self) -> Saga {
        let saga = Saga::default();
        let mut open: Vec<&Intended> = Vec::new();
        for entry in &self.entries {
            match entry {
                Entry::Intended(intended) if intended.undoes.is_none() => {
                    open.retain(|other| other.key != intended.key);
                    open.push(intended);
                }
                Entry::Ended(ended) => {
                    let place = open.iter().position(|intended| intended.key == ended.key);
                    if let Some(place) = place {
                        saga.learn(open.remove(place), &ended.outcome);
                    }
                }
                _ => {}
            }
        }
        for intended in open {
            saga.learn(intended, &StepOutcome::Unknown(Fault::timeout("it is under way")));
        }
        saga
    }

    /// The steps that belong to the instance in its place.
    fn given_away(&self) -> Vec<Key> {
        self.successor.as_ref().map(|(_, kept)| kept.clone()).unwrap_or_default()
    }

    /// The steps that undoing it undoes.
    fn undoable(&self) -> Result<Vec<(Intended, bool)>, Error> {
        let why = |why: String| Error::NotUndoable { instance: self.id, why };
        let ended = self.ended.as_ref().ok_or(Error::StillRuns(self.id))?;
        if ended.status != Ending::Completed {
            let status = views::ending(ended.status);
            return Err(why(match ended.status {
                Ending::Undone => "it has been undone already".to_owned(),
                _ => {
                    format!("it is {status}: what it did, if anything, had no undo or stands behind a pivot")
                }
            }));
        }
        let saga = self.saga();
        if saga.is_past_pivot() {
            return Err(why("it is past its pivot: from there on there is no way back".to_owned()));
        }
        saga.give_away(&self.given_away());
        let steps = saga.ahead();
        if steps.iter().any(|(step, _)| step.undo.is_some()) {
            return Ok(steps);
        }
        Err(why(match &self.successor {
            Some((other, _)) => format!("its steps belong to {other}, which went on from it: undo that one"),
            None => "it did nothing that can be undone".to_owned(),
        }))
    }

    /// Whether another may be begun in its place.
    fn retryable(&self, from_step: bool) -> Result<(), Error> {
        let ended = self.ended.as_ref().ok_or(Error::StillRuns(self.id))?;
        let why = match (&self.successor, ended.status) {
            _ if self.started.transaction.is_some() => {
                "its steps are calls from outside, which nobody can make again".to_owned()
            }
            (Some((other, _)), _) => format!("{other} was begun in its place: see to that one"),
            (None, Ending::Undone) if from_step => {
                "it was undone, so nothing stands that could be built on; retry it from its start".to_owned()
            }
            (None, Ending::Completed) if !from_step => {
                "it completed; name the step to do again from, or start the flow again".to_owned()
            }
            _ => return Ok(()),
        };
        Err(Error::NotRetryable { instance: self.id, why })
    }
}

/// The step that an entry says is done, or may be.
fn step_of(entry: &Entry) -> Option<&Key> {
    match entry {
        Entry::Ended(ended) if !matches!(ended.outcome, StepOutcome::Refused(_)) => Some(&ended.key),
        _ => None,
    }
}
