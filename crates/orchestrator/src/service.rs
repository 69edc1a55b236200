//! Flows as tools: running a plan, asking how it is, and every named flow.
//!
//! They stand in the catalogue beside all other tools, so every door has them: MCP, HTTP, the command line.

mod tasks;
mod transactions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use indexmap::IndexMap;
use serde_json::{Value, json};
use trunkline_model::{
    BoxFuture, Call, CallContext, Effects, Failure, Json, Outcome, Principal, Schema, Service, ServiceId,
    ServiceState, ServiceStatus, Task, TaskOrder, Tool, ToolResult, ToolSpec, Violation,
};

use crate::check::{self, Finding, Severity};
use crate::choreography::{self, Choreography};
use crate::engine::{Engine, Start};
use crate::entry::{Ending, Finished, InstanceId};
use crate::plan;
use crate::run::Definitions;
use crate::views;
use crate::workflow::{SchemaRef, Workflow};
use crate::{Error, Instance};
use transactions::Verb;

pub use tasks::tasks;
pub use transactions::end;

/// The name of the service that flows are tools of.
pub const SERVICE: &str = "flows";

/// Whether a tool of the service may be called while a transaction is open: the others are sagas of their own.
#[must_use]
pub fn steers(name: &str) -> bool {
    matches!(name, "begin" | "transact" | "commit" | "rollback" | "get_run")
}

/// Whether a tool of the service is one that is always there, and no named flow.
#[must_use]
pub fn is_built_in(name: &str) -> bool {
    steers(name) || name == "run_plan" || name == choreography::PUBLISH
}

/// What is left of a call's time for its answer.
const MARGIN: Duration = Duration::from_millis(250);

/// The tools that a principal may use, for checks of plans.
pub trait Toolbox: Send + Sync {
    /// The tools as this principal sees them.
    fn of<'a>(&'a self, principal: &'a Principal) -> Box<dyn check::Tools + 'a>;
}

/// The named flows in force, the newest version of each last.
#[derive(Default)]
pub struct Library(ArcSwap<ByName>);

/// The versions of every flow, by namespace and name.
type ByName = IndexMap<(String, String), Vec<Arc<Workflow>>>;

impl Library {
    /// Puts other definitions in place of those there are.
    pub fn replace(&self, definitions: impl IntoIterator<Item = Workflow>) {
        let mut map = ByName::new();
        for workflow in definitions {
            let document = &workflow.document;
            let name = (document.namespace.to_string(), document.name.to_string());
            let versions = map.entry(name).or_default();
            versions.push(Arc::new(workflow));
            versions.sort_by_key(|workflow| version_order(&workflow.document.version));
        }
        self.0.store(Arc::new(map));
    }

    /// The newest version of every flow.
    #[must_use]
    pub fn newest(&self) -> Vec<Arc<Workflow>> {
        self.0.load().values().filter_map(|versions| versions.last().cloned()).collect()
    }
}

impl Definitions for Library {
    fn find(&self, namespace: &str, name: &str, version: &str) -> Option<Arc<Workflow>> {
        let map = self.0.load();
        let versions = map.get(&(namespace.to_owned(), name.to_owned()))?;
        if version == "latest" {
            return versions.last().cloned();
        }
        versions.iter().find(|workflow| &*workflow.document.version == version).cloned()
    }
}

/// Semantic versions in their order: the numbers, then a release after its pre-releases.
fn version_order(version: &str) -> (Vec<u64>, bool, String) {
    let (numbers, rest) = version.split_once('-').unwrap_or((version, ""));
    let numbers = numbers.split('.').map(|number| number.parse().unwrap_or(0)).collect();
    (numbers, rest.is_empty(), rest.to_owned())
}

/// Flows as a service.
pub struct Flows {
    id: ServiceId,
    shared: Arc<Shared>,
    contents: ArcSwap<trunkline_model::Contents>,
}

struct Shared {
    choreography: Choreography,
    engine: Engine,
    toolbox: Arc<dyn Toolbox>,
    library: Arc<Library>,
}

impl Flows {
    /// The service of an engine.
    #[must_use]
    pub fn new(engine: Engine, toolbox: Arc<dyn Toolbox>, library: Arc<Library>) -> Self {
        let choreography = Choreography::new(engine.clone(), library.clone());
        let shared = Arc::new(Shared { choreography, engine, toolbox, library });
        let flows = Self { id: ServiceId::new(SERVICE), shared, contents: ArcSwap::default() };
        flows.refresh();
        flows
    }

