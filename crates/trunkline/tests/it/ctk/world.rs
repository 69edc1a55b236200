//! What a scenario plays in: an event log, an engine on it, a service to ask, and the run that is looked at.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline::app::endpoints::Endpoints;
use trunkline::config::Flows;
use trunkline_connectors::http_client::HttpClient;
use trunkline_event_log::{EventLog, Expected};
use trunkline_model::{BoxFuture, Event, Failure, Json, Outcome, Principal};
use trunkline_orchestrator::entry::Finished;
use trunkline_orchestrator::outside::{Contract, StepCall, Tools};
use trunkline_orchestrator::service::Library;
use trunkline_orchestrator::workflow::Workflow;
use trunkline_orchestrator::{Bounds, Engine, Entry, InstanceId, Parts, Sources, Start, views};
use uuid::Uuid;

use super::stub::Stub;
use crate::support::PATIENCE;

/// What a scenario plays in.
pub(super) struct World {
    pub(super) stub: Stub,
    folder: tempfile::TempDir,
    process: Process,
    library: Arc<Library>,
    /// The workflows that others may run.
    others: Vec<String>,
    workflow: Option<Arc<Workflow>>,
    pub(super) input: Value,
    instance: Option<InstanceId>,
    finished: Option<Finished>,
}

/// What ends with a process.
struct Process {
    log: EventLog,
    writer: JoinHandle<()>,
    engine: Engine,
    closing: CancellationToken,
}

/// There are no tools: the kit calls endpoints.
struct NoTools;

impl Tools for NoTools {
    fn contract(&self, _principal: &Principal, tool: &str) -> Result<Contract, Failure> {
        Err(Failure::caller("TL4001", "No such tool", format!("there is no tool {tool}"), "Call another."))
    }

    fn call(&self, step: StepCall) -> BoxFuture<'static, Result<Outcome, Failure>> {
        let failure = Failure::caller("TL4001", "No such tool", step.tool.to_string(), "Call another.");
        Box::pin(std::future::ready(Err(failure)))
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let stub = Stub::start().await;
        let folder = tempfile::tempdir().unwrap();
        let library = Arc::new(Library::default());
        let process = Process::start(folder.path(), &library, &stub).await;
        Self {
            stub,
            folder,
            process,
            library,
            others: Vec::new(),
            workflow: None,
            input: json!({}),
            instance: None,
            finished: None,
        }
    }

    /// A document with the hosts of the kit replaced by that of the stand-in.
    fn localized(&self, text: &str) -> String {
        let local = self.stub.url();
        text.replace("https://petstore.swagger.io", &local).replace("https://httpbin.org", &local)
    }

    pub(super) fn define(&mut self, text: &str) -> Result<(), String> {
        let workflow = Workflow::read(&self.localized(text)).map_err(|error| error.to_string())?;
        self.workflow = Some(Arc::new(workflow));
        Ok(())
    }

    /// Defines a workflow that others may run; one of the same name and version is replaced.
    pub(super) fn define_other(&mut self, text: &str, instead: bool) -> Result<(), String> {
        if instead {
            self.others.clear();
        }
        self.others.push(self.localized(text));
        let read = self.others.iter().map(|text| Workflow::read(text).map_err(|error| error.to_string()));
        self.library.replace(read.collect::<Result<Vec<_>, _>>()?);
        Ok(())
    }

    pub(super) fn start(&mut self) -> Result<(), String> {
        let workflow = self.workflow.clone().ok_or("no workflow is defined")?;
        let input = Json::from_value(&self.input);
        let start = Start { workflow, input, principal: Arc::new(Principal::local()) };
        self.instance = Some(self.process.engine.start(start).unwrap().id);
        Ok(())
    }

    /// The end of the run.
    pub(super) async fn finished(&mut self) -> Result<Finished, String> {
        if let Some(finished) = &self.finished {
            return Ok(finished.clone());
        }
        let id = self.instance.ok_or("no workflow was started")?;
        // It may be over already, and then the engine does not know it any more.
        let finished = within("the end of the run", async {
            self.seen(id, |entry| match entry {
                Entry::Finished(finished) => Some(finished),
                _ => None,
            })
            .await
        })
        .await?;
        self.finished = Some(finished.clone());
        Ok(finished)
    }

    /// Waits until a task waits, listens or calls.
    pub(super) async fn comes_to(&self, task: &str) -> Result<(), String> {
        let id = self.instance.ok_or("no workflow was started")?;
        let at = |key: &str| (task_of(key) == task).then_some(());
        within(&format!("the run comes to {task}"), async {
            self.seen(id, |entry| match entry {
                Entry::Waiting { key, .. } | Entry::Decided { key, .. } => at(&key),
                Entry::Intended(intended) => at(&intended.key),
                _ => None,
            })
            .await;
        })
        .await
    }

    /// Waits until a task is done.
    pub(super) async fn has_passed(&self, task: &str) -> Result<(), String> {
        let id = self.instance.ok_or("no workflow was started")?;
        let at = |key: &str| (task_of(key) == task).then_some(());
        within(&format!("the run has passed {task}"), async {
            self.seen(id, |entry| match entry {
                Entry::Passed { key } => at(&key),
                Entry::Ended(ended) => at(&ended.key),
                _ => None,
            })
            .await;
        })
        .await
    }

    async fn seen<T>(&self, id: InstanceId, is: impl Fn(Entry) -> Option<T>) -> T {
        seen(&self.process.log, id, is).await
    }

    pub(super) async fn publish(&self, event: &Value) -> Result<(), String> {
        let source = json!({
            "document": {"dsl": "1.0.3", "namespace": "ctk", "name": "publish", "version": "1.0.0"},
            "do": [{"publish": {"emit": {"event": {"with": event}}}}],
        });
        let workflow = Arc::new(Workflow::from_source(Arc::new(source)).map_err(|error| error.to_string())?);
        let principal = Arc::new(Principal::local());
        let instance =
            self.process.engine.start(Start { workflow, input: Json::empty_object(), principal }).unwrap();
        match within("the event is published", instance.finished()).await? {
            Some(Finished { fault: None, .. }) => Ok(()),
            other => Err(format!("the event was not published: {other:?}")),
        }
    }

    pub(super) async fn cancel(&self) -> Result<(), String> {
        let id = self.instance.ok_or("no workflow was started")?;
        self.process.engine.cancel(id, "a tester", None).await.map_err(|error| error.to_string())
    }

    /// Ends what runs.
    pub(super) fn close(&self) {
        self.process.close();
    }

    /// Ends the engine where it stands, as the end of a process does, and lets another one go on.
    pub(super) async fn interrupt_and_resume(&mut self) -> Result<(), String> {
        self.close();
        // The lock of the file goes with the writer.
        while !self.process.writer.is_finished() {
            tokio::task::yield_now().await;
        }
        self.process = Process::start(self.folder.path(), &self.library, &self.stub).await;
        let resumed = self.process.engine.resume_all().await.map_err(|error| error.to_string())?;
        if resumed == 1 { Ok(()) } else { Err(format!("{resumed} runs were resumed, not 1")) }
    }

    /// The end of the run in another process whose log has only so many entries of its journal.
    pub(super) async fn resumed_after(&self, length: usize) -> Result<Finished, String> {
        let id = self.instance.ok_or("no workflow was started")?;
        let page = self.process.log.read_stream(id.0, 1, length).await.map_err(|error| error.to_string())?;
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), &self.library, &self.stub).await;
        let events = page.events.iter().map(|recorded| Event::clone(&recorded.event)).collect();
        process.log.append(id.0, Expected::Any, events).await.map_err(|error| error.to_string())?;
        process.engine.resume_all().await.map_err(|error| error.to_string())?;
        let finished = within(
            "the end of the resumed run",
            seen(&process.log, id, |entry| match entry {
                Entry::Finished(finished) => Some(finished),
                _ => None,
            }),
        );
        let finished = finished.await.map_err(|why| format!("after {length} entries: {why}"));
        process.close();
        finished
    }

    /// The journal of the run.
    pub(super) async fn journal(&self) -> Vec<Entry> {
        let Some(id) = self.instance else { return Vec::new() };
        let entries = self.process.engine.journal_of(id).await.unwrap();
        entries.into_iter().map(|(entry, ..)| entry).collect()
    }

    /// For whoever looks for the fault.
    pub(super) async fn shown_journal(&self) -> String {
        let entries = self.journal().await;
        let lines = entries.iter().filter(|entry| !matches!(entry, Entry::Started(_)));
        lines.map(|entry| format!("    {}\n", serde_json::to_string(entry).unwrap())).collect()
    }

    /// The tasks that the run has passed, in their order.
    pub(super) async fn passed(&self) -> Vec<String> {
        let entries = self.journal().await;
        let keys = entries.iter().filter_map(|entry| match entry {
            Entry::Passed { key } => Some(key),
            Entry::Ended(ended) => Some(&ended.key),
            _ => None,
        });
        keys.map(|key| task_of(key)).collect()
    }
}

