//! The instances of one service: made by its connector, watched, and taken down when nobody calls them any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::{health, mcp, openapi, process};
use trunkline_gateway::pool::{HealthConfig, Place, Pool, Probe};
use trunkline_gateway::{Gateway, Sources};
use trunkline_model::{BoxFuture, Instance, Service, ServiceId, ServiceObserver};

use crate::config;

/// How long a service that is no longer configured goes on for the calls that it still has.
const DRAIN: Duration = Duration::from_secs(30);

/// How often it is looked whether it still has any.
const DRAIN_STEP: Duration = Duration::from_millis(100);

/// A service and what keeps it going.
pub(super) type Built = (Arc<dyn Service>, BoxFuture<'static, ()>);

/// What services are made with.
#[derive(Clone)]
pub(super) struct Workshop {
    pub(super) id: ServiceId,
    pub(super) config: config::Service,
    pub(super) base: PathBuf,
    pub(super) http: HttpClient,
}

impl Workshop {
    /// Makes the service, or one instance of it.
    pub(super) async fn make(
        &self,
        at: Option<&Instance>,
        observer: Arc<dyn ServiceObserver>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Built> {
        let id = self.id.clone();
        if let Some(config) = &self.config.mcp {
            let client = mcp::ClientInfo {
                name: "trunkline".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let mut config = config.clone();
            config.url = at.map(|instance| instance.url.clone()).or(config.url);
            let (service, runner) = mcp::build(config, id, client, observer)?;
            return Ok((service, Box::pin(runner.run(shutdown))));
        }
        if let Some(config) = &self.config.openapi {
            let mut config = config.clone();
            config.base_url = at.map(|instance| instance.url.clone()).or(config.base_url);
            let (service, runner) =
                openapi::build(config, &self.base, id, observer, self.http.clone()).await?;
            let runner = async move {
                shutdown.run_until_cancelled(runner).await;
            };
            return Ok((service, Box::pin(runner)));
        }
        let Some(config) = &self.config.process else { anyhow::bail!("it needs mcp, openapi or process") };
        Ok((process::build(config.clone(), &self.base, id)?, Box::pin(std::future::ready(()))))
    }
}

/// The instances of one service.
pub(super) struct Fleet {
    workshop: Workshop,
    pool: Arc<Pool>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// What ends the instances, by address.
    ends: parking_lot::Mutex<Vec<(String, CancellationToken)>>,
    /// One set of instances is put in place at a time.
    changing: tokio::sync::Mutex<()>,
}

/// Instances that are made and not yet in place.
pub(super) struct Prepared {
    places: Vec<Place>,
    new: Vec<(String, CancellationToken, BoxFuture<'static, ()>)>,
}

impl Fleet {
    pub(super) fn new(
        workshop: Workshop,
        observer: Arc<dyn ServiceObserver>,
        sources: &Sources,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let balance = workshop.config.balance.clone().unwrap_or_default();
        let pool = Pool::new(workshop.id.clone(), observer, balance, sources);
        Arc::new(Self {
            workshop,
            pool,
            tasks,
            shutdown,
            ends: parking_lot::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// The service that they are together.
    pub(super) fn pool(&self) -> Arc<Pool> {
        self.pool.clone()
    }

    /// The service's name.
    pub(super) fn id(&self) -> &ServiceId {
        &self.workshop.id
    }

    /// Ends the service.
    pub(super) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Puts those instances in place that have a lease, as they come and go.
    pub(super) async fn follow_leases(
        self: Arc<Self>,
        gateway: Arc<Gateway>,
        mut leases: watch::Receiver<Vec<Instance>>,
    ) {
        let id = self.id().clone();
        let follow = async {
            let mut in_place = None;
            loop {
                let wanted = leases.borrow_and_update().clone();
                if in_place.as_ref() != Some(&wanted) {
                    if let Err(error) = self.set(&wanted).await {
                        tracing::error!(service = %id, %error, "instances can't be put in place");
                    }
                    in_place = Some(wanted);
                }
                let next = gateway.next_lapse(&id);
                let over = async {
                    match next {
                        Some(next) => tokio::time::sleep_until(next).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = leases.changed() => if changed.is_err() { return },
                    () = over => gateway.lapse(&id).await,
                }
            }
        };
        self.shutdown.run_until_cancelled(follow).await;
    }

    /// Makes the instances that are not there yet. Nothing changes.
    pub(super) async fn prepare(&self, wanted: &[Instance]) -> anyhow::Result<Prepared> {
        let there = self.pool.places();
        let mut prepared = Prepared { places: Vec::with_capacity(wanted.len()), new: Vec::new() };
        for instance in wanted {
            let kept = there.iter().find(|(known, _)| known.url == instance.url);
            let service = if let Some((_, service)) = kept {
                service.clone()
            } else {
                let end = self.shutdown.child_token();
                let made = self.workshop.make(Some(instance), self.pool.observer(), end.clone()).await;
                let (service, runner) = made?;
                prepared.new.push((instance.url.clone(), end, runner));
                service
            };
            prepared.places.push((instance.clone(), service));
        }
        Ok(prepared)
    }

    /// Puts instances in place. Those that are no longer there end when they have no calls any more, or after a while.
    pub(super) fn put_in_place(&self, Prepared { places, new }: Prepared) {
        let before = self.pool.places();
        let stays = |url: &str| places.iter().any(|(instance, _)| instance.url == url);
        let gone: Vec<Place> = before.into_iter().filter(|(instance, _)| !stays(&instance.url)).collect();
        let mut ends = self.ends.lock();
        let left;
        (left, *ends) = std::mem::take(&mut *ends).into_iter().partition(|(url, _)| !stays(url));
        self.pool.replace(places);
        for (url, end, runner) in new {
            self.tasks.spawn(runner);
            if let Some(health) = self.workshop.config.health.clone().filter(HealthConfig::is_on) {
                let watch = self.pool.watch(&url, health.clone(), self.probe(health));
                let end = end.clone();
                self.tasks.spawn(async move {
                    end.run_until_cancelled(watch).await;
                });
            }
            ends.push((url, end));
        }
        for (instance, service) in gone {
            if let Some((_, end)) = left.iter().find(|(url, _)| *url == instance.url) {
                self.tasks.spawn(drain(service, end.clone()));
            }
        }
    }

    /// Makes the instances that are not there yet and puts all of them in place.
    pub(super) async fn set(&self, wanted: &[Instance]) -> anyhow::Result<()> {
        let _changing = self.changing.lock().await;
        let prepared = self.prepare(wanted).await?;
        self.put_in_place(prepared);
        Ok(())
    }

    fn probe(&self, config: HealthConfig) -> Probe {
        if config.mcp {
            let pool = Arc::downgrade(&self.pool);
            return Arc::new(move |url| {
                let pool = pool.clone();
                Box::pin(async move {
                    let places = pool.upgrade().map(|pool| pool.places()).unwrap_or_default();
                    match places.into_iter().find(|(instance, _)| instance.url == url) {
                        Some((_, service)) => service.ping().await,
                        None => Err("it is no longer an instance of the service".to_owned()),
                    }
                })
            });
        }
        let http = self.workshop.http.clone();
        let limit = Duration::from_millis(config.timeout_ms);
        let check = match (config.http, config.command) {
            (Some(path), _) => health::Check::Http(path),
            (None, command) if !command.is_empty() => health::Check::Command(command),
            _ => health::Check::Tcp,
        };
        let check = Arc::new(check);
        Arc::new(move |url| {
            let (check, http) = (check.clone(), http.clone());
            Box::pin(async move { check.make(&url, &http, limit).await })
        })
    }
}

/// Ends a service that is no longer in the catalogue when nothing holds it any more: a running call does.
pub(super) async fn drain(service: Arc<dyn Service>, shutdown: CancellationToken) {
    let end = tokio::time::Instant::now() + DRAIN;
    while Arc::strong_count(&service) > 1 && tokio::time::Instant::now() < end {
        if shutdown.run_until_cancelled(tokio::time::sleep(DRAIN_STEP)).await.is_none() {
            break;
        }
    }
    shutdown.cancel();
}

/// What a service is made with.
pub(super) fn workshop(name: &str, config: &config::Service, base: &Path, http: &HttpClient) -> Workshop {
    Workshop { id: ServiceId::new(name), config: config.clone(), base: base.to_owned(), http: http.clone() }
}
