//! What can go wrong with flows and instances.

use trunkline_model::{Failure, Retry};

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
