//! What can go wrong with flows and instances.

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
    /// The event log fails.
    #[error(transparent)]
    Log(#[from] trunkline_event_log::Error),
}
