//! `bench flows`: durable runs here and in Restate, in turn, in one run; then how much a gateway holds and how soon it is
//! back.

mod ours;
mod restate;
mod scale;
mod service;

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::{Value, json};

use super::line::{self, Figures, Line};
use super::load::median;
use crate::command;
use crate::workspace::root;
use ours::Ours;
use restate::Restate;
use service::Service;

/// How many runs are in flight when a server is killed.
const IN_FLIGHT: u32 = 200;

/// How long all of them may take to be brought back.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is run, and with how many clients. One client: our median may be this part of theirs. More: our runs a second
/// are to be this many times theirs.
const LOADS: [(&str, u32, f64); 6] = [
    ("one", 1, 0.2),
    ("one", 32, 10.0),
    ("saga", 1, 0.2),
    ("saga", 32, 10.0),
    ("undone", 1, 0.2),
    ("undone", 32, 10.0),
];

/// Within so many seconds of its start a killed gateway has brought back all that was in flight.
const RESUME_S: f64 = 1.0;

/// How thoroughly to measure.
#[derive(clap::Args)]
pub(crate) struct Config {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How often each is repeated; medians are shown.
    #[arg(long, default_value_t = 3)]
    repeat: u32,
    /// How many instances wait.
    #[arg(long, default_value_t = 10_000)]
    waiting: u32,
    /// How many events are in the log that a gateway starts with.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Leaves Restate out.
    #[arg(long)]
    alone: bool,
    /// Only these parts.
    #[arg(long, value_enum)]
    only: Vec<Part>,
}

/// A part of the measurement.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Throughput and medians.
    Runs,
    /// Being back after `kill -9`.
    Resume,
    /// Memory of waiting instances, and the start with a long log.
    Scale,
}

/// One figure beside its bar.
struct Row {
    what: String,
    text: String,
    json: Value,
    good: Option<bool>,
}

/// Measures, prints the table and the JSON line, and gives whether every bar is met.
pub(super) fn run(config: &Config) -> anyhow::Result<bool> {
    let build = ["build", "--release", "--quiet", "--package", "trunkline"];
    command::run(Command::new("cargo").args(build).current_dir(root()))?;
    let service = Service::start()?;
    let wants = |part| config.only.is_empty() || config.only.contains(&part);
    let mut rows = Vec::new();
    if wants(Part::Runs) || wants(Part::Resume) {
        let mut ours = Ours::start("bench-flows", &service)?;
        let mut theirs = if config.alone { None } else { restate(&service) };
        if wants(Part::Runs) {
            for load in LOADS {
                rows.push(runs(config, load, &ours, theirs.as_ref())?);
            }
        }
        if wants(Part::Resume) {
            rows.push(resume(config, &service, &mut ours, theirs.as_mut())?);
        }
    }
    if wants(Part::Scale) {
        rows.extend(scale::run(config.waiting, config.events, &service)?);
    }
    println!("{:<34} {:<70} bar", "what", "figures");
    for row in &rows {
        let verdict = row.good.map_or("", |good| if good { "met" } else { "MISSED" });
        println!("{:<34} {:<70} {verdict}", row.what, row.text);
    }
    let good = rows.iter().all(|row| row.good != Some(false));
    let rows: Vec<&Value> = rows.iter().map(|row| &row.json).collect();
    println!(
        "{}",
        json!({"bench": "flows", "rows": rows, "load_average_1m": load_average(), "bars_met": good})
    );
    Ok(good)
}

fn restate(service: &Service) -> Option<Restate> {
    match Restate::start(service) {
        Ok(restate) => Some(restate),
        Err(error) => {
            println!("Restate can't be had, so nothing is compared with it: {error:#}");
            None
        }
    }
}

