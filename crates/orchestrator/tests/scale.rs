//! Instances that wait for long: they are put aside, brought back when something happens, and never forgotten.

#![expect(clippy::unwrap_used, reason = "a test may end where something is missing")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_event_log::EventLog;
use trunkline_model::{BoxFuture, Effects, Failure, Json, Outcome, Principal, ToolResult};
use trunkline_orchestrator::outside::{Contract, NoEndpoints, StepCall, Tools};
use trunkline_orchestrator::workflow::Workflow;
use trunkline_orchestrator::{
    Bounds, Definitions, Ending, Engine, Entry, Instance, InstanceId, Parts, Resolution, Sources, Standing,
    Start, views,
};
use uuid::Uuid;

/// Tools that note their calls. `refuse…` refuses, `hang…` never answers.
#[derive(Default)]
struct Hands(Mutex<Vec<String>>);

struct World(Arc<Hands>);

impl Tools for World {
    fn contract(&self, _: &Principal, tool: &str) -> Result<Contract, Failure> {
        Ok(Contract {
            target: Arc::from(format!("world/{tool}")),
            version: Arc::from("1"),
            hash: Arc::from("h"),
            effects: Effects::default(),
            keyed: false,
            undo: None,
        })
    }

    fn call(&self, step: StepCall) -> BoxFuture<'static, Result<Outcome, Failure>> {
        self.0.0.lock().push(step.tool.to_string());
        Box::pin(async move {
            if step.tool.starts_with("hang") {
                return std::future::pending().await;
            }
            if step.tool.starts_with("refuse") {
                return Ok(ToolResult::text("no", true).into());
            }
            Ok(ToolResult::content(json!([]), Some(json!({})), false).into())
        })
    }
}

struct NoDefinitions;

impl Definitions for NoDefinitions {
    fn find(&self, _: &str, _: &str, _: &str) -> Option<Arc<Workflow>> {
        None
    }
}

/// An engine whose clock can be set.
struct Bench {
    folder: tempfile::TempDir,
    hands: Arc<Hands>,
    /// By how many seconds the clock is ahead.
    ahead: Arc<AtomicI64>,
    process: Option<Process>,
}

struct Process {
    log: EventLog,
    writer: std::thread::JoinHandle<()>,
    engine: Engine,
    closing: CancellationToken,
}

impl Bench {
    async fn new() -> Self {
        let mut bench = Self {
            folder: tempfile::tempdir().unwrap(),
            hands: Arc::default(),
            ahead: Arc::default(),
            process: None,
        };
        bench.open().await;
        bench
    }

    async fn open(&mut self) {
        let ahead = self.ahead.clone();
        let now = move || {
            let ahead = jiff::SignedDuration::from_secs(ahead.load(Ordering::Relaxed));
            Timestamp::now().saturating_add(ahead).unwrap()
        };
        let config = trunkline_event_log::Config::new(self.folder.path().join("events.db"));
        let (log, writer) = config.build(Arc::new(now.clone())).unwrap();
        let writer = std::thread::spawn(move || writer.run().unwrap());
        log.project(Box::new(views::Views)).await.unwrap();
        let closing = CancellationToken::new();
        let engine = Engine::new(Parts {
            log: log.clone(),
            tools: Arc::new(World(self.hands.clone())),
            endpoints: Arc::new(NoEndpoints),
            definitions: Arc::new(NoDefinitions),
            sources: Sources { now: Arc::new(now), time_id: Arc::new(Uuid::now_v7) },
            bounds: Bounds { backoff: Duration::from_millis(1), attempts: 2, ..Bounds::default() },
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            closing: closing.clone(),
        });
        self.process = Some(Process { log, writer, engine, closing });
    }

    /// Ends the process and begins another. Gives how many instances it goes on with.
    async fn restart(&mut self) -> usize {
        let Process { log, writer, closing, .. } = self.process.take().unwrap();
        closing.cancel();
        log.close();
        writer.join().unwrap();
        self.open().await;
        self.engine().resume_all().await.unwrap()
    }

    fn engine(&self) -> &Engine {
        &self.process.as_ref().unwrap().engine
    }

    fn log(&self) -> &EventLog {
        &self.process.as_ref().unwrap().log
    }

