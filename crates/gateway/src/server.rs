//! The listener that all HTTP doors stand behind.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::header::{AUTHORIZATION, HOST, ORIGIN};
use ::http::{HeaderMap, HeaderValue, Request, Response};
use axum::Router;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use trunkline_model::{Failure, Principal};
use trunkline_policy::identity::api_key::key_of;

use crate::http::problem;
use crate::pipeline::Credentials;
use crate::{Error, Gateway, console, http, mcp};

/// How long the head of a request may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long open connections may go on after the shutdown began.
const GRACE: Duration = Duration::from_secs(10);

/// How often a worker's event loop turns where nothing happens.
const BEAT: Duration = Duration::from_secs(1);

/// The most connections at once.
const MAX_CONNECTIONS: usize = 10_000;

/// A thread of its own that serves connections: hand it to [`work`] there, and connections to it here.
pub struct Worker {
    connections: mpsc::UnboundedSender<Accepted>,
    open: Arc<AtomicUsize>,
}

/// What a worker thread runs.
pub struct Work {
    connections: mpsc::UnboundedReceiver<Accepted>,
    open: Arc<AtomicUsize>,
}

/// A connection on its way to a worker.
struct Accepted {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    loopback: bool,
}

impl Worker {
    /// A worker and what its thread runs.
    #[must_use]
    pub fn new() -> (Self, Work) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        (Self { connections: sender, open: open.clone() }, Work { connections: receiver, open })
    }
}

