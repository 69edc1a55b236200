//! Whether a service can be reached, as its calls find it, and the probe that finds out when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use trunkline_model::{ServiceId, ServiceObserver, ServiceState, ServiceStatus};
use url::Url;

/// The first wait before something is tried again.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait before a service that is down is tried again: it is back within a second of its server.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long one probe may take.
const PROBE_TIME: Duration = Duration::from_secs(5);

/// Whether a service can be reached.
pub(super) struct Health {
    id: ServiceId,
    observer: Arc<dyn ServiceObserver>,
    status: Mutex<ServiceStatus>,
    /// Read by every call without a lock.
    down: AtomicBool,
    /// The server that could not be reached.
    lost: Mutex<Option<String>>,
    wake: Notify,
}

impl Health {
    pub(super) fn new(id: ServiceId, observer: Arc<dyn ServiceObserver>) -> Self {
        let status = ServiceStatus {
            state: ServiceState::Starting,
            cause: None,
            restarts: 0,
            protocol: "openapi".to_owned(),
            stderr: Vec::new(),
        };
        Self {
            id,
            observer,
            status: Mutex::new(status),
            down: AtomicBool::new(false),
            lost: Mutex::new(None),
            wake: Notify::new(),
        }
    }

    pub(super) fn status(&self) -> ServiceStatus {
        self.status.lock().clone()
    }

    /// The service has a document of this protocol.
    pub(super) fn loaded(&self, protocol: &str) {
        self.set(ServiceState::Up, None, Some(protocol));
    }

    /// The service has no document.
    pub(super) fn not_loaded(&self, cause: String) {
        self.set(ServiceState::Down, Some(cause), None);
    }

    /// A call got an answer.
    pub(super) fn reached(&self) {
        if self.down.load(Ordering::Relaxed) {
            self.set(ServiceState::Up, None, None);
        }
    }

    /// A call could not connect to the server at `base`.
    pub(super) fn lost(&self, cause: String, base: &str) {
        *self.lost.lock() = Some(base.to_owned());
        self.set(ServiceState::Down, Some(cause), None);
        self.wake.notify_one();
    }

    fn set(&self, state: ServiceState, cause: Option<String>, protocol: Option<&str>) {
        let changed = {
            let mut status = self.status.lock();
            let changed = status.state != state;
            status.state = state;
            status.cause = cause;
            if let Some(protocol) = protocol {
                protocol.clone_into(&mut status.protocol);
            }
            self.down.store(state == ServiceState::Down, Ordering::Relaxed);
            changed.then(|| status.clone())
        };
        if let Some(status) = changed {
            self.observer.status_changed(&self.id, &status);
        }
    }

    /// Waits until the service is lost, then connects again and again until it is back. Sends nothing.
    pub(super) async fn watch(&self) {
        loop {
            self.wake.notified().await;
            let mut wait = FIRST_WAIT;
            while self.down.load(Ordering::Relaxed) {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
                let base = self.lost.lock().clone();
                if probe(base.as_deref()).await {
                    self.reached();
                }
            }
        }
    }
}

/// Whether a connection to the server at `base` can be made.
async fn probe(base: Option<&str>) -> bool {
    let Some(url) = base.and_then(|base| Url::parse(base).ok()) else { return false };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
    // `host_str` keeps the brackets of an IPv6 address.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    matches!(tokio::time::timeout(PROBE_TIME, TcpStream::connect((host, port))).await, Ok(Ok(_)))
}
