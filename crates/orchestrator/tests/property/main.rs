//! The promises of flows, on random plans in a world where everything goes wrong: calls that are refused, lost with or
//! without their effect, hang; processes that end anywhere and lose what was not durable; people who cancel.
//!
//! However it goes, in the end an instance is done, undone or visibly stuck; the effects are those of some serial run of
//! the steps that are done, or none; what is undone is undone in reverse; what honours keys is done once; and the
//! journal, replayed from any place, never decides anything anew.
//!
//! It runs some cases with a fixed seed and some with a new one, which a failure prints. `TRUNKLINE_PROPERTY_SEED`
//! repeats one; `TRUNKLINE_PROPERTY_SECONDS` goes on for so long.

#![expect(clippy::unwrap_used, reason = "a test may end where something is missing")]
#![expect(clippy::print_stdout, reason = "the seed has to be known")]

mod oracle;
mod plans;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_event_log::{EventLog, Expected, rusqlite};
use trunkline_model::{Json, Principal};
use trunkline_orchestrator::entry::{Finished, StepOutcome};
use trunkline_orchestrator::outside::NoEndpoints;
use trunkline_orchestrator::plan::{Plan, compile};
use trunkline_orchestrator::workflow::Workflow;
use trunkline_orchestrator::{
    Bounds, Definitions, Engine, Entry, Instance, InstanceId, Parts, Resolution, Sources, Start, views,
};
use uuid::Uuid;

use plans::{Case, Crash};
use world::{Act, Hands, World};

/// How long a call may take.
const STEP: Duration = Duration::from_millis(25);

/// How long a process may take in which nothing is waited for but calls, pauses and a person.
const PATIENCE: Duration = Duration::from_secs(20);

struct NoDefinitions;

impl Definitions for NoDefinitions {
    fn find(&self, _: &str, _: &str, _: &str) -> Option<Arc<Workflow>> {
        None
    }
}

#[test]
fn whatever_happens_the_effects_are_those_of_a_serial_run_or_none() {
    if let Ok(seed) = std::env::var("TRUNKLINE_PROPERTY_SEED") {
        return check(seed.parse().unwrap(), 200);
    }
    check(0, 60);
    let begun = Instant::now();
    let seconds = std::env::var("TRUNKLINE_PROPERTY_SECONDS").ok().map_or(0, |text| text.parse().unwrap());
    loop {
        check(Timestamp::now().as_nanosecond() as u64, 30);
        if begun.elapsed() > Duration::from_secs(seconds) {
            break;
        }
    }
}

/// Checks some cases of a seed.
fn check(seed: u64, cases: u32) {
    println!("TRUNKLINE_PROPERTY_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 80,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&plans::cases(), |case| live_through(&case).map_err(TestCaseError::fail));
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => {
            panic!("seed {seed}: {reason}\n{case:#?}\n{:#}", case.plan())
        }
        Err(abort) => panic!("seed {seed}: {abort}"),
    }
}

/// The log in a folder, and what writes it.
struct Disk {
    log: EventLog,
    writer: JoinHandle<()>,
}

impl Disk {
    fn open(folder: &Path) -> Self {
        let config = trunkline_event_log::Config::new(folder.join("events.db"));
        let (log, writer) = config.build(Arc::new(Timestamp::now)).unwrap();
        Self { log, writer: std::thread::spawn(move || writer.run().unwrap()) }
    }

    /// Ends it. Gives what was durable for all who were alive.
    fn close(self) -> u64 {
        let head = self.log.head();
        self.log.close();
        self.writer.join().unwrap();
        head
    }
}

