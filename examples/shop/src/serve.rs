//! Starts the four services on neighbouring loopback ports and stops them together.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::chaos::{self, Chaos};
use crate::problem::{Problem, status};
use crate::spans::{self, Spans};
use crate::store::Store;
use crate::{orders, payments, shipping, stock};

/// The largest request body, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// How long running requests may take to end after the signal.
const GRACE: Duration = Duration::from_secs(2);

/// Where the services listen and keep their state.
#[derive(Debug, clap::Args)]
pub struct Config {
    /// The folder for the four databases; made where it is missing.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The address of the first service; the others take the next three ports. Port 0 picks free ports.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7411")]
    listen_base: SocketAddr,
    /// Stop when standard input closes, that is, when the parent is gone.
    #[arg(long)]
    with_parent: bool,
}

/// What makes one service: its name, tables with first rows, description and operations.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) schema: &'static str,
    pub(crate) openapi: &'static str,
    pub(crate) routes: fn() -> Router<Store>,
}

/// Runs the services until SIGTERM, SIGINT, or the end of the parent.
///
/// # Errors
/// Where a port is taken or the folder can't be written.
pub fn run(config: &Config) -> anyhow::Result<()> {
    if !config.listen_base.ip().is_loopback() {
        bail!("{} is not a loopback address; the shop has no authentication", config.listen_base);
    }
    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("can't make the folder {}", config.data.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(serve(config));
    // A request that chaos holds must not hold the exit.
    runtime.shutdown_background();
    done
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let services = [orders::SERVICE, stock::SERVICE, payments::SERVICE, shipping::SERVICE];
    let mut bound = Vec::new();
    for (offset, service) in (0..).zip(services) {
        let listener = TcpListener::bind(address(config.listen_base, offset)?).await.with_context(|| {
            format!(
                "can't listen for {} near {}; choose another --listen-base",
                service.name, config.listen_base
            )
        })?;
        let path = config.data.join(format!("{}.db", service.name));
        let store = Store::open(&path, service.schema)
            .with_context(|| format!("can't open the database {}", path.display()))?;
        bound.push((listener, service, store));
    }
    let stopped = stop_signal(config.with_parent)?;
    let (stop, stopping) = watch::channel(false);
    let mut running = JoinSet::new();
    let mut lines = String::new();
    for (listener, service, store) in bound {
        lines += &format!("{} http://{}\n", service.name, listener.local_addr()?);
        let mut stopping = stopping.clone();
        let stopped = async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let server = axum::serve(listener, router(&service, store)).with_graceful_shutdown(stopped);
        running.spawn(async move { server.await });
    }
    // Whoever started us may not read this; the services run all the same.
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush());
    drop(stdout);

    stopped.await;
    stop.send_replace(true);
    let _ = tokio::time::timeout(GRACE, running.join_all()).await;
    Ok(())
}

fn address(base: SocketAddr, offset: u16) -> anyhow::Result<SocketAddr> {
    let port = match base.port() {
        0 => 0,
        port => port.checked_add(offset).context("there are no four ports from --listen-base on")?,
    };
    Ok(SocketAddr::new(base.ip(), port))
}

/// A service with what all four have: health, description, chaos, limits, problems in place of plain errors.
fn router(service: &Service, store: Store) -> Router {
    let openapi = service.openapi;
    let chaos = Chaos::default();
    (service.routes)()
        .with_state(store)
        .layer(axum::middleware::from_fn_with_state(chaos.clone(), chaos::disturb))
        .merge(chaos::routes(chaos))
        .route("/healthz", get(|| async { axum::Json(serde_json::json!({"status": "ok"})) }))
        .route("/openapi.yaml", get(move || async move { ([(CONTENT_TYPE, "application/yaml")], openapi) }))
        .fallback(|| async {
            Problem::new(status::NOT_FOUND, "no-such-path", "No such path", "see /openapi.yaml")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                status::METHOD_NOT_ALLOWED,
                "no-such-operation",
                "No such operation",
                "the path has no operation with this method; see /openapi.yaml",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(Spans::of(service.name), spans::trace))
}

/// Resolves when the process is told to stop.
fn stop_signal(with_parent: bool) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (tell, parent_gone) = oneshot::channel::<()>();
    if with_parent {
        // A thread of its own: a blocked read of standard input can't be cancelled.
        std::thread::spawn(move || {
            let mut buffer = [0; 256];
            while matches!(std::io::stdin().read(&mut buffer), Ok(read) if read > 0) {}
            drop(tell);
        });
    }
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = parent_gone, if with_parent => {}
        }
    })
}
