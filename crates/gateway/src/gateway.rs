//! What the doors share: the rules in force, the catalogue, the record, open questions and sessions.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use trunkline_discovery::Catalog;
use trunkline_event_log::EventLog;
use trunkline_model::{CallId, ServiceId};
use trunkline_policy::{Authenticator, Authorizer};
use trunkline_resilience::repetition::LoopsConfig;
use trunkline_telemetry::Telemetry;
use uuid::Uuid;

use crate::cache::{Cache, CacheConfig, ServiceCache};
use crate::exchange::Parking;
use crate::guards::{Guards, GuardsConfig};
use crate::limits::{Limit, Limits, Price};
use crate::loops::Loops;
use crate::mcp::Sessions;
use crate::observer::Hub;
use crate::priorities::{Priorities, PrioritiesConfig};
use crate::record::Recorder;
use crate::{Config, Sealer};

/// Where time and identities come from.
#[derive(Clone)]
pub struct Sources {
    /// The time of day.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// A new UUIDv7.
    pub time_id: Arc<dyn Fn() -> Uuid + Send + Sync>,
    /// A new identity that can't be guessed: UUIDv4 from a secure source.
    pub random_id: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

/// What a gateway is built from.
pub struct Parts {
    /// Limits and habits of the doors.
    pub config: Config,
    /// What can be called.
    pub catalog: Arc<Catalog>,
    /// The record.
    pub log: EventLog,
    /// Who calls.
    pub authenticator: Authenticator,
    /// What they may do.
    pub authorizer: Authorizer,
    /// Seals state that clients keep for us.
    pub sealer: Sealer,
    /// Where time and identities come from.
    pub sources: Sources,
    /// Runs what outlives a request: a call whose client has gone away for a moment.
    pub tasks: tokio_util::task::TaskTracker,
    /// Where that runs. The threads that serve connections have event loops of their own, which end with them.
    pub runtime: tokio::runtime::Handle,
    /// What operators see.
    pub telemetry: Telemetry,
}

/// The rules in force. They are replaced as a whole; a running call keeps those that it started under.
pub(crate) struct Rules {
    pub(crate) config: Config,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Authorizer,
}

/// What the doors share. One for the whole process.
pub struct Gateway {
    pub(crate) rules: ArcSwap<Rules>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) log: EventLog,
    pub(crate) recorder: Recorder,
    pub(crate) sealer: Sealer,
    pub(crate) sources: Sources,
    pub(crate) guards: Guards,
    pub(crate) limits: ArcSwap<Limits>,
    pub(crate) console: crate::console::Console,
    /// What is configured, for those who look.
    pub(crate) settings: ArcSwap<Vec<crate::Setting>>,
    pub(crate) recovery: crate::recovery::Recovery,
    pub(crate) leases: crate::leases::Leases,
    pub(crate) registrations: crate::registrations::Registrations,
    pub(crate) loops: ArcSwap<Loops>,
    pub(crate) priorities: ArcSwap<Priorities>,
    pub(crate) cache: Cache,
    pub(crate) telemetry: Telemetry,
    pub(crate) parking: Parking,
    pub(crate) sessions: Sessions,
    pub(crate) searches: crate::meta_tools::Searches,
    pub(crate) intentions: crate::meta_tools::Intentions,
    pub(crate) forms: crate::meta_tools::Forms,
    pub(crate) model: arc_swap::ArcSwapOption<crate::ArgumentModel>,
    pub(crate) encoder: std::sync::OnceLock<Arc<crate::Encoder>>,
    pub(crate) conversations: crate::meta_tools::Conversations,
    pub(crate) results: crate::results::Results,
    pub(crate) hub: Hub,
    pub(crate) tasks: tokio_util::task::TaskTracker,
    runtime: tokio::runtime::Handle,
    pub(crate) closing: CancellationToken,
    /// What the doors need of flows, once there is an engine.
    pub(crate) flows: std::sync::OnceLock<crate::flows::FlowDoor>,
    pub(crate) webhooks: crate::http::Webhooks,
    /// Tells this process from earlier ones, in the record.
    pub(crate) process: Uuid,
    started: tokio::time::Instant,
}

