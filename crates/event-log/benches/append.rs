//! How fast the log takes events, beside what the disk does with a plain file in the same run.
//!
//! Durable appends by 64 producers and by one; recorded events, with the processor time each costs the producer and the
//! writer. Prints a table, and one line of JSON for programs. The disk is that of `TMPDIR`, or of the target folder.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops where something is wrong")]

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use trunkline_event_log::{Config, EventLog, Expected, Result, StreamId};
use trunkline_model::{Event, EventData, EventKind, Json, Phase, Principal};
use uuid::Uuid;

const PRODUCERS: usize = 64;
const TIME: Duration = Duration::from_secs(4);
const RECORDED: usize = 300_000;

/// What one leg came to.
struct Leg {
    name: &'static str,
    per_second: f64,
    p50: f64,
    p99: f64,
    /// Microseconds of processor time an event, of the whole process.
    cpu: f64,
    /// The share of it that the writer and its checkpoints take.
    writer: f64,
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let body = serialised(&event(Uuid::nil(), Uuid::nil()));
    let only: Option<String> = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
    let mut legs = Vec::new();
    let raw = [
        ("raw file, 1 event a sync", 1),
        ("raw file, 32 events a sync", 32),
        ("raw file, 64 events a sync", 64),
    ];
    for (name, events) in raw {
        if wanted(name) {
            legs.push(raw_file(name, folder.path(), &body, events));
        }
    }
    for (name, producers) in [("append, 1 producer", 1), ("append, 64 producers", PRODUCERS)] {
        if wanted(name) {
            legs.push(append(name, folder.path(), producers));
        }
    }
    if wanted("record") {
        legs.push(record(folder.path()));
        legs.push(paced(folder.path()));
    }
    print(&legs, &load);
}

/// Appends to a plain file and syncs after every so many events: what the disk can do.
fn raw_file(name: &'static str, folder: &Path, body: &[u8], events: usize) -> Leg {
    let mut file = File::create(folder.join("raw")).unwrap();
    let batch = body.repeat(events);
    let mut times = Vec::new();
    let (start, cpu) = (Instant::now(), processor());
    while start.elapsed() < TIME / 2 {
        let began = Instant::now();
        file.write_all(&batch).unwrap();
        file.sync_data().unwrap();
        times.push(began.elapsed());
    }
    leg(name, times, events, start.elapsed(), processor() - cpu)
}

