//! Keeps a connection to a server alive, for ever: connects, reads what the server offers, listens to it, and starts
//! anew with growing pauses when it is gone.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use trunkline_model::ServiceState;

use super::auth::{Auth, Authorizer};
use super::channel::{Channel, Post};
use super::client::{ClientInfo, Session};
use super::config::Config;
use super::conversations::{Begun, IDLE};
use super::error::Error;
use super::http::Endpoint;
use super::link::Link;
use super::old_sse::OldSse;
use super::revision::Revision;
use super::service::Core;
use super::stdio::Process;
use super::streamable::Streamable;
use super::{handshake, listen, lists};

/// The first pause before a new attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause before a child is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The longest pause before a remote server is tried again: it shall be back within two seconds of its server.
const LONGEST_REMOTE_PAUSE: Duration = Duration::from_millis(1_500);

/// A connection that held so long was a good one: the next pause is the first one again.
const STABLE: Duration = Duration::from_secs(10);

/// The pause before lists that could not be read are read again.
const LIST_PAUSE: Duration = Duration::from_secs(5);

/// How long a server that seems lost may take to show that it is there.
const PROBE: Duration = Duration::from_secs(5);

/// How long calls wait for a server's own stream to be open.
const STREAM: Duration = Duration::from_secs(1);

/// How long the end of a session may take to tell.
const GOODBYE: Duration = Duration::from_secs(1);

/// Where the server is.
pub(super) enum Remote {
    /// A child process.
    Child,
    /// Behind HTTP.
    Http(Box<HttpRemote>),
}

/// A server behind HTTP.
pub(super) struct HttpRemote {
    url: Url,
    endpoint: Arc<Endpoint>,
    headers: HeaderMap,
}

/// Keeps the connection of one [`McpService`](super::McpService) alive.
pub struct Runner {
    core: Arc<Core>,
    remote: Arc<Remote>,
    newest: Revision,
    beginning: Option<mpsc::Receiver<Begun>>,
}

/// Keeps one connection alive: the one that all share, or that of one conversation.
struct Keeper {
    core: Arc<Core>,
    link: Arc<Link>,
    remote: Arc<Remote>,
    newest: Revision,
    /// The server is known to be of a revision with handshake.
    legacy: bool,
    /// The connection that all share: it tells how the service is, and what it offers.
    shared: bool,
}

impl Runner {
    pub(super) fn new(
        core: Arc<Core>,
        remote: Remote,
        newest: Revision,
        beginning: Option<mpsc::Receiver<Begun>>,
    ) -> Self {
        Self { core, remote: Arc::new(remote), newest, beginning }
    }

    fn keeper(&self, link: Arc<Link>, shared: bool) -> Keeper {
        let (core, remote) = (Arc::clone(&self.core), Arc::clone(&self.remote));
        Keeper { core, link, remote, newest: self.newest, legacy: false, shared }
    }

    /// Keeps the sessions of single conversations as they begin.
    async fn keep_conversations(&self, mut beginning: mpsc::Receiver<Begun>, shutdown: &CancellationToken) {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                Some(begun) = beginning.recv() => {
                    let keeper = self.keeper(Arc::clone(&begun.link), false);
                    let (core, stop) = (Arc::clone(&self.core), shutdown.child_token());
                    running.spawn(async move {
                        let ending = stop.clone();
                        let idle = async {
                            begun.link.idle(IDLE).await;
                            if let Some(conversations) = &core.conversations {
                                conversations.end(&begun.conversation);
                            }
                            ending.cancel();
                            std::future::pending().await
                        };
                        tokio::select! {
                            () = keeper.supervise(stop) => {}
                            () = idle => {}
                        }
                    });
                }
                Some(_) = running.join_next() => {}
                () = shutdown.cancelled() => break,
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// With somebody who brings a person to an authorization page. Without, the link is shown in the service's
    /// status, and the way back leads to a listener on the loopback interface.
    #[must_use]
    pub fn with_authorizer(self, authorizer: Arc<dyn Authorizer>) -> Self {
        if let Some(auth) = &self.core.hub.auth {
            auth.set_authorizer(authorizer);
        }
        self
    }

    /// Runs until `shutdown`. A child is ended then, and a session closed.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let core = Arc::clone(&self.core);
        let beginning = self.beginning.take();
        let authorize = async {
            let Some(auth) = &core.hub.auth else { return std::future::pending().await };
            let tell = |note: &str| core.hub.set_status(|status| status.cause = Some(note.to_owned()));
            auth.run(tell).await;
        };
        let conversations = async {
            if let Some(beginning) = beginning {
                self.keep_conversations(beginning, &shutdown).await;
            }
        };
        let shared = self.keeper(Arc::clone(&core.link), true).supervise(shutdown.clone());
        tokio::select! {
            _ = futures_util::future::join(shared, conversations) => {}
            () = authorize => {}
        }
    }
}

