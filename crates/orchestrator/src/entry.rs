//! What an instance's journal says: the entries and how they stand in the event log.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_event_log::RecordedEvent;
use trunkline_model::{Effects, Event, EventData, Json, Principal};
use uuid::Uuid;

use crate::choreography::Cause;
use crate::fault::Fault;
use crate::transaction::Terms;
use crate::workflow::Workflow;

/// The first part of the CloudEvents type of every entry.
const TYPE: &str = "dev.trunkline.flow.";

/// The identity of an instance: a UUIDv7. Its journal is the stream of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub Uuid);

impl std::fmt::Display for InstanceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a task stands in a run: the path of its definition with the number of every iteration and of every further
/// visit. The same in every replay.
pub type Key = Arc<str>;

/// One entry of a journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The instance exists.
    Started(Box<Started>),
    /// A step is about to be done.
    Intended(Box<Intended>),
    /// What came of a step.
    Ended(Ended),
    /// A task without effects was passed.
    Passed {
        /// The task.
        key: Key,
    },
    /// Something waits for a time: a `wait` task, or the pause before another attempt.
    Waiting {
        /// What waits.
        key: Key,
        /// Until when.
        until: Timestamp,
        /// What went wrong before, where it is the pause before another attempt.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        after: Option<Fault>,
    },
    /// What was decided by time or by whoever came first: a wait that is over, a task that ran out of time, the branch
    /// that won.
    Decided {
        /// What was decided.
        key: Key,
        /// How.
        value: Value,
    },
    /// A step, or the instance itself (`~queue`), is over a limit and waits for its turn.
    Queued {
        /// What waits.
        key: Key,
        /// What it waits for, in words.
        what: Arc<str>,
    },
    /// It waits no more: its turn has come, or nobody needs it any longer.
    Unqueued {
        /// What waited.
        key: Key,
    },
    /// Someone asked for the end.
    CancelRequested {
        /// Who.
        by: String,
        /// Why, in their words.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<String>,
    },
    /// What was done is about to be taken back.
    Compensating {
        /// Why.
        fault: Fault,
    },
    /// It can't go on without a person.
    Stuck {
        /// The step it is about.
        key: Key,
        /// What keeps it.
        fault: Fault,
        /// Whether it is an undo that fails, or a step of unknown outcome.
        unknown: bool,
    },
    /// A person said what to do with a step that was stuck.
    Resolved {
        /// The step.
        key: Key,
        /// What they said.
        resolution: Resolution,
        /// Who.
        by: String,
    },
    /// All of it waits for a time; until then it is not in memory.
    PutAside {
        /// The time.
        until: Timestamp,
    },
    /// It is over.
    Finished(Finished),
    /// It was over, and someone asked to take back what it did.
    UndoRequested {
        /// Who.
        by: String,
        /// Why, in their words.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<String>,
        /// Steps that belong to another instance by now.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        except: Vec<Key>,
    },
    /// Another instance is begun in its place.
    Retried {
        /// That one.
        instance: InstanceId,
        /// Who asked for it.
        by: String,
        /// The step it does again first; from the start where there is none.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        from: Option<Key>,
        /// The steps that belong to it now.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        kept: Vec<Key>,
    },
}

/// The beginning of an instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// `namespace/name`.
    pub flow: Arc<str>,
    /// The version of the definition.
    pub version: Arc<str>,
    /// The SHA-256 of the definition.
    pub hash: Arc<str>,
    /// The definition, which the instance keeps.
    pub definition: Json,
    /// The input.
    pub input: Json,
    /// The step of another instance that began it and did not wait for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<Parent>,
    /// It is a transaction, on these terms.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transaction: Option<Terms>,
    /// The instance in whose place it was begun.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_of: Option<RetryOf>,
    /// The event that it is a delivery of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<Box<Cause>>,
    /// The span that it was begun in: a header `traceparent`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<Arc<str>>,
}

impl Started {
    /// The beginning of an instance of a workflow.
    #[must_use]
    pub fn of(workflow: &Workflow, input: Json) -> Self {
        Self {
            flow: workflow.full_name(),
            version: workflow.document.version.clone(),
            hash: workflow.hash().clone(),
            definition: workflow.text().clone(),
            input,
            parent: None,
            transaction: None,
            retry_of: None,
            cause: None,
            traceparent: None,
        }
    }
}

/// Who began an instance beside itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parent {
    /// The instance.
    pub instance: InstanceId,
    /// Its step.
    pub step: Key,
    /// How many instances have begun each other up to this one.
    pub depth: u32,
}

/// In whose place an instance was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryOf {
    /// The other instance.
    pub instance: InstanceId,
    /// The step that is done again first; all are where there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<Key>,
    /// Who asked for it.
    pub by: String,
}

