//! What can go wrong with flows and instances.

use trunkline_model::{EffectState, Failure, Fault, Retry};

use crate::entry::InstanceId;

/// The code of a tool whose contract has changed.
pub(crate) const CHANGED: &str = "TL7034";

/// What can go wrong with flows and instances.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No instance of this identity runs.
    #[error("no instance {0} runs")]
    UnknownInstance(InstanceId),
    /// No step of this key waits for a person.
    #[error("the step {key:?} of {instance} does not wait for anyone")]
    NotStuck {
        /// The instance.
        instance: InstanceId,
        /// The step.
        key: String,
    },
    /// Too many instances have begun and not ended.
    #[error("{0} instances run already, and no more may")]
    TooMany(usize),
    /// A journal can't be read.
    #[error("the journal of {instance} can't be read: {error}")]
    Journal {
        /// The instance.
        instance: InstanceId,
        /// Why.
        error: String,
    },
    /// A definition can't be read.
    #[error(transparent)]
    Definition(#[from] crate::workflow::Invalid),
    /// Text that is no instance's identity.
    #[error("{0} is no instance: it is to be a UUID")]
    NoInstance(String),
    /// Flows are tools; there is nothing else.
    #[error("flows have tools only: no prompts and no resources")]
    ToolsOnly,
    /// No transaction of this identity is open for this caller.
    #[error("no transaction {0} is open")]
    TransactionOver(InstanceId),
    /// The conversation has an open transaction already.
    #[error("the transaction {0} is open in this conversation")]
    TransactionOpen(InstanceId),
    /// A transaction has had as many calls as it may.
    #[error("the transaction {transaction} has had {limit} calls, and no more may be made")]
    TooManyCalls {
        /// The transaction.
        transaction: InstanceId,
        /// How many it may have.
        limit: usize,
    },
    /// A call of a transaction was not made.
    #[error("the call was not made as a step of {transaction}: {fault}")]
    NotCalled {
        /// The transaction.
        transaction: InstanceId,
        /// Why.
        fault: Box<crate::Fault>,
    },
    /// A flow can't be a step of a transaction.
    #[error("a flow can't be a step of the transaction {0}: it is a saga of its own")]
    FlowInside(InstanceId),
    /// No transaction is named, and the conversation has none.
    #[error("no transaction is named, and none is open in this conversation")]
    NoTransaction,
    /// An undo that can't be read.
    #[error("the undo can't be read: {0}")]
    Undo(String),
    /// A call from outside can be made once.
    #[error("a call of a transaction was to be made a second time")]
    CalledTwice,
    /// What is asked for can't be done to an instance that runs.
    #[error("{0} still runs")]
    StillRuns(InstanceId),
    /// An instance can't be undone.
    #[error("{instance} can't be undone: {why}")]
    NotUndoable {
        /// The instance.
        instance: InstanceId,
        /// Why.
        why: String,
    },
    /// An instance can't be tried again.
    #[error("{instance} can't be tried again: {why}")]
    NotRetryable {
        /// The instance.
        instance: InstanceId,
        /// Why.
        why: String,
    },
    /// A tool is not what it was.
    #[error("the tool {0} has another contract than when the step was done, and may do something else now")]
    ContractChanged(String),
    /// An instance has no such step.
    #[error("{instance} has no step {step:?}; it has {known}")]
    UnknownStep {
        /// The instance.
        instance: InstanceId,
        /// What was asked for.
        step: String,
        /// The steps there are.
        known: String,
    },
    /// What is published is no event, or one that may not be published.
    #[error("the event can't be published: {0}")]
    NotAnEvent(String),
    /// The source belongs to a webhook.
    #[error("events of the source {0:?} come from a webhook, and from nobody else")]
    ForeignSource(String),
    /// No dead letter of this identity is known.
    #[error("there is no dead letter {0}")]
    UnknownLetter(String),
    /// The dead letter was replayed or discarded before.
    #[error("the dead letter {id} is {state} already")]
    LetterSettled {
        /// The dead letter.
        id: InstanceId,
        /// What became of it.
        state: String,
    },
    /// A webhook's proof does not hold. Nothing says which part of it.
    #[error("the request does not prove where it comes from")]
    Unproven,
    /// A receiver of a webhook did not take an event.
    #[error("the receiver of {name:?} did not take the event: {why}")]
    NotTaken {
        /// The subscription.
        name: String,
        /// What went wrong.
        why: String,
        /// Trying it again would not help.
        gone: bool,
        /// Nobody knows whether it came.
        unknown: bool,
    },
    /// An event comes back to a subscription by which it came about.
    #[error("a loop: {}", path.join(" → "))]
    Loop {
        /// The subscriptions, the first first.
        path: Vec<String>,
    },
    /// The flow or subscription that an event is for is not there.
    #[error("there is no {what} {name:?}")]
    NoTarget {
        /// `flow` or `subscription`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The filter or the arguments of a subscription can't be evaluated for an event.
    #[error("{part} of the subscription can't be evaluated for this event: {why}")]
    Unevaluated {
        /// `filter` or `args`.
        part: &'static str,
        /// Why.
        why: String,
    },
    /// The event log fails.
    #[error(transparent)]
    Log(#[from] trunkline_event_log::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::UnknownInstance(_) => Self::caller(
                "TL7001",
                "No such instance",
                detail,
                "List the instances with `trunkline flow list`.",
            )
            .status(404),
            Error::NoInstance(_) => Self::caller(
                "TL7002",
                "Not an instance",
                detail,
                "Give the identity that starting the flow gave.",
            ),
            Error::NotStuck { .. } => Self::caller(
                "TL7003",
                "Nothing to resolve",
                detail,
                "See with `trunkline flow show` which step waits for a person.",
            )
            .status(409),
            Error::Journal { .. } => Self::gateway(
                "TL7004",
                "Journal not readable",
                detail,
                "It may have been written by another version of Trunkline. See `trunkline events`.",
            )
            .retry(Retry::No),
            Error::Definition(_) => Self::caller(
                "TL7005",
                "Not a workflow",
                detail,
                "Mend it as the findings say; `trunkline flow check` tells them all.",
            ),
            Error::TooMany(_) => Self::gateway(
                "TL7007",
                "Too many instances",
                detail,
                "Cancel those that are not needed: `trunkline flow list --status waiting`.",
            )
            .status(503),
            Error::ToolsOnly => {
                Self::caller("TL7006", "Flows are tools", detail, "Call one of its tools.").status(404)
            }
            Error::TransactionOver(_)
            | Error::NoTransaction
            | Error::TransactionOpen(_)
            | Error::TooManyCalls { .. }
            | Error::NotCalled { .. }
            | Error::CalledTwice
            | Error::FlowInside(_)
            | Error::Undo(_) => of_transaction(&error, detail),
            Error::StillRuns(_)
            | Error::NotUndoable { .. }
            | Error::NotRetryable { .. }
            | Error::ContractChanged(_)
            | Error::UnknownStep { .. } => of_life(&error, detail),
            Error::Log(error) => error.into(),
            other => other.of_choreography(detail),
        }
    }
}

