//! The guards of tools: one for each binding, with what the tools of a service share.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use trunkline_model::{Effects, ServiceId, Tool};
use trunkline_orchestrator::{check, service};
use trunkline_resilience::breaker::BreakerState;
use trunkline_resilience::bulkhead::Load;
use trunkline_resilience::guard::{Chance, GuardState};
use trunkline_resilience::strategy::{Change, Choice};
use trunkline_resilience::{Care, Guard, GuardConfig, ServiceGuard};
use utoipa::ToSchema;

use crate::pipeline::Request;

/// How the calls of services are guarded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuardsConfig {
    /// Where a service has nothing of its own.
    pub usual: GuardConfig,
    /// By service.
    pub services: HashMap<ServiceId, GuardConfig>,
}

/// A guard and the service of its tool.
type OfTool = (ServiceId, Arc<Guard>);

/// The guards of all tools.
pub(crate) struct Guards {
    config: ArcSwap<GuardsConfig>,
    chance: Chance,
    services: Mutex<HashMap<ServiceId, Arc<ServiceGuard>>>,
    /// By binding, `service/tool`.
    tools: RwLock<HashMap<Arc<str>, OfTool>>,
}

/// A tool that is not called as usual now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Guarded {
    /// The tool's own name.
    tool: String,
    /// Its breaker, the 99th percentile of its calls, and how long an attempt may take.
    #[schema(value_type = Object)]
    guard: GuardState,
}

impl Guards {
    pub(crate) fn new(chance: Chance) -> Self {
        Self { config: ArcSwap::default(), chance, services: Mutex::default(), tools: RwLock::default() }
    }

    /// Puts another configuration in force. Guards of services whose configuration is the same go on.
    pub(crate) fn configure(&self, config: GuardsConfig) {
        self.config.store(Arc::new(config));
        let mut services = self.services.lock();
        let config = self.config.load();
        services.retain(|id, guard| config.of(id) == guard.config());
        self.tools.write().retain(|_, (service, _)| services.contains_key(service));
    }

    /// The guard of a tool; none for flows and for the catalogue, whose steps and calls have their own.
    pub(crate) fn of(&self, service: &ServiceId, label: &Arc<str>) -> Option<Arc<Guard>> {
        if service.as_str() == service::SERVICE || service.as_str() == crate::meta_tools::SERVICE {
            return None;
        }
        if let Some((_, guard)) = self.tools.read().get(label) {
            return Some(guard.clone());
        }
        let shared = {
            let mut services = self.services.lock();
            let made = || ServiceGuard::new(self.config.load().of(service).clone(), self.chance.clone());
            services.entry(service.clone()).or_insert_with(made).clone()
        };
        let mut tools = self.tools.write();
        let (_, guard) = tools
            .entry(label.clone())
            .or_insert_with(|| (service.clone(), Arc::new(Guard::new(shared, own_name(label)))));
        Some(guard.clone())
    }

    /// A service has come back: the next calls of its tools find out.
    pub(crate) fn back(&self, service: &ServiceId) {
        let tools = self.tools.read();
        tools.values().filter(|(of, _)| of == service).for_each(|(_, guard)| guard.back());
    }

    /// Lets every service choose anew how it is called. Gives what has changed.
    pub(crate) fn adapt(&self) -> Vec<(ServiceId, Change)> {
        let services = self.services.lock();
        services.iter().filter_map(|(id, guard)| Some((id.clone(), guard.adapt()?))).collect()
    }

    /// How many calls of each service run and wait, and may run.
    pub(crate) fn loads(&self) -> Vec<(ServiceId, Load)> {
        self.services.lock().iter().map(|(id, guard)| (id.clone(), guard.load())).collect()
    }

    /// How many calls of a service run and wait, and may run, where it was called.
    pub(crate) fn load(&self, service: &ServiceId) -> Option<Load> {
        self.services.lock().get(service).map(|guard| guard.load())
    }

    /// The breakers of all tools, by service and tool.
    pub(crate) fn breakers(&self) -> Vec<(ServiceId, Arc<str>, BreakerState)> {
        let tools = self.tools.read();
        let state = |(label, (service, guard)): (&Arc<str>, &OfTool)| {
            (service.clone(), Arc::from(own_name(label)), guard.state().breaker)
        };
        tools.iter().map(state).collect()
    }

    /// What a service has chosen, where it was called.
    pub(crate) fn choice(&self, service: &ServiceId) -> Option<Choice> {
        self.services.lock().get(service).map(|guard| guard.choice())
    }

    /// How the guard of a tool (`service/tool`) is, where it was called.
    pub(crate) fn state(&self, label: &str) -> Option<GuardState> {
        self.tools.read().get(label).map(|(_, guard)| guard.state())
    }

    /// How the guards of a service's tools are.
    pub(crate) fn states(&self, service: &ServiceId) -> Vec<Guarded> {
        let tools = self.tools.read();
        let mut states: Vec<Guarded> = tools
            .iter()
            .filter(|(_, (of, _))| of == service)
            .map(|(label, (_, guard))| Guarded { tool: own_name(label).to_owned(), guard: guard.state() })
            .collect();
        states.sort_by(|a, b| a.tool.cmp(&b.tool));
        states
    }
}

/// The tool's own name in `service/tool`.
fn own_name(label: &str) -> &str {
    label.split_once('/').map_or(label, |(_, own)| own)
}

impl GuardsConfig {
    fn of(&self, service: &ServiceId) -> &GuardConfig {
        self.services.get(service).unwrap_or(&self.usual)
    }
}

/// What may be done with a call. Who journals a call makes it again by itself.
pub(crate) fn care(tool: &dyn Tool, request: &Request) -> Care {
    let spec = tool.spec();
    let Effects { read_only, idempotent, .. } = spec.effects;
    if request.journaled || request.resume.is_some() {
        Care::Once
    } else if read_only {
        Care::ReadOnly
    } else if idempotent || (request.idempotency_key.is_some() && check::honours_key(spec)) {
        Care::Repeatable
    } else {
        Care::Once
    }
}
