//! Instances of flows: which there are, and what one did.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use serde_json::Value;
use trunkline_model::Principal;

use super::events::pretty;
use super::html::{Html, encode, field, html, link, moment, plain, state, table, text};
use super::{Page, Refused, filled, list as list_of, parameter, parameters, said};
use crate::Gateway;
use crate::http::flows;

pub(super) const AT: &str = "/console/flows";

pub(super) async fn list(
    gateway: State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    uri: Uri,
) -> Result<Page, Refused> {
    let since = gateway.log.head();
    let uri = filled(&uri);
    let given = parameters(&uri);
    let found = said(flows::instances(gateway, principal, Query::try_from_uri(&uri)).await?);
    let form = html("<form method=\"get\" action=\"/console/flows\" role=\"search\" aria-label=\"Filter\">")
        .push(&field("status", "Status", parameter(&given, "status")))
        .push(&field("flow", "Flow", parameter(&given, "flow")))
        .raw("<button>Filter</button></form>");
    let body = form.push(&instances(&found));
    Ok(Page::new(AT, "Flows", body).follows("type=dev.trunkline.flow", since))
}

/// A table of instances, as `/v1/instances` has them.
pub(super) fn instances(found: &Value) -> Html {
    let row = |instance: &Value| {
        let id = plain(&instance["id"]);
        vec![
            link(&format!("{AT}/{}", encode(&id)), &id),
            text(&plain(&instance["flow"])),
            state(&plain(&instance["status"])),
            text(&plain(&instance["fault"])),
            text(&plain(&instance["principal"])),
            moment(&instance["started_ms"]),
            moment(&instance["ended_ms"]),
        ]
    };
    let rows: Vec<_> = list_of(found, "instances").iter().map(row).collect();
    table(
        "Instances, newest first, UTC",
        &["Instance", "Flow", "Status", "Why", "For", "Began", "Ended"],
        &rows,
    )
}

pub(super) async fn show(
    gateway: State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    path: Path<String>,
) -> Result<Page, Refused> {
    let since = gateway.log.head();
    let acts = !gateway.console.config().read_only;
    let shown = said(flows::show(gateway, principal, path).await?);
    let status = plain(&shown["status"]);
    let id = plain(&shown["id"]);
    let mut body = html("<p>").text(&plain(&shown["flow"])).raw(" · ").push(&state(&status)).raw(" · for ");
    body = body.text(&plain(&shown["principal"])).raw(" · began ").push(&moment(&shown["started_ms"]));
    if !shown["wake_ms"].is_null() {
        body = body.raw(" · waits until ").push(&moment(&shown["wake_ms"]));
    }
    body = body.raw("</p>");
    if let Some(fault) = shown["fault"].as_str() {
        body = body.raw("<p class=\"bad\">").text(fault).raw("</p>");
    }
    for (to, label) in [("retry_of", "In the place of"), ("retried_as", "Retried as")] {
        if let Some(other) = shown[to].as_str() {
            let other = link(&format!("{AT}/{}", encode(other)), other);
            body = body.raw("<p>").raw(label).raw(" ").push(&other).raw("</p>");
        }
    }
    if acts {
        body = body.push(&super::orders::offered(&shown));
    }
    body = body.push(&steps(&shown, acts)).push(&undos(&shown, acts)).push(&journal(&shown));
    if !shown["output"].is_null() {
        body = body.raw("<h2>Output</h2><pre>").text(&pretty(&shown["output"])).raw("</pre>");
    }
    Ok(Page::new(AT, &format!("Flow {id}"), body).follows("type=dev.trunkline.flow", since))
}

fn steps(shown: &Value, acts: bool) -> Html {
    let retries = acts && super::orders::may_retry(shown);
    let row = |step: &Value| {
        let took = step["duration_us"].as_f64().map(|us| format!("{:.1}", us / 1000.0));
        vec![
            text(&plain(&step["key"])),
            text(&plain(&step["target"])),
            state(&plain(&step["status"])),
            text(&plain(&step["attempt"])),
            moment(&step["started_ms"]),
            text(&took.unwrap_or_default()),
            text(&plain(&step["undoes"])),
            text(&plain(&step["fault"])),
            // A step that undoes another is none to begin with.
            if retries && step["undoes"].is_null() {
                super::orders::to(shown, "retry", ("from", &plain(&step["key"])), "Retry from here…")
            } else {
                Html::default()
            },
        ]
    };
    let rows: Vec<_> = list_of(shown, "steps").iter().map(row).collect();
    let heads = ["Step", "Tool", "Status", "Attempt", "Began", "Took, ms", "Undoes", "Why", "Again"];
    table("Steps, in the order of their last attempts, UTC", &heads, &rows)
}

pub(super) fn undos(shown: &Value, acts: bool) -> Html {
    let saga = &shown["saga"];
    let row = |step: &Value| {
        vec![
            text(&plain(&step["key"])),
            text(&plain(&step["target"])),
            text(&plain(&step["by"])),
            state(&plain(&step["undo"])),
        ]
    };
    let rows: Vec<_> = list_of(saga, "steps").iter().map(row).collect();
    let mut out = Html::default();
    if !rows.is_empty() {
        out = table("What can be, is or was undone", &["Step", "Tool", "Undone by", "Undo"], &rows);
    }
    let row = |stuck: &Value| {
        let key = plain(&stuck["key"]);
        let decide = match acts {
            true => super::orders::to(shown, "resolve", ("step", &key), "Decide…"),
            false => Html::default(),
        };
        vec![text(&key), moment(&stuck["since_ms"]), text(&plain(&stuck["fault"])), decide]
    };
    let rows: Vec<_> = list_of(saga, "stuck").iter().map(row).collect();
    if rows.is_empty() {
        out
    } else {
        out.push(&table("What waits for a person", &["Step", "Since", "Why", "What now"], &rows))
    }
}

fn journal(shown: &Value) -> Html {
    let row = |entry: &Value| {
        vec![
            text(entry["time"].as_str().and_then(|time| time.get(..19)).unwrap_or_default()),
            text(&plain(&entry["what"])),
            text(&plain(&entry["by"])),
            html("<details><summary>Entry</summary><pre>")
                .text(&pretty(&entry["entry"]))
                .raw("</pre></details>"),
        ]
    };
    let rows: Vec<_> = list_of(shown, "journal").iter().map(row).collect();
    table("Journal, UTC", &["When", "What", "By", "Entry"], &rows)
}
