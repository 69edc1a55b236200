//! Kills a real process at the Nth `fdatasync` and `pwrite64`, N = 1..50, and takes the disk away from one: no event that
//! was acknowledged is lost, positions have no gap, and a projection's rows are at its checkpoint.
//!
//! Run without arguments this is the test; with a folder it is the process that is killed. The killing is done by
//! `strace`. Where that is missing the test says that it is skipped, and fails in CI.

#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]
#![expect(clippy::print_stdout, reason = "the process tells its parent what is acknowledged")]

use std::borrow::Cow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use trunkline_event_log::rusqlite::Transaction;
use trunkline_event_log::{Config, EventLog, Expected, Projection, ProjectionResult, RecordedEvent, Result};
use trunkline_model::{Event, EventData, EventKind, Json, Phase, Principal};
use uuid::Uuid;

const KILLS: u32 = 50;
const PRODUCERS: u32 = 8;
const ROUNDS: u32 = 12;

fn main() {
    let argument = std::env::args_os().nth(1).filter(|a| Path::new(a).is_dir());
    if let Some(folder) = argument {
        return produce(Path::new(&folder));
    }
    let strace = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !strace.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "strace is missing or may not trace; the crash test needs it"
        );
        println!("crash: skipped, as strace is missing or may not trace");
        return;
    }
    for call in ["fdatasync", "pwrite64"] {
        let grown = tempfile::tempdir().unwrap();
        let mut acknowledged = Vec::new();
        for n in 1..=KILLS {
            let fresh = tempfile::tempdir().unwrap();
            let inject = format!("{call}:signal=KILL:when={n}");
            check(fresh.path(), &run(fresh.path(), &inject).acknowledged);
            // The same on a log that was killed before.
            acknowledged.extend(run(grown.path(), &inject).acknowledged);
            check(grown.path(), &acknowledged);
        }
        println!(
            "crash: killed {} times at {call}, {} acknowledged events kept",
            2 * KILLS,
            acknowledged.len()
        );
    }
    for (inject, code) in [("pwrite64:error=ENOSPC", "TL5009"), ("fdatasync:error=EIO", "TL5010")] {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path(), &[]);
        let ran = run(folder.path(), &format!("{inject}:when=12..20"));
        assert!(ran.ended, "{inject}: the process did not come to its end");
        assert!(ran.errors.iter().any(|error| error == code), "{inject}: got {:?}, not {code}", ran.errors);
        let stored = check(folder.path(), &ran.acknowledged);
        let recorded = (PRODUCERS * ROUNDS) as usize;
        assert!(stored >= ran.acknowledged.len() + recorded, "{inject}: recorded events were lost");
        println!("crash: {inject} gave {code} to {} appends and lost nothing", ran.errors.len());
    }
}

/// What a run of the process printed before its end.
struct Ran {
    acknowledged: Vec<(u64, Uuid)>,
    errors: Vec<String>,
    ended: bool,
}

fn run(folder: &Path, inject: &str) -> Ran {
    let call = inject.split(':').next().unwrap();
    let output = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
            "-e",
            &format!("inject={inject}"),
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut ran = Ran { acknowledged: Vec::new(), errors: Vec::new(), ended: false };
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["ack", position, id] => ran.acknowledged.push((position.parse().unwrap(), id.parse().unwrap())),
            ["error", code] => ran.errors.push(code.to_owned()),
            ["end"] => ran.ended = true,
            _ => panic!("{line:?}"),
        }
    }
    ran
}