/// One load, here and there in turn.
fn runs(
    config: &Config,
    (flow, clients, bar): (&str, u32, f64),
    ours: &Ours,
    theirs: Option<&Restate>,
) -> anyhow::Result<Row> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for turn in 1..=config.repeat {
        eprintln!("{flow}, {clients} clients, {turn} of {} (load {:.1})", config.repeat, load_average());
        here.push(line::load(&ours.ask(flow, "{}".to_owned()), clients, config.seconds)?);
        if let Some(theirs) = theirs {
            there.push(line::load(&theirs.ask(flow, "{}".to_owned()), clients, config.seconds)?);
        }
    }
    let errors = here.iter().map(|figures| figures.errors).sum::<u32>();
    let ratio = median(
        here.iter()
            .zip(&there)
            .map(
                |(here, there)| {
                    if clients == 1 { here.p50_ms / there.p50_ms } else { here.per_s / there.per_s }
                },
            )
            .collect(),
    );
    let good = if clients == 1 { ratio <= bar } else { ratio >= bar };
    let mut text = shown(&here);
    if theirs.is_some() {
        let _ = write!(text, "; Restate {}; {ratio:.2} of {bar}", shown(&there));
    }
    Ok(Row {
        what: format!("{flow}, {clients} clients"),
        text,
        json: json!({
            "what": flow, "clients": clients, "ours": as_json(&here), "restate": as_json(&there), "ratio": ratio, "bar": bar,
        }),
        good: (theirs.is_some()).then_some(good && errors == 0),
    })
}

fn middle(all: &[Figures], pick: impl Fn(&Figures) -> f64) -> f64 {
    median(all.iter().map(pick).collect())
}

fn shown(all: &[Figures]) -> String {
    format!("{:.0}/s p50 {:.2} ms", middle(all, |one| one.per_s), middle(all, |one| one.p50_ms))
}

fn as_json(all: &[Figures]) -> Value {
    json!({
        "per_s": middle(all, |one| one.per_s), "p50_ms": middle(all, |one| one.p50_ms),
        "p99_ms": middle(all, |one| one.p99_ms), "errors": all.iter().map(|one| one.errors).sum::<u32>(),
    })
}

/// Kills each with runs in flight and takes the time until all of them are at their step again.
fn resume(
    config: &Config,
    service: &Service,
    ours: &mut Ours,
    mut theirs: Option<&mut Restate>,
) -> anyhow::Result<Row> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for turn in 1..=config.repeat {
        eprintln!("kill, {turn} of {} (load {:.1})", config.repeat, load_average());
        service.close();
        let mut line = ours.line()?;
        for number in 0..IN_FLIGHT {
            ours.send(&mut line, "held", json!({"number": number}).to_string())?;
        }
        await_held(service, 1)?;
        ours.kill();
        let begun = Instant::now();
        ours.again()?;
        await_held(service, 2)?;
        here.push(begun.elapsed().as_secs_f64());
        service.open();
        let Some(theirs) = theirs.as_deref_mut() else { continue };
        std::thread::sleep(Duration::from_secs(1));
        service.close();
        let mut line = Line::open(theirs.ingress)?;
        for number in 0..IN_FLIGHT {
            line.post(&theirs.send("held", json!({"number": number}).to_string()))?;
        }
        await_held(service, 1)?;
        theirs.kill();
        let begun = Instant::now();
        theirs.again()?;
        await_held(service, 2)?;
        there.push(begun.elapsed().as_secs_f64());
        service.open();
        std::thread::sleep(Duration::from_secs(1));
    }
    let (here, there) = (median(here), median(there));
    Ok(Row {
        what: format!("kill -9, {IN_FLIGHT} in flight"),
        text: format!("all resumed after {here:.2} s of {RESUME_S}; Restate {there:.2} s"),
        json: json!({"what": "resume", "in_flight": IN_FLIGHT, "ours_s": here, "restate_s": there, "bar_s": RESUME_S}),
        good: Some(here < RESUME_S),
    })
}

fn await_held(service: &Service, times: u32) -> anyhow::Result<()> {
    if !service.held(IN_FLIGHT as usize, times, PATIENCE) {
        bail!("not all runs came to their step {times} times");
    }
    Ok(())
}

/// The machine's load over the last minute.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}
