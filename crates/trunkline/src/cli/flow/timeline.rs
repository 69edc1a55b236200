//! An instance as a timeline: what happened when, with attempts, waits, and what comes next.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;

use crate::cli::output::short;

/// The timeline of `GET /v1/instances/{id}`.
pub(super) fn of(instance: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(
        out,
        "{}  {} {}  {}",
        text(&instance["id"]),
        text(&instance["flow"]),
        text(&instance["version"]),
        text(&instance["status"])
    );
    if let Some(fault) = instance["fault"].as_str() {
        let _ = writeln!(out, "{}", short(fault, 200));
    }
    let mut start: Option<Timestamp> = None;
    for item in instance["journal"].as_array().into_iter().flatten() {
        let Ok(time) = text(&item["time"]).parse::<Timestamp>() else { continue };
        let start = *start.get_or_insert(time);
        let after = time.duration_since(start).as_secs_f64();
        if let Some(line) = line(item) {
            let _ = writeln!(out, "{after:>10.3} s  {line}");
        }
    }
    for row in instance["queued"].as_array().into_iter().flatten() {
        let what = text(&row["what"]);
        let _ = writeln!(out, "  {} waits for its turn, place {}: {what}", text(&row["key"]), row["place"]);
    }
    if let Some(wake) = instance["wake_ms"].as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
        let _ = writeln!(out, "  goes on at {wake:.0}");
    }
    out
}

/// One entry of the journal; `None` for one that says nothing to people.
fn line(item: &Value) -> Option<String> {
    let (name, entry) = item["entry"].as_object()?.iter().next()?;
    let key = entry["key"].as_str().unwrap_or_default();
    let words = |fault: &Value| {
        let title = fault["title"].as_str().unwrap_or("error");
        short(&format!("{title}: {}", fault["detail"].as_str().unwrap_or_default()), 110)
    };
    Some(match name.as_str() {
        "started" => match entry.get("retry_of").filter(|of| of.is_object()) {
            Some(of) => {
                let text = |name: &str| of[name].as_str().unwrap_or_default();
                let from = if text("from").is_empty() { "its start" } else { text("from") };
                format!("started in the place of {} by {}, from {from}", text("instance"), text("by"))
            }
            None => "started".to_owned(),
        },
        "queued" => {
            let key = if key == "~queue" { "the instance" } else { key };
            format!("{key}  waits for its turn: {}", entry["what"].as_str().unwrap_or_default())
        }
        "unqueued" => format!("{}  waits no more", if key == "~queue" { "the instance" } else { key }),
        "undo_requested" => {
            format!("to be undone: {} asked for it", entry["by"].as_str().unwrap_or_default())
        }
        "retried" => format!("{} is in its place", entry["instance"].as_str().unwrap_or_default()),
        "intended" => {
            let attempt = entry["attempt"].as_u64().unwrap_or(1);
            let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
            let verb = if entry.get("undoes").is_some_and(Value::is_string) { "undoes" } else { "calls" };
            format!("{key}  {verb} {}{again}", entry["target"].as_str().unwrap_or_default())
        }
        "ended" => {
            let (outcome, what) = entry["outcome"].as_object()?.iter().next()?;
            let took = entry["duration_us"].as_f64().unwrap_or(0.0) / 1000.0;
            match outcome.as_str() {
                "succeeded" => format!("{key}  done in {took:.1} ms"),
                other => format!("{key}  {other} after {took:.1} ms: {}", words(what)),
            }
        }
        "passed" => format!("{key}  passed"),
        "waiting" => {
            let after =
                entry.get("after").map(|fault| format!(", after {}", words(fault))).unwrap_or_default();
            format!("{key}  waits until {}{after}", entry["until"].as_str().unwrap_or_default())
        }
        "cancel_requested" => format!("cancelled by {}", entry["by"].as_str().unwrap_or_default()),
        "compensating" => format!("undoes what was done, because of {}", words(&entry["fault"])),
        "stuck" => format!("{key}  STUCK, needs a person: {}", words(&entry["fault"])),
        "resolved" => format!(
            "{key}  resolved by {}: {}",
            entry["by"].as_str().unwrap_or_default(),
            entry["resolution"]
        ),
        "finished" => entry["status"].as_str().unwrap_or("finished").to_owned(),
        _ => return None,
    })
}
