//! Services come and go with the configuration. One whose configuration stays the same is left alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::{mcp, openapi, process};
use trunkline_discovery::{Names, Registered};
use trunkline_gateway::{Gateway, Observer};
use trunkline_model::{BoxFuture, Service, ServiceId, ServiceObserver};

use crate::config;

/// How long a service that is no longer configured goes on for the calls that it still has.
const DRAIN: Duration = Duration::from_secs(30);

/// How often it is looked whether it still has any.
const DRAIN_STEP: Duration = Duration::from_millis(100);

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

struct Running {
    config: config::Service,
    service: Arc<dyn Service>,
    shutdown: CancellationToken,
}

/// Services that are built and not yet in place.
pub(super) struct Prepared {
    next: IndexMap<String, Running>,
    runners: Vec<BoxFuture<'static, ()>>,
}

/// A service and what keeps it going.
type Built = (Arc<dyn Service>, BoxFuture<'static, ()>);

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
        let mut next = IndexMap::new();
        let mut runners = Vec::new();
        for (name, wanted) in config.services.iter().filter(|(_, service)| service.is_enabled()) {
            let kept = self.running.get(name).filter(|running| same_but_names(&running.config, wanted));
            let running = match kept {
                Some(kept) => Running {
                    config: wanted.clone(),
                    service: kept.service.clone(),
                    shutdown: kept.shutdown.clone(),
                },
                None => {
                    let shutdown = self.shutdown.child_token();
                    let (service, runner) = self
                        .build(name, wanted, base, shutdown.clone())
                        .await
                        .with_context(|| format!("the service {name:?}"))?;
                    runners.push(runner);
                    Running { config: wanted.clone(), service, shutdown }
                }
            };
            next.insert(name.clone(), running);
        }
        Ok(Prepared { next, runners })
    }

    /// Puts the services in place. Those that they replace end when they have no calls any more, or after a while.
    pub(super) fn put_in_place(&mut self, Prepared { next, runners }: Prepared) {
        let before = std::mem::replace(&mut self.running, next);
        let registered = self.running.iter().map(|(name, running)| {
            let names = running.config.names;
            (ServiceId::new(name), Registered { service: running.service.clone(), names })
        });
        let flows = Registered { service: self.flows.clone(), names: Names::Plain };
        let flows = (self.flows.id().clone(), flows);
        self.gateway.set_services(registered.chain(std::iter::once(flows)).collect());
        for runner in runners {
            self.tasks.spawn(runner);
        }
        for (name, old) in before {
            let kept = self.running.get(&name).is_some_and(|new| Arc::ptr_eq(&new.service, &old.service));
            if !kept {
                self.tasks.spawn(drain(old.service, old.shutdown));
            }
        }
    }

    async fn build(
        &self,
        name: &str,
        config: &config::Service,
        base: &Path,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Built> {
        let id = ServiceId::new(name);
        let observer: Arc<dyn ServiceObserver> = Arc::new(Observer(self.gateway.clone()));
        if let Some(config) = &config.mcp {
            let client = mcp::ClientInfo {
                name: "trunkline".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let (service, runner) = mcp::build(config.clone(), id, client, observer)?;
            return Ok((service, Box::pin(runner.run(shutdown))));
        }
        if let Some(config) = &config.openapi {
            let (service, runner) =
                openapi::build(config.clone(), base, id, observer, self.http.clone()).await?;
            let runner = async move {
                shutdown.run_until_cancelled(runner).await;
            };
            return Ok((service, Box::pin(runner)));
        }
        let config = config.process.as_ref().context("it needs mcp, openapi or process")?;
        Ok((process::build(config.clone(), base, id)?, Box::pin(std::future::ready(()))))
    }
}

/// Ends a service that is no longer in the catalogue when nothing holds it any more: a running call does.
async fn drain(service: Arc<dyn Service>, shutdown: CancellationToken) {
    let end = tokio::time::Instant::now() + DRAIN;
    while Arc::strong_count(&service) > 1 && tokio::time::Instant::now() < end {
        if shutdown.run_until_cancelled(tokio::time::sleep(DRAIN_STEP)).await.is_none() {
            break;
        }
    }
    shutdown.cancel();
}

/// Other names need no other connection.
fn same_but_names(a: &config::Service, b: &config::Service) -> bool {
    (&a.mcp, &a.openapi, &a.process) == (&b.mcp, &b.openapi, &b.process)
}
