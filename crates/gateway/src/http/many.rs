//! The same asked of many instances, found by a filter: cancel, undo, retry.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use trunkline_model::Principal;
use trunkline_orchestrator::life::{Asked, Many, Verb};
use trunkline_orchestrator::views::InstanceFilter;
use utoipa::ToSchema;

use super::flows::door;
use super::problem::Problem;
use crate::server::read_body;
use crate::{Error, Gateway};

/// Which instances, and whether anything is done to them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Which {
    /// Their statuses, with commas between them. Left out: those that it can be asked of.
    status: Option<String>,
    /// The flow: its name, or `namespace/name`.
    flow: Option<String>,
    /// For whom they run. The holder of an API key reaches its own alone.
    principal: Option<String>,
    /// Only those that were started at this time or later (RFC 3339).
    #[schema(value_type = Option<String>)]
    started_from: Option<Timestamp>,
    /// Only those that were started before this time (RFC 3339).
    #[schema(value_type = Option<String>)]
    started_before: Option<Timestamp>,
    /// The most instances, the newest first: 100 where left out, 1000 at most.
    limit: usize,
    /// Only tell what would be done: true where left out.
    dry_run: bool,
    /// Why, for the record.
    reason: Option<String>,
    /// The step to retry from; from the start where left out.
    from: Option<String>,
}

impl Default for Which {
    fn default() -> Self {
        Self {
            status: None,
            flow: None,
            principal: None,
            started_from: None,
            started_before: None,
            limit: 100,
            dry_run: true,
            reason: None,
            from: None,
        }
    }
}

/// What came of it, or would, for each.
#[derive(Serialize, ToSchema)]
pub(crate) struct Answer {
    /// Nothing was done: `"dry_run": false` does it.
    dry_run: bool,
    /// The instances, the newest first.
    #[schema(value_type = Vec<Object>)]
    instances: Vec<Asked>,
}

/// Asks many instances to end. What they have done is undone. Tells only what would be done unless `dry_run` is false.
#[utoipa::path(post, path = "/v1/instances:cancel", request_body = Which, responses((status = 200, body = Answer)))]
pub(crate) async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    body: Body,
) -> Result<Json<Answer>, Problem> {
    many(&gateway, &principal, body, Verb::Cancel).await
}

/// Undoes many instances that completed. Tells only what would be done unless `dry_run` is false.
#[utoipa::path(post, path = "/v1/instances:undo", request_body = Which, responses((status = 200, body = Answer)))]
pub(crate) async fn undo(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    body: Body,
) -> Result<Json<Answer>, Problem> {
    many(&gateway, &principal, body, Verb::Undo).await
}

/// Begins other instances in the place of many that failed. Tells only what would be done unless `dry_run` is false.
#[utoipa::path(post, path = "/v1/instances:retry", request_body = Which, responses((status = 200, body = Answer)))]
pub(crate) async fn retry(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    body: Body,
) -> Result<Json<Answer>, Problem> {
    many(&gateway, &principal, body, Verb::Retry).await
}

async fn many(
    gateway: &Gateway,
    principal: &Principal,
    body: Body,
    verb: Verb,
) -> Result<Json<Answer>, Problem> {
    let limit = gateway.rules.load().config.max_request_bytes;
    let body = read_body(body, limit).await?;
    let which: Which = if body.trim_ascii().is_empty() {
        Which::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Error::Params(error.to_string()))?
    };
    let own = (principal.is_confined()).then(|| principal.id.to_string());
    if own.is_some() && which.principal.is_some() && which.principal != own {
        return Ok(Json(Answer { dry_run: which.dry_run, instances: Vec::new() }));
    }
    let filter = InstanceFilter {
        status: which.status,
        flow: which.flow,
        principal: own.or(which.principal),
        started_from: which.started_from.map(Timestamp::as_millisecond),
        started_before: which.started_before.map(Timestamp::as_millisecond),
        limit: which.limit,
        ..InstanceFilter::default()
    };
    let asked = Many {
        verb,
        filter,
        dry_run: which.dry_run,
        by: principal.id.to_string(),
        reason: which.reason,
        from: which.from,
    };
    let instances = door(gateway)?.engine.ask_many(asked).await?;
    Ok(Json(Answer { dry_run: which.dry_run, instances }))
}
