//! The event log, page by page or as it grows.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use futures_util::StreamExt as _;
use http::HeaderMap;
use http::header::ACCEPT;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_event_log::{Filter, RecordedEvent};
use trunkline_model::Principal;
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::{Error, Gateway};

/// The most events of one page.
const MAX_PAGE: usize = 1_000;

/// How many events are looked at for the newest of some kind, and at once.
const MAX_SCAN: u64 = 20_000;
const WINDOW: u64 = 1_000;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The position to start from; the newest page where left out. A stream starts with what comes next.
    from: Option<u64>,
    /// The newest page before this position.
    before: Option<u64>,
    /// The most events of a page, up to 1,000.
    limit: Option<usize>,
    /// The beginning of the type.
    r#type: Option<String>,
    /// The target: `service/tool`.
    target: Option<String>,
    /// `cloudevents` (the default) or `specification`.
    schema: Option<String>,
}

/// A page of events.
#[derive(Serialize, ToSchema)]
pub(crate) struct Events {
    /// The events, oldest first, in the JSON format of CloudEvents 1.0 with `sequence` as their position.
    events: Vec<Value>,
    /// Where to go on.
    next: u64,
    /// There was nothing more at the time.
    end: bool,
    /// Where older ones begin (`before`), of a newest page; none where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    older: Option<u64>,
}

/// The event log: a page as JSON, or, where `Accept` asks for `text/event-stream`, everything from a position on as it
/// comes. A stream is resumed with `Last-Event-ID`. A caller with an API key sees its own events.
#[utoipa::path(get, path = "/v1/events", params(Which),
    responses((status = 200, body = Events), (status = 422, description = "Unusable query")))]
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    headers: HeaderMap,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(which) = which.map_err(|error| Error::Params(error.body_text()))?;
    let specification = match which.schema.as_deref() {
        None | Some("cloudevents") => false,
        Some("specification") => true,
        Some(other) => return Err(Error::Params(format!("schema {other:?} is not known")).into()),
    };
    let filter = Filter {
        type_prefix: which.r#type,
        target: which.target,
        principal: (principal.is_confined()).then(|| principal.id.to_string()),
    };
    let streams = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    if streams {
        let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let from = last.map(|last| last + 1).or(which.from).unwrap_or_else(|| gateway.log.head() + 1);
        return Ok(stream(&gateway, from, filter, specification));
    }
    let limit = which.limit.unwrap_or(100).clamp(1, MAX_PAGE);
    let Some(from) = which.from else {
        let before = which.before.unwrap_or(u64::MAX).min(gateway.log.head() + 1);
        return newest(&gateway, before, limit, filter, specification).await;
    };
    let page = gateway.log.read_all(from, limit, Some(filter)).await;
    let page = page.map_err(|error| Error::Log(error.to_string()))?;
    let events = page.events.iter().map(|event| render(event, specification)).collect();
    Ok(Json(Events { events, next: page.next, end: page.end, older: None }).into_response())
}

/// The newest events before a position, looked for backwards.
async fn newest(
    gateway: &Gateway,
    before: u64,
    limit: usize,
    filter: Filter,
    specification: bool,
) -> Result<Response, Problem> {
    let oldest = gateway.log.oldest();
    let last = before.saturating_sub(MAX_SCAN).max(oldest);
    let (mut at, mut found) = (before, std::collections::VecDeque::new());
    // What is looked for is often near: the first look is short.
    let mut window = limit as u64;
    while at > last && found.len() < limit {
        let from = at.saturating_sub(window).max(last);
        window = WINDOW;
        let (mut next, mut events) = (from, Vec::new());
        while next < at {
            let most = usize::try_from(at - next).unwrap_or(usize::MAX);
            let page = gateway.log.read_all(next, most, Some(filter.clone())).await;
            let page = page.map_err(|error| Error::Log(error.to_string()))?;
            events.extend(page.events.into_iter().take_while(|event| event.position < at));
            if page.end || page.next <= next {
                break;
            }
            next = page.next;
        }
        for event in events.into_iter().rev().take(limit - found.len()) {
            at = event.position;
            found.push_front(event);
        }
        at = if found.len() < limit { from } else { at };
    }
    let events = found.iter().map(|event| render(event, specification)).collect();
    let older = (at > oldest).then_some(at);
    Ok(Json(Events { events, next: before, end: before > gateway.log.head(), older }).into_response())
}

fn stream(gateway: &Gateway, from: u64, filter: Filter, specification: bool) -> Response {
    let subscription = gateway.log.subscribe(from);
    let events =
        futures_util::stream::unfold((subscription, filter), move |(mut subscription, filter)| async move {
            loop {
                let event = match subscription.next().await {
                    Ok(Some(event)) => event,
                    Ok(None) => return None,
                    Err(error) => {
                        tracing::warn!(%error, "a stream of events has ended");
                        return None;
                    }
                };
                if filter.matches(&event.event) {
                    return Some((event, (subscription, filter)));
                }
            }
        });
    let events = events.map(move |recorded| {
        Ok::<_, std::convert::Infallible>(
            SseEvent::default()
                .id(recorded.position.to_string())
                .event(recorded.event.kind.as_ref())
                .data(render(&recorded, specification).to_string()),
        )
    });
    let events = events.take_until(gateway.closing().clone().cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

fn render(recorded: &RecordedEvent, specification: bool) -> Value {
    if specification {
        return recorded.event.to_specification();
    }
    let mut event = recorded.event.to_cloudevent();
    // The CloudEvents extension `sequence` is a string.
    event["sequence"] = Value::from(recorded.position.to_string());
    event
}
