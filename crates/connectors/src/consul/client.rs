//! Asks the HTTP API of a Consul agent.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use url::Url;

use super::config::Config;
use crate::http_client::{Answer, HttpClient, Identity};
use crate::source::Error;

/// The largest answer.
const MAX_ANSWER: usize = 8 << 20;

/// How long an answer may take that waits for nothing.
const AT_ONCE: Duration = Duration::from_secs(10);

/// The longest that an agent waits for a change.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// How much an agent says for itself is repeated, in characters.
const MAX_SAID: usize = 200;

/// A Consul agent.
#[derive(Clone, Debug)]
pub struct Client {
    http: HttpClient,
    base: Url,
    token: Option<HeaderValue>,
    datacenter: Option<String>,
    wait: Duration,
    /// Its certificate is checked against a file.
    own_roots: bool,
}

/// An answer to a blocking query.
pub(super) struct Reply {
    /// The state that it tells of.
    pub(super) index: u64,
    pub(super) body: Bytes,
}

impl Client {
    /// A client for the agent. Asks nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] where what is configured can't be used.
    pub fn new(config: &Config, http: &HttpClient) -> Result<Self, Error> {
        let wrong = |cause: String| Error::Config { source_name: "registry.consul".to_owned(), cause };
        let base = Url::parse(&config.address).map_err(|error| wrong(format!("address: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(wrong("address: an http or https URL is expected".to_owned()));
        }
        let http = match (&config.ca_file, &config.cert_file, &config.key_file) {
            (None, None, None) => http.clone(),
            (ca, certificate, key) => {
                let identity = match (certificate, key) {
                    (None, None) => None,
                    (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
                    _ => return Err(wrong("cert_file and key_file go together".to_owned())),
                };
                HttpClient::with_tls(ca.as_deref(), identity).map_err(wrong)?
            }
        };
        let token = config.token.as_ref().map(|token| {
            let mut value = HeaderValue::try_from(token.expose().trim())
                .map_err(|_| wrong("the token can't be sent in a header".to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self {
            http,
            base,
            token: token.transpose()?,
            datacenter: config.datacenter.clone(),
            own_roots: config.ca_file.is_some(),
            wait: Duration::from_millis(config.wait_ms).clamp(Duration::from_secs(1), LONGEST_WAIT),
        })
    }

    /// The name of the agent in messages.
    pub(super) fn name(&self) -> String {
        format!("Consul at {}", self.base.origin().ascii_serialization())
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().push("v1").extend(path);
        }
        if let Some(datacenter) = &self.datacenter {
            url.query_pairs_mut().append_pair("dc", datacenter);
        }
        url
    }

    async fn send(&self, method: Method, url: &Url, body: Bytes, time: Duration) -> Result<Answer, Error> {
        let unreachable = |cause: String| Error::Unreachable { source_name: self.name(), cause };
        let mut request = Request::builder().method(method).uri(url.as_str());
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|error| unreachable(error.to_string()))?;
        let answer = self.http.send(request, Instant::now() + time, MAX_ANSWER).await;
        answer.map_err(|error| {
            let mut cause = error.to_string();
            if cause.contains("invalid peer certificate") {
                cause.push_str(" (it is checked against ");
                cause.push_str(if self.own_roots {
                    "`registry.consul.ca_file`)"
                } else {
                    "those of the web)"
                });
            }
            unreachable(cause)
        })
    }

    fn not_ok(&self, answer: &Answer) -> Error {
        let said = String::from_utf8_lossy(&answer.body);
        let said: String =
            said.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SAID).collect();
        let cause = format!("HTTP {}: {said}", answer.status.as_u16());
        let source_name = self.name();
        match answer.status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Error::Refused { source_name, cause },
            status if status.is_server_error() => Error::Unreachable { source_name, cause },
            _ => Error::Unusable { source_name, cause },
        }
    }

    /// Asks for the instances of a service with their checks; where there is an index, waits for another state than that.
    pub(super) async fn health(&self, service: &str, tags: &[String], index: u64) -> Result<Reply, Error> {
        let mut url = self.url(&["health", "service", service]);
        let mut time = AT_ONCE;
        {
            let mut query = url.query_pairs_mut();
            for tag in tags {
                query.append_pair("tag", tag);
            }
            if index > 0 {
                query.append_pair("index", &index.to_string());
                query.append_pair("wait", &format!("{}ms", self.wait.as_millis()));
                // The agent adds up to a sixteenth, so that not all come back at once.
                time += self.wait + self.wait / 16;
            }
        }
        let answer = self.send(Method::GET, &url, Bytes::new(), time).await?;
        if answer.status != StatusCode::OK {
            return Err(self.not_ok(&answer));
        }
        let index = answer.headers.get("x-consul-index").and_then(|index| index.to_str().ok()?.parse().ok());
        let Some(index) = index else {
            let cause = "it has no X-Consul-Index".to_owned();
            return Err(Error::Unusable { source_name: self.name(), cause });
        };
        Ok(Reply { index, body: answer.body })
    }

    /// Tells the agent something. False where it does not know what it is about.
    pub(super) async fn put(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: &Value,
    ) -> Result<bool, Error> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let answer = self.send(Method::PUT, &url, body, AT_ONCE).await?;
        // Before Consul 1.9 an unknown check was an error of the server.
        let unknown = answer.status == StatusCode::NOT_FOUND
            || (answer.status == StatusCode::INTERNAL_SERVER_ERROR
                && String::from_utf8_lossy(&answer.body).contains("Unknown check"));
        match answer.status {
            StatusCode::OK => Ok(true),
            _ if unknown => Ok(false),
            _ => Err(self.not_ok(&answer)),
        }
    }
}
