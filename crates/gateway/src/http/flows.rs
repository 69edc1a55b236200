//! Flows and their instances: which there are, how one is, starting, cancelling, and what people decide.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use http::{HeaderMap, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_model::Principal;
use trunkline_orchestrator::transaction::Decision;
use trunkline_orchestrator::views::{self, InstanceFilter, InstanceRow};
use trunkline_orchestrator::{Error as FlowError, InstanceId, Resolution, service};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use super::tools;
use crate::flows::FlowDoor;
use crate::server::read_body;
use crate::{Error, Gateway};

/// The most instances of a page.
const MAX_PAGE: usize = 1000;

/// The named flows.
#[derive(Serialize, ToSchema)]
pub(crate) struct Flows {
    flows: Vec<Flow>,
}

/// A named flow.
#[derive(Serialize, ToSchema)]
pub(crate) struct Flow {
    /// The name to call it by: it is a tool.
    name: String,
    /// Its namespace.
    namespace: String,
    /// Its version.
    version: String,
    /// The SHA-256 of its definition.
    hash: String,
    /// What it does.
    summary: Option<String>,
    /// The definition: Open Workflow Specification 1.0.3.
    definition: Value,
}

/// Which instances.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// `running`, `waiting`, `compensating`, `stuck`, `completed`, `faulted`, `cancelled` or `undone`.
    status: Option<String>,
    /// The flow: its name, or `namespace/name`.
    flow: Option<String>,
    /// Only instances that began before this one.
    before: Option<uuid::Uuid>,
    /// The most instances of a page: 100 where left out, 1000 at most.
    limit: Option<usize>,
    /// Also say how many instances of this one status there are in all.
    count: Option<bool>,
}

/// Instances, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Instances {
    #[schema(value_type = Vec<Object>)]
    instances: Vec<InstanceRow>,
    /// How many there are of the status, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// What to start: a named flow or a plan.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    /// The name of a flow.
    flow: Option<String>,
    /// A plan.
    plan: Option<Value>,
    /// The input of the flow.
    #[serde(default)]
    input: Value,
}

/// What is asked of an instance.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Order {
    /// Why, for the record.
    reason: Option<String>,
    /// The step that is stuck, for `:resolve`.
    step: Option<String>,
    /// The step to retry from, for `:retry`; from the start where left out.
    from: Option<String>,
    /// `"retry"`, `{"skip": {"reason": …}}` or `{"resolve": {"done": …, "result": …}}`, for `:resolve`.
    #[schema(value_type = Option<Value>)]
    resolution: Option<Resolution>,
}

/// The named flows.
#[utoipa::path(get, path = "/v1/flows", responses((status = 200, body = Flows)))]
pub(crate) async fn list(State(gateway): State<Arc<Gateway>>) -> Result<Json<Flows>, Problem> {
    let flows = door(&gateway)?.library.newest();
    let flow = |workflow: Arc<trunkline_orchestrator::workflow::Workflow>| Flow {
        name: workflow.document.name.to_string(),
        namespace: workflow.document.namespace.to_string(),
        version: workflow.document.version.to_string(),
        hash: workflow.hash().to_string(),
        summary: workflow.document.summary.clone().or_else(|| workflow.document.title.clone()),
        definition: Value::clone(workflow.source()),
    };
    Ok(Json(Flows { flows: flows.into_iter().map(flow).collect() }))
}

/// Undos that tools seem to have, as what could be written into the configuration (`flows.tools`). They are proposals: none
/// is used before that is done.
#[utoipa::path(get, path = "/v1/flows/proposals", responses((status = 200, body = Value)))]
pub(crate) async fn proposals(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
) -> Result<Json<Value>, Problem> {
    let snapshot = gateway.catalog().snapshot();
    let tools: Vec<_> =
        snapshot.tools.iter().map(|(name, entry)| (name.to_string(), entry.tool.spec().clone())).collect();
    let proposals = door(&gateway)?.engine.proposals(&principal, &tools);
    Ok(Json(json!({"proposals": proposals})))
}

/// Instances, the newest first. The holder of an API key sees its own.
#[utoipa::path(get, path = "/v1/instances", params(Which), responses((status = 200, body = Instances)))]
pub(crate) async fn instances(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Instances>, Problem> {
    let Query(which) = which.map_err(|error| Error::Params(error.body_text()))?;
    let filter = InstanceFilter {
        status: which.status,
        flow: which.flow,
        before: which.before.map(InstanceId),
        limit: which.limit.unwrap_or(100).clamp(1, MAX_PAGE),
        principal: (principal.is_confined()).then(|| principal.id.to_string()),
        ..InstanceFilter::default()
    };
    let log = door(&gateway)?.engine.log();
    log.projected(views::NAME, log.head()).await.map_err(FlowError::from)?;
    let count = match (which.count, &filter.status) {
        (Some(true), Some(status)) => {
            let count = views::count(log, status.clone(), filter.principal.clone()).await;
            Some(count.map_err(FlowError::from)?)
        }
        _ => None,
    };
    let instances = match count {
        // To find none, all would be looked at.
        Some(0) => Vec::new(),
        _ => views::instances(log, filter).await.map_err(FlowError::from)?,
    };
    Ok(Json(Instances { instances, count }))
}

/// Starts a named flow or a plan, as a call of its tool does, and waits for its end as long as the call may take.
#[utoipa::path(post, path = "/v1/instances", request_body = Start,
    responses((status = 200, description = "What it came to, or that it still runs: the tool's answer")))]
