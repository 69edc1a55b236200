//! The wire: a prepared request with credentials, trace and deadline, sent and answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use trunkline_model::{Call, CallContext, TraceContext};

use crate::Error;
use crate::http_client::{Answer, HttpClient, HttpError};

use super::request::{Prepared, Template, append_query};
use super::security::{Proof, Security};
use super::token::TokenSource;

/// The most redirects that are followed within an origin.
const MAX_REDIRECTS: usize = 5;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// What all operations of a service share on the wire.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) http: HttpClient,
    pub(super) timeout: Duration,
    pub(super) max_response_bytes: usize,
}

/// Where and with what an operation's requests go.
#[derive(Debug)]
pub(super) struct Target {
    /// The base URL without a slash at its end.
    pub(super) base: String,
    /// Configured headers; none where the base may not have them.
    pub(super) headers: Arc<HeaderMap>,
    pub(super) security: Security,
}

impl Client {
    /// Sends what `template` and the call's arguments make. The URL, without its query, comes back with the answer.
    ///
    /// # Errors
    /// Arguments that can't be sent, no token, no answer.
    pub(super) async fn exchange(
        &self,
        template: &Template,
        target: &Target,
        call: &Call,
        context: &CallContext,
    ) -> Result<(Answer, String), Error> {
        let deadline = context.deadline.min(Instant::now() + self.timeout);
        let prepared = template.prepare(&call.arguments)?;
        let mut request = Outgoing::new(template, target, prepared)?;
        request.pass_on(call, &context.trace, template.is_safe());
        let token = request.prove(&target.security.proofs, deadline).await?;
        let mut answer = self.send(&request, deadline).await?;
        // A token may have been withdrawn before its time; one new one is tried.
        if answer.status == StatusCode::UNAUTHORIZED
            && let Some((source, refused)) = token
        {
            source.refuse(&refused);
            request.headers.insert(header::AUTHORIZATION, source.authorization(deadline).await?);
            answer = self.send(&request, deadline).await?;
        }
        if template.is_safe() {
            answer = self.follow(&mut request, answer, deadline).await?;
        }
        Ok((answer, request.shown))
    }

    /// Follows redirects of a safe request as long as they stay within the origin: credentials never leave it.
    async fn follow(
        &self,
        request: &mut Outgoing,
        mut answer: Answer,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        for _ in 0..MAX_REDIRECTS {
            let redirects = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let location = answer.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
            let (true, Some(location)) = (redirects, location) else { break };
            let Ok(here) = url::Url::parse(&request.uri.to_string()) else { break };
            let next = here.join(location).ok().filter(|next| next.origin() == here.origin());
            let Some(next) = next.and_then(|next| Uri::try_from(next.as_str()).ok()) else { break };
            request.uri = next;
            answer = self.send(request, deadline).await?;
        }
        Ok(answer)
    }

    async fn send(&self, request: &Outgoing, deadline: Instant) -> Result<Answer, Error> {
        let mut http_request = Request::new(Full::new(request.body.clone()));
        *http_request.method_mut() = request.method.clone();
        *http_request.uri_mut() = request.uri.clone();
        *http_request.headers_mut() = request.headers.clone();
        self.http.send(http_request, deadline, self.max_response_bytes).await.map_err(|cause: HttpError| {
            Error::Http {
                method: request.method.to_string(),
                url: request.shown.clone(),
                cause,
                safe: request.method.is_safe(),
            }
        })
    }
}

/// A request that can be sent more than once.
struct Outgoing {
    method: Method,
    uri: Uri,
    /// The URL without its query, for people.
    shown: String,
    headers: HeaderMap,
    cookie: String,
    body: Bytes,
}

impl Outgoing {
    fn new(template: &Template, target: &Target, prepared: Prepared) -> Result<Self, Error> {
        let Prepared { target: path, mut headers, cookie, body } = prepared;
        let mut url = String::with_capacity(target.base.len() + path.len() + 32);
        url.push_str(&target.base);
        url.push_str(&path);
        let shown = url.split('?').next().unwrap_or_default().to_owned();
        for proof in &target.security.proofs {
            if let Proof::Query(pair) = proof {
                append_query(&mut url, pair);
            }
        }
        let uri = Uri::try_from(url).map_err(|error| {
            Error::OpenApiConfig(format!("{shown} is not a URL that can be asked: {error}"))
        })?;
        headers.insert(header::USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        for (name, value) in target.headers.iter() {
            headers.insert(name.clone(), value.clone());
        }
        Ok(Self { method: template.method.clone(), uri, shown, headers, cookie, body })
    }

    /// Adds the caller's trace and, where the request may change something, the call's idempotency key; where not, by
    /// what the answer is known that the caller keeps.
    fn pass_on(&mut self, call: &Call, trace: &TraceContext, safe: bool) {
        let mut add = |name: HeaderName, value: &Option<Arc<str>>| {
            if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                self.headers.entry(name).or_insert(value);
            }
        };
        add(TRACEPARENT, &trace.traceparent);
        add(TRACESTATE, &trace.tracestate);
        add(BAGGAGE, &trace.baggage);
        if !safe {
            add(IDEMPOTENCY_KEY, &call.idempotency_key);
        } else if let Some(known) = &call.known {
            add(header::IF_NONE_MATCH, &known.etag);
            add(header::IF_MODIFIED_SINCE, &known.last_modified);
        }
    }

    /// Adds credentials. A token that can be fetched anew comes back with its source.
    async fn prove<'p>(
        &mut self,
        proofs: &'p [Proof],
        deadline: Instant,
    ) -> Result<Option<(&'p TokenSource, HeaderValue)>, Error> {
        let mut fetched = None;
        for proof in proofs {
            match proof {
                Proof::Header(name, value) => {
                    self.headers.insert(name.clone(), value.clone());
                }
                Proof::Query(_) => {}
                Proof::Cookie(pair) => {
                    if !self.cookie.is_empty() {
                        self.cookie.push_str("; ");
                    }
                    self.cookie.push_str(pair);
                }
                Proof::Token(source) => {
                    let token = source.authorization(deadline).await?;
                    self.headers.insert(header::AUTHORIZATION, token.clone());
                    fetched = Some((&**source, token));
                }
            }
        }
        if !self.cookie.is_empty() {
            let value = HeaderValue::from_str(&self.cookie).map_err(|_| {
                Error::OpenApiConfig("a cookie has characters that HTTP can't carry".to_owned())
            })?;
            self.headers.insert(header::COOKIE, value);
        }
        Ok(fetched)
    }
}
