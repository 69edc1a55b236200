//! Finding out which revision a server speaks, and opening a session in it.
//!
//! The newest revision has no handshake and is tried first (`server/discover`). A server that answers with anything
//! but one of that revision's own errors is an older one and gets `initialize`, as the specification's page
//! "Versioning and Compatibility" describes for clients that speak both.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::HeaderValue;

use super::channel::Channel;
use super::client::{Request, Session};
use super::error::{Error, RpcError};
use super::jsonrpc::{self, HEADER_MISMATCH, Reply};
use super::revision::{Facts, Greeting, Revision};
use super::streamable::{PROTOCOL, SESSION};

/// How long a child may leave `server/discover` unanswered before it is taken for an older one, which may ignore what
/// it does not know.
const CHILD_SILENCE: Duration = Duration::from_secs(2);

/// The same over HTTP, where an answer of some kind is to be expected, but perhaps a person has to authorize us first.
const HTTP_SILENCE: Duration = Duration::from_secs(12);

const MISSING_CAPABILITY: i64 = -32_021;
const UNSUPPORTED_VERSION: i64 = -32_022;

/// What `server/discover` came to.
enum Probe {
    Modern(Session),
    /// The server is an older one; the revision to offer it.
    Legacy(Revision),
}

/// Opens a session. `newest` is the newest revision to offer; `legacy` says that the server is known to be an old one.
pub(super) async fn open(channel: &Arc<Channel>, newest: Revision, legacy: bool) -> Result<Session, Error> {
    let oldest_offer = newest.min(Revision::NEWEST_LEGACY);
    if legacy || !newest.is_modern() {
        return initialize(channel, oldest_offer).await;
    }
    let silence = if channel.http.is_some() { HTTP_SILENCE } else { CHILD_SILENCE };
    let mut probing = pin!(discover(channel, newest));
    match tokio::time::timeout(silence, &mut probing).await {
        Ok(Ok(Probe::Modern(session))) => Ok(session),
        Ok(Ok(Probe::Legacy(offer))) => initialize(channel, offer.min(oldest_offer)).await,
        Ok(Err(error)) => Err(error),
        // Old servers may ignore what they don't know. Or this one is slow to start: then it answers both.
        Err(_) => match initialize(channel, oldest_offer).await {
            Ok(session) => Ok(session),
            Err(error) => match probing.now_or_never() {
                Some(Ok(Probe::Modern(session))) => Ok(session),
                _ => Err(error),
            },
        },
    }
}

async fn discover(channel: &Arc<Channel>, newest: Revision) -> Result<Probe, Error> {
    if let Some(http) = &channel.http {
        http.set_header(PROTOCOL, HeaderValue::from_static(newest.as_str()));
    }
    let session = Session::new(Arc::clone(channel), newest, Facts::default());
    let request = Request { method: "server/discover", repeatable: true, ..Request::default() };
    let mut reply = session.request(&request, None).await;
    if let Ok(Reply::Error(error)) = &reply
        && error.code == UNSUPPORTED_VERSION
        && newest.newest_of(&supported_versions(error)).is_some_and(Revision::is_modern)
    {
        // It was offered what it supports: perhaps another machine of the service answers now.
        reply = session.request(&request, None).await;
    }
    match reply {
        Ok(Reply::Result(result)) => {
            let Some(greeting) = Greeting::read(&result) else { return Ok(Probe::Legacy(newest)) };
            let Some(supported) = greeting.supported else { return Ok(Probe::Legacy(newest)) };
            match newest.newest_of(&supported) {
                Some(chosen) if chosen.is_modern() => {
                    Ok(Probe::Modern(Session::new(Arc::clone(channel), chosen, greeting.facts)))
                }
                Some(older) => Ok(Probe::Legacy(older)),
                None => Err(no_common(&supported)),
            }
        }
        Ok(Reply::Error(error)) if error.code == UNSUPPORTED_VERSION => {
            let supported = supported_versions(&error);
            match newest.newest_of(&supported) {
                Some(older) if !older.is_modern() => Ok(Probe::Legacy(older)),
                _ => Err(no_common(&supported)),
            }
        }
        Ok(Reply::Error(error)) if matches!(error.code, HEADER_MISMATCH | MISSING_CAPABILITY) => {
            Err(Error::Rpc(error))
        }
        Ok(Reply::Error(_)) | Err(Error::Status { .. } | Error::Garbage(_) | Error::SessionExpired) => {
            Ok(Probe::Legacy(newest))
        }
        Err(error) => Err(error),
    }
}

async fn initialize(channel: &Arc<Channel>, offer: Revision) -> Result<Session, Error> {
    if let Some(http) = &channel.http {
        http.unset_header(&PROTOCOL);
        http.unset_header(&SESSION);
    }
    let session = Session::new(Arc::clone(channel), offer, Facts::default());
    let client = channel.hub.client.to_json();
    let params = format!(
        r#""protocolVersion":"{offer}","capabilities":{{"roots":{{}},"sampling":{{}},"elicitation":{{"form":{{}},"url":{{}}}}}},"clientInfo":{client}"#
    );
    let request = Request { method: "initialize", params: &[params.as_bytes()], ..Request::default() };
    let result = session.request(&request, None).await?.into_result()?;
    let greeting = Greeting::read(&result).ok_or_else(|| {
        Error::Garbage(format!("the answer to initialize: {}", jsonrpc::excerpt(result.as_bytes())))
    })?;
    let chosen = greeting.chosen.unwrap_or_default();
    let revision = Revision::parse(&chosen).filter(|revision| !revision.is_modern()).ok_or_else(|| {
        Error::Handshake(format!("the server speaks revision {chosen:?}, which is not known here"))
    })?;
    let initialized = jsonrpc::notification("notifications/initialized", "{}");
    match &channel.http {
        Some(http) => {
            if revision >= Revision::V2025_06_18 {
                http.set_header(PROTOCOL, HeaderValue::from_static(revision.as_str()));
            }
            if let Err(error) = http.notify(initialized.clone().into()).await {
                let Error::Challenge { status, challenge } = error else { return Err(error) };
                channel.reauthorize(status, &challenge).await?;
                http.notify(initialized.into()).await?;
            }
        }
        None => channel.post(initialized).await,
    }
    Ok(Session::new(Arc::clone(channel), revision, greeting.facts))
}

fn supported_versions(error: &RpcError) -> Vec<String> {
    let versions = error.raw.to_value()["data"]["supported"].take();
    serde_json::from_value(versions).unwrap_or_default()
}

fn no_common(supported: &[String]) -> Error {
    let list: Vec<&str> = supported.iter().take(16).map(String::as_str).collect();
    Error::Handshake(format!("the server speaks only the revisions {}", list.join(", ")))
}
