//! What services tell without being asked, and who wants to hear it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{broadcast, oneshot};
use trunkline_discovery::{Changes, ItemEntry};
use trunkline_model::{
    Failure, InstanceStatus, Json, Operation, Principal, Service, ServiceId, ServiceObserver, ServiceState,
    ServiceStatus,
};

use crate::Gateway;
use crate::error::Error;

/// How many notices a slow listener may fall behind before it is told that everything has changed.
const BACKLOG: usize = 256;

/// The most resources that one client may be subscribed to.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 1_000;

/// A resource: the service and its own URI for it.
type Key = (ServiceId, Arc<str>);

/// Something that clients may want to hear of.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// The list of tools has changed.
    Tools,
    /// The list of prompts has changed.
    Prompts,
    /// The list of resources has changed.
    Resources,
    /// A resource has changed.
    Updated {
        /// The service that has it.
        service: ServiceId,
        /// The service's own URI for it.
        own: Arc<str>,
        /// Its advertised URI.
        uri: Arc<str>,
    },
    /// A service's log message.
    Log {
        /// The service.
        service: ServiceId,
        /// The params of `notifications/message`.
        params: Json,
    },
}

/// Who listens to what.
pub(crate) struct Hub {
    notices: broadcast::Sender<Notice>,
    wanted: Mutex<HashMap<Key, Wanted>>,
}

/// A resource that clients want to hear of.
struct Wanted {
    /// How many do.
    count: usize,
    /// Its URI as the first of them named it.
    uri: Arc<str>,
    told: Told,
}

/// The service that has been told of a subscription. It is told of its begin and end one after the other: whoever
/// tells it holds the lock.
type Told = Arc<tokio::sync::Mutex<Option<Weak<dyn Service>>>>;

impl Default for Hub {
    fn default() -> Self {
        Self { notices: broadcast::Sender::new(BACKLOG), wanted: Mutex::default() }
    }
}

impl Hub {
    pub(crate) fn listen(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    fn tell(&self, notice: Notice) {
        // Nobody listening is no error.
        let _ = self.notices.send(notice);
    }

    pub(crate) fn everything_changed(&self) {
        self.changed(Changes { tools: true, prompts: true, resources: true });
    }

    pub(crate) fn changed(&self, changes: Changes) {
        if changes.tools {
            self.tell(Notice::Tools);
        }
        if changes.prompts {
            self.tell(Notice::Prompts);
        }
        if changes.resources {
            self.tell(Notice::Resources);
        }
    }
}

/// A client's subscription to a resource. It ends when this goes.
pub(crate) struct Subscription {
    // The gateway holds the sessions, and these hold subscriptions.
    gateway: Weak<Gateway>,
    key: Key,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(gateway) = self.gateway.upgrade() else { return };
        let last = {
            let mut wanted = gateway.hub.wanted.lock();
            let Some(wanted) = wanted.get_mut(&self.key) else { return };
            wanted.count -= 1;
            wanted.count == 0
        };
        if last {
            gateway.settle_soon(self.key.clone());
        }
    }
}

impl Gateway {
    /// Takes the services as they are now, and tells clients what has changed.
    pub fn refresh(&self) {
        self.hub.changed(self.catalog.refresh());
    }

    /// Whether the principal may read a resource, by the service's own URI for it.
    pub(crate) fn may_read(&self, principal: &Principal, service: &ServiceId, own: &str) -> bool {
        self.rules.load().authorizer.decide(principal, service, own, Operation::ReadResource).allow
    }

    /// Whether the principal may use anything of a service.
    pub(crate) fn may_use(&self, principal: &Principal, service: &ServiceId) -> bool {
        let (rules, snapshot) = (self.rules.load(), self.catalog.snapshot());
        let may = |own: &str, operation| rules.authorizer.decide(principal, service, own, operation).allow;
        let of = |items: &indexmap::IndexMap<Arc<str>, ItemEntry>, operation| {
            items.values().any(|entry| entry.service.id() == service && may(&entry.own, operation))
        };
        let mut tools = snapshot.tools.values().map(|entry| entry.tool.spec());
        tools.any(|spec| spec.service == *service && may(&spec.name, Operation::CallTool))
            || of(&snapshot.prompts, Operation::GetPrompt)
            || of(&snapshot.resources, Operation::ReadResource)
            || of(&snapshot.templates, Operation::ReadResource)
    }