    /// What follows events. It does so once it is run.
    #[must_use]
    pub fn choreography(&self) -> &Choreography {
        &self.shared.choreography
    }

    /// Reads the library again.
    pub fn refresh(&self) {
        let mut tools: Vec<Arc<dyn Tool>> = vec![
            self.tool(run_plan(), Kind::RunPlan),
            self.tool(get_run(), Kind::GetRun),
            self.tool(choreography::publish_spec(), Kind::Publish),
        ];
        tools.extend(transactions::specs().map(|(spec, verb)| self.tool(spec, Kind::Transaction(verb))));
        for workflow in self.shared.library.newest() {
            tools.push(self.tool(named(&workflow), Kind::Named(workflow)));
        }
        self.contents.store(Arc::new(trunkline_model::Contents { tools, ..Default::default() }));
    }

    fn tool(&self, spec: ToolSpec, kind: Kind) -> Arc<dyn Tool> {
        Arc::new(FlowTool {
            spec: ToolSpec { service: self.id.clone(), ..spec },
            kind,
            shared: self.shared.clone(),
        })
    }
}

impl Service for Flows {
    fn id(&self) -> &ServiceId {
        &self.id
    }

    fn status(&self) -> ServiceStatus {
        ServiceStatus {
            state: ServiceState::Up,
            cause: None,
            restarts: 0,
            protocol: "flows".to_owned(),
            stderr: Vec::new(),
        }
    }

    fn contents(&self) -> Arc<trunkline_model::Contents> {
        self.contents.load_full()
    }

    fn request<'a>(
        &'a self,
        _call: &'a Call,
        _context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(std::future::ready(Err(Error::ToolsOnly.into())))
    }

    fn task<'a>(
        &'a self,
        id: &'a str,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Option<Task>, Failure>> {
        Box::pin(async move { Ok(tasks::look(&self.shared.engine, id, context).await?) })
    }

    fn order_task<'a>(
        &'a self,
        id: &'a str,
        order: TaskOrder,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move { Ok(tasks::order(&self.shared.engine, id, order, context).await?) })
    }

    fn subscribe<'a>(&'a self, _uri: &'a str, _on: bool) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::ready(Err(Error::ToolsOnly.into())))
    }
}

enum Kind {
    RunPlan,
    GetRun,
    Transaction(Verb),
    Publish,
    Named(Arc<Workflow>),
}

struct FlowTool {
    spec: ToolSpec,
    kind: Kind,
    shared: Arc<Shared>,
}

impl Tool for FlowTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn goes_on(&self) -> bool {
        matches!(self.kind, Kind::RunPlan | Kind::Named(_))
    }

    /// What is wrong within a plan is told by its check, all of it and with patches.
    fn validate_parameters(&self, parameters: &Json) -> Result<(), Vec<Violation>> {
        let mut found = self.spec.input.validate(parameters);
        if let (Kind::RunPlan, Err(violations)) = (&self.kind, &mut found) {
            violations.retain(|violation| !violation.path.starts_with("/plan/"));
            if violations.is_empty() {
                return Ok(());
            }
        }
        found
    }

    fn journals(&self) -> bool {
        matches!(self.kind, Kind::RunPlan | Kind::Named(_))
    }

    fn execute<'a>(
        &'a self,
        call: &'a Call,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move {
            match &self.kind {
                Kind::RunPlan => self.run_plan(call, context).await,
                Kind::GetRun => self.get_run(call, context).await,
                Kind::Transaction(verb) => self.transaction(*verb, call, context).await,
                Kind::Publish => {
                    Ok(choreography::publish_by_tool(&self.shared.choreography, call, context).await?)
                }
                Kind::Named(workflow) => {
                    let started = self.start(workflow.clone(), call.arguments.clone(), context)?;
                    Ok(self.answer(started, context, None).await?)
                }
            }
        })
    }
}

