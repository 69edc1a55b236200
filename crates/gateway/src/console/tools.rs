//! The tools: found in plain words, and one with its schemas and what it does to the world.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use serde_json::Value;
use trunkline_model::Principal;

use super::events::pretty;
use super::html::{Html, encode, field, html, link, plain, table, text};
use super::{Page, Refused, filled, list as list_of, parameter, parameters, said};
use crate::http::{registry, tools};
use crate::{Error, Gateway};

pub(super) const AT: &str = "/console/tools";

/// The tools of a page.
const ROWS: usize = 100;

pub(super) async fn list(
    gateway: State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    uri: Uri,
) -> Result<Page, Refused> {
    let given = parameters(&filled(&uri));
    let words = parameter(&given, "q");
    let asked = |query: String| query.parse::<Uri>().map_err(|error| Error::Params(error.to_string()));
    let mut form =
        html("<form method=\"get\" action=\"/console/tools\" role=\"search\" aria-label=\"Search\">");
    form = form.push(&field("q", "What is to be done", words)).raw("<button>Search</button></form>");
    let mut older = Html::default();
    let found = if words.is_empty() {
        let mut query = format!("/?limit={ROWS}");
        for name in ["service", "cursor"] {
            let value = parameter(&given, name);
            if !value.is_empty() {
                query += &format!("&{name}={}", encode(value));
            }
        }
        let found = said(tools::list(gateway, principal, Query::try_from_uri(&asked(query)?)).await?);
        if let Some(next) = found["next_cursor"].as_str() {
            let service = encode(parameter(&given, "service"));
            let to = format!("{AT}?cursor={}&service={service}", encode(next));
            older = html("<p>").push(&link(&to, "More")).raw("</p>");
        }
        found
    } else {
        let uri = asked(format!("/?limit=20&q={}", encode(words)))?;
        said(registry::search(gateway, principal, Query::try_from_uri(&uri)).await?)
    };
    let row = |tool: &Value| {
        let name = plain(&tool["name"]);
        vec![
            link(&format!("{AT}/{}", encode(&name)), &name),
            text(&plain(&tool["service"])),
            text(&short(&plain(&tool["description"]))),
            text(&effects(&tool["effects"])),
        ]
    };
    let rows: Vec<_> = list_of(&found, "tools").iter().map(row).collect();
    let body =
        form.push(&table("Tools", &["Name", "Service", "What it does", "Effects"], &rows)).push(&older);
    Ok(Page::new(AT, "Tools", body))
}

/// One tool, as `/v1/tools` has it.
pub(super) async fn find(
    gateway: State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    name: &str,
) -> Result<Value, Refused> {
    let uri = format!("/?limit=1&cursor={}", encode(name)).parse::<Uri>();
    let uri = uri.map_err(|error| Error::Params(error.to_string()))?;
    let unknown = || Error::NotFound(format!("{AT}/{name}"));
    // A name that is no tool's is no cursor either.
    let found = tools::list(gateway, principal, Query::try_from_uri(&uri)).await.map_err(|_| unknown())?;
    let found = said(found);
    let tool = list_of(&found, "tools").first().filter(|tool| tool["name"] == *name);
    Ok(tool.cloned().ok_or_else(unknown)?)
}

pub(super) async fn show(
    gateway: State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    Path(name): Path<String>,
) -> Result<Page, Refused> {
    let acts = !gateway.console.config().read_only;
    let tool = find(gateway, principal, &name).await?;
    let mut body = html("<p>").text(&plain(&tool["description"])).raw("</p><dl>");
    for (label, value) in [
        ("Service", plain(&tool["service"])),
        ("Name there", plain(&tool["original_name"])),
        ("Version", plain(&tool["version"])),
        ("Effects", effects(&tool["effects"])),
    ] {
        body = body.raw("<dt>").text(label).raw("</dt><dd>").text(&value).raw("</dd>");
    }
    body = body.raw("</dl>");
    if acts {
        body = body.raw("<p>").push(&link(&format!("{AT}/{}/try", encode(&name)), "Try it…")).raw("</p>");
    }
    body = body.raw("<h2>Arguments</h2><pre>").text(&pretty(&tool["input_schema"])).raw("</pre>");
    if !tool["output_schema"].is_null() {
        body = body.raw("<h2>Result</h2><pre>").text(&pretty(&tool["output_schema"])).raw("</pre>");
    }
    let target = format!("{}/{}", plain(&tool["service"]), plain(&tool["original_name"]));
    let calls = link(&format!("/console/calls?target={}", encode(&target)), "Its calls");
    Ok(Page::new(AT, &plain(&tool["name"]), body.raw("<p>").push(&calls).raw("</p>")))
}

/// The effects in words.
fn effects(effects: &Value) -> String {
    let names = [
        ("read_only", "changes nothing"),
        ("idempotent", "can be repeated"),
        ("destructive", "can destroy"),
        ("open_world", "reaches outside"),
    ];
    let said: Vec<_> =
        names.iter().filter(|(name, _)| effects[*name] == true).map(|(_, words)| *words).collect();
    said.join(", ")
}

/// The first characters.
fn short(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
