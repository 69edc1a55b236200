//! What is counted of calls: by tool, service and door, and the five figures that the specification names.

mod families;
pub mod histogram;
mod series;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::call::{CallRecord, Ending, Phase};
use crate::exposition::Exemplar;
use crate::flow::{FlowEvent, FlowNote};
pub use histogram::Histogram;
use histogram::{BUCKETS, Counts};
pub use series::{Bounded, OTHER};

/// The doors, in the order of the series.
pub const DOORS: [&str; 5] = ["mcp", "stdio", "http", "flow", "cache"];

/// The target of what is asked for and is nothing.
const UNKNOWN: &str = "unknown";

/// A figure that the specification names, with the most it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kpi {
    /// What Trunkline itself takes of a call: all of it but the attempts at its service.
    ToolCoordination,
    /// A whole call, from its door to its answer.
    GatewayResponse,
    /// Finding services and tools by what they can do.
    ServiceDiscovery,
    /// Turning a result into the form that its caller wants.
    DataTransformation,
    /// From the moment that an event is given to the log until it is durable and can be followed.
    EventProcessing,
}

/// The five figures: what they are called, and the most they may be in seconds.
pub const KPIS: [(Kpi, &str, f64); 5] = [
    (Kpi::ToolCoordination, "tool_coordination", 0.1),
    (Kpi::GatewayResponse, "gateway_response", 0.2),
    (Kpi::ServiceDiscovery, "service_discovery", 0.05),
    (Kpi::DataTransformation, "data_transformation", 0.5),
    (Kpi::EventProcessing, "event_processing", 0.01),
];

/// Times by what calls came to, each made when it is first needed.
#[derive(Default)]
pub struct ByEnding([OnceLock<Box<Histogram>>; Ending::ALL.len()]);

impl ByEnding {
    fn record(&self, ending: Ending, ns: u64) {
        self.0[ending as usize].get_or_init(Box::default).record_ns(ns);
    }

    /// What was counted for an ending; none where there was nothing.
    #[must_use]
    pub fn counts(&self, ending: Ending) -> Option<Counts> {
        self.0[ending as usize].get().map(|histogram| histogram.counts())
    }

    /// What was counted for all.
    #[must_use]
    pub fn all(&self) -> Counts {
        let mut counts = Counts::default();
        self.0.iter().filter_map(OnceLock::get).for_each(|histogram| counts.add(&histogram.counts()));
        counts
    }
}

/// The calls of one tool by one door.
#[derive(Default)]
pub struct CallSeries {
    /// How long they took.
    pub times: ByEnding,
    /// The MCP method of the last one.
    method: OnceLock<&'static str>,
    exemplars: Mutex<Box<[Option<Exemplar>; BUCKETS]>>,
}

/// The attempts at one tool.
#[derive(Default)]
pub struct AttemptSeries {
    /// How long they took.
    pub times: ByEnding,
}

/// What is counted.
pub struct Metrics {
    calls: [Bounded<CallSeries>; DOORS.len()],
    attempts: Bounded<AttemptSeries>,
    /// Failures by service and code.
    failures: Bounded<AtomicU64>,
    /// Answers by service and how the cache served them.
    cached: Bounded<AtomicU64>,
    /// Ended flows by their name and how they ended.
    flows: Bounded<AtomicU64>,
    /// Attempts at steps by what they came to.
    steps: Bounded<AtomicU64>,
    in_flight: [AtomicI64; DOORS.len()],
    kpis: [Histogram; KPIS.len()],
    sessions: Histogram,
}

