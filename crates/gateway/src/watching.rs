//! What becomes of instances of flows, for telemetry: one note for each entry of a journal that spans are made of.

use jiff::Timestamp;
use trunkline_orchestrator::entry::{Ending, Entry, StepOutcome};
use trunkline_orchestrator::trace::{self, About, Watcher};
use trunkline_telemetry::flow::{FlowEvent, FlowNote};
use trunkline_telemetry::{Item, Telemetry};

/// Passes on to telemetry what is noted.
pub struct FlowWatcher(pub Telemetry);

impl Watcher for FlowWatcher {
    fn noted(&self, about: &About<'_>, entry: &Entry, time: Timestamp) {
        if !self.0.is_on() {
            return;
        }
        let Some(trace) = trace::of_instance(about.instance, about.begun_by) else { return };
        let Some(what) = told(about, entry) else { return };
        self.0.push(Item::Flow(Box::new(FlowNote {
            instance: about.instance.0,
            flow: about.flow.clone(),
            principal: about.principal.clone(),
            trace,
            parent: about.begun_by.map(|parent| parent.span),
            time,
            what,
        })));
    }
}

fn told(about: &About<'_>, entry: &Entry) -> Option<FlowEvent> {
    Some(match entry {
        Entry::Started(_) => FlowEvent::Started,
        Entry::Intended(step) => FlowEvent::Intended {
            key: step.key.clone(),
            attempt: step.attempt,
            tool: step.tool.clone(),
            target: step.target.clone(),
            undoes: step.undoes.clone(),
        },
        Entry::Ended(ended) => FlowEvent::Ended {
            key: ended.key.clone(),
            attempt: ended.attempt,
            span: trace::of_step(about.instance, &ended.key, ended.attempt),
            took_us: ended.duration_us,
            fault: match &ended.outcome {
                StepOutcome::Succeeded(_) => None,
                StepOutcome::Refused(fault) => Some((fault.to_string(), false)),
                StepOutcome::Unknown(fault) => Some((fault.to_string(), true)),
            },
        },
        Entry::Waiting { key, after, .. } => {
            FlowEvent::Waits { key: key.clone(), what: "time", why: after.as_ref().map(ToString::to_string) }
        }
        Entry::Queued { key, what } => {
            FlowEvent::Waits { key: key.clone(), what: "turn", why: Some(what.to_string()) }
        }
        Entry::Stuck { key, fault, .. } => {
            FlowEvent::Waits { key: key.clone(), what: "person", why: Some(fault.to_string()) }
        }
        Entry::Decided { key, .. } | Entry::Unqueued { key } | Entry::Resolved { key, .. } => {
            FlowEvent::GoesOn { key: key.clone() }
        }
        Entry::Compensating { fault } => FlowEvent::Compensating { why: fault.to_string() },
        Entry::Finished(finished) => FlowEvent::Finished {
            status: match finished.status {
                Ending::Completed => "completed",
                Ending::Faulted => "faulted",
                Ending::Cancelled => "cancelled",
                Ending::Undone => "undone",
            },
            fault: finished.fault.as_ref().map(ToString::to_string),
        },
        _ => return None,
    })
}
