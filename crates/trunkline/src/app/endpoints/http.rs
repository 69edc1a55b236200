//! Calls of kind `http`, and the sending that those of kind `openapi` share with them.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use trunkline_orchestrator::Fault;
use trunkline_orchestrator::outside::EndpointCall;
use url::Url;

use super::access::Access;
use super::answer::{self, Asked, Output};
use super::proof::Proofs;
use super::{Failed, Shared, read, refused, text_of};

/// The largest answer, in bytes. It goes into the journal.
const MAX_ANSWER: usize = 2 << 20;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Headers that say how a request is carried, or to whom: they are not the workflow's to set.
const OURS: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
];

#[derive(Deserialize)]
struct With {
    method: String,
    uri: String,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    query: Map<String, Value>,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    output: Output,
    #[serde(default)]
    redirect: bool,
}

/// A request that is ready but for what proves who asks.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) output: Output,
    pub(super) redirect: bool,
}

/// With what, under which key and until when something is asked.
pub(super) struct Sending<'a> {
    proofs: Proofs<'a>,
    credentials: &'a Value,
    idempotency_key: &'a str,
}

impl<'a> Sending<'a> {
    pub(super) fn of(shared: &'a Shared, access: &'a Access, call: &'a EndpointCall) -> Self {
        let EndpointCall { credentials, idempotency_key, deadline, .. } = call;
        Self { proofs: shared.proofs(access, *deadline), credentials, idempotency_key }
    }

    /// Sends a request and gives the task's output. No redirect is followed.
    pub(super) async fn send(&self, ask: Ask) -> Result<Value, Failed> {
        self.proofs.access.url(&ask.url)?;
        let Ask { method, url, mut headers, body, output, redirect } = ask;
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("trunkline/", env!("CARGO_PKG_VERSION"))));
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("application/json, */*;q=0.5"));
        if !method.is_safe()
            && let Ok(key) = HeaderValue::from_str(self.idempotency_key)
        {
            headers.entry(IDEMPOTENCY_KEY).or_insert(key);
        }
        if let Some(proof) = self.proofs.authorization(self.credentials, &url).await? {
            headers.insert(header::AUTHORIZATION, proof);
        }
        // A workflow that writes a credential into a header does not want it in its result.
        for name in [header::AUTHORIZATION, header::COOKIE] {
            if let Some(value) = headers.get_mut(name) {
                value.set_sensitive(true);
            }
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|error| refused(Fault::configuration(format!("the URI can't be asked: {error}"))))?;
        *request.headers_mut() = headers.clone();
        let asked = Asked { method, url, headers };
        let answer = self.proofs.http.send(request, self.proofs.deadline, MAX_ANSWER).await;
        let answer = answer.map_err(|error| answer::unanswered(&asked, &error))?;
        answer::output(&asked, &answer, output, redirect)
    }
}

pub(super) async fn call(shared: &Shared, access: &Access, mut call: EndpointCall) -> Result<Value, Failed> {
    let With { method, uri, headers, query, body, output, redirect } = read(call.with.take())?;
    let wrong = |what: String| refused(Fault::configuration(what));
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
        .map_err(|_| wrong(format!("{method:?} is no HTTP method")))?;
    if method == Method::CONNECT {
        return Err(wrong("CONNECT is a method between machines, not a call".to_owned()));
    }
    let mut url = Url::parse(&uri)
        .map_err(|error| wrong(format!("the endpoint {uri:?} is no absolute URI: {error}")))?;
    url.set_fragment(None);
    add_query(&mut url, &query);
    let mut headers = headers_of(&headers)?;
    let body = body_of(&body, &mut headers);
    let sending = Sending::of(shared, access, &call);
    sending.send(Ask { method, url, headers, body, output, redirect }).await
}

/// Adds query parameters: a list becomes several of its name, `null` none.
fn add_query(url: &mut Url, query: &Map<String, Value>) {
    let pairs: Vec<(&str, String)> = query
        .iter()
        .flat_map(|(name, value)| match value {
            Value::Null => Vec::new(),
            Value::Array(items) => items.iter().map(|item| (&**name, text_of(item))).collect(),
            other => vec![(&**name, text_of(other))],
        })
        .collect();
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
}

/// The headers that a workflow sets.
pub(super) fn headers_of(given: &Map<String, Value>) -> Result<HeaderMap, Failed> {
    let mut out = HeaderMap::with_capacity(given.len() + 4);
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let wrong = |what: &str| refused(Fault::configuration(format!("the header {name:?} {what}")));
        let header = HeaderName::try_from(name).map_err(|_| wrong("is no name of a header"))?;
        if OURS.contains(&header) {
            return Err(wrong("can't be set by a workflow"));
        }
        let value = HeaderValue::try_from(text_of(value))
            .map_err(|_| wrong("has a value with characters that no header may have"))?;
        out.insert(header, value);
    }
    Ok(out)
}

/// The body: as a form where the content type says so; text as it is; all else as JSON.
fn body_of(body: &Value, headers: &mut HeaderMap) -> Bytes {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let declared = declared.map(str::to_ascii_lowercase);
    let is = |kind: &str| declared.as_deref().is_some_and(|declared| declared.starts_with(kind));
    let (bytes, kind) = match body {
        Value::Null => return Bytes::new(),
        Value::Object(members) if is("application/x-www-form-urlencoded") => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(members.iter().map(|(name, value)| (name, text_of(value))));
            (form.finish(), "application/x-www-form-urlencoded")
        }
        Value::String(text) if !is("application/json") => (text.clone(), "text/plain; charset=utf-8"),
        other => (other.to_string(), "application/json"),
    };
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    Bytes::from(bytes)
}
