//! Traces: those that are kept, and one as a waterfall.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use serde_json::Value;
use trunkline_model::Principal;
use trunkline_telemetry::span::Status;
use trunkline_telemetry::waterfall::{Shown, Waterfall};

use super::html::{Html, encode, field, html, link, plain, state, table, text};
use super::waterfall::{Scale, View};
use super::{Page, Parameters, Refused, filled, list as list_of, parameter, parameters, said};
use crate::http::traces;
use crate::{Error, Gateway};

const AT: &str = "/console/traces";

pub(super) async fn list(
    gateway: State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    uri: Uri,
) -> Result<Page, Refused> {
    let since = gateway.log.head();
    let uri = filled(&uri);
    let given = parameters(&uri);
    let found = said(traces::list(gateway, principal, Query::try_from_uri(&uri)).await?);
    let mut body =
        html("<form method=\"get\" action=\"/console/traces\" role=\"search\" aria-label=\"Filter\">");
    for (name, label) in [
        ("q", "Name, tool or error"),
        ("service", "Service"),
        ("target", "Tool"),
        ("status", "Status (ok, error)"),
        ("min_ms", "Took at least, ms"),
    ] {
        body = body.push(&field(name, label, parameter(&given, name)));
    }
    let row = |trace: &Value| {
        let id = plain(&trace["trace_id"]);
        let names = |member: &str| list_of(trace, member).iter().map(plain).collect::<Vec<_>>().join(", ");
        vec![
            text(trace["start"].as_str().and_then(|time| time.get(..19)).unwrap_or_default()),
            link(&format!("{AT}/{}", encode(&id)), &plain(&trace["name"])),
            text(&names("services")),
            state(&plain(&trace["status"])),
            text(&format!("{:.1}", trace["duration_ms"].as_f64().unwrap_or_default())),
            text(&plain(&trace["spans"])),
            text(&names("principals")),
            text(&plain(&trace["error"])),
        ]
    };
    let rows: Vec<_> = list_of(&found, "traces").iter().map(row).collect();
    let heads = ["Began", "What", "Services", "Status", "Took, ms", "Spans", "For", "Why"];
    body = body.raw("<button>Filter</button></form>").push(&table("Newest first, UTC", &heads, &rows));
    if let Some(next) = found["next"].as_u64() {
        body = body.raw("<p>").push(&link(&older(&given, next), "Older")).raw("</p>");
    }
    let page = Page::new(AT, "Traces", body);
    Ok(if given.contains_key("before") { page } else { page.follows("type=dev.trunkline.", since) })
}

fn older(given: &Parameters, next: u64) -> String {
    super::with(AT, given, &[("before", &next.to_string())])
}

pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Page, Refused> {
    let given = parameters(&filled(&uri));
    let seen = traces::read(&gateway, &principal, id, traces::MAX_SPANS).await?;
    let span = parameter(&given, "span");
    let from = match parameter(&given, "from") {
        "" => None,
        from => Some(from.parse::<usize>().map_err(|_| Error::Params("from is no number".to_owned()))?),
    };
    let view = View::of(&seen, span, from).ok_or_else(|| Error::Params("no span has this id".to_owned()))?;
    let scale = Scale::of(&seen);
    let title = format!("Trace {}", seen.trace.trace_id);
    Ok(Page::new(AT, &title, head(&seen).push(&table_of(&seen, &view, &scale)).push(&turns(&seen, &view))))
}

/// What is known of the whole.
fn head(seen: &Waterfall) -> Html {
    let trace = &seen.trace;
    let mut out = html("<p>").text(&trace.name).raw(" · ").push(&state(trace.status)).raw(" · began ");
    out = out.text(trace.start.to_string().get(..19).unwrap_or_default()).raw(" · took ");
    out = out.text(&format!("{:.1} ms · {} spans", trace.duration_ms, trace.spans));
    if !trace.principals.is_empty() {
        out = out.raw(" · for ").text(&trace.principals.join(", "));
    }
    out = out.raw("</p>");
    if let Some(error) = &trace.error {
        out = out.raw("<p class=\"bad\">").text(error).raw("</p>");
    }
    for instance in &trace.instances {
        out = out
            .raw("<p>")
            .push(&link(&format!("/console/flows/{}", encode(instance)), "Its flow"))
            .raw("</p>");
    }
    for gap in &seen.gaps {
        let words = format!(
            "Nothing but waiting from {:.1} to {:.1} ms: drawn short, between two lines.",
            gap.start_ms, gap.end_ms
        );
        out = out.raw("<p class=\"quiet\">").text(&words).raw("</p>");
    }
    if seen.missing_parents > 0 {
        let words = format!("{} spans name a parent that is not here.", seen.missing_parents);
        out = out.raw("<p class=\"quiet\">").text(&words).raw("</p>");
    }
    let packet = format!("/v1/traces/{}/packet", trace.trace_id);
    out.raw("<p>").push(&link(&packet, "As text for a model")).raw("</p>")
}

