//! What is broken and why, and how much goes on.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use serde_json::Value;
use trunkline_model::Principal;
use trunkline_telemetry::map;

use super::calls::deeds;
use super::html::{html, link, plain, state, table, text};
use super::{Page, Refused, list, said};
use crate::Gateway;
use crate::http::{alerts, audit, flows, metrics, services};

pub(super) async fn page(
    gateway: State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
) -> Result<Page, Refused> {
    let since = gateway.log.head();
    let all = said(services::list(gateway.clone(), principal.clone()).await);
    let services = list(&all, "services");
    let up = services.iter().filter(|service| service["state"] == "up").count();
    let tools: u64 = services.iter().filter_map(|service| service["tools"].as_u64()).sum();
    let stuck = Query::try_from_uri(&Uri::from_static("/?status=stuck&limit=20&count=true"));
    // Without an engine there are no flows.
    let stuck =
        flows::instances(gateway.clone(), principal.clone(), stuck).await.map(said).unwrap_or_default();
    let recent = Query::try_from_uri(&Uri::from_static("/?limit=10"));
    let recent = said(audit::list(gateway.clone(), principal.clone(), recent).await?);
    let mut body = html("<dl class=\"figures\">");
    for (name, value) in [
        ("Services up", format!("{up} of {}", services.len())),
        ("Tools", tools.to_string()),
        ("Stuck flows", stuck["count"].as_u64().unwrap_or(0).to_string()),
        ("Events in the record", gateway.log.head().to_string()),
    ] {
        body = body.raw("<div><dt>").text(name).raw("</dt><dd>").text(&value).raw("</dd></div>");
    }
    let seen = map::picture(&gateway.telemetry);
    let failing: Vec<_> = services.iter().filter_map(|service| failing(service, &seen)).collect();
    body = body.raw("</dl><h2>What is broken</h2>");
    if !failing.is_empty() {
        body = body.push(&table("Services that fail", &["Service", "State", "Why"], &failing));
    }
    if !list(&stuck, "instances").is_empty() {
        body = body.push(&super::flows::instances(&stuck));
        body = body.raw("<p>").push(&link("/console/flows?status=stuck", "All that are stuck")).raw("</p>");
    }
    let alerts = said(alerts::list(gateway.clone()).await);
    let alerts: Vec<_> =
        list(&alerts, "alerts").iter().filter(|alert| alert["state"] == "firing").map(alert).collect();
    if !alerts.is_empty() {
        body = body.push(&table("Alerts that fire", &["Alert", "State", "What"], &alerts));
    }
    if failing.is_empty() && list(&stuck, "instances").is_empty() && alerts.is_empty() {
        body = body.raw("<p class=\"good\">Nothing: no service fails, no flow is stuck, no alert fires.</p>");
    }
    let figures = said(metrics::kpis(gateway).await);
    let figures: Vec<_> = list(&figures, "kpis").iter().map(figure).collect();
    body = body.raw("<h2>Key figures</h2>");
    body = body.push(&table("Measured by this process", &["Figure", "Now", "Target"], &figures));
    body = body.raw("<h2>What was done last</h2>").push(&deeds(&recent));
    Ok(Page::new("/", "Overview", body).follows("type=dev.trunkline.", since))
}

/// A service that is not up, whose calls fail, or whose breakers are not closed.
fn failing(service: &Value, seen: &map::Picture) -> Option<Vec<super::html::Html>> {
    let id = plain(&service["id"]);
    let node = seen.nodes.iter().find(|node| node.kind == map::NodeKind::Service && node.name == id);
    let bad = node.filter(|node| node.health == "bad");
    let down = service["state"] != "up";
    if !down && bad.is_none() {
        return None;
    }
    let mut why: Vec<String> = service["cause"].as_str().map(str::to_owned).into_iter().collect();
    if let Some(node) = bad {
        why.extend(node.breakers.iter().map(|(tool, breaker)| format!("the breaker of {tool} is {breaker}")));
        if node.seen.errors > 0 {
            let minutes = seen.window_s / 60;
            let said =
                format!("{} of {} calls failed in {minutes} minutes", node.seen.errors, node.seen.calls);
            why.push(said);
        }
    }
    let how = if down { plain(&service["state"]) } else { "failing".to_owned() };
    let to = format!("/console/services#{}", super::html::encode(&id));
    Some(vec![link(&to, &id), state(&how), text(&why.join("; "))])
}

fn alert(alert: &Value) -> Vec<super::html::Html> {
    let said = match &alert["annotations"]["summary"] {
        Value::Null => plain(&alert["annotations"]["description"]),
        summary => plain(summary),
    };
    vec![text(&plain(&alert["name"])), state("firing"), text(&said)]
}

fn figure(figure: &Value) -> Vec<super::html::Html> {
    let now = match figure["recent"]["p99_ms"].as_f64() {
        Some(ms) if figure["recent"]["count"] != 0 => format!("{ms:.1} ms for 99 of 100"),
        _ => "nothing in the last five minutes".to_owned(),
    };
    let target = format!("at most {} ms", figure["target_ms"]);
    let title = text(&plain(&figure["title"]));
    let met = match figure["met"].as_bool() {
        Some(true) => html("<span class=\"state good\">").text(&target).raw(": met</span>"),
        Some(false) => html("<span class=\"state bad\">").text(&target).raw(": missed</span>"),
        None => text(&target),
    };
    vec![title, text(&now), met]
}