    fn start(&self, tasks: Value) -> Instance {
        let source = json!({
            "document": {"dsl": "1.0.3", "namespace": "test", "name": "flow", "version": "1.0.0"}, "do": tasks,
        });
        let workflow = Arc::new(Workflow::from_source(Arc::new(source)).unwrap());
        let input = Json::from_value(&json!({}));
        self.engine().start(Start { workflow, input, principal: Arc::new(Principal::local()) }).unwrap()
    }

    /// Waits until an entry is in the log for which `is` holds.
    async fn until(&self, id: InstanceId, is: impl Fn(&Entry) -> bool) {
        let mut events = self.log().subscribe(1);
        while let Some(recorded) = events.next().await.unwrap() {
            if recorded.event.correlation == id.0
                && let Ok(Some(entry)) = Entry::of_event(&recorded)
                && is(&entry)
            {
                return;
            }
        }
        panic!("the log has ended");
    }

    async fn put_aside(&self, id: InstanceId) {
        self.until(id, |entry| matches!(entry, Entry::PutAside { .. })).await;
    }

    /// Sets the clock. Who looks after what is put aside sees it when another instance is put aside.
    async fn pass(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
        let other = self.start(json!([{"long": {"wait": {"days": 30}}}]));
        self.put_aside(other.id).await;
    }

    fn calls(&self) -> Vec<String> {
        self.hands.0.lock().clone()
    }
}

fn call(name: &str, tool: &str) -> Value {
    json!({name: {"call": tool, "with": {}}})
}

fn undoable(name: &str) -> Value {
    let saga = json!({"undo": {"tool": format!("undo_{name}"), "args": {}}});
    json!({name: {"call": format!("do_{name}"), "with": {}, "metadata": {"trunkline.dev/saga": saga}}})
}

fn hour() -> Value {
    json!({"hour": {"wait": {"hours": 1}}})
}

#[tokio::test]
async fn what_waits_for_long_is_put_aside_and_comes_back_in_time() {
    let bench = Bench::new().await;
    let instance = bench.start(json!([call("a", "one"), hour(), call("b", "two")]));
    bench.put_aside(instance.id).await;
    let late = bench.engine().attach(instance.id).unwrap();
    bench.pass(3601).await;
    // Those who began to wait before it was put aside are told, and those who came then.
    assert_eq!(instance.finished().await.unwrap().status, Ending::Completed);
    assert_eq!(late.finished().await.unwrap().status, Ending::Completed);
    assert_eq!(bench.calls(), ["one", "two"]);
}

#[tokio::test]
async fn what_is_put_aside_can_be_cancelled() {
    let mut bench = Bench::new().await;
    let tasks = json!([undoable("a"), hour(), call("b", "two")]);
    let here = bench.start(tasks.clone());
    bench.put_aside(here.id).await;
    bench.engine().cancel(here.id, "anna", None).await.unwrap();
    assert_eq!(here.finished().await.unwrap().status, Ending::Undone);
    let there = bench.start(tasks).id;
    bench.put_aside(there).await;
    assert_eq!(bench.restart().await, 1);
    assert_eq!(bench.engine().standing(), Standing { unfinished: 1, running: 0 });
    let waited = bench.engine().attach(there).unwrap();
    bench.engine().cancel(there, "anna", None).await.unwrap();
    assert_eq!(waited.finished().await.unwrap().status, Ending::Undone);
    assert_eq!(bench.calls(), ["do_a", "undo_a", "do_a", "undo_a"]);
}

#[tokio::test]
async fn a_time_that_passed_while_no_process_ran_is_made_up_for() {
    let mut bench = Bench::new().await;
    let id = bench
        .start(json!([hour(), call("a", "one"), {"again": {"wait": {"hours": 1}}}, call("b", "two")]))
        .id;
    bench.put_aside(id).await;
    bench.ahead.fetch_add(3601, Ordering::Relaxed);
    assert_eq!(bench.restart().await, 1);
    bench.until(id, |entry| matches!(entry, Entry::Waiting { key, .. } if key.starts_with("/do/2"))).await;
    bench.ahead.fetch_add(3601, Ordering::Relaxed);
    assert_eq!(bench.restart().await, 1);
    assert_eq!(bench.engine().attach(id).unwrap().finished().await.unwrap().status, Ending::Completed);
    assert_eq!(bench.calls(), ["one", "two"]);
    assert_eq!(bench.engine().standing().unfinished, 0);
}

