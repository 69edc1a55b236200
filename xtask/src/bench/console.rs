//! `bench console`: how long each page for people takes, and what it is made of, where there are many services, calls and
//! instances, and a trace of many spans; beside the same gateway's `/healthz`.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::line::{Ask, Line};
use super::load::{Load, median};
use crate::command;
use crate::server::{Server, gateway, gateway_config};
use crate::workspace::{root, scratch};

/// A page may take so long, and one with a long trace.
const PAGE_MS: f64 = 50.0;
const TRACE_MS: f64 = 200.0;

/// The trace, in hexadecimal.
const TRACE: &str = "5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e";

/// How long the views may take until they show all.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much there is.
#[derive(clap::Args)]
pub(crate) struct Config {
    /// Services.
    #[arg(long, default_value_t = 300)]
    services: u32,
    /// Calls in the record.
    #[arg(long, default_value_t = 100_000)]
    calls: u32,
    /// Instances of flows.
    #[arg(long, default_value_t = 10_000)]
    instances: u32,
    /// Spans of the trace.
    #[arg(long, default_value_t = 5_000)]
    spans: u32,
    /// How often each page is asked for; medians are shown.
    #[arg(long, default_value_t = 21)]
    repeat: usize,
}

/// Measures, prints the table and the JSON line, and gives whether every bar is met.
pub(super) fn run(config: &Config) -> anyhow::Result<bool> {
    let build = ["build", "--release", "--quiet", "--package", "trunkline"];
    command::run(Command::new("cargo").args(build).current_dir(root()))?;
    let load = Load::build()?;
    let upstream = load.upstream(0)?;
    let file = gateway_config("bench-console", &services(config, &upstream.url)?)?;
    let server = Server::start(&mut gateway("release", &file)?)?;
    load.ask("ready", &server.url, &["--tool", "echo", "--expect", "hello", "--wait", "60"])?;
    let port = server.url.rsplit(':').next().and_then(|port| port.parse().ok()).context("no port")?;
    let instance = fill(config, &load, &server, port)?;

    let mut rows = Vec::new();
    println!("{:<34} {:>10} {:>10} {:>9}", "page", "median ms", "worst ms", "KiB");
    for (path, bar) in paths(&instance) {
        rows.push(measure(port, &path, bar, config.repeat)?);
    }
    let good = rows.iter().all(|row| row["bar_met"] == true);
    let verdict = if good { "met" } else { "MISSED" };
    println!(
        "medians of at most {PAGE_MS} ms, of a trace of {} spans {TRACE_MS} ms: {verdict}",
        config.spans
    );
    let line = json!({
        "bench": "console", "services": config.services, "calls": config.calls, "instances": config.instances,
        "spans": config.spans, "rows": rows, "bars_met": good,
    });
    println!("{line}");
    Ok(good)
}

/// The service that is called, the others, and a flow.
fn services(config: &Config, upstream: &str) -> anyhow::Result<String> {
    let flow = scratch("bench-console-flow.yaml");
    let text = "document: { dsl: 1.0.3, namespace: bench, name: beat, version: 1.0.0 }\n\
                do: [{ beat: { set: { beaten: true } } }]\n";
    fs::write(&flow, text)?;
    let mut services = format!(
        "  up:\n    names: plain\n    mcp: {{ url: {upstream}/mcp, tools: {{ echo: {{ effects: {{ read_only: true }} }} }} }}\n"
    );
    for number in 1..config.services {
        let tool = json!({"description": format!("Does the work of number {number}."), "argv": ["true"]});
        let service = json!({"process": {"tools": {"work": tool}}});
        writeln!(services, "  service-{number}: {service}")?;
    }
    writeln!(services, "flows: {{ definitions: [{}] }}", flow.display())?;
    Ok(services)
}