/// Takes back what the disk had taken and nobody knew of: a crash may lose it.
fn lose_after(folder: &Path, head: u64) {
    let sql = rusqlite::Connection::open(folder.join("events.db")).unwrap();
    sql.execute("DELETE FROM event WHERE position > ?1", [head]).unwrap();
    sql.execute_batch(
        "DELETE FROM projection; DROP TABLE IF EXISTS flow_instance; DROP TABLE IF EXISTS flow_step",
    )
    .unwrap();
    let left: Vec<String> = sql
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'flow%'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for table in left {
        sql.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
}

async fn engine(log: &EventLog, world: &Arc<World>) -> Engine {
    engine_until(log, world, CancellationToken::new()).await
}

async fn engine_until(log: &EventLog, world: &Arc<World>, closing: CancellationToken) -> Engine {
    log.project(Box::new(views::Views)).await.unwrap();
    let ticks = world.clone();
    let time_id = move || {
        ticks.tick();
        Uuid::now_v7()
    };
    Engine::new(Parts {
        log: log.clone(),
        tools: Arc::new(Hands(world.clone())),
        endpoints: Arc::new(NoEndpoints),
        definitions: Arc::new(NoDefinitions),
        sources: Sources { now: Arc::new(Timestamp::now), time_id: Arc::new(time_id) },
        bounds: Bounds { backoff: Duration::from_millis(1), attempts: 3, step: STEP, ..Bounds::default() },
        tasks: TaskTracker::new(),
        runtime: tokio::runtime::Handle::current(),
        closing,
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What outlives the processes of one case.
struct Life<'a> {
    case: &'a Case,
    world: Arc<World>,
    id: Cell<Option<InstanceId>>,
    cancelled: Cell<bool>,
    /// What a person let be.
    excused: RefCell<HashSet<String>>,
    /// What was said to be tried again.
    retried: RefCell<HashSet<String>>,
}

/// Runs a plan through all its crashes to its end, and looks what came of it.
fn live_through(case: &Case) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let life = Life {
        case,
        world: Arc::new(World::new(case.tools(), false)),
        id: Cell::new(None),
        cancelled: Cell::new(false),
        excused: RefCell::default(),
        retried: RefCell::default(),
    };
    let finished = 'lives: {
        for process in 0.. {
            let crash = case.crashes.get(process).copied();
            let cancel = case.cancel.filter(|(at, _)| *at == process).map_or(0, |(_, tick)| tick);
            life.world.process(crash.map_or(0, |(tick, _)| tick), cancel);
            let disk = Disk::open(folder.path());
            let runtime = runtime();
            let closing = CancellationToken::new();
            let lived = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = life.world.crash.notified() => None,
                    lived = tokio::time::timeout(PATIENCE, life.process(&disk.log, closing.clone())) => Some(lived),
                }
            });
            if lived.is_none() && crash.is_some_and(|(_, how)| how == Crash::Close) {
                runtime.block_on(async {
                    closing.cancel();
                    tokio::time::sleep(Duration::from_millis(2)).await;
                });
            }
            drop(runtime);
            let durable = disk.close();
            match lived {
                Some(Ok(Ok(Some(finished)))) => break 'lives finished,
                // The start itself was lost: nothing may have happened.
                Some(Ok(Ok(None))) => {
                    return if life.world.effects().is_empty() {
                        Ok(())
                    } else {
                        Err("it happened before it began".to_owned())
                    };
                }
                Some(Ok(Err(said))) => {
                    return Err(format!("process {process}: {said}\n{}", told(folder.path(), &life)));
                }
                Some(Err(_)) => {
                    return Err(format!(
                        "process {process} does not come to an end: {}",
                        told(folder.path(), &life)
                    ));
                }
                None if crash.is_some_and(|(_, how)| how == Crash::Lose) => {
                    lose_after(folder.path(), durable)
                }
                None => {}
            }
        }
        unreachable!("the last process does not crash")
    };
    let disk = Disk::open(folder.path());
    let checked = runtime().block_on(life.check(&disk.log, &finished));
    let told = told_of(&checked);
    disk.close();
    if told.is_some() {
        return Err(format!("{}\n{}", told.unwrap_or_default(), self::told(folder.path(), &life)));
    }
    Ok(())
}

fn told_of(checked: &Result<(), String>) -> Option<String> {
    checked.as_ref().err().cloned()
}

async fn entries_of(engine: &Engine, id: InstanceId) -> Vec<Entry> {
    engine.journal_of(id).await.unwrap().into_iter().map(|(entry, ..)| entry).collect()
}

/// Whether the last word on a step is that a person is asked.
fn asks(entries: &[Entry], of: &str) -> bool {
    let last = entries.iter().rev().find_map(|entry| match entry {
        Entry::Stuck { key, .. } if **key == *of => Some(true),
        Entry::Passed { key } | Entry::Resolved { key, .. } if **key == *of => Some(false),
        _ => None,
    });
    last.unwrap_or(false)
}

