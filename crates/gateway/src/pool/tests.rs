//! A pool of fakes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use trunkline_model::{
    CallId, Effects, InputRequired, Json, Principal, Resume, Schema, ToolResult, ToolSpec,
};
use uuid::Uuid;

use super::*;

/// An instance with one tool.
struct Fake {
    id: ServiceId,
    tool: Arc<FakeTool>,
}

struct FakeTool {
    spec: ToolSpec,
    /// It can't be reached.
    away: AtomicBool,
    /// It takes calls and does not answer them.
    lost: AtomicBool,
    calls: AtomicUsize,
}

impl Fake {
    fn new() -> Arc<Self> {
        let id = ServiceId::new("s");
        let spec = ToolSpec {
            service: id.clone(),
            name: Arc::from("t"),
            version: Arc::from(""),
            title: None,
            description: String::new(),
            capabilities: Vec::new(),
            dependencies: Vec::new(),
            input: Schema::new(json!({"type": "object"})),
            output: None,
            effects: Effects::default(),
            raw: None,
        };
        let tool = FakeTool { spec, away: false.into(), lost: false.into(), calls: 0.into() };
        Arc::new(Self { id, tool: Arc::new(tool) })
    }

    fn calls(&self) -> usize {
        self.tool.calls.swap(0, Ordering::Relaxed)
    }
}

impl Tool for FakeTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn execute<'a>(&'a self, _: &'a Call, _: &'a CallContext) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let failed = |effect| Err(Failure::service("TL4005", "Down", "no answer", effect, "Wait."));
            if self.away.load(Ordering::Relaxed) {
                return failed(EffectState::None);
            }
            if self.lost.load(Ordering::Relaxed) {
                return failed(EffectState::Unknown);
            }
            Ok(ToolResult::text("ok", false).into())
        })
    }
}

impl Service for Fake {
    fn id(&self) -> &ServiceId {
        &self.id
    }

    fn status(&self) -> ServiceStatus {
        let protocol = "fake".to_owned();
        ServiceStatus { state: ServiceState::Up, cause: None, restarts: 0, protocol, stderr: Vec::new() }
    }

    fn contents(&self) -> Arc<Contents> {
        Arc::new(Contents { tools: vec![self.tool.clone()], ..Contents::default() })
    }

    fn request<'a>(&'a self, _: &'a Call, _: &'a CallContext) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async { Ok(ToolResult::text("ok", false).into()) })
    }

    fn subscribe<'a>(&'a self, _: &'a str, _: bool) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

/// Keeps what it is told.
#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl ServiceObserver for Ear {
    fn contents_changed(&self, _: &ServiceId) {}

    fn status_changed(&self, _: &ServiceId, status: &ServiceStatus) {
        self.0.lock().push(format!("{:?}", status.state));
    }

    fn instance_changed(&self, _: &ServiceId, instance: &InstanceStatus) {
        self.0.lock().push(format!("{} {}", instance.url, instance.healthy));
    }

    fn resource_updated(&self, _: &ServiceId, _: &str) {}

    fn logged(&self, _: &ServiceId, _: &Json) {}
}

fn pool(count: usize) -> (Arc<Pool>, Vec<Arc<Fake>>, Arc<Ear>) {
    let sources = Sources {
        now: Arc::new(jiff::Timestamp::now),
        time_id: Arc::new(Uuid::now_v7),
        random_id: Arc::new(Uuid::new_v4),
    };
    let ear = Arc::new(Ear::default());
    let pool = Pool::new(ServiceId::new("s"), ear.clone(), BalanceConfig::default(), &sources);
    let fakes: Vec<_> = (0..count).map(|_| Fake::new()).collect();
    pool.replace(places(&fakes));
    (pool, fakes, ear)
}

fn places(fakes: &[Arc<Fake>]) -> Vec<Place> {
    let place = |(n, fake): (usize, &Arc<Fake>)| {
        (Instance::at(&format!("http://{n}/")), fake.clone() as Arc<dyn Service>)
    };
    fakes.iter().enumerate().map(place).collect()
}

async fn call(pool: &Pool) -> Result<Outcome, Failure> {
    make(pool, Operation::CallTool, "t", None).await
}

async fn make(
    pool: &Pool,
    operation: Operation,
    name: &str,
    resume: Option<Resume>,
) -> Result<Outcome, Failure> {
    let call = Call {
        id: CallId(Uuid::nil()),
        operation,
        service: ServiceId::new("s"),
        name: Arc::from(name),
        arguments: Json::empty_object(),
        meta: None,
        resume,
        idempotency_key: None,
        known: None,
    };
    match operation {
        Operation::CallTool => pool.contents().tools[0].execute(&call, &context()).await,
        _ => pool.request(&call, &context()).await,
    }
}

