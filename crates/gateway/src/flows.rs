//! Tools as flows see them: every step goes through the pipeline, as a call from outside does.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::{Value, json};
use trunkline_model::{
    BoxFuture, CallContext, Failure, Json, Operation, Outcome, Principal, Retry, ServiceState, Tool, ToolSpec,
};
use trunkline_orchestrator::choreography::{self, Choreography};
use trunkline_orchestrator::entry::Undo;
use trunkline_orchestrator::outside::{Contract, StepCall, Tools};
use trunkline_orchestrator::service::{Library, SERVICE, Toolbox};
use trunkline_orchestrator::{Engine, check};

use crate::pipeline::Request;
use crate::{Error, Gateway};

/// Where MCP servers are told of the key under which they may recognise a call.
pub(crate) const IDEMPOTENCY_KEY: &str = "dev.trunkline/idempotencyKey";

/// The most contracts that are kept.
const MAX_CONTRACTS: usize = 10_000;

/// What an operator has declared of a tool for its use in flows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// How it is undone.
    pub undo: Option<Undo>,
    /// It recognises a repeated call by its idempotency key.
    pub keyed: bool,
}

/// What the doors need of flows.
pub struct FlowDoor {
    /// Runs the instances.
    pub engine: Engine,
    /// The named flows.
    pub library: Arc<Library>,
    /// What follows events.
    pub choreography: Choreography,
}

/// A tool and the hash of its contract.
type Hashed = (Weak<dyn Tool>, Arc<str>);

/// The tools of the catalogue for the steps of flows.
pub struct FlowTools {
    gateway: Arc<Gateway>,
    declared: ArcSwap<HashMap<String, Declared>>,
    /// The hash of each tool's contract, as long as the tool is the same.
    hashes: Mutex<HashMap<Arc<str>, Hashed>>,
}

impl FlowTools {
    /// The tools of a gateway.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway, declared: ArcSwap::default(), hashes: Mutex::default() }
    }

    /// Puts other declarations in force, by advertised name.
    pub fn declare(&self, declared: HashMap<String, Declared>) {
        self.declared.store(Arc::new(declared));
    }

    /// What a tool says of itself, for a principal who may use it.
    #[must_use]
    pub fn spec(&self, principal: &Principal, name: &str) -> Option<ToolSpec> {
        let snapshot = self.gateway.catalog().snapshot();
        let spec = snapshot.tools.get(name)?.tool.spec();
        self.gateway.shows(principal, spec).then(|| spec.clone())
    }

    /// The names nearest to one that no tool has.
    #[must_use]
    pub fn near(&self, principal: &Principal, name: &str) -> Vec<String> {
        self.gateway.near_tools(principal, name)
    }

    fn hash(&self, tool: &Arc<dyn Tool>, label: &Arc<str>) -> Arc<str> {
        let mut hashes = self.hashes.lock();
        if let Some((known, hash)) = hashes.get(label)
            && std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(tool))
        {
            return hash.clone();
        }
        let spec = tool.spec();
        let contract = json!({
            "input": spec.input.document(),
            "output": spec.output.as_ref().map(|schema| schema.document().clone()),
            "effects": spec.effects,
        });
        let digest = ring::digest::digest(&ring::digest::SHA256, contract.to_string().as_bytes());
        let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let hash: Arc<str> = Arc::from(hash);
        if hashes.len() >= MAX_CONTRACTS {
            hashes.clear();
        }
        hashes.insert(label.clone(), (Arc::downgrade(tool), hash.clone()));
        hash
    }
}

impl Tools for FlowTools {
    fn contract(&self, principal: &Principal, tool: &str) -> Result<Contract, Failure> {
        let snapshot = self.gateway.catalog().snapshot();
        let Some(entry) = snapshot.tools.get(tool) else {
            let near = self.near(principal, tool);
            let unknown = Failure::from(Error::UnknownTool { name: tool.chars().take(256).collect(), near });
            // It may be a tool of a service that has not come up yet.
            let settled = self.gateway.catalog().services().values().all(|registered| {
                let up = registered.service.status().state == ServiceState::Up;
                up || !registered.service.contents().tools.is_empty()
            });
            return Err(if settled { unknown } else { unknown.retry(Retry::Soon) });
        };
        let spec = entry.tool.spec();
        let rules = self.gateway.rules.load();
        rules
            .authorizer
            .check(principal, &spec.service, &spec.name, Operation::CallTool)
            .map_err(|denied| Failure::from(denied).status(403))?;
        let declared = self.declared.load();
        let declared = declared.get(tool);
        Ok(Contract {
            target: entry.target.clone(),
            version: spec.version.clone(),
            hash: self.hash(&entry.tool, &entry.target),
            effects: spec.effects,
            keyed: check::honours_key(spec)
                || declared.is_some_and(|declared| declared.keyed)
                // An event that has no id has one that follows from the key.
                || (spec.service.as_str() == SERVICE && &*spec.name == choreography::PUBLISH),
            undo: declared.and_then(|declared| declared.undo.clone()),
        })
    }

    fn call(&self, step: StepCall) -> BoxFuture<'static, Result<Outcome, Failure>> {
        let gateway = self.gateway.clone();
        let request = Request {
            id: gateway.new_call(),
            door: "flow",
            operation: Operation::CallTool,
            name: step.tool,
            arguments: step.arguments,
            meta: Some(Json::from_value(&meta(&step.idempotency_key))),
            resume: None,
            idempotency_key: Some(step.idempotency_key),
            journaled: true,
            transaction: None,
            stands_in: false,
            priority: None,
            wish: None,
        };
        let trace = step.trace;
        let context = CallContext { trace, ..CallContext::unattended(step.principal, step.deadline) };
        Box::pin(async move { gateway.call(request, context).await })
    }
}

impl Toolbox for FlowTools {
    fn of<'a>(&'a self, principal: &'a Principal) -> Box<dyn check::Tools + 'a> {
        Box::new(Seen { tools: self, principal })
    }
}

/// The tools as one principal sees them.
struct Seen<'a> {
    tools: &'a FlowTools,
    principal: &'a Principal,
}

impl check::Tools for Seen<'_> {
    fn find(&self, name: &str) -> Option<Arc<ToolSpec>> {
        self.tools.spec(self.principal, name).map(Arc::new)
    }

    fn near(&self, name: &str) -> Vec<String> {
        self.tools.near(self.principal, name)
    }
}

/// What MCP servers are told of the key: they have no header for it.
fn meta(key: &str) -> Value {
    json!({IDEMPOTENCY_KEY: key})
}
