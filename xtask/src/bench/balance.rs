//! `bench balance`: three instances of the shop's stock service, one of them made 20 times slower by `trunkline chaos`. What
//! nearly all calls take through each way of balancing, beside three instances that are all well, in one run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::command;
use crate::server::{Server, gateway, gateway_config};
use crate::workspace::{binary, root, scratch};

/// What every instance takes, and how many times that the slow one takes.
const USUAL: Duration = Duration::from_millis(20);
const SLOWER: u32 = 20;

/// The 99th percentile may be so many times that of instances that are all well.
const BAR: f64 = 2.0;

/// Where the instances stand: each takes four ports from there on.
const INSTANCES: usize = 3;

/// How long a connection or an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How thoroughly to measure.
#[derive(clap::Args)]
pub(crate) struct Config {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// Callers at a time.
    #[arg(short, long, default_value_t = 8)]
    clients: usize,
}

/// What calls took.
struct Row {
    name: &'static str,
    calls: usize,
    errors: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// The share of calls that the slow instance had.
    slow_share: f64,
}

/// Measures, prints the table and the JSON line, and gives whether the bar is met.
pub(super) fn run(config: &Config) -> anyhow::Result<bool> {
    let build = ["build", "--release", "--quiet", "--package", "trunkline"];
    command::run(Command::new("cargo").args(build).current_dir(root()))?;
    let program = binary("release", "trunkline");
    let mut shops = Vec::new();
    for number in 0..INSTANCES {
        shops.push(shop(&program, number)?);
    }
    let ports: Vec<u16> = shops.iter().map(|(_, port)| port + 1).collect();
    for port in &ports {
        let latency = json!({ "latency_ms": u64::try_from(USUAL.as_millis())? });
        post(&mut connect(*port)?, *port, "/_chaos", &latency.to_string())?;
    }
    let slower = (USUAL * (SLOWER - 1)).as_millis().to_string();
    let to = format!("127.0.0.1:{}", ports[INSTANCES - 1]);
    let slow = Server::start(Command::new(&program).args(["chaos", "--to", &to, "--latency-ms", &slower]))?;
    let gateway = start(&ports, &slow.url)?;
    let port = gateway.url.rsplit(':').next().and_then(|port| port.parse().ok()).context("no port")?;

    let mut rows = Vec::new();
    for name in ["healthy", "peak_ewma", "least_requests", "round_robin"] {
        eprintln!("{name}");
        rows.push(measure(config, port, name)?);
    }
    println!(
        "{:<16} {:>7} {:>7} {:>9} {:>9} {:>9} {:>10} {:>10}",
        "balance", "calls", "errors", "p50 ms", "p99 ms", "max ms", "to slow", "p99 ratio"
    );
    let healthy = rows[0].p99_ms;
    for row in &rows {
        println!(
            "{:<16} {:>7} {:>7} {:>9.1} {:>9.1} {:>9.1} {:>9.2}% {:>10.2}",
            row.name,
            row.calls,
            row.errors,
            row.p50_ms,
            row.p99_ms,
            row.max_ms,
            row.slow_share * 100.0,
            row.p99_ms / healthy
        );
    }
    let ratio = rows[1].p99_ms / healthy;
    let good = ratio <= BAR && rows.iter().all(|row| row.errors == 0);
    let verdict = if good { "met" } else { "MISSED" };
    println!(
        "one of three {SLOWER} times slower: p99 at most {BAR:.0} times that of healthy ones, no errors: {verdict}"
    );
    let lines: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "balance": row.name, "calls": row.calls, "errors": row.errors, "p50_ms": row.p50_ms,
                "p99_ms": row.p99_ms, "max_ms": row.max_ms, "slow_share": row.slow_share,
                "p99_ratio": row.p99_ms / healthy,
            })
        })
        .collect();
    println!("{}", json!({ "bench": "balance", "rows": lines, "bar": BAR, "bar_met": good }));
    Ok(good)
}

