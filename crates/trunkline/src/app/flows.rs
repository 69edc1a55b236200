//! The wiring of flows: the engine, the named flows, and the service that they are tools of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::task::TaskTracker;
use trunkline_connectors::http_client::HttpClient;
use trunkline_event_log::EventLog;
use trunkline_gateway::flows::{Declared, FlowDoor, FlowTools};
use trunkline_gateway::{FlowWatcher, Gateway, Observer};
use trunkline_model::{Service as _, ServiceObserver as _};
use trunkline_orchestrator::choreography::{Rules, letters};
use trunkline_orchestrator::entry::Undo;
use trunkline_orchestrator::expression::Expression;
use trunkline_orchestrator::limits::Limit;
use trunkline_orchestrator::service::{Flows, Library};
use trunkline_orchestrator::workflow::Workflow;
use trunkline_orchestrator::{Bounds, Engine, Parts, Sources, views};

use super::choreography::Hands;
use super::endpoints::Endpoints;
use crate::config;

/// Flows, as they run.
pub(super) struct Running {
    pub(super) engine: Engine,
    pub(super) service: Arc<Flows>,
    tools: Arc<FlowTools>,
    hands: Arc<Hands>,
    endpoints: Endpoints,
    library: Arc<Library>,
    observer: Observer,
}

impl Running {
    /// Puts the engine together. No instance runs yet. Commands of workflows run in `folder`.
    pub(super) async fn build(
        gateway: &Arc<Gateway>,
        log: &EventLog,
        sources: &trunkline_gateway::Sources,
        tasks: &TaskTracker,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        log.project(Box::new(views::Views)).await?;
        log.project(Box::new(letters::Letters)).await?;
        let tools = Arc::new(FlowTools::new(gateway.clone()));
        let library = Arc::new(Library::default());
        let http = HttpClient::new()?;
        let endpoints = Endpoints::new(&config::Flows::default(), http.clone(), folder);
        let hands = Arc::new(Hands::new(tools.clone(), http, sources.now.clone()));
        let engine = Engine::new(Parts {
            log: log.clone(),
            tools: hands.clone(),
            endpoints: Arc::new(endpoints.clone()),
            definitions: library.clone(),
            sources: Sources { now: sources.now.clone(), time_id: sources.time_id.clone() },
            bounds: Bounds::default(),
            tasks: tasks.clone(),
            runtime: tokio::runtime::Handle::current(),
            closing: gateway.closing().clone(),
        });
        engine.watch(Arc::new(FlowWatcher(gateway.telemetry().clone())));
        let service = Arc::new(Flows::new(engine.clone(), tools.clone(), library.clone()));
        gateway.open_flows(FlowDoor {
            engine: engine.clone(),
            library: library.clone(),
            choreography: service.choreography().clone(),
        });
        Ok(Self { engine, service, tools, hands, endpoints, library, observer: Observer(gateway.clone()) })
    }

    /// Puts what the configuration says in force. Running instances keep their definitions.
    pub(super) fn configure(&self, config: &config::Flows, prepared: Prepared) {
        self.endpoints.reconfigure(config);
        self.tools.declare(prepared.declared);
        self.library.replace(prepared.definitions);
        self.engine.limit(prepared.limits);
        self.hands.reconfigure(config);
        self.service.choreography().configure(prepared.rules);
        self.service.refresh();
        self.observer.contents_changed(self.service.id());
    }
}

/// What the configuration says of flows, read and found to be good.
pub(super) struct Prepared {
    declared: HashMap<String, Declared>,
    definitions: Vec<Workflow>,
    limits: Vec<Limit>,
    rules: Rules,
}

/// Reads what the configuration says. Nothing changes yet.
pub(super) fn prepare(config: &config::Flows) -> anyhow::Result<Prepared> {
    let declared = config.tools.iter().map(|(name, tool)| {
        let undo = tool.undo.as_ref().map(|undo| Undo {
            tool: Arc::from(&*undo.tool),
            args: undo.args.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            safe: undo.safe,
        });
        (name.clone(), Declared { undo, keyed: tool.keyed })
    });
    let definitions = definitions(config)?.into_iter().map(|workflow| Workflow::clone(&workflow)).collect();
    let rules = config::event_rules(config).map_err(anyhow::Error::msg)?;
    let limits = config.limits.iter().map(limit).collect::<anyhow::Result<_>>()?;
    Ok(Prepared { declared: declared.collect(), definitions, rules, limits })
}

/// Reads the workflows that the configuration names.
pub(crate) fn definitions(config: &config::Flows) -> anyhow::Result<Vec<Arc<Workflow>>> {
    let mut definitions = Vec::new();
    for path in &config.definitions {
        for file in files(path).with_context(|| format!("flows.definitions: {}", path.display()))? {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            definitions.push(Arc::new(Workflow::read(&text).with_context(|| file.display().to_string())?));
        }
    }
    Ok(definitions)
}

fn limit(limit: &config::FlowLimit) -> anyhow::Result<Limit> {
    if limit.flow.is_none() && limit.tool.is_none() {
        anyhow::bail!("flows.limits: a limit needs `flow` or `tool`");
    }
    let key = limit.key.as_deref().map(Expression::new);
    if let Some(key) = &key {
        key.check(&["principal"]).with_context(|| format!("flows.limits: {}", key.text()))?;
    }
    let max = usize::try_from(limit.max.get())?;
    Ok(Limit { flow: limit.flow.clone(), tool: limit.tool.clone(), key, max })
}

/// A file, or the workflows of a folder in the order of their names.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let kind = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if matches!(kind, "yaml" | "yml" | "json") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