/// The journal and the effects, for whoever reads a failure.
fn told(folder: &Path, life: &Life<'_>) -> String {
    let disk = Disk::open(folder);
    let entries = runtime().block_on(async {
        let engine = engine(&disk.log, &life.world).await;
        match life.id.get() {
            Some(id) => engine.journal_of(id).await.unwrap(),
            None => Vec::new(),
        }
    });
    disk.close();
    let mut text = String::new();
    for (entry, time, _) in entries {
        let words = match entry {
            Entry::Started(_) => "started".to_owned(),
            Entry::Intended(step) => {
                format!("intended {} #{} {}", step.key, step.attempt, step.idempotency_key)
            }
            Entry::Ended(end) => {
                let outcome = match &end.outcome {
                    StepOutcome::Succeeded(_) => "succeeded".to_owned(),
                    StepOutcome::Refused(fault) => format!("refused: {fault}"),
                    StepOutcome::Unknown(fault) => format!("unknown: {fault}"),
                };
                format!("ended {} #{} orphan={} {outcome}", end.key, end.attempt, end.orphan)
            }
            other => format!("{other:?}").chars().take(300).collect(),
        };
        text.push_str(&format!("  {time} {words}\n"));
    }
    for effect in life.world.effects() {
        text.push_str(&format!("  {effect:?}\n"));
    }
    text
}

