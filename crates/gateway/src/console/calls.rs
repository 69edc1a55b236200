//! Who did what, and what came of it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use serde_json::Value;
use trunkline_model::Principal;

use super::html::{Html, encode, field, html, link, plain, state, table, text};
use super::{Page, Parameters, Refused, filled, list, parameter, parameters, said};
use crate::Gateway;
use crate::http::audit;

pub(super) async fn page(
    gateway: State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    uri: Uri,
) -> Result<Page, Refused> {
    let since = gateway.log.head();
    let uri = filled(&uri);
    let given = parameters(&uri);
    let found = said(audit::list(gateway, principal, Query::try_from_uri(&uri)).await?);
    let mut body =
        html("<form method=\"get\" action=\"/console/calls\" role=\"search\" aria-label=\"Filter\">");
    for (name, label) in [
        ("principal", "Who"),
        ("service", "Service"),
        ("target", "Tool or flow"),
        ("action", "Action"),
        ("outcome", "Outcome"),
    ] {
        body = body.push(&field(name, label, parameter(&given, name)));
    }
    body = body.raw("<button>Filter</button></form>").push(&deeds(&found));
    if let Some(next) = found["next"].as_u64() {
        body = body.raw("<p>").push(&link(&older(&given, next), "Older")).raw("</p>");
    }
    let page = Page::new("/console/calls", "Calls", body);
    // What is old does not change.
    Ok(if given.contains_key("before") { page } else { page.follows("type=dev.trunkline.", since) })
}

fn older(given: &Parameters, next: u64) -> String {
    super::with("/console/calls", given, &[("before", &next.to_string())])
}

/// A table of deeds, as `/v1/audit` has them.
pub(super) fn deeds(found: &Value) -> Html {
    let row = |deed: &Value| {
        let column = |member: &str| text(&plain(&deed[member]));
        let target = plain(&deed["target"]);
        let correlation = plain(&deed["correlation"]);
        let what = if deed["action"].as_str().is_some_and(|action| action.starts_with("console.")) {
            text(&target)
        } else if deed["action"] == "call" {
            link(&format!("/console/calls?target={}", encode(&target)), &target)
        } else {
            link(&format!("/console/flows/{}", encode(&correlation)), &target)
        };
        vec![
            text(deed["time"].as_str().and_then(|time| time.get(..19)).unwrap_or_default()),
            column("who"),
            column("action"),
            what,
            state(&plain(&deed["outcome"])),
            column("detail"),
            column("via"),
            match deed["trace"].as_str() {
                Some(trace) => link(&format!("/console/traces/{}", encode(trace)), "Trace"),
                None => Html::default(),
            },
        ]
    };
    let rows: Vec<_> = list(found, "deeds").iter().map(row).collect();
    table("Newest first, UTC", &["When", "Who", "Action", "To what", "Outcome", "Why", "By", "Trace"], &rows)
}
