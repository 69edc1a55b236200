//! The limits on callers: what is used, what is left, when it is back, and who was refused.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde_json::Value;
use trunkline_model::Principal;

use super::html::{Html, encode, html, link, plain, table, text};
use super::{Page, list, said};
use crate::Gateway;
use crate::http::limits;

pub(super) async fn page(gateway: State<Arc<Gateway>>, principal: Extension<Arc<Principal>>) -> Page {
    let since = gateway.log.head();
    let all = said(limits::list(gateway, principal).await);
    let mut body = html("<p>Counted by this process since the limits are in force. ");
    body = body.push(&link("/console/calls?outcome=refused", "All calls that were refused")).raw("</p>");
    for limit in list(&all, "limits") {
        body = body.push(&one(limit));
    }
    if list(&all, "limits").is_empty() {
        body = body.raw("<p class=\"quiet\">No limit is configured.</p>");
    }
    Page::new("/console/limits", "Limits", body).follows("type=dev.trunkline.tool_execution", since)
}

fn one(limit: &Value) -> Html {
    let each: Vec<String> = list(limit, "each").iter().map(plain).collect();
    let mut out = html("<section><h2>").text(&plain(&limit["name"])).raw("</h2><p>");
    let unit = limit["unit"].as_str().unwrap_or_default();
    out = out.text(&amount(&limit["limit"], unit)).raw(" in ").text(&time(&limit["window_ms"]));
    out = out.raw(", ").text(&amount(&limit["burst"], unit)).raw(" at once, ");
    let counted = if each.is_empty() {
        "for all together".to_owned()
    } else {
        format!("for each {}", each.join(" and "))
    };
    out = out.text(&counted);
    for (what, member) in [("principals", "principal"), ("services", "service"), ("tools", "tool")] {
        if limit[member] != "*" {
            out = out.raw(" · ").raw(what).raw(" <code>").text(&plain(&limit[member])).raw("</code>");
        }
    }
    out = out.raw("</p>");
    let row = |used: &Value| {
        let key: Vec<String> = list(used, "key").iter().map(plain).collect();
        let key = if key.is_empty() { "all".to_owned() } else { key.join(" · ") };
        let free = if used["free_ms"] == 0 { "now".to_owned() } else { time(&used["free_ms"]) };
        vec![
            text(&key),
            text(&amount(&used["used"], unit)),
            left(used, unit),
            text(&free),
            text(&time(&used["full_ms"])),
        ]
    };
    let rows: Vec<_> = list(limit, "used_by").iter().map(row).collect();
    let heads = ["For", "Used", "Left", "Room again in", "All back in"];
    out = out.push(&table("What is used now", &heads, &rows));
    if limit["left_out"] != 0 {
        out = out.raw("<p class=\"quiet\">and ").text(&plain(&limit["left_out"])).raw(" more</p>");
    }
    let row = |refusal: &Value| {
        let (principal, target) = (plain(&refusal["principal"]), plain(&refusal["target"]));
        let calls = format!(
            "/console/calls?outcome=refused&principal={}&target={}",
            encode(&principal),
            encode(&target)
        );
        vec![text(&format!("{} ago", time(&refusal["ago_ms"]))), text(&principal), link(&calls, &target)]
    };
    let rows: Vec<_> = list(limit, "last_refused").iter().map(row).collect();
    if !rows.is_empty() {
        out = out.push(&table("The last that were refused", &["When", "Who", "What"], &rows));
    }
    out.raw("</section>")
}

fn left(used: &Value, unit: &str) -> Html {
    let left = amount(&used["left"], unit);
    if used["left"] == 0 {
        html("<span class=\"state bad\">").text(&left).raw("</span>")
    } else {
        text(&left)
    }
}

/// Units in words. Money is in millionths.
fn amount(units: &Value, unit: &str) -> String {
    match unit {
        "money-micros" => format!("{:.2}", units.as_f64().unwrap_or_default() / 1e6),
        "requests" => format!("{units} calls"),
        "content-bytes" => format!("{units} bytes"),
        unit => format!("{units} {unit}"),
    }
}

/// Milliseconds in words.
fn time(ms: &Value) -> String {
    match ms.as_u64().unwrap_or_default() {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms @ 1_000..120_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        ms @ 120_000..7_200_000 => format!("{} min", ms / 60_000),
        ms => format!("{} h", ms / 3_600_000),
    }
}
