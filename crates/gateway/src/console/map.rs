//! The service map, drawn: who was seen to call what, column by column, and the same as tables.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use trunkline_model::Principal;
use trunkline_telemetry::map::{Drawn, Edge, NodeKind, Picture, Seen};

use super::html::{Html, encode, html, link, state, table, text};
use super::{Page, Refused, filled, parameter, parameters};
use crate::Gateway;
use crate::http::map;

const AT: &str = "/console/map";

/// The box of a node, and the room around it.
const WIDTH: usize = 200;
const HEIGHT: usize = 68;
const ACROSS: usize = 290;
const DOWN: usize = 84;
const EDGE: usize = 10;

pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    uri: Uri,
) -> Result<Page, Refused> {
    let since = gateway.log.head();
    let given = parameters(&filled(&uri));
    let value = |name: &str| Some(parameter(&given, name)).filter(|value| !value.is_empty());
    let mut picture = map::picture(&gateway, &principal, value("group"), value("open"))?;
    callers(&mut picture);
    let minutes = (picture.window_s / 60).to_string();
    let mut body = html("<p>Seen in the last ")
        .text(&minutes)
        .raw(" minutes: who calls on the left, who is called on the right. ");
    body = body.push(&link("/v1/map?format=mermaid", "As text for a model")).raw("</p>");
    if picture.grouped || value("open").is_some() || value("group").is_some() {
        body = body.raw("<p>").push(&link(AT, "Grouped")).raw(" · ");
        body = body.push(&link(&format!("{AT}?group=none"), "Every node by itself")).raw("</p>");
    }
    body = body
        .push(&drawing(&picture, parameter(&given, "open")))
        .push(&tables(&picture, parameter(&given, "open")));
    Ok(Page::new(AT, "Map", body).follows("type=dev.trunkline.", since))
}

/// Nothing is asked of those who call: what is shown of them is what they asked for. That it failed is not their fault.
fn callers(picture: &mut Picture) {
    for node in picture.nodes.iter_mut().filter(|node| node.seen.calls == 0 && node.column == 0) {
        for edge in picture.edges.iter().filter(|edge| edge.from == node.id) {
            let (calls, more) = (node.seen.calls, edge.seen.calls);
            #[expect(clippy::cast_precision_loss, reason = "a mean that is shown with one digit")]
            let share = more as f64 / (calls + more).max(1) as f64;
            let mean = node.seen.mean_ms;
            node.seen.mean_ms += (edge.seen.mean_ms - mean) * share;
            node.seen.error_share += (edge.seen.error_share - node.seen.error_share) * share;
            node.seen.calls += more;
            node.seen.errors += edge.seen.errors;
            node.seen.rate += edge.seen.rate;
            node.seen.max_ms = node.seen.max_ms.max(edge.seen.max_ms);
        }
        if node.seen.calls > 0 {
            node.health = "good";
        }
    }
}

/// Where each node stands: its column, and its place by name in there.
fn places(picture: &Picture) -> HashMap<&str, (usize, usize)> {
    let mut columns: Vec<usize> = picture.nodes.iter().map(|node| node.column).collect();
    columns.dedup();
    let mut next: HashMap<usize, usize> = HashMap::new();
    let place = |node: &'_ Drawn| {
        let column = columns.iter().position(|column| *column == node.column).unwrap_or(0);
        let row = next.entry(node.column).or_default();
        *row += 1;
        (column * ACROSS + EDGE, (*row - 1) * DOWN + EDGE)
    };
    let at: Vec<(usize, usize)> = picture.nodes.iter().map(place).collect();
    picture.nodes.iter().zip(at).map(|(node, at)| (&*node.id, at)).collect()
}

fn drawing(picture: &Picture, open: &str) -> Html {
    if picture.nodes.is_empty() {
        return html("<p class=\"quiet\">Nothing was seen yet.</p>");
    }
    let places = places(picture);
    let most = |of: fn(&(usize, usize)) -> usize| places.values().map(of).max().unwrap_or(0);
    let (width, height) = (most(|at| at.0) + WIDTH + EDGE, most(|at| at.1) + HEIGHT + EDGE);
    let mut out = html("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"The map\"><svg class=\"map\" role=\"group\" ")
        .raw("aria-label=\"Services and who calls them; the tables below say the same\" width=\"")
        .text(&width.to_string()).raw("\" height=\"").text(&height.to_string()).raw("\">");
    for edge in &picture.edges {
        if let (Some(from), Some(to)) = (places.get(&*edge.from), places.get(&*edge.to)) {
            out = out.push(&line(edge, *from, *to));
        }
    }
    for node in &picture.nodes {
        if let Some(at) = places.get(&*node.id) {
            out = out.push(&shape(node, *at, open));
        }
    }
    out.raw("</svg></div>")
}

fn line(edge: &Edge, from: (usize, usize), to: (usize, usize)) -> Html {
    let (start, end) = ((from.0 + WIDTH, from.1 + HEIGHT / 2), (to.0, to.1 + HEIGHT / 2));
    // A call back, or within a column, goes around on the right.
    let (end, bend) = if end.0 > start.0 {
        (end, end.0.midpoint(start.0))
    } else {
        ((to.0 + WIDTH, end.1), start.0.max(to.0 + WIDTH) + 40)
    };
    let path = format!("M{} {}C{bend} {} {bend} {} {} {}", start.0, start.1, start.1, end.1, end.0, end.1);
    let class = match (edge.seen.calls, edge.seen.errors) {
        (0, _) => "<path class=\"edge idle\" d=\"",
        (_, 0) => "<path class=\"edge\" d=\"",
        _ => "<path class=\"edge failed\" d=\"",
    };
    html(class)
        .text(&path)
        .raw("\"><title>")
        .text(&format!("{} → {}: {}", edge.from, edge.to, traffic(&edge.seen)))
        .raw("</title></path>")
}

