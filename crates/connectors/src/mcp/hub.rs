//! What all connections to one service share: its configuration, its contents, and who is told of changes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use trunkline_model::{Contents, Json, ServiceId, ServiceObserver, ServiceState, ServiceStatus};

use super::auth::Auth;
use super::client::ClientInfo;
use super::config::Config;
use super::error::Error;
use super::stderr::Stderr;

/// What all connections to one service share.
pub(super) struct Hub {
    pub(super) id: ServiceId,
    pub(super) config: Config,
    pub(super) client: ClientInfo,
    pub(super) observer: Arc<dyn ServiceObserver>,
    pub(super) contents: ArcSwap<Contents>,
    /// The server has said that its lists are no longer what they were.
    pub(super) changed: Notify,
    /// How often reading its lists has begun and come to its end.
    pub(super) reads: watch::Sender<(u64, u64)>,
    pub(super) stderr: Stderr,
    /// How to get a token, where the server wants one.
    pub(super) auth: Option<Auth>,
    status: Mutex<ServiceStatus>,
}

impl Hub {
    pub(super) fn new(
        id: ServiceId,
        config: Config,
        client: ClientInfo,
        observer: Arc<dyn ServiceObserver>,
        auth: Option<Auth>,
    ) -> Self {
        Self {
            id,
            config,
            client,
            observer,
            contents: ArcSwap::default(),
            changed: Notify::new(),
            reads: watch::Sender::default(),
            stderr: Stderr::default(),
            auth,
            status: Mutex::new(ServiceStatus {
                state: ServiceState::Starting,
                cause: None,
                restarts: 0,
                protocol: "mcp".to_owned(),
                stderr: Vec::new(),
            }),
        }
    }

    /// How the service is.
    pub(super) fn status(&self) -> ServiceStatus {
        let status = self.status.lock().clone();
        ServiceStatus { stderr: self.stderr.lines(), ..status }
    }

    /// Changes the status and tells the observer where it is another one then.
    pub(super) fn set_status(&self, change: impl FnOnce(&mut ServiceStatus)) {
        let changed = {
            let mut status = self.status.lock();
            let before = status.clone();
            change(&mut status);
            *status != before
        };
        if changed {
            self.observer.status_changed(&self.id, &self.status());
        }
    }

    /// Sees to a notification that belongs to no call.
    pub(super) fn notified(&self, method: &str, params: &Json) {
        match method {
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed" => self.changed.notify_one(),
            "notifications/resources/updated" => {
                #[derive(serde::Deserialize)]
                struct Updated {
                    uri: String,
                }
                if let Ok(updated) = params.to::<Updated>() {
                    self.observer.resource_updated(&self.id, &updated.uri);
                }
            }
            _ => tracing::trace!(service = %self.id, method, "notification ignored"),
        }
    }

    /// Why the last connection ended, as an error for the calls that were under way.
    pub(super) fn ending(&self) -> Error {
        let cause = self.status.lock().cause.clone();
        Error::Lost(cause.unwrap_or_else(|| "the connection has ended".to_owned()))
    }
}
