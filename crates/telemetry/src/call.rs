//! What is seen of one call while it runs. This is on the way of every call: a few readings of the clock, one allocation
//! to keep them in, and no locks that anyone else wants.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use trunkline_model::{
    CallContext, Failure, Json, Outcome, Principal, SpanId, TraceContext, TraceId, TraceParent,
};
use uuid::Uuid;

use crate::{Item, Telemetry};

/// A phase of the pipeline. It ends when it is [marked](CallTrace::mark), and begins where the one before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What the name stands for.
    Resolve,
    /// Whether the principal may.
    Authorize,
    /// Whether the arguments fit.
    Plan,
    /// Whether the limits allow it.
    Limit,
    /// The beginning goes to the record.
    Begin,
    /// The tool runs, or what was kept is given.
    Execute,
    /// The result is made to fit.
    Shape,
    /// The outcome goes to the record.
    Record,
}

/// All phases in their order.
pub const PHASES: [(Phase, &str); 8] = [
    (Phase::Resolve, "resolve"),
    (Phase::Authorize, "authorize"),
    (Phase::Plan, "plan"),
    (Phase::Limit, "limit"),
    (Phase::Begin, "begin"),
    (Phase::Execute, "execute"),
    (Phase::Shape, "shape"),
    (Phase::Record, "record"),
];

/// What a call, or an attempt at one, came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It was answered.
    Done,
    /// The tool answered with an error of its own.
    ToolError,
    /// It failed.
    Failed,
    /// It was refused before it began.
    Refused,
    /// Its caller went away, or nobody needed it any longer.
    Cancelled,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Done, Self::ToolError, Self::Failed, Self::Refused, Self::Cancelled];

    /// What it is called in metrics and spans.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::ToolError => "tool_error",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    /// What an outcome is.
    #[must_use]
    pub fn of(outcome: &Result<Outcome, Failure>) -> Self {
        match outcome {
            Ok(Outcome::Complete(result)) if result.is_error => Self::ToolError,
            Ok(_) => Self::Done,
            Err(_) => Self::Failed,
        }
    }
}

/// One attempt at a call.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its span.
    pub span: SpanId,
    /// When it began, in nanoseconds after the call did.
    pub start: u64,
    /// When it ended; none where nobody waited for that.
    pub end: Option<u64>,
    /// What it came to.
    pub ending: Ending,
    /// The code of its failure.
    pub code: Option<&'static str>,
}

/// All that was seen of a call.
#[derive(Debug)]
pub struct CallRecord {
    /// The trace, and the call's own span.
    pub trace: TraceParent,
    /// The span that it is a child of.
    pub parent: Option<SpanId>,
    /// The identity of the call.
    pub call: Uuid,
    /// The door.
    pub door: &'static str,
    /// The MCP method.
    pub method: &'static str,
    /// `service/tool`, or the name that was asked for where that is nothing.
    pub target: Arc<str>,
    /// Whether the target is known.
    pub known: bool,
    /// Who called.
    pub principal: Arc<Principal>,
    /// The conversation.
    pub conversation: Option<Arc<str>>,
    /// When it began.
    pub began: Instant,
    /// When each phase ended, in nanoseconds after the beginning; 0 where it did not come to it.
    pub marks: [u64; PHASES.len()],
    /// How long it took in all, in nanoseconds.
    pub took: u64,
    /// The attempts.
    pub attempts: Mutex<Vec<Attempt>>,
    /// What it came to.
    pub ending: Ending,
    /// Its failure.
    pub failure: Option<Box<Failure>>,
    /// How the cache served it.
    pub cache: Option<&'static str>,
    /// The bytes of its answer.
    pub bytes: usize,
    /// Its arguments and its answer, where they are kept.
    pub arguments: Option<Json>,
    /// See `arguments`.
    pub result: Option<Json>,
}

/// What is seen of one call while it runs; nothing where telemetry is off.
pub struct CallTrace(Option<Box<CallRecord>>);

/// What a call is, beside its trace.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// The identity of the call.
    pub call: Uuid,
    /// The door.
    pub door: &'static str,
    /// The MCP method.
    pub method: &'static str,
    /// The name that is asked for.
    pub name: &'a Arc<str>,
}

impl CallTrace {
    /// A call has come. The context gets the call's own span, so that what follows is a child of it.
    #[must_use]
    pub fn begin(telemetry: &Telemetry, about: About<'_>, context: &mut CallContext) -> Self {
        if !telemetry.is_on() {
            return Self(None);
        }
        let incoming = context.trace.traceparent.as_deref().and_then(TraceParent::parse);
        let span = span_of(about.call, telemetry.clock().now());
        let (trace, parent) = match incoming {
            Some(parent) => (parent.at(span), Some(parent.span)),
            None => {
                // What belongs to a trace that can't be read belongs to none.
                context.trace =
                    TraceContext { baggage: context.trace.baggage.take(), ..TraceContext::default() };
                let trace = TraceId::new(about.call.into_bytes()).or_else(|| TraceId::new([1; 16]));
                let Some(trace) = trace else { return Self(None) };
                (TraceParent { trace, span, flags: 1 }, None)
            }
        };
        context.trace.traceparent = Some(trace.header());
        telemetry.metrics().entered(about.door);
        Self(Some(Box::new(CallRecord {
            trace,
            parent,
            call: about.call,
            door: about.door,
            method: about.method,
            target: about.name.clone(),
            known: false,
            principal: context.principal.clone(),
            conversation: context.conversation.clone(),
            began: Instant::now(),
            marks: [0; PHASES.len()],
            took: 0,
            attempts: Mutex::default(),
            ending: Ending::Cancelled,
            failure: None,
            cache: None,
            bytes: 0,
            arguments: None,
            result: None,
        })))
    }

