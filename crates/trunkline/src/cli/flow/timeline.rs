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
    for line in lines(instance) {
        let _ = writeln!(out, "{line}");
    }
    for row in instance["queued"].as_array().into_iter().flatten() {
        let what = text(&row["what"]);
        let _ = writeln!(out, "  {} waits for its turn, place {}: {what}", text(&row["key"]), row["place"]);
    }
    for (key, until, again) in waits(instance) {
        let what = if again { "is tried again" } else { "goes on" };
        let _ = writeln!(out, "  {key}  {what} at {until:.0}");
    }
    out
}

/// What waits now, until when, and whether it is the pause before another attempt.
fn waits(instance: &Value) -> Vec<(String, Timestamp, bool)> {
    let mut waits: Vec<(String, Timestamp, bool)> = Vec::new();
    for item in instance["journal"].as_array().into_iter().flatten() {
        let entry = &item["entry"];
        let key = |entry: &Value| entry["key"].as_str().unwrap_or_default().to_owned();
        if let Some(waiting) = entry.get("waiting") {
            let until = waiting["until"].as_str().and_then(|until| until.parse().ok());
            waits.extend(until.map(|until| (key(waiting), until, waiting["after"].is_object())));
        } else if let Some(decided) = entry.get("decided") {
            let over = key(decided);
            // Where a task ran out of time, nothing in it waits any more.
            let gone = over.strip_suffix("~timeout").unwrap_or("\0").to_owned();
            waits.retain(|(key, ..)| *key != over && !key.starts_with(&gone) && over != "~cancel");
        } else if entry.get("finished").is_some() || entry.get("compensating").is_some() {
            waits.clear();
        }
    }
    waits
}

/// Until when it waits.
pub(super) fn wake(instance: &Value) -> Option<Timestamp> {
    Timestamp::from_millisecond(instance["wake_ms"].as_i64()?).ok()
}

/// What happened, an entry a line.
pub(super) fn lines(instance: &Value) -> Vec<String> {
    let mut start: Option<Timestamp> = None;
    let mut lines = Vec::new();
    for item in instance["journal"].as_array().into_iter().flatten() {
        let Some(time) = item["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok()) else {
            continue;
        };
        let start = *start.get_or_insert(time);
        let after = time.duration_since(start).as_secs_f64();
        lines.extend(line(item).map(|line| format!("{after:>10.3} s  {line}")));
    }
    lines
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
