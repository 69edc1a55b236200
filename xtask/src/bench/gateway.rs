//! `bench gateway`: the same calls straight at an MCP server and through the gateway, in turn, in one run.
//!
//! What counts first is processor time for each call, which is steady on a busy machine; then the share of the direct
//! calls a second, taken seconds before.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::load::{Load, median};
use crate::command;
use crate::server::{Server, free_port, gateway, gateway_config};
use crate::workspace::{root, scratch, which};

/// What stands behind the gateway; `URL` is replaced. The tool says nothing of its effects, so the operator does.
const SERVICES: &str = "  up:
    names: plain
    mcp:
      url: URL/mcp
      tools:
        echo: {effects: {read_only: true}}
doors: {listing: {show: all}}
";

/// A pass-through that does nothing: what any hop costs on this machine.
const NGINX: &str = "daemon off;
worker_processes 2;
pid FOLDER/nginx.pid;
error_log FOLDER/nginx.log error;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  keepalive_requests 100000000;
  upstream up { server UPSTREAM; keepalive 128; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:PORT;
    location / {
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_set_header Host $host; proxy_buffering off;
    }
  }
}
";

/// Both eras of the protocol.
const PROTOCOLS: [&str; 2] = ["2025-06-18", "2026-07-28"];

/// For each number of clients: the most processor time a call, in microseconds, and the least share of direct calls.
const BARS: [(u32, f64, f64); 3] = [(1, 90.0, 0.50), (16, 60.0, 0.45), (64, 60.0, 0.45)];

/// The bars on listing 1,000 tools (ms), idle memory (MiB) and the first call after start (ms).
const LIST_MS: f64 = 20.0;
const IDLE_MIB: f64 = 40.0;
const FIRST_CALL_MS: f64 = 300.0;

/// How many generated tools are listed.
const TOOLS: u32 = 1_000;

/// How long the gateway is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);

/// How thoroughly to measure.
#[derive(clap::Args)]
pub(crate) struct Config {
    /// Seconds of each measurement through the gateway; a direct one takes half of that.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// How often each is repeated; medians are shown.
    #[arg(long, default_value_t = 3)]
    repeat: u32,
}

/// One peer under one load, in medians.
struct Row {
    peer: &'static str,
    protocol: &'static str,
    clients: u32,
    direct_per_s: f64,
    share: f64,
    cpu_us: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: f64,
    load_average: f64,
    good: bool,
}

impl Row {
    fn as_json(&self) -> Value {
        json!({
            "peer": self.peer, "protocol": self.protocol, "clients": self.clients,
            "direct_per_s": self.direct_per_s, "share": self.share, "cpu_us_per_call": self.cpu_us,
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms, "errors": self.errors,
            "load_average_1m": self.load_average, "bar_met": self.good,
        })
    }
}

/// Measures, prints the table and the JSON line, and gives whether every bar is met.
pub(super) fn run(config: &Config) -> anyhow::Result<bool> {
    let build = ["build", "--release", "--quiet", "--package", "trunkline"];
    command::run(Command::new("cargo").args(build).current_dir(root()))?;
    let load = Load::build()?;
    let upstream = load.upstream(0)?;
    let (first_call_ms, gateway) = start(&load, "bench", &upstream)?;
    std::thread::sleep(SETTLE);
    let idle_mib = resident_mib(gateway.pid())?;
    let (direct_list_ms, list_ms) = list(&load)?;
    let nginx = nginx(&upstream)?;

    let mut rows = Vec::new();
    for protocol in PROTOCOLS {
        for bar in BARS {
            rows.push(measure(&load, config, "trunkline", protocol, bar, &upstream, &gateway)?);
            if let Some(nginx) = &nginx {
                rows.push(measure(&load, config, "nginx", protocol, bar, &upstream, nginx)?);
            }
        }
    }
    print(&rows);
    if nginx.is_none() {
        println!("nginx is not installed, so the limit of a plain pass-through was not measured");
    }
    println!("tools/list of 1,000 tools, direct, ms {direct_list_ms:>8.1}");
    let single = [
        ("tools/list of 1,000 tools, ms", list_ms, LIST_MS),
        ("idle memory, MiB", idle_mib, IDLE_MIB),
        ("first call after start, ms", first_call_ms, FIRST_CALL_MS),
    ];
    for (what, value, bar) in single {
        println!("{what:<32} {value:>8.1}   bar < {bar:.0}   {}", verdict(value < bar));
    }
    let good = rows.iter().all(|row| row.good) && single.iter().all(|(_, value, bar)| value < bar);
    let line = json!({
        "bench": "gateway", "list_1000_ms": list_ms, "direct_list_1000_ms": direct_list_ms, "idle_mib": idle_mib,
        "first_call_ms": first_call_ms, "rows": rows.iter().map(Row::as_json).collect::<Vec<_>>(), "bars_met": good,
    });
    println!("{line}");
    Ok(good)
}

/// Starts the gateway in front of an upstream and times its first good call from the start of the process.
fn start(load: &Load, name: &str, upstream: &Server) -> anyhow::Result<(f64, Server)> {
    let config = gateway_config(name, &SERVICES.replace("URL", &upstream.url))?;
    let began = std::time::Instant::now();
    let server = Server::start(&mut gateway("release", &config)?)?;
    load.ask("ready", &server.url, &["--tool", "echo", "--expect", "hello", "--wait", "20"])?;
    Ok((began.elapsed().as_secs_f64() * 1000.0, server))
}