impl Keeper {
    async fn supervise(mut self, shutdown: CancellationToken) {
        let hub = Arc::clone(&self.core.hub);
        let longest = match *self.remote {
            Remote::Child => LONGEST_PAUSE,
            Remote::Http(_) => LONGEST_REMOTE_PAUSE,
        };
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let start = Instant::now();
            let error = self.live(&shutdown).await;
            self.link.set(None);
            if shutdown.is_cancelled() {
                break;
            }
            tracing::warn!(service = %hub.id, %error, "the connection to the MCP server has ended");
            if self.shared {
                hub.set_status(|status| {
                    status.state = ServiceState::Down;
                    status.cause = Some(error.to_string());
                    status.restarts += 1;
                });
            }
            failures = if start.elapsed() > STABLE { 0 } else { failures + 1 };
            let pause = pause(failures, longest, hub.id.as_str());
            // Whoever calls now shall not wait for the whole pause, but can't drive the attempts faster than the first.
            let hurry = async {
                tokio::time::sleep(FIRST_PAUSE).await;
                self.link.wanted.notified().await;
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = hurry, if matches!(*self.remote, Remote::Http(_)) => {}
                () = shutdown.cancelled() => break,
            }
        }
    }

    /// One connection from beginning to end. Tells why it ended.
    async fn live(&mut self, shutdown: &CancellationToken) -> Error {
        let core = Arc::clone(&self.core);
        let config = &core.hub.config;
        match &*Arc::clone(&self.remote) {
            Remote::Child => {
                let process = match Process::spawn(config) {
                    Ok(process) => process,
                    Err(error) => return error,
                };
                let (channel, inbox) = Channel::new(Arc::clone(&core.hub), None);
                let running = process.run(&channel, inbox, shutdown);
                let error = tokio::select! {
                    why = running => Error::Lost(why),
                    error = self.attend(&channel) => error,
                };
                self.link.set(None);
                if self.shared && !shutdown.is_cancelled() {
                    core.hub.set_status(|status| status.cause = Some(error.to_string()));
                }
                channel.flights.fail_all(&Error::Lost(error.to_string()));
                error
            }
            Remote::Http(remote) => {
                let error = self.live_streamable(remote, shutdown).await;
                // What a server says that knows nothing but the transport of 2024-11-05.
                let old = matches!(error, Error::Status { status: 400 | 404 | 405, .. });
                if old { self.live_old(remote, shutdown).await.unwrap_or(error) } else { error }
            }
        }
    }

    /// One connection over Streamable HTTP.
    async fn live_streamable(&mut self, remote: &HttpRemote, shutdown: &CancellationToken) -> Error {
        let hub = Arc::clone(&self.core.hub);
        let endpoint = Arc::clone(&remote.endpoint);
        endpoint.forget_connections();
        let http = Streamable::new(endpoint, remote.headers.clone(), hub.config.max_response_bytes);
        if let Some(token) = hub.auth.as_ref().and_then(Auth::header) {
            http.set_header(header::AUTHORIZATION, token);
        }
        let (channel, inbox) = Channel::new(hub, Some(http));
        let error = tokio::select! {
            () = write(&channel, inbox) => Error::Lost("nobody is left to write".to_owned()),
            error = self.attend(&channel) => error,
            () = shutdown.cancelled() => Error::Lost("Trunkline is shutting down".to_owned()),
        };
        if let Some(http) = &channel.http
            && !matches!(error, Error::NotSent(_) | Error::SessionExpired)
        {
            let _ = tokio::time::timeout(GOODBYE, http.close()).await;
        }
        error
    }

    /// One connection over the transport of 2024-11-05; none where the server does not have it.
    async fn live_old(&mut self, remote: &HttpRemote, shutdown: &CancellationToken) -> Option<Error> {
        let hub = Arc::clone(&self.core.hub);
        let (limit, patience) = (hub.config.max_response_bytes, hub.config.connect_timeout());
        let open = OldSse::open(&remote.endpoint, &remote.url, &remote.headers, patience, limit);
        let stream = open.await.ok()?;
        let (channel, inbox) = Channel::new(hub, None);
        self.legacy = true;
        let error = tokio::select! {
            error = stream.run(&channel, inbox) => error,
            error = self.attend(&channel) => error,
            () = shutdown.cancelled() => Error::Lost("Trunkline is shutting down".to_owned()),
        };
        self.link.set(None);
        channel.flights.fail_all(&Error::Lost(error.to_string()));
        Some(error)
    }

    /// Opens a session and sees to it until it ends. Tells why it ended.
    async fn attend(&mut self, channel: &Arc<Channel>) -> Error {
        let limit = self.core.hub.config.connect_timeout();
        let opened = tokio::time::timeout(limit, handshake::open(channel, self.newest, self.legacy)).await;
        let session = match opened.unwrap_or(Err(Error::Timeout(limit))) {
            Ok(session) => Arc::new(session),
            Err(error) => {
                // Perhaps the server has become a new one.
                self.legacy = false;
                return error;
            }
        };
        self.legacy = !session.revision.is_modern();
        let (open, opened) = oneshot::channel();
        let serve = async {
            let _ = tokio::time::timeout(STREAM, opened).await;
            self.link.set(Some(Arc::clone(&session)));
            if self.shared { refresh(&self.core, &session).await } else { std::future::pending().await }
        };
        tokio::select! {
            error = serve => error,
            error = listen::listen(&self.core, &session, self.shared, open) => error,
            error = probe(&self.link, &session) => error,
            () = self.link.broken.notified() => Error::NotSent("the session is of no use any more".to_owned()),
        }
    }
}