    /// A call that nothing is seen of.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// A phase has ended.
    pub fn mark(&mut self, phase: Phase) {
        if let Some(record) = &mut self.0 {
            record.marks[phase as usize] = elapsed(record.began).max(1);
        }
    }

    /// What the name stands for, once that is known.
    pub fn aims_at(&mut self, target: &Arc<str>) {
        if let Some(record) = &mut self.0 {
            record.target = target.clone();
            record.known = true;
        }
    }

    /// The arguments, where they are kept.
    pub fn asks(&mut self, telemetry: &Telemetry, arguments: &Json) {
        if let Some(record) = &mut self.0
            && telemetry.keeps_arguments()
        {
            record.arguments = Some(arguments.clone());
        }
    }

    /// An attempt begins. Gives the context that it goes out with: what the service does is a child of the attempt.
    #[must_use]
    pub fn attempt(&self, context: &CallContext) -> Option<(Attempted<'_>, CallContext)> {
        let record = self.0.as_deref()?;
        let start = elapsed(record.began);
        let mut attempts = record.attempts.lock();
        let index = attempts.len();
        let span = record.trace.span.child(u16::try_from(index + PHASES.len()).unwrap_or(u16::MAX));
        attempts.push(Attempt { span, start, end: None, ending: Ending::Cancelled, code: None });
        drop(attempts);
        let mut context = context.clone();
        context.trace.traceparent = Some(record.trace.at(span).header());
        Some((Attempted { record, index }, context))
    }

    /// The call has ended.
    pub fn end(
        self,
        telemetry: &Telemetry,
        outcome: &Result<Outcome, Failure>,
        waited: Duration,
        durable: bool,
    ) {
        let Some(mut record) = self.0 else { return };
        record.took = elapsed(record.began);
        record.ending = Ending::of(outcome);
        match outcome {
            Ok(Outcome::Complete(result)) => {
                let served = result.freshness.as_ref().and_then(|freshness| freshness.served);
                record.cache = served.map(|served| served.state.name());
                record.bytes = result.body.len();
                record.result = telemetry.keeps_results().then(|| result.body.clone());
            }
            Ok(_) => {}
            Err(failure) => record.failure = Some(Box::new(failure.clone())),
        }
        telemetry.metrics().ended(&record, waited, durable);
        telemetry.push(Item::Call(record));
    }

    /// The call was refused before anything was done.
    pub fn refused(self, telemetry: &Telemetry, failure: &Failure) {
        let Some(mut record) = self.0 else { return };
        record.took = elapsed(record.began);
        record.ending = Ending::Refused;
        record.failure = Some(Box::new(failure.clone()));
        telemetry.metrics().ended(&record, Duration::ZERO, false);
        telemetry.push(Item::Call(record));
    }

    /// The caller has gone away or cancelled the call.
    pub fn cancelled(&mut self, telemetry: &Telemetry) {
        let Some(mut record) = self.0.take() else { return };
        record.took = elapsed(record.began);
        record.ending = Ending::Cancelled;
        telemetry.metrics().ended(&record, Duration::ZERO, false);
        telemetry.push(Item::Call(record));
    }

    /// The call goes on in another process: nothing is said of it here.
    pub fn left(&mut self, telemetry: &Telemetry) {
        if let Some(record) = self.0.take() {
            telemetry.metrics().left(record.door);
        }
    }

    /// The same, to be told once.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self(self.0.take())
    }
}

/// An attempt that runs.
pub struct Attempted<'a> {
    record: &'a CallRecord,
    index: usize,
}

impl Attempted<'_> {
    /// It has come to this.
    pub fn ended(self, telemetry: &Telemetry, outcome: &Result<Outcome, Failure>) {
        let end = elapsed(self.record.began);
        let mut attempts = self.record.attempts.lock();
        let Some(attempt) = attempts.get_mut(self.index) else { return };
        attempt.end = Some(end);
        attempt.ending = Ending::of(outcome);
        attempt.code = outcome.as_ref().err().map(|failure| failure.code);
        let (ending, took) = (attempt.ending, end.saturating_sub(attempt.start));
        drop(attempts);
        telemetry.metrics().attempted(&self.record.target, ending, took);
    }
}

/// The span of a call: the lower half of its identity, which is chance, and the time: a call that asked its caller comes
/// again under the same identity.
fn span_of(call: Uuid, now: u64) -> SpanId {
    let (_, low) = call.as_u64_pair();
    let mixed = low ^ now.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    SpanId::new(mixed.to_be_bytes()).unwrap_or_else(|| SpanId::derived(&[b"call"]))
}

fn elapsed(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl CallRecord {
    /// The time that services had it, in nanoseconds: that of its attempts, each moment once.
    #[must_use]
    pub fn outside(&self) -> u64 {
        let attempts = self.attempts.lock();
        let (mut sum, mut reached) = (0, 0);
        for attempt in attempts.iter() {
            let end = attempt.end.unwrap_or(self.took);
            let start = attempt.start.max(reached);
            sum += end.saturating_sub(start);
            reached = reached.max(end);
        }
        sum
    }

    /// How long a phase took, in nanoseconds; none where the call did not come to it.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> Option<(u64, u64)> {
        let index = phase as usize;
        let end = *self.marks.get(index).filter(|mark| **mark > 0)?;
        let start = self.marks[..index].iter().copied().max().unwrap_or(0);
        Some((start, end.max(start)))
    }
}
