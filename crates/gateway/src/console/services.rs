//! The services: how they are and why, where they run, and how their tools are guarded.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde_json::Value;
use trunkline_model::Principal;

use super::html::{Html, html, link, plain, state, table, text};
use super::{Page, list, said};
use crate::Gateway;
use crate::http::services;

pub(super) async fn page(gateway: State<Arc<Gateway>>, principal: Extension<Arc<Principal>>) -> Page {
    let since = gateway.log.head();
    let all = said(services::list(gateway, principal).await);
    let mut body = Html::default();
    for service in list(&all, "services") {
        body = body.push(&one(service));
    }
    if list(&all, "services").is_empty() {
        body = html("<p>No service is configured. See <a href=\"/console/connect\">Connect</a>.</p>");
    }
    Page::new("/console/services", "Services", body).follows("type=dev.trunkline.", since)
}

fn one(service: &Value) -> Html {
    let id = plain(&service["id"]);
    let mut out = html("<section id=\"")
        .text(&super::html::encode(&id))
        .raw("\"><h2>")
        .text(&id)
        .raw(" ")
        .push(&state(&plain(&service["state"])))
        .raw("</h2>");
    if let Some(cause) = service["cause"].as_str() {
        out = out.raw("<p class=\"bad\">").text(cause).raw("</p>");
    }
    out = out.raw("<p>").text(&plain(&service["protocol"])).raw(" · ");
    let tools = format!("/console/tools?service={}", super::html::encode(&id));
    out = out.push(&link(&tools, &format!("{} tools", service["tools"]))).raw(" · ");
    let rest = format!(
        "{} prompts · {} resources · restarted {} times",
        service["prompts"], service["resources"], service["restarts"]
    );
    out = out.text(&rest).raw(" · ");
    let failed = format!("/console/calls?outcome=failed&service={}", super::html::encode(&id));
    out = out.push(&link(&failed, "calls that failed")).raw(" · ");
    out = out
        .push(&link(&format!("/console/events?target={}", super::html::encode(&id)), "its changes"))
        .raw("</p>");
    if let Some(load) = service["load"].as_object() {
        let load =
            format!("{} of {} calls at a time, {} wait", load["running"], load["limit"], load["waiting"]);
        out = out.raw("<p>").text(&load).raw("</p>");
    }
    if !list(service, "instances").is_empty() {
        out = out.push(&instances(service));
    }
    if !list(service, "tools_guarded").is_empty() {
        out = out.push(&guards(service));
    }
    if !list(service, "stderr").is_empty() {
        out = out.raw("<details><summary>Its last lines on standard error</summary><pre>");
        for line in list(service, "stderr") {
            out = out.text(&plain(line)).raw("\n");
        }
        out = out.raw("</pre></details>");
    }
    out.raw("</section>")
}

fn instances(service: &Value) -> Html {
    let row = |instance: &Value| {
        let healthy = if instance["healthy"] == true { "healthy" } else { "unhealthy" };
        let column = |member: &str| text(&plain(&instance[member]));
        vec![
            column("url"),
            state(healthy),
            column("cause"),
            column("zone"),
            column("version"),
            column("pending"),
            column("latency_ms"),
            column("ejections"),
        ]
    };
    let rows: Vec<_> = list(service, "instances").iter().map(row).collect();
    let heads = ["Where", "Health", "Why", "Zone", "Version", "Running", "Latency, ms", "Ejected"];
    table("Instances", &heads, &rows)
}

fn guards(service: &Value) -> Html {
    let row = |guarded: &Value| {
        let guard = &guarded["guard"];
        vec![
            text(&plain(&guarded["tool"])),
            state(&plain(&guard["breaker"])),
            text(&guard["p99_ms"].as_f64().map(|ms| format!("{ms:.1}")).unwrap_or_default()),
            text(&plain(&guard["timeout_ms"])),
        ]
    };
    let rows: Vec<_> = list(service, "tools_guarded").iter().map(row).collect();
    table("Tools that were called lately", &["Tool", "Breaker", "99 of 100 within, ms", "Timeout, ms"], &rows)
}