    /// The first service that has a resource and lets the principal read it, with its own URI.
    ///
    /// # Errors
    /// [`Failure`] where there is none.
    pub(crate) fn reader(&self, uri: &str, principal: &Principal) -> Result<Key, Failure> {
        let readers = self.catalog.snapshot().readers_of(uri);
        let Some((first, own)) = readers.first() else {
            return Err(Error::UnknownResource { uri: uri.to_owned() }.into());
        };
        let allowed = readers.iter().find(|(service, own)| self.may_read(principal, service.id(), own));
        if let Some((service, own)) = allowed {
            return Ok((service.id().clone(), own.clone()));
        }
        let rules = self.rules.load();
        rules.authorizer.check(principal, first.id(), own, Operation::ReadResource)?;
        // The rules were replaced between the two looks at them.
        Ok((first.id().clone(), own.clone()))
    }

    /// Subscribes a client to a resource that it may read. The service hears of the first client and of the last.
    ///
    /// # Errors
    /// [`Failure`] where there is no such resource, the principal may not read it, or the service refuses.
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        uri: &str,
        principal: &Principal,
    ) -> Result<Subscription, Failure> {
        let key = self.reader(uri, principal)?;
        let subscription = {
            let mut wanted = self.hub.wanted.lock();
            let wanted = wanted.entry(key.clone()).or_insert_with(|| Wanted {
                count: 0,
                uri: Arc::from(uri),
                told: Arc::default(),
            });
            wanted.count += 1;
            Subscription { gateway: Arc::downgrade(self), key: key.clone() }
        };
        match self.settle_soon(key).await {
            Ok(settled) => settled.map(|()| subscription),
            // The task was ended: so is the process.
            Err(_) => Err(Error::Cancelled.into()),
        }
    }

    /// Subscribes again where a service has taken another's place.
    fn resubscribe(self: &Arc<Self>, service: &ServiceId) {
        let keys: Vec<Key> =
            self.hub.wanted.lock().keys().filter(|(wanted, _)| wanted == service).cloned().collect();
        for key in keys {
            self.settle_soon(key);
        }
    }

    /// Settles by a task of its own, which goes on to its end when its caller does not.
    fn settle_soon(self: &Arc<Self>, key: Key) -> oneshot::Receiver<Result<(), Failure>> {
        let (done, settled) = oneshot::channel();
        let gateway = self.clone();
        self.spawn(async move {
            let outcome = gateway.settle(&key).await;
            if let Err(Err(failure)) = done.send(outcome) {
                tracing::warn!(service = %key.0, uri = %key.1, %failure, "a resource can't be subscribed to");
            }
        });
        settled
    }

    /// Tells the service whether somebody wants to hear of its resource, where it has not been told.
    async fn settle(&self, key: &Key) -> Result<(), Failure> {
        let Some(lock) = self.hub.wanted.lock().get(key).map(|wanted| wanted.told.clone()) else {
            return Ok(());
        };
        let mut told = lock.lock().await;
        let count = {
            let wanted = self.hub.wanted.lock();
            // Another may have ended it, and a third begun it anew, while this one waited.
            wanted.get(key).filter(|wanted| Arc::ptr_eq(&wanted.told, &lock)).map(|wanted| wanted.count)
        };
        let Some(count) = count else { return Ok(()) };
        let service = self.catalog.services().get(&key.0).map(|entry| entry.service.clone());
        let knows = match (&*told, &service) {
            (Some(told), Some(service)) => told.ptr_eq(&Arc::downgrade(service)),
            _ => false,
        };
        if count > 0 {
            let Some(service) = service else {
                return Err(Error::UnknownResource { uri: key.1.to_string() }.into());
            };
            if !knows {
                *told = None;
                if let Err(failure) = service.subscribe(&key.1, true).await {
                    // It may have kept the wish for when it can be reached again.
                    let _ = service.subscribe(&key.1, false).await;
                    return Err(failure);
                }
                *told = Some(Arc::downgrade(&service));
            }
            return Ok(());
        }
        if let Some(service) = service.filter(|_| knows) {
            // A service that can't be reached has nothing to end.
            let _ = service.subscribe(&key.1, false).await;
        }
        *told = None;
        let mut wanted = self.hub.wanted.lock();
        if wanted.get(key).is_some_and(|wanted| wanted.count == 0) {
            wanted.remove(key);
        }
        Ok(())
    }
}

/// Passes on what services tell.
pub struct Observer(pub Arc<Gateway>);

