//! Whether the process lives, and whether it is ready for calls.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use trunkline_model::ServiceState;
use utoipa::ToSchema;

use crate::Gateway;

/// The state of the gateway.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `starting` while no service has answered yet.
    status: &'static str,
    /// How many services are up.
    services_up: usize,
    /// How many services are configured.
    services: usize,
    /// Why what is asked is found without the encoder of the configuration; not there where it has a part, or where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder_failing: Option<String>,
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Health)))]
pub(crate) async fn alive(State(gateway): State<Arc<Gateway>>) -> Json<Health> {
    Json(health(&gateway))
}

/// Whether the gateway is ready: every service has answered, or has been found to be down.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(crate) async fn ready(State(gateway): State<Arc<Gateway>>) -> (StatusCode, Json<Health>) {
    let health = health(&gateway);
    let status = if health.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}

fn health(gateway: &Gateway) -> Health {
    let services = gateway.catalog().services();
    let states: Vec<_> = services.values().map(|entry| entry.service.status().state).collect();
    let starting = states.contains(&ServiceState::Starting);
    Health {
        status: if starting { "starting" } else { "ok" },
        services_up: states.iter().filter(|state| **state == ServiceState::Up).count(),
        services: states.len(),
        encoder_failing: gateway.encoder.get().and_then(|encoder| Some(encoder.failing()?.to_string())),
    }
}
