//! The present session with a server, if there is one, and the wait for the next.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::client::Session;

/// How long a call waits for a server that is not connected.
const PATIENCE: Duration = Duration::from_secs(2);

/// The present session, and the wait for the next.
pub(super) struct Link {
    session: ArcSwapOption<Session>,
    used: Mutex<Instant>,
    changed: watch::Sender<()>,
    /// Somebody wants a session now.
    pub(super) wanted: Notify,
    /// Somebody has seen that the session is of no use any more.
    pub(super) broken: Notify,
    /// Somebody has lost a connection: it should be tested whether the server is still there.
    pub(super) suspect: Notify,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            session: ArcSwapOption::empty(),
            used: Mutex::new(Instant::now()),
            changed: watch::Sender::new(()),
            wanted: Notify::new(),
            broken: Notify::new(),
            suspect: Notify::new(),
        }
    }
}

impl Link {
    /// The session, waiting a little for one where there is none.
    pub(super) async fn session(&self) -> Option<Arc<Session>> {
        if let Some(session) = self.session.load_full() {
            return Some(session);
        }
        let until = Instant::now() + PATIENCE;
        let mut changed = self.changed.subscribe();
        self.wanted.notify_one();
        loop {
            if let Some(session) = self.session.load_full() {
                return Some(session);
            }
            match tokio::time::timeout_at(until, changed.changed()).await {
                Ok(Ok(())) => {}
                _ => return None,
            }
        }
    }

    /// Notes that somebody uses the session.
    pub(super) fn touch(&self) {
        *self.used.lock() = Instant::now();
    }

    /// Waits until nobody has used the session for `limit`, and no call is under way.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let until = *self.used.lock() + limit;
            if until <= Instant::now() {
                let busy =
                    self.session.load().as_ref().is_some_and(|session| session.channel.flights.any_call());
                if !busy {
                    return;
                }
                self.touch();
                continue;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// Puts a session in place, or takes it away.
    pub(super) fn set(&self, session: Option<Arc<Session>>) {
        self.session.store(session);
        self.changed.send_replace(());
    }

    /// Takes `session` away where it is still the present one: it is of no use any more.
    pub(super) fn discard(&self, session: &Arc<Session>) {
        let present = self.session.load_full();
        if present.is_some_and(|present| Arc::ptr_eq(&present, session)) {
            self.session.store(None);
            self.broken.notify_one();
        }
    }
}
