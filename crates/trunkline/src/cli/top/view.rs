//! What is shown: made of two looks at a gateway.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::exposition::Sample;
use super::look::Look;
use crate::cli::output::{plain, short, table};

/// What is shown of a gateway.
#[derive(Debug, Default, Serialize)]
pub(super) struct View {
    /// Who was asked.
    pub(super) server: String,
    /// Of all calls.
    pub(super) all: Traffic,
    /// Calls under way.
    pub(super) in_flight: u64,
    /// Flows that have not ended.
    pub(super) unfinished: u64,
    /// In the order in which the gateway lists them.
    pub(super) services: Vec<Service>,
    /// Those that were ever called, the busiest first.
    pub(super) tools: Vec<Tool>,
    /// Those that have not ended, the stuck ones first.
    pub(super) flows: Vec<Flow>,
    /// Those that fire or may soon.
    pub(super) alerts: Vec<Alert>,
}

/// How calls went between the two looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Traffic {
    /// Calls since the gateway started.
    pub(super) calls: u64,
    /// Calls a second.
    pub(super) rate: f64,
    /// The share of them that failed, by us or by the tool.
    pub(super) error_share: f64,
    /// Half of them took no longer, in milliseconds.
    pub(super) p50_ms: Option<f64>,
    /// 99 of 100 took no longer, in milliseconds.
    pub(super) p99_ms: Option<f64>,
}

/// A service.
#[derive(Debug, Serialize)]
pub(super) struct Service {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) traffic: Traffic,
    pub(super) running: u64,
    pub(super) waiting: u64,
    /// How many may run at a time; none where nothing bounds them.
    pub(super) limit: Option<u64>,
    /// Breakers that are not closed.
    pub(super) breakers: Vec<String>,
    pub(super) cause: String,
}

/// A tool.
#[derive(Debug, Serialize)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) traffic: Traffic,
}

/// A flow that runs.
#[derive(Debug, Serialize)]
pub(super) struct Flow {
    pub(super) id: String,
    pub(super) flow: String,
    pub(super) status: String,
    pub(super) fault: String,
}

/// An alert.
#[derive(Debug, Serialize)]
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) about: String,
    pub(super) summary: String,
}

impl View {
    /// What there is now, and how it went since the first look. With one look alone nothing went yet.
    pub(super) fn new(server: &str, first: &Look, last: &Look) -> Self {
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        let of = |sample: &Sample| (sample.label("service").to_owned(), sample.label("tool").to_owned());
        let by_tool = Counts::by(first, last, of);
        let by_service = Counts::by(first, last, |sample| sample.label("service").to_owned());
        let all = Counts::by(first, last, |_| ()).remove(&()).unwrap_or_default();
        let traffic =
            |counts: Option<&Counts>| counts.map(|counts| counts.traffic(seconds)).unwrap_or_default();
        let service = |service: &Value| Service::new(service, last, &by_service, &traffic);
        let mut tools: Vec<Tool> = by_tool
            .iter()
            .map(|((service, tool), counts)| Tool {
                name: if service == tool { service.clone() } else { format!("{service}/{tool}") },
                traffic: counts.traffic(seconds),
            })
            .collect();
        tools.sort_by(|a, b| {
            b.traffic.rate.total_cmp(&a.traffic.rate).then(b.traffic.calls.cmp(&a.traffic.calls))
        });
        Self {
            server: server.to_owned(),
            all: all.traffic(seconds),
            in_flight: sum(last, "trunkline_calls_in_flight", |_| true),
            unfinished: sum(last, "trunkline_flows_unfinished", |_| true),
            services: last.services.iter().map(service).collect(),
            tools,
            flows: last.flows.iter().map(Flow::new).collect(),
            alerts: last.alerts.iter().filter(|alert| alert["state"] != "resolved").map(Alert::new).collect(),
        }
    }

    /// The alerts that fire.
    pub(super) fn firing(&self) -> usize {
        self.alerts.iter().filter(|alert| alert.state == "firing").count()
    }
}

impl Service {
    fn new(
        service: &Value,
        last: &Look,
        by_service: &BTreeMap<String, Counts>,
        traffic: &impl Fn(Option<&Counts>) -> Traffic,
    ) -> Self {
        let id = text(&service["id"]);
        let mine = |sample: &Sample| sample.label("service") == id;
        let count = |name| sum(last, name, mine);
        let open =
            last.samples.iter().filter(|sample| sample.name == "trunkline_breaker_state" && mine(sample));
        let breakers = open.filter(|sample| sample.value >= 1.0).map(|sample| {
            format!("{} {}", sample.label("tool"), if sample.value >= 2.0 { "open" } else { "probing" })
        });
        Self {
            state: text(&service["state"]),
            traffic: traffic(by_service.get(&id)),
            running: count("trunkline_service_calls_running"),
            waiting: count("trunkline_service_calls_waiting"),
            limit: Some(count("trunkline_service_calls_limit")).filter(|limit| *limit > 0),
            breakers: breakers.collect(),
            cause: text(&service["cause"]),
            id,
        }
    }
}