/// Makes the calls, runs the instances and tells of the trace. Gives one of the instances.
fn fill(config: &Config, load: &Load, server: &Server, port: u16) -> anyhow::Result<String> {
    let mut made = 0.0;
    while made < f64::from(config.calls) {
        let seconds = 5.0;
        let options = ["--tool", "echo", "--expect", "hello", "-c", "32", "-d", "5"];
        let measured = load.ask("call", &server.url, &options)?;
        made += measured["calls_per_s"].as_f64().context("no rate")? * seconds;
        eprintln!("{made:.0} of {} calls", config.calls);
    }
    let ask =
        |path: &str, body: String, expect| Ask { port, path: path.to_owned(), headers: "", body, expect };
    let run = ask("/v1/tools/beat:call", "{}".to_owned(), "completed");
    let clients = 16;
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let client = || -> anyhow::Result<()> {
            let mut line = Line::open(port)?;
            (0..config.instances.div_ceil(clients)).try_for_each(|_| line.post(&run).map(drop))
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a client has panicked"))?)
    })?;
    Line::open(port)?.post(&ask("/v1/traces", trace(config.spans).to_string(), ""))?;
    let begun = Instant::now();
    loop {
        let listed = get(port, "/v1/instances?limit=1")?;
        let kept =
            get(port, &format!("/v1/traces/{TRACE}")).is_ok_and(|trace| trace.to_string().contains(TRACE));
        if let Some(id) = listed["instances"][0]["id"].as_str()
            && kept
        {
            return Ok(id.to_owned());
        }
        if begun.elapsed() > PATIENCE {
            bail!("the gateway does not show what it was told");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A trace of an agent in OTLP's JSON: eight levels, one span after the other.
fn trace(spans: u32) -> Value {
    let start = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() - 10_000_000_000;
    let spans: Vec<Value> = (1..=spans)
        .map(|number| {
            let begun = start + u128::from(number) * 1_000_000;
            let parent = if number == 1 { String::new() } else { format!("{:016x}", number / 8 + u32::from(number < 8)) };
            json!({
                "traceId": TRACE, "spanId": format!("{number:016x}"), "parentSpanId": parent, "name": format!("step {number}"),
                "kind": 1, "startTimeUnixNano": begun.to_string(), "endTimeUnixNano": (begun + 900_000).to_string(),
                "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "execute_tool"}}], "status": {},
            })
        })
        .collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "agent"}}]},
        "scopeSpans": [{"scope": {"name": "bench"}, "spans": spans}],
    }]})
}

/// What is asked for, and how long it may take; the base line has no bar.
fn paths(instance: &str) -> Vec<(String, Option<f64>)> {
    let pages = [
        "/",
        "/console/map",
        "/console/services",
        "/console/calls",
        "/console/traces",
        "/console/flows",
        "/console/tools",
        "/console/tools?q=work",
        "/console/tools/echo",
        "/console/events",
        "/console/limits",
        "/console/config",
        "/console/connect",
        "/v1/map",
        "/v1/services",
        "/v1/audit",
        "/v1/traces",
        "/v1/instances",
        "/v1/tools",
        "/v1/events?limit=100",
        "/v1/limits",
        "/v1/kpis",
        "/v1/alerts",
        "/metrics",
    ];
    let mut paths = vec![("/healthz".to_owned(), None)];
    paths.extend(pages.into_iter().map(|path| (path.to_owned(), Some(PAGE_MS))));
    paths.push((format!("/console/flows/{instance}"), Some(PAGE_MS)));
    paths.push((format!("/console/traces/{TRACE}"), Some(TRACE_MS)));
    paths.push((format!("/v1/traces/{TRACE}"), Some(TRACE_MS)));
    paths
}

fn measure(port: u16, path: &str, bar: Option<f64>, repeat: usize) -> anyhow::Result<Value> {
    let ask = Ask { port, path: path.to_owned(), headers: "", body: String::new(), expect: "" };
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..repeat {
        let mut line = Line::open(port)?;
        let begun = Instant::now();
        let (status, body) = line.ask("GET", &ask)?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        if status != 200 {
            bail!("GET {path}: {status} {body}");
        }
        bytes = body.len();
    }
    let worst = times.iter().copied().fold(0.0, f64::max);
    let middle = median(times);
    let met = bar.is_none_or(|bar| middle <= bar);
    let verdict = bar.map_or("", |_| if met { "met" } else { "MISSED" });
    println!("{path:<34.34} {middle:>10.1} {worst:>10.1} {:>9}  {verdict}", bytes / 1024);
    Ok(
        json!({"path": path, "median_ms": middle, "worst_ms": worst, "bytes": bytes, "bar_ms": bar, "bar_met": met}),
    )
}

fn get(port: u16, path: &str) -> anyhow::Result<Value> {
    let ask = Ask { port, path: path.to_owned(), headers: "", body: String::new(), expect: "" };
    let (_, body) = Line::open(port)?.ask("GET", &ask)?;
    Ok(serde_json::from_str(&body)?)
}
