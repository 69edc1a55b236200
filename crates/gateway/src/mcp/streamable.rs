//! Streamable HTTP: POST for messages, GET for the stream of a legacy session, DELETE for its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use trunkline_model::{Failure, Principal};

use super::message::Message;
use super::modern::Peer;
use super::reply::{self, Answer, Era, Frame};
use super::{LEGACY, MODERN, legacy, listen, modern};
use crate::server::{ReplyBody, read_body};
use crate::{Error, Gateway, Show};

/// How long a stream may be silent before a comment keeps it open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The revision that has batches.
const BATCHES: &str = "2025-03-26";

/// The most messages of one batch.
const MAX_BATCH: usize = 100;

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";

/// Answers a request to the MCP endpoint.
pub(crate) async fn serve(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    principal: Arc<Principal>,
) -> Response<ReplyBody> {
    let served = match *request.method() {
        Method::POST => post(gateway, request, principal).await,
        Method::GET => get(gateway, request.headers(), &principal).await,
        Method::DELETE => delete(gateway, request.headers(), &principal).await,
        _ => Err(method_not_allowed(request.method())),
    };
    served.unwrap_or_else(|failure| {
        let mut response = encode(Answer::failure(None, &failure, Era::Legacy));
        if let Ok(status) = StatusCode::from_u16(failure.status) {
            *response.status_mut() = status;
        }
        if failure.status == 405 {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
        }
        response
    })
}

fn method_not_allowed(method: &Method) -> Failure {
    Error::HttpMethod { method: method.to_string(), path: "/mcp".to_owned() }.into()
}

async fn post(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    principal: Arc<Principal>,
) -> Result<Response<ReplyBody>, Failure> {
    let (head, body) = request.into_parts();
    check_media_types(&head.headers)?;
    let limit = gateway.rules.load().config.max_request_bytes;
    let body = read_body(body, limit).await?;
    let peer = Peer {
        principal,
        door: "mcp",
        trace: legacy::trace_of(&head.headers),
        conversation: None,
        show: shown(head.uri.query()),
    };
    if body.trim_ascii_start().first() == Some(&b'[') {
        return batch(gateway, &peer, &head.headers, &body).await;
    }
    let message = match Message::parse(&body) {
        Ok(message) => message,
        Err(error) => return Ok(unreadable(&body, &error.into())),
    };
    let version = header(&head.headers, VERSION);
    if modern::is_modern(version, &body, &message) {
        return Ok(encode(modern::handle(gateway, peer, &body, &message, Some(&head.headers)).await));
    }
    legacy_post(gateway, &peer, &head.headers, &body, &message).await
}

async fn legacy_post(
    gateway: &Arc<Gateway>,
    peer: &Peer,
    headers: &HeaderMap,
    body: &Bytes,
    message: &Message<'_>,
) -> Result<Response<ReplyBody>, Failure> {
    if message.method.as_deref() == Some("initialize") && !headers.contains_key(SESSION) {
        let (session, answer) = legacy::initialize(gateway, peer, body, message).await?;
        let mut response = encode(answer);
        if let Ok(id) = HeaderValue::from_str(&session.id) {
            response.headers_mut().insert(SESSION, id);
        }
        return Ok(response);
    }
    let session = session_of(gateway, headers, &peer.principal).await?;
    Ok(encode(legacy::handle(gateway, peer, &session, body, message).await))
}

/// The session that the headers name.
async fn session_of(
    gateway: &Arc<Gateway>,
    headers: &HeaderMap,
    principal: &Arc<Principal>,
) -> Result<Arc<super::session::Session>, Failure> {
    if let Some(version) = header(headers, VERSION)
        && !LEGACY.contains(&version)
    {
        return Err(Error::ProtocolVersion { requested: version.to_owned() }.into());
    }
    let Some(id) = header(headers, SESSION) else {
        let detail = format!(
            "the header Mcp-Session-Id is missing: initialize first, or use revision {MODERN}, which has no sessions"
        );
        return Err(Error::HeaderMismatch(detail).into());
    };
    legacy::find_session(gateway, id, principal).await
}