impl Process {
    fn close(&self) {
        self.closing.cancel();
        self.log.close();
    }

    async fn start(folder: &Path, library: &Arc<Library>, stub: &Stub) -> Self {
        let config = trunkline_event_log::Config::new(folder.join("events.db"));
        let (log, writer) = config.build(Arc::new(Timestamp::now)).unwrap();
        let writer = std::thread::spawn(move || writer.run().unwrap());
        log.project(Box::new(views::Views)).await.unwrap();
        let closing = CancellationToken::new();
        let allowed = Flows {
            allow_hosts: vec![stub.host()],
            allow_commands: ["sh", "printf", "python3"].map(str::to_owned).to_vec(),
            ..Flows::default()
        };
        let engine = Engine::new(Parts {
            log: log.clone(),
            tools: Arc::new(NoTools),
            endpoints: Arc::new(Endpoints::new(&allowed, HttpClient::new().unwrap(), folder)),
            definitions: library.clone(),
            sources: Sources { now: Arc::new(Timestamp::now), time_id: Arc::new(Uuid::now_v7) },
            bounds: Bounds::default(),
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            closing: closing.clone(),
        });
        Self { log, writer, engine, closing }
    }
}

/// The first entry of a run that is looked for.
async fn seen<T>(log: &EventLog, id: InstanceId, is: impl Fn(Entry) -> Option<T>) -> T {
    let mut events = log.subscribe(1);
    loop {
        let recorded = events.next().await.unwrap().expect("the log has ended");
        if recorded.event.correlation == id.0
            && let Some(entry) = Entry::of_event(&recorded).unwrap()
            && let Some(found) = is(entry)
        {
            return found;
        }
    }
}

/// Waits, but not for ever; the next scenario is played all the same.
async fn within<T>(what: &str, wait: impl Future<Output = T>) -> Result<T, String> {
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.map_err(|_| format!("{what}: nothing within {PATIENCE:?}"))
}

/// The name of the task that a key is of.
pub(super) fn task_of(key: &str) -> String {
    let last = key.rsplit('/').next().unwrap_or_default();
    let name = last.split(['~', ':']).next().unwrap_or_default();
    name.to_owned()
}
