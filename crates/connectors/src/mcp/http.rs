//! HTTP/1.1 to one endpoint, over connections that are kept alive.
//!
//! A connection has no task of its own: the call that uses it drives it, so a call costs no hand-over between tasks,
//! and a dropped call closes its connection.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::ServiceExt;
use url::Url;

use super::error::Error;
use crate::per_thread::PerThread;

/// The most connections that a thread keeps while nobody uses them.
const MAX_IDLE: usize = 256;

/// How long an unused connection is kept. Servers commonly close theirs after 60 to 75 s.
const IDLE: Duration = Duration::from_secs(50);

/// How long the end of an answer that was read may still be on its way.
const TAIL: Duration = Duration::from_secs(5);

type Io = MaybeHttpsStream<TokioIo<TcpStream>>;

/// One endpoint and its connections.
pub(super) struct Endpoint {
    connector: HttpsConnector<HttpConnector>,
    /// Where to connect: scheme and authority.
    remote: Uri,
    /// What stands in the request line.
    target: Uri,
    host: HeaderValue,
    connect_timeout: Duration,
    idle: PerThread<Mutex<Vec<Connection>>>,
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
    /// The rest of the last answer: nothing but its end is expected.
    tail: Option<Incoming>,
    since: Instant,
}

/// What moves the bytes. Boxed, so that a connection is cheap to pass around.
struct Driver(Option<Box<http1::Connection<Io, Full<Bytes>>>>);

/// An answer whose body is read piece by piece. Dropping it closes its connection.
pub(super) struct Answer<'a> {
    endpoint: &'a Endpoint,
    connection: Connection,
    body: Incoming,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

impl Endpoint {
    /// An endpoint at `url`.
    pub(super) fn new(url: &Url, connect_timeout: Duration) -> Result<Self, Error> {
        let bad = |why: String| Error::Config(format!("`url` {url}: {why}"));
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("the scheme is not http or https".to_owned()));
        }
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let remote = Uri::builder().scheme(url.scheme()).authority(authority).path_and_query("/").build();
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let target = path.parse::<PathAndQuery>().map_err(|e| bad(e.to_string()))?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect_timeout));
        http.set_keepalive(Some(Duration::from_secs(30)));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|e| bad(e.to_string()))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self {
            connector,
            remote: remote.map_err(|e| bad(e.to_string()))?,
            target: Uri::from(target),
            host: HeaderValue::from_str(authority).map_err(|e| bad(e.to_string()))?,
            connect_timeout,
            idle: PerThread::new(Mutex::default),
        })
    }

    /// What every request must have in its `host` header.
    pub(super) fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    /// Sends a request and waits for the head of its answer. The headers include `host`.
    ///
    /// A kept connection may turn out to be closed. The request is then sent once more over a new one, where it was
    /// not sent at all or `repeatable` says that sending it twice does no harm.
    pub(super) async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        repeatable: bool,
    ) -> Result<Answer<'_>, Error> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers;
        if let Some(connection) = self.checkout() {
            let again = repeatable.then(|| request.clone());
            match self.exchange(connection, request).await {
                Ok(answer) => return Ok(answer),
                Err((_, Some(unsent))) => request = unsent,
                Err((error, None)) => match again {
                    Some(again) if error.is_incomplete_message() || error.is_closed() || is_reset(&error) => {
                        request = again;
                    }
                    _ => return Err(failed(&error, false)),
                },
            }
        }
        let connection = Box::pin(self.connect()).await?;
        self.exchange(connection, request).await.map_err(|(error, unsent)| failed(&error, unsent.is_some()))
    }

    /// Forgets the kept connections: the server they lead to is gone.
    pub(super) fn forget_connections(&self) {
        self.idle.all().for_each(|idle| idle.lock().clear());
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer<'_>, (hyper::Error, Option<Request<Full<Bytes>>>)> {
        let sent = connection.sender.try_send_request(request);
        match connection.driver.drive(sent).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                Ok(Answer { endpoint: self, connection, body, status: head.status, headers: head.headers })
            }
            Err(mut refused) => {
                let unsent = refused.take_message();
                Err((refused.into_error(), unsent))
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let attempt = async {
            let io =
                self.connector.clone().oneshot(self.remote.clone()).await.map_err(|error| chain(&*error))?;
            http1::Builder::new().max_headers(128).handshake(io).await.map_err(|error| chain(&error))
        };
        let (sender, driver) = tokio::time::timeout(self.connect_timeout, attempt)
            .await
            .map_err(|_| Error::NotSent(format!("{}: no connection in time", self.remote)))?
            .map_err(|cause| Error::NotSent(format!("{}: {cause}", self.remote)))?;
        Ok(Connection { sender, driver: Driver(Some(Box::new(driver))), tail: None, since: Instant::now() })
    }

    /// The kept connection that was used last and is still open.
    fn checkout(&self) -> Option<Connection> {
        let mut aside = Vec::new();
        let found = loop {
            let Some(mut connection) = self.idle.here().lock().pop() else { break None };
            match connection.settle() {
                Settled::Ready => break Some(connection),
                Settled::Later if connection.since.elapsed() < TAIL => aside.push(connection),
                Settled::Later | Settled::Closed => {}
            }
        };
        if !aside.is_empty() {
            self.idle.here().lock().append(&mut aside);
        }
        found
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.here().lock();
        let old = idle.first().is_some_and(|first| first.since.elapsed() > IDLE);
        if old || idle.len() >= MAX_IDLE {
            idle.remove(0);
        }
        idle.push(connection);
    }
}