impl FlowTool {
    async fn run_plan(&self, call: &Call, context: &CallContext) -> Result<Outcome, Failure> {
        let arguments = call.arguments.to_value();
        let source = &arguments["plan"];
        let findings = check::plan(source, &*self.shared.toolbox.of(&context.principal));
        if findings.iter().any(|finding| finding.severity >= Severity::Error) {
            return Ok(unfit(&findings).into());
        }
        let compiled = plan::Plan::from_source(source).and_then(|plan| plan::compile(&plan));
        let workflow = match compiled {
            Ok(workflow) => workflow,
            Err(invalid) => return Ok(unfit(&invalid.findings).into()),
        };
        if arguments["check_only"] == true {
            let answer = json!({
                "findings": findings, "workflow": **workflow.source(),
            });
            return Ok(ToolResult::document(&Json::from_value(&answer), false).into());
        }
        let input = Json::from_value(source.get("input").unwrap_or(&json!({})));
        let limit = arguments["wait_ms"].as_u64().map(Duration::from_millis);
        let started = self.start(Arc::new(workflow), input, context)?;
        Ok(self.answer(started, context, limit).await?)
    }

    fn start(&self, workflow: Arc<Workflow>, input: Json, context: &CallContext) -> Result<Instance, Error> {
        let start = Start { workflow, input, principal: context.principal.clone() };
        self.shared.engine.start_within(start, &context.trace)
    }

    /// Waits for the end of a run as long as its caller does. One that takes longer is a task where the caller can follow it.
    async fn answer(
        &self,
        instance: Instance,
        context: &CallContext,
        limit: Option<Duration>,
    ) -> Result<Outcome, Error> {
        match context.client.patience() {
            None => Ok(wait(instance, context.deadline, limit).await?.into()),
            Some(patience) => tasks::begin(&self.shared.engine, instance, context, patience, limit).await,
        }
    }

    async fn get_run(&self, call: &Call, context: &CallContext) -> Result<Outcome, Failure> {
        let arguments = call.arguments.to_value();
        let id = arguments["instance"].as_str().and_then(|id| id.parse().ok()).map(InstanceId);
        let given = || arguments["instance"].to_string().chars().take(64).collect();
        let id = id.ok_or_else(|| Error::NoInstance(given()))?;
        let shown = show(&self.shared.engine, id).await?;
        // The holder of an API key sees its own.
        let foreign = shown["principal"] != *context.principal.id;
        if context.principal.is_confined() && foreign {
            return Err(Error::UnknownInstance(id).into());
        }
        Ok(ToolResult::document(&Json::from_value(&shown), false).into())
    }
}

/// All that is known of an instance: its row, its steps, its output.
///
/// # Errors
/// Where there is none of this identity, or the log can't be read.
pub async fn show(engine: &Engine, id: InstanceId) -> Result<Value, Error> {
    engine.log().projected(views::NAME, engine.log().head()).await?;
    let row = views::instance(engine.log(), id).await?.ok_or(Error::UnknownInstance(id))?;
    let steps = views::steps(engine.log(), id).await?;
    let output = views::output(engine.log(), id).await?;
    let mut shown = serde_json::to_value(&row).unwrap_or_default();
    shown["steps"] = serde_json::to_value(&steps).unwrap_or_default();
    let queued = views::queued(engine.log(), Some(id), None).await?;
    if !queued.is_empty() {
        shown["queued"] = serde_json::to_value(&queued).unwrap_or_default();
    }
    let saga = views::saga(engine.log(), id).await?;
    shown["saga"] = serde_json::to_value(&saga).unwrap_or_default();
    if let Some(output) = output {
        shown["output"] = output.to_value();
    }
    Ok(shown)
}

/// Waits for the end of a run as long as its caller does. One that takes longer goes on by itself.
async fn wait(instance: Instance, deadline: Instant, limit: Option<Duration>) -> Result<ToolResult, Error> {
    let id = instance.id;
    let end = deadline.checked_sub(MARGIN).unwrap_or(deadline);
    let end = limit.map_or(end, |limit| end.min(Instant::now() + limit));
    if end <= Instant::now() {
        instance.durable().await?;
    }
    let happened = async {
        tokio::select! {
            biased;
            finished = instance.finished() => Ok(finished),
            stuck = instance.stuck() => Err(stuck),
        }
    };
    match tokio::time::timeout_at(end.into(), happened).await {
        Ok(Ok(Some(finished))) => Ok(result(id, &finished)),
        Ok(Err(stuck)) => {
            let answer = json!({
                "instance": id, "status": "stuck", "stuck": stuck,
                "next": "A person has to say what to do with these steps: trunkline flow resolve.",
            });
            Ok(ToolResult::document(&Json::from_value(&answer), true))
        }
        _ => {
            // What is said to go on does so after a crash, too.
            instance.durable().await?;
            let answer = json!({
                "instance": id, "status": "running",
                "next": "It goes on by itself. Ask with the tool get_run.",
            });
            Ok(ToolResult::document(&Json::from_value(&answer), false))
        }
    }
}

