//! Streamable HTTP: each message is a POST, its answer a JSON body or an event stream.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use trunkline_model::{BoxFuture, CallContext};

use super::channel::{Channel, Errand, Outgoing, Post};
use super::error::Error;
use super::http::{Answer, Endpoint};
use super::jsonrpc::{self, Message, Reply};
use super::sse::Parser;

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const PROTOCOL: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// The largest body of an HTTP error that is looked at.
const MAX_ERROR_BODY: usize = 64 << 10;

/// The wait before a broken stream is resumed, where the server names none.
const RETRY: Duration = Duration::from_secs(1);

/// How often a call's stream is resumed without anything coming of it.
const MAX_RESUMES: u32 = 16;

/// Streamable HTTP to one endpoint.
pub(super) struct Streamable {
    pub(super) endpoint: Arc<Endpoint>,
    /// The headers of every request, as far as they are known by now.
    headers: ArcSwap<HeaderMap>,
    limit: usize,
}

impl Streamable {
    /// Requests to `endpoint` with `headers`; messages of up to `limit` bytes are taken.
    pub(super) fn new(endpoint: Arc<Endpoint>, mut headers: HeaderMap, limit: usize) -> Self {
        headers.insert(header::HOST, endpoint.host());
        Self { endpoint, headers: ArcSwap::from_pointee(headers), limit }
    }

    /// The headers of every request.
    pub(super) fn headers(&self) -> HeaderMap {
        HeaderMap::clone(&self.headers.load())
    }

    /// Sets a header for every request from now on.
    pub(super) fn set_header(&self, name: HeaderName, value: HeaderValue) {
        let mut headers = self.headers();
        headers.insert(name, value);
        self.headers.store(Arc::new(headers));
    }

    /// Leaves a header out from now on.
    pub(super) fn unset_header(&self, name: &HeaderName) {
        let mut headers = self.headers();
        headers.remove(name);
        self.headers.store(Arc::new(headers));
    }