/// Opens the log again and looks for what was acknowledged. Returns how many events there are.
fn check(folder: &Path, acknowledged: &[(u64, Uuid)]) -> usize {
    let (log, writer) = open(folder);
    let stored = runtime().block_on(async {
        let mut stored = Vec::new();
        loop {
            let page = log.read_all(stored.len() as u64 + 1, 1000, None).await.unwrap();
            stored.extend(page.events);
            if page.end {
                break;
            }
        }
        assert!(stored.iter().zip(1..).all(|(event, position)| event.position == position), "a gap");
        assert_eq!(log.head(), stored.len() as u64);
        for (position, id) in acknowledged {
            let found = stored.get(*position as usize - 1).map(|event| event.event.id);
            assert_eq!(found, Some(*id), "the acknowledged event at {position}");
        }
        let sound: String =
            log.query(|sql| sql.query_row("PRAGMA integrity_check", [], |row| row.get(0))).await.unwrap();
        assert_eq!(sound, "ok");
        // The projection has one row for each event that it has seen, also before it goes on.
        let rows = "SELECT (SELECT count(*) FROM sqlite_schema WHERE name = 'seen'),
                    coalesce((SELECT position FROM projection WHERE name = 'seen'), 0)";
        let (exists, position): (u64, u64) =
            log.query(|sql| sql.query_row(rows, [], |row| Ok((row.get(0)?, row.get(1)?)))).await.unwrap();
        if exists == 1 {
            assert_eq!(seen(&log).await, (1..=position).collect::<Vec<_>>());
        }
        log.project(Box::new(Seen)).await.unwrap();
        log.projected("seen", log.head()).await.unwrap();
        assert_eq!(seen(&log).await, (1..=log.head()).collect::<Vec<_>>());
        stored.len()
    });
    drop(log);
    writer.join().unwrap().unwrap();
    stored
}

async fn seen(log: &EventLog) -> Vec<u64> {
    log.query(|sql| {
        let mut rows = sql.prepare("SELECT position FROM seen ORDER BY rowid")?;
        rows.query_map([], |row| row.get(0))?.collect()
    })
    .await
    .unwrap()
}

/// The process that is killed: appends, records and projects, and prints what is acknowledged.
fn produce(folder: &Path) {
    let (log, writer) = open(folder);
    runtime().block_on(async {
        log.project(Box::new(Seen)).await.unwrap();
        let mut producers = JoinSet::new();
        for _ in 0..PRODUCERS {
            producers.spawn(producer(log.clone()));
        }
        producers.join_all().await;
    });
    drop(log);
    writer.join().unwrap().unwrap();
    println!("end");
}

async fn producer(log: EventLog) {
    for _ in 0..ROUNDS {
        let stream = Uuid::now_v7();
        log.record(stream, event()).await.unwrap();
        let events = vec![event(), event()];
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        match log.append(stream, Expected::Any, events).await {
            Ok(at) => {
                let lines =
                    (at.first_position..).zip(ids).map(|(position, id)| format!("ack {position} {id}\n"));
                print!("{}", lines.collect::<String>());
            }
            Err(error) => println!("error {}", error.code()),
        }
    }
}

fn open(folder: &Path) -> (EventLog, JoinHandle<Result<()>>) {
    let mut config = Config::new(folder.join("events.db"));
    config.wal_bytes = 64 << 10;
    config.batch_interval = Duration::from_millis(2);
    let (log, writer) = config.build(Arc::new(Timestamp::now)).unwrap();
    (log, std::thread::spawn(move || writer.run()))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn event() -> Event {
    let id = Uuid::now_v7();
    Event {
        id,
        kind: Cow::Borrowed(Event::type_of(EventKind::ToolExecution, Phase::Completed)),
        time: Timestamp::now(),
        source: Arc::from("/doors/mcp"),
        target: Arc::from("shop/pay"),
        data: EventData {
            action: Cow::Borrowed("pay"),
            parameters: Json::empty_object(),
            context: Json::empty_object(),
        },
        correlation: id,
        causation: None,
        traceparent: None,
        principal: Arc::new(Principal::local()),
    }
}

/// Keeps the position of every event.
struct Seen;

impl Projection for Seen {
    fn name(&self) -> &str {
        "seen"
    }

    fn version(&self) -> u32 {
        1
    }

    fn setup(&self, transaction: &Transaction<'_>) -> ProjectionResult {
        Ok(transaction.execute_batch("CREATE TABLE IF NOT EXISTS seen (position INTEGER NOT NULL)")?)
    }

    fn apply(&self, transaction: &Transaction<'_>, event: &RecordedEvent) -> ProjectionResult {
        transaction.prepare_cached("INSERT INTO seen VALUES (?1)")?.execute([event.position])?;
        Ok(())
    }

    fn reset(&self, transaction: &Transaction<'_>) -> ProjectionResult {
        Ok(transaction.execute_batch("DROP TABLE IF EXISTS seen")?)
    }
}
