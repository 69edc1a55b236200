//! The threads that serve connections: one for each processor, each with an event loop of its own.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;
use trunkline_gateway::Gateway;
use trunkline_gateway::server::{Worker, work};

/// The threads that serve connections.
pub(super) struct Workers {
    pub(super) handles: Arc<[Worker]>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts the threads. They end at `shutdown`, when their connections have ended.
pub(super) fn start(gateway: &Arc<Gateway>, shutdown: &CancellationToken) -> std::io::Result<Workers> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let mut handles = Vec::with_capacity(count);
    let mut threads = Vec::with_capacity(count);
    for number in 0..count {
        let (worker, queue) = Worker::new();
        let (gateway, shutdown) = (gateway.clone(), shutdown.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        threads.push(thread.spawn(move || runtime.block_on(work(gateway, queue, shutdown)))?);
        handles.push(worker);
    }
    Ok(Workers { handles: handles.into(), threads })
}

impl Workers {
    /// Waits until every thread has ended.
    pub(super) async fn join(self) {
        let threads = self.threads;
        let joined =
            tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        if !joined.await.unwrap_or(false) {
            tracing::error!("a thread that serves connections has panicked");
        }
    }
}
