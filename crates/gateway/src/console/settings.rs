//! The configuration in force: each value with where it comes from.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use serde_json::Value;
use trunkline_model::Principal;

use super::html::{Html, field, html, plain, table, text};
use super::{Page, Refused, filled, list, parameter, parameters, said};
use crate::Gateway;
use crate::http::settings;

/// The most values of a page.
const ROWS: usize = 1_000;

pub(super) async fn page(
    gateway: State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    uri: Uri,
) -> Result<Page, Refused> {
    let given = parameters(&filled(&uri));
    let (place, origin) = (parameter(&given, "path"), parameter(&given, "origin"));
    let all = said(settings::list(gateway, principal).await?);
    let settings = list(&all, "settings");
    let fits = |setting: &&Value| {
        let is = |member: &str, wanted: &str| setting[member].as_str().is_some_and(|is| is.contains(wanted));
        is("path", place) && is("origin", origin)
    };
    let found: Vec<&Value> = settings.iter().filter(fits).collect();
    let form = html("<form method=\"get\" action=\"/console/config\" role=\"search\" aria-label=\"Filter\">")
        .push(&field("path", "Setting", place))
        .push(&field("origin", "Comes from (file, env, flag, default)", origin))
        .raw("<button>Filter</button></form>");
    let row = |setting: &&Value| {
        let origin = plain(&setting["origin"]);
        let path = html("<code>").text(&plain(&setting["path"])).raw("</code>");
        let shown =
            if origin == "default" { html("<span class=\"quiet\">default</span>") } else { text(&origin) };
        vec![path, value(&setting["value"]), shown]
    };
    let rows: Vec<_> = found.iter().take(ROWS).map(row).collect();
    let mut body = form.push(&table("In force, secrets hidden", &["Setting", "Value", "Comes from"], &rows));
    if found.len() > ROWS {
        let more = (found.len() - ROWS).to_string();
        body = body.raw("<p class=\"quiet\">and ").text(&more).raw(" more: filter them.</p>");
    }
    Ok(Page::new("/console/config", "Config", body))
}

fn value(value: &Value) -> Html {
    match value {
        Value::Null => html("<span class=\"quiet\">not set</span>"),
        value => text(&plain(value)),
    }
}
