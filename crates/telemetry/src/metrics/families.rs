//! What is counted, as families of samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::{BOUNDS, BUCKETS, as_float};
use super::{Bounded, CallSeries, DOORS, KPIS, Metrics, split};
use crate::call::Ending;
use crate::exposition::{Family, Kind, Labels};
use crate::semconv;

impl Metrics {
    /// All of it. `is_mcp` tells whether a service speaks MCP.
    #[must_use]
    pub fn families(&self, is_mcp: &dyn Fn(&str) -> bool) -> Vec<Family> {
        let mut families = self.of_calls();
        families.extend(self.of_attempts(is_mcp));
        families.push(self.of_mcp_doors());
        families.extend(self.of_tallies());
        let mut running = Family::new("trunkline_calls_in_flight", Kind::Gauge, "Calls that run, by door.");
        for (door, count) in DOORS.iter().zip(&self.in_flight) {
            let count = u64::try_from(count.load(Ordering::Relaxed)).unwrap_or(0);
            running.put(vec![("door", Arc::from(*door))], as_float(count));
        }
        families.push(running);
        let mut sessions = Family::new(
            "mcp_server_session_duration_seconds",
            Kind::Histogram,
            "How long MCP sessions of clients lasted.",
        );
        sessions.put_histogram(&Vec::new(), &self.sessions.counts(), &semconv::MCP_BOUNDS, &[]);
        families.push(sessions);
        families.extend(self.of_kpis());
        families
    }

    fn of_calls(&self) -> Vec<Family> {
        let mut totals =
            Family::new("trunkline_calls", Kind::Counter, "Calls that have ended, by what they came to.");
        let mut times = Family::new(
            "trunkline_call_duration_seconds",
            Kind::Histogram,
            "How long calls took, from the door's decoding to its answer.",
        );
        for (door, series) in DOORS.iter().zip(&self.calls) {
            for (label, series) in series.all() {
                let labels = labels_of(door, &label);
                for ending in Ending::ALL {
                    if let Some(counts) = series.times.counts(ending) {
                        let mut labels = labels.clone();
                        labels.push(("outcome", Arc::from(ending.name())));
                        totals.put(labels, as_float(counts.count()));
                    }
                }
                let exemplars = *series.exemplars.lock().clone();
                times.put_histogram(&labels, &series.times.all(), &BOUNDS, &exemplars);
            }
        }
        vec![totals, times]
    }

    fn of_attempts(&self, is_mcp: &dyn Fn(&str) -> bool) -> Vec<Family> {
        let mut totals = Family::new(
            "trunkline_attempts",
            Kind::Counter,
            "Attempts at services, by what they came to: a call that is made again has several.",
        );
        let mut times = Family::new(
            "trunkline_attempt_duration_seconds",
            Kind::Histogram,
            "How long services took for an attempt.",
        );
        let mut client = Family::new(
            "mcp_client_operation_duration_seconds",
            Kind::Histogram,
            "How long MCP servers took for a request.",
        );
        for (label, series) in self.attempts.all() {
            let (service, tool) = split(&label);
            let labels: Labels = vec![("service", Arc::from(service)), ("tool", Arc::from(tool))];
            for ending in Ending::ALL {
                let Some(counts) = series.times.counts(ending) else { continue };
                let mut with = labels.clone();
                with.push(("outcome", Arc::from(ending.name())));
                totals.put(with, as_float(counts.count()));
                if is_mcp(service) {
                    let labels = of_operation("tools/call", tool, ending, Some(service));
                    client.put_histogram(&labels, &counts, &semconv::MCP_BOUNDS, &[]);
                }
            }
            times.put_histogram(&labels, &series.times.all(), &BOUNDS, &[]);
        }
        merge(&mut client);
        vec![totals, times, client]
    }

