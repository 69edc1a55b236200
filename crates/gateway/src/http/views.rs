//! Views: what waits in queues, which projections there are, and building one anew while all runs.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::{Value, json};
use trunkline_model::Principal;
use trunkline_orchestrator::Error as FlowError;
use trunkline_orchestrator::limits::Queue;
use trunkline_orchestrator::views::{self, QueuedRow};
use utoipa::ToSchema;

use super::flows::door;
use super::problem::Problem;
use crate::{Error, Gateway};

/// What waits for its turn.
#[derive(Serialize, ToSchema)]
pub(crate) struct Queues {
    /// The limits that count anyone now: what they count, how many may go on, how many do, and how many wait.
    #[schema(value_type = Vec<Object>)]
    limits: Vec<Value>,
    /// Who waits, in order.
    #[schema(value_type = Vec<Object>)]
    waiting: Vec<QueuedRow>,
}

/// A view.
#[derive(Serialize, ToSchema)]
pub(crate) struct View {
    /// Its name.
    name: String,
    /// The version of its tables.
    version: u32,
    /// The position of the last event that it has seen.
    position: u64,
    /// The newest position of the log.
    head: u64,
    /// Why it has stopped, where it has.
    error: Option<String>,
}

/// What waits for its turn under `flows.limits`. The holder of an API key sees its own.
#[utoipa::path(get, path = "/v1/queues", responses((status = 200, body = Queues)))]
pub(crate) async fn queues(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
) -> Result<Json<Queues>, Problem> {
    let engine = &door(&gateway)?.engine;
    let own = (principal.is_confined()).then(|| principal.id.to_string());
    engine.log().projected(views::NAME, engine.log().head()).await.map_err(FlowError::from)?;
    let waiting = views::queued(engine.log(), None, own.clone()).await.map_err(FlowError::from)?;
    // The value of a key may be another's.
    let seen = |queue: &Queue| own.is_none() || waiting.iter().any(|row| *row.what == *queue.what);
    let limit = |queue: Queue| json!({"what": queue.what, "max": queue.max, "active": queue.active, "waiting": queue.waiting.len()});
    let limits = engine.queues().into_iter().filter(seen).map(limit).collect();
    Ok(Json(Queues { limits, waiting }))
}

/// The views, and how far they are.
#[utoipa::path(get, path = "/v1/views", responses((status = 200, body = Vec<View>)))]
pub(crate) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Vec<View>> {
    let head = gateway.log.head();
    let views = gateway.log.projections().into_iter().map(|status| View {
        name: status.name,
        version: status.version,
        position: status.position,
        head,
        error: status.error,
    });
    Json(views.collect())
}

/// Drops a view and builds it anew from the log, while all goes on. The path is `/v1/views/{name}:rebuild`. Returns when it
/// has seen what was in the log at that time. Holders of API keys may not.
#[utoipa::path(post, path = "/v1/views/{name}", params(("name" = String, Path, description = "its name with the suffix `:rebuild`")),
    responses((status = 200, body = Value), (status = 404, description = "No such view")))]
pub(crate) async fn rebuild(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(path): Path<String>,
) -> Result<Json<Value>, Problem> {
    let known = gateway.log.projections();
    let name = path.strip_suffix(":rebuild").filter(|name| known.iter().any(|view| view.name == *name));
    let name = name.filter(|_| !principal.is_confined());
    let Some(name) = name else { return Err(Error::NotFound(format!("/v1/views/{path}")).into()) };
    let failed = |error: trunkline_event_log::Error| Problem::from(Error::Log(error.to_string()));
    gateway.log.rebuild_projection(name).await.map_err(failed)?;
    let head = gateway.log.head();
    gateway.log.projected(name, head).await.map_err(failed)?;
    Ok(Json(json!({"view": name, "position": head})))
}
