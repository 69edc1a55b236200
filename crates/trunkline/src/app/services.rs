//! Services come and go with the configuration. One whose configuration stays the same is left alone.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_connectors::http_client::HttpClient;
use trunkline_discovery::{Names, Registered};
use trunkline_gateway::{Gateway, Observer};
use trunkline_model::{BoxFuture, Service, ServiceId, ServiceObserver};

use super::fleet::{self, Fleet};
use crate::config;

/// The services that run.
pub(super) struct Services {
    gateway: Arc<Gateway>,
    /// Flows are a service, too.
    flows: Arc<dyn Service>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    http: HttpClient,
    running: IndexMap<String, Running>,
}

#[derive(Clone)]
struct Running {
    config: config::Service,
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
}

impl Services {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        flows: Arc<dyn Service>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        Ok(Self { gateway, flows, tasks, shutdown, http: HttpClient::new()?, running: IndexMap::new() })
    }

    /// Builds what the configuration says. Nothing changes yet.
    pub(super) async fn prepare(&self, config: &config::Config, base: &Path) -> anyhow::Result<Prepared> {
        let mut prepared = Prepared { next: IndexMap::new(), runners: Vec::new(), fleets: Vec::new() };
        for (name, wanted) in config.services.iter().filter(|(_, service)| service.is_enabled()) {
            let kept = self.running.get(name).filter(|running| same_but_names(&running.config, wanted));
            let running = match kept {
                Some(kept) => Running { config: wanted.clone(), ..kept.clone() },
                None => self
                    .build(wanted, fleet::workshop(name, wanted, base, &self.http), &mut prepared.runners)
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
            let (config, service) = (wanted.clone(), fleet.pool());
            return Ok(Running { config, service, shutdown, fleet: Some(fleet) });
        }
        let (service, runner) = workshop.make(None, observer, shutdown.clone()).await?;
        runners.push(runner);
        Ok(Running { config: wanted.clone(), service, shutdown, fleet: None })
    }

    /// Puts the services in place. Those that they replace end when they have no calls any more, or after a while.
    pub(super) fn put_in_place(&mut self, Prepared { next, runners, fleets }: Prepared) {
        let before = std::mem::replace(&mut self.running, next);
        let registered = self.running.iter().map(|(name, running)| {
            let names = running.config.names;
            (
                ServiceId::new(name),
                Registered { service: running.service.clone(), names, about: running.config.about() },
            )
        });
        let flows = Registered { service: self.flows.clone(), names: Names::Plain, about: Arc::default() };
        let flows = (self.flows.id().clone(), flows);
        self.gateway.set_services(registered.chain(std::iter::once(flows)).collect());
        for runner in runners {
            self.tasks.spawn(runner);
        }
        for (fleet, instances) in fleets {
            fleet.put_in_place(instances);
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
