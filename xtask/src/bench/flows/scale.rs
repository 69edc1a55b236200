//! How much a gateway holds: waiting instances in memory, and a long log when it starts.

use anyhow::bail;
use serde_json::json;

use super::super::gateway::resident_mib;
use super::super::line;
use super::ours::Ours;
use super::service::Service;
use super::{Row, load_average};

/// The waiting instances may take so much memory, in mebibytes.
const WAITING_MIB: f64 = 100.0;

/// A gateway is to take requests so many seconds after its start.
const START_S: f64 = 3.0;

/// How long the gateway is left alone before its memory is read: what waits is put aside after a while.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(15);

/// Measures all of it on one gateway: first the memory, then the start with those instances and many events.
pub(super) fn run(waiting: u32, events: u64, service: &Service) -> anyhow::Result<Vec<Row>> {
    let mut ours = Ours::start("bench-flows-scale", service)?;
    let before = resident_mib(ours.pid())?;
    let mut line = ours.line()?;
    for _ in 0..waiting {
        ours.send(&mut line, "waiter", "{}".to_owned())?;
    }
    let loaded = resident_mib(ours.pid())?;
    std::thread::sleep(SETTLE);
    let settled = resident_mib(ours.pid())?;
    let mut rows = vec![Row {
        what: format!("{waiting} waiting instances"),
        text: format!(
            "{settled:.0} MiB resident of {WAITING_MIB} ({loaded:.0} at first, {before:.0} without any)"
        ),
        json: json!({"what": "waiting", "instances": waiting, "before_mib": before, "loaded_mib": loaded,
            "settled_mib": settled, "bar_mib": WAITING_MIB}),
        good: Some(settled < WAITING_MIB),
    }];
    let mut head = fill(&ours, events)?;
    for (how, asked) in [("kill -9", false), ("an end that was asked for", true)] {
        if asked {
            ours.stop();
        } else {
            ours.kill();
        }
        let took = ours.again()?;
        let after = resident_mib(ours.pid())?;
        head = head.max(newest(&ours)?);
        let all = settle(&ours, waiting)?;
        let later = resident_mib(ours.pid())?;
        rows.push(Row {
            what: format!("start with {head} events, after {how}"),
            text: format!(
                "{took:.2} s of {START_S}, {after:.0} MiB; all {waiting} instances counted after {all:.2} s, {later:.0} MiB"
            ),
            json: json!({"what": "start", "after": how, "events": head, "unfinished": waiting, "took_s": took,
                "counted_s": all, "mib": after, "later_mib": later, "bar_s": START_S}),
            good: Some(took < START_S),
        });
    }
    Ok(rows)
}

/// Runs flows until there are so many events. Gives how many there are.
fn fill(ours: &Ours, events: u64) -> anyhow::Result<u64> {
    let ask = ours.ask("one", "{}".to_owned());
    loop {
        let head = newest(ours)?;
        eprintln!("{head} of {events} events (load {:.1})", load_average());
        if head >= events {
            return Ok(head);
        }
        let figures = line::load(&ask, 32, 5.0)?;
        if figures.errors > 0 {
            bail!("{} runs failed", figures.errors);
        }
    }
}

/// The newest position of the log.
fn newest(ours: &Ours) -> anyhow::Result<u64> {
    Ok(ours.get("/v1/events?limit=1")?["next"].as_u64().unwrap_or_default().saturating_sub(1))
}

/// The seconds until the gateway shows all the waiting instances.
fn settle(ours: &Ours, waiting: u32) -> anyhow::Result<f64> {
    let begun = std::time::Instant::now();
    let page = ours.get("/v1/instances?status=waiting&limit=1000")?;
    if page["instances"].as_array().is_none_or(|page| page.len() < waiting.min(1000) as usize) {
        bail!("the gateway has lost instances that wait");
    }
    Ok(begun.elapsed().as_secs_f64())
}
