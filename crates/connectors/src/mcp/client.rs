//! An established session: sends requests in the server's revision.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use trunkline_model::{CallContext, Json};

use super::channel::{Channel, Outgoing, Post};
use super::error::Error;
use super::jsonrpc::{self, Reply};
use super::meta::MetaPrefix;
use super::revision::{Facts, Revision};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// How often one request may ask for another token.
const MAX_AUTHORIZATIONS: u32 = 3;

/// What the gateway says of itself to servers.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// The program's name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Default for ClientInfo {
    fn default() -> Self {
        Self { name: "trunkline".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

impl ClientInfo {
    /// The protocol's `Implementation` object.
    pub(super) fn to_json(&self) -> String {
        format!(r#"{{"name":{},"version":{}}}"#, jsonrpc::quoted(&self.name), jsonrpc::quoted(&self.version))
    }
}

/// A session with a server, in one revision.
pub(super) struct Session {
    pub(super) channel: Arc<Channel>,
    pub(super) revision: Revision,
    pub(super) facts: Facts,
    meta: MetaPrefix,
}

/// A request to be written.
#[derive(Clone, Default)]
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    /// Members of `params` as JSON text without the braces, to be joined as they are.
    pub(super) params: &'a [&'a [u8]],
    /// Members of `_meta` that the caller sent.
    pub(super) meta: Option<&'a Json>,
    /// The `Mcp-Name` header, where the method has one.
    pub(super) name: Option<HeaderValue>,
    /// The `Mcp-Param-*` headers.
    pub(super) param_headers: Vec<(HeaderName, HeaderValue)>,
    /// Sending it twice does no harm.
    pub(super) repeatable: bool,
}

impl Session {
    /// A session over `channel`.
    pub(super) fn new(channel: Arc<Channel>, revision: Revision, facts: Facts) -> Self {
        let meta = MetaPrefix::new(revision, &channel.hub.client);
        Self { channel, revision, facts, meta }
    }

    /// Sends a request and waits for its answer. Dropping the future cancels the request.
    pub(super) async fn request(
        &self,
        request: &Request<'_>,
        context: Option<&CallContext>,
    ) -> Result<Reply, Error> {
        let mut authorizations = 0;
        loop {
            match self.request_once(request, context).await {
                // A refused request has done nothing: it may be sent again with another token.
                Err(Error::Challenge { status, challenge }) if authorizations < MAX_AUTHORIZATIONS => {
                    authorizations += 1;
                    Box::pin(self.channel.reauthorize(status, &challenge)).await?;
                }
                other => return other,
            }
        }
    }

    async fn request_once(
        &self,
        request: &Request<'_>,
        context: Option<&CallContext>,
    ) -> Result<Reply, Error> {
        let id = self.channel.next_id();
        let outgoing = Outgoing {
            id,
            body: self.body(id, request, context),
            headers: self.headers(request),
            context,
            repeatable: request.repeatable,
            // Closing the stream is the sign over modern HTTP; `initialize` can't be cancelled.
            cancellable: !(self.revision.is_modern() && self.channel.http.is_some())
                && request.method != "initialize",
        };
        self.channel.exchange(outgoing).await
    }

    /// A short request of our own: method and params without braces.
    pub(super) async fn ask(&self, method: &'static str, params: &str) -> Result<Json, Error> {
        let request =
            Request { method, params: &[params.as_bytes()], repeatable: true, ..Request::default() };
        self.request(&request, None).await?.into_result()
    }

    /// Sends a request whose answer nobody waits for, where there is room for it.
    pub(super) fn post(&self, request: &Request<'_>) {
        let body = self.body(self.channel.next_id(), request, None);
        let headers = self.channel.http.is_some().then(|| self.headers(request));
        self.channel.try_post(Post { body, headers });
    }

    /// The text of a request.
    pub(super) fn body(&self, id: u64, request: &Request<'_>, context: Option<&CallContext>) -> Bytes {
        let length: usize = request.params.iter().map(|part| part.len()).sum();
        let mut out = Vec::with_capacity(length + 512);
        jsonrpc::open_request(&mut out, id, request.method);
        for part in request.params {
            out.extend_from_slice(part);
        }
        self.meta.write(&mut out, length > 0, id, context, request.meta);
        out.extend_from_slice(b"}}");
        Bytes::from(out)
    }

    /// The headers of a request; none where the connection is no HTTP.
    pub(super) fn headers(&self, request: &Request<'_>) -> HeaderMap {
        let Some(http) = &self.channel.http else { return HeaderMap::new() };
        let mut headers = http.headers();
        if self.revision.is_modern() {
            headers.insert(METHOD, HeaderValue::from_static(request.method));
            if let Some(name) = &request.name {
                headers.insert(NAME, name.clone());
            }
            for (name, value) in &request.param_headers {
                headers.insert(name.clone(), value.clone());
            }
        }
        headers
    }
}
