//! The tools that an agent finds, reads about and calls the others with: few, small, and always the same, however many others
//! there are.
//!
//! `call_tool` of one tool is never executed as itself: a door takes the call out of it that it carries ([`unwrap`]), so that policy,
//! limits, the record and everything that a call may come to (questions, progress, tasks) are those of the tool that is meant. Of
//! several tools it makes a call of its own of each (`together`).

mod ask;
mod describe;
mod items;
mod listing;
mod read;
mod search;
mod searches;
mod signature;
mod together;
mod unwrap;

use std::sync::{Arc, Weak};

use serde_json::{Value, json};
use trunkline_model::{
    BoxFuture, Call, CallContext, Contents, Effects, Failure, Operation, Outcome, Principal, Schema, Service,
    ServiceId, ServiceState, ServiceStatus, Tool, ToolSpec,
};

use crate::{Error, Gateway};
pub use ask::{ArgumentModel, IntentConfig, Prompt, Writer};
pub(crate) use ask::{Conversations, Forms, Intentions, SAID, STREAM};
pub(crate) use items::FoundItem;
pub use listing::{Listing, Show};
pub(crate) use listing::{is_listed, tokens};
pub(crate) use searches::Searches;
pub(crate) use signature::cut;
pub(crate) use unwrap::unwrap;

/// The service that they are tools of.
pub const SERVICE: &str = "catalog";

/// What the event is called that says what was learned.
pub(crate) const LEARNED: &str = "learned";

/// The most requests that a process begins with.
const MOST_REMEMBERED: usize = 8_192;

const SEARCH: &str = "search_tools";
const DESCRIBE: &str = "describe_tool";
const CALL: &str = "call_tool";
const ASK: &str = "ask";
pub(crate) const READ: &str = "read_result";

/// The meta-tools as a service.
pub struct MetaTools {
    id: ServiceId,
    contents: Arc<Contents>,
}

#[derive(Clone, Copy)]
enum Kind {
    Search,
    Describe,
    Call,
    Read,
    Ask,
}

struct MetaTool {
    spec: ToolSpec,
    kind: Kind,
    gateway: Weak<Gateway>,
}

impl MetaTools {
    /// The meta-tools of a gateway.
    #[must_use]
    pub fn new(gateway: &Arc<Gateway>) -> Self {
        let tool = |(kind, spec): (Kind, ToolSpec)| -> Arc<dyn Tool> {
            Arc::new(MetaTool { spec, kind, gateway: Arc::downgrade(gateway) })
        };
        let tools = specs().into_iter().map(tool).collect();
        Self { id: ServiceId::new(SERVICE), contents: Arc::new(Contents { tools, ..Contents::default() }) }
    }
}

impl Service for MetaTools {
    fn id(&self) -> &ServiceId {
        &self.id
    }

    fn status(&self) -> ServiceStatus {
        ServiceStatus {
            state: ServiceState::Up,
            cause: None,
            restarts: 0,
            protocol: "built in".to_owned(),
            stderr: Vec::new(),
        }
    }

    fn contents(&self) -> Arc<Contents> {
        self.contents.clone()
    }

    fn request<'a>(
        &'a self,
        call: &'a Call,
        _context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(std::future::ready(Err(Error::UnknownMethod(call.operation.method().to_owned()).into())))
    }

    fn subscribe<'a>(&'a self, uri: &'a str, _on: bool) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::ready(Err(Error::UnknownResource { uri: uri.to_owned() }.into())))
    }
}

impl Tool for MetaTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn execute<'a>(
        &'a self,
        call: &'a Call,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        let Some(gateway) = self.gateway.upgrade() else {
            return Box::pin(std::future::ready(Err(Error::Cancelled.into())));
        };
        let done = match self.kind {
            Kind::Ask => return Box::pin(async move { ask::execute(&gateway, call, context).await }),
            Kind::Call => return Box::pin(async move { together::execute(&gateway, call, context).await }),
            Kind::Search => return Box::pin(async move { search::execute(&gateway, call, context).await }),
            Kind::Describe => describe::execute(&gateway, call, context),
            Kind::Read => read::execute(&gateway, call, context),
        };
        Box::pin(std::future::ready(done))
    }
}

impl Gateway {
    /// Learns what was searched for before a call that did what it was made for.
    pub(crate) fn learn(
        self: &Arc<Self>,
        request: &crate::pipeline::Request,
        context: &CallContext,
        outcome: &Outcome,
    ) {
        for met in self.searches.met(context, &request.name, outcome) {
            self.catalog.learn(&met, &request.name);
            let (gateway, tool) = (self.clone(), request.name.clone());
            if self.rules.load().config.record.arguments {
                self.spawn(async move { gateway.recorder.learned(&met, &tool).await });
            }
        }
    }

    /// Learns again what an earlier process has learned.
    pub async fn remember(&self) {
        #[derive(serde::Deserialize)]
        struct Learned {
            request: String,
            tool: String,
        }
        let stream = format!("service/{SERVICE}");
        let Ok(events) = self.log.newest_of(stream.as_str(), MOST_REMEMBERED).await else { return };
        for recorded in events.iter().rev().filter(|recorded| recorded.event.data.action == LEARNED) {
            if let Ok(Learned { request, tool }) = recorded.event.data.context.to() {
                self.catalog.learn(&request, &tool);
            }
        }
        self.recall().await;
    }

    /// The names nearest to one that no tool has, of those that a principal may be told of.
    pub(crate) fn near_tools(&self, principal: &Principal, name: &str) -> Vec<String> {
        let snapshot = self.catalog.snapshot();
        let mut near = snapshot.near_tools(name);
        near.retain(|name| {
            snapshot.tools.get(&**name).is_some_and(|entry| self.shows(principal, entry.tool.spec()))
        });
        near
    }

    /// Whether a principal may be told of a tool.
    pub(crate) fn shows(&self, principal: &Principal, spec: &ToolSpec) -> bool {
        let rules = self.rules.load();
        rules.authorizer.decide(principal, &spec.service, &spec.name, Operation::CallTool).allow
    }
}

fn specs() -> [(Kind, ToolSpec); 5] {
    [
        (Kind::Search, spec(SEARCH, search::DESCRIPTION, search::input(), Effects::READ_ONLY)),
        (Kind::Describe, spec(DESCRIBE, describe::DESCRIPTION, describe::input(), Effects::READ_ONLY)),
        (Kind::Call, spec(CALL, unwrap::DESCRIPTION, unwrap::input(), Effects::default())),
        (Kind::Ask, spec(ASK, ask::DESCRIPTION, ask::input(), Effects::default())),
        (Kind::Read, spec(READ, read::DESCRIPTION, read::input(), Effects::READ_ONLY)),
    ]
}

fn spec(name: &str, description: &str, properties: Value, effects: Effects) -> ToolSpec {
    let mut input = json!({"type": "object", "properties": properties});
    if let Some(required) = input["properties"].as_object_mut().and_then(|all| all.remove("required")) {
        input["required"] = required;
    }
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