impl Error {
    /// The failure of what has to do with events.
    fn of_choreography(self, detail: String) -> Failure {
        match self {
            Self::NotAnEvent(_) => {
                Failure::caller("TL7020", "Not an event", detail, "Mend the event and publish it again.")
                    .status(422)
            }
            Self::ForeignSource(_) => {
                Failure::caller("TL7021", "Source of a webhook", detail, "Use a source of your own.")
                    .status(403)
            }
            Self::UnknownLetter(_) => {
                let next = "List them with `trunkline events dead-letters`.";
                Failure::caller("TL7022", "No such dead letter", detail, next).status(404)
            }
            Self::LetterSettled { .. } => {
                let next =
                    "Nothing has to be done. `trunkline events dead-letters --state replayed` lists those.";
                Failure::caller("TL7023", "Dead letter is settled", detail, next).status(409)
            }
            Self::Unproven => {
                let next = "Sign it with the secret of the webhook, with a clock that is right.";
                Failure::caller("TL7024", "Not proven", detail, next).status(401)
            }
            Self::NotTaken { gone, unknown, .. } => {
                let effect = if unknown { EffectState::Unknown } else { EffectState::None };
                let next = "See to the receiver; it is tried again as the subscription says.";
                let failure =
                    Failure::service("TL7025", "Receiver did not take the event", detail, effect, next);
                if gone { failure.retry(Retry::No) } else { failure }
            }
            Self::Loop { .. } => {
                let next = "Break the loop with a filter, or raise flows.loops where it ends by itself; then replay.";
                Failure::caller("TL7026", "Loop of events", detail, next).fault(Fault::Operator).status(508)
            }
            Self::NoTarget { .. } => {
                let next = "Name one that is there in flows.subscriptions; then replay.";
                Failure::caller("TL7027", "Nothing to deliver to", detail, next)
                    .fault(Fault::Operator)
                    .status(404)
            }
            Self::Unevaluated { .. } => {
                let next =
                    "Mend the expression in flows.subscriptions so that it stands every event; then replay.";
                Failure::caller("TL7028", "Subscription can't be evaluated", detail, next)
                    .fault(Fault::Operator)
                    .status(422)
            }
            // All others are turned into failures where they are known.
            other => Failure::gateway("TL7004", "Unexpected", other.to_string(), "See the log."),
        }
    }
}

/// What goes wrong with transactions.
fn of_transaction(error: &Error, detail: String) -> Failure {
    match error {
        Error::TransactionOver(_) | Error::NoTransaction => Failure::caller(
            "TL7010",
            "No such transaction",
            detail,
            "It has ended, or was never begun: open another one with begin. See `trunkline flow list`.",
        )
        .status(409),
        Error::TransactionOpen(_) => Failure::caller(
            "TL7011",
            "A transaction is open already",
            detail,
            "Go on in that one, or end it with commit or rollback.",
        )
        .status(409),
        Error::TooManyCalls { .. } => Failure::caller(
            "TL7012",
            "Too many calls in a transaction",
            detail,
            "Commit it and open another one.",
        )
        .status(409),
        Error::Undo(_) => {
            Failure::caller("TL7014", "Not an undo", detail, "Write {\"tool\": NAME, \"args\": {…}}.")
        }
        _ => Failure::caller(
            "TL7013",
            "Not made in the transaction",
            detail,
            "Nothing was done. Call again, or roll the transaction back.",
        )
        .status(409),
    }
}

/// What keeps an instance from being undone or tried again.
fn of_life(error: &Error, detail: String) -> Failure {
    let (code, title, next) = match error {
        Error::StillRuns(_) => (
            "TL7030",
            "It still runs",
            "Wait for its end, or cancel it: `trunkline flow cancel`, which undoes what it did.",
        ),
        Error::NotUndoable { .. } => {
            ("TL7031", "Not to be undone", "See what it did with `trunkline flow show`.")
        }
        Error::ContractChanged(_) => (
            CHANGED,
            "Tool has changed",
            "Look at the tool. Then resolve the step: retry calls it as it is now; skip; or say what was done by hand.",
        ),
        Error::UnknownStep { .. } => {
            ("TL7033", "No such step", "Name a step as `trunkline flow show` writes it.")
        }
        _ => ("TL7032", "Not to be tried again", "See how it ended with `trunkline flow show`."),
    };
    Failure::caller(code, title, detail, next).status(409)
}