impl ServiceObserver for Observer {
    fn contents_changed(&self, service: &ServiceId) {
        self.0.cache.contents_changed(service);
        self.0.refresh();
    }

    fn status_changed(&self, service: &ServiceId, status: &ServiceStatus) {
        if status.state == ServiceState::Up {
            self.0.resubscribe(service);
            self.0.guards.back(service);
        }
        let (gateway, service, status) = (self.0.clone(), service.clone(), status.clone());
        tracing::info!(%service, state = ?status.state, cause = status.cause.as_deref(), "service status");
        self.0.spawn(async move { gateway.recorder.service_changed(&service, &status).await });
    }

    fn instance_changed(&self, service: &ServiceId, instance: &InstanceStatus) {
        let (gateway, service, instance) = (self.0.clone(), service.clone(), instance.clone());
        let cause = instance.cause.as_deref();
        tracing::info!(%service, url = instance.url, healthy = instance.healthy, cause, "instance");
        self.0.spawn(async move { gateway.recorder.instance_changed(&service, &instance).await });
    }

    fn resource_updated(&self, service: &ServiceId, uri: &str) {
        self.0.cache.resource_updated(service);
        let key = (service.clone(), Arc::from(uri));
        let advertised = self.0.hub.wanted.lock().get(&key).map(|wanted| wanted.uri.clone());
        if let Some(uri) = advertised {
            self.0.hub.tell(Notice::Updated { service: key.0, own: key.1, uri });
        }
    }

    fn logged(&self, service: &ServiceId, params: &Json) {
        self.0.hub.tell(Notice::Log { service: service.clone(), params: params.clone() });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::mpsc;
    use trunkline_discovery::{Catalog, Names, Registered};
    use trunkline_model::{BoxFuture, Call, CallContext, Contents, Item, Outcome};
    use trunkline_policy::{Authenticator, Authorizer};

    use super::*;
    use crate::{Config, Parts, Sealer, Sources};

    const URI: &str = "test://a";

    /// A service with one resource. It tells what it is told.
    struct Fake {
        id: ServiceId,
        told: mpsc::UnboundedSender<bool>,
        /// It refuses subscriptions.
        refuses: AtomicBool,
        /// Each subscription and each end of one takes a permit.
        pace: tokio::sync::Semaphore,
    }

    impl Fake {
        fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<bool>) {
            let (told, heard) = mpsc::unbounded_channel();
            let pace = tokio::sync::Semaphore::new(1_000);
            (Arc::new(Self { id: ServiceId::new("s"), told, refuses: AtomicBool::new(false), pace }), heard)
        }
    }

    impl Service for Fake {
        fn id(&self) -> &ServiceId {
            &self.id
        }

        fn status(&self) -> ServiceStatus {
            let protocol = "fake".to_owned();
            ServiceStatus { state: ServiceState::Up, cause: None, restarts: 0, protocol, stderr: Vec::new() }
        }

        fn contents(&self) -> Arc<Contents> {
            let raw = Json::parse(r#"{"uri":"test://a","name":"a"}"#).unwrap();
            let resources = vec![Item { key: Arc::from(URI), raw }];
            Arc::new(Contents { resources, ..Contents::default() })
        }

        fn request<'a>(&'a self, _: &'a Call, _: &'a CallContext) -> BoxFuture<'a, Result<Outcome, Failure>> {
            Box::pin(std::future::pending())
        }