    /// Whether the server has given us a session.
    pub(super) fn has_session(&self) -> bool {
        self.headers.load().contains_key(SESSION)
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn exchange(
        &self,
        channel: &Arc<Channel>,
        request: Outgoing<'_>,
    ) -> Result<Reply, Error> {
        let Outgoing { id, body, headers, context, repeatable, .. } = request;
        let answer = self.endpoint.send(Method::POST, headers, body, repeatable).await?;
        if let Some(session) = answer.headers.get(SESSION)
            && !self.has_session()
        {
            self.set_header(SESSION, session.clone());
        }
        if !answer.status.is_success() {
            return Box::pin(self.refused(answer)).await;
        }
        match media_type(&answer) {
            "application/json" => {
                let body = answer.collect(self.limit).await?;
                let mut others = Vec::new();
                for message in Message::read_all(&body)? {
                    if let Some(reply) = self.sort(channel, id, context, message, &mut others) {
                        return Ok(reply);
                    }
                }
                Err(Error::Garbage("the answer has another id than the request".to_owned()))
            }
            "text/event-stream" => Box::pin(self.read_events(channel, id, context, answer)).await,
            other => Err(Error::Garbage(format!(
                "HTTP status {} with content type {other:?}",
                answer.status.as_u16()
            ))),
        }
    }

    /// Sends a notification or an answer.
    pub(super) async fn notify(&self, post: Post) -> Result<(), Error> {
        let headers = post.headers.unwrap_or_else(|| self.headers());
        let answer = self.endpoint.send(Method::POST, headers, post.body, true).await?;
        if answer.status.is_success() {
            let _ = answer.collect(MAX_ERROR_BODY).await;
            return Ok(());
        }
        self.refused(answer).await.map(|_| ())
    }

    /// What an HTTP error says: a JSON-RPC error where there is one in the body.
    async fn refused(&self, answer: Answer<'_>) -> Result<Reply, Error> {
        let status = answer.status;
        let challenge = answer.header(header::WWW_AUTHENTICATE).to_owned();
        let scope = challenge.contains("insufficient_scope");
        if status == StatusCode::UNAUTHORIZED || (status == StatusCode::FORBIDDEN && scope) {
            answer.release();
            return Err(Error::Challenge { status: status.as_u16(), challenge });
        }
        let had_session = self.has_session();
        let body = answer.collect(MAX_ERROR_BODY).await.unwrap_or_default();
        match Message::read(&body) {
            Ok(Message::Reply(_, reply @ Reply::Error(_))) if !(status == 404 && had_session) => Ok(reply),
            _ if status == StatusCode::NOT_FOUND && had_session => Err(Error::SessionExpired),
            _ => Err(Error::Status { status: status.as_u16(), body: jsonrpc::excerpt(&body) }),
        }
    }

    /// Reads a call's event stream up to its answer. A stream that ends early is resumed where the server allows it.
    async fn read_events(
        &self,
        channel: &Arc<Channel>,
        id: u64,
        context: Option<&CallContext>,
        mut answer: Answer<'_>,
    ) -> Result<Reply, Error> {
        let mut parser = Parser::new(self.limit);
        let mut resumes = 0;
        loop {
            let cut = match self.read_stream(channel, id, context, &mut answer, &mut parser).await {
                Ok(Some(reply)) => {
                    answer.release();
                    return Ok(reply);
                }
                Ok(None) => "the event stream ended without the answer".to_owned(),
                Err(Error::Lost(cause)) => cause,
                Err(error) => return Err(error),
            };
            resumes += 1;
            if parser.last_id.is_none() || resumes > MAX_RESUMES {
                return Err(Error::Lost(cut));
            }
            tokio::time::sleep(parser.retry.unwrap_or(RETRY)).await;
            parser.restart();
            answer = self.open_stream(parser.last_id.as_deref()).await.map_err(|error| match error {
                Error::Challenge { .. } | Error::SessionExpired => Error::Lost(format!("{cut}; {error}")),
                other => Error::Lost(format!("{cut}, and can't be resumed: {other}")),
            })?;
        }
    }

    /// Reads messages until the answer to `id`; `None` at the end of the stream. The caller is asked meanwhile.
    async fn read_stream(
        &self,
        channel: &Arc<Channel>,
        id: u64,
        context: Option<&CallContext>,
        answer: &mut Answer<'_>,
        parser: &mut Parser,
    ) -> Result<Option<Reply>, Error> {
        let mut questions: Vec<BoxFuture<'_, ()>> = Vec::new();
        let mut asking = FuturesUnordered::new();
        loop {
            while let Some(event) = parser.next()? {
                if event.data.is_empty() {
                    continue;
                }
                for message in Message::read_all(&event.data)? {
                    if let Some(reply) = self.sort(channel, id, context, message, &mut questions) {
                        return Ok(Some(reply));
                    }
                }
            }
            asking.extend(questions.drain(..));
            let chunk = if asking.is_empty() {
                answer.chunk().await?
            } else {
                let mut chunk = pin!(answer.chunk());
                loop {
                    tokio::select! {
                        chunk = &mut chunk => break chunk?,
                        Some(()) = asking.next() => {}
                    }
                }
            };
            let Some(chunk) = chunk else {
                // The server may cut the stream while it waits for us.
                while asking.next().await.is_some() {}
                return Ok(None);
            };
            parser.push(chunk);
        }
    }

    /// Sees to one message on the stream of request `id`; gives its answer.
    fn sort<'a>(
        &self,
        channel: &'a Arc<Channel>,
        id: u64,
        context: Option<&'a CallContext>,
        message: Message,
        questions: &mut Vec<BoxFuture<'a, ()>>,
    ) -> Option<Reply> {
        match message {
            Message::Reply(of, reply)
                if of == Some(id) || (of.is_none() && matches!(reply, Reply::Error(_))) =>
            {
                return Some(reply);
            }
            Message::Reply(..) => {}
            Message::Notification(method, params) => channel.notified(&method, &params, context),
            Message::Request(id, method, params) => {
                if questions.len() < 64 {
                    questions.push(Box::pin(async move {
                        match context {
                            Some(context) => channel.ask(context, &id, method, params).await,
                            None => channel.refuse(&id, &method).await,
                        }
                    }));
                }
            }
        }
        None
    }

    /// Opens the stream on which the server speaks by itself, or resumes one after event `last_id`.
    pub(super) async fn open_stream(&self, last_id: Option<&str>) -> Result<Answer<'_>, Error> {
        let mut headers = self.headers();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(LAST_EVENT, id);
        }
        let answer = self.endpoint.send(Method::GET, headers, Bytes::new(), true).await?;
        if answer.status == StatusCode::OK && media_type(&answer) == "text/event-stream" {
            return Ok(answer);
        }
        match self.refused(answer).await {
            Ok(Reply::Error(error)) => Err(Error::Rpc(error)),
            Ok(Reply::Result(_)) => Err(Error::Garbage("an answer to a GET".to_owned())),
            Err(error) => Err(error),
        }
    }

    /// Ends the session, if the server has given us one.
    pub(super) async fn close(&self) {
        if self.has_session()
            && let Ok(answer) = self.endpoint.send(Method::DELETE, self.headers(), Bytes::new(), false).await
        {
            answer.release();
        }
    }
}

/// Follows an event stream to its end and hands every message to `channel`. `errands` are run meanwhile.
pub(super) async fn follow(
    channel: &Arc<Channel>,
    answer: &mut Answer<'_>,
    parser: &mut Parser,
    errands: &mut FuturesUnordered<Errand>,
) -> Result<(), Error> {
    loop {
        while let Some(event) = parser.next()? {
            if !event.data.is_empty() {
                errands.extend(channel.take(&event.data)?);
            }
        }
        let mut chunk = pin!(answer.chunk());
        let chunk = loop {
            tokio::select! {
                chunk = &mut chunk => break chunk?,
                Some(()) = errands.next() => {}
            }
        };
        let Some(chunk) = chunk else { return Ok(()) };
        parser.push(chunk);
    }
}

fn media_type<'a>(answer: &'a Answer<'_>) -> &'a str {
    answer.header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim()
}
