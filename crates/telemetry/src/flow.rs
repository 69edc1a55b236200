//! What is seen of flows: their steps, waits and undos become spans when they are over.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use trunkline_model::{Principal, SpanId, TraceParent};
use uuid::Uuid;

use crate::clock::unix_ns;
use crate::semconv;
use crate::span::{Span, SpanEvent, Status, attribute};

/// The most steps and waits that are remembered until they end.
const MAX_OPEN: usize = 50_000;

/// What is told of a flow's instance.
#[derive(Clone, Debug)]
pub struct FlowNote {
    /// The instance.
    pub instance: Uuid,
    /// `namespace/name`.
    pub flow: Arc<str>,
    /// For whom it runs.
    pub principal: Arc<Principal>,
    /// Its trace, and its own span there.
    pub trace: TraceParent,
    /// The span that it was begun in.
    pub parent: Option<SpanId>,
    /// When.
    pub time: jiff::Timestamp,
    /// What.
    pub what: FlowEvent,
}

/// What happened to an instance.
#[derive(Clone, Debug)]
pub enum FlowEvent {
    /// It has begun.
    Started,
    /// A step is about to be done.
    Intended {
        /// The step.
        key: Arc<str>,
        /// Which attempt.
        attempt: u32,
        /// The tool's advertised name.
        tool: Arc<str>,
        /// `service/tool`.
        target: Arc<str>,
        /// The step that it takes back.
        undoes: Option<Arc<str>>,
    },
    /// A step has ended.
    Ended {
        /// The step.
        key: Arc<str>,
        /// Which attempt.
        attempt: u32,
        /// The span of the attempt.
        span: SpanId,
        /// How long it took, in microseconds.
        took_us: u64,
        /// What went wrong, and whether it may have happened all the same.
        fault: Option<(String, bool)>,
    },
    /// Something waits.
    Waits {
        /// What.
        key: Arc<str>,
        /// For what: `time`, `turn`, `person`.
        what: &'static str,
        /// Why, in words.
        why: Option<String>,
    },
    /// It waits no more.
    GoesOn {
        /// What.
        key: Arc<str>,
    },
    /// What was done is about to be taken back.
    Compensating {
        /// Why.
        why: String,
    },
    /// It is over.
    Finished {
        /// `completed`, `faulted`, `cancelled` or `undone`.
        status: &'static str,
        /// What went wrong.
        fault: Option<String>,
    },
}

/// What has begun and not ended.
#[derive(Default)]
pub(crate) struct Open {
    steps: HashMap<(Uuid, Arc<str>), Begun>,
    instances: HashMap<Uuid, Instance>,
}

struct Begun {
    start: u64,
    tool: Arc<str>,
    target: Arc<str>,
    undoes: Option<Arc<str>>,
    waits: Option<(&'static str, Option<String>)>,
}

#[derive(Default)]
struct Instance {
    start: u64,
    events: Vec<SpanEvent>,
}

impl Open {
    /// Whether a step that ends takes another one back.
    pub(crate) fn undoes(&self, note: &FlowNote) -> bool {
        let FlowEvent::Ended { key, .. } = &note.what else { return false };
        self.steps.get(&(note.instance, key.clone())).is_some_and(|begun| begun.undoes.is_some())
    }