pub(crate) async fn start(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let limit = gateway.rules.load().config.max_request_bytes;
    let body = read_body(body, limit).await?;
    let start: Start = serde_json::from_slice(&body).map_err(|error| Error::Params(error.to_string()))?;
    let (tool, arguments) = match (start.flow, start.plan) {
        (Some(flow), None) => {
            let input = if start.input.is_null() { json!({}) } else { start.input };
            (flow, input)
        }
        (None, Some(plan)) => ("run_plan".to_owned(), json!({"plan": plan})),
        _ => return Err(Error::Params("the body needs either `flow` or `plan`".to_owned()).into()),
    };
    let path = Ok(Path(format!("{tool}:call")));
    tools::call(State(gateway), Extension(principal), path, headers, Body::from(arguments.to_string())).await
}

/// Opens a transaction, as a call of the tool `begin` does. The body is its arguments. Calls belong to it that have the header
/// `Trunkline-Transaction`, or the same `Trunkline-Conversation` as this request.
#[utoipa::path(post, path = "/v1/transactions", request_body = Value,
    responses((status = 200, description = "The answer of the tool `begin`")))]
pub(crate) async fn begin(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let path = Ok(Path("begin:call".to_owned()));
    tools::call(State(gateway), Extension(principal), path, headers, body).await
}

/// One instance with its steps and its journal.
#[utoipa::path(get, path = "/v1/instances/{id}", params(("id" = String, Path)),
    responses((status = 200, body = Value), (status = 404, description = "No such instance")))]
pub(crate) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let door = door(&gateway)?;
    let id = seen(door, &principal, &id).await?;
    let mut shown = service::show(&door.engine, id).await?;
    let journal = door.engine.journal_of(id).await?;
    let entries = journal.iter().map(|(entry, time, by)| {
        json!({"time": time.to_string(), "what": entry.what(), "by": &*by.id, "entry": entry})
    });
    shown["journal"] = entries.collect();
    Ok(Json(shown))
}

/// Asks something of an instance. The path is `/v1/instances/{id}:cancel` (it undoes what it has done),
/// `/v1/instances/{id}:undo` (the same for one that completed), `/v1/instances/{id}:retry` (another is begun in its place),
/// `/v1/instances/{id}:resolve` (what to do with a step that is stuck), `/v1/instances/{id}:commit` or
/// `/v1/instances/{id}:rollback` (of a transaction).
#[utoipa::path(post, path = "/v1/instances/{id}", request_body = Order,
    params(("id" = String, Path, description = "the identity with the suffix `:cancel`, `:undo`, `:retry`, `:resolve`, `:commit` or `:rollback`")),
    responses((status = 200, body = Value), (status = 404, description = "It does not run"),
        (status = 409, description = "It can't be done to it: the error says why")))]
pub(crate) async fn order(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(path): Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let limit = gateway.rules.load().config.max_request_bytes;
    let body = read_body(body, limit).await?;
    let order: Order = if body.trim_ascii().is_empty() {
        Order::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Error::Params(error.to_string()))?
    };
    let door = door(&gateway)?;
    let Some((id, verb)) = path.split_once(':') else {
        return Err(Error::NotFound(format!("/v1/instances/{path}")).into());
    };
    let id = seen(door, &principal, id).await?;
    match verb {
        "commit" | "rollback" => {
            let by = principal.id.to_string();
            let decision = match (verb, order.reason) {
                ("commit", _) => Decision::Commit { by },
                (_, reason) => {
                    let reason = reason.unwrap_or_else(|| "it was rolled back".to_owned());
                    Decision::Rollback { by: Some(by), reason }
                }
            };
            let deadline = gateway.context(principal.clone()).deadline;
            return Ok(Json(service::end(&door.engine, id, &principal, decision, deadline).await?));
        }
        "cancel" => door.engine.cancel(id, &principal.id, order.reason.as_deref()).await?,
        "undo" => drop(door.engine.undo(id, &principal.id, order.reason.as_deref()).await?),
        "retry" => {
            let new = door.engine.retry(id, order.from.as_deref(), &principal.id).await?;
            return Ok(Json(json!({"instance": id, "done": verb, "retried_as": new.id})));
        }
        "resolve" => {
            let (Some(step), Some(resolution)) = (order.step, order.resolution) else {
                return Err(Error::Params("the body needs `step` and `resolution`".to_owned()).into());
            };
            door.engine.resolve(id, &step, resolution, &principal.id).await?;
        }
        _ => return Err(Error::NotFound(format!("/v1/instances/{path}")).into()),
    }
    Ok(Json(json!({"instance": id, "done": verb})))
}

/// The instance, where the principal may see it.
pub(super) async fn seen(door: &FlowDoor, principal: &Principal, id: &str) -> Result<InstanceId, Problem> {
    let id = id.parse().map(InstanceId).map_err(|_| FlowError::NoInstance(id.chars().take(64).collect()))?;
    let log = door.engine.log();
    log.projected(views::NAME, log.head()).await.map_err(FlowError::from)?;
    let row = views::instance(log, id).await.map_err(FlowError::from)?;
    let own = |row: &InstanceRow| !principal.is_confined() || *row.principal == *principal.id;
    row.filter(own).map(|row| row.id).ok_or_else(|| FlowError::UnknownInstance(id).into())
}

pub(super) fn door(gateway: &Gateway) -> Result<&FlowDoor, Problem> {
    gateway.flows.get().ok_or_else(|| Error::NotFound("/v1/flows".to_owned()).into())
}