enum Settled {
    Ready,
    Later,
    Closed,
}

impl Connection {
    /// Sees to what has arrived since, without waiting: the end of the last answer, or of the connection.
    fn settle(&mut self) -> Settled {
        let context = &mut Context::from_waker(Waker::noop());
        self.driver.poll(context);
        let had_tail = self.tail.is_some();
        while let Some(tail) = &mut self.tail {
            match Pin::new(&mut *tail).poll_frame(context) {
                Poll::Ready(None) => self.tail = None,
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_))) => return Settled::Closed,
                Poll::Pending => {
                    // The body has asked for more: the driver looks once again.
                    self.driver.poll(context);
                    match Pin::new(tail).poll_frame(context) {
                        Poll::Pending if self.driver.0.is_some() => return Settled::Later,
                        Poll::Ready(None) => self.tail = None,
                        Poll::Ready(Some(Ok(_))) => {}
                        _ => return Settled::Closed,
                    }
                }
            }
        }
        if had_tail {
            self.driver.poll(context);
        }
        if self.driver.0.is_none() || self.sender.is_closed() {
            Settled::Closed
        } else if self.sender.is_ready() && self.since.elapsed() < IDLE {
            Settled::Ready
        } else {
            Settled::Later
        }
    }
}

impl Driver {
    fn poll(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.0
            && Pin::new(connection).poll(context).is_ready()
        {
            // What went wrong reaches whoever waits for an answer or a body.
            self.0 = None;
        }
    }

    /// Runs `future`, which waits for something of this connection.
    async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            self.poll(context);
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            // The look may have asked for more than the driver had given.
            self.poll(context);
            future.as_mut().poll(context)
        })
        .await
    }
}

impl Answer<'_> {
    /// The next piece of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let body = &mut self.body;
        loop {
            let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
            match self.connection.driver.drive(frame).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Error::Lost(chain(&error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, of up to `limit` bytes. The connection is kept for the next request.
    pub(super) async fn collect(mut self, limit: usize) -> Result<Bytes, Error> {
        if self.body.size_hint().lower() > limit as u64 {
            return Err(Error::TooLarge(limit));
        }
        let Some(first) = self.chunk().await? else {
            self.release();
            return Ok(Bytes::new());
        };
        let mut parts = BytesMut::new();
        let mut whole = first;
        // Most answers are one piece; the end of the body is then known without another look.
        while !self.body.is_end_stream() {
            let Some(more) = self.chunk().await? else { break };
            if parts.is_empty() {
                parts = BytesMut::from(&whole[..]);
            }
            parts.extend_from_slice(&more);
            if parts.len() > limit {
                return Err(Error::TooLarge(limit));
            }
        }
        if !parts.is_empty() {
            whole = parts.freeze();
        }
        self.release();
        if whole.len() > limit { Err(Error::TooLarge(limit)) } else { Ok(whole) }
    }

    /// Keeps the connection for the next request. What is left of the body should be no more than its end.
    pub(super) fn release(self) {
        let Self { endpoint, mut connection, body, .. } = self;
        connection.tail = (!body.is_end_stream()).then_some(body);
        connection.since = Instant::now();
        endpoint.keep(connection);
    }

    /// A header as text; empty where it is missing.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind as K;
            return matches!(io.kind(), K::ConnectionReset | K::BrokenPipe | K::ConnectionAborted);
        }
        source = inner.source();
    }
    false
}

/// What a request that got no answer is to be called.
fn failed(error: &hyper::Error, unsent: bool) -> Error {
    let text = chain(error);
    if error.is_parse() || error.is_parse_too_large() {
        Error::Garbage(text)
    } else if unsent {
        Error::NotSent(text)
    } else {
        Error::Lost(text)
    }
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
