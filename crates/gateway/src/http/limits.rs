//! The limits on callers: what each counts, how much of it is used, and whom it refused.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use trunkline_model::Principal;
use utoipa::ToSchema;

use crate::Gateway;
use crate::limits::Counted;

/// All limits.
#[derive(Serialize, ToSchema)]
pub(crate) struct Limits {
    limits: Vec<Counted>,
}

/// The limits on callers, in the order of the configuration: for whom each counts, what is used, and when it is back. The
/// holder of an API key sees what is counted of itself, and of nobody in particular.
#[utoipa::path(get, path = "/v1/limits", responses((status = 200, body = Limits)))]
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
) -> Json<Limits> {
    let own = principal.is_confined().then_some(&*principal.id);
    Json(Limits { limits: gateway.limits.load().counted(own, Instant::now()) })
}