impl Gateway {
    /// Puts the parts together. Nothing runs yet.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { config, catalog, log, authenticator, authorizer, sealer, sources, .. } = parts;
        let Parts { tasks, runtime, telemetry, .. } = parts;
        Arc::new(Self {
            recorder: Recorder::new(log.clone(), sources.clone()),
            process: (sources.random_id)(),
            rules: ArcSwap::from_pointee(Rules { config, authenticator, authorizer }),
            catalog,
            log,
            sealer,
            guards: Guards::new(chance(&sources)),
            limits: ArcSwap::default(),
            console: crate::console::Console::new(),
            settings: ArcSwap::default(),
            recovery: crate::recovery::Recovery::default(),
            leases: crate::leases::Leases::default(),
            registrations: crate::registrations::Registrations::default(),
            loops: ArcSwap::from_pointee(Loops::new(LoopsConfig::default())),
            priorities: ArcSwap::default(),
            cache: Cache::new(),
            sessions: Sessions::new(telemetry.clone()),
            telemetry,
            started: tokio::time::Instant::now(),
            sources,
            parking: Parking::default(),
            searches: crate::meta_tools::Searches::default(),
            intentions: crate::meta_tools::Intentions::default(),
            forms: crate::meta_tools::Forms::default(),
            model: arc_swap::ArcSwapOption::empty(),
            encoder: std::sync::OnceLock::new(),
            conversations: crate::meta_tools::Conversations::default(),
            results: crate::results::Results::default(),
            hub: Hub::default(),
            tasks,
            runtime,
            closing: CancellationToken::new(),
            flows: std::sync::OnceLock::new(),
            webhooks: crate::http::Webhooks::default(),
        })
    }

    /// Puts other rules in force. Running calls keep theirs.
    pub fn reconfigure(&self, config: Config, authenticator: Authenticator, authorizer: Authorizer) {
        self.rules.store(Arc::new(Rules { config, authenticator, authorizer }));
        self.hub.everything_changed();
    }

    /// Puts other limits on callers in force. What was counted goes on where they are the same.
    pub fn limit(&self, limits: &[Limit], prices: &[Price], loops: &LoopsConfig) {
        if !self.limits.load().are(limits, prices) {
            self.limits.store(Arc::new(Limits::new(limits, prices)));
        }
        if self.loops.load().config() != loops {
            self.loops.store(Arc::new(Loops::new(loops.clone())));
        }
    }

    /// Says how much calls matter from now on.
    pub fn prioritize(&self, config: &PrioritiesConfig) {
        self.priorities.store(Arc::new(Priorities::new(config)));
    }

    /// Keeps answers in another way from now on.
    pub fn keep(&self, config: CacheConfig, services: HashMap<ServiceId, ServiceCache>) {
        self.cache.configure(config, services);
    }

    /// How long the process has run.
    pub(crate) fn running(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// Guards calls in another way from now on.
    pub fn guard(&self, config: GuardsConfig) {
        self.guards.configure(config);
    }

    /// Gives the doors the engine of flows. Once.
    pub fn open_flows(&self, door: crate::flows::FlowDoor) {
        // A second engine would be a defect of the wiring; the first one stays.
        let _ = self.flows.set(door);
    }

    /// What can be called.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Ends what has waited too long: unanswered questions and idle sessions; and lets services be called in another way where
    /// that is better. To be called every few seconds.
    pub fn sweep(self: &Arc<Self>) {
        for (service, change) in self.guards.adapt() {
            tracing::info!(%service, reason = change.reason, "called in another way from now on");
            let gateway = self.clone();
            self.spawn(async move { gateway.recorder.strategy_changed(&service, &change).await });
        }
        let rules = self.rules.load();
        self.parking.sweep();
        self.sessions.sweep(std::time::Duration::from_millis(rules.config.session_idle_ms));
    }

    /// Puts other services in place of those there are, in the order of the configuration.
    pub fn set_services(&self, services: indexmap::IndexMap<ServiceId, trunkline_discovery::Registered>) {
        let before = self.catalog.services();
        self.hub.changed(self.catalog.set_services(services));
        for (id, now) in self.catalog.services().iter() {
            let same = before.get(id).is_some_and(|before| Arc::ptr_eq(&before.service, &now.service));
            if !same {
                self.cache.contents_changed(id);
            }
        }
    }

    /// The process is about to end. Streams of changes end now, and so does the waiting for answers: the next process
    /// goes on with those calls, so they are not recorded as cancelled.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Cancelled when the process is about to end. What would go on without end selects on it.
    #[must_use]
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Whether the process is about to end.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Runs what outlives a request. It is waited for at the shutdown, and it does not run on the event loop of the
    /// connection that it came by, which may end before it.
    pub(crate) fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tasks.spawn_on(future, &self.runtime)
    }

    /// Runs what waits for the disk, on a thread where waiting is allowed.
    pub(crate) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn_blocking(work)
    }

    pub(crate) fn new_call(&self) -> CallId {
        CallId((self.sources.time_id)())
    }
}

impl Gateway {
    /// What operators see.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// An alert fires, or does no more: that goes to the record.
    pub fn alert_changed(self: &Arc<Self>, alert: &trunkline_telemetry::alerts::Alert) {
        let (gateway, alert) = (self.clone(), alert.clone());
        self.spawn(async move { gateway.recorder.alert_changed(&alert).await });
    }

    /// Where time and identities come from.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }
}

impl Gateway {
    /// Chance: a number from 0 to 1.
    #[must_use]
    pub fn chance(&self) -> trunkline_resilience::guard::Chance {
        chance(&self.sources)
    }

    /// The source that tells of a service's instances can't be asked, or can be again.
    pub async fn source_changed(
        &self,
        service: &trunkline_model::ServiceId,
        source: &'static str,
        failure: Option<&trunkline_model::Failure>,
    ) {
        self.recorder.source_changed(service, source, failure).await;
    }
}

/// Chance, from identities that can't be guessed.
pub(crate) fn chance(sources: &Sources) -> trunkline_resilience::guard::Chance {
    let random = sources.random_id.clone();
    Arc::new(move || {
        let (_, low) = random().as_u64_pair();
        // The lowest 32 bits of a version 4 UUID are all random.
        let bits = u32::try_from(low & u64::from(u32::MAX)).unwrap_or(0);
        f64::from(bits) / f64::from(u32::MAX)
    })
}
