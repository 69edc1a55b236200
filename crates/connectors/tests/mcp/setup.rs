//! A service under test, and a caller whose answers a test decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trunkline_connectors::mcp::{ClientInfo, Config, McpService, build};
use trunkline_model::{
    AskError, BoxFuture, Call, CallContext, CallId, Client, ClientFeatures, Failure, Json, Operation,
    Outcome, Principal, Question, Service, ServiceId, ServiceObserver, ServiceStatus, Tool,
};
use uuid::Uuid;

/// A running service.
pub(crate) struct Running {
    pub(crate) service: Arc<McpService>,
    changes: watch::Receiver<u64>,
    stop: CancellationToken,
    runner: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(config: Config) -> Self {
        let (sender, changes) = watch::channel(0);
        let observer = Arc::new(Observer(sender));
        let (service, runner) =
            build(config, ServiceId::new("tested"), ClientInfo::default(), observer).unwrap();
        let stop = CancellationToken::new();
        let runner = tokio::spawn(runner.run(stop.clone()));
        Self { service, changes, stop, runner }
    }

    /// Waits until `done` says so of the service.
    pub(crate) async fn until(&mut self, done: impl Fn(&McpService) -> bool) {
        let waiting = async {
            while !done(&self.service) {
                self.changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        assert!(waited.is_ok(), "{:?}", self.service.status());
    }

    /// The tool called `name`, as soon as it is listed.
    pub(crate) async fn tool(&mut self, name: &str) -> Arc<dyn Tool> {
        let find = |service: &McpService| {
            service.contents().tools.iter().find(|tool| &*tool.spec().name == name).cloned()
        };
        self.until(|service| find(service).is_some()).await;
        find(&self.service).unwrap()
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.runner.await.unwrap();
    }
}

pub(crate) fn context(caller: Arc<dyn Client>, conversation: Option<&str>) -> CallContext {
    let principal = Arc::new(Principal::local());
    let mut context = CallContext::unattended(principal, Instant::now() + Duration::from_secs(30));
    context.client = caller;
    context.conversation = conversation.map(Arc::from);
    context
}

pub(crate) fn call(name: &str, arguments: Value) -> Call {
    Call {
        id: CallId(Uuid::now_v7()),
        operation: Operation::CallTool,
        service: ServiceId::new("tested"),
        name: Arc::from(name),
        arguments: Json::from(arguments),
        meta: None,
        resume: None,
        idempotency_key: None,
        known: None,
    }
}

/// Calls a tool for `context` and gives the text of its answer.
pub(crate) async fn text_of(
    tool: &dyn Tool,
    arguments: Value,
    context: &CallContext,
) -> Result<String, Failure> {
    match tool.execute(&call(&tool.spec().name, arguments), context).await? {
        Outcome::Complete(result) => {
            Ok(result.body.to_value()["content"][0]["text"].as_str().unwrap_or_default().to_owned())
        }
        other => panic!("{other:?}"),
    }
}

/// Calls a tool for nobody in particular.
pub(crate) async fn simple(tool: &dyn Tool, arguments: Value) -> Result<String, Failure> {
    text_of(tool, arguments, &context(Arc::new(Person("nobody")), None)).await
}

/// A caller who answers every question with their name.
pub(crate) struct Person(pub(crate) &'static str);

impl Client for Person {
    fn features(&self) -> ClientFeatures {
        ClientFeatures { elicitation_form: true, ..ClientFeatures::default() }
    }

    fn ask<'a>(&'a self, question: Question) -> BoxFuture<'a, Result<Json, AskError>> {
        assert_eq!(question.method, "elicitation/create");
        let answer = json!({"action": "accept", "content": {"name": self.0}});
        Box::pin(async move { Ok(Json::from(answer)) })
    }
}

struct Observer(watch::Sender<u64>);

impl ServiceObserver for Observer {
    fn contents_changed(&self, _: &ServiceId) {
        self.0.send_modify(|count| *count += 1);
    }

    fn status_changed(&self, _: &ServiceId, _: &ServiceStatus) {
        self.0.send_modify(|count| *count += 1);
    }

    fn resource_updated(&self, _: &ServiceId, _: &str) {}

    fn logged(&self, _: &ServiceId, _: &Json) {}
}