impl Life<'_> {
    /// One process: starts the instance or brings it back, and waits for its end. `None` where there is none.
    async fn process(&self, log: &EventLog, closing: CancellationToken) -> Result<Option<Finished>, String> {
        let engine = engine_until(log, &self.world, closing).await;
        let instance = match self.id.get() {
            None => {
                let plan = Plan::from_source(&self.case.plan()).map_err(|invalid| format!("{invalid:?}"))?;
                let workflow = Arc::new(compile(&plan).map_err(|invalid| format!("{invalid:?}"))?);
                let (input, principal) = (Json::from_value(&json!({})), Arc::new(Principal::local()));
                let instance = engine.start(Start { workflow, input, principal }).unwrap();
                self.id.set(Some(instance.id));
                instance
            }
            Some(id) => {
                engine.resume_all().await.unwrap();
                match engine.attach(id) {
                    Some(instance) => instance,
                    None => return self.ended(&engine, id).await,
                }
            }
        };
        let id = instance.id;
        let finished = async {
            match instance.finished().await {
                Some(finished) => Ok(Some(finished)),
                None => Err("the instance stops where it is".to_owned()),
            }
        };
        tokio::select! {
            finished = finished => finished,
            never = self.person(&engine, &instance) => never,
            never = self.canceller(&engine, id) => never,
        }
    }

    /// The end of an instance that does not run.
    async fn ended(&self, engine: &Engine, id: InstanceId) -> Result<Option<Finished>, String> {
        let entries = engine.journal_of(id).await.unwrap();
        if entries.is_empty() {
            return Ok(None);
        }
        match entries.into_iter().next_back() {
            Some((Entry::Finished(finished), ..)) => Ok(Some(finished)),
            last => Err(format!("it is not brought back, and its last entry is {last:?}")),
        }
    }

    async fn canceller<T>(&self, engine: &Engine, id: InstanceId) -> T {
        if !self.cancelled.get() {
            self.world.cancel.notified().await;
            self.cancelled.set(true);
        }
        // Where it was not durable before a crash, it is asked for again.
        let _ = engine.cancel(id, "anna", None).await;
        std::future::pending().await
    }

    /// Answers what is asked, as the world is.
    async fn person<T>(&self, engine: &Engine, instance: &Instance) -> Result<T, String> {
        loop {
            let keys = instance.stuck().await.into_iter().map(|stuck| stuck.step);
            if self.case.slow {
                tokio::time::sleep(2 * STEP).await;
            }
            let before = entries_of(engine, instance.id).await;
            let head = engine.log().head();
            engine.log().projected(views::NAME, head).await.unwrap();
            let row = views::instance(engine.log(), instance.id).await.unwrap().unwrap();
            let entries = entries_of(engine, instance.id).await;
            for key in keys {
                // A question may be withdrawn meanwhile, and asked again; that is in the journal a moment later.
                let asked = asks(&before, &key) && asks(&entries, &key);
                let (resolution, excused) = self.answer(&entries, &key);
                // It may have been given up meanwhile, where its time was over.
                let was_stuck = engine.resolve(instance.id, &key, resolution, "anna").await.is_ok();
                if was_stuck {
                    self.excused.borrow_mut().extend(excused);
                }
                if was_stuck && asked && row.status != "stuck" {
                    return Err(format!("{key} is stuck, and the view says {}", row.status));
                }
            }
        }
    }

    fn answer(&self, entries: &[Entry], key: &str) -> (Resolution, Option<String>) {
        let intended = entries.iter().rev().find_map(|entry| match entry {
            Entry::Intended(step) if *step.key == *key => Some(step),
            _ => None,
        });
        let arguments =
            intended.and_then(|step| step.arguments.as_ref()).map(Json::to_value).unwrap_or_default();
        let skip = || Resolution::Skip { reason: "let it be".to_owned() };
        let again = self.retried.borrow_mut().insert(key.to_owned());
        if let Some(of) = arguments["of"].as_str() {
            if again {
                return (Resolution::Retry, None);
            }
            return (skip(), Some(of.to_owned()));
        }
        let Some(id) = arguments["id"].as_str() else { return (skip(), None) };
        let tool = intended.map(|step| &self.world.tools()[&*step.tool]);
        if self.world.there(id) > 0 {
            return (Resolution::Resolve { done: true, result: json!({"id": id}) }, None);
        }
        if again && tool.is_some_and(|tool| tool.then == Act::Succeed) {
            return (Resolution::Retry, None);
        }
        (Resolution::Resolve { done: false, result: json!(null) }, Some(id.to_owned()))
    }

    /// Looks at what came of it, and replays the journal.
    async fn check(&self, log: &EventLog, finished: &Finished) -> Result<(), String> {
        let engine = engine(log, &self.world).await;
        let id = self.id.get().unwrap();
        let calls = self.world.calls();
        if engine.resume_all().await.unwrap() != 0 {
            return Err("it has ended and is brought back".to_owned());
        }
        if self.world.calls() != calls {
            return Err("something is called after the end".to_owned());
        }
        let journaled = engine.journal_of(id).await.unwrap();
        let entries: Vec<Entry> = journaled.iter().map(|(entry, ..)| entry.clone()).collect();
        oracle::journal(&entries)?;
        if !matches!(entries.last(), Some(Entry::Finished(last)) if last.status == finished.status) {
            return Err("the last entry is not its end".to_owned());
        }
        let excused = self.excused.borrow().clone();
        let end = oracle::End {
            case: self.case,
            entries: &entries,
            finished,
            world: &self.world,
            excused: &excused,
        };
        end.check()?;
        self.rebuilt(log, id, finished).await?;
        let length = entries.len();
        let mut places = vec![1, length / 4, length / 2, length * 3 / 4, length - 2, length - 1];
        places.retain(|place| (1..length).contains(place));
        places.dedup();
        for place in places {
            self.replayed(log, id, place)
                .await
                .map_err(|said| format!("replayed from {place} entries: {said}"))?;
        }
        Ok(())
    }

    /// The views say the same when they are made again.
    async fn rebuilt(&self, log: &EventLog, id: InstanceId, finished: &Finished) -> Result<(), String> {
        let rows = || async {
            log.projected(views::NAME, log.head()).await.unwrap();
            (views::instance(log, id).await.unwrap(), views::steps(log, id).await.unwrap())
        };
        let live = rows().await;
        log.rebuild_projection(views::NAME).await.unwrap();
        if rows().await != live {
            return Err("the views are others when they are rebuilt".to_owned());
        }
        if live.0.is_none_or(|row| row.status != views::ending(finished.status)) {
            return Err("the view does not say how it ended".to_owned());
        }
        Ok(())
    }

    /// Another process that finds only the first entries of the journal takes the same turns.
    async fn replayed(&self, log: &EventLog, id: InstanceId, count: usize) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path());
        let page = log.read_stream(id.0, 1, count).await.unwrap();
        let events = page.events.into_iter().map(|recorded| recorded.event).collect();
        disk.log.append(id.0, Expected::Any, events).await.unwrap();
        let frozen = Arc::new(World::new(self.case.tools(), true));
        let engine = engine(&disk.log, &frozen).await;
        engine.resume_all().await.unwrap();
        let mut lost = false;
        if let Some(instance) = engine.attach(id) {
            tokio::select! {
                finished = instance.finished() => lost = finished.is_none(),
                _ = instance.stuck() => {}
                () = frozen.called.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
        let entries: Vec<Entry> =
            engine.journal_of(id).await.unwrap().into_iter().map(|(entry, ..)| entry).collect();
        drop(engine);
        let closing = tokio::task::spawn_blocking(move || disk.close());
        closing.await.unwrap();
        if lost {
            return Err("it has lost its way".to_owned());
        }
        oracle::journal(&entries)
    }
}
