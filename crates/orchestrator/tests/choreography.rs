//! Subscriptions, deliveries and dead letters on a real event log. The tools are stand-ins whose calls are counted.

#![expect(clippy::unwrap_used, reason = "a test may end where something is missing")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_event_log::EventLog;
use trunkline_model::{
    BoxFuture, Call, CallContext, CallId, EffectState, Effects, Failure, Json, Operation, Outcome, Principal,
    Service as _, ServiceId, ToolResult, ToolSpec,
};
use trunkline_orchestrator::choreography::letters::{self, Letter, LetterFilter, Letters};
use trunkline_orchestrator::choreography::{Choreography, Loops, Order, Rules, Subscription, Target};
use trunkline_orchestrator::outside::{Contract, NoEndpoints, StepCall, Tools};
use trunkline_orchestrator::service::{Flows, Library, Toolbox};
use trunkline_orchestrator::workflow::Workflow;
use trunkline_orchestrator::{Bounds, Engine, Parts, Sources, check, views};
use uuid::Uuid;

/// Tools whose calls are counted. Their names say how they behave: `refuse…`, `hang…`, `fail…` as long as they are to,
/// `lost…` (it happens and nobody hears of it).
#[derive(Default)]
struct World {
    calls: Mutex<Vec<(String, Value, String)>>,
    failing: Mutex<bool>,
}

impl World {
    fn count(&self, tool: &str) -> usize {
        self.calls.lock().iter().filter(|(name, ..)| name == tool).count()
    }
}

struct Hands(Arc<World>);

impl Tools for Hands {
    fn contract(&self, _: &Principal, tool: &str) -> Result<Contract, Failure> {
        if tool == "missing" {
            return Err(Failure::caller("TL1002", "No such tool", "there is none", "Look."));
        }
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
        let world = self.0.clone();
        Box::pin(async move {
            let call = (step.tool.to_string(), step.arguments.to_value(), step.principal.id.to_string());
            world.calls.lock().push(call);
            let failed = |effect| Err(Failure::service("TL4005", "Failed", "no answer", effect, "Look."));
            match &*step.tool {
                "refuse" => Ok(ToolResult::text("no", true).into()),
                "lost" => failed(EffectState::Unknown),
                "fail" if *world.failing.lock() => failed(EffectState::None),
                "hang" => std::future::pending().await,
                _ => Ok(ToolResult::content(json!([]), Some(json!({"ok": true})), false).into()),
            }
        })
    }
}

struct NoToolbox;

impl Toolbox for NoToolbox {
    fn of<'a>(&'a self, _: &'a Principal) -> Box<dyn check::Tools + 'a> {
        struct None;
        impl check::Tools for None {
            fn find(&self, _: &str) -> Option<Arc<ToolSpec>> {
                Option::None
            }
            fn near(&self, _: &str) -> Vec<String> {
                Vec::new()
            }
        }
        Box::new(None)
    }
}

/// A log in a folder, and what follows it.
struct Bench {
    folder: tempfile::TempDir,
    world: Arc<World>,
    log: EventLog,
    writer: Option<std::thread::JoinHandle<()>>,
    flows: Flows,
    closing: CancellationToken,
    /// What the configuration says, to be put in force again.
    rules: fn() -> Rules,
    definitions: Vec<Value>,
}

impl Bench {
    async fn new(rules: fn() -> Rules, definitions: Vec<Value>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Arc::new(World::default());
        let (log, writer, flows, closing) = open(folder.path(), &world, rules(), &definitions).await;
        Self { folder, world, log, writer: Some(writer), flows, closing, rules, definitions }
    }

    /// Ends all as the end of a process does, and begins again on the same log.
    async fn restart(&mut self) {
        self.closing.cancel();
        self.log.close();
        self.writer.take().unwrap().join().unwrap();
        let (log, writer, flows, closing) =
            open(self.folder.path(), &self.world, (self.rules)(), &self.definitions).await;
        (self.log, self.flows, self.closing) = (log, flows, closing);
        self.writer = Some(writer);
    }

    fn choreography(&self) -> &Choreography {
        self.flows.choreography()
    }

