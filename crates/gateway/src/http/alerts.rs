//! The alerts, and the rules that they are of.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use trunkline_telemetry::alerts::{Board, SHIPPED};

use crate::Gateway;

/// The alerts that are pending, fire or were resolved in the last quarter of an hour, and the rules that are evaluated.
#[utoipa::path(get, path = "/v1/alerts", responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Board> {
    Json(gateway.telemetry.board().lock().clone())
}

/// The rules that come with Trunkline, as a file for Prometheus.
#[utoipa::path(get, path = "/v1/alerts/rules.yaml",
    responses((status = 200, body = String, content_type = "application/yaml")))]
pub(crate) async fn rules() -> ([(http::HeaderName, &'static str); 1], &'static str) {
    ([(http::header::CONTENT_TYPE, "application/yaml")], SHIPPED)
}
