//! The wire: one JSON document there, one back, within a time and a size.

use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use trunkline_model::Secret;
use url::Url;

use super::config::Endpoint;
use super::error::Error;
use crate::http_client::HttpClient;

/// How much an endpoint says for itself is repeated, in characters.
const MAX_SAID: usize = 200;

/// How the key is shown.
#[derive(Clone)]
pub(super) enum Key {
    /// `Authorization: Bearer …`.
    Bearer,
    /// A header of its own.
    In(HeaderName),
}

/// An endpoint.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: HttpClient,
    url: Url,
    headers: HeaderMap,
    /// Kept out of what an endpoint is quoted with: some repeat it.
    key: Option<Secret>,
}

impl Client {
    pub(super) fn new(endpoint: &Endpoint, path: &str, key: Key, http: &HttpClient) -> Result<Self, Error> {
        let wrong = |cause: &str| Error::Config(cause.to_owned());
        let mut url = Url::parse(&endpoint.url).map_err(|error| wrong(&format!("url: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("url: an http or https URL is expected"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("url: credentials belong into `key`"));
        }
        if endpoint.model.is_empty() || endpoint.model.len() > 256 {
            return Err(wrong("model: a name of at most 256 bytes is expected"));
        }
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path.split('/'));
        }
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, json.clone()), (ACCEPT, json)]);
        if let Some(secret) = &endpoint.key {
            let secret = secret.expose().trim();
            let (name, text) = match key {
                Key::Bearer => (AUTHORIZATION, format!("Bearer {secret}")),
                Key::In(name) => (name, secret.to_owned()),
            };
            let mut value =
                HeaderValue::try_from(text).map_err(|_| wrong("key: it can't be sent in a header"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Self { http: http.clone(), url, headers, key: endpoint.key.clone() })
    }

    /// Adds a header that every request has.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Whom is asked, as messages name it.
    pub(super) fn host(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Asks, and reads an answer of at most `limit` bytes.
    pub(super) async fn ask(&self, body: &Value, deadline: Instant, limit: usize) -> Result<Bytes, Error> {
        let unreachable = |cause: String| Error::Unreachable { host: self.host(), cause };
        let mut request = Request::post(self.url.as_str())
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| unreachable(error.to_string()))?;
        request.headers_mut().extend(self.headers.clone());
        let answer = self.http.send(request, deadline, limit).await;
        let answer = answer.map_err(|error| unreachable(error.to_string()))?;
        if answer.status != StatusCode::OK {
            let (host, status) = (self.host(), answer.status.as_u16());
            return Err(Error::Refused { host, status, said: self.quoted(&answer.body) });
        }
        Ok(answer.body)
    }

    /// The beginning of what an endpoint said for itself, in one line and without the key.
    fn quoted(&self, said: &[u8]) -> String {
        let mut said = String::from_utf8_lossy(said).into_owned();
        if let Some(key) = self.key.as_ref().map(|key| key.expose().trim()).filter(|key| !key.is_empty()) {
            said = said.replace(key, "***");
        }
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        let said: String = said.trim().chars().map(plain).take(MAX_SAID).collect();
        if said.is_empty() { said } else { format!(": {said}") }
    }

    /// That an answer is not what was asked for.
    pub(super) fn unusable(&self, cause: impl Into<String>) -> Error {
        Error::Unusable { host: self.host(), cause: cause.into() }
    }
}
