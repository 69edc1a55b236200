//! `bench telemetry`: the same calls through a gateway that sees them, one that also tells a receiver which never answers,
//! and one that sees nothing, in turn, in one run.

use std::net::TcpListener;
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use super::gateway::resident_mib;
use super::load::{Load, median};
use crate::command;
use crate::server::{Server, gateway, gateway_config};
use crate::workspace::root;

/// What stands behind each gateway; `URL` is replaced, and `MORE` is the section `telemetry`.
const SERVICES: &str = "  up:
    names: plain
    mcp:
      url: URL/mcp
      tools:
        echo: {effects: {read_only: true}}
MORE";

/// The least share of the calls a second that there are without telemetry.
const LEAST_SHARE: f64 = 0.90;

/// The most memory that a gateway may have beside that of one that sees nothing, in MiB.
const MOST_MIB: f64 = 96.0;

/// How thoroughly to measure.
#[derive(clap::Args)]
pub(crate) struct Config {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// How often each is repeated, in turn; medians are shown.
    #[arg(long, default_value_t = 5)]
    repeat: u32,
    /// Clients.
    #[arg(long, default_value_t = 64)]
    clients: u32,
    /// At least so many calls go through the gateway that sees them before its memory is read.
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
}

/// Measures, prints the table and the JSON line, and gives whether every bar is met.
pub(super) fn run(config: &Config) -> anyhow::Result<bool> {
    let build = ["build", "--release", "--quiet", "--package", "trunkline"];
    command::run(Command::new("cargo").args(build).current_dir(root()))?;
    let load = Load::build()?;
    let upstream = load.upstream(0)?;
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let sent = format!("telemetry: {{ otlp: {{ endpoint: \"http://{}\" }} }}\n", silent.local_addr()?);
    let kinds = [("off", "telemetry: { enabled: false }\n"), ("on", ""), ("on, receiver silent", &sent)];
    let mut gateways = Vec::new();
    for (name, more) in kinds {
        let services = SERVICES.replace("URL", &upstream.url).replace("MORE", more);
        let file = gateway_config(&format!("bench-telemetry-{}", name.len()), &services)?;
        let server = Server::start(&mut gateway("release", &file)?)?;
        load.ask("ready", &server.url, &["--tool", "echo", "--expect", "hello", "--wait", "20"])?;
        gateways.push((name, server));
    }
    let mut rates = vec![Vec::new(); gateways.len()];
    let mut used = vec![Vec::new(); gateways.len()];
    let mut called = 0.0;
    for turn in 1..=config.repeat {
        for (index, (name, server)) in gateways.iter().enumerate() {
            eprintln!("{name}, {turn} of {}", config.repeat);
            let measured = call(&load, server, config.clients, config.seconds)?;
            rates[index].push(number(&measured, "calls_per_s"));
            used[index].push(number(&measured["watched"], "cpu_us_per_call"));
            if index == 1 {
                called += number(&measured, "calls_per_s") * config.seconds;
            }
        }
    }
    let wanted = f64::from(u32::try_from(config.calls)?);
    while called < wanted {
        eprintln!("{called:.0} of {wanted:.0} calls");
        called += number(&call(&load, &gateways[1].1, config.clients, 20.0)?, "calls_per_s") * 20.0;
    }
    let base = median(rates[0].clone());
    let idle = resident_mib(gateways[0].1.pid())?;
    let mut good = true;
    let mut rows = Vec::new();
    println!("{:<22} {:>9} {:>6} {:>8} {:>8}", "telemetry", "calls/s", "share", "CPU us", "MiB");
    for (index, (name, server)) in gateways.iter().enumerate() {
        let (rate, cpu) = (median(rates[index].clone()), median(used[index].clone()));
        let mib = resident_mib(server.pid())?;
        let share = rate / base;
        let met = index == 0 || (share >= LEAST_SHARE && mib <= idle + MOST_MIB);
        good &= met;
        println!(
            "{name:<22} {rate:>9.0} {share:>6.3} {cpu:>8.1} {mib:>8.1}  {}",
            if met { "met" } else { "MISSED" }
        );
        rows.push(json!({
            "telemetry": name, "calls_per_s": rate, "share": share, "cpu_us_per_call": cpu, "mib": mib, "bar_met": met,
        }));
    }
    let line = json!({
        "bench": "telemetry", "clients": config.clients, "calls_seen": called, "rows": rows, "bars_met": good,
    });
    println!("{line}");
    Ok(good)
}

fn call(load: &Load, server: &Server, clients: u32, seconds: f64) -> anyhow::Result<Value> {
    let (clients, pid, seconds) = (clients.to_string(), server.pid().to_string(), seconds.to_string());
    let options = ["--tool", "echo", "--expect", "hello", "-c", &clients, "-d", &seconds, "--pid", &pid];
    let measured = load.ask("call", &server.url, &options).context("the load client")?;
    anyhow::ensure!(number(&measured, "errors") < 0.5, "calls failed: {measured}");
    Ok(measured)
}

fn number(object: &Value, member: &str) -> f64 {
    object[member].as_f64().unwrap_or(f64::NAN)
}
