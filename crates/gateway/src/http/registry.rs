//! Finding tools by what they can do, and instances that register themselves.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query as Parameters, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use trunkline_discovery::ToolEntry;
use trunkline_discovery::discover::{Found, Query};
use trunkline_model::{Effects, Operation, Principal, ServiceId};
use trunkline_telemetry::metrics::Kpi;
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::leases::{Lease, Registration};
use crate::meta_tools::FoundItem;
use crate::server::read_body;
use crate::{Error, Gateway};

/// The largest body.
const MAX_BODY: usize = 64 << 10;

/// Reads a body of JSON.
pub(crate) async fn read<T: serde::de::DeserializeOwned>(
    gateway: &Gateway,
    body: Body,
) -> Result<T, Problem> {
    let limit = gateway.rules.load().config.max_request_bytes.min(MAX_BODY);
    let body = read_body(body, limit).await?;
    Ok(serde_json::from_slice(&body).map_err(|error| Error::Params(format!("the body: {error}")))?)
}

/// Finds tools by capability, range of versions, what the caller can give and needs, zone and what else is known, that can be
/// called now and that the caller may call. Says why others of the capability do not fit.
#[utoipa::path(post, path = "/v1/discover", request_body = serde_json::Value,
    responses((status = 200, description = "What fits, the best first, and what does not and why", body = serde_json::Value),
        (status = 400, description = "Not a query")))]
pub(crate) async fn discover(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    body: Body,
) -> Result<Json<Found>, Problem> {
    let query: Query = read(&gateway, body).await?;
    let begun = std::time::Instant::now();
    let found = gateway.discover(&query, &principal)?;
    gateway.telemetry.took(Kpi::ServiceDiscovery, begun.elapsed());
    Ok(Json(found))
}

/// What is looked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// What is to be done, in plain words.
    q: String,
    /// The most tools, up to 100; 10 where left out.
    limit: Option<usize>,
}

/// The tools that fit a request in plain words.
#[derive(Serialize, ToSchema)]
pub(crate) struct Fitting {
    /// The best first.
    tools: Vec<Fits>,
    /// Prompts, resources and templates of resources that are near to it.
    items: Vec<FoundItem>,
    /// Why the encoder of the configuration had no part in it; not there where it had, or where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_encoder: Option<String>,
}

/// A tool that fits.
#[derive(Serialize, ToSchema)]
pub(crate) struct Fits {
    /// The name to call it by.
    name: String,
    /// The service that it belongs to.
    service: String,
    /// A title for people.
    title: Option<String>,
    /// What it does.
    description: String,
    /// What it does to the world.
    #[schema(value_type = Object)]
    effects: Effects,
    /// How well it fits beside the best, from 0 to 1.
    score: f32,
}

/// Finds tools by what is to be done, in plain words, that can be called now and that the caller may call.
#[utoipa::path(get, path = "/v1/search", params(Request), responses((status = 200, body = Fitting)))]
pub(crate) async fn search(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    request: Result<Parameters<Request>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Fitting>, Problem> {
    let Parameters(request) = request.map_err(|error| Error::Params(error.body_text()))?;
    let limit = request.limit.unwrap_or(10).clamp(1, 100);
    let begun = std::time::Instant::now();
    let asked = gateway.encode_search(&request.q).await;
    let rules = gateway.rules.load();
    let found = gateway.catalog.search(&request.q, &asked.vectors, limit, |entry| {
        let spec = entry.tool.spec();
        let decided = rules.authorizer.decide(&principal, &spec.service, &spec.name, Operation::CallTool);
        decided.allow && entry.service.is_up()
    });
    let items = gateway.items_near(&request.q, &principal);
    gateway.telemetry.took(Kpi::ServiceDiscovery, begun.elapsed());
    let fits = |(entry, score): (ToolEntry, f32)| {
        let spec = entry.tool.spec();
        Fits {
            name: entry.name.to_string(),
            service: spec.service.to_string(),
            title: spec.title.clone(),
            description: spec.description.clone(),
            effects: spec.effects,
            score,
        }
    };
    Ok(Json(Fitting { items, tools: found.into_iter().map(fits).collect(), without_encoder: asked.without }))
}

/// Registers an instance of a service, or renews its lease: called again before its time is over.
#[utoipa::path(put, path = "/v1/services/{service}/instances", request_body = Registration,
    params(("service" = String, Path, description = "The service's name in the configuration")),
    responses((status = 200, body = Lease), (status = 403, description = "The service or the address is not open for it")))]
pub(crate) async fn register(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(service): Path<String>,
    body: Body,
) -> Result<Json<Lease>, Problem> {
    let registration = read(&gateway, body).await?;
    Ok(Json(gateway.register(&ServiceId::new(&service), registration, &principal).await?))
}

/// Which instance.
#[derive(Deserialize, IntoParams)]
pub(crate) struct Which {
    /// Its address, as it was registered.
    url: String,
}

/// Ends the lease of an instance. Calls that run there go on.
#[utoipa::path(delete, path = "/v1/services/{service}/instances", params(
    ("service" = String, Path, description = "The service's name in the configuration"), Which),
    responses((status = 204), (status = 403, description = "There is none, or the caller may not")))]
pub(crate) async fn deregister(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(service): Path<String>,
    Parameters(which): Parameters<Which>,
) -> Result<http::StatusCode, Problem> {
    gateway.deregister(&ServiceId::new(&service), &which.url, &principal).await?;
    Ok(http::StatusCode::NO_CONTENT)
}

impl Gateway {
    fn discover(&self, query: &Query, principal: &Principal) -> Result<Found, Error> {
        let (rules, snapshot) = (self.rules.load(), self.catalog.snapshot());
        let found = snapshot.discover(query, |entry| {
            let spec = entry.tool.spec();
            rules.authorizer.decide(principal, &spec.service, &spec.name, Operation::CallTool).allow
        });
        found.map_err(Error::Params)
    }
}
