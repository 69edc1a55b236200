//! The console: pages for people, rendered here from what the endpoints under `/v1` answer. They can be read without
//! script; with it, what they show is kept up to date.

mod calls;
mod connect;
mod events;
mod flows;
mod html;
mod limits;
mod map;
mod overview;
mod services;
mod settings;
mod tools;
mod traces;
mod waterfall;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::Value;

use crate::http::problem::Problem;
use crate::{Error, Gateway};
use html::{Html, html};

const STYLE: &str = include_str!("console/style.css");
const SCRIPT: &str = include_str!("console/script.js");

/// What a page may load and where its forms may go: our own style, script, endpoints and pages.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// The largest part of an answer that is read for a page.
const MAX_ANSWER: usize = 16 << 20;

/// The pages by their paths and names.
const PAGES: [(&str, &str); 11] = [
    ("/", "Overview"),
    ("/console/map", "Map"),
    ("/console/services", "Services"),
    ("/console/calls", "Calls"),
    ("/console/traces", "Traces"),
    ("/console/flows", "Flows"),
    ("/console/tools", "Tools"),
    ("/console/events", "Events"),
    ("/console/limits", "Limits"),
    ("/console/config", "Config"),
    ("/console/connect", "Connect"),
];

/// The pages.
pub(crate) fn router() -> Router<Arc<Gateway>> {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    Router::new()
        .route("/", get(overview::page))
        .route("/console/services", get(services::page))
        .route("/console/calls", get(calls::page))
        .route("/console/events", get(events::page))
        .route("/console/flows", get(flows::list))
        .route("/console/flows/{id}", get(flows::show))
        .route("/console/flows/{id}/{verb}", get(flows::confirm).post(flows::act))
        .route("/console/tools", get(tools::list))
        .route("/console/tools/{name}", get(tools::show))
        .route("/console/map", get(map::page))
        .route("/console/traces", get(traces::list))
        .route("/console/traces/{id}", get(traces::show))
        .route("/console/limits", get(limits::page))
        .route("/console/config", get(settings::page))
        .route("/console/connect", get(connect::page))
        .route("/console/style.css", file("text/css; charset=utf-8", STYLE))
        .route("/console/script.js", file("text/javascript; charset=utf-8", SCRIPT))
        .layer(axum::middleware::map_response(guard))
}

async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Forms need their origin to be sent.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A page.
pub(crate) struct Page {
    /// Its path in [`PAGES`], or that of the page that it belongs to.
    at: &'static str,
    title: String,
    body: Html,
    /// Which events it has to follow: a query of `/v1/events`.
    follows: Option<(&'static str, u64)>,
}

impl Page {
    fn new(at: &'static str, title: &str, body: Html) -> Self {
        Self { at, title: title.to_owned(), body, follows: None }
    }

    /// The page is fetched again when an event of this query comes behind a position: the end of the record before the
    /// page was made, so that nothing is missed between the page and what follows it.
    fn follows(mut self, query: &'static str, since: u64) -> Self {
        self.follows = Some((query, since));
        self
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut out = html("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>")
            .text(&self.title)
            .raw(" · Trunkline</title><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
            .raw("<meta name=\"color-scheme\" content=\"light dark\">")
            .raw("<link rel=\"stylesheet\" href=\"/console/style.css\">")
            .raw("<script type=\"module\" src=\"/console/script.js\"></script></head><body>")
            .raw("<a class=\"skip\" href=\"#main\">Skip to the content</a><header><strong>Trunkline</strong>")
            .raw("<nav aria-label=\"Pages\"><ul>");
        for (path, name) in PAGES {
            let current = if path == self.at { "\" aria-current=\"page\">" } else { "\">" };
            out = out.raw("<li><a href=\"").raw(path).raw(current).raw(name).raw("</a></li>");
        }
        out = out
            .raw("</ul></nav></header><main id=\"main\" tabindex=\"-1\"><h1>")
            .text(&self.title)
            .raw("</h1>");
        if let Some((query, since)) = self.follows {
            out = out
                .raw("<p id=\"live\" data-follow=\"")
                .raw(query)
                .raw("\" data-since=\"")
                .text(&since.to_string());
            out = out.raw("\" hidden><button type=\"button\" ");
            out = out.raw("aria-pressed=\"false\">Pause</button> <span role=\"status\"></span></p>");
        }
        out = out.raw("<div id=\"content\">").push(&self.body).raw("</div></main></body></html>");
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], out.done()).into_response()
    }
}

/// A failure as a page.
pub(crate) struct Refused(Problem);

impl<T: Into<Problem>> From<T> for Refused {
    fn from(problem: T) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let failure = self.0.0;
        let body = html("<p>").text(&failure.detail).raw("</p><p>").text(&failure.next);
        let body = body.raw("</p><p class=\"quiet\">").text(failure.code).raw("</p>");
        let mut response = Page::new("", failure.title, body).into_response();
        *response.status_mut() = axum::http::StatusCode::from_u16(failure.status).unwrap_or_default();
        response
    }
}

/// What an endpoint says, as JSON.
fn said<T: Serialize>(answer: axum::Json<T>) -> Value {
    serde_json::to_value(answer.0).unwrap_or_default()
}

/// The body of an endpoint's response, as JSON.
async fn body_of(response: Response) -> Result<Value, Problem> {
    let body = axum::body::to_bytes(response.into_body(), MAX_ANSWER).await;
    let body = body.map_err(|error| Error::Log(error.to_string()))?;
    Ok(serde_json::from_slice(&body).map_err(|error| Error::Log(error.to_string()))?)
}

/// The list at this member.
fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}

/// The address of a page without the fields of its form that were left empty.
fn filled(uri: &Uri) -> Uri {
    let pairs =
        uri.query().unwrap_or_default().split('&').filter(|pair| !pair.ends_with('=') && !pair.is_empty());
    let query = pairs.collect::<Vec<_>>().join("&");
    format!("/?{query}").parse().unwrap_or_default()
}

/// The address of a page with the parameters it has and others in place of those of their names.
fn with(path: &str, given: &Parameters, other: &[(&str, &str)]) -> String {
    let kept = given.iter().map(|(name, value)| (&**name, &**value));
    let kept = kept.filter(|(name, _)| other.iter().all(|(other, _)| other != name));
    let pairs = kept.chain(other.iter().copied());
    let query = pairs.map(|(name, value)| format!("{}={}", html::encode(name), html::encode(value)));
    format!("{path}?{}", query.collect::<Vec<_>>().join("&"))
}

/// The parameters of a query or of a form.
type Parameters = std::collections::BTreeMap<String, String>;

fn parameters(uri: &Uri) -> Parameters {
    axum::extract::Query::try_from_uri(uri).map(|query| query.0).unwrap_or_default()
}

fn parameter<'a>(parameters: &'a Parameters, name: &str) -> &'a str {
    parameters.get(name).map_or("", String::as_str)
}