fn context() -> CallContext {
    let deadline = Instant::now().into_std() + std::time::Duration::from_secs(10);
    CallContext::unattended(Arc::new(Principal::local()), deadline)
}

#[tokio::test]
async fn what_did_nothing_goes_to_another_instance_and_what_may_have_does_not() {
    let (pool, fakes, ear) = pool(3);
    fakes[0].tool.away.store(true, Ordering::Relaxed);
    for _ in 0..60 {
        call(&pool).await.unwrap();
    }
    let calls: Vec<usize> = fakes.iter().map(|fake| fake.calls()).collect();
    assert!((1..=5).contains(&calls[0]) && calls[1] + calls[2] == 60, "{calls:?}");
    fakes[1].tool.lost.store(true, Ordering::Relaxed);
    let mut failed = 0;
    for _ in 0..60 {
        if let Err(failure) = call(&pool).await {
            assert_eq!(failure.effect, EffectState::Unknown);
            failed += 1;
        }
    }
    // Each call that was lost was made there once, and nowhere else.
    assert_eq!(fakes[1].calls(), failed);
    assert_eq!(fakes[2].calls(), 60 - failed);
    assert!(failed > 0);
    // All are told as they come.
    assert_eq!(ear.0.lock()[..4], ["http://0/ true", "http://1/ true", "http://2/ true", "Up"]);
}

#[tokio::test]
async fn instances_come_and_go() {
    let (pool, fakes, ear) = pool(2);
    pool.replace(places(&fakes[..1]));
    for _ in 0..10 {
        call(&pool).await.unwrap();
    }
    assert_eq!((fakes[0].calls(), fakes[1].calls()), (10, 0));
    pool.replace(Vec::new());
    // What was last known stays in the list, and says what is the matter.
    let refused = call(&pool).await.unwrap_err();
    assert_eq!((refused.code, refused.effect), ("TL1028", EffectState::None));
    assert_eq!(pool.status().state, ServiceState::Down);
    assert_eq!(ear.0.lock()[3..], ["http://1/ false", "http://0/ false", "Down"]);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_fails_or_never_ends_takes_an_instance_out_and_a_good_one_brings_it_back() {
    let (pool, fakes, ear) = pool(2);
    let sick = Arc::new(AtomicUsize::new(1));
    let state = sick.clone();
    let probe: Probe = Arc::new(move |url| {
        let state = state.clone();
        Box::pin(async move {
            assert_eq!(url, "http://1/");
            match state.load(Ordering::Relaxed) {
                0 => Ok(()),
                1 => Err("it says so".to_owned()),
                _ => std::future::pending().await,
            }
        })
    });
    let config = HealthConfig { tcp: true, ..HealthConfig::default() };
    tokio::spawn(pool.watch("http://1/", config, probe));
    let until = async |healthy: bool| {
        while pool.instances()[1].healthy != healthy {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    until(false).await;
    assert_eq!(pool.instances()[1].cause.as_deref(), Some("it says so"));
    for _ in 0..20 {
        call(&pool).await.unwrap();
    }
    assert_eq!((fakes[0].calls(), fakes[1].calls()), (20, 0));
    sick.store(0, Ordering::Relaxed);
    until(true).await;
    sick.store(2, Ordering::Relaxed);
    until(false).await;
    assert_eq!(pool.instances()[1].cause.as_deref(), Some("its check did not end within 2.0s"));
    assert_eq!(pool.status().state, ServiceState::Up);
    assert_eq!(ear.0.lock()[3..], ["http://1/ false", "http://1/ true", "http://1/ false"]);
}

/// What an instance gives out, and what comes back to it.
struct Keeper {
    id: ServiceId,
    tool: Arc<KeeperTool>,
    resource: Item,
}

struct KeeperTool {
    spec: ToolSpec,
    goes_on: AtomicBool,
    heard: Mutex<Vec<String>>,
}

impl Keeper {
    fn new(resource: &str) -> Arc<Self> {
        let Fake { id, tool } = Arc::into_inner(Fake::new()).unwrap();
        let spec = tool.spec.clone();
        let tool = Arc::new(KeeperTool { spec, goes_on: false.into(), heard: Mutex::default() });
        let raw = Json::from(json!({"uri": resource, "name": resource}));
        Arc::new(Self { id, tool, resource: Item { key: Arc::from(resource), raw } })
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.tool.heard.lock())
    }
}

fn task(id: &str) -> Task {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let state = trunkline_model::TaskState::Working;
    Task { id: Arc::from(id), state, message: None, created: now, updated: now, ttl_ms: None, poll_ms: None }
}

impl Tool for KeeperTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn execute<'a>(&'a self, call: &'a Call, _: &'a CallContext) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async {
            let state = call.resume.as_ref().map(|resume| resume.state.clone());
            self.heard.lock().push(format!("call {state:?}"));
            if self.goes_on.load(Ordering::Relaxed) {
                return Ok(Outcome::Task(Box::new(task("t1"))));
            }
            let state = Some("own".to_owned());
            Ok(Outcome::InputRequired(InputRequired { requests: Json::empty_object(), state }))
        })
    }
}