    fn of_mcp_doors(&self) -> Family {
        let mut family = Family::new(
            "mcp_server_operation_duration_seconds",
            Kind::Histogram,
            "How long requests of MCP clients took.",
        );
        // The doors of MCP come first.
        for series in &self.calls[..2] {
            for (label, series) in series.all() {
                let series: &CallSeries = &series;
                let method = series.method.get().copied().unwrap_or("tools/call");
                for ending in Ending::ALL {
                    let Some(counts) = series.times.counts(ending) else { continue };
                    let labels = of_operation(method, &label, ending, None);
                    family.put_histogram(&labels, &counts, &semconv::MCP_BOUNDS, &[]);
                }
            }
        }
        merge(&mut family);
        family
    }

    fn of_tallies(&self) -> [Family; 4] {
        let of = |tallies: &Bounded<AtomicU64>, name, help, first, second| {
            let mut family = Family::new(name, Kind::Counter, help);
            for (label, count) in tallies.all() {
                let (one, other) = label.rsplit_once(' ').unwrap_or((&label, &label));
                let labels = vec![(first, Arc::from(one)), (second, Arc::from(other))];
                family.put(labels, as_float(count.load(Ordering::Relaxed)));
            }
            family
        };
        let failures = "Calls that failed or were refused, by the code of the failure.";
        let cached = "Answers to calls that the cache may keep, by how they were served.";
        let flows = "Instances of flows that have ended, by how.";
        let steps = "Attempts at steps and undos of flows, by what they came to.";
        [
            of(&self.failures, "trunkline_call_failures", failures, "service", "code"),
            of(&self.cached, "trunkline_cache_answers", cached, "service", "state"),
            of(&self.flows, "trunkline_flows_ended", flows, "flow", "status"),
            of(&self.steps, "trunkline_flow_steps", steps, "kind", "outcome"),
        ]
    }

    fn of_kpis(&self) -> Vec<Family> {
        let mut times = Family::new(
            "trunkline_kpi_seconds",
            Kind::Histogram,
            "The five figures that the specification names.",
        );
        let mut targets = Family::new(
            "trunkline_kpi_target_seconds",
            Kind::Gauge,
            "The most that each of the five may be.",
        );
        for (kpi, name, target) in KPIS {
            let labels: Labels = vec![("kpi", Arc::from(name))];
            times.put_histogram(&labels, &self.kpi(kpi).counts(), &BOUNDS, &[None; BUCKETS]);
            targets.put(labels, target);
        }
        vec![times, targets]
    }
}

fn labels_of(door: &str, label: &str) -> Labels {
    let (service, tool) = split(label);
    vec![("door", Arc::from(door)), ("service", Arc::from(service)), ("tool", Arc::from(tool))]
}

/// The labels that the conventions for MCP name.
fn of_operation(method: &str, target: &str, ending: Ending, service: Option<&str>) -> Labels {
    let mut labels: Labels = vec![("mcp_method_name", Arc::from(method))];
    if method == "tools/call" {
        labels.push(("gen_ai_operation_name", Arc::from(semconv::EXECUTE_TOOL)));
        labels.push(("gen_ai_tool_name", Arc::from(target)));
    }
    let error = match ending {
        Ending::Done => "",
        Ending::ToolError => semconv::TOOL_ERROR,
        _ => semconv::OTHER_ERROR,
    };
    labels.push(("error_type", Arc::from(error)));
    labels.extend(service.map(|service| ("peer_service", Arc::from(service))));
    labels
}

/// Adds up samples of the same name and labels: endings that the conventions tell apart no further.
fn merge(family: &mut Family) {
    let mut merged: Vec<crate::exposition::Sample> = Vec::with_capacity(family.samples.len());
    let mut at: std::collections::HashMap<_, usize> = std::collections::HashMap::new();
    for sample in std::mem::take(&mut family.samples) {
        let key = (sample.suffix, sample.labels.clone());
        match at.get(&key) {
            Some(index) => merged[*index].value += sample.value,
            None => {
                at.insert(key, merged.len());
                merged.push(sample);
            }
        }
    }
    family.samples = merged;
}
