//! What is measured: for Prometheus, and the five figures of the specification.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use trunkline_telemetry::exposition::{self, Format};
use trunkline_telemetry::kpis::{self, Figure};
use utoipa::ToSchema;

use super::problem::Problem;
use crate::Gateway;

/// The five figures that the specification names.
#[derive(Serialize, ToSchema)]
pub(crate) struct Kpis {
    #[schema(value_type = Vec<Object>)]
    kpis: Vec<Figure>,
}

/// Everything that is counted, in the format of Prometheus; as OpenMetrics, with exemplars, where `Accept` asks for
/// `application/openmetrics-text`.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !gateway.telemetry.is_on() {
        return Err(trunkline_telemetry::Error::Off.into());
    }
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let text = exposition::render(&gateway.telemetry.families(), format);
    let mut response = text.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    Ok(response)
}

/// The five figures that the specification names: over the last five minutes and since the start.
#[utoipa::path(get, path = "/v1/kpis", responses((status = 200, body = Kpis)))]
pub(crate) async fn kpis(State(gateway): State<Arc<Gateway>>) -> Json<Kpis> {
    Json(Kpis { kpis: kpis::figures(&gateway.telemetry) })
}
