//! The handle that everything else holds.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::Error;
use crate::alerts::Board;
use crate::call::CallRecord;
use crate::clock::Clock;
use crate::collector::Collector;
use crate::config::Config;
use crate::exposition::{Family, Kind};
use crate::flow::FlowNote;
use crate::kpis::Windows;
use crate::map::Map;
use crate::metrics::histogram::as_float;
use crate::metrics::{Kpi, Metrics};
use crate::span::Span;
use crate::store::Store;
use crate::surroundings::{ServiceFacts, Surroundings};

/// How much may wait for the collector.
const QUEUE: usize = 1 << 15;

/// What was seen of something.
#[derive(Debug)]
pub enum Item {
    /// A call that has ended.
    Call(Box<CallRecord>),
    /// A flow.
    Flow(Box<FlowNote>),
    /// Spans that were received.
    Received(Vec<Span>),
}

/// Why something was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The collector did not keep up.
    Queue,
    /// It is an ordinary trace beyond those that are kept.
    Sampled,
    /// The store took it not.
    Store,
    /// The receiver of spans did not keep up, or is not there.
    Export,
}

const REASONS: [(Dropped, &str); 4] = [
    (Dropped::Queue, "queue"),
    (Dropped::Sampled, "sampled"),
    (Dropped::Store, "store"),
    (Dropped::Export, "export"),
];

/// The handle. Cloning is cheap.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    on: bool,
    config: Config,
    clock: Clock,
    metrics: Metrics,
    queue: ArrayQueue<Item>,
    dropped: [AtomicU64; REASONS.len()],
    exported: AtomicU64,
    closed: AtomicBool,
    around: OnceLock<Weak<dyn Surroundings>>,
    store: Option<Store>,
    map: Mutex<Map>,
    windows: Mutex<Windows>,
    board: Mutex<Board>,
}

impl Telemetry {
    /// Telemetry that sees nothing.
    #[must_use]
    pub fn off() -> Self {
        let config = Config { enabled: false, ..Config::default() };
        Self::with(config, Timestamp::UNIX_EPOCH, None)
    }

    /// Telemetry, and the collector that is to run on a thread of its own. `file` is where traces are kept.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn new(config: Config, now: Timestamp, file: Option<PathBuf>) -> Result<(Self, Collector), Error> {
        let store = file.map(|file| Store::open(&file)).transpose()?;
        let telemetry = Self::with(config, now, store);
        let collector = Collector::new(telemetry.clone())?;
        Ok((telemetry, collector))
    }

    fn with(config: Config, now: Timestamp, store: Option<Store>) -> Self {
        let capacity = if config.enabled { QUEUE } else { 1 };
        Self(Arc::new(Inner {
            on: config.enabled,
            clock: Clock::new(now),
            metrics: Metrics::new(config.metrics.max_tools),
            queue: ArrayQueue::new(capacity),
            dropped: Default::default(),
            exported: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            around: OnceLock::new(),
            store,
            map: Mutex::default(),
            windows: Mutex::default(),
            board: Mutex::default(),
            config,
        }))
    }

    /// Whether anything is seen at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.on
    }

    /// Says who stands around. Once.
    pub fn surround(&self, around: Weak<dyn Surroundings>) {
        // A second one would be a defect of the wiring; the first stays.
        let _ = self.0.around.set(around);
    }

    /// How it is configured.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The traces that are kept.
    ///
    /// # Errors
    /// [`Error::Off`].
    pub fn store(&self) -> Result<&Store, Error> {
        self.0.store.as_ref().ok_or(Error::Off)
    }

    /// Whether arguments are kept.
    #[must_use]
    pub fn keeps_arguments(&self) -> bool {
        self.0.config.traces.arguments
    }

    /// Whether results are kept.
    #[must_use]
    pub fn keeps_results(&self) -> bool {
        self.0.config.traces.results
    }

    /// A figure of the specification has come to this.
    pub fn took(&self, kpi: Kpi, time: Duration) {
        if self.0.on {
            self.0.metrics.kpi(kpi).record(time);
        }
    }

    /// Leaves something for the collector. Never waits: what does not fit is dropped and counted. Tells whether it fit.
    pub fn push(&self, item: Item) -> bool {
        let taken = self.0.on && self.0.queue.push(item).is_ok();
        if !taken {
            self.drop_of(Dropped::Queue, 1);
        }
        taken
    }

    /// Whether the queue is nearly full.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.0.queue.len() > QUEUE / 2
    }

    pub(crate) fn pop(&self) -> Option<Item> {
        self.0.queue.pop()
    }

    /// So many were dropped.
    pub fn drop_of(&self, reason: Dropped, count: u64) {
        self.0.dropped[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// So many spans were sent.
    pub fn sent(&self, count: u64) {
        self.0.exported.fetch_add(count, Ordering::Relaxed);
    }

    /// No more comes: the collector writes what there is, and ends.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// The service map, for those that look and for the collector.
    pub(crate) fn map(&self) -> &Mutex<Map> {
        &self.0.map
    }

    /// The alerts as they are now.
    #[must_use]
    pub fn board(&self) -> &Mutex<Board> {
        &self.0.board
    }

    pub(crate) fn windows(&self) -> &Mutex<Windows> {
        &self.0.windows
    }

    /// Who stands around, where they are still there.
    #[must_use]
    pub fn around(&self) -> Option<Arc<dyn Surroundings>> {
        self.0.around.get()?.upgrade()
    }

    /// The services.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceFacts> {
        self.around().map(|around| around.services()).unwrap_or_default()
    }

    /// Everything that is counted.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let around = self.around();
        let is_mcp = |service: &str| {
            around
                .as_ref()
                .and_then(|around| around.protocol(service))
                .is_some_and(|name| name.starts_with("mcp"))
        };
        let mut families = self.0.metrics.families(&is_mcp);
        let mut dropped = Family::new(
            "trunkline_telemetry_dropped",
            Kind::Counter,
            "Calls and spans that are in no trace, by the reason.",
        );
        for ((_, reason), count) in REASONS.iter().zip(&self.0.dropped) {
            dropped.put(vec![("reason", Arc::from(*reason))], as_float(count.load(Ordering::Relaxed)));
        }
        let mut queue = Family::new(
            "trunkline_telemetry_queue",
            Kind::Gauge,
            "Calls and spans that wait for the collector.",
        );
        queue.put(Vec::new(), as_float(self.0.queue.len() as u64));
        let mut sent = Family::new(
            "trunkline_telemetry_exported_spans",
            Kind::Counter,
            "Spans that a receiver of OTLP has taken.",
        );
        sent.put(Vec::new(), as_float(self.0.exported.load(Ordering::Relaxed)));
        families.extend([dropped, queue, sent]);
        families.extend(around.map(|around| around.families()).unwrap_or_default());
        families
    }
}
