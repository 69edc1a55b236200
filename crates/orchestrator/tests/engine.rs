//! The engine on a real event log. The tools are stand-ins whose effects can be counted.

#![expect(clippy::unwrap_used, reason = "a test may end where something is missing")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_event_log::EventLog;
use trunkline_model::{BoxFuture, EffectState, Effects, Failure, Json, Outcome, Principal, ToolResult};
use trunkline_orchestrator::entry::{Finished, Undo};
use trunkline_orchestrator::outside::{Contract, NoEndpoints, StepCall, Tools};
use trunkline_orchestrator::transaction::{Decision, OutsideCall};
use trunkline_orchestrator::workflow::Workflow;
use trunkline_orchestrator::{
    Bounds, Definitions, Ending, Engine, Entry, Error, InstanceId, Parts, Resolution, Sources, Start, views,
};
use uuid::Uuid;

/// Tools with effects that can be counted. Their names say how they behave: `read_…`, `refuse_…`, `lost_…` (it happens
/// and nobody hears of it), `hang_…`, `keyed_…`.
#[derive(Default)]
struct World {
    /// The calls, in their order: tool and arguments.
    calls: Mutex<Vec<(String, Value)>>,
    /// The answers by idempotency key, of tools that honour it.
    keyed: Mutex<HashMap<String, Value>>,
    /// How often a tool of this name still fails.
    failing: Mutex<HashMap<String, usize>>,
    count: AtomicUsize,
    /// Where it is set, every call looks whether its intent is in the log.
    record: Mutex<Option<EventLog>>,
    unrecorded: AtomicUsize,
}

