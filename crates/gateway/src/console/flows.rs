//! Instances of flows: which there are, what one did, and the buttons that cancel and undo.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::{Value, json};
use trunkline_model::Principal;

use super::events::pretty;
use super::html::{Html, encode, field, html, link, moment, plain, state, table, text};
use super::{Page, Refused, filled, list as list_of, parameter, parameters, said};
use crate::http::flows;
use crate::server::read_body;
use crate::{Error, Gateway};

const AT: &str = "/console/flows";

/// The largest form.
const MAX_FORM: usize = 16 << 10;

/// How long a form can be sent after it was shown, in seconds.
const FORM_SECONDS: i64 = 3600;

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
    let verb = match status.as_str() {
        "running" | "waiting" => Some(("cancel", "Cancel it…")),
        "completed" => Some(("undo", "Undo it…")),
        _ => None,
    };
    if let Some((verb, label)) = verb {
        body = body.raw("<p>").push(&link(&format!("{AT}/{}/{verb}", encode(&id)), label)).raw("</p>");
    }
    body = body.push(&steps(&shown)).push(&undos(&shown)).push(&journal(&shown));
    if !shown["output"].is_null() {
        body = body.raw("<h2>Output</h2><pre>").text(&pretty(&shown["output"])).raw("</pre>");
    }
    Ok(Page::new(AT, &format!("Flow {id}"), body).follows("type=dev.trunkline.flow", since))
}

fn steps(shown: &Value) -> Html {
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
        ]
    };
    let rows: Vec<_> = list_of(shown, "steps").iter().map(row).collect();
    let heads = ["Step", "Tool", "Status", "Attempt", "Began", "Took, ms", "Undoes", "Why"];
    table("Steps, in the order of their last attempts, UTC", &heads, &rows)
}

fn undos(shown: &Value) -> Html {
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
        vec![text(&plain(&stuck["key"])), moment(&stuck["since_ms"]), text(&plain(&stuck["fault"]))]
    };
    let rows: Vec<_> = list_of(saga, "stuck").iter().map(row).collect();
    if rows.is_empty() {
        out
    } else {
        out.push(&table("What waits for a person", &["Step", "Since", "Why"], &rows))
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

/// Asks whether an instance is to be cancelled or undone.
pub(super) async fn confirm(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    Path((id, verb)): Path<(String, String)>,
) -> Result<Page, Refused> {
    let (title, means) = told(&verb)?;
    let shown = said(flows::show(State(gateway.clone()), principal.clone(), Path(id)).await?);
    let id = plain(&shown["id"]);
    let now = (gateway.sources.now)().as_second().to_string();
    let token = gateway.sealer.seal(&now, &purpose(&verb, &id, &principal));
    let token = token.ok_or_else(|| Error::Log("the form can't be sealed".to_owned()))?;
    let to = format!("{AT}/{}/{verb}", encode(&id));
    let body = html("<p>").text(&plain(&shown["flow"])).raw(" · ").push(&state(&plain(&shown["status"])));
    let body = body.raw("</p><p>").raw(means).raw("</p>").push(&undos(&shown));
    let body = body.raw("<form method=\"post\" action=\"").text(&to).raw("\">");
    let body = body.raw("<input type=\"hidden\" name=\"token\" value=\"").text(&token).raw("\">");
    let body = body.push(&field("reason", "Why, for the record", "")).raw("<button>").raw(title);
    let body =
        body.raw("</button></form><p>").push(&link(&format!("{AT}/{}", encode(&id)), "Leave it as it is"));
    Ok(Page::new(AT, &format!("{title} {id}?"), body.raw("</p>")))
}

/// Cancels or undoes an instance: `/v1/instances/{id}:{verb}` for the one who was asked.
pub(super) async fn act(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    Path((id, verb)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    told(&verb)?;
    let form = read_body(body, MAX_FORM).await?;
    let form = std::str::from_utf8(&form).ok().and_then(|form| format!("/?{form}").parse::<Uri>().ok());
    let form = form.map(|form| parameters(&form)).unwrap_or_default();
    own(&headers)?;
    let sealed = gateway.sealer.open(parameter(&form, "token"), &purpose(&verb, &id, &principal));
    let shown = sealed.and_then(|second| second.parse::<i64>().ok());
    let now = (gateway.sources.now)().as_second();
    if !shown.is_some_and(|shown| (0..=FORM_SECONDS).contains(&(now - shown))) {
        return Err(Error::Form("its token is missing, too old, or for something else").into());
    }
    let reason = Some(parameter(&form, "reason")).filter(|reason| !reason.is_empty());
    let order = json!({"reason": reason}).to_string();
    let _ = flows::order(State(gateway), principal, Path(format!("{id}:{verb}")), Body::from(order)).await?;
    Ok(Redirect::to(&format!("{AT}/{}", encode(&id))).into_response())
}

/// The button of an order and what the order means.
fn told(verb: &str) -> Result<(&'static str, &'static str), Error> {
    match verb {
        "cancel" => Ok(("Cancel", "It stops, and what it has done is undone.")),
        "undo" => Ok(("Undo", "What it did is undone, the last first, by the tools below.")),
        _ => Err(Error::NotFound(format!("{AT}/…/{}", verb.chars().take(64).collect::<String>()))),
    }
}

/// What a token is good for, and for whom.
fn purpose(verb: &str, id: &str, principal: &Principal) -> String {
    format!("console {verb} {id} {}", &*principal.id)
}

/// Browsers say where a form was: it must have been on a page of this very origin.
fn own(headers: &HeaderMap) -> Result<(), Error> {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = value(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    if origin.is_some_and(|(_, authority)| Some(authority) == value(header::HOST)) {
        return Ok(());
    }
    Err(Error::Form("it does not come from a page of this origin"))
}