#[tokio::test]
async fn a_call_under_way_keeps_its_instance_in_memory() {
    let bench = Bench::new().await;
    let tasks = json!([{"both": {"fork": {"branches": [hour(), call("b", "hang")]}}}]);
    let instance = bench.start(tasks);
    bench.until(instance.id, |entry| matches!(entry, Entry::Waiting { .. })).await;
    while bench.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    // Another one that does nothing but wait is put aside meanwhile.
    bench.pass(0).await;
    assert_eq!(bench.engine().standing(), Standing { unfinished: 2, running: 1 });
}

#[tokio::test]
async fn branches_that_all_wait_are_put_aside_until_the_first_time() {
    let bench = Bench::new().await;
    let branch =
        |name: &str, hours: u32| json!({name: {"do": [{"w": {"wait": {"hours": hours}}}, call("c", name)]}});
    let tasks = json!([{"both": {"fork": {"branches": [branch("late", 3), branch("soon", 1)]}}}]);
    let instance = bench.start(tasks);
    bench.put_aside(instance.id).await;
    bench.pass(3601).await;
    // It has to be out of memory before the clock is set again: what is in memory waits for its timer.
    let times = std::cell::Cell::new(0);
    let again = |entry: &Entry| {
        times.set(times.get() + usize::from(matches!(entry, Entry::PutAside { .. })));
        times.get() == 2
    };
    bench.until(instance.id, again).await;
    bench.pass(7200).await;
    assert_eq!(instance.finished().await.unwrap().status, Ending::Completed);
    assert_eq!(bench.calls(), ["soon", "late"]);
}

#[tokio::test]
async fn a_time_limit_around_a_wait_is_kept() {
    let bench = Bench::new().await;
    let slow = json!({"slow": {"do": [hour()], "timeout": {"after": {"minutes": 10}}}});
    let instance = bench.start(json!([undoable("a"), slow]));
    bench.put_aside(instance.id).await;
    bench.pass(601).await;
    let finished = instance.finished().await.unwrap();
    assert_eq!((finished.status, finished.fault.unwrap().status), (Ending::Undone, 408));
}

#[tokio::test]
async fn a_step_that_is_stuck_can_be_resolved_at_once_after_a_restart() {
    let mut bench = Bench::new().await;
    let saga = json!({"undo": {"tool": "refuse_undo", "args": {}}});
    let step = json!({"a": {"call": "do_a", "with": {}, "metadata": {"trunkline.dev/saga": saga}}});
    let id = bench.start(json!([step, call("b", "refuse")])).id;
    bench.until(id, |entry| matches!(entry, Entry::Stuck { .. })).await;
    assert_eq!(bench.restart().await, 1);
    let waited = bench.engine().attach(id).unwrap();
    let skip = Resolution::Skip { reason: "seen to".to_owned() };
    bench.engine().resolve(id, "/do/0/a~undo", skip, "anna").await.unwrap();
    assert_eq!(waited.finished().await.unwrap().status, Ending::Undone);
}

#[tokio::test]
async fn retention_keeps_what_an_unfinished_instance_needs() {
    let mut bench = Bench::new().await;
    for _ in 0..3 {
        assert_eq!(
            bench.start(json!([call("a", "one")])).finished().await.unwrap().status,
            Ending::Completed
        );
    }
    let id = bench.start(json!([hour()])).id;
    bench.put_aside(id).await;
    assert_eq!(bench.restart().await, 1);
    let first = bench.log().read_stream(id.0, 1, 1).await.unwrap().events[0].position;
    let held = |connection: &trunkline_event_log::rusqlite::Connection| {
        connection.query_row("SELECT max(position) FROM hold WHERE name = 'flow'", [], |row| {
            row.get::<_, Option<u64>>(0)
        })
    };
    while bench.log().query(held).await.unwrap() != Some(first) {
        tokio::task::yield_now().await;
    }
}