impl Flow {
    fn new(flow: &Value) -> Self {
        Self {
            id: text(&flow["id"]),
            flow: text(&flow["flow"]),
            status: text(&flow["status"]),
            fault: text(&flow["fault"]),
        }
    }
}

impl Alert {
    fn new(alert: &Value) -> Self {
        let labels = alert["labels"].as_object().into_iter().flatten();
        let about = labels.filter(|(name, _)| !["alertname", "severity"].contains(&name.as_str()));
        let about: Vec<String> = about.map(|(name, value)| format!("{name}={}", text(value))).collect();
        Self {
            name: text(&alert["name"]),
            state: text(&alert["state"]),
            about: about.join(" "),
            summary: text(&alert["annotations"]["summary"]),
        }
    }
}

fn text(value: &Value) -> String {
    plain(value.as_str().unwrap_or_default())
}

/// The sum of the samples of a name.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of what is there now are small"
)]
fn sum(look: &Look, name: &str, which: impl Fn(&Sample) -> bool) -> u64 {
    look.samples
        .iter()
        .filter(|sample| sample.name == name && which(sample))
        .map(|sample| sample.value)
        .sum::<f64>() as u64
}

/// What was counted between two looks.
#[derive(Clone, Debug, Default)]
struct Counts {
    /// Since the start.
    ever: f64,
    calls: f64,
    errors: f64,
    /// Calls that took no longer than so many seconds.
    within: BTreeMap<Bound, f64>,
}

/// The upper bound of a bucket, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound(f64);

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Counts {
    /// What was counted, by what is told of a sample.
    fn by<K: Ord>(first: &Look, last: &Look, key: impl Fn(&Sample) -> K) -> BTreeMap<K, Self> {
        let mut all = BTreeMap::<K, Self>::new();
        for (look, sign) in [(last, 1.0), (first, -1.0)] {
            for sample in &look.samples {
                match sample.name.as_str() {
                    "trunkline_calls_total" => {
                        let counts = all.entry(key(sample)).or_default();
                        counts.calls += sign * sample.value;
                        counts.ever += if sign > 0.0 { sample.value } else { 0.0 };
                        if ["failed", "tool_error"].contains(&sample.label("outcome")) {
                            counts.errors += sign * sample.value;
                        }
                    }
                    "trunkline_call_duration_seconds_bucket" => {
                        let bound = sample.label("le").parse().map_or(f64::INFINITY, |bound| bound);
                        let counts = all.entry(key(sample)).or_default();
                        *counts.within.entry(Bound(bound)).or_default() += sign * sample.value;
                    }
                    _ => {}
                }
            }
        }
        all
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter is a whole number"
    )]
    fn traffic(&self, seconds: f64) -> Traffic {
        // A gateway that was restarted counts from nothing.
        let calls = self.calls.max(0.0);
        Traffic {
            calls: self.ever as u64,
            rate: if seconds > 0.0 { calls / seconds } else { 0.0 },
            error_share: if calls > 0.0 { (self.errors / calls).clamp(0.0, 1.0) } else { 0.0 },
            p50_ms: self.quantile(0.5),
            p99_ms: self.quantile(0.99),
        }
    }

    /// In milliseconds; linear within a bucket, as Prometheus' `histogram_quantile` has it.
    fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.within.last_key_value().map(|(_, all)| *all).filter(|all| *all > 0.0)?;
        let mut below = (0.0, 0.0);
        for (bound, count) in &self.within {
            if *count >= rank {
                if bound.0.is_infinite() {
                    return Some(below.0 * 1e3);
                }
                let part = if *count > below.1 { (rank - below.1) / (count - below.1) } else { 1.0 };
                return Some((below.0 + (bound.0 - below.0) * part) * 1e3);
            }
            below = (bound.0, *count);
        }
        None
    }
}

/// Everything as text, for an output that is no terminal.
pub(super) fn to_text(view: &View) -> String {
    let services: Vec<_> = view.services.iter().map(service_cells).collect();
    let tools: Vec<_> = view.tools.iter().map(tool_cells).collect();
    let mut out = format!("{}\n\n{}", headline(view), table(SERVICES, &services));
    if !tools.is_empty() {
        out += &format!("\n{}", table(TOOLS, &tools));
    }
    if !view.flows.is_empty() {
        let flows: Vec<_> = view.flows.iter().map(flow_cells).collect();
        out += &format!("\n{}", table(FLOWS, &flows));
    }
    if !view.alerts.is_empty() {
        let alerts: Vec<_> = view.alerts.iter().map(alert_cells).collect();
        out += &format!("\n{}", table(ALERTS, &alerts));
    }
    out
}