/// Accepts connections until `shutdown`, each for the worker that has the fewest.
///
/// A connection stays with its worker. Each worker has an event loop of its own, so a call is served by one thread from
/// its first byte to its last, and no other thread is woken for it.
pub async fn accept(listener: TcpListener, workers: Arc<[Worker]>, shutdown: CancellationToken) {
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let accepted = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        match accepted {
            Ok((stream, peer)) => {
                let total: usize = workers.iter().map(|worker| worker.open.load(Ordering::Relaxed)).sum();
                let least = workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed));
                if let Some(worker) = least.filter(|_| total < MAX_CONNECTIONS) {
                    worker.open.fetch_add(1, Ordering::Relaxed);
                    // A worker that has ended is at its shutdown.
                    let _ = worker.connections.send(Accepted { stream, peer, loopback });
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely: others may close meanwhile.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves the connections of one worker until `shutdown`.
pub async fn work(gateway: Arc<Gateway>, mut work: Work, shutdown: CancellationToken) {
    let door = Arc::new(Door { router: http::router(&gateway), gateway });
    let connections = tokio_util::task::TaskTracker::new();
    // A timer that is due before all others wakes the event loop when it is set. Every request sets some (for its
    // head, its body, its deadline), and each would cost a system call were it not for this one, which is always nearer.
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = work.connections.recv() => accepted,
            _ = beat.tick() => continue,
        };
        let Some(Accepted { stream, peer, loopback }) = accepted else { break };
        let (door, shutdown, open) = (door.clone(), shutdown.clone(), work.open.clone());
        connections.spawn(async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => connection(door, stream, peer, loopback, shutdown).await,
                Err(error) => tracing::warn!(%error, "a connection could not be served"),
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    connections.close();
    let _ = tokio::time::timeout(GRACE, connections.wait()).await;
}

struct Door {
    gateway: Arc<Gateway>,
    router: Router,
}

async fn connection(
    door: Arc<Door>,
    stream: TcpStream,
    peer: SocketAddr,
    loopback: bool,
    shutdown: CancellationToken,
) {
    // Answers are small and awaited: they leave at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { Ok::<_, Infallible>(answer(&door, request, peer, loopback).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

async fn answer(
    door: &Door,
    request: Request<Incoming>,
    peer: SocketAddr,
    loopback: bool,
) -> Response<ReplyBody> {
    let gateway = &door.gateway;
    let path = request.uri().path();
    // The proof of a webhook is its signature.
    let open =
        matches!(path, "/healthz" | "/readyz") || path.starts_with(http::WEBHOOKS) || console::is_open(path);
    let mut visit = console::Visit { peer: peer.ip(), session: None };
    let admitted =
        check_origin(gateway, request.headers(), loopback).map_err(Failure::from).and_then(|()| match open {
            true => Ok(Arc::new(Principal::local())),
            false => authenticate(gateway, request.headers(), loopback, peer.ip()).or_else(|failure| {
                let found = console::signed_in(gateway, request.method(), path, request.headers());
                let (principal, session) = found.ok_or(failure)?;
                visit.session = Some(session);
                Ok(principal)
            }),
        });
    let principal = match admitted {
        Ok(principal) => principal,
        Err(failure) => {
            let way_in = console::way_in(gateway, request.method(), request.uri());
            let way_in = way_in.filter(|_| failure.status == 401);
            return way_in.unwrap_or_else(|| problem::response(&failure)).map(ReplyBody::Axum);
        }
    };
    if path == "/mcp" {
        return mcp::serve(gateway, request, principal).await;
    }
    let mut request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(principal);
    request.extensions_mut().insert(visit);
    match door.router.clone().oneshot(request).await {
        Ok(response) => response.map(ReplyBody::Axum),
        Err(never) => match never {},
    }
}

fn authenticate(
    gateway: &Gateway,
    headers: &HeaderMap,
    loopback: bool,
    peer: IpAddr,
) -> Result<Arc<Principal>, Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = key_of(text(AUTHORIZATION.as_str()), text("x-api-key"));
    let rules = gateway.rules.load();
    let Some(mesh) = rules.authenticator.mesh_of(peer) else {
        return gateway.authenticate(Credentials { loopback: loopback && peer.is_loopback(), key });
    };
    // Who comes by a proxy is not this machine's own, wherever the proxy runs.
    if key.is_some() {
        return gateway.authenticate(Credentials { loopback: false, key });
    }
    let values: Vec<&[u8]> = headers.get_all(mesh.header.name()).iter().map(HeaderValue::as_bytes).collect();
    mesh.principal(&values).map_err(|error| Failure::from(error).status(401))
}

/// Refuses browsers' requests from foreign pages, and requests that reached a loopback listener by a foreign name
/// (DNS rebinding).
fn check_origin(gateway: &Gateway, headers: &HeaderMap, loopback: bool) -> Result<(), Error> {
    let (rules, console) = (gateway.rules.load(), gateway.console.config());
    let config = &rules.config;
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let host = text(HOST);
    if loopback
        && let Some(host) = host
        && !is_this_machine(host_of(host))
        && !config.allowed_hosts.iter().any(|allowed| allowed == host)
        && !console.is_public_host(host)
    {
        return Err(Error::Origin { what: "Host", value: host.to_owned() });
    }
    let Some(origin) = text(ORIGIN) else { return Ok(()) };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let own = match authority {
        Some(authority) if loopback => is_this_machine(host_of(authority)),
        Some(authority) => Some(authority) == host,
        None => false,
    };
    if own || console.is_public(origin) || config.allowed_origins.iter().any(|allowed| allowed == origin) {
        return Ok(());
    }
    Err(Error::Origin { what: "Origin", value: origin.to_owned() })
}

fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Reads a request's body, up to `limit` bytes.
pub(crate) async fn read_body<B>(body: B, limit: usize) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(Error::TooLarge { limit }.into());
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Error::TooLarge { limit }.into())
        }
        Ok(Err(error)) => Err(Error::Malformed(format!("the body ended early: {error}")).into()),
        Err(_) => Err(Error::Malformed("the body did not arrive in time".to_owned()).into()),
    }
}

/// The body of an answer.
pub(crate) enum ReplyBody {
    /// Known at once.
    Full(Full<Bytes>),
    /// Comes in pieces.
    Stream(BoxStream<'static, Bytes>),
    /// The HTTP door's.
    Axum(axum::body::Body),
}

impl ReplyBody {
    pub(crate) fn empty() -> Self {
        Self::Full(Full::new(Bytes::new()))
    }

    pub(crate) fn full(body: Bytes) -> Self {
        Self::Full(Full::new(body))
    }

    pub(crate) fn stream(stream: BoxStream<'static, Bytes>) -> Self {
        Self::Stream(stream)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream(stream) => {
                stream.poll_next_unpin(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
            }
            Self::Axum(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Stream(_) => false,
            Self::Axum(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
            Self::Axum(body) => body.size_hint(),
        }
    }
}
