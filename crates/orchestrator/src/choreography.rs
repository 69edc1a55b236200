//! Choreography: tools, flows and webhooks that react to events without anyone who directs them.
//!
//! One dispatcher follows the log. For every published event it asks each group of subscriptions whether one of its
//! members wants it, and starts a *delivery*: an instance of the engine, whose identity follows from the group and the
//! event's source and id. So looking at an event again, after a crash or because it was published twice, starts nothing
//! anew. A delivery that fails in the end is a *dead letter* until a person has it replayed or discarded.
//!
//! Beside it the clock is kept: flows whose `schedule` says a time begin when it has come.

mod cause;
mod clock;
mod dispatcher;
pub mod letters;
pub mod loops;
mod publishing;
mod subscription;
pub mod webhook;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use cause::{Cause, Loops};
pub use publishing::TOOL as PUBLISH;
pub(crate) use publishing::{call as publish_by_tool, spec as publish_spec};
pub use subscription::{Order, Subscription, Target, workflow_of};
pub use webhook::Webhook;

use crate::Engine;
use crate::service::Library;

/// The rules in force.
#[derive(Default)]
pub struct Rules {
    /// The subscriptions, in their order.
    pub subscriptions: Vec<Arc<Subscription>>,
    /// Where events that go round are stopped.
    pub loops: Loops,
    /// The webhooks that come in, by name.
    pub webhooks: HashMap<String, Webhook>,
}

/// What follows events. Cloning is cheap.
#[derive(Clone)]
pub struct Choreography(Arc<Shared>);

struct Shared {
    engine: Engine,
    library: Arc<Library>,
    rules: ArcSwap<Rules>,
    /// Up to where each group has had the events.
    progress: Mutex<dispatcher::Progress>,
    /// Told when other rules are in force.
    changed: Notify,
    /// Told when other flows may begin by the clock.
    set: Notify,
}

impl Choreography {
    /// Nothing is followed yet.
    #[must_use]
    pub fn new(engine: Engine, library: Arc<Library>) -> Self {
        Self(Arc::new(Shared {
            engine,
            library,
            rules: ArcSwap::default(),
            progress: Mutex::default(),
            changed: Notify::new(),
            set: Notify::new(),
        }))
    }

    /// Puts other rules in force. Groups that were not there have the events from now on. Flows that say in their own
    /// `schedule` what starts them are subscriptions, too.
    pub fn configure(&self, mut rules: Rules) {
        for workflow in self.0.library.newest() {
            match Subscription::scheduled(&workflow) {
                Some(Ok(subscription)) => rules.subscriptions.push(Arc::new(subscription)),
                Some(Err(why)) => {
                    tracing::warn!(flow = %workflow.full_name(), %why, "the flow is not started by events");
                }
                None => {}
            }
        }
        for path in loops::find(&rules.subscriptions, &self.0.library.newest()) {
            tracing::warn!("events may go round: {}", path.join(" → "));
        }
        let limits = rules.subscriptions.iter().map(|one| (one.name.clone(), one.concurrency));
        self.0.engine.limit_deliveries(limits.collect());
        self.0.rules.store(Arc::new(rules));
        self.0.changed.notify_one();
        self.0.set.notify_one();
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.0.rules.load_full()
    }

    /// Whose source this is, where it is a webhook's.
    pub(crate) fn webhook_of(&self, source: &str) -> Option<Arc<str>> {
        let rules = self.0.rules.load();
        rules.webhooks.values().find(|webhook| *webhook.source == *source).map(|webhook| webhook.name.clone())
    }
}