/// One line that says how it goes.
pub(super) fn headline(view: &View) -> String {
    let all = &view.all;
    let [rate, errors, p50, p99] = traffic_cells(all);
    format!(
        "{}  calls {} ({rate}/s)  errors {errors}  p50 {p50} ms  p99 {p99} ms  in flight {}  flows {}  alerts {}",
        view.server,
        all.calls,
        view.in_flight,
        view.unfinished,
        view.firing(),
    )
}

/// The heads of the columns of services.
pub(super) const SERVICES: [&str; 9] =
    ["SERVICE", "STATE", "CALLS/S", "ERRORS", "P50 MS", "P99 MS", "RUN/LIMIT", "WAIT", "BREAKER, CAUSE"];
/// The heads of the columns of tools.
pub(super) const TOOLS: [&str; 6] = ["TOOL", "CALLS", "CALLS/S", "ERRORS", "P50 MS", "P99 MS"];
/// The heads of the columns of flows.
pub(super) const FLOWS: [&str; 4] = ["FLOW", "STATUS", "INSTANCE", "FAULT"];
/// The heads of the columns of alerts.
pub(super) const ALERTS: [&str; 4] = ["ALERT", "STATE", "ABOUT", "SUMMARY"];

/// A service's cells under [`SERVICES`].
pub(super) fn service_cells(service: &Service) -> [String; 9] {
    let [rate, errors, p50, p99] = traffic_cells(&service.traffic);
    let limit = service.limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    let mut why = service.breakers.clone();
    why.extend(Some(service.cause.clone()).filter(|cause| !cause.is_empty()));
    [
        service.id.clone(),
        service.state.clone(),
        rate,
        errors,
        p50,
        p99,
        format!("{}/{limit}", service.running),
        service.waiting.to_string(),
        short(&why.join(", "), 120),
    ]
}

/// A tool's cells under [`TOOLS`].
pub(super) fn tool_cells(tool: &Tool) -> [String; 6] {
    let [rate, errors, p50, p99] = traffic_cells(&tool.traffic);
    [tool.name.clone(), tool.traffic.calls.to_string(), rate, errors, p50, p99]
}

/// A flow's cells under [`FLOWS`].
pub(super) fn flow_cells(flow: &Flow) -> [String; 4] {
    [flow.flow.clone(), flow.status.clone(), flow.id.clone(), short(&flow.fault, 120)]
}

/// An alert's cells under [`ALERTS`].
pub(super) fn alert_cells(alert: &Alert) -> [String; 4] {
    [alert.name.clone(), alert.state.clone(), alert.about.clone(), short(&alert.summary, 120)]
}

fn traffic_cells(traffic: &Traffic) -> [String; 4] {
    let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
    [
        format!("{:.1}", traffic.rate),
        format!("{:.1}%", traffic.error_share * 100.0),
        ms(traffic.p50_ms),
        ms(traffic.p99_ms),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::super::exposition;
    use super::*;

    fn look(at: Instant, metrics: &str) -> Look {
        let names =
            ["trunkline_calls_total", "trunkline_call_duration_seconds_bucket", "trunkline_breaker_state"];
        Look {
            at,
            samples: exposition::read(metrics, &names),
            services: vec![json!({"id": "shop", "state": "up", "cause": null})],
            alerts: vec![
                json!({"name": "Down", "state": "resolved"}),
                json!({"name": "Slow", "state": "firing"}),
            ],
            flows: Vec::new(),
        }
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let now = Instant::now();
        let metrics = |done: u32, failed: u32, fast: u32| {
            format!(
                "trunkline_calls_total{{service=\"shop\",tool=\"buy\",outcome=\"done\"}} {done}\n\
                 trunkline_calls_total{{service=\"shop\",tool=\"buy\",outcome=\"failed\"}} {failed}\n\
                 trunkline_call_duration_seconds_bucket{{service=\"shop\",tool=\"buy\",le=\"0.1\"}} {fast}\n\
                 trunkline_call_duration_seconds_bucket{{service=\"shop\",tool=\"buy\",le=\"+Inf\"}} {}\n\
                 trunkline_breaker_state{{service=\"shop\",tool=\"buy\"}} 2\n",
                done + failed
            )
        };
        let (first, last) =
            (look(now, &metrics(100, 0, 100)), look(now + Duration::from_secs(2), &metrics(106, 2, 108)));
        let view = View::new("http://x", &first, &last);
        let traffic =
            Traffic { calls: 108, rate: 4.0, error_share: 0.25, p50_ms: Some(50.0), p99_ms: Some(99.0) };
        assert_eq!(view.all, traffic);
        assert_eq!(view.tools[0].name, "shop/buy");
        assert_eq!(view.services[0].traffic, traffic);
        assert_eq!(view.services[0].breakers, ["buy open"]);
        assert_eq!(view.firing(), 1);
        assert_eq!(view.alerts.len(), 1, "what is resolved is not shown");
        // A gateway that was restarted counts from nothing.
        let restarted = View::new("http://x", &last, &look(now + Duration::from_secs(4), &metrics(1, 0, 1)));
        assert_eq!((restarted.all.rate, restarted.all.p50_ms), (0.0, None));
    }
}