impl Service for Keeper {
    fn id(&self) -> &ServiceId {
        &self.id
    }

    fn status(&self) -> ServiceStatus {
        let protocol = "fake".to_owned();
        ServiceStatus { state: ServiceState::Up, cause: None, restarts: 0, protocol, stderr: Vec::new() }
    }

    fn contents(&self) -> Arc<Contents> {
        let resources = vec![self.resource.clone()];
        Arc::new(Contents { tools: vec![self.tool.clone()], resources, ..Contents::default() })
    }

    fn request<'a>(&'a self, call: &'a Call, _: &'a CallContext) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async {
            self.tool.heard.lock().push(format!("read {}", call.name));
            Ok(ToolResult::text("ok", false).into())
        })
    }

    fn task<'a>(&'a self, id: &'a str, _: &'a CallContext) -> BoxFuture<'a, Result<Option<Task>, Failure>> {
        Box::pin(async move {
            self.tool.heard.lock().push(format!("task {id}"));
            Ok(Some(task(id)))
        })
    }

    fn subscribe<'a>(&'a self, _: &'a str, _: bool) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn what_an_instance_gave_out_comes_back_to_it() {
    let (pool, ..) = pool(0);
    let keepers: Vec<_> = (0..3).map(|n| Keeper::new(&format!("test://{n}"))).collect();
    let place = |(n, keeper): (usize, &Arc<Keeper>)| {
        (Instance::at(&format!("http://{n}/")), keeper.clone() as Arc<dyn Service>)
    };
    pool.replace(keepers.iter().enumerate().map(place).collect());
    let Outcome::InputRequired(asked) = call(&pool).await.unwrap() else { panic!("it asks") };
    let asker = keepers.iter().find(|keeper| !keeper.heard().is_empty()).unwrap();
    let resume = Some(Resume { responses: Json::empty_object(), state: asked.state });
    asker.tool.goes_on.store(true, Ordering::Relaxed);
    let Outcome::Task(begun) = make(&pool, Operation::CallTool, "t", resume.clone()).await.unwrap() else {
        panic!("it goes on")
    };
    let looked = pool.task(&begun.id, &context()).await.unwrap().unwrap();
    assert_eq!(looked.id, begun.id);
    assert_eq!(asker.heard(), [r#"call Some(Some("own"))"#, "task t1"]);

    // Each resource is read where it is; one that nobody lists, anywhere.
    assert_eq!(pool.contents().resources.len(), 3);
    for (n, keeper) in keepers.iter().enumerate() {
        for _ in 0..5 {
            make(&pool, Operation::ReadResource, &format!("test://{n}"), None).await.unwrap();
        }
        assert_eq!(keeper.heard(), vec![format!("read test://{n}"); 5]);
    }
    make(&pool, Operation::ReadResource, "test://other", None).await.unwrap();

    pool.replace(Vec::new());
    assert_eq!(pool.task(&begun.id, &context()).await.unwrap_err().code, "TL8011");
    assert_eq!(make(&pool, Operation::CallTool, "t", resume).await.unwrap_err().code, "TL8011");
}

#[tokio::test]
async fn an_outage_of_all_instances_is_not_made_worse() {
    let (pool, fakes, _) = pool(3);
    fakes.iter().for_each(|fake| fake.tool.away.store(true, Ordering::Relaxed));
    for _ in 0..1_000 {
        assert!(call(&pool).await.is_err());
    }
    // Their status says that they are reached.
    let made: usize = fakes.iter().map(|fake| fake.calls()).sum();
    assert!((1_000..=1_210).contains(&made), "{made}");
}
