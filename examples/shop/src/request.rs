//! What comes in: commands with their idempotency key, list parameters, and the checks both share.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::{Problem, Violation, status};

/// The longest idempotency key.
const MAX_KEY: usize = 255;

/// The longest free text, in characters.
const MAX_TEXT: usize = 200;

/// The largest amount of money, in cents.
pub(crate) const MAX_CENTS: i64 = 100_000_000;

/// How many rows a page has unless the caller says otherwise, and at most.
const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;

/// A request that changes something.
pub(crate) struct Command<T> {
    /// The `Idempotency-Key` header.
    pub(crate) key: Option<String>,
    /// Method and path: a key belongs to one operation on one thing.
    pub(crate) operation: String,
    /// The body as JSON; an empty body is an empty object.
    pub(crate) body: Value,
    /// The body as what it means.
    pub(crate) input: T,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Command<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let key = idempotency_key(request.headers())?;
        let operation = format!("{} {}", request.method(), request.uri().path());
        let is_json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state).await?;
        if !bytes.is_empty() && !is_json {
            return Err(Problem::new(
                status::UNSUPPORTED_MEDIA_TYPE,
                "not-json",
                "Not JSON",
                "send the body as application/json",
            ));
        }
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let body = serde_json::from_slice(text)
            .map_err(|error| Problem::malformed(format!("the body is not JSON: {error}")))?;
        let input = serde_json::from_slice(text)
            .map_err(|error| Problem::malformed(format!("the body does not fit: {error}")))?;
        Ok(Self { key, operation, body, input })
    }
}

/// A body without members.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(Problem::malformed(format!(
            "Idempotency-Key has to be 1 to {MAX_KEY} visible characters"
        )));
    }
    Ok(Some(key.to_owned()))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The query of a request.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(params) = Query::from_request_parts(parts, state).await?;
        Ok(Self(params))
    }
}

/// How many rows to give, from what the caller asked for.
pub(crate) fn page_size(limit: Option<u32>) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if (1..=MAX_PAGE).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::malformed(format!("limit has to be 1 to {MAX_PAGE}")))
    }
}

/// A page and the key of its last row, where more rows follow. `rows` are one more than `limit`, if there are.
pub(crate) fn page<T>(mut rows: Vec<T>, limit: u32, key: fn(&T) -> &str) -> (Vec<T>, Option<String>) {
    let limit = limit as usize;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(|row| key(row).to_owned()) } else { None };
    (rows, next)
}

/// The number in an id such as `ord-1001`.
pub(crate) fn number(prefix: &str, id: &str) -> Option<i64> {
    let digits = id.strip_prefix(prefix)?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Collects what is wrong with a body, so that one answer names all of it.
#[derive(Default)]
pub(crate) struct Checks(Vec<Violation>);

impl Checks {
    /// Notes a violation unless `holds`.
    pub(crate) fn that(&mut self, holds: bool, pointer: impl Into<String>, wanted: impl Into<String>) {
        if !holds {
            self.0.push(Violation { pointer: pointer.into(), detail: wanted.into() });
        }
    }

    /// Text that says something and is not too long.
    pub(crate) fn text(&mut self, value: &str, pointer: impl Into<String>) {
        let fits = !value.trim().is_empty() && value.chars().count() <= MAX_TEXT;
        self.that(fits, pointer, format!("text of 1 to {MAX_TEXT} characters"));
    }

    /// An amount of money in cents, from `least` on.
    pub(crate) fn cents(&mut self, value: i64, least: i64, pointer: impl Into<String>) {
        let wanted = format!("an amount of {least} to {MAX_CENTS} cents");
        self.that((least..=MAX_CENTS).contains(&value), pointer, wanted);
    }

    /// The problem with all violations, if there are any.
    pub(crate) fn done(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::invalid(self.0)) }
    }
}
