//! What services tell without being asked, and who wants to hear it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use trunkline_discovery::Changes;
use trunkline_model::{Failure, Json, Operation, Principal, ServiceId, ServiceObserver, ServiceStatus};

use crate::Gateway;
use crate::error::Error;

/// How many notices a slow listener may fall behind before it is told that everything has changed.
const BACKLOG: usize = 256;

/// Something that clients may want to hear of.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// The list of tools has changed.
    Tools,
    /// The list of prompts has changed.
    Prompts,
    /// The list of resources has changed.
    Resources,
    /// A resource has changed: its advertised URI.
    Updated(Arc<str>),
    /// A service's log message: the params of `notifications/message`.
    Log(Json),
}

/// Who listens to what.
pub(crate) struct Hub {
    notices: broadcast::Sender<Notice>,
    /// How many clients want to hear of a resource.
    wanted: Mutex<HashMap<(ServiceId, Arc<str>), usize>>,
}

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

impl Gateway {
    /// Takes the services as they are now, and tells clients what has changed.
    pub fn refresh(&self) {
        self.hub.changed(self.catalog.refresh());
    }

    /// Subscribes to a resource for one client, which must be allowed to read it, or ends that. The service hears of
    /// the first and the last.
    pub(crate) async fn want(&self, principal: &Principal, uri: &str, on: bool) -> Result<(), Failure> {
        let readers = self.catalog.snapshot().readers_of(uri);
        let Some((service, own)) = readers.into_iter().next() else {
            return Err(Error::UnknownResource { uri: uri.to_owned() }.into());
        };
        if on {
            let rules = self.rules.load();
            rules.authorizer.check(principal, service.id(), &own, Operation::ReadResource)?;
        }
        let tell = {
            let mut wanted = self.hub.wanted.lock();
            let key = (service.id().clone(), own.clone());
            let count = wanted.entry(key.clone()).or_default();
            let before = *count;
            *count = if on { before + 1 } else { before.saturating_sub(1) };
            let now = *count;
            if now == 0 {
                wanted.remove(&key);
            }
            (before == 0) != (now == 0)
        };
        if tell { service.subscribe(&own, on).await } else { Ok(()) }
    }
}

/// Passes on what services tell.
pub struct Observer(pub Arc<Gateway>);

impl ServiceObserver for Observer {
    fn contents_changed(&self, _service: &ServiceId) {
        self.0.refresh();
    }

    fn status_changed(&self, service: &ServiceId, status: &ServiceStatus) {
        let (gateway, service, status) = (self.0.clone(), service.clone(), status.clone());
        tracing::info!(%service, state = ?status.state, cause = status.cause.as_deref(), "service status");
        self.0.tasks.spawn(async move { gateway.recorder.service_changed(&service, &status).await });
    }

    fn resource_updated(&self, service: &ServiceId, uri: &str) {
        let snapshot = self.0.catalog.snapshot();
        let advertised = snapshot
            .resources
            .values()
            .find(|entry| *entry.own == *uri && entry.service.id() == service)
            .map_or_else(|| Arc::from(uri), |entry| entry.key.clone());
        self.0.hub.tell(Notice::Updated(advertised));
    }

    fn logged(&self, _service: &ServiceId, params: &Json) {
        self.0.hub.tell(Notice::Log(params.clone()));
    }
}