fn append(name: &'static str, folder: &Path, producers: usize) -> Leg {
    let (log, writer) = open(folder, name);
    let runtime = runtime();
    let (start, cpu) = (Instant::now(), processor());
    let times: Vec<_> = runtime.block_on(async {
        let tasks: Vec<_> = (0..producers)
            .map(|_| {
                let log = log.clone();
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    while start.elapsed() < TIME {
                        let stream = Uuid::now_v7();
                        let began = Instant::now();
                        let events = vec![event(stream, Uuid::now_v7())];
                        log.append(stream, Expected::Any, events).await.unwrap();
                        times.push(began.elapsed());
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.unwrap());
        }
        times
    });
    let mut leg = leg(name, times, 1, start.elapsed(), processor() - cpu);
    leg.writer = writer_processor().as_secs_f64() * 1e6 / (leg.per_second * TIME.as_secs_f64());
    close(log, writer);
    leg
}

/// As many recorded events as the log can take: what the whole process pays.
fn record(folder: &Path) -> Leg {
    let (log, writer) = open(folder, "record");
    let mut events: Vec<_> = (0..RECORDED).map(|_| fresh()).collect();
    events.push(fresh());
    let (start, cpu) = (Instant::now(), processor());
    runtime().block_on(async {
        let last = events.pop().unwrap();
        for (stream, event) in events {
            log.record(stream, event).await.unwrap();
        }
        log.append(last.0, Expected::Any, vec![last.1]).await.unwrap();
    });
    let leg = recorded("record, flat out", vec![], RECORDED, start, cpu);
    close(log, writer);
    leg
}

/// Recorded events at a tenth of what the log could take, so that the producer never waits: the times are those that a
/// call pays.
fn paced(folder: &Path) -> Leg {
    let (log, writer) = open(folder, "paced");
    let mut times = Vec::new();
    let mut count = 0;
    let (start, cpu) = (Instant::now(), processor());
    runtime().block_on(async {
        while start.elapsed() < TIME {
            let events: Vec<_> = (0..100).map(|_| fresh()).collect();
            for (stream, event) in events {
                let began = Instant::now();
                log.record(stream, event).await.unwrap();
                times.push(began.elapsed());
            }
            count += 100;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (stream, event) = fresh();
        log.append(stream, Expected::Any, vec![event]).await.unwrap();
    });
    let leg = recorded("record, paced", times, count, start, cpu);
    close(log, writer);
    leg
}

fn recorded(name: &'static str, times: Vec<Duration>, count: usize, start: Instant, cpu: Duration) -> Leg {
    let (wall, cpu, writer) = (start.elapsed(), processor() - cpu, writer_processor());
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    let leg = leg(name, times, 1, wall, cpu);
    Leg { per_second: count as f64 / wall.as_secs_f64(), cpu: micros(cpu), writer: micros(writer), ..leg }
}

fn fresh() -> (StreamId, Event) {
    let stream = Uuid::now_v7();
    (stream.into(), event(stream, Uuid::now_v7()))
}

fn open(folder: &Path, name: &str) -> (EventLog, JoinHandle<Result<()>>) {
    let (log, writer) = Config::new(folder.join(name)).build(Arc::new(Timestamp::now)).unwrap();
    let thread = std::thread::Builder::new().name("writer".to_owned());
    (log, thread.spawn(move || writer.run()).unwrap())
}

fn close(log: EventLog, writer: JoinHandle<Result<()>>) {
    drop(log);
    writer.join().unwrap().unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn event(stream: Uuid, id: Uuid) -> Event {
    Event {
        id,
        kind: Cow::Borrowed(Event::type_of(EventKind::ToolExecution, Phase::Completed)),
        time: Timestamp::now(),
        source: Arc::from("/doors/mcp"),
        target: Arc::from("github/search_issues"),
        data: EventData {
            action: Cow::Borrowed("search_issues"),
            parameters: Json::parse(
                r#"{"query":"is:open label:bug","repository":"example/project","limit":20}"#,
            )
            .unwrap(),
            context: Json::parse(r#"{"outcome":"complete","duration_us":1234,"bytes":5120}"#).unwrap(),
        },
        correlation: stream,
        causation: None,
        traceparent: Some(Arc::from("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        principal: Arc::new(Principal::local()),
    }
}

fn serialised(event: &Event) -> Vec<u8> {
    let mut line = event.to_cloudevent().to_string().into_bytes();
    line.push(b'\n');
    line
}

fn leg(name: &'static str, mut times: Vec<Duration>, events: usize, wall: Duration, cpu: Duration) -> Leg {
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    let count = (times.len() * events) as f64;
    Leg {
        name,
        per_second: count / wall.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        cpu: cpu.as_secs_f64() * 1e6 / count.max(1.0),
        writer: 0.0,
    }
}

/// The processor time of this process so far, user and system.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// The processor time of the writer of the log that is open, and of its checkpoints.
fn writer_processor() -> Duration {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        if std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "writer") {
            let times = std::fs::read_to_string(task.join("schedstat")).unwrap();
            sum += times.split(' ').next().unwrap().parse::<u64>().unwrap();
        }
    }
    Duration::from_nanos(sum)
}

fn print(legs: &[Leg], load: &str) {
    println!(
        "{:<28}{:>12}{:>10}{:>10}{:>14}{:>11}",
        "", "events/s", "p50 ms", "p99 ms", "cpu us/event", "of writer"
    );
    for Leg { name, per_second, p50, p99, cpu, writer } in legs {
        println!("{name:<28}{per_second:>12.0}{p50:>10.4}{p99:>10.4}{cpu:>14.2}{writer:>11.2}");
    }
    let json: Vec<_> = legs
        .iter()
        .map(|leg| {
            serde_json::json!({
                "name": leg.name, "per_second": leg.per_second.round(),
                "p50_ms": leg.p50, "p99_ms": leg.p99, "cpu_us": leg.cpu, "writer_cpu_us": leg.writer,
            })
        })
        .collect();
    println!("{}", serde_json::json!({ "bench": "event-log", "load": load.trim(), "legs": json }));
}