/// Lists 1,000 tools, straight and through a gateway of its own: the medians of the slower era, in milliseconds.
fn list(load: &Load) -> anyhow::Result<(f64, f64)> {
    let upstream = load.upstream(TOOLS)?;
    let (_, gateway) = start(load, "bench-list", &upstream)?;
    let slower = |url: &str| -> anyhow::Result<f64> {
        let mut slower: f64 = 0.0;
        for protocol in PROTOCOLS {
            let listed = load.ask("list", url, &["--times", "20", "--protocol", protocol])?;
            if listed["tools"].as_u64().is_none_or(|tools| tools < u64::from(TOOLS)) {
                bail!("only {} tools were listed", listed["tools"]);
            }
            slower = slower.max(number(&listed, "median_ms"));
        }
        Ok(slower)
    };
    Ok((slower(&upstream.url)?, slower(&gateway.url)?))
}

/// Starts nginx in front of the upstream, where it is installed.
fn nginx(upstream: &Server) -> anyhow::Result<Option<Server>> {
    let Some(program) = which("nginx").or_else(|| which("/usr/sbin/nginx")) else { return Ok(None) };
    let folder = scratch("run").join("nginx");
    fs::create_dir_all(&folder)?;
    let port = free_port()?;
    let text = NGINX
        .replace("FOLDER", &folder.display().to_string())
        .replace("UPSTREAM", upstream.url.trim_start_matches("http://"))
        .replace("PORT", &port.to_string());
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    Server::start_on(Command::new(program).arg("-c").arg(file).arg("-p").arg(folder), port).map(Some)
}

/// One peer under one load, straight and through in turn.
fn measure(
    load: &Load,
    config: &Config,
    peer: &'static str,
    protocol: &'static str,
    (clients, most_us, least_share): (u32, f64, f64),
    upstream: &Server,
    through: &Server,
) -> anyhow::Result<Row> {
    let (count, pid) = (clients.to_string(), through.pid().to_string());
    let (long, short) = (config.seconds.to_string(), (config.seconds / 2.0).to_string());
    let common = ["--tool", "echo", "--expect", "hello", "--protocol", protocol, "-c", &count];
    let mut pairs = Vec::new();
    for turn in 1..=config.repeat {
        eprintln!("{peer} {protocol}, {clients} clients, {turn} of {}", config.repeat);
        let direct = load.ask("call", &upstream.url, &[&common[..], &["-d", &short]].concat())?;
        let via = load.ask("call", &through.url, &[&common[..], &["-d", &long, "--pid", &pid]].concat())?;
        pairs.push((direct, via));
    }
    let middle = |pick: &dyn Fn(&(Value, Value)) -> f64| median(pairs.iter().map(pick).collect());
    let cpu_us = middle(&|(_, via)| number(&via["watched"], "cpu_us_per_call"));
    let share = middle(&|(direct, via)| number(via, "calls_per_s") / number(direct, "calls_per_s"));
    let errors = pairs.iter().map(|(_, via)| number(via, "errors")).sum();
    let good = peer != "trunkline" || (cpu_us <= most_us && share >= least_share && errors < 0.5);
    Ok(Row {
        peer,
        protocol,
        clients,
        direct_per_s: middle(&|(direct, _)| number(direct, "calls_per_s")),
        share,
        cpu_us,
        p50_ms: middle(&|(_, via)| number(via, "p50_ms")),
        p99_ms: middle(&|(_, via)| number(via, "p99_ms")),
        errors,
        load_average: middle(&|(_, via)| number(via, "load_average_1m")),
        good,
    })
}

fn number(object: &Value, member: &str) -> f64 {
    object[member].as_f64().unwrap_or(f64::NAN)
}

fn verdict(good: bool) -> &'static str {
    if good { "met" } else { "MISSED" }
}

fn print(rows: &[Row]) {
    println!(
        "{:<10} {:<11} {:>3} {:>9} {:>6} {:>7} {:>8} {:>8} {:>6} {:>5}  bar",
        "peer", "protocol", "C", "direct/s", "share", "CPU us", "p50 ms", "p99 ms", "errors", "load"
    );
    for row in rows {
        let mut line = String::new();
        let _ = write!(
            line,
            "{:<10} {:<11} {:>3} {:>9.0} {:>6.2} {:>7.1} {:>8.3} {:>8.3} {:>6.0} {:>5.1}",
            row.peer,
            row.protocol,
            row.clients,
            row.direct_per_s,
            row.share,
            row.cpu_us,
            row.p50_ms,
            row.p99_ms,
            row.errors,
            row.load_average
        );
        if let Some((_, us, share)) = BARS.iter().find(|bar| row.peer == "trunkline" && bar.0 == row.clients)
        {
            let _ = write!(line, "  <= {us:.0} us, >= {share:.2}: {}", verdict(row.good));
        }
        println!("{line}");
    }
}

/// The resident memory of a process, in mebibytes.
pub(super) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("there is no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is not a number")?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_process_is_read() {
        assert!(resident_mib(std::process::id()).unwrap() > 0.5);
    }
}
