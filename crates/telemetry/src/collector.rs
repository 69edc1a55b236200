//! The thread that makes spans of what was seen, chooses what is kept, and writes it.
//!
//! A trace with an error or a slow call is kept; of the others so many a second. What belongs to a trace that is not kept
//! waits a while: should one of its later calls fail, all of it is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use trunkline_model::TraceId;

use crate::call::{CallRecord, Ending};
use crate::clock::timestamp;
use crate::exposition::Exemplar;
use crate::flow::Open;
use crate::kpis;
use crate::metrics::split;
use crate::otlp::settings::Settings;
use crate::semconv;
use crate::span::{Span, Status};
use crate::store::{Kept, Why, Writer};
use crate::{Dropped, Error, Item, Telemetry, expand};

/// About so many spans a call has: they are counted so where they are not made.
const SPANS_OF_A_CALL: u64 = 10;

/// How often the queue is looked at.
const BEAT: Duration = Duration::from_millis(100);

/// How much is taken from the queue between two writes.
const BATCH: usize = 4_096;

/// How long what is not kept waits for an error of its trace.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much waits at most.
const MAX_WAITING: usize = 20_000;

/// How many traces are known to be kept.
const MAX_KNOWN: usize = 20_000;

/// How many traces with errors, and how many slow ones, are kept a second.
const ERRORS_PER_SECOND: f64 = 200.0;

/// A slow call takes at least this, whatever its tool's calls usually take, in nanoseconds.
const LEAST_SLOW: u64 = 100_000_000;

/// Calls there have to be before a tool's own times say what is slow.
const LEAST_CALLS: u64 = 200;

/// The collector. It ends when [`Telemetry::close`] is called.
pub struct Collector {
    telemetry: Telemetry,
    writer: Option<Writer>,
    export: Option<(mpsc::Sender<Vec<Span>>, Settings)>,
    open: Open,
    kept: HashMap<TraceId, Kept>,
    order: VecDeque<TraceId>,
    waiting: HashMap<TraceId, Vec<Item>>,
    since: VecDeque<(Instant, TraceId)>,
    waits: usize,
    ordinary: Bucket,
    errors: Bucket,
    protocols: HashMap<String, Option<Arc<str>>>,
    slow: HashMap<Arc<str>, Option<u64>>,
    looked: Instant,
    batch: HashMap<TraceId, Vec<Span>>,
}

/// So many a second.
struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: f64) -> Self {
        // Who asks once in a while is not told that there were too many.
        Self { rate, tokens: rate.max(1.0) * 5.0, filled: Instant::now() }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        let grown = (now - self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + grown).min(self.rate * 5.0);
        self.filled = now;
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }
}

impl Collector {
    pub(crate) fn new(telemetry: Telemetry) -> Result<Self, Error> {
        let writer = match telemetry.store() {
            Ok(store) => Some(Writer::new(store)?),
            Err(_) => None,
        };
        let rate = f64::from(telemetry.config().traces.per_second);
        Ok(Self {
            writer,
            export: None,
            open: Open::default(),
            kept: HashMap::new(),
            order: VecDeque::new(),
            waiting: HashMap::new(),
            since: VecDeque::new(),
            waits: 0,
            ordinary: Bucket::new(rate),
            errors: Bucket::new(ERRORS_PER_SECOND),
            protocols: HashMap::new(),
            slow: HashMap::new(),
            looked: Instant::now(),
            batch: HashMap::new(),
            telemetry,
        })
    }

    /// Sends all spans of ours here, too. Those that do not fit are dropped and counted.
    pub fn export_to(&mut self, export: mpsc::Sender<Vec<Span>>, settings: Settings) {
        self.export = Some((export, settings));
    }

    /// Runs until [`Telemetry::close`] is called.
    pub fn run(mut self) {
        self.look();
        loop {
            let closed = self.telemetry.is_closed();
            let mut taken = 0;
            while taken < BATCH
                && let Some(item) = self.telemetry.pop()
            {
                self.take(item);
                taken += 1;
            }
            self.give_up();
            self.write();
            if self.looked.elapsed() > Duration::from_secs(kpis::EVERY) {
                self.look();
            }
            if taken < BATCH {
                if closed {
                    break;
                }
                std::thread::sleep(BEAT);
            }
        }
    }

