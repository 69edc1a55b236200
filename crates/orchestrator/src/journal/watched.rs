//! Who sees what is noted, and the trace that an instance is part of.

use std::sync::Arc;

use jiff::Timestamp;
use trunkline_model::{TraceContext, TraceParent};

use super::Journal;
use crate::entry::Entry;
use crate::trace::{self, About, Watcher};

/// Who sees what is noted, and the trace that an instance is part of.
#[derive(Default)]
pub(super) struct Watched {
    /// The span that the instance was begun in.
    begun_by: Option<TraceParent>,
    watcher: Option<Arc<dyn Watcher>>,
}

impl Journal {
    /// With someone who sees what is noted, and the span that the instance was begun in.
    pub(crate) fn watched(self, watcher: Option<Arc<dyn Watcher>>, begun_by: Option<TraceParent>) -> Self {
        Self { watched: Watched { begun_by, watcher }, ..self }
    }

    /// The trace of an attempt at a step.
    pub(crate) fn trace(&self, key: &str, attempt: u32) -> TraceContext {
        let span = trace::of_step(self.instance, key, attempt);
        let instance = trace::of_instance(self.instance, self.watched.begun_by);
        let traceparent = instance.map(|instance| instance.at(span).header());
        TraceContext { traceparent, ..TraceContext::default() }
    }

    pub(super) fn tell(&self, entry: &Entry, time: Timestamp) {
        let Watched { begun_by, watcher: Some(watcher) } = &self.watched else { return };
        let Self { instance, flow, principal, .. } = self;
        watcher.noted(&About { instance: *instance, flow, principal, begun_by: *begun_by }, entry, time);
    }
}