/// Starts a shop on four neighbouring ports, and gives the first.
fn shop(program: &Path, number: usize) -> anyhow::Result<(Server, u16)> {
    let data = scratch("run").join(format!("balance-shop-{number}"));
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    // Below the ports that the system hands out, of which four beside one another are seldom free.
    let first = 20_000 + u16::try_from(std::process::id() % 1_000)? * 8;
    for port in (first..32_000).step_by(8) {
        let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if !(port..port + 4).all(free) {
            continue;
        }
        let mut command = Command::new(program);
        command.args(["shop", "--listen-base", &format!("127.0.0.1:{port}"), "--data"]).arg(&data);
        return Ok((Server::start_on(&mut command, port)?, port));
    }
    bail!("there are no four free ports beside one another")
}

/// A gateway with the same instances behind a service for each way of balancing.
fn start(ports: &[u16], slow: &str) -> anyhow::Result<Server> {
    let document = root().join("examples/shop/openapi/stock.yaml");
    let well: Vec<String> = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
    let mut one_slow = well.clone();
    one_slow[INSTANCES - 1] = slow.to_owned();
    let service = |name: &str, policy: &str, urls: &[String]| {
        let instances: Vec<String> = urls.iter().map(|url| format!("{{ url: \"{url}\" }}")).collect();
        format!(
            "  {name}:\n    openapi: {{ document: \"{}\" }}\n    balance: {{ policy: {policy} }}\n    instances: [{}]\n",
            document.display(),
            instances.join(", ")
        )
    };
    let services = service("healthy", "peak_ewma", &well)
        + &service("peak_ewma", "peak_ewma", &one_slow)
        + &service("least_requests", "least_requests", &one_slow)
        + &service("round_robin", "round_robin", &one_slow);
    let config = gateway_config("balance", &services)?;
    Server::start(&mut gateway("release", &config)?)
}

/// Calls by one way of balancing.
fn measure(config: &Config, port: u16, name: &'static str) -> anyhow::Result<Row> {
    let errors = Arc::new(AtomicUsize::new(0));
    let end = Instant::now() + Duration::from_secs_f64(config.seconds);
    let path = format!("/v1/tools/{name}__listItems:call");
    let callers: Vec<_> = (0..config.clients)
        .map(|_| {
            let (errors, path) = (errors.clone(), path.clone());
            std::thread::spawn(move || -> anyhow::Result<Vec<Duration>> {
                let mut stream = connect(port)?;
                let mut took = Vec::new();
                while Instant::now() < end {
                    let start = Instant::now();
                    if post(&mut stream, port, &path, "{}").is_err() {
                        errors.fetch_add(1, Ordering::Relaxed);
                        stream = connect(port)?;
                    }
                    took.push(start.elapsed());
                }
                Ok(took)
            })
        })
        .collect();
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.join().map_err(|_| anyhow::anyhow!("a caller has panicked"))??);
    }
    took.sort();
    let at = |share: usize| took.get(took.len() * share / 100).map_or(f64::NAN, ms);
    let slow = took.iter().filter(|time| **time >= USUAL * (SLOWER - 1)).count();
    #[expect(clippy::cast_precision_loss, reason = "counts of calls")]
    let slow_share = slow as f64 / took.len().max(1) as f64;
    Ok(Row {
        name,
        calls: took.len(),
        errors: errors.load(Ordering::Relaxed),
        p50_ms: at(50),
        p99_ms: at(99),
        max_ms: took.last().map_or(f64::NAN, ms),
        slow_share,
    })
}

fn ms(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn connect(port: u16) -> anyhow::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

/// Posts over a connection that stays open. An answer that is not a success is an error.
fn post(stream: &mut BufReader<TcpStream>, port: u16, path: &str, body: &str) -> anyhow::Result<()> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.get_mut().write_all(format!("{head}{body}").as_bytes())?;
    let (mut status, mut length) = (String::new(), 0);
    stream.read_line(&mut status)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let code = status.split(' ').nth(1).unwrap_or_default();
    if !code.starts_with('2') {
        bail!("{path}: {code} {}", String::from_utf8_lossy(&body));
    }
    Ok(())
}