    /// What is done every few seconds.
    fn look(&mut self) {
        self.looked = Instant::now();
        self.telemetry.windows().lock().look(&self.telemetry);
        self.protocols.clear();
        self.slow.clear();
        let traces = &self.telemetry.config().traces;
        let now = self.telemetry.clock().now();
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.clean(now, traces)
        {
            tracing::warn!(%error, "old traces can't be removed");
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Flow(note) => {
                let undo = self.open.undoes(&note);
                self.telemetry.metrics().noted(&note, undo);
                let sampled = note.parent.map(|_| note.trace.flags & 1 == 1);
                if let Some(span) = self.open.note(*note) {
                    self.take_spans(vec![span], sampled);
                }
            }
            Item::Received(spans) => {
                let now = self.telemetry.clock().now();
                self.telemetry.map().lock().received_at(&spans, now);
                let mut by_trace: HashMap<TraceId, Vec<Span>> = HashMap::new();
                for span in spans {
                    by_trace.entry(span.trace).or_default().push(span);
                }
                by_trace.into_values().for_each(|spans| self.take_spans(spans, None));
            }
            Item::Call(record) => self.take_call(record),
        }
    }

    fn take_call(&mut self, record: Box<CallRecord>) {
        let now = self.telemetry.clock().now();
        let why = self.why(&record);
        let trace = record.trace.trace;
        let keep = self.keep(trace, why);
        self.telemetry.map().lock().called_at(&record, now, keep);
        let sampled = record.parent.map(|_| record.trace.flags & 1 == 1);
        let export = self.room_for(trace, sampled);
        if !keep && export.is_none() {
            self.pass(trace, record);
            return;
        }
        let protocol = self.protocol(&record);
        let spans = expand::spans(&record, self.telemetry.clock(), protocol.as_deref());
        if keep {
            if let Some(export) = export {
                export.send(spans.clone());
            }
            let value = crate::metrics::histogram::seconds(record.took);
            self.telemetry.metrics().stands_for(&record, Exemplar { trace, value, time: timestamp(now) });
            self.add(trace, spans, why);
            return;
        }
        if let Some(export) = export {
            export.send(spans);
        }
        self.pass(trace, record);
    }

    /// A call that is not kept. One that began its trace is the whole of it, unless it began a flow: nothing else of it can
    /// fail.
    fn pass(&mut self, trace: TraceId, record: Box<CallRecord>) {
        let (service, _) = split(&record.target);
        if record.parent.is_none() && service != "flows" {
            self.telemetry.drop_of(Dropped::Sampled, 1);
        } else {
            self.wait(trace, Item::Call(record));
        }
    }

    /// A place among the spans that are sent, before any are made; what finds none is counted.
    fn room_for(&self, trace: TraceId, sampled: Option<bool>) -> Option<mpsc::OwnedPermit<Vec<Span>>> {
        let (export, settings) = self.export.as_ref()?;
        if !settings.sends(trace, sampled) {
            return None;
        }
        let permit = export.clone().try_reserve_owned().ok();
        if permit.is_none() {
            self.telemetry.drop_of(Dropped::Export, SPANS_OF_A_CALL);
        }
        permit
    }

    /// Spans of one trace that are whole already.
    fn take_spans(&mut self, spans: Vec<Span>, sampled: Option<bool>) {
        let Some(first) = spans.first() else { return };
        let (trace, received) = (first.trace, first.received);
        if !received && let Some(export) = self.room_for(trace, sampled) {
            export.send(spans.clone());
        }
        let error = spans.iter().any(|span| span.status == Status::Error);
        let why = if error { Why::Error } else { Why::Ordinary };
        if self.keep(trace, why) {
            self.add(trace, spans, why);
        } else {
            self.wait(trace, Item::Received(spans));
        }
    }

    /// Why a call is kept.
    fn why(&mut self, record: &CallRecord) -> Why {
        if record.ending != Ending::Done {
            return Why::Error;
        }
        let limit = self.telemetry.config().traces.slow_ms.saturating_mul(1_000_000);
        if record.took > limit {
            return Why::Slow;
        }
        if record.took > LEAST_SLOW {
            let metrics = self.telemetry.metrics();
            let target = &record.target;
            let usual = match self.slow.get(target) {
                Some(usual) => *usual,
                None => {
                    let usual = metrics.slowest(target, LEAST_CALLS);
                    self.slow.insert(target.clone(), usual);
                    usual
                }
            };
            if usual.is_some_and(|usual| record.took > usual) {
                return Why::Slow;
            }
        }
        Why::Ordinary
    }

