//! Dead letters: which there are, and what becomes of them. And how the subscriptions are.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_model::Principal;
use trunkline_orchestrator::choreography::Choreography;
use trunkline_orchestrator::choreography::letters::{Letter, LetterFilter};
use trunkline_orchestrator::{Error as FlowError, InstanceId};
use utoipa::{IntoParams, ToSchema};

use super::problem::{self, Problem};
use crate::server::read_body;
use crate::{Error, Gateway};

/// The most dead letters of a page, and of one order.
const MAX_PAGE: usize = 1000;

/// Which dead letters.
#[derive(Default, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// `open`, `replayed` or `discarded`.
    state: Option<String>,
    /// Those of this subscription.
    subscription: Option<String>,
    /// Events of this type.
    r#type: Option<String>,
    /// Those that failed before this one.
    before: Option<uuid::Uuid>,
    /// At most so many: 100 where left out, 1000 at most.
    limit: Option<usize>,
}

/// Dead letters, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetters {
    #[schema(value_type = Vec<Object>)]
    dead_letters: Vec<Letter>,
}

/// What is to become of one.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Order {
    /// Why, for the record.
    reason: Option<String>,
}

/// What is to become of many.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Orders {
    /// `replay` or `discard`.
    action: String,
    /// Which: those that are open.
    #[serde(default)]
    r#where: Which,
    /// Why, for the record.
    #[serde(default)]
    reason: Option<String>,
    /// Only say which they are.
    #[serde(default)]
    dry_run: bool,
}

/// Dead letters, the newest first: deliveries of events that have failed in the end. The holder of an API key sees those
/// whose events it has published.
#[utoipa::path(get, path = "/v1/dead-letters", params(Which), responses((status = 200, body = DeadLetters)))]
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<DeadLetters>, Problem> {
    let Query(which) = which.map_err(|error| Error::Params(error.body_text()))?;
    let dead_letters = choreography(&gateway)?.dead_letters(filter(which, &principal)?).await?;
    Ok(Json(DeadLetters { dead_letters }))
}

/// Settles one. The path is `/v1/dead-letters/{id}:replay` (delivers the event again) or `/v1/dead-letters/{id}:discard`.
#[utoipa::path(post, path = "/v1/dead-letters/{id}", request_body = Order,
    params(("id" = String, Path, description = "the identity with the suffix `:replay` or `:discard`")),
    responses((status = 200, body = Value), (status = 404, description = "No such dead letter"),
        (status = 409, description = "It is settled already")))]
pub(crate) async fn order(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(path): Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let order: Order = read(&gateway, body).await?.unwrap_or_default();
    let choreography = choreography(&gateway)?;
    let (id, action) = match path.split_once(':') {
        Some((id, action @ ("replay" | "discard"))) => (id, action),
        _ => return Err(Error::NotFound(format!("/v1/dead-letters/{path}")).into()),
    };
    let unknown = || FlowError::UnknownLetter(id.chars().take(64).collect());
    let uuid = id.parse::<uuid::Uuid>().map_err(|_| unknown())?;
    let mut one = filter(Which { limit: Some(1), ..Which::default() }, &principal)?;
    one.id = Some(InstanceId(uuid));
    let letters = choreography.dead_letters(one).await?;
    let letter = letters.first().ok_or_else(unknown)?;
    Ok(Json(settle(choreography, letter, action, order.reason, &principal).await?))
}

/// Settles all that are open and fit, the newest first, up to the limit. With `dry_run` it only says which they are.
#[utoipa::path(post, path = "/v1/dead-letters", request_body = Orders,
    responses((status = 200, description = "What became of each", body = Value)))]
pub(crate) async fn orders(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let missing = || Error::Params("the body needs an `action`: replay or discard".to_owned());
    let orders: Orders = read(&gateway, body).await?.ok_or_else(missing)?;
    if !matches!(&*orders.action, "replay" | "discard") {
        return Err(missing().into());
    }
    let choreography = choreography(&gateway)?;
    let which = Which { state: Some("open".to_owned()), ..orders.r#where };
    let letters = choreography.dead_letters(filter(which, &principal)?).await?;
    let mut done = Vec::with_capacity(letters.len());
    for letter in &letters {
        if orders.dry_run {
            done.push(json!({"id": letter.id, "subscription": letter.subscription}));
            continue;
        }
        let settled = settle(choreography, letter, &orders.action, orders.reason.clone(), &principal).await;
        done.push(
            settled
                .unwrap_or_else(|error| json!({"id": letter.id, "problem": problem::details(&error.into())})),
        );
    }
    Ok(Json(json!({"action": orders.action, "dry_run": orders.dry_run, "dead_letters": done})))
}

/// The subscriptions: their groups, what they have under way, how many dead letters are open, and how far they are.
#[utoipa::path(get, path = "/v1/subscriptions", responses((status = 200, body = Value)))]
pub(crate) async fn subscriptions(State(gateway): State<Arc<Gateway>>) -> Result<Json<Value>, Problem> {
    Ok(Json(choreography(&gateway)?.overview().await?))
}

async fn settle(
    choreography: &Choreography,
    letter: &Letter,
    action: &str,
    reason: Option<String>,
    principal: &Arc<Principal>,
) -> Result<Value, FlowError> {
    if action == "discard" {
        choreography.discard(letter, principal.clone(), reason).await?;
        return Ok(json!({"id": letter.id, "done": "discarded"}));
    }
    let replayed = choreography.replay(letter, principal.clone(), reason).await?;
    Ok(json!({"id": letter.id, "done": "replayed", "replayed_as": replayed}))
}

/// Reads a body; `None` where there is none.
async fn read<T: serde::de::DeserializeOwned>(gateway: &Gateway, body: Body) -> Result<Option<T>, Problem> {
    let limit = gateway.rules.load().config.max_request_bytes;
    let body = read_body(body, limit).await?;
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&body).map_err(|error| Error::Params(error.to_string()))?))
}

fn filter(which: Which, principal: &Principal) -> Result<LetterFilter, Problem> {
    if let Some(state) = which.state.as_deref()
        && !matches!(state, "open" | "replayed" | "discarded")
    {
        return Err(Error::Params("the state is open, replayed or discarded".to_owned()).into());
    }
    Ok(LetterFilter {
        id: None,
        state: which.state,
        subscription: which.subscription,
        kind: which.r#type,
        publisher: (principal.is_confined()).then(|| principal.id.to_string()),
        before: which.before.map(InstanceId),
        limit: which.limit.unwrap_or(100).clamp(1, MAX_PAGE),
    })
}

fn choreography(gateway: &Gateway) -> Result<&Choreography, Problem> {
    let door = gateway.flows.get().ok_or_else(|| Error::NotFound("/v1/dead-letters".to_owned()))?;
    Ok(&door.choreography)
}
