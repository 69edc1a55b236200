//! Listening to what a server tells by itself: changed lists, changed resources, log messages.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;

use super::client::{Request, Session};
use super::error::Error;
use super::jsonrpc;
use super::service::Core;
use super::sse::Parser;
use super::streamable::follow;

/// The pause before a stream that has ended is opened again, where the server names none.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause before a stream that has ended is opened again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Listens for as long as the session lasts. Ends only where the session is of no use any more. `open` is dropped when
/// it is known whether an old server has a stream of its own: what it asks before is lost.
pub(super) async fn listen(
    core: &Arc<Core>,
    session: &Arc<Session>,
    shared: bool,
    open: oneshot::Sender<()>,
) -> Error {
    if session.revision.is_modern() {
        drop(open);
        // What changes is told once, to the session that all share.
        return if shared { subscribe(core, session).await } else { std::future::pending().await };
    }
    let preparing = async {
        prepare(core, session, shared).await;
        std::future::pending().await
    };
    tokio::select! {
        error = stream(session, open) => error,
        error = preparing => error,
    }
}

/// Tells an old server what we want to hear: every log message, and the resources that were subscribed to before.
async fn prepare(core: &Core, session: &Session, shared: bool) {
    if session.facts.logging {
        let _ = session.ask("logging/setLevel", r#""level":"debug""#).await;
    }
    if shared && session.facts.subscribe {
        let uris: Vec<String> = core.subscriptions.lock().iter().cloned().collect();
        for uri in uris {
            let _ = session.ask("resources/subscribe", &format!(r#""uri":{}"#, jsonrpc::quoted(&uri))).await;
        }
    }
}

/// The stream of an old server over HTTP on which it speaks by itself, where it has one.
async fn stream(session: &Arc<Session>, open: oneshot::Sender<()>) -> Error {
    let channel = &session.channel;
    let Some(http) = &channel.http else {
        drop(open);
        return std::future::pending().await;
    };
    let mut parser = Parser::new(channel.hub.config.max_response_bytes);
    let mut pause = PAUSE;
    let mut open = Some(open);
    // Calls are noted down from now on, so that a question finds its call.
    channel.shared_stream.store(true, Ordering::Relaxed);
    loop {
        let stream = http.open_stream(parser.last_id.as_deref()).await;
        drop(open.take());
        match stream {
            Ok(mut answer) => {
                let mut errands = FuturesUnordered::new();
                let ended = follow(channel, &mut answer, &mut parser, &mut errands).await;
                tracing::debug!(service = %channel.hub.id, ?ended, "the server's own stream has ended");
                pause = PAUSE;
            }
            Err(error @ (Error::SessionExpired | Error::NotSent(_))) => return error,
            Err(Error::Challenge { status, challenge }) if channel.hub.auth.is_some() => {
                if channel.reauthorize(status, &challenge).await.is_err() {
                    pause = LONGEST_PAUSE;
                }
            }
            // Most often 405: the server has no such stream.
            Err(Error::Status { .. } | Error::Rpc(_) | Error::Garbage(_) | Error::Challenge { .. }) => {
                channel.shared_stream.store(false, Ordering::Relaxed);
                return std::future::pending().await;
            }
            Err(_) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
        tokio::time::sleep(parser.retry.unwrap_or(pause)).await;
        parser.restart();
    }
}

/// `subscriptions/listen` of 2026-07-28: an open request on whose stream changes are told.
async fn subscribe(core: &Core, session: &Session) -> Error {
    let mut pause = PAUSE;
    loop {
        let Some(filter) = filter(core, session) else {
            core.subscriptions_changed.notified().await;
            continue;
        };
        let parts: [&[u8]; 1] = [filter.as_bytes()];
        let request = Request {
            method: "subscriptions/listen",
            params: &parts,
            repeatable: true,
            ..Request::default()
        };
        let ended = tokio::select! {
            ended = session.request(&request, None) => ended,
            () = core.subscriptions_changed.notified() => continue,
        };
        match ended {
            Err(error @ (Error::NotSent(_) | Error::SessionExpired)) => return error,
            Ok(jsonrpc::Reply::Error(error)) if error.code == jsonrpc::METHOD_NOT_FOUND => {
                core.subscriptions_changed.notified().await;
            }
            Ok(jsonrpc::Reply::Result(_)) => pause = PAUSE,
            _ => pause = (pause * 2).min(LONGEST_PAUSE),
        }
        tokio::time::sleep(pause).await;
        // What changed while nobody listened is not known.
        core.hub.changed.notify_one();
    }
}

/// What to listen for; none where the server tells of nothing that we want.
fn filter(core: &Core, session: &Session) -> Option<String> {
    let facts = &session.facts;
    let mut parts: Vec<String> = Vec::new();
    for (name, offered) in [
        ("toolsListChanged", facts.tools_changed),
        ("promptsListChanged", facts.prompts_changed),
        ("resourcesListChanged", facts.resources_changed),
    ] {
        if offered {
            parts.push(format!(r#""{name}":true"#));
        }
    }
    let subscriptions = core.subscriptions.lock();
    if facts.subscribe && !subscriptions.is_empty() {
        let uris: Vec<String> = subscriptions.iter().map(|uri| jsonrpc::quoted(uri)).collect();
        parts.push(format!(r#""resourceSubscriptions":[{}]"#, uris.join(",")));
    }
    (!parts.is_empty()).then(|| format!(r#""notifications":{{{}}}"#, parts.join(",")))
}