/// A step that is about to be done. Its arguments are the event's parameters.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Intended {
    /// The step.
    pub key: Key,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The name it was called by.
    pub tool: Arc<str>,
    /// `service/tool`: the binding.
    pub target: Arc<str>,
    /// The tool's version.
    pub version: Arc<str>,
    /// The SHA-256 of the tool's schemas and effects.
    pub contract: Arc<str>,
    /// What it does to the world.
    pub effects: Effects,
    /// The tool recognises a repeated call by its key.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub keyed: bool,
    /// The key under which the tool may recognise a repeated call.
    pub idempotency_key: Arc<str>,
    /// How it is undone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undo: Option<Undo>,
    /// The contract of the tool that undoes it, as it was then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undo_contract: Option<Arc<str>>,
    /// The variables that its undo names, as they were when it began.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bound: Option<Json>,
    /// Nothing has to be undone: its author says so.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub needs_no_undo: bool,
    /// After it there is no way back.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub pivot: bool,
    /// The step that this one undoes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undoes: Option<Key>,
    /// The arguments.
    #[serde(skip)]
    pub arguments: Option<Json>,
}

/// How a step is undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// The tool that does it.
    pub tool: Arc<str>,
    /// Its arguments: a template over `{input, args, result}` of the step.
    #[serde(default)]
    pub args: Value,
    /// It does no harm where the step had no effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub safe: bool,
}

/// What came of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The step.
    pub key: Key,
    /// Which attempt.
    pub attempt: u32,
    /// How long it took.
    pub duration_us: u64,
    /// Its branch had gone when it ended: no task waits for it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub orphan: bool,
    /// What came of it.
    pub outcome: StepOutcome,
}

/// What is known of a step's effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It was done.
    Succeeded(Json),
    /// It was not done: nothing has happened.
    Refused(Fault),
    /// Nobody knows: it timed out, or the process ended meanwhile.
    Unknown(Fault),
}

/// What a person decides of a step that is stuck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Resolution {
    /// Try it again.
    Retry,
    /// Leave it undone.
    Skip {
        /// Why.
        reason: String,
    },
    /// It has been seen to outside: the step has, or has had, this result.
    Resolve {
        /// Whether the step took effect.
        done: bool,
        /// Its result.
        #[serde(default)]
        result: Value,
    },
}

/// The end of an instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finished {
    /// How it ended.
    pub status: Ending,
    /// Its output, where it completed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<Json>,
    /// What went wrong, where it did not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<Fault>,
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It came to its end.
    Completed,
    /// It failed, and there was nothing to undo.
    Faulted,
    /// It was cancelled, and there was nothing to undo.
    Cancelled,
    /// It failed or was cancelled, and what it had done was undone.
    Undone,
}

impl Entry {
    /// What happened, as the last part of the event's type.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Self::Started(_) => "started",
            Self::Intended(_) => "step.started",
            Self::Ended(ended) => match ended.outcome {
                StepOutcome::Succeeded(_) => "step.completed",
                StepOutcome::Refused(_) => "step.refused",
                StepOutcome::Unknown(_) => "step.unknown",
            },
            Self::Passed { .. } => "task.passed",
            Self::Waiting { .. } => "waiting",
            Self::Decided { .. } => "decided",
            Self::Queued { .. } => "queued",
            Self::Unqueued { .. } => "unqueued",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::Compensating { .. } => "compensating",
            Self::Stuck { .. } => "stuck",
            Self::Resolved { .. } => "resolved",
            Self::PutAside { .. } => "put_aside",
            Self::Finished(_) => "finished",
            Self::UndoRequested { .. } => "undo_requested",
            Self::Retried { .. } => "retried",
        }
    }

    /// The entry as an event of the instance's stream.
    #[must_use]
    pub fn into_event(
        self,
        instance: InstanceId,
        flow: &Arc<str>,
        principal: &Arc<Principal>,
        id: Uuid,
        time: Timestamp,
    ) -> Event {
        let (target, parameters) = match &self {
            Self::Intended(intended) => (intended.target.clone(), intended.arguments.clone()),
            Self::Started(started) => (flow.clone(), Some(started.input.clone())),
            _ => (flow.clone(), None),
        };
        let causation = match &self {
            Self::Started(started) => started.cause.as_ref().map(|cause| cause.event),
            _ => None,
        };
        let kind = match self.what() {
            "started" => Cow::Borrowed("dev.trunkline.flow.started.v1"),
            "step.started" => Cow::Borrowed("dev.trunkline.flow.step.started.v1"),
            "step.completed" => Cow::Borrowed("dev.trunkline.flow.step.completed.v1"),
            "finished" => Cow::Borrowed("dev.trunkline.flow.finished.v1"),
            what => Cow::Owned(format!("{TYPE}{what}.v1")),
        };
        let action = Cow::Borrowed(self.what());
        let context = Json::from_serialize(&self).unwrap_or_else(|_| Json::empty_object());
        let parameters = parameters.unwrap_or_else(Json::empty_object);
        Event {
            id,
            kind,
            time,
            source: Arc::from("/flows"),
            target,
            data: EventData { action, parameters, context },
            correlation: instance.0,
            causation,
            traceparent: None,
            principal: principal.clone(),
        }
    }

    /// Reads an event of an instance's stream; `None` for one of another kind.
    ///
    /// # Errors
    /// Words on what is wrong with it.
    pub fn of_event(recorded: &RecordedEvent) -> Result<Option<Self>, String> {
        if !recorded.event.kind.starts_with(TYPE) {
            return Ok(None);
        }
        let mut entry: Self = recorded.event.data.context.to().map_err(|error| error.to_string())?;
        if let Self::Intended(intended) = &mut entry {
            intended.arguments = Some(recorded.event.data.parameters.clone());
        }
        Ok(Some(entry))
    }
}
