//! A fault proxy: stands before any TCP service and adds latency, stalls, resets, truncation, half-open connections,
//! narrow bandwidth and HTTP errors, by a script with a seed.
//!
//! `script.rs` is what is asked for, `dice.rs` which faults hit which exchange, `wire.rs` carries the bytes. Nothing of HTTP is
//! read: an exchange begins when the client sends after the service has spoken, which is a request in HTTP/1.1.

mod dice;
mod script;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use script::{Fault, Kind, Script, Step};

/// The most connections at a time. Others wait to be accepted.
const MAX_CONNECTIONS: usize = 4_096;

/// A fault proxy.
pub struct Proxy {
    shared: Arc<Shared>,
}

/// What all connections share.
struct Shared {
    to: String,
    script: Script,
    begun: Instant,
    counts: Counts,
}

/// What has happened so far.
#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    exchanges: AtomicU64,
    faults: [AtomicU64; Kind::ALL.len()],
}

impl Proxy {
    /// A proxy before the service at `to` (`host:port`). The script's time begins now.
    #[must_use]
    pub fn new(to: String, script: Script) -> Self {
        let shared = Shared { to, script, begun: Instant::now(), counts: Counts::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Takes connections until the future is dropped.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn run(&self, listener: TcpListener) -> std::io::Result<()> {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
            let (client, _): (_, SocketAddr) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    // The client has gone already, or there are no descriptors left for a moment.
                    Err(error) => {
                        tracing::debug!(%error, "a connection was not accepted");
                        tokio::task::yield_now().await;
                        continue;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            };
            let number = self.shared.counts.connections.fetch_add(1, Ordering::Relaxed);
            let shared = self.shared.clone();
            connections.spawn(async move {
                if let Err(error) = wire::connection(&shared, client, number).await {
                    tracing::debug!(number, %error, "a connection has ended");
                }
                drop(place);
            });
        }
    }

    /// What has happened so far, in words.
    #[must_use]
    pub fn told(&self) -> String {
        let counts = &self.shared.counts;
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut text =
            format!("{} connections, {} exchanges", number(&counts.connections), number(&counts.exchanges));
        for (kind, count) in Kind::ALL.iter().zip(&counts.faults) {
            if number(count) > 0 {
                text.push_str(&format!(", {} {}", number(count), kind.name()));
            }
        }
        text
    }
}

impl Counts {
    fn hit(&self, kind: Kind) {
        self.faults[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}