/// A batch of messages: answered with one array, or as streams at once where some element has more to say than its
/// answer. It may ask a question, which the client must hear while the element waits.
async fn batch(
    gateway: &Arc<Gateway>,
    peer: &Peer,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<ReplyBody>, Failure> {
    if header(headers, VERSION).is_some_and(|version| version != BATCHES) {
        let failure = Error::Malformed(format!("only revision {BATCHES} has batches: send one message"));
        return Ok(unreadable(body, &failure.into()));
    }
    let messages: Vec<&serde_json::value::RawValue> = match serde_json::from_slice(body) {
        Ok(messages) => messages,
        Err(error) => return Ok(unreadable(body, &Error::Malformed(error.to_string()).into())),
    };
    if messages.is_empty() || messages.len() > MAX_BATCH {
        let detail = format!("a batch has 1 to {MAX_BATCH} messages");
        return Ok(unreadable(body, &Error::Malformed(detail).into()));
    }
    let session = session_of(gateway, headers, &peer.principal).await?;
    let (mut answers, mut streams) = (Vec::new(), Vec::new());
    for text in messages {
        let answer = match Message::parse(text.get().as_bytes()) {
            Ok(message) => legacy::handle(gateway, peer, &session, body, &message).await,
            Err(error) => {
                let body = reply::unreadable(text.get().as_bytes(), &error.into());
                Answer::message(body, 400)
            }
        };
        match answer {
            Answer::Accepted => {}
            Answer::Message { body, .. } => answers.push(body),
            Answer::Stream(stream) => streams.push(stream),
        }
    }
    Ok(encode(together(answers, streams)))
}

/// The answers of a batch as one.
fn together(answers: Vec<Bytes>, mut streams: Vec<BoxStream<'static, Frame>>) -> Answer {
    if !streams.is_empty() {
        let answered = answers.into_iter().map(|data| Frame { id: None, data });
        streams.push(futures_util::stream::iter(answered).boxed());
        return Answer::Stream(futures_util::stream::select_all(streams).boxed());
    }
    if answers.is_empty() {
        return Answer::Accepted;
    }
    let body = [b"[", &answers.join(&b","[..])[..], b"]"].concat();
    Answer::message(Bytes::from(body), 200)
}

async fn get(
    gateway: &Arc<Gateway>,
    headers: &HeaderMap,
    principal: &Arc<Principal>,
) -> Result<Response<ReplyBody>, Failure> {
    if !headers.contains_key(SESSION) {
        return Err(method_not_allowed(&Method::GET));
    }
    let session = session_of(gateway, headers, principal).await?;
    let resumed = match header(headers, "last-event-id") {
        Some(last) => legacy::resume_stream(gateway, &session, last).await?,
        None => None,
    };
    let stream = resumed.unwrap_or_else(|| listen::legacy(gateway, &session));
    Ok(encode(Answer::Stream(stream)))
}

async fn delete(
    gateway: &Arc<Gateway>,
    headers: &HeaderMap,
    principal: &Arc<Principal>,
) -> Result<Response<ReplyBody>, Failure> {
    let session = session_of(gateway, headers, principal).await?;
    legacy::end_session(gateway, &session).await?;
    let mut response = Response::new(ReplyBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn check_media_types(headers: &HeaderMap) -> Result<(), Error> {
    let json = |value: &str| {
        let kind = value.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    };
    if !headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(json) {
        return Err(Error::MediaType("the body must be application/json"));
    }
    let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else { return Ok(()) };
    let known = ["application/json", "text/event-stream", "*/*", "application/*"];
    if known.iter().any(|known| accept.contains(known)) {
        return Ok(());
    }
    Err(Error::MediaType("answers are application/json or text/event-stream, and Accept has neither"))
}

fn unreadable(text: &[u8], failure: &Failure) -> Response<ReplyBody> {
    encode(Answer::message(reply::unreadable(text, failure), 400))
}

/// An answer as an HTTP response.
fn encode(answer: Answer) -> Response<ReplyBody> {
    let mut beside = HeaderMap::new();
    let (status, kind, body) = match answer {
        Answer::Accepted => (202, None, ReplyBody::empty()),
        Answer::Message { body, status, headers } => {
            beside = headers;
            (status, Some("application/json"), ReplyBody::full(body))
        }
        Answer::Stream(stream) => (200, Some("text/event-stream"), ReplyBody::stream(sse(stream))),
    };
    let streams = kind == Some("text/event-stream");
    let mut response = Response::new(body);
    *response.headers_mut() = beside;
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    if let Some(kind) = kind {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if streams {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    response
}

/// Frames as server-sent events. Every message stands on one line.
fn sse(frames: BoxStream<'static, Frame>) -> BoxStream<'static, Bytes> {
    futures_util::stream::unfold(frames, |mut frames| async move {
        match tokio::time::timeout(KEEP_ALIVE, frames.next()).await {
            Err(_) => Some((Bytes::from_static(b": still here\n\n"), frames)),
            Ok(None) => None,
            Ok(Some(frame)) => {
                let mut event = BytesMut::with_capacity(frame.data.len() + 64);
                if let Some(id) = &frame.id {
                    event.put_slice(b"id: ");
                    event.put_slice(id.as_bytes());
                    event.put_u8(b'\n');
                }
                event.put_slice(b"data: ");
                event.put_slice(&frame.data);
                event.put_slice(b"\n\n");
                Some((event.freeze(), frames))
            }
        }
    })
    .boxed()
}

/// Which tools the client wants to be told of: `?tools=search` behind the address.
fn shown(query: Option<&str>) -> Option<Show> {
    query?.split('&').find_map(|pair| Show::named(pair.strip_prefix("tools=")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_batch_asks_does_not_wait_for_its_end() {
        let frame = |text: &'static str| Frame { id: None, data: Bytes::from_static(text.as_bytes()) };
        let asks = futures_util::stream::once(std::future::ready(frame("question")));
        let asks = asks.chain(futures_util::stream::pending()).boxed();
        let waits = futures_util::stream::pending().boxed();
        let Answer::Stream(stream) = together(vec![Bytes::from_static(b"answer")], vec![waits, asks]) else {
            panic!("it is a stream");
        };
        let mut heard: Vec<_> = stream.take(2).map(|frame| frame.data).collect().await;
        heard.sort();
        assert_eq!(heard, ["answer", "question"]);
    }
}