fn table_of(seen: &Waterfall, view: &View, scale: &Scale) -> Html {
    let least = view.rows.iter().map(|(row, _)| seen.rows[*row].depth).min().unwrap_or(0);
    let row = |(row, hidden): &(usize, usize)| {
        let span = &seen.rows[*row];
        vec![
            name(seen, span, span.depth - least, *hidden),
            text(&span.service),
            scale.bar(span),
            text(&format!("{:.1}", span.start_ms)),
            text(&format!("{:.1}", span.duration_ms)),
            text(&if span.critical_ms > 0.0 { format!("{:.1}", span.critical_ms) } else { String::new() }),
        ]
    };
    let rows: Vec<_> = view.rows.iter().map(row).collect();
    let heads = ["Span", "Service", "When", "Began, ms", "Took, ms", "Critical, ms"];
    let caption = "Spans before their children; dark bars have a share of the critical path";
    html("<div class=\"waterfall\">").push(&table(caption, &heads, &rows)).raw("</div>")
}

/// What a span does, and more of it.
fn name(seen: &Waterfall, span: &Shown, depth: usize, hidden: usize) -> Html {
    let mut out = html("<div class=\"deep").text(&depth.min(12).to_string()).raw("\">");
    let failed = span.status == Status::Error;
    out = out.raw("<details><summary>").raw(if failed { "<span class=\"state bad\">" } else { "<span>" });
    out = out.text(&span.name).raw("</span></summary><dl>");
    for (name, value) in &span.attributes {
        out = out.raw("<dt>").text(name).raw("</dt><dd>").text(&plain(value)).raw("</dd>");
    }
    for event in &span.events {
        let (at, name) = (plain(&event["at_ms"]), plain(&event["name"]));
        out = out.raw("<dt>").text(&format!("{at} ms")).raw("</dt><dd>").text(&name).raw(" ");
        out = out.text(&plain(&event["attributes"])).raw("</dd>");
    }
    out = out.raw("</dl></details>");
    if let Some(error) = &span.error {
        out = out.raw("<p class=\"bad\">").text(error).raw("</p>");
    }
    if hidden > 0 {
        let to = format!("{AT}/{}?span={}", seen.trace.trace_id, span.span_id);
        out = out.raw("<p>").push(&link(&to, &format!("{hidden} more below"))).raw("</p>");
    }
    out.raw("</div>")
}

/// Ways to the other spans.
fn turns(seen: &Waterfall, view: &View) -> Html {
    let at = format!("{AT}/{}", seen.trace.trace_id);
    let mut out = html("<p>");
    let span = |to: usize| match view.root {
        Some(root) => format!("{at}?span={}&from={to}", seen.rows[root].span_id),
        None => format!("{at}?from={to}"),
    };
    if view.root.is_some() {
        out = out.push(&link(&at, "The whole trace")).raw(" · ");
    }
    match view.from {
        None if view.left_out > 0 => out = out.push(&link(&span(0), "All of them, one after the other")),
        None => {}
        Some((from, _)) if from > 0 => {
            out = out.push(&link(&span(from.saturating_sub(super::waterfall::ROWS)), "Before")).raw(" · ");
        }
        Some(_) => {}
    }
    if let Some((_, Some(next))) = view.from {
        out = out.push(&link(&span(next), "After"));
    }
    if seen.left_out > 0 {
        out = out.text(&format!(" {} spans are more than are read.", seen.left_out));
    }
    out.raw("</p>")
}
