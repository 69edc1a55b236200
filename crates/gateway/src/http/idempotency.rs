//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a repeated request has the first one's answer.
//!
//! A key's stream in the event log has the request's beginning and its answer, so the answer outlives the process.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use trunkline_event_log::{Error as LogError, Expected, RecordedEvent};
use trunkline_model::{CallId, EffectState, EventData, Failure, Json, Phase, Principal, Retry};
use uuid::Uuid;

use super::problem;
use crate::{Error, Gateway};

/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// The longest answer that is kept.
const MAX_ANSWER: usize = 512 << 10;

/// A key and what it was first used for.
pub(super) struct Key {
    stream: String,
    fingerprint: String,
}

/// What is known of a key.
pub(super) enum Begun {
    /// It is new; the request is now begun. The stream's version goes to [`end`].
    Now(u64),
    /// The request was answered before: the answer.
    Before(Response<Body>),
}

#[derive(Serialize, Deserialize)]
struct Started {
    fingerprint: String,
    /// The process that began it: where that has ended, nobody knows what became of the request.
    process: Uuid,
    /// The call that it makes; none where it goes on with an earlier one.
    call: Option<CallId>,
}

/// A begun request had no effect and may succeed later: the key is as good as new.
#[derive(Serialize, Deserialize)]
struct Released {
    /// The code of the failure.
    released: String,
}

#[derive(Serialize, Deserialize)]
struct Answered {
    status: u16,
    content_type: String,
    /// The body; none where it was too large to keep.
    body: Option<String>,
}

impl Key {
    pub(super) fn new(
        principal: &Principal,
        key: &str,
        tool: &str,
        state: Option<&str>,
        body: &[u8],
    ) -> Result<Self, Error> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(Error::Params(format!("Idempotency-Key has 1 to {MAX_KEY} characters")));
        }
        let hash = |text: &[u8]| URL_SAFE_NO_PAD.encode(digest(&SHA256, text));
        Ok(Self {
            stream: format!("idempotency/{}/{}", principal.id, hash(key.as_bytes())),
            // Neither a name in a path nor a header has a line break in it.
            fingerprint: hash(
                &[tool.as_bytes(), b"\n", state.unwrap_or_default().as_bytes(), b"\n", body].concat(),
            ),
        })
    }
}

/// Looks the key up, and begins the request where it is new.
pub(super) async fn begin(
    gateway: &Gateway,
    key: &Key,
    principal: &Arc<Principal>,
    call: Option<CallId>,
) -> Result<Begun, Failure> {
    let started = Started { fingerprint: key.fingerprint.clone(), process: gateway.process, call };
    let mut expected = Expected::Empty;
    let mut last_version;
    // A second round where what is there counts no more: it is too old to be kept, or was released.
    for _ in 0..2 {
        match append(gateway, key, expected, Phase::Started, principal.clone(), &started).await {
            Ok(version) => return Ok(Begun::Now(version)),
            Err(LogError::Conflict { actual, .. }) => last_version = actual,
            Err(error) => return Err(Error::Log(error.to_string()).into()),
        }
        // A beginning and what came of it.
        let from = last_version.saturating_sub(1).max(1);
        let page = gateway.log.read_stream(key.stream.as_str(), from, 2).await;
        let events = page.map_err(|error| Error::Log(error.to_string()))?.events;
        let Some(last) = events.last() else { continue };
        if too_old(gateway, last) || last.event.data.context.to::<Released>().is_ok() {
            expected = Expected::Version(last.version);
            continue;
        }
        return known(gateway, key, &events);
    }
    Err(Error::KeyInFlight.into())
}

fn known(gateway: &Gateway, key: &Key, events: &[RecordedEvent]) -> Result<Begun, Failure> {
    let first = events.iter().rev().find_map(|e| e.event.data.context.to::<Started>().ok());
    if first.as_ref().is_some_and(|started| started.fingerprint != key.fingerprint) {
        return Err(Error::KeyReused.into());
    }
    let answered = events.last().and_then(|e| e.event.data.context.to::<Answered>().ok());
    let Some(answered) = answered else {
        let ended = first.filter(|started| started.process != gateway.process);
        return Err(ended
            .map_or(Error::KeyInFlight, |started| Error::OutcomeUnknown { call: started.call })
            .into());
    };
    let body = answered.body.unwrap_or_else(|| {
        r#"{"outcome":"complete","note":"the first answer was too large to keep"}"#.to_owned()
    });
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::OK);
    if let Ok(kind) = HeaderValue::from_str(&answered.content_type) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    Ok(Begun::Before(response))
}