    /// Whether a trace is kept: because it is already, for what has come now, or because there is room.
    fn keep(&mut self, trace: TraceId, why: Why) -> bool {
        if self.writer.is_none() {
            return false;
        }
        if self.kept.contains_key(&trace) {
            return true;
        }
        let keep = match why {
            Why::Ordinary => self.ordinary.take(),
            Why::Slow | Why::Error => self.errors.take(),
        };
        if keep {
            self.know(trace);
        }
        keep
    }

    /// From now on the trace is kept, with what has waited of it.
    fn know(&mut self, trace: TraceId) {
        if self.order.len() >= MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
        let known = self.writer.as_ref().and_then(|writer| writer.known(trace));
        self.kept.insert(trace, known.unwrap_or_default());
        self.order.push_back(trace);
        for item in self.waiting.remove(&trace).unwrap_or_default() {
            self.waits -= 1;
            let spans = match item {
                Item::Call(record) => {
                    let protocol = self.protocol(&record);
                    expand::spans(&record, self.telemetry.clock(), protocol.as_deref())
                }
                Item::Received(spans) => spans,
                Item::Flow(_) => continue,
            };
            self.add(trace, spans, Why::Ordinary);
        }
    }

    fn wait(&mut self, trace: TraceId, item: Item) {
        if self.writer.is_none() {
            return;
        }
        while self.waits >= MAX_WAITING
            && let Some((_, oldest)) = self.since.pop_front()
        {
            self.forget(oldest);
        }
        let items = self.waiting.entry(trace).or_default();
        if items.is_empty() {
            self.since.push_back((Instant::now(), trace));
        }
        items.push(item);
        self.waits += 1;
    }

    fn give_up(&mut self) {
        while let Some((since, trace)) = self.since.front().copied() {
            if since.elapsed() < PATIENCE {
                break;
            }
            self.since.pop_front();
            self.forget(trace);
        }
    }

    fn forget(&mut self, trace: TraceId) {
        let Some(items) = self.waiting.remove(&trace) else { return };
        self.waits -= items.len();
        self.telemetry.drop_of(Dropped::Sampled, items.len() as u64);
    }

    /// The protocol of a call's service, as it was when it was last asked for.
    fn protocol(&mut self, record: &CallRecord) -> Option<Arc<str>> {
        let (service, _) = split(&record.target);
        if let Some(known) = self.protocols.get(service) {
            return known.clone();
        }
        let protocol = self.telemetry.around().and_then(|around| around.protocol(service)).map(Arc::from);
        self.protocols.insert(service.to_owned(), protocol.clone());
        protocol
    }

    fn add(&mut self, trace: TraceId, spans: Vec<Span>, why: Why) {
        let kept = self.kept.entry(trace).or_default();
        kept.why = kept.why.max(why);
        for span in &spans {
            kept.add(span);
        }
        self.batch.entry(trace).or_default().extend(spans);
    }

    fn write(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let count = batch.values().map(Vec::len).sum::<usize>();
        if let Err(error) = writer.write(batch, &mut self.kept) {
            tracing::warn!(%error, "spans could not be kept");
            self.telemetry.drop_of(Dropped::Store, count as u64);
        }
    }
}

/// The services and principals that a trace tells of.
impl Kept {
    fn add(&mut self, span: &Span) {
        if self.start == 0 || span.start < self.start {
            self.start = span.start;
            self.name.clone_from(&span.name);
        }
        self.end = self.end.max(span.end);
        self.spans += 1;
        if span.status == Status::Error {
            self.why = self.why.max(Why::Error);
            // The innermost error says most: it is told first, before those of its callers.
            if self.error.is_none() {
                self.error = span.error.clone().or_else(|| Some(span.name.clone()));
            }
        }
        let mut put = |set: fn(&mut Self) -> &mut std::collections::BTreeSet<String>, value: Option<&str>| {
            let set = set(self);
            if let Some(value) = value
                && set.len() < 32
                && !set.contains(value)
            {
                set.insert(value.chars().take(128).collect());
            }
        };
        put(|kept| &mut kept.services, Some(&span.service).filter(|_| span.received).map(|name| &**name));
        put(|kept| &mut kept.services, span.text("trunkline.service"));
        put(|kept| &mut kept.targets, span.text(semconv::TARGET));
        put(|kept| &mut kept.principals, span.text(semconv::ENDUSER));
        put(|kept| &mut kept.doors, span.text(semconv::DOOR));
        put(|kept| &mut kept.instances, span.text(semconv::INSTANCE));
    }
}
