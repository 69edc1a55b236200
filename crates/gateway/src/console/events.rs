//! The event log, as it grows.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri};
use serde_json::Value;
use trunkline_model::Principal;

use super::html::{field, html, link, plain, table, text};
use super::{Page, Refused, body_of, filled, list, parameter, parameters};
use crate::Gateway;
use crate::http::events;

pub(super) async fn page(
    gateway: State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    uri: Uri,
) -> Result<Page, Refused> {
    let since = gateway.log.head();
    let uri = filled(&uri);
    let given = parameters(&uri);
    let found = events::list(gateway, principal, HeaderMap::new(), Query::try_from_uri(&uri)).await?;
    let found = body_of(found).await?;
    let form = html("<form method=\"get\" action=\"/console/events\" role=\"search\" aria-label=\"Filter\">")
        .push(&field("type", "Type begins with", parameter(&given, "type")))
        .push(&field("target", "Target", parameter(&given, "target")))
        .push(&field("from", "From position", parameter(&given, "from")))
        .raw("<button>Filter</button></form>");
    let row = |event: &Value| {
        vec![
            text(&plain(&event["sequence"])),
            text(event["time"].as_str().and_then(|time| time.get(..19)).unwrap_or_default()),
            text(&plain(&event["type"])),
            text(&plain(&event["subject"])),
            html("<details><summary>Data</summary><pre>")
                .text(&pretty(&event["data"]))
                .raw("</pre></details>"),
        ]
    };
    let rows: Vec<_> = list(&found, "events").iter().rev().map(row).collect();
    let mut body =
        form.push(&table("Newest first, UTC", &["Position", "When", "Type", "Target", "Data"], &rows));
    let to = |name: &str, position: u64| {
        let mut kept = given.clone();
        kept.retain(|name, _| !matches!(&**name, "from" | "before"));
        super::with("/console/events", &kept, &[(name, &position.to_string())])
    };
    let fixed = given.contains_key("from") || given.contains_key("before");
    body = body.raw("<p>");
    if let Some(next) = found["next"].as_u64().filter(|_| fixed && found["end"] == false) {
        body = body.push(&link(&to("from", next), "Newer")).raw(" ");
    }
    let first = list(&found, "events").first().and_then(|event| event["sequence"].as_str()?.parse().ok());
    let older = found["older"].as_u64().or(first.filter(|_| given.contains_key("from")));
    if let Some(before) = older {
        body = body.push(&link(&to("before", before), "Older"));
    }
    body = body.raw("</p>");
    let page = Page::new("/console/events", "Events", body);
    Ok(if fixed { page } else { page.follows("limit=1", since) })
}

/// JSON in lines.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
