//! What can go wrong with flows and instances.

use trunkline_model::{Failure, Retry};

use crate::entry::InstanceId;

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
            Error::Log(error) => error.into(),
        }
    }
}
