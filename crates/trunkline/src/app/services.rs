//! Services come and go with the configuration. One whose configuration stays the same is left alone.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::{mcp, openapi, process};
use trunkline_discovery::Registered;
use trunkline_gateway::{Gateway, Observer};
use trunkline_model::{BoxFuture, Service, ServiceId, ServiceObserver};

use crate::config;

/// The services that run.
pub(super) struct Services {
    gateway: Arc<Gateway>,
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

/// A service and what keeps it going.
type Built = (Arc<dyn Service>, BoxFuture<'static, ()>);

impl Services {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        Ok(Self { gateway, tasks, shutdown, http: HttpClient::new()?, running: IndexMap::new() })
    }

    /// Brings the services to what the configuration says. Where one can't be built, nothing changes.
    pub(super) async fn apply(&mut self, config: &config::Config, base: &Path) -> anyhow::Result<()> {
        let mut next = IndexMap::new();
        let mut started = Vec::new();
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
                    started.push(runner);
                    Running { config: wanted.clone(), service, shutdown }
                }
            };
            next.insert(name.clone(), running);
        }
        for (name, old) in std::mem::replace(&mut self.running, next) {
            let kept = self.running.get(&name).is_some_and(|new| Arc::ptr_eq(&new.service, &old.service));
            if !kept {
                old.shutdown.cancel();
            }
        }
        let registered = self.running.iter().map(|(name, running)| {
            let names = running.config.names;
            (ServiceId::new(name), Registered { service: running.service.clone(), names })
        });
        self.gateway.set_services(registered.collect());
        for runner in started {
            self.tasks.spawn(runner);
        }
        Ok(())
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

/// Other names need no other connection.
fn same_but_names(a: &config::Service, b: &config::Service) -> bool {
    (&a.mcp, &a.openapi, &a.process) == (&b.mcp, &b.openapi, &b.process)
}
