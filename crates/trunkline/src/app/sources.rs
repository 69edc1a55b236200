//! Where instances come from that are not named in the configuration, and what registries are told of us.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::{consul, dns};
use trunkline_gateway::Gateway;
use trunkline_model::{InstanceSource, ServiceId, ServiceState};

use super::fleet::Fleet;
use crate::config;

/// A source and what it is called.
pub(super) struct Source {
    kind: &'static str,
    source: Box<dyn InstanceSource>,
}

/// The source of a service's instances, where it is a registry or a name server.
pub(super) fn source_of(
    name: &str,
    service: &config::Service,
    registry: &config::Registry,
    http: &HttpClient,
    gateway: &Gateway,
) -> anyhow::Result<Option<Source>> {
    let Some(discover) = &service.discover else { return Ok(None) };
    let url = if service.mcp.is_some() { "http://{host}:{port}/mcp" } else { "http://{host}:{port}/" };
    if let Some(lookup) = discover.consul.clone() {
        let client = consul::Client::new(&registry.consul.clone().unwrap_or_default(), http)?;
        let source = consul::ConsulSource::new(client, lookup, name, url, gateway.chance());
        return Ok(Some(Source { kind: "consul", source: Box::new(source) }));
    }
    if let Some(lookup) = discover.dns.clone() {
        let client = dns::Client::new(&registry.dns.clone().unwrap_or_default())?;
        let source = dns::DnsSource::new(client, lookup, url, gateway.chance())?;
        return Ok(Some(Source { kind: "dns", source: Box::new(source) }));
    }
    Ok(None)
}

/// Puts the instances in place that a source tells, as they come and go, until the service ends.
pub(super) async fn follow(fleet: Arc<Fleet>, mut from: Source, gateway: Arc<Gateway>) {
    let id = fleet.id().clone();
    let shutdown = fleet.shutdown().clone();
    let follow = async {
        loop {
            let failure = match from.source.next().await {
                Ok(instances) => {
                    tracing::debug!(service = %id, source = from.kind, instances = instances.len(), "told");
                    match fleet.set(&instances).await {
                        Ok(()) => None,
                        Err(error) => {
                            tracing::error!(service = %id, %error, "instances can't be put in place");
                            continue;
                        }
                    }
                }
                Err(failure) => Some(failure),
            };
            if fleet.pool().source_fails(failure.as_ref().map(|failure| failure.detail.clone())) {
                match &failure {
                    Some(failure) => tracing::warn!(
                        service = %id, source = from.kind, %failure, "the instances that were known last are used"
                    ),
                    None => tracing::info!(service = %id, source = from.kind, "the source answers again"),
                }
                gateway.source_changed(&id, from.kind, failure.as_ref()).await;
            }
        }
    };
    shutdown.run_until_cancelled(follow).await;
}

/// What a Consul agent is told.
#[derive(Default)]
pub(super) struct Announcements(HashMap<String, Told>);

struct Told {
    config: consul::Config,
    end: CancellationToken,
}

impl Announcements {
    /// Tells what the configuration says, and takes back what it says no more.
    pub(super) fn put_in_place(
        &mut self,
        registry: &config::Registry,
        http: &HttpClient,
        gateway: &Arc<Gateway>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let config = registry.consul.clone().unwrap_or_default();
        self.0.retain(|name, told| {
            let stays = told.config == config && config.announce.contains_key(name);
            if !stays {
                told.end.cancel();
            }
            stays
        });
        for (name, announce) in &config.announce {
            if self.0.contains_key(name) {
                continue;
            }
            let client = consul::Client::new(&config, http).context("registry.consul")?;
            let what = consul::Announcement {
                name: name.clone(),
                health: health_of(announce.service.as_deref(), gateway.clone()),
                announce: announce.clone(),
            };
            let end = shutdown.child_token();
            tasks.spawn(consul::announce(client, what, gateway.chance(), end.clone()));
            self.0.insert(name.clone(), Told { config: config.clone(), end });
        }
        Ok(())
    }
}

/// How a service is, or the gateway itself.
fn health_of(service: Option<&str>, gateway: Arc<Gateway>) -> Arc<dyn Fn() -> consul::Health + Send + Sync> {
    let Some(id) = service.map(ServiceId::new) else {
        return Arc::new(|| consul::Health::Passing);
    };
    Arc::new(move || {
        let services = gateway.catalog().services();
        let Some(known) = services.get(&id) else {
            return consul::Health::Critical("there is no such service".to_owned());
        };
        let status = known.service.status();
        match (status.state, status.cause) {
            (ServiceState::Up, None) => consul::Health::Passing,
            (ServiceState::Up, Some(cause)) => consul::Health::Warning(cause),
            (ServiceState::Starting, _) => consul::Health::Critical("it has not been reached yet".to_owned()),
            (ServiceState::Down, cause) => {
                consul::Health::Critical(cause.unwrap_or_else(|| "it is down".to_owned()))
            }
        }
    })
}
