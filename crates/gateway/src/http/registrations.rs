//! Services that register themselves whole.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::StatusCode;
use serde::Serialize;
use trunkline_model::Principal;
use utoipa::ToSchema;

use super::problem::Problem;
use super::registry::read;
use crate::Gateway;
use crate::registrations::{RegisteredService, ServiceLease, Standing};

/// The services that have registered themselves.
#[derive(Serialize, ToSchema)]
pub(crate) struct AllStanding {
    /// In the order that they came.
    services: Vec<Standing>,
}

/// Registers a service, or says anew what it is. It is there until its lease ends: a heartbeat renews it.
#[utoipa::path(post, path = "/v1/registry/services", request_body = RegisteredService,
    responses((status = 201, body = ServiceLease), (status = 200, description = "It was there", body = ServiceLease),
        (status = 403, description = "The caller, the name or the address is not open for it")))]
pub(crate) async fn register(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    body: Body,
) -> Result<(StatusCode, Json<ServiceLease>), Problem> {
    let service = read(&gateway, body).await?;
    let lease = gateway.register_service(service, &principal).await?;
    let status = if lease.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(lease)))
}

/// The services that have registered themselves, for callers that may register some.
#[utoipa::path(get, path = "/v1/registry/services",
    responses((status = 200, body = AllStanding), (status = 403, description = "The caller may not register services")))]
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
) -> Result<Json<AllStanding>, Problem> {
    Ok(Json(AllStanding { services: gateway.standing(&principal)? }))
}

/// Renews the lease of a service.
#[utoipa::path(post, path = "/v1/registry/services/{service}/heartbeat", params(("service" = String, Path)),
    responses((status = 200, body = ServiceLease), (status = 404, description = "The caller has registered no such service")))]
pub(crate) async fn heartbeat(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(service): Path<String>,
) -> Result<Json<ServiceLease>, Problem> {
    Ok(Json(gateway.heartbeat_service(&service, &principal)?))
}

/// Takes a service away. Calls that run there go on.
#[utoipa::path(delete, path = "/v1/registry/services/{service}", params(("service" = String, Path)),
    responses((status = 204), (status = 404, description = "The caller has registered no such service")))]
pub(crate) async fn deregister(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(service): Path<String>,
) -> Result<StatusCode, Problem> {
    gateway.deregister_service(&service, &principal).await?;
    Ok(StatusCode::NO_CONTENT)
}
