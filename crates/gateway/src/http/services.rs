//! The services and how they are.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use trunkline_model::{InstanceStatus, Principal, ServiceState};
use trunkline_resilience::bulkhead::Load;
use trunkline_resilience::strategy::Choice;
use utoipa::ToSchema;

use crate::Gateway;
use crate::guards::Guarded;

/// All services.
#[derive(Serialize, ToSchema)]
pub(crate) struct Services {
    services: Vec<Service>,
}

/// A service and how it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Service {
    /// Its name in the configuration.
    id: String,
    /// `starting`, `up` or `down`.
    #[schema(value_type = String)]
    state: ServiceState,
    /// What is wrong, where it is not up.
    cause: Option<String>,
    /// How often its process or session was started anew.
    restarts: u64,
    /// The protocol and its revision.
    protocol: String,
    /// How many tools it has.
    tools: usize,
    /// How many prompts it has.
    prompts: usize,
    /// How many resources and templates it has.
    resources: usize,
    /// Where it runs, where that is several places: whether calls go there, and why not.
    #[schema(value_type = Vec<Object>)]
    instances: Vec<InstanceStatus>,
    /// How its calls are made now, where that follows what was seen of it (`resilience.strategy`).
    #[schema(value_type = Object)]
    strategy: Option<Choice>,
    /// How many calls run and wait, and may run: a limit that follows the service (`resilience.adaptive`). None where it was
    /// not called.
    #[schema(value_type = Object)]
    load: Option<Load>,
    /// The tools that were called lately, and how they are guarded.
    tools_guarded: Vec<Guarded>,
    /// The last lines that it wrote to standard error, which may say more than its tools would: none for the holders
    /// of API keys.
    stderr: Vec<String>,
}

/// The services, in the order of the configuration.
#[utoipa::path(get, path = "/v1/services", responses((status = 200, body = Services)))]
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
) -> Json<Services> {
    let keyed = principal.is_confined();
    let services = gateway.catalog().services();
    let services = services
        .iter()
        .map(|(id, entry)| {
            let status = entry.service.status();
            let contents = entry.service.contents();
            Service {
                id: id.to_string(),
                state: status.state,
                cause: status.cause,
                restarts: status.restarts,
                protocol: status.protocol,
                tools: contents.tools.len(),
                prompts: contents.prompts.len(),
                resources: contents.resources.len() + contents.templates.len(),
                instances: entry.service.instances(),
                strategy: gateway.guards.choice(id),
                load: gateway.guards.load(id),
                tools_guarded: gateway.guards.states(id),
                stderr: if keyed { Vec::new() } else { status.stderr },
            }
        })
        .collect();
    Json(Services { services })
}