fn result(id: InstanceId, finished: &Finished) -> ToolResult {
    let mut answer = json!({"instance": id, "status": views::ending(finished.status)});
    if let Some(output) = &finished.output {
        answer["output"] = output.to_value();
    }
    if let Some(fault) = &finished.fault {
        answer["error"] = fault.to_value();
        answer["next"] = json!(match finished.status {
            Ending::Undone => "What the run had done was undone. It can be started again.",
            _ => "Nothing that could be undone had been done.",
        });
    }
    ToolResult::document(&Json::from_value(&answer), finished.status != Ending::Completed)
}

/// What is wrong with a plan, for the model that wrote it.
fn unfit(findings: &[Finding]) -> ToolResult {
    let answer = json!({
        "findings": findings,
        "next": "Nothing was done. Apply the patches, mend what has none, and send the whole plan again.",
    });
    ToolResult::document(&Json::from_value(&answer), true)
}

fn bare(name: &str, description: &str, input: Value, effects: Effects) -> ToolSpec {
    ToolSpec {
        service: ServiceId::new(SERVICE),
        name: Arc::from(name),
        version: Arc::from(env!("CARGO_PKG_VERSION")),
        title: None,
        description: description.to_owned(),
        capabilities: Vec::new(),
        dependencies: Vec::new(),
        input: Schema::new(input),
        output: None,
        effects,
        raw: None,
    }
}

fn run_plan() -> ToolSpec {
    let step = json!({
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "A name for the step, unique in the plan."},
            "tool": {"type": "string", "description": "The tool to call."},
            "args": {"type": "object", "description": "Its arguments. A string \"${ jq }\" takes values of other steps: \"${ .steps.book.id }\", \"${ .input.customer }\"."},
            "after": {"type": "array", "items": {"type": "string"}, "description": "Steps to wait for beyond those named in args."},
            "undo": {"description": "How to take the step back: {\"tool\", \"args\"}; args see {input, args, result} of the step. false: it needs none."},
            "pivot": {"type": "boolean", "description": "After this step there is no way back, only forward."},
            "when": {"type": "string", "description": "jq; the step is left out where it is false."},
            "forEach": {"type": "string", "description": "jq that gives an array; the step is done for each ($item, $index)."},
            "retry": {"type": "object"},
            "timeout": {"type": "string"},
        },
        "required": ["id", "tool"],
    });
    let input = json!({
        "type": "object",
        "properties": {
            "plan": {
                "type": "object",
                "description": "The steps. Those that do not need each other are done at the same time.",
                "properties": {
                    "name": {"type": "string"}, "title": {"type": "string"}, "input": {}, "timeout": {"type": "string"},
                    "concurrency": {"type": "integer"}, "steps": {"type": "array", "items": step},
                    "output": {"type": "string", "description": "jq for the result; all steps' results where left out."},
                },
                "required": ["steps"],
            },
            "check_only": {"type": "boolean", "description": "Only say what is wrong with it and what it compiles to."},
            "wait_ms": {"type": "integer", "minimum": 0, "description": "How long to wait for the end; it goes on by itself."},
        },
        "required": ["plan"],
    });
    bare(
        "run_plan",
        "Runs several tool calls as one: journaled, resumed after a crash, and undone in reverse order where a step \
         fails. Faults in the plan come back all at once, with patches.",
        input,
        Effects::default(),
    )
}

fn get_run() -> ToolSpec {
    let input = json!({
        "type": "object",
        "properties": {"instance": {"type": "string", "description": "The identity that starting it gave."}},
        "required": ["instance"],
    });
    bare("get_run", "How a run is: its status, its steps, its output.", input, Effects::READ_ONLY)
}

fn named(workflow: &Workflow) -> ToolSpec {
    let document = &workflow.document;
    let schema = workflow.input.as_ref().and_then(|input| input.schema.as_ref());
    let input = match schema {
        Some(SchemaRef::Inline(schema)) => schema.document().clone(),
        _ => json!({"type": "object"}),
    };
    let summary = document.summary.clone().or_else(|| document.title.clone());
    let description = summary.unwrap_or_else(|| format!("Runs the flow {}.", workflow.full_name()));
    let mut spec = bare(&document.name, &description, input, Effects::default());
    spec.title.clone_from(&document.title);
    spec.version = document.version.clone();
    spec
}