    /// Publishes by the tool.
    async fn publish(&self, event: Value) -> Result<Value, Failure> {
        let contents = self.flows.contents();
        let tool = contents.tools.iter().find(|tool| &*tool.spec().name == "publish_event").unwrap();
        let call = Call {
            id: CallId(Uuid::now_v7()),
            operation: Operation::CallTool,
            service: ServiceId::new("flows"),
            name: Arc::from("publish_event"),
            arguments: Json::from_value(&event),
            meta: None,
            resume: None,
            idempotency_key: None,
            known: None,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        let context = CallContext::unattended(Arc::new(Principal::local()), deadline);
        match tool.execute(&call, &context).await? {
            Outcome::Complete(result) => Ok(result.body.to_value()["structuredContent"].clone()),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until something holds, which is looked at whenever the log has grown.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let mut events = self.log.subscribe(1);
        let work = async {
            while !holds().await {
                let more = tokio::time::timeout(Duration::from_millis(50), events.next()).await;
                if let Ok(next) = more {
                    next.unwrap().unwrap();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), work).await.unwrap_or_else(|_| panic!("{what}"));
    }

    async fn letters(&self, state: &str) -> Vec<Letter> {
        let filter = LetterFilter { state: Some(state.to_owned()), limit: 100, ..LetterFilter::default() };
        self.choreography().dead_letters(filter).await.unwrap()
    }

    async fn died(&self, count: usize) -> Vec<Letter> {
        self.until("so many dead letters", async || self.letters("open").await.len() == count).await;
        self.letters("open").await
    }
}

async fn open(
    folder: &std::path::Path,
    world: &Arc<World>,
    rules: Rules,
    definitions: &[Value],
) -> (EventLog, std::thread::JoinHandle<()>, Flows, CancellationToken) {
    let config = trunkline_event_log::Config::new(folder.join("events.db"));
    let (log, writer) = config.build(Arc::new(Timestamp::now)).unwrap();
    let writer = std::thread::spawn(move || writer.run().unwrap());
    log.project(Box::new(views::Views)).await.unwrap();
    log.project(Box::new(Letters)).await.unwrap();
    let closing = CancellationToken::new();
    let library = Arc::new(Library::default());
    library
        .replace(definitions.iter().map(|source| Workflow::from_source(Arc::new(source.clone())).unwrap()));
    let engine = Engine::new(Parts {
        log: log.clone(),
        tools: Arc::new(Hands(world.clone())),
        endpoints: Arc::new(NoEndpoints),
        definitions: library.clone(),
        sources: Sources { now: Arc::new(Timestamp::now), time_id: Arc::new(Uuid::now_v7) },
        bounds: Bounds { backoff: Duration::from_millis(1), ..Bounds::default() },
        tasks: TaskTracker::new(),
        runtime: tokio::runtime::Handle::current(),
        closing: closing.clone(),
    });
    let flows = Flows::new(engine.clone(), Arc::new(NoToolbox), library);
    flows.choreography().configure(rules);
    flows.choreography().settle().await.unwrap();
    engine.resume_all().await.unwrap();
    tokio::spawn(flows.choreography().clone().run(closing.clone()));
    (log, writer, flows, closing)
}

fn on(name: &str, types: &str, target: Target) -> Order {
    Order {
        name: name.to_owned(),
        types: vec![types.to_owned()],
        source: None,
        filter: None,
        target,
        args: None,
        emit: None,
        group: None,
        concurrency: 8,
        attempts: 3,
        backoff: Duration::from_millis(1),
        timeout: Duration::from_secs(5),
    }
}

fn tool(name: &str, types: &str, tool: &str) -> Order {
    on(name, types, Target::Tool(tool.to_owned()))
}

fn rules(orders: Vec<Order>) -> Rules {
    let ready = |order| Arc::new(Subscription::new(order).unwrap());
    let loops = Loops { repeats: 3, hops: 32 };
    Rules { subscriptions: orders.into_iter().map(ready).collect(), loops, webhooks: HashMap::new() }
}

fn flow(name: &str, tasks: Value) -> Value {
    json!({"document": {"dsl": "1.0.3", "namespace": "test", "name": name, "version": "1.0.0"}, "do": tasks})
}

#[tokio::test]
async fn each_group_has_an_event_once_also_after_a_crash() {
    let made = || {
        let with = |order: Order| Order { args: Some(json!({"n": "${ .data.n }"})), ..order };
        let member = |order: Order| Order { group: Some("both".to_owned()), ..order };
        rules(vec![
            with(tool("alone", "a.*", "one")),
            member(tool("left", "a.b", "left")),
            member(tool("right", "a.b", "right")),
            tool("other", "b", "other"),
        ])
    };
    let mut bench = Bench::new(made, Vec::new()).await;
    for n in 0..20 {
        let answer =
            bench.publish(json!({"type": "a.b", "id": format!("e{n}"), "data": {"n": n}})).await.unwrap();
        assert_eq!(answer["duplicate"], false);
    }
    bench.until("all are delivered", async || bench.world.count("one") == 20).await;
    let both = || bench.world.count("left") + bench.world.count("right");
    bench.until("the group has all", async || both() == 20).await;
    assert!(bench.world.count("left") > 0 && bench.world.count("right") > 0);
    let again = bench.publish(json!({"type": "a.b", "id": "e3", "data": {"n": 3}})).await.unwrap();
    assert_eq!(again["duplicate"], true);
    let (_, arguments, principal) = bench.world.calls.lock()[0].clone();
    assert!(arguments["n"].is_u64() || arguments == json!({}), "{arguments}");
    assert!(principal.starts_with("subscription:"), "{principal}");
    // It is not written down yet how far the groups are, so all is looked at again.
    bench.restart().await;
    bench.publish(json!({"type": "a.b", "id": "last", "data": {"n": 9}})).await.unwrap();
    bench.until("the last one comes", async || bench.world.count("one") == 21).await;
    let both = || bench.world.count("left") + bench.world.count("right");
    bench.until("also to the group", async || both() == 21).await;
    assert_eq!(bench.world.count("one"), 21);
    assert_eq!(bench.world.count("other"), 0);
}

#[tokio::test]
async fn what_fails_is_a_dead_letter_until_it_is_replayed() {
    let bench =
        Bench::new(|| rules(vec![tool("s", "a", "fail"), tool("refused", "r", "refuse")]), Vec::new()).await;
    *bench.world.failing.lock() = true;
    bench.publish(json!({"type": "a", "id": "1", "source": "/here", "data": {"x": 1}})).await.unwrap();
    let dead = bench.died(1).await.remove(0);
    assert_eq!(bench.world.count("fail"), 3, "as often as it says");
    assert_eq!((dead.event["data"]["x"].as_u64(), &*dead.cause.id, dead.cause.attempt), (Some(1), "1", 1));
    assert_eq!(dead.fault["code"], "TL4005");
    *bench.world.failing.lock() = false;
    let by = Arc::new(Principal::local());
    let again = bench.choreography().replay(&dead, by.clone(), None).await.unwrap();
    assert_ne!(again, dead.id);
    bench.until("it is delivered", async || bench.world.count("fail") == 4).await;
    let settled = bench.letters("replayed").await.remove(0);
    assert_eq!((settled.id, settled.replayed_as), (dead.id, Some(again)));
    let error = bench.choreography().replay(&settled, by.clone(), None).await.unwrap_err();
    assert_eq!(Failure::from(error).code, "TL7023");

    // A tool that says no is not asked again.
    bench.publish(json!({"type": "r"})).await.unwrap();
    let refused = bench.died(1).await.remove(0);
    assert_eq!((bench.world.count("refuse"), &refused.fault["detail"]), (1, &json!("no")));
    bench.choreography().discard(&refused, by, Some("of no use".to_owned())).await.unwrap();
    assert_eq!(bench.letters("discarded").await[0].reason.as_deref(), Some("of no use"));
    // The view is the same when it is made anew.
    let filter = || LetterFilter { limit: 100, ..LetterFilter::default() };
    let before = bench.choreography().dead_letters(filter()).await.unwrap();
    bench.log.rebuild_projection(letters::NAME).await.unwrap();
    assert_eq!(bench.choreography().dead_letters(filter()).await.unwrap(), before);
}

#[tokio::test]
async fn a_tool_that_may_have_done_it_is_not_asked_again() {
    let bench = Bench::new(|| rules(vec![tool("s", "a", "lost")]), Vec::new()).await;
    bench.publish(json!({"type": "a"})).await.unwrap();
    let dead = bench.died(1).await.remove(0);
    assert_eq!(bench.world.count("lost"), 1);
    assert_eq!(dead.fault["unknown"], true, "{}", dead.fault);
}

#[tokio::test]
async fn what_can_t_be_delivered_says_why() {
    let made = || {
        let filtered = Order {
            filter: Some(".data.x > 1 | if . then error(\"odd\") else . end".to_owned()),
            ..tool("f", "f", "x")
        };
        let flow = on("flow", "g", Target::Flow("gone".to_owned()));
        let args = Order { args: Some(json!({"a": "${ error(\"none\") }"})), ..tool("args", "h", "x") };
        rules(vec![filtered, flow, args, tool("missing", "i", "missing")])
    };
    let bench = Bench::new(made, Vec::new()).await;
    for (kind, data) in
        [("f", json!({"x": 2})), ("f", json!({"x": 1})), ("g", json!(1)), ("h", json!(1)), ("i", json!(1))]
    {
        bench.publish(json!({"type": kind, "data": data})).await.unwrap();
    }
    let dead = bench.died(4).await;
    let why = |name: &str| {
        let letter = dead.iter().find(|letter| letter.subscription == name).unwrap();
        letter.fault["detail"].as_str().unwrap().to_owned()
    };
    assert!(why("f").contains("odd"), "{}", why("f"));
    assert!(why("flow").contains("\"gone\""), "{}", why("flow"));
    assert!(why("args").contains("none"), "{}", why("args"));
    assert!(why("missing").contains("there is none"), "{}", why("missing"));
    assert_eq!(bench.world.count("x"), 0);
}

#[tokio::test]
async fn events_that_go_round_are_stopped_and_the_way_is_shown() {
    let emits = |name: &str, kind: &str| {
        flow(name, json!([{"do": {"call": "step"}}, {"tell": {"emit": {"event": {"with": {"type": kind}}}}}]))
    };
    let made = || {
        rules(vec![
            on("ping", "x.ping", Target::Flow("test/ping".to_owned())),
            on("pong", "x.pong", Target::Flow("pong".to_owned())),
        ])
    };
    let bench = Bench::new(made, vec![emits("ping", "x.pong"), emits("pong", "x.ping")]).await;
    bench.publish(json!({"type": "x.ping"})).await.unwrap();
    let dead = bench.died(1).await.remove(0);
    assert_eq!(dead.fault["code"], "TL7026");
    let path = "ping → pong → ping → pong → ping → pong → ping";
    assert!(dead.fault["detail"].as_str().unwrap().ends_with(path), "{}", dead.fault);
    assert_eq!(bench.world.count("step"), 6);
    assert_eq!(dead.event["trunklinehops"], 6);
    // The log tells what led to what.
    let page = bench.log.read_all(1, 1000, None).await.unwrap();
    let published: Vec<_> = page.events.iter().filter(|one| one.event.data.action == "published").collect();
    assert_eq!(published.len(), 7);
    for two in published.windows(2) {
        assert_eq!(two[1].event.causation, Some(two[0].event.id));
    }
}

#[tokio::test]
async fn no_more_run_at_the_same_time_than_may() {
    let made = || rules(vec![Order { concurrency: 1, ..tool("s", "a", "hang") }, tool("t", "b", "one")]);
    let mut bench = Bench::new(made, Vec::new()).await;
    for _ in 0..3 {
        bench.publish(json!({"type": "a"})).await.unwrap();
    }
    bench.publish(json!({"type": "b"})).await.unwrap();
    bench.until("the other one is served", async || bench.world.count("one") == 1).await;
    assert_eq!(bench.world.count("hang"), 1);
    let overview = bench.choreography().overview().await.unwrap();
    assert_eq!(overview["subscriptions"][0]["under_way"], 3, "{overview}");
    // Those that are brought back take their turns, too.
    bench.restart().await;
    bench.publish(json!({"type": "b"})).await.unwrap();
    bench.until("the other one is served", async || bench.world.count("one") == 2).await;
    assert!(bench.world.count("hang") <= 2);
}

#[tokio::test]
async fn a_flow_that_schedules_itself_is_a_subscription() {
    let mut wanted =
        flow("wanted", json!([{"do": {"call": "one", "with": {"n": "${ $workflow.input[0].n }"}}}]));
    wanted["schedule"] = json!({"on": {"one": {"with": {"type": "a", "data": "${ .n > 1 }"}}}});
    let bench = Bench::new(|| rules(Vec::new()), vec![wanted]).await;
    for n in 0..4 {
        bench.publish(json!({"type": "a", "data": {"n": n}})).await.unwrap();
    }
    bench.publish(json!({"type": "a", "data": "text"})).await.unwrap();
    bench.until("both have come", async || bench.world.count("one") == 2).await;
    let mut seen: Vec<_> = bench.world.calls.lock().iter().map(|(_, args, _)| args["n"].as_u64()).collect();
    seen.sort_unstable();
    assert_eq!(seen, [Some(2), Some(3)]);
}

#[tokio::test]
async fn what_is_published_is_bounded() {
    let bench = Bench::new(|| rules(Vec::new()), Vec::new()).await;
    let code = async |event: Value| bench.publish(event).await.map_err(|failure| failure.code);
    assert_eq!(code(json!({"type": "dev.trunkline.flow.finished.v1"})).await, Err("TL7020"));
    assert_eq!(code(json!({"type": "a", "data": "x".repeat(2 << 20)})).await, Err("TL7020"));
    assert_eq!(code(json!({"type": "a", "extensions": {"trunklinehops": 1}})).await, Err("TL7020"));
    assert_eq!(code(json!({"type": "a", "source": "/flows/test/a"})).await, Err("TL7021"));
}