impl Metrics {
    /// At most so many tools for each door.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            calls: std::array::from_fn(|_| Bounded::new(most)),
            attempts: Bounded::new(most),
            failures: Bounded::new(most),
            cached: Bounded::new(most),
            flows: Bounded::new(most),
            steps: Bounded::new(most),
            in_flight: Default::default(),
            kpis: Default::default(),
            sessions: Histogram::default(),
        }
    }

    pub(crate) fn entered(&self, door: &str) {
        self.in_flight[index(door)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn left(&self, door: &str) {
        self.in_flight[index(door)].fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, record: &CallRecord, waited: Duration, durable: bool) {
        self.left(record.door);
        let series = self.calls[index(record.door)].of(&target(record));
        series.times.record(record.ending, record.took);
        let _ = series.method.get_or_init(|| record.method);
        if let Some(failure) = &record.failure {
            let (service, _) = split(&record.target);
            let service = if record.known { service } else { UNKNOWN };
            add(&self.failures, service, failure.code);
        }
        if let Some(state) = record.cache {
            let (service, _) = split(&record.target);
            add(&self.cached, service, state);
        }
        if matches!(record.ending, Ending::Refused | Ending::Cancelled) {
            return;
        }
        let waited = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        let own = record.took.saturating_sub(record.outside()).saturating_sub(waited);
        self.kpi(Kpi::ToolCoordination).record_ns(own);
        if matches!(record.door, "mcp" | "stdio" | "http") {
            self.kpi(Kpi::GatewayResponse).record_ns(record.took.saturating_sub(waited));
        }
        if let Some((start, end)) = record.phase(Phase::Shape) {
            self.kpi(Kpi::DataTransformation).record_ns(end - start);
        }
        if let (true, Some((start, end))) = (durable, record.phase(Phase::Record)) {
            self.kpi(Kpi::EventProcessing).record_ns(end - start);
        }
    }

    pub(crate) fn attempted(&self, target: &Arc<str>, ending: Ending, took: u64) {
        self.attempts.of(target).times.record(ending, took);
    }

    /// A figure of the specification.
    #[must_use]
    pub fn kpi(&self, kpi: Kpi) -> &Histogram {
        &self.kpis[kpi as usize]
    }

    /// An MCP session has ended after this time.
    pub fn session_ended(&self, took: Duration) {
        self.sessions.record(took);
    }

    /// Something has happened to a flow.
    pub(crate) fn noted(&self, note: &FlowNote, undo: bool) {
        match &note.what {
            FlowEvent::Ended { fault, .. } => {
                let came = match fault {
                    None => "done",
                    Some((_, true)) => "unknown",
                    Some((_, false)) => "refused",
                };
                add(&self.steps, if undo { "undo" } else { "step" }, came);
            }
            FlowEvent::Finished { status, .. } => add(&self.flows, &note.flow, status),
            _ => {}
        }
    }

    /// A call whose trace is kept stands for those in its bucket.
    pub(crate) fn stands_for(&self, record: &CallRecord, exemplar: Exemplar) {
        if let Some(series) = self.calls[index(record.door)].get(&target(record)) {
            series.exemplars.lock()[histogram::bucket(record.took)] = Some(exemplar);
        }
    }

    /// The calls of a tool over all doors: by what they came to.
    #[must_use]
    pub fn of_target(&self, target: &str) -> [Counts; Ending::ALL.len()] {
        let mut all = [Counts::default(); Ending::ALL.len()];
        for series in self.calls.iter().filter_map(|door| door.get(target)) {
            for ending in Ending::ALL {
                if let Some(counts) = series.times.counts(ending) {
                    all[ending as usize].add(&counts);
                }
            }
        }
        all
    }

    /// The time within which 99 of 100 calls of a tool ended, in nanoseconds, where there were enough to say so.
    pub(crate) fn slowest(&self, target: &str, least: u64) -> Option<u64> {
        let mut all = Counts::default();
        self.of_target(target).iter().for_each(|counts| all.add(counts));
        let p99 = (all.count() >= least).then(|| all.quantile(0.99)).flatten()?;
        u64::try_from(Duration::try_from_secs_f64(p99).ok()?.as_nanos()).ok()
    }
}

/// Counts one under two words.
fn add(tallies: &Bounded<AtomicU64>, first: &str, second: &str) {
    tallies.of(&Arc::from(format!("{first} {second}"))).fetch_add(1, Ordering::Relaxed);
}

/// The series of a door.
fn index(door: &str) -> usize {
    DOORS.iter().position(|known| *known == door).unwrap_or(DOORS.len() - 1)
}

/// What a call counts for: what is asked for and is nothing counts together, or callers could make series.
fn target(record: &CallRecord) -> Arc<str> {
    static NOTHING: OnceLock<Arc<str>> = OnceLock::new();
    if record.known && record.method == "tools/call" {
        return record.target.clone();
    }
    if record.known {
        // Resources are named by callers: they count for their service and method.
        let (service, _) = split(&record.target);
        return Arc::from(format!("{service}/{}", record.method));
    }
    NOTHING.get_or_init(|| Arc::from(UNKNOWN)).clone()
}

/// The service and the tool of a target.
#[must_use]
pub fn split(target: &str) -> (&str, &str) {
    target.split_once('/').unwrap_or((target, target))
}