fn too_old(gateway: &Gateway, event: &RecordedEvent) -> bool {
    let age = (gateway.sources.now)().duration_since(event.event.time);
    age.as_millis() > i128::from(gateway.rules.load().config.idempotency_ttl_ms)
}

/// Keeps the answer. It is in the log before the caller has it.
pub(super) async fn end(
    gateway: &Gateway,
    key: &Key,
    version: u64,
    principal: Arc<Principal>,
    answer: Response<Body>,
) -> Result<Response<Body>, Failure> {
    let (head, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| Error::Log(error.to_string()))?;
    let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kept = (body.len() <= MAX_ANSWER).then(|| String::from_utf8_lossy(&body).into_owned());
    let answered = Answered { status: head.status.as_u16(), content_type: kind.to_owned(), body: kept };
    let expected = Expected::Version(version);
    append(gateway, key, expected, Phase::Completed, principal, &answered)
        .await
        .map_err(|error| Error::Log(error.to_string()))?;
    Ok(Response::from_parts(head, Body::from(body)))
}

/// Frees the key where the request had no effect and may succeed later; else keeps the failure as its answer.
pub(super) async fn failed(
    gateway: &Gateway,
    key: &Key,
    version: u64,
    principal: Arc<Principal>,
    failure: Failure,
) -> Result<Response<Body>, Failure> {
    if failure.retry == Retry::No || failure.effect != EffectState::None {
        return end(gateway, key, version, principal, problem::response(&failure)).await;
    }
    let released = Released { released: failure.code.to_owned() };
    append(gateway, key, Expected::Version(version), Phase::Failed, principal, &released)
        .await
        .map_err(|error| Error::Log(error.to_string()))?;
    Err(failure)
}

async fn append(
    gateway: &Gateway,
    key: &Key,
    expected: Expected,
    phase: Phase,
    principal: Arc<Principal>,
    about: &impl Serialize,
) -> trunkline_event_log::Result<u64> {
    let data = EventData {
        action: Cow::Borrowed("idempotency"),
        parameters: Json::empty_object(),
        context: Json::from_serialize(about).unwrap_or_else(|_| Json::empty_object()),
    };
    gateway.recorder.append_to(&key.stream, expected, phase, principal, data).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::gateway;

    fn code(begun: Result<Begun, Failure>) -> String {
        match begun {
            Ok(Begun::Now(version)) => format!("now at {version}"),
            Ok(Begun::Before(response)) => format!("before: {}", response.status()),
            Err(failure) => failure.code.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_key_stands_for_what_became_of_its_request() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = gateway(folder.path(), &serde_json::json!({}));
        let who = Arc::new(Principal::local());
        let key = |name: &str, state| Key::new(&who, name, "pay", state, b"{}").unwrap();
        let begin = async |key: &Key| code(begin(&gateway, key, &who, None).await);

        let one = key("one", None);
        assert_eq!(begin(&one).await, "now at 1");
        assert_eq!(begin(&one).await, "TL1012");
        assert_eq!(begin(&key("one", Some("state"))).await, "TL1011");
        // It had no effect and may go away: the key is free again.
        let full = || Failure::from(Error::TooMany("streams"));
        assert!(failed(&gateway, &one, 1, who.clone(), full()).await.is_err());
        assert_eq!(begin(&one).await, "now at 3");
        // It may have had an effect: it is the answer.
        let lost = Failure { effect: EffectState::Unknown, ..full() };
        assert!(failed(&gateway, &one, 3, who.clone(), lost).await.is_ok());
        assert_eq!(begin(&one).await, "before: 503 Service Unavailable");
    }

    #[tokio::test]
    async fn nobody_knows_what_became_of_a_request_that_an_earlier_process_left() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = gateway(folder.path(), &serde_json::json!({}));
        let who = Arc::new(Principal::local());
        let key = Key::new(&who, "one", "pay", None, b"{}").unwrap();
        let call = gateway.new_call();
        let started = Started {
            fingerprint: key.fingerprint.clone(),
            process: (gateway.sources.random_id)(),
            call: Some(call),
        };
        append(&gateway, &key, Expected::Empty, Phase::Started, who.clone(), &started).await.unwrap();
        let failure = begin(&gateway, &key, &who, None).await.err().unwrap();
        assert_eq!((failure.code, failure.status, failure.effect), ("TL1026", 409, EffectState::Unknown));
        assert!(failure.detail.contains(&call.to_string()), "{failure}");
    }
}
