//! Services come and go with the configuration. One whose configuration stays the same is left alone.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_connectors::http_client::HttpClient;
use trunkline_discovery::{Names, Registered};
use trunkline_gateway::meta_tools::MetaTools;
use trunkline_gateway::{Gateway, Observer};
use trunkline_model::{BoxFuture, Service, ServiceId, ServiceObserver};

use super::fleet::{self, Fleet};
use super::registered;
use super::sources::{self, Announcements};
use crate::config;

/// The services that run.
pub(super) struct Services {
    gateway: Arc<Gateway>,
    /// Flows are a service, too, and so is the catalogue itself.
    built_in: [Arc<dyn Service>; 2],
    tasks: TaskTracker,
    shutdown: CancellationToken,
    http: HttpClient,
    running: IndexMap<String, Running>,
    announcements: Announcements,
}

#[derive(Clone)]
struct Running {
    config: config::Service,
    /// What it is told of its instances by.
    registry: config::Registry,
    service: Arc<dyn Service>,
    shutdown: CancellationToken,
    /// Where it runs in several places.
    fleet: Option<Arc<Fleet>>,
}

/// Services that are built and not yet in place.
pub(super) struct Prepared {
    next: IndexMap<String, Running>,
    runners: Vec<BoxFuture<'static, ()>>,
    fleets: Vec<(Arc<Fleet>, fleet::Prepared)>,
    registry: config::Registry,
}

impl Services {
    pub(super) fn new(
        gateway: &Arc<Gateway>,
        flows: Arc<dyn Service>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let (http, running, announcements) = (HttpClient::new()?, IndexMap::new(), Announcements::default());
        let built_in: [Arc<dyn Service>; 2] = [flows, Arc::new(MetaTools::new(gateway))];
        let gateway = gateway.clone();
        Ok(Self { gateway, built_in, tasks, shutdown, http, running, announcements })
    }

    /// The names of services that are there whether others register themselves or not.
    pub(super) fn names(&self, config: &config::Config) -> HashSet<String> {
        let built_in = self.built_in.iter().map(|service| service.id().to_string());
        config.services.keys().cloned().chain(built_in).collect()
    }

    /// Builds what the configuration says. Nothing changes yet.
    pub(super) async fn prepare(&self, config: &config::Config, base: &Path) -> anyhow::Result<Prepared> {
        let registry = config.registry.clone();
        let mut prepared = Prepared {
            next: IndexMap::new(),
            runners: Vec::new(),
            fleets: Vec::new(),
            registry: registry.clone(),
        };
        let registered = registered::services(&self.gateway, config);
        let all = config.services.iter().filter(|(_, service)| service.is_enabled()).chain(&registered);
        for (name, wanted) in all {
            let kept = self.running.get(name).filter(|running| {
                same_but_names(&running.config, wanted)
                    && (running.registry == registry || !wanted.is_told_by_registry())
            });
            let running = match kept {
                Some(kept) => Running { config: wanted.clone(), ..kept.clone() },
                None => self
                    .build(
                        wanted,
                        &registry,
                        fleet::workshop(name, wanted, base, &self.http),
                        &mut prepared.runners,
                    )
                    .await
                    .with_context(|| format!("the service {name:?}"))?,
            };
            if let Some(fleet) = running.fleet.as_ref().filter(|_| wanted.discover.is_none()) {
                let instances = fleet.prepare(&wanted.instances).await;
                let instances =
                    instances.with_context(|| format!("the instances of the service {name:?}"))?;
                prepared.fleets.push((fleet.clone(), instances));
            }
            prepared.next.insert(name.clone(), running);
        }
        Ok(prepared)
    }

    async fn build(
        &self,
        wanted: &config::Service,
        registry: &config::Registry,
        workshop: fleet::Workshop,
        runners: &mut Vec<BoxFuture<'static, ()>>,
    ) -> anyhow::Result<Running> {
        let observer: Arc<dyn ServiceObserver> = Arc::new(Observer(self.gateway.clone()));
        let shutdown = self.shutdown.child_token();
        if wanted.is_pooled() {
            let sources = self.gateway.sources();
            let fleet = Fleet::new(workshop, observer, sources, self.tasks.clone(), shutdown.clone());
            if let Some(config) = wanted.discover.as_ref().and_then(|discover| discover.lease.clone()) {
                let instances = self.gateway.lease(fleet.id(), config).await?;
                runners.push(Box::pin(fleet.clone().follow_leases(self.gateway.clone(), instances)));
            }
            if let Some(source) =
                sources::source_of(fleet.id().as_str(), wanted, registry, &self.http, &self.gateway)?
            {
                runners.push(Box::pin(sources::follow(fleet.clone(), source, self.gateway.clone())));
            }
            let (config, service, registry) = (wanted.clone(), fleet.pool(), registry.clone());
            return Ok(Running { config, registry, service, shutdown, fleet: Some(fleet) });
        }
        let (service, runner) = workshop.make(None, observer, shutdown.clone()).await?;
        runners.push(runner);
        let (config, registry) = (wanted.clone(), registry.clone());
        Ok(Running { config, registry, service, shutdown, fleet: None })
    }

    /// Puts the services in place. Those that they replace end when they have no calls any more, or after a while.
    pub(super) fn put_in_place(&mut self, Prepared { next, runners, fleets, registry }: Prepared) {
        let before = std::mem::replace(&mut self.running, next);
        let registered = self.running.iter().map(|(name, running)| {
            let names = running.config.names;
            (
                ServiceId::new(name),
                Registered { service: running.service.clone(), names, about: running.config.about() },
            )
        });
        let built_in = self.built_in.iter().map(|service| {
            let names = Names::Plain;
            (service.id().clone(), Registered { service: service.clone(), names, about: Arc::default() })
        });
        self.gateway.set_services(registered.chain(built_in).collect());
        for runner in runners {
            self.tasks.spawn(runner);
        }
        for (fleet, instances) in fleets {
            fleet.put_in_place(instances);
        }
        let (http, tasks, shutdown) = (&self.http, &self.tasks, &self.shutdown);
        let told = self.announcements.put_in_place(&registry, http, &self.gateway, tasks, shutdown);
        if let Err(error) = told {
            tracing::error!(%error, "Consul can't be told of anything");
        }
        for (name, old) in before {
            let kept = self.running.get(&name).is_some_and(|new| Arc::ptr_eq(&new.service, &old.service));
            if !kept {
                self.tasks.spawn(fleet::drain(old.service, old.shutdown));
            }
        }
    }
}

/// Other names need no other connection.
fn same_but_names(a: &config::Service, b: &config::Service) -> bool {
    (&a.mcp, &a.openapi, &a.process) == (&b.mcp, &b.openapi, &b.process)
        && (&a.balance, &a.health, &a.discover) == (&b.balance, &b.health, &b.discover)
        && a.is_pooled() == b.is_pooled()
}
