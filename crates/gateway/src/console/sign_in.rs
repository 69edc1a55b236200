//! Signing in with an API key, and out. What a browser then holds is a cookie that scripts can't read and that goes to no
//! other site.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use trunkline_model::Principal;
use trunkline_policy::Authenticator;

use super::config::ConsoleConfig;
use super::form::{self, Visit};
use super::html::html;
use super::sessions::Sessions;
use super::{Page, Refused, encode, filled, parameter, parameters};
use crate::{Error, Gateway};

/// Where people sign in.
const AT: &str = "/console/sign-in";

/// What the gateway keeps for the console.
pub(crate) struct Console {
    config: ArcSwap<ConsoleConfig>,
    sessions: Sessions,
}

impl Console {
    pub(crate) fn new() -> Self {
        Self { config: ArcSwap::default(), sessions: Sessions::new(Instant::now()) }
    }

    pub(crate) fn config(&self) -> arc_swap::Guard<Arc<ConsoleConfig>> {
        self.config.load()
    }
}

impl Gateway {
    /// Shows the console in another way from now on. Sign-ins go on.
    pub fn show_console(&self, config: ConsoleConfig) {
        self.console.config.store(Arc::new(config));
    }
}

/// Whether a path is answered to everybody.
pub(crate) fn is_open(path: &str) -> bool {
    matches!(path, AT | "/console/style.css" | "/console/script.js")
}

/// Who a request is made for by its cookie. It holds for the console, and for reading what that reads: a form elsewhere can
/// do nothing with it.
pub(crate) fn signed_in(
    gateway: &Gateway,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<(Arc<Principal>, Arc<str>)> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if !(is_page(path) || reads && path.starts_with("/v1/")) {
        return None;
    }
    let config = gateway.console.config();
    let token = cookie(headers, config.cookie())?;
    let (key, session) = gateway.console.sessions.find(token, Instant::now(), &config)?;
    // A key that was taken away opens nothing any more.
    let principal = gateway.rules.load().authenticator.holder(&key)?;
    Some((principal, session))
}

/// Where a person who has not signed in is sent, if this is a page.
pub(crate) fn way_in(gateway: &Gateway, method: &Method, uri: &Uri) -> Option<Response> {
    let has_keys = gateway.rules.load().authenticator.has_keys();
    if !has_keys || !is_page(uri.path()) || *method != Method::GET {
        return None;
    }
    let to = uri.path_and_query().map_or("/", |to| to.as_str());
    Some(Redirect::to(&format!("{AT}?to={}", encode(to))).into_response())
}

fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/console/")
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(is, _)| *is == name).map(|(_, value)| value).next()
}

/// Asks for a key.
pub(super) async fn ask(uri: Uri) -> Page {
    let given = parameters(&filled(&uri));
    page(local(parameter(&given, "to")), None)
}

/// Where to go on: a page of ours, and nothing else.
fn local(to: &str) -> &str {
    let own = to.parse::<Uri>().is_ok_and(|uri| uri.authority().is_none() && is_page(uri.path()));
    if own && to.starts_with('/') && !to.starts_with("//") && !to.contains('\\') { to } else { "/" }
}

fn page(to: &str, wrong: Option<&'static str>) -> Page {
    let mut body = html(
        "<p>This gateway answers the holders of API keys. A key is shown once; the browser then holds a cookie in its place.</p>",
    );
    if let Some(wrong) = wrong {
        body = body.raw("<p class=\"bad\" role=\"alert\">").raw(wrong).raw("</p>");
    }
    body = body
        .raw("<form method=\"post\" action=\"/console/sign-in\"><input type=\"hidden\" name=\"to\" value=\"")
        .text(to);
    body = body.raw("\"><label>API key <input type=\"password\" name=\"key\" autocomplete=\"current-password\" required></label>");
    Page::bare("Sign in", body.raw("<button>Sign in</button></form>"))
}

/// Takes a key, and gives a cookie for it.
pub(super) async fn enter(
    State(gateway): State<Arc<Gateway>>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let form = form::read(&gateway, &headers, body).await?;
    let (now, config) = (Instant::now(), gateway.console.config());
    let sessions = &gateway.console.sessions;
    sessions.attempt(visit.peer, now).map_err(|after| Error::SignIns { after })?;
    let key = parameter(&form, "key").trim();
    let found =
        gateway.rules.load().authenticator.authenticate(false, Some(key).filter(|key| !key.is_empty()));
    let to = local(parameter(&form, "to"));
    let Ok(principal) = found else {
        tracing::warn!(peer = %visit.peer, "a sign-in to the console was refused");
        let mut response = page(to, Some("That is no key of this gateway.")).into_response();
        *response.status_mut() = axum::http::StatusCode::UNAUTHORIZED;
        return Ok(response);
    };
    sessions.forgive(visit.peer, now);
    let random = || (gateway.sources.random_id)();
    let token = sessions.begin(Authenticator::digest(key), [random(), random()], now, &config);
    gateway.recorder.console("console.sign_in", principal).await;
    let mut response = Redirect::to(to).into_response();
    set(&mut response, &config, &token, config.session_ms / 1000)?;
    Ok(response)
}

/// Ends a sign-in.
pub(super) async fn leave(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    form::read(&gateway, &headers, body).await?;
    let config = gateway.console.config();
    if let Some(token) = cookie(&headers, config.cookie()) {
        gateway.console.sessions.end(token);
        gateway.recorder.console("console.sign_out", principal).await;
    }
    let mut response = Redirect::to(AT).into_response();
    set(&mut response, &config, "", 0)?;
    Ok(response)
}

fn set(response: &mut Response, config: &ConsoleConfig, token: &str, seconds: u64) -> Result<(), Error> {
    let secure = if config.is_secure() { "; Secure" } else { "" };
    let cookie =
        format!("{}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}", config.cookie());
    let cookie = HeaderValue::try_from(cookie).map_err(|error| Error::Log(error.to_string()))?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_to_pages_of_ours_alone() {
        for to in ["/", "/console/calls?outcome=failed", "/console/tools/a%2Fb"] {
            assert_eq!(local(to), to);
        }
        for to in [
            "//evil.example/console/",
            "https://evil.example/",
            "/\\evil.example",
            "/v1/tools",
            "",
            "javascript:x",
            "/console",
        ] {
            assert_eq!(local(to), "/", "{to}");
        }
    }
}
