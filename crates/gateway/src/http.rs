//! The HTTP door: the same tools and the same pipeline for any program that can call HTTP.

pub(crate) mod alerts;
pub(crate) mod audit;
mod dead_letters;
pub(crate) mod events;
pub(crate) mod flows;
mod health;
mod idempotency;
pub(crate) mod limits;
mod many;
pub(crate) mod map;
pub(crate) mod metrics;
mod packets;
pub(crate) mod problem;
mod publish;
mod registrations;
pub(crate) mod registry;
pub(crate) mod services;
pub(crate) mod settings;
pub(crate) mod tools;
pub(crate) mod traces;
mod views;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse as _;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{Error, Gateway};

pub(crate) use webhooks::{PREFIX as WEBHOOKS, Webhooks};

/// What `/openapi.json` says of the whole.
#[derive(OpenApi)]
#[openapi(info(
    title = "Trunkline",
    description = "Every tool behind one door. Errors are RFC 9457 problem details with a code, whose fault it is, whether to retry, and the next step."
))]
struct Document;

/// The routes of the HTTP door.
pub(crate) fn router(gateway: &Arc<Gateway>) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(tools::list))
        .routes(routes!(tools::call))
        .routes(routes!(services::list))
        .routes(routes!(registry::discover))
        .routes(routes!(registry::search))
        .routes(routes!(registry::register, registry::deregister))
        .routes(routes!(registrations::list, registrations::register))
        .routes(routes!(registrations::heartbeat))
        .routes(routes!(registrations::deregister))
        .routes(routes!(events::list, publish::publish))
        .routes(routes!(webhooks::receive))
        .routes(routes!(dead_letters::list, dead_letters::orders))
        .routes(routes!(dead_letters::order))
        .routes(routes!(dead_letters::subscriptions))
        .routes(routes!(flows::list))
        .routes(routes!(flows::instances, flows::start))
        .routes(routes!(flows::show, flows::order))
        .routes(routes!(flows::begin))
        .routes(routes!(audit::list))
        .routes(routes!(flows::proposals))
        .routes(routes!(views::queues))
        .routes(routes!(views::list))
        .routes(routes!(views::rebuild))
        .routes(routes!(many::cancel))
        .routes(routes!(many::undo))
        .routes(routes!(many::retry))
        .routes(routes!(metrics::metrics))
        .routes(routes!(metrics::kpis))
        .routes(routes!(map::show))
        .routes(routes!(limits::list))
        .routes(routes!(settings::list))
        .routes(routes!(traces::list, traces::receive))
        .routes(routes!(traces::show))
        .routes(routes!(traces::packet))
        .routes(routes!(packets::tool))
        .routes(routes!(packets::instance))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::rules))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .split_for_parts();
    let document = Arc::new(document);
    router
        .route("/v1/otlp/v1/traces", axum::routing::post(traces::receive))
        .merge(crate::console::router(gateway))
        .route("/openapi.json", axum::routing::get(move || async move { axum::Json(document) }))
        .fallback(async |uri: http::Uri| {
            problem::Problem::from(Error::NotFound(uri.path().to_owned())).into_response()
        })
        .method_not_allowed_fallback(async |method: http::Method, uri: http::Uri| {
            let path = uri.path().to_owned();
            problem::Problem::from(Error::HttpMethod { method: method.to_string(), path }).into_response()
        })
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(gateway.clone())
}