fn shape(node: &Drawn, (x, y): (usize, usize), open: &str) -> Html {
    let class = match node.health {
        "bad" => "<a class=\"node bad\" href=\"",
        "good" => "<a class=\"node good\" href=\"",
        _ => "<a class=\"node idle\" href=\"",
    };
    let mut out = html(class)
        .text(&target(node, open))
        .raw("\"><rect rx=\"6\" x=\"")
        .text(&x.to_string())
        .raw("\" y=\"")
        .text(&y.to_string());
    out = out
        .raw("\" width=\"")
        .text(&WIDTH.to_string())
        .raw("\" height=\"")
        .text(&HEIGHT.to_string())
        .raw("\"/>");
    for (line, (words, class)) in [
        (short(&node.name, 24), "\" class=\"name\">"),
        (format!("{} · {}", kind(node), short(&how(node), 26)), "\">"),
        (short(&traffic(&node.seen), 34), "\">"),
    ]
    .into_iter()
    .enumerate()
    {
        out = out
            .raw("<text x=\"")
            .text(&(x + 10).to_string())
            .raw("\" y=\"")
            .text(&(y + 20 + line * 19).to_string());
        out = out.raw(class).text(&words).raw("</text>");
    }
    out.raw("<title>").text(&format!("{}: {}", node.name, how(node))).raw("</title></a>")
}

/// Where the cause is found.
fn target(node: &Drawn, open: &str) -> String {
    let name = encode(&node.name);
    match node.kind {
        NodeKind::Service => format!("/console/services#{name}"),
        NodeKind::Group => {
            let all = if open.is_empty() { node.id.clone() } else { format!("{open},{}", node.id) };
            format!("{AT}?open={}", encode(&all))
        }
        NodeKind::Principal => format!("/console/calls?principal={name}"),
        NodeKind::Flows => "/console/flows".to_owned(),
        NodeKind::Door => "/console/calls".to_owned(),
        NodeKind::Agent | NodeKind::Beyond => format!("/console/traces?service={name}"),
    }
}

fn kind(node: &Drawn) -> &'static str {
    match node.kind {
        NodeKind::Agent => "agent",
        NodeKind::Principal => "caller",
        NodeKind::Door => "door",
        NodeKind::Flows => "flows",
        NodeKind::Service => "service",
        NodeKind::Beyond => "behind",
        NodeKind::Group => "group",
    }
}

/// How a node is, in words.
fn how(node: &Drawn) -> String {
    if !node.members.is_empty() {
        let words = if node.health == "bad" { "some fail" } else { "no failures" };
        return format!("{} of them, {words}", node.members.len());
    }
    match (&node.state, node.health) {
        (Some(state), _) if state != "up" => state.clone(),
        (_, "bad") if !node.breakers.is_empty() => {
            let breakers: Vec<String> =
                node.breakers.iter().map(|(tool, how)| format!("{how}: {tool}")).collect();
            format!("breaker {}", breakers.join(", "))
        }
        (_, "bad") => "failing".to_owned(),
        (_, "good") => "good".to_owned(),
        _ => "idle".to_owned(),
    }
}

fn traffic(seen: &Seen) -> String {
    if seen.calls == 0 {
        return "no calls".to_owned();
    }
    format!("{:.1}/s · {:.0} % failed · {:.0} ms", seen.rate, seen.error_share * 100.0, seen.mean_ms)
}

fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The same as the drawing, for those who do not see it, or want the figures.
fn tables(picture: &Picture, open: &str) -> Html {
    let row = |node: &Drawn| {
        let health = match node.health {
            "bad" => state("failing"),
            health => state(health),
        };
        let mut why: Vec<String> = node.cause.iter().cloned().collect();
        why.extend(node.breakers.iter().map(|(tool, how)| format!("the breaker of {tool} is {how}")));
        if node.seen.errors > 0 {
            why.push(format!("{} of {} calls failed", node.seen.errors, node.seen.calls));
        }
        vec![
            link(&target(node, open), &node.name),
            text(kind(node)),
            health,
            text(&why.join("; ")),
            text(&format!("{:.2}", node.seen.rate)),
            text(&format!("{:.1}", node.seen.error_share * 100.0)),
            text(&format!("{:.1}", node.seen.mean_ms)),
            text(&format!("{:.1}", node.seen.max_ms)),
        ]
    };
    let rows: Vec<_> = picture.nodes.iter().map(row).collect();
    let heads = ["Name", "What", "How", "Why", "Calls a second", "Failed, %", "Mean, ms", "Longest, ms"];
    let out = html("<h2>The same as tables</h2>").push(&table("Nodes", &heads, &rows));
    let names: HashMap<&str, &str> = picture.nodes.iter().map(|node| (&*node.id, &*node.name)).collect();
    let name = |id: &str| text(names.get(id).copied().unwrap_or(id));
    let row = |edge: &Edge| {
        vec![
            name(&edge.from),
            name(&edge.to),
            text(&edge.seen.calls.to_string()),
            text(&edge.seen.errors.to_string()),
            text(&format!("{:.2}", edge.seen.rate)),
            text(&format!("{:.1}", edge.seen.mean_ms)),
            text(&format!("{:.1}", edge.seen.max_ms)),
        ]
    };
    let rows: Vec<_> = picture.edges.iter().map(row).collect();
    let heads = ["From", "To", "Calls", "Failed", "A second", "Mean, ms", "Longest, ms"];
    out.push(&table("Who calls whom", &heads, &rows))
}
