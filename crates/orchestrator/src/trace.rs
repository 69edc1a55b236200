//! The trace of an instance: the one that it was begun in, or one of its own. Its spans have identities that follow from
//! what they are, so a process that goes on with an instance goes on with its trace.

use jiff::Timestamp;
use trunkline_model::{Principal, SpanId, TraceId, TraceParent};

use crate::entry::{Entry, InstanceId};
use std::sync::Arc;

/// An instance, for those that watch it.
pub struct About<'a> {
    /// Its identity.
    pub instance: InstanceId,
    /// `namespace/name`.
    pub flow: &'a Arc<str>,
    /// For whom it runs.
    pub principal: &'a Arc<Principal>,
    /// What it was begun by, where that is known.
    pub begun_by: Option<TraceParent>,
}

/// Sees what becomes of instances, as it is noted in their journals. Returns at once.
pub trait Watcher: Send + Sync {
    /// An entry is noted.
    fn noted(&self, about: &About<'_>, entry: &Entry, time: Timestamp);
}

/// The trace of an instance, and its span there.
#[must_use]
pub fn of_instance(instance: InstanceId, begun_by: Option<TraceParent>) -> Option<TraceParent> {
    let span = SpanId::derived(&[b"flow", instance.0.as_bytes()]);
    match begun_by {
        Some(parent) => Some(parent.at(span)),
        None => Some(TraceParent { trace: TraceId::new(instance.0.into_bytes())?, span, flags: 1 }),
    }
}

/// The span of an attempt at a step.
#[must_use]
pub fn of_step(instance: InstanceId, key: &str, attempt: u32) -> SpanId {
    SpanId::derived(&[b"step", instance.0.as_bytes(), key.as_bytes(), &attempt.to_be_bytes()])
}
