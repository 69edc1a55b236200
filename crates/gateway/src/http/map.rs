//! The service map.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use trunkline_model::Principal;
use trunkline_telemetry::map;
use utoipa::IntoParams;

use super::problem::Problem;
use crate::{Error, Gateway};

/// How the map is wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// `json` (the default) or `mermaid`.
    format: Option<String>,
    /// `auto` (the default: above 60 nodes) or `none`.
    group: Option<String>,
    /// Groups that are not folded, separated by commas: their ids.
    open: Option<String>,
}

/// Who was seen to call what in the last five minutes: nodes and edges, with rates, errors, times and breakers. Above 60
/// nodes those are drawn as one that belong together by their names. The holder of an
/// API key sees no other callers.
#[utoipa::path(get, path = "/v1/map", params(How),
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    how: Result<Query<How>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(how) = how.map_err(|error| Error::Params(error.body_text()))?;
    let picture = picture(&gateway, &principal, how.group.as_deref(), how.open.as_deref())?;
    match how.format.as_deref() {
        None | Some("json") => Ok(Json(picture).into_response()),
        Some("mermaid") => {
            let mut response = map::mermaid(&picture).into_response();
            let kind = HeaderValue::from_static("text/vnd.mermaid; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            Ok(response)
        }
        Some(other) => Err(Error::Params(format!("format {other:?} is neither json nor mermaid")).into()),
    }
}

/// The map as a principal may see it. `open` are groups that are not folded, separated by commas.
pub(crate) fn picture(
    gateway: &Gateway,
    principal: &Principal,
    group: Option<&str>,
    open: Option<&str>,
) -> Result<map::Picture, Error> {
    let mut picture = map::picture(&gateway.telemetry);
    if principal.is_confined() {
        picture = picture.without_callers(&principal.id);
    }
    match group {
        None | Some("auto") => {
            let open: Vec<String> = open.iter().flat_map(|open| open.split(',')).map(str::to_owned).collect();
            Ok(map::grouped(picture, &open))
        }
        Some("none") => Ok(picture),
        Some(other) => Err(Error::Params(format!("group {other:?} is neither auto nor none"))),
    }
}
