//! Talks to a running gateway through its HTTP door.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use url::Url;

use super::stop::{Problem, Stop};
use crate::Error;
use crate::config::{self, Flags};

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Which gateway is asked.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// The gateway's address; that of the configuration here, or http://127.0.0.1:7400, where left out.
    #[arg(long, env = "TRUNKLINE_SERVER", value_name = "URL", global = true)]
    server: Option<String>,
}

/// A connection to a gateway. The key is read from `TRUNKLINE_API_KEY`.
pub(super) struct Client {
    base: Url,
    key: Option<String>,
    /// A header of every request.
    header: Option<(&'static str, String)>,
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl ServerArgs {
    /// The client for this gateway.
    pub(super) fn client(&self) -> Result<Client, Stop> {
        let text = self.server.clone().unwrap_or_else(configured);
        let base = Url::parse(&text).ok().filter(|url| url.has_host() && url.scheme().starts_with("http"));
        let base = base.ok_or_else(|| Error::Usage {
            reason: "--server is not an http or https URL".to_owned(),
            fix: "Write --server http://127.0.0.1:7400.".to_owned(),
        })?;
        Ok(Client::new(base, super::env("TRUNKLINE_API_KEY")))
    }
}

/// The address that the configuration in the working directory listens on.
fn configured() -> String {
    let listen = std::env::current_dir()
        .ok()
        .and_then(|here| config::load_or_default(None, &here, &super::env, &Flags::default()).ok())
        .and_then(|loaded| loaded.listen.first().copied());
    listen.map_or_else(|| "http://127.0.0.1:7400".to_owned(), address_to_ask)
}

/// The URL of a gateway that listens there, for a client on the same machine.
pub(super) fn address_to_ask(listen: std::net::SocketAddr) -> String {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

impl Client {
    pub(super) fn new(base: Url, key: Option<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let key = key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        Self { base, key, header: None, http: HttpClient::builder(TokioExecutor::new()).build(https) }
    }

    /// With another header in every request.
    pub(super) fn with(self, name: &'static str, value: String) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// Who is asked, without a password.
    pub(super) fn server(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// Reads a JSON answer.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, Stop> {
        let response = self.send(Method::GET, path, query, None, "application/json").await?;
        self.json(response).await
    }

    /// Sends a JSON body and reads a JSON answer.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: String) -> Result<T, Stop> {
        let response = self.send(Method::POST, path, &[], Some(body), "application/json").await?;
        self.json(response).await
    }

    /// Sends a request. `path` is given in parts, which are encoded.
    ///
    /// # Errors
    /// Where nobody answers, and where the answer is an error.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<String>,
        accept: &str,
    ) -> Result<Response<Incoming>, Stop> {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = Request::builder().method(method).uri(url.as_str()).header("accept", accept);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some((name, value)) = &self.header {
            request = request.header(*name, value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::from(body.unwrap_or_default())).map_err(|_| Error::Usage {
            reason: "the request can't be made: the API key or the tool's name has characters that HTTP does not carry"
                .to_owned(),
            fix: "Check TRUNKLINE_API_KEY.".to_owned(),
        })?;
        let response = self.http.request(request).await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = self.body(response).await?;
        match serde_json::from_slice::<Box<Problem>>(&body) {
            Ok(mut problem) => {
                problem.status = status.as_u16();
                Err(Stop::Problem(problem))
            }
            Err(_) => Err(self.answer(format!("HTTP {status} without a problem document")).into()),
        }
    }

    async fn json<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, Stop> {
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.answer(error.to_string()).into())
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, Stop> {
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| self.answer(error.to_string()).into())
    }

    pub(super) fn answer(&self, reason: String) -> Error {
        Error::Answer { server: self.server(), reason }
    }

    fn unreachable(&self, error: &hyper_util::client::legacy::Error) -> Error {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            reason = inner.to_string();
            source = inner.source();
        }
        Error::Unreachable { server: self.server(), reason }
    }
}