        fn subscribe<'a>(&'a self, _: &'a str, on: bool) -> BoxFuture<'a, Result<(), Failure>> {
            Box::pin(async move {
                self.told.send(on).unwrap();
                self.pace.acquire().await.unwrap().forget();
                if on && self.refuses.load(Ordering::Relaxed) {
                    return Err(Error::UnknownResource { uri: URI.to_owned() }.into());
                }
                Ok(())
            })
        }
    }

    /// A gateway without services, which lets everybody do what `policy` says.
    pub(crate) fn gateway(policy: &trunkline_policy::authorize::Config) -> (Arc<Gateway>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let sources = Sources {
            now: Arc::new(jiff::Timestamp::now),
            time_id: Arc::new(uuid::Uuid::now_v7),
            random_id: Arc::new(uuid::Uuid::new_v4),
        };
        let config = trunkline_event_log::Config::new(folder.path().join("events.db"));
        let (log, writer) = config.build(sources.now.clone()).unwrap();
        std::thread::spawn(move || writer.run());
        let gateway = Gateway::new(Parts {
            config: Config::default(),
            catalog: Arc::new(Catalog::new()),
            log,
            authenticator: Authenticator::new(&trunkline_policy::identity::Config::default()).unwrap(),
            authorizer: Authorizer::new(policy),
            sealer: Sealer::new(&[7; 32]).unwrap(),
            sources,
            tasks: tokio_util::task::TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            telemetry: trunkline_telemetry::Telemetry::off(),
        });
        (gateway, folder)
    }

    fn put(gateway: &Gateway, service: Arc<Fake>) {
        let registered = Registered { service, names: Names::Plain, about: Arc::default() };
        gateway.set_services([(ServiceId::new("s"), registered)].into_iter().collect());
    }

    #[tokio::test]
    async fn a_service_hears_of_the_first_and_the_last() {
        let (gateway, _folder) = gateway(&Default::default());
        let (service, mut heard) = Fake::new();
        put(&gateway, service);
        let me = Principal::local();
        let first = gateway.subscribe(URI, &me).await.unwrap();
        let second = gateway.subscribe(URI, &me).await.unwrap();
        drop(first);
        drop(second);
        assert_eq!((heard.recv().await, heard.recv().await), (Some(true), Some(false)));
        let third = gateway.subscribe(URI, &me).await.unwrap();
        assert_eq!(heard.recv().await, Some(true));
        drop(third);
        assert_eq!(heard.recv().await, Some(false));
        gateway.tasks.close();
        gateway.tasks.wait().await;
        assert!(gateway.hub.wanted.lock().is_empty());
        assert!(heard.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_refused_subscription_leaves_nothing() {
        let (gateway, _folder) = gateway(&Default::default());
        let (service, mut heard) = Fake::new();
        put(&gateway, service.clone());
        service.refuses.store(true, Ordering::Relaxed);
        assert!(gateway.subscribe(URI, &Principal::local()).await.is_err());
        assert_eq!((heard.recv().await, heard.recv().await), (Some(true), Some(false)));
        service.refuses.store(false, Ordering::Relaxed);
        let _held = gateway.subscribe(URI, &Principal::local()).await.unwrap();
        assert_eq!(heard.recv().await, Some(true));
    }

    #[tokio::test]
    async fn a_subscription_whose_client_does_not_wait_ends() {
        let (gateway, _folder) = gateway(&Default::default());
        let (service, mut heard) = Fake::new();
        service.pace.forget_permits(1_000);
        put(&gateway, service.clone());
        let me = Principal::local();
        let waiting = gateway.subscribe(URI, &me);
        let told = async { heard.recv().await };
        let told = futures_util::future::select(Box::pin(waiting), Box::pin(told)).await;
        assert!(matches!(told, futures_util::future::Either::Right((Some(true), _))));
        drop(told);
        service.pace.add_permits(2);
        assert_eq!(heard.recv().await, Some(false));
        gateway.tasks.close();
        gateway.tasks.wait().await;
        assert!(gateway.hub.wanted.lock().is_empty());
    }

    #[tokio::test]
    async fn a_service_in_anothers_place_is_subscribed_to_again() {
        let (gateway, _folder) = gateway(&Default::default());
        let (old, mut heard_by_old) = Fake::new();
        put(&gateway, old);
        let held = gateway.subscribe(URI, &Principal::local()).await.unwrap();
        assert_eq!(heard_by_old.recv().await, Some(true));
        let (new, mut heard_by_new) = Fake::new();
        put(&gateway, new.clone());
        Observer(gateway.clone()).status_changed(new.id(), &new.status());
        assert_eq!(heard_by_new.recv().await, Some(true));
        drop(held);
        assert_eq!(heard_by_new.recv().await, Some(false));
        assert!(heard_by_old.try_recv().is_err());
    }

    #[tokio::test]
    async fn who_may_not_read_may_not_subscribe() {
        let policy = trunkline_policy::authorize::Config {
            default: trunkline_policy::authorize::Effect::Deny,
            rules: Vec::new(),
        };
        let (gateway, _folder) = gateway(&policy);
        let (service, mut heard) = Fake::new();
        put(&gateway, service.clone());
        let me = Principal::local();
        let failure = gateway.subscribe(URI, &me).await.err().unwrap();
        assert!(failure.code.starts_with("TL2"), "{failure:?}");
        assert!(!gateway.may_use(&me, service.id()));
        assert!(heard.try_recv().is_err());
    }
}
