//! The five figures that the specification names, over the last minutes and since the start.

use std::collections::VecDeque;

use serde::Serialize;

use crate::Telemetry;
use crate::metrics::histogram::{Counts, as_float};
use crate::metrics::{KPIS, Kpi};

/// How many looks are remembered: one every ten seconds, five minutes.
const LOOKS: usize = 30;

/// How far apart looks are, in seconds.
pub(crate) const EVERY: u64 = 10;

/// What the histograms held at past moments.
#[derive(Default)]
pub struct Windows(VecDeque<[Counts; KPIS.len()]>);

impl Windows {
    pub(crate) fn look(&mut self, telemetry: &Telemetry) {
        if self.0.len() > LOOKS {
            self.0.pop_front();
        }
        self.0.push_back(KPIS.map(|(kpi, ..)| telemetry.metrics().kpi(kpi).counts()));
    }
}

/// One of the five figures.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// What it is called in the specification.
    pub title: &'static str,
    /// What is measured.
    pub measured: &'static str,
    /// The most that it may be, in milliseconds.
    pub target_ms: f64,
    /// Whether 99 of 100 of the last five minutes are within that; none where there were none.
    pub met: Option<bool>,
    /// Over the last five minutes.
    pub recent: Times,
    /// Since the start.
    pub all: Times,
}

/// How long things took.
#[derive(Clone, Debug, Serialize)]
pub struct Times {
    /// How many there were.
    pub count: u64,
    /// Their mean, in milliseconds.
    pub mean_ms: Option<f64>,
    /// Half of them ended within this, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95 of 100.
    pub p95_ms: Option<f64>,
    /// 99 of 100.
    pub p99_ms: Option<f64>,
    /// The share that was within the target.
    pub within_target: Option<f64>,
}

impl Times {
    /// What a histogram says.
    #[must_use]
    pub fn of(counts: &Counts, target: f64) -> Self {
        let ms = |share: f64| counts.quantile(share).map(|time| time * 1e3);
        let count = counts.count();
        Self {
            count,
            mean_ms: (count > 0).then(|| counts.sum() * 1e3 / as_float(count)),
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
            within_target: counts.share_within(target),
        }
    }
}

fn words(kpi: Kpi) -> (&'static str, &'static str) {
    match kpi {
        Kpi::ToolCoordination => (
            "Tool Coordination Latency",
            "what Trunkline itself takes of a call: all of it but its attempts at the service and the caller's answers",
        ),
        Kpi::GatewayResponse => {
            ("API Gateway Response Time", "a whole call by the doors of MCP and HTTP, its service included")
        }
        Kpi::ServiceDiscovery => (
            "Service Discovery Time",
            "finding services and tools by what they can do: /v1/discover, /v1/search, the tool for it",
        ),
        Kpi::DataTransformation => {
            ("Data Transformation Time", "the phase shape: a result is made to fit its caller")
        }
        Kpi::EventProcessing => (
            "Event Processing Latency",
            "from the moment an event that is waited for is given to the log until it is durable and can be followed",
        ),
    }
}

/// The five figures.
#[must_use]
pub fn figures(telemetry: &Telemetry) -> Vec<Figure> {
    let before = telemetry.windows().lock().0.front().copied().unwrap_or_default();
    KPIS.iter()
        .map(|(kpi, name, target)| {
            let all = telemetry.metrics().kpi(*kpi).counts();
            let recent = Times::of(&all.since(&before[*kpi as usize]), *target);
            let (title, measured) = words(*kpi);
            Figure {
                name,
                title,
                measured,
                target_ms: target * 1e3,
                met: recent.within_target.map(|share| share >= 0.99),
                all: Times::of(&all, *target),
                recent,
            }
        })
        .collect()
}