impl HttpRemote {
    pub(super) fn new(url: &Url, config: &Config, client: &ClientInfo) -> Result<Self, Error> {
        let endpoint = Arc::new(Endpoint::new(url, config.connect_timeout())?);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let agent = format!("{}/{}", client.name, client.version);
        if let Ok(agent) = HeaderValue::from_str(&agent) {
            headers.insert(header::USER_AGENT, agent);
        }
        if let Some(bearer) = &config.bearer {
            headers.insert(
                header::AUTHORIZATION,
                secret_value(&format!("Bearer {}", bearer.expose()), "bearer")?,
            );
        }
        for (name, value) in &config.headers {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Error::Config(format!("`headers`: {name:?} is no header name")))?;
            headers.insert(header, secret_value(value.expose(), name)?);
        }
        Ok(Self { url: url.clone(), endpoint, headers })
    }
}

fn secret_value(text: &str, name: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::Config(format!("the value of `{name}` can't stand in a header")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The newest revision that the configuration allows.
pub(super) fn newest_revision(config: &Config) -> Result<Revision, Error> {
    match &config.protocol {
        None => Ok(Revision::NEWEST),
        Some(text) => Revision::parse(text)
            .ok_or_else(|| Error::Config(format!("`protocol`: the revision {text:?} is not known"))),
    }
}

/// Writes notifications and answers as they come, each in a request of its own.
async fn write(channel: &Arc<Channel>, mut inbox: mpsc::Receiver<Post>) {
    let Some(http) = &channel.http else { return };
    let mut posts = FuturesUnordered::new();
    loop {
        tokio::select! {
            message = inbox.recv() => {
                let Some(message) = message else { return };
                posts.push(async move {
                    if let Err(error) = http.notify(message).await {
                        tracing::debug!(service = %channel.hub.id, %error, "a message was not taken");
                    }
                });
            }
            Some(()) = posts.next() => {}
        }
    }
}

/// Reads the lists at first, when they have changed, and when they are no longer fresh.
async fn refresh(core: &Arc<Core>, session: &Arc<Session>) -> Error {
    let hub = &core.hub;
    let weak = Arc::downgrade(core);
    loop {
        hub.reads.send_modify(|(begun, _)| *begun += 1);
        let read = lists::read(session, hub, &weak).await;
        let (cause, again) = match read {
            Ok(read) => {
                if !lists::same(&read.contents, &hub.contents.load()) {
                    hub.contents.store(Arc::new(read.contents));
                    hub.observer.contents_changed(&hub.id);
                }
                hub.reads.send_modify(|(begun, ended)| *ended = *begun);
                (None, read.fresh)
            }
            Err(error) if error.breaks_connection() => return error,
            Err(error) => (Some(error.to_string()), Some(LIST_PAUSE)),
        };
        hub.set_status(|status| {
            status.state = ServiceState::Up;
            status.cause = cause;
            status.protocol = format!("mcp {}", session.revision);
        });
        let stale = async {
            match again {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stale => {}
            () = hub.changed.notified() => {}
        }
    }
}

/// Tests whether the server is still there when somebody has lost a connection to it.
async fn probe(link: &Link, session: &Session) -> Error {
    loop {
        link.suspect.notified().await;
        let method = if session.revision.is_modern() { "server/discover" } else { "ping" };
        match tokio::time::timeout(PROBE, session.ask(method, "")).await {
            Ok(Err(error)) if error.breaks_connection() => return error,
            Ok(_) => {}
            Err(_) => return Error::Timeout(PROBE),
        }
    }
}

/// The pause after so many failures: it doubles each time, and is shifted by up to a quarter, by another share for
/// each service, so that not all come back at once.
fn pause(failures: u32, longest: Duration, service: &str) -> Duration {
    let base = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(longest);
    let share =
        service.bytes().fold(failures, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    base - base.mul_f64(f64::from(share % 256) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<_> = (1..9).map(|n| pause(n, LONGEST_PAUSE, "x").as_millis()).collect();
        for (n, pause) in pauses.iter().enumerate() {
            let base = (100 << n).min(10_000);
            assert!((base * 3 / 4..=base).contains(pause), "{pauses:?}");
        }
    }
}
