//! The console: pages for people, rendered here from what the endpoints under `/v1` answer. They can be read without
//! script; with it, what they show is kept up to date.

mod calls;
mod config;
mod connect;
mod events;
mod flows;
mod form;
mod html;
mod limits;
mod map;
mod orders;
mod overview;
mod services;
mod sessions;
mod settings;
mod sign_in;
mod tools;
mod traces;
mod trying;
mod waterfall;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::Value;
use trunkline_model::Principal;

use crate::http::problem::Problem;
use crate::{Error, Gateway};
use html::{Html, encode, html};

pub use config::ConsoleConfig;
pub(crate) use form::Visit;
pub(crate) use sign_in::{Console, is_open, signed_in, way_in};

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
pub(crate) fn router(gateway: &Arc<Gateway>) -> Router<Arc<Gateway>> {
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
        .route("/console/flows/{id}/{verb}", get(orders::confirm).post(orders::act))
        .route("/console/tools", get(tools::list))
        .route("/console/tools/{name}", get(tools::show))
        .route("/console/tools/{name}/try", get(trying::ask).post(trying::act))
        .route("/console/map", get(map::page))
        .route("/console/traces", get(traces::list))
        .route("/console/traces/{id}", get(traces::show))
        .route("/console/limits", get(limits::page))
        .route("/console/config", get(settings::page))
        .route("/console/connect", get(connect::page))
        .route("/console/style.css", file("text/css; charset=utf-8", STYLE))
        .route("/console/script.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/console/sign-in", get(sign_in::ask).post(sign_in::enter))
        .route("/console/sign-out", post(sign_in::leave))
        .layer(axum::middleware::from_fn_with_state(gateway.clone(), dress))
}

/// Puts what is on every page around one: its head, the way to the others, who looks.
async fn dress(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let visit = request.extensions().get::<Visit>().cloned();
    let principal = request.extensions().get::<Arc<Principal>>().cloned();
    let mut response = next.run(request).await;
    if let Some(page) = response.extensions_mut().remove::<Page>() {
        let session = visit.is_some_and(|visit| visit.session.is_some());
        let text = page.text(principal.filter(|_| session).as_deref(), gateway.console.config().read_only);
        *response.body_mut() = text.into();
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Forms need their origin to be sent.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A page.
#[derive(Clone)]
pub(crate) struct Page {
    /// Its path in [`PAGES`], or that of the page that it belongs to.
    at: &'static str,
    title: String,
    body: Html,
    /// Which events it has to follow: a query of `/v1/events`.
    follows: Option<(&'static str, u64)>,
    /// It has no way to the others.
    bare: bool,
}

impl Page {
    fn new(at: &'static str, title: &str, body: Html) -> Self {
        Self { at, title: title.to_owned(), body, follows: None, bare: false }
    }

    /// A page without a way to the others.
    fn bare(title: &str, body: Html) -> Self {
        Self { bare: true, ..Self::new("", title, body) }
    }

    /// The page is fetched again when an event of this query comes behind a position: the end of the record before the
    /// page was made, so that nothing is missed between the page and what follows it.
    fn follows(mut self, query: &'static str, since: u64) -> Self {
        self.follows = Some((query, since));
        self
    }

    /// The whole: for whom it is, where somebody has signed in, and whether it only shows.
    fn text(&self, principal: Option<&Principal>, read_only: bool) -> String {
        let mut out = html("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>")
            .text(&self.title)
            .raw(" · Trunkline</title><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
            .raw("<meta name=\"color-scheme\" content=\"light dark\">")
            .raw("<link rel=\"stylesheet\" href=\"/console/style.css\">")
            .raw("<script type=\"module\" src=\"/console/script.js\"></script></head><body>")
            .raw("<a class=\"skip\" href=\"#main\">Skip to the content</a><header><strong>Trunkline</strong>");
        if !self.bare {
            out = out.raw("<nav aria-label=\"Pages\"><ul>");
            for (path, name) in PAGES {
                let current = if path == self.at { "\" aria-current=\"page\">" } else { "\">" };
                out = out.raw("<li><a href=\"").raw(path).raw(current).raw(name).raw("</a></li>");
            }
            out = out.raw("</ul></nav>");
        }
        if read_only {
            out = out.raw("<span class=\"quiet\">Read-only</span>");
        }
        if let Some(principal) = principal {
            out = out
                .raw("<form class=\"who\" method=\"post\" action=\"/console/sign-out\"><span>Signed in as ");
            out = out.text(&principal.id).raw("</span> <button>Sign out</button></form>");
        }
        out = out.raw("</header><main id=\"main\" tabindex=\"-1\"><h1>").text(&self.title).raw("</h1>");
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
        out.done()
    }
}

impl IntoResponse for Page {
    /// [`dress`] makes the text of it.
    fn into_response(self) -> Response {
        let mut response = StatusCode::OK.into_response();
        response.extensions_mut().insert(self);
        response
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
        *response.status_mut() = StatusCode::from_u16(failure.status).unwrap_or_default();
        if let trunkline_model::Retry::After(wait) = failure.retry {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
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
    let query = pairs.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
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