impl World {
    /// Counts a call whose intent is not in the log when it is made.
    async fn look(&self, step: &StepCall) {
        let Some(log) = self.record.lock().clone() else { return };
        let page = log.read_stream(step.instance.0, 1, 10_000).await.unwrap();
        let known = page.events.iter().filter_map(|recorded| Entry::of_event(recorded).unwrap()).any(|entry| {
            matches!(entry, Entry::Intended(intended) if intended.idempotency_key == step.idempotency_key)
        });
        if !known {
            self.unrecorded.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn names(&self) -> Vec<String> {
        self.calls.lock().iter().map(|(name, _)| name.clone()).collect()
    }

    fn done(&self, call: &StepCall) -> Value {
        let keyed = call.tool.contains("keyed");
        if keyed && let Some(known) = self.keyed.lock().get(&*call.idempotency_key) {
            return known.clone();
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let value = json!({"number": number, "tool": &*call.tool});
        self.calls.lock().push((call.tool.to_string(), call.arguments.to_value()));
        self.keyed.lock().insert(call.idempotency_key.to_string(), value.clone());
        value
    }
}

struct Hands(Arc<World>);

impl Tools for Hands {
    fn contract(&self, _principal: &Principal, tool: &str) -> Result<Contract, Failure> {
        let read_only = tool.starts_with("read");
        Ok(Contract {
            target: Arc::from(format!("world/{tool}")),
            version: Arc::from("1"),
            hash: Arc::from("h"),
            effects: Effects { read_only, idempotent: read_only, ..Effects::default() },
            keyed: tool.contains("keyed"),
            undo: tool.contains("declared").then(|| Undo {
                tool: Arc::from("undo_declared"),
                args: json!({}),
                safe: false,
            }),
        })
    }

    fn call(&self, step: StepCall) -> BoxFuture<'static, Result<Outcome, Failure>> {
        let world = self.0.clone();
        Box::pin(async move {
            world.look(&step).await;
            let lost = || Failure::service("TL4005", "Lost", "no answer", EffectState::Unknown, "Look.");
            if let Some(left) = world.failing.lock().get_mut(&*step.tool)
                && *left > 0
            {
                *left -= 1;
                return Err(Failure { effect: EffectState::None, ..lost() });
            }
            if step.tool.starts_with("refuse") {
                return Ok(ToolResult::text("no", true).into());
            }
            if step.tool.starts_with("hang") && !world.keyed.lock().contains_key(&*step.idempotency_key) {
                world.done(&step);
                return std::future::pending().await;
            }
            let value = world.done(&step);
            if step.tool.starts_with("lost") {
                return Err(lost());
            }
            Ok(ToolResult::content(json!([]), Some(value), false).into())
        })
    }
}

/// The definitions that others may run: `mail`, one step, and `again`, which begins itself again.
struct Known;

impl Definitions for Known {
    fn find(&self, _: &str, name: &str, _: &str) -> Option<Arc<Workflow>> {
        let tasks = match name {
            "mail" => json!([call("a", "mail")]),
            "again" => json!([beside("again"), call("a", "read_stock")]),
            _ => return None,
        };
        Some(defined(name, tasks))
    }
}

fn defined(name: &str, tasks: Value) -> Arc<Workflow> {
    let document = json!({"dsl": "1.0.3", "namespace": "test", "name": name, "version": "1.0.0"});
    Arc::new(Workflow::from_source(Arc::new(json!({"document": document, "do": tasks}))).unwrap())
}

/// Begins another and does not wait for it.
fn beside(name: &str) -> Value {
    let workflow = json!({"namespace": "test", "name": name, "version": "1.0.0", "input": {"by": "${ . }"}});
    json!({"begin": {"run": {"workflow": workflow, "await": false}}})
}

/// A log in a folder and an engine on it.
struct Bench {
    folder: tempfile::TempDir,
    world: Arc<World>,
    log: EventLog,
    writer: Option<std::thread::JoinHandle<()>>,
    engine: Engine,
    closing: CancellationToken,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Arc::new(World::default());
        let (log, writer, engine, closing) = open(folder.path(), &world).await;
        Self { folder, world, log, writer: Some(writer), engine, closing }
    }

    /// Ends the engine as the end of a process does, and begins another on the same log.
    async fn restart(&mut self) -> usize {
        self.closing.cancel();
        // What the instances have noted and not flushed is lost with the process.
        self.log.close();
        self.writer.take().unwrap().join().unwrap();
        let (log, writer, engine, closing) = open(self.folder.path(), &self.world).await;
        (self.log, self.engine, self.closing) = (log, engine, closing);
        self.writer = Some(writer);
        self.engine.resume_all().await.unwrap()
    }

    fn start(&self, tasks: Value) -> trunkline_orchestrator::Instance {
        let workflow = defined("flow", tasks);
        let input = Json::from_value(&json!({}));
        self.engine.start(Start { workflow, input, principal: Arc::new(Principal::local()) }).unwrap()
    }

    async fn run(&self, tasks: Value) -> Finished {
        self.start(tasks).finished().await.unwrap()
    }

    /// Waits until an entry is in the log for which `is` holds.
    async fn until(&self, id: InstanceId, is: impl Fn(&Entry) -> bool) {
        let mut events = self.log.subscribe(1);
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
}

async fn open(
    folder: &std::path::Path,
    world: &Arc<World>,
) -> (EventLog, std::thread::JoinHandle<()>, Engine, CancellationToken) {
    let config = trunkline_event_log::Config::new(folder.join("events.db"));
    let (log, writer) = config.build(Arc::new(Timestamp::now)).unwrap();
    let writer = std::thread::spawn(move || writer.run().unwrap());
    log.project(Box::new(views::Views)).await.unwrap();
    let closing = CancellationToken::new();
    let engine = Engine::new(Parts {
        log: log.clone(),
        tools: Arc::new(Hands(world.clone())),
        endpoints: Arc::new(NoEndpoints),
        definitions: Arc::new(Known),
        sources: Sources { now: Arc::new(Timestamp::now), time_id: Arc::new(Uuid::now_v7) },
        bounds: Bounds {
            backoff: Duration::from_millis(1),
            attempts: 3,
            again: Duration::from_millis(200),
            ..Bounds::default()
        },
        tasks: TaskTracker::new(),
        runtime: tokio::runtime::Handle::current(),
        closing: closing.clone(),
    });
    (log, writer, engine, closing)
}

fn call(name: &str, tool: &str) -> Value {
    json!({name: {"call": tool, "with": {"name": name}}})
}

fn undoable(name: &str, tool: &str) -> Value {
    let saga = json!({"undo": {"tool": format!("undo_{name}"), "args": {"of": name}}});
    json!({name: {"call": tool, "with": {"name": name}, "metadata": {"trunkline.dev/saga": saga}}})
}

#[tokio::test]
async fn steps_are_done_one_after_the_other() {
    let bench = Bench::new().await;
    let finished = bench.run(json!([call("a", "book"), call("b", "charge"), call("c", "ship")])).await;
    assert_eq!(finished.status, Ending::Completed, "{finished:?}");
    assert_eq!(bench.world.names(), ["book", "charge", "ship"]);
    assert_eq!(finished.output.unwrap().to_value()["tool"], "ship");
}

#[tokio::test]
async fn what_was_done_is_undone_in_reverse_order() {
    let bench = Bench::new().await;
    let tasks = json!([
        undoable("a", "book"),
        undoable("b", "charge"),
        call("r", "read_stock"),
        call("c", "declared_pack"),
        call("d", "refuse_ship"),
    ]);
    let finished = bench.run(tasks).await;
    assert_eq!(finished.status, Ending::Undone, "{finished:?}");
    assert_eq!(finished.fault.unwrap().instance.as_deref(), Some("/do/4/d"));
    assert_eq!(
        bench.world.names(),
        ["book", "charge", "read_stock", "declared_pack", "undo_declared", "undo_b", "undo_a"]
    );
}

#[tokio::test]
async fn a_flow_that_did_nothing_just_fails() {
    let bench = Bench::new().await;
    let finished = bench.run(json!([call("a", "read_stock"), call("b", "refuse_ship")])).await;
    assert_eq!(finished.status, Ending::Faulted);
}

#[tokio::test]
async fn a_run_goes_on_after_a_crash_and_does_nothing_twice() {
    let mut bench = Bench::new().await;
    let tasks = json!([
        call("a", "book"),
        {"pause": {"wait": {"milliseconds": 300}}},
        {"both": {"fork": {"branches": [call("b", "charge"), call("c", "ship")]}}},
        {"pause2": {"wait": {"milliseconds": 300}}},
        call("d", "mail"),
    ]);
    let instance = bench.start(tasks);
    let id = instance.id;
    bench.until(id, |entry| matches!(entry, Entry::Waiting { key, .. } if &**key == "/do/1/pause")).await;
    assert_eq!(bench.restart().await, 1);
    bench.until(id, |entry| matches!(entry, Entry::Waiting { key, .. } if &**key == "/do/3/pause2")).await;
    assert_eq!(bench.restart().await, 1);
    let finished = bench.engine.attach(id).unwrap().finished().await.unwrap();
    assert_eq!(finished.status, Ending::Completed, "{finished:?}");
    assert_eq!(bench.world.names(), ["book", "charge", "ship", "mail"]);
    assert_eq!(bench.restart().await, 0);
}

#[tokio::test]
async fn what_is_not_waited_for_runs_once_and_on_its_own() {
    let mut bench = Bench::new().await;
    let tasks = json!([beside("mail"), {"pause": {"wait": {"milliseconds": 300}}}, call("b", "refuse_ship")]);
    let id = bench.start(tasks).id;
    bench.until(id, |entry| matches!(entry, Entry::Waiting { .. })).await;
    // Cut off within its call, the other one would not know what came of it.
    let mut events = bench.log.subscribe(1);
    while let Some(recorded) = events.next().await.unwrap() {
        if matches!(Entry::of_event(&recorded), Ok(Some(Entry::Finished(end))) if end.status == Ending::Completed)
        {
            break;
        }
    }
    bench.restart().await;
    let mut begun = Vec::new();
    let mut events = bench.log.subscribe(1);
    while let Some(recorded) = events.next().await.unwrap() {
        match Entry::of_event(&recorded) {
            Ok(Some(Entry::Started(started))) if started.parent.is_some() => begun.push(started),
            Ok(Some(Entry::Finished(end))) if end.status == Ending::Faulted => break,
            _ => {}
        }
    }
    let [other] = &begun[..] else { panic!("{begun:?}") };
    let parent = other.parent.as_ref().unwrap();
    assert_eq!((parent.instance, &*parent.step, parent.depth), (id, "/do/0/begin", 1));
    assert_eq!(other.input.to_value(), json!({"by": {}}));
    assert_eq!(bench.world.names(), ["mail"]);
}

#[tokio::test]
async fn instances_that_begin_each_other_without_end_are_stopped() {
    let bench = Bench::new().await;
    bench.start(json!([beside("again")]));
    let mut events = bench.log.subscribe(1);
    let mut depth = 0;
    while let Some(recorded) = events.next().await.unwrap() {
        match Entry::of_event(&recorded) {
            Ok(Some(Entry::Started(started))) => depth = started.parent.map_or(0, |parent| parent.depth),
            Ok(Some(Entry::Finished(end))) if end.status == Ending::Faulted => break,
            _ => {}
        }
    }
    assert_eq!(depth, 100);
}

#[tokio::test]
async fn a_step_cut_off_by_a_crash_is_found_out_by_its_key_or_asked_about() {
    let mut bench = Bench::new().await;
    let keyed = bench.start(json!([undoable("a", "hang_keyed")]));
    let blind = bench.start(json!([undoable("x", "book"), undoable("a", "hang_blind")]));
    let begun = |entry: &Entry| matches!(entry, Entry::Intended(i) if i.key.ends_with("/a"));
    bench.until(keyed.id, begun).await;
    bench.until(blind.id, begun).await;
    while bench.world.names().iter().filter(|name| name.starts_with("hang")).count() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.restart().await, 2);
    // The tool that honours its key is asked again, and does nothing new.
    bench.until(blind.id, |entry| matches!(entry, Entry::Stuck { unknown: true, .. })).await;
    let blindly = bench.engine.attach(blind.id).unwrap();
    bench.log.projected(views::NAME, bench.log.head()).await.unwrap();
    assert_eq!(views::instance(&bench.log, blind.id).await.unwrap().unwrap().status, "stuck");
    let seen = Resolution::Resolve { done: true, result: json!({"number": 7}) };
    bench.engine.resolve(blind.id, "/do/1/a", seen, "anna").await.unwrap();
    let finished = blindly.finished().await.unwrap();
    assert_eq!(finished.status, Ending::Undone, "{finished:?}");
    let names = bench.world.names();
    assert_eq!(names.iter().filter(|name| *name == "hang_blind").count(), 1, "{names:?}");
    assert_eq!(names.iter().filter(|name| *name == "hang_keyed").count(), 1, "{names:?}");
    assert_eq!(names[names.len() - 2..], ["undo_a", "undo_x"]);
}

#[tokio::test]
async fn a_step_whose_branch_had_gone_before_the_crash_is_undone_too() {
    let mut bench = Bench::new().await;
    let tasks = json!([
        undoable("a", "book"),
        {"both": {"fork": {"branches": [undoable("b", "hang_keyed"), call("c", "refuse_ship")]}}},
    ]);
    let id = bench.start(tasks).id;
    bench.until(id, |entry| matches!(entry, Entry::Ended(end) if end.key.ends_with("/c"))).await;
    assert_eq!(bench.restart().await, 1);
    bench.until(id, |entry| matches!(entry, Entry::Finished(end) if end.status == Ending::Undone)).await;
    assert_eq!(bench.world.names(), ["book", "hang_keyed", "undo_b", "undo_a"]);
}

#[tokio::test]
async fn an_undo_that_keeps_failing_waits_for_a_person() {
    let bench = Bench::new().await;
    bench.world.failing.lock().insert("undo_a".to_owned(), 4);
    let instance = bench.start(json!([undoable("a", "book"), call("b", "refuse_ship")]));
    bench.until(instance.id, |entry| matches!(entry, Entry::Stuck { unknown: false, .. })).await;
    bench.engine.resolve(instance.id, "/do/0/a~undo", Resolution::Retry, "anna").await.unwrap();
    let finished = instance.finished().await.unwrap();
    assert_eq!(finished.status, Ending::Undone, "{finished:?}");
    assert_eq!(bench.world.names(), ["book", "undo_a"]);
}

#[tokio::test]
async fn an_undo_that_failed_for_a_while_goes_on_by_itself() {
    let bench = Bench::new().await;
    bench.world.failing.lock().insert("undo_a".to_owned(), 10);
    let finished = bench.run(json!([undoable("a", "book"), call("b", "refuse_ship")])).await;
    assert_eq!(finished.status, Ending::Undone, "{finished:?}");
    assert_eq!(bench.world.names(), ["book", "undo_a"]);
}

#[tokio::test]
async fn a_step_that_was_lost_and_then_refused_keeps_its_key() {
    let bench = Bench::new().await;
    bench.world.failing.lock().insert("lost_keyed".to_owned(), 0);
    // The first attempt is lost; the second is refused for a moment; the third finds what the first has done.
    let instance = bench.start(json!([call("a", "lost_keyed")]));
    bench.until(instance.id, |entry| matches!(entry, Entry::Ended(_))).await;
    bench.world.failing.lock().insert("lost_keyed".to_owned(), 1);
    let finished = instance.finished().await.unwrap();
    assert_eq!(finished.status, Ending::Faulted, "{finished:?}");
    assert_eq!(bench.world.names(), ["lost_keyed"]);
}

#[tokio::test]
async fn a_pivot_of_unknown_outcome_is_asked_about_before_anything_is_undone() {
    let bench = Bench::new().await;
    let pivot = json!({"trunkline.dev/saga": {"pivot": true}});
    let tasks = json!([
        undoable("a", "book"),
        {"p": {"call": "lost_charge", "with": {}, "metadata": pivot}},
        call("c", "ship"),
    ]);
    let instance = bench.start(tasks);
    bench.until(instance.id, |entry| matches!(entry, Entry::Stuck { unknown: true, .. })).await;
    // Past a pivot that may have been done, there may be no way back.
    bench.engine.cancel(instance.id, "anna", None).await.unwrap();
    let done = Resolution::Resolve { done: true, result: json!({}) };
    bench.engine.resolve(instance.id, "/do/1/p", done, "anna").await.unwrap();
    let finished = instance.finished().await.unwrap();
    assert_eq!(finished.status, Ending::Completed, "{finished:?}");
    assert_eq!(bench.world.names(), ["book", "lost_charge", "ship"]);
}

#[tokio::test]
async fn what_may_have_been_done_once_is_not_done_again_past_the_pivot() {
    let bench = Bench::new().await;
    let pivot = json!({"trunkline.dev/saga": {"pivot": true}});
    let tasks = json!([{"p": {"call": "charge", "with": {}, "metadata": pivot}}, call("c", "lost_ship")]);
    let instance = bench.start(tasks);
    bench.until(instance.id, |entry| matches!(entry, Entry::Stuck { unknown: true, .. })).await;
    let done = Resolution::Resolve { done: true, result: json!({}) };
    bench.engine.resolve(instance.id, "/do/1/c", done, "anna").await.unwrap();
    assert_eq!(instance.finished().await.unwrap().status, Ending::Completed);
    assert_eq!(bench.world.names(), ["charge", "lost_ship"]);
}

#[tokio::test]
async fn an_instance_is_seen_to_be_stuck_whatever_its_other_branches_do() {
    let bench = Bench::new().await;
    let pivot = json!({"trunkline.dev/saga": {"pivot": true}});
    let slow = json!({"w": {"do": [{"x": {"wait": {"milliseconds": 50}}}, call("y", "book")]}});
    let tasks = json!([
        {"p": {"call": "charge", "with": {}, "metadata": pivot}},
        {"both": {"fork": {"branches": [call("c", "refuse_ship"), slow]}}},
    ]);
    let instance = bench.start(tasks);
    bench.until(instance.id, |entry| matches!(entry, Entry::Stuck { .. })).await;
    bench.until(instance.id, |entry| matches!(entry, Entry::Ended(end) if end.key.ends_with("/y"))).await;
    bench.log.projected(views::NAME, bench.log.head()).await.unwrap();
    let row = views::instance(&bench.log, instance.id).await.unwrap().unwrap();
    assert_eq!(row.status, "stuck");
}

#[tokio::test]
async fn after_the_pivot_there_is_only_forward() {
    let bench = Bench::new().await;
    bench.world.failing.lock().insert("ship".to_owned(), 2);
    let tasks = json!([
        undoable("a", "book"),
        {"p": {"call": "charge", "with": {}, "metadata": {"trunkline.dev/saga": {"pivot": true}}}},
        call("c", "ship"),
    ]);
    let finished = bench.run(tasks).await;
    assert_eq!(finished.status, Ending::Completed, "{finished:?}");
    assert_eq!(bench.world.names(), ["book", "charge", "ship"]);
}

#[tokio::test]
async fn a_cancelled_run_undoes_what_it_did() {
    let mut bench = Bench::new().await;
    let tasks = json!([undoable("a", "book"), {"pause": {"wait": {"hours": 1}}}, call("b", "ship")]);
    let instance = bench.start(tasks);
    let id = instance.id;
    bench.until(id, |entry| matches!(entry, Entry::Waiting { .. })).await;
    assert_eq!(bench.restart().await, 1);
    bench.engine.cancel(id, "anna", Some("no need")).await.unwrap();
    bench.until(id, |entry| matches!(entry, Entry::Finished(end) if end.status == Ending::Undone)).await;
    assert_eq!(bench.world.names(), ["book", "undo_a"]);
}

#[tokio::test]
async fn errors_are_caught_and_tried_again() {
    let bench = Bench::new().await;
    bench.world.failing.lock().insert("charge".to_owned(), 2);
    let retry = json!({"delay": {"milliseconds": 1}, "limit": {"attempt": {"count": 3}}});
    let tasks = json!([
        {"t": {"try": [call("a", "charge")], "catch": {"errors": {"with": {"status": 502}}, "retry": retry}}},
        {"u": {"try": [call("b", "refuse_ship")], "catch": {"as": "e", "do": [{"s": {"set": {"caught": true}}}]}}},
    ]);
    let finished = bench.run(tasks).await;
    assert_eq!(finished.status, Ending::Completed, "{finished:?}");
    assert_eq!(finished.output.unwrap().to_value(), json!({"caught": true}));
    assert_eq!(bench.world.names(), ["charge"]);
}

#[tokio::test]
async fn a_timeout_ends_a_task_and_its_step_is_still_waited_for() {
    let bench = Bench::new().await;
    let slow =
        json!({"slow": {"do": [{"w": {"wait": {"hours": 1}}}], "timeout": {"after": {"milliseconds": 20}}}});
    let finished = bench.run(json!([undoable("a", "book"), slow])).await;
    assert_eq!(finished.status, Ending::Undone);
    assert_eq!(finished.fault.unwrap().status, 408);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_made_before_its_intent_is_in_the_log() {
    let bench = Bench::new().await;
    *bench.world.record.lock() = Some(bench.log.clone());
    let branches: Vec<Value> = (0..60)
        .map(|n| {
            let steps: Vec<Value> = (0..3).map(|m| call(&format!("s{m}"), "book")).collect();
            json!({format!("b{n}"): {"do": steps}})
        })
        .collect();
    let finished = bench.run(json!([{"all": {"fork": {"branches": branches}}}])).await;
    assert_eq!(finished.status, Ending::Completed, "{finished:?}");
    assert_eq!(bench.world.names().len(), 180);
    assert_eq!(bench.world.unrecorded.load(Ordering::Relaxed), 0);
}

/// Calls a tool as a step of a transaction.
async fn within(bench: &Bench, id: InstanceId, tool: &str) -> Result<Outcome, Failure> {
    let (hands, principal) = (Hands(bench.world.clone()), Arc::new(Principal::local()));
    let (name, given) = (Arc::<str>::from(tool), Json::from_value(&json!({"name": tool})));
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let (tool, arguments, by) = (name.clone(), given.clone(), principal.clone());
    let make = move |idempotency_key| {
        hands.call(StepCall {
            instance: id,
            tool,
            arguments,
            idempotency_key,
            principal: by,
            deadline,
            trace: Default::default(),
        })
    };
    let undo = name.starts_with("own").then(|| Undo {
        tool: Arc::from(format!("undo_{name}")),
        args: json!({"number": "${ .result.number }"}),
        safe: false,
    });
    let call = OutsideCall {
        tool: name,
        arguments: given,
        idempotency_key: None,
        undo,
        deadline,
        make: Box::new(make),
    };
    bench.engine.within(id, &principal, call).await
}

fn begin(bench: &Bench, timeout: Duration) -> trunkline_orchestrator::Instance {
    let conversation = Some(Arc::from("talk"));
    bench.engine.begin(Arc::new(Principal::local()), timeout, conversation, None).unwrap()
}

async fn end(bench: &Bench, id: InstanceId, decision: Decision) -> Finished {
    bench.engine.end(id, &Principal::local(), decision).await.unwrap().finished().await.unwrap()
}

fn rollback() -> Decision {
    Decision::Rollback { by: Some("anna".to_owned()), reason: "changed her mind".to_owned() }
}

#[tokio::test]
async fn a_transaction_is_undone_as_a_whole_or_kept() {
    let mut bench = Bench::new().await;
    let kept = begin(&bench, Duration::from_secs(60));
    let conversation: Arc<str> = Arc::from("talk");
    assert_eq!(bench.engine.transaction_of(&Principal::local(), &conversation), Some(kept.id));
    let second = bench.engine.begin(
        Arc::new(Principal::local()),
        Duration::from_secs(1),
        Some(conversation.clone()),
        None,
    );
    assert!(matches!(second, Err(Error::TransactionOpen(_))));
    within(&bench, kept.id, "declared_book").await.unwrap();
    let finished = end(&bench, kept.id, Decision::Commit { by: "anna".to_owned() }).await;
    assert_eq!(finished.status, Ending::Completed, "{finished:?}");
    assert_eq!(bench.engine.transaction_of(&Principal::local(), &conversation), None);

    let undone = begin(&bench, Duration::from_secs(60));
    within(&bench, undone.id, "declared_book").await.unwrap();
    // What was done before a crash is undone after it, and calls go on.
    assert_eq!(bench.restart().await, 1);
    bench.until(undone.id, |entry| matches!(entry, Entry::Ended(_))).await;
    within(&bench, undone.id, "read_stock").await.unwrap();
    let refused = within(&bench, undone.id, "refuse_pack").await.unwrap();
    assert!(matches!(refused, Outcome::Complete(result) if result.is_error));
    within(&bench, undone.id, "own_charge").await.unwrap();
    let finished = end(&bench, undone.id, rollback()).await;
    assert_eq!(finished.status, Ending::Undone, "{finished:?}");
    assert_eq!(
        bench.world.names(),
        ["declared_book", "declared_book", "read_stock", "own_charge", "undo_own_charge", "undo_declared"]
    );
    assert_eq!(bench.world.calls.lock()[4].1, json!({"number": 4}));
    assert!(within(&bench, undone.id, "book").await.is_err());
    assert_eq!(bench.restart().await, 0);
}

#[tokio::test]
async fn a_transaction_left_open_rolls_back() {
    let mut bench = Bench::new().await;
    let instance = begin(&bench, Duration::from_millis(300));
    within(&bench, instance.id, "declared_book").await.unwrap();
    let finished = instance.finished().await.unwrap();
    assert_eq!(finished.status, Ending::Undone, "{finished:?}");
    assert_eq!(bench.world.names(), ["declared_book", "undo_declared"]);
    // Also where its time runs out while no process is there.
    let instance = begin(&bench, Duration::from_millis(300));
    within(&bench, instance.id, "declared_book").await.unwrap();
    let id = instance.id;
    bench.restart().await;
    bench.until(id, |entry| matches!(entry, Entry::Finished(end) if end.status == Ending::Undone)).await;
    assert_eq!(bench.world.names()[2..], ["declared_book", "undo_declared"]);
}

#[tokio::test]
async fn a_call_of_a_transaction_whose_outcome_is_unknown_is_found_out_before_its_undo() {
    let mut bench = Bench::new().await;
    let instance = begin(&bench, Duration::from_secs(60));
    let id = instance.id;
    {
        let call = std::pin::pin!(within(&bench, id, "hang_keyed_declared"));
        // The intent is in the log before the call is made.
        let begun = async {
            while bench.world.names().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { _ = call => panic!("it hangs"), () = begun => {} }
    }
    bench.restart().await;
    bench.until(id, |entry| matches!(entry, Entry::Ended(end) if end.orphan)).await;
    let finished = end(&bench, id, rollback()).await;
    assert_eq!(finished.status, Ending::Undone, "{finished:?}");
    assert_eq!(bench.world.names(), ["hang_keyed_declared", "undo_declared"]);
}