    /// Takes note. Gives the span of what is over now.
    pub(crate) fn note(&mut self, note: FlowNote) -> Option<Span> {
        if self.steps.len() > MAX_OPEN || self.instances.len() > MAX_OPEN {
            // What is forgotten has a span without a beginning of its own.
            self.steps.clear();
            self.instances.clear();
        }
        let (instance, now) = (note.instance, unix_ns(note.time));
        let nothing = || Arc::from("");
        match &note.what {
            FlowEvent::Started => {
                self.instances.insert(instance, Instance { start: now, events: Vec::new() });
                None
            }
            FlowEvent::Intended { key, tool, target, undoes, .. } => {
                let (tool, target, undoes) = (tool.clone(), target.clone(), undoes.clone());
                self.steps
                    .insert((instance, key.clone()), Begun { start: now, tool, target, undoes, waits: None });
                None
            }
            FlowEvent::Waits { key, what, why } => {
                let waits = Some((*what, why.clone()));
                let begun = Begun { start: now, tool: nothing(), target: nothing(), undoes: None, waits };
                self.steps.insert((instance, waiting(key)), begun);
                None
            }
            FlowEvent::GoesOn { key } => {
                let begun = self.steps.remove(&(instance, waiting(key)))?;
                of_wait(&note, key, begun, now)
            }
            FlowEvent::Ended { key, .. } => {
                let begun = self.steps.remove(&(instance, key.clone()));
                of_step(&note, begun, now)
            }
            FlowEvent::Compensating { why } => {
                let events = &mut self.instances.entry(instance).or_default().events;
                let attributes = vec![(Arc::from("trunkline.reason"), Value::from(why.clone()))];
                events.push(SpanEvent { time: now, name: "compensating".to_owned(), attributes });
                None
            }
            FlowEvent::Finished { status, fault } => {
                let known = self.instances.remove(&instance).unwrap_or_default();
                Some(of_instance(&note, known, status, fault.clone(), now))
            }
        }
    }
}

/// A span of an instance.
fn span(note: &FlowNote, id: SpanId, parent: Option<SpanId>, name: String, start: u64, end: u64) -> Span {
    let mut span = Span::ours(note.trace.trace, id, parent, name, start, end);
    span.attributes.push(attribute(semconv::FLOW, &*note.flow));
    span.attributes.push(attribute(semconv::INSTANCE, note.instance.to_string()));
    span.attributes.push(attribute(semconv::ENDUSER, &*note.principal.id));
    span
}

fn of_wait(note: &FlowNote, key: &str, begun: Begun, now: u64) -> Option<Span> {
    let (what, why) = begun.waits?;
    let id = SpanId::derived(&[b"wait", note.instance.as_bytes(), key.as_bytes(), &now.to_be_bytes()]);
    let mut span = span(note, id, Some(note.trace.span), format!("wait {key}"), begun.start, now);
    span.attributes.push(attribute(semconv::WAITS_FOR, what));
    span.attributes.extend(why.map(|why| attribute("trunkline.reason", why)));
    Some(span)
}

fn of_step(note: &FlowNote, begun: Option<Begun>, now: u64) -> Option<Span> {
    let FlowEvent::Ended { key, attempt, span: id, took_us, fault } = &note.what else { return None };
    let start = begun.as_ref().map_or_else(|| now.saturating_sub(took_us * 1_000), |begun| begun.start);
    let undo = begun.as_ref().is_some_and(|begun| begun.undoes.is_some());
    let name = format!("{} {key}", if undo { "undo" } else { "step" });
    let mut span = span(note, *id, Some(note.trace.span), name, start, now);
    span.attributes.push(attribute(semconv::STEP, &**key));
    span.attributes.push(attribute(semconv::ATTEMPT, *attempt));
    if let Some(begun) = begun {
        span.attributes.push(attribute(semconv::TARGET, &*begun.target));
        span.attributes.push(attribute(semconv::GEN_AI_TOOL, &*begun.tool));
        span.attributes.extend(begun.undoes.map(|undoes| attribute(semconv::UNDOES, &*undoes)));
    }
    if let Some((fault, unknown)) = fault {
        span.status = Status::Error;
        span.attributes.push(attribute(semconv::EFFECT, if *unknown { "unknown" } else { "none" }));
        span.error = Some(fault.clone());
    }
    Some(span)
}

fn of_instance(
    note: &FlowNote,
    known: Instance,
    status: &'static str,
    fault: Option<String>,
    now: u64,
) -> Span {
    // A UUIDv7 begins with the time, for an instance that an earlier process began.
    let begun = note.instance.get_timestamp().map(|time| time.to_unix());
    let began = begun.map_or(now, |(s, ns)| s.saturating_mul(1_000_000_000) + u64::from(ns));
    let start = if known.start > 0 { known.start } else { began.min(now) };
    let mut span = span(note, note.trace.span, note.parent, format!("flow {}", note.flow), start, now);
    span.attributes.push(attribute("trunkline.flow.status", status));
    span.status = if status == "completed" { Status::Ok } else { Status::Error };
    span.error = fault.or_else(|| (status != "completed").then(|| format!("the flow is {status}")));
    span.events = known.events;
    span
}

/// Where a wait stands beside the step of the same key.
fn waiting(key: &Arc<str>) -> Arc<str> {
    Arc::from(format!("~wait {key}"))
}
