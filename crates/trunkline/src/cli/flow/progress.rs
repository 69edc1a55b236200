//! What a run is doing, on a terminal: the lines of its timeline as they come, and below them what it waits for.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use super::{text, timeline};
use crate::cli::client::Client;
use crate::cli::output::{plain, short};
use crate::cli::stop::Stop;

/// How long a run is waited for before its progress is shown.
pub(super) const PATIENCE_MS: u64 = 1500;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Whether somebody watches.
pub(super) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Shows a run until it ends or waits for a person. Gives what it came to, as starting it does.
pub(super) async fn follow(client: &Client, id: &str) -> Result<Value, Stop> {
    let mut shown = 0;
    loop {
        let instance: Value = client.get(&["v1", "instances", id], &[]).await?;
        let (lines, live) = news(&instance, &mut shown);
        let mut out = std::io::stderr().lock();
        // The line below is written anew; a closed standard error is nothing to fail for.
        let _ = write!(out, "\r\x1b[K");
        for line in lines {
            let _ = writeln!(out, "{}", plain(&line));
        }
        let status = text(&instance["status"]);
        if status == "stuck" || instance["ended_ms"].is_i64() {
            return Ok(outcome(&instance));
        }
        let _ = write!(out, "{}", plain(&live));
        let _ = out.flush();
        drop(out);
        tokio::time::sleep(LOOK).await;
    }
}

/// The lines that were not shown yet, and what it is doing now.
fn news(instance: &Value, shown: &mut usize) -> (Vec<String>, String) {
    let lines = timeline::lines(instance);
    let new = lines.get(*shown..).unwrap_or_default().to_vec();
    *shown = lines.len().max(*shown);
    let steps = instance["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let under_way: Vec<String> = steps
        .iter()
        .filter(|step| step["status"] == "running")
        .map(|step| match step["attempt"].as_u64() {
            Some(attempt) if attempt > 1 => format!("{} (attempt {attempt})", text(&step["tool"])),
            _ => text(&step["tool"]),
        })
        .collect();
    let now = match timeline::wake(instance) {
        Some(wake) => format!("until {wake:.0}"),
        None => under_way.join(", "),
    };
    (new, short(&format!("… {} {now}", text(&instance["status"])), 100))
}

/// What starting an instance answers when it has ended.
fn outcome(instance: &Value) -> Value {
    let mut outcome = json!({"instance": instance["id"], "status": instance["status"]});
    for (name, from) in [("output", "output"), ("error", "fault")] {
        if !instance[from].is_null() {
            outcome[name] = instance[from].clone();
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_shown_once_and_what_it_waits_for_below() {
        let entry =
            |what: Value| json!({"time": "2026-01-01T00:00:00Z", "what": "", "by": "", "entry": what});
        let mut instance = json!({
            "status": "waiting", "steps": [], "wake_ms": 1_767_225_600_000_i64,
            "journal": [entry(json!({"started": {}}))],
        });
        let mut shown = 0;
        let (lines, live) = news(&instance, &mut shown);
        assert_eq!((lines.len(), &*live), (1, "… waiting until 2026-01-01T00:00:00Z"));
        assert_eq!(news(&instance, &mut shown).0.len(), 0);
        instance["journal"].as_array_mut().unwrap().push(entry(json!({"finished": {"status": "completed"}})));
        assert_eq!(news(&instance, &mut shown).0.len(), 1);
    }
}
