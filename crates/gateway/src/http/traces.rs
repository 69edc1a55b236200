//! Traces: those that are kept, one as a waterfall, and one as text for a model.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use trunkline_model::{Principal, TraceId};
use trunkline_telemetry::span::attribute;
use trunkline_telemetry::store::{Summary, Wanted};
use trunkline_telemetry::waterfall::{Waterfall, waterfall};
use trunkline_telemetry::{Error as TelemetryError, Item, otlp, packet, semconv};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::server::read_body;
use crate::{Error, Gateway};

/// The most traces of a page.
const MAX_PAGE: usize = 500;

/// The largest body of spans.
const MAX_BODY: usize = 4 << 20;

/// The most spans of a trace that are shown.
pub(crate) const MAX_SPANS: usize = 20_000;

/// Which traces.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// `ok` or `error`.
    status: Option<String>,
    /// Only with this service.
    service: Option<String>,
    /// Only with a call of this tool: `service/tool`.
    target: Option<String>,
    /// Only with this instance of a flow.
    instance: Option<String>,
    /// Only those that took at least this, in milliseconds.
    min_ms: Option<u64>,
    /// Only those that have this text in their names, tools or errors.
    q: Option<String>,
    /// Where to begin: `next` of the page before.
    before: Option<u64>,
    /// The most traces: 50 where left out, 500 at most.
    limit: Option<usize>,
}

/// Traces, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Traces {
    #[schema(value_type = Vec<Object>)]
    traces: Vec<Summary>,
    /// Where older ones begin (`before`); none where there are none.
    next: Option<u64>,
}

/// How many spans.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Much {
    /// The most spans: 20,000 where left out.
    limit: Option<usize>,
}

/// The traces that are kept, the newest first. The holder of an API key sees those that are its own alone.
#[utoipa::path(get, path = "/v1/traces", params(Which), responses((status = 200, body = Traces)))]
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Traces>, Problem> {
    let Query(which) = which.map_err(|error| Error::Params(error.body_text()))?;
    let error = match which.status.as_deref() {
        None => None,
        Some("ok") => Some(false),
        Some("error") => Some(true),
        Some(other) => {
            return Err(Error::Params(format!("the status {other:?} is neither ok nor error")).into());
        }
    };
    let limit = which.limit.unwrap_or(50).clamp(1, MAX_PAGE);
    let wanted = Wanted {
        error,
        service: which.service,
        target: which.target,
        instance: which.instance,
        least: which.min_ms.unwrap_or(0).saturating_mul(1_000_000),
        text: which.q,
        principal: own(&principal),
        before: which.before,
        limit: limit + 1,
    };
    let telemetry = gateway.telemetry.clone();
    let mut traces = aside(&gateway, move || telemetry.store()?.list(&wanted)).await?;
    let more = traces.len() > limit;
    traces.truncate(limit);
    let next = traces.last().filter(|_| more).map(|trace| trace.cursor);
    Ok(Json(Traces { traces, next }))
}

/// A trace as a waterfall: its spans, each before its children, with the critical path.
#[utoipa::path(get, path = "/v1/traces/{id}", params(Much),
    responses((status = 200, body = serde_json::Value), (status = 404, description = "It is not kept")))]
pub(crate) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(id): Path<String>,
    much: Result<Query<Much>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Waterfall>, Problem> {
    let Query(much) = much.map_err(|error| Error::Params(error.body_text()))?;
    let most = much.limit.unwrap_or(MAX_SPANS).clamp(1, MAX_SPANS);
    Ok(Json(read(&gateway, &principal, id, most).await?))
}

/// A trace as short text with which a model can find out what went wrong.
#[utoipa::path(get, path = "/v1/traces/{id}/packet",
    responses((status = 200, body = String, content_type = "text/markdown"),
        (status = 404, description = "It is not kept")))]
pub(crate) async fn packet(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let seen = read(&gateway, &principal, id, MAX_SPANS).await?;
    Ok(text(packet::of_trace(&seen, &gateway.telemetry.services())))
}

/// Takes spans of agents and services, in OTLP over HTTP (protobuf or JSON): they join those of the calls in one trace.
/// `/v1/otlp/v1/traces` is the same.
#[utoipa::path(post, path = "/v1/traces", request_body(content = String, content_type = "application/x-protobuf"),
    responses((status = 200, description = "An ExportTraceServiceResponse"), (status = 400, description = "Not OTLP"),
        (status = 503, description = "Too many spans")))]
pub(crate) async fn receive(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let telemetry = &gateway.telemetry;
    if !telemetry.is_on() {
        return Err(TelemetryError::Off.into());
    }
    if telemetry.is_busy() {
        return Err(TelemetryError::Busy.into());
    }
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    if !matches!(text(CONTENT_ENCODING), "" | "identity") {
        return Err(TelemetryError::NotOtlp("the body is compressed".to_owned()).into());
    }
    let kind = text(CONTENT_TYPE).to_owned();
    let body = read_body(body, MAX_BODY).await?;
    let mut received = otlp::decode(&kind, body)?;
    let answer = received.answer();
    let own = own(&principal);
    for span in &mut received.spans {
        // Whose spans they are is ours to say.
        span.attributes.extend(own.as_deref().map(|own| attribute(semconv::ENDUSER, own)));
    }
    if !received.spans.is_empty() && !telemetry.push(Item::Received(received.spans)) {
        return Err(TelemetryError::Busy.into());
    }
    let mut response = Body::from(answer).into_response();
    let kind = if received.json { "application/json" } else { "application/x-protobuf" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// Text for a model.
pub(super) fn text(text: String) -> Response {
    let mut response = text.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"));
    response
}

/// Whose traces a principal sees: all where it is none.
pub(super) fn own(principal: &Principal) -> Option<String> {
    (principal.is_confined()).then(|| principal.id.to_string())
}

/// A trace that a principal may see.
pub(crate) async fn read(
    gateway: &Gateway,
    principal: &Principal,
    id: String,
    most: usize,
) -> Result<Waterfall, Problem> {
    let own = own(principal);
    let telemetry = gateway.telemetry.clone();
    aside(gateway, move || {
        let unknown = || TelemetryError::UnknownTrace(id.chars().take(64).collect());
        // A UUID is written with dashes elsewhere.
        let trace = TraceId::parse(&id.replace('-', "").to_lowercase()).ok_or_else(unknown)?;
        let (summary, spans) = telemetry.store()?.get(trace)?;
        if own.is_some_and(|own| summary.principals != [own]) {
            return Err(unknown());
        }
        Ok(waterfall(summary, spans, most))
    })
    .await
}

/// Runs what waits for the disk where waiting is allowed.
pub(super) async fn aside<T: Send + 'static>(
    gateway: &Gateway,
    work: impl FnOnce() -> Result<T, TelemetryError> + Send + 'static,
) -> Result<T, Problem> {
    let done = gateway.spawn_blocking(work).await;
    Ok(done.map_err(|error| TelemetryError::Store(error.to_string()))??)
}
