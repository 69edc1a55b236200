//! The configuration in force: every value with where it comes from.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::Value;
use trunkline_model::Principal;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::{Error, Gateway};

/// A value of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Setting {
    /// Its place: `doors.call_timeout_ms`.
    pub path: String,
    /// The value; `***` for a secret, and the text with its `${…}` where it has some.
    #[schema(value_type = Object)]
    pub value: Value,
    /// Where it comes from: `default`, `file:LINE`, `env NAME` or `flag NAME`.
    pub origin: String,
}

/// All of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct Settings {
    #[schema(value_type = Vec<Setting>)]
    settings: Arc<Vec<Setting>>,
}

/// The configuration in force: every value with where it comes from, secrets hidden. Not for the holders of API keys, for it
/// names the others.
#[utoipa::path(get, path = "/v1/config",
    responses((status = 200, body = Settings), (status = 403, description = "It is not the caller's to see")))]
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
) -> Result<Json<Settings>, Problem> {
    if principal.is_confined() {
        return Err(Error::OperatorsOnly.into());
    }
    Ok(Json(Settings { settings: gateway.settings.load_full() }))
}

impl Gateway {
    /// Says what is configured, for those who look. To be called again when that changes.
    pub fn show_settings(&self, settings: Vec<Setting>) {
        self.settings.store(Arc::new(settings));
    }
}
