//! One connection to a server, whatever carries it: numbers requests, hands answers to whoever waits, and sees to
//! what the server sends by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::Abortable;
use http::{HeaderMap, header};
use tokio::sync::{mpsc, oneshot};

use trunkline_model::{AskError, BoxFuture, CallContext, Json, Question};

use super::error::Error;
use super::flights::{Astray, Flights};
use super::hub::Hub;
use super::jsonrpc::{self, Message, Reply};
use super::streamable::Streamable;

/// How many messages may wait to be written.
const OUTBOX: usize = 256;

/// What is to be run for a message from the server: asking the caller and passing on its answer.
pub(super) type Errand = BoxFuture<'static, ()>;

/// One connection to a server.
pub(super) struct Channel {
    pub(super) hub: Arc<Hub>,
    pub(super) flights: Flights,
    next_id: AtomicU64,
    outbox: mpsc::Sender<Post>,
    /// Streamable HTTP, where each request has a stream of its own. Otherwise all share one.
    pub(super) http: Option<Streamable>,
    /// A stream is open on which the server can speak by itself.
    pub(super) shared_stream: AtomicBool,
}

/// A message to be sent whose answer nobody waits for.
pub(super) struct Post {
    pub(super) body: Bytes,
    /// All headers, where they are not those of every message.
    pub(super) headers: Option<HeaderMap>,
}

impl From<Bytes> for Post {
    fn from(body: Bytes) -> Self {
        Self { body, headers: None }
    }
}

/// One request to be sent.
pub(super) struct Outgoing<'a> {
    pub(super) id: u64,
    pub(super) body: Bytes,
    /// All headers, over HTTP.
    pub(super) headers: HeaderMap,
    /// The call behind it.
    pub(super) context: Option<&'a CallContext>,
    /// Sending it twice does no harm.
    pub(super) repeatable: bool,
    /// Whether dropping the request is told to the server by a notification.
    pub(super) cancellable: bool,
}

impl Channel {
    /// A connection over `http`, or one whose messages the receiver's owner writes.
    pub(super) fn new(hub: Arc<Hub>, http: Option<Streamable>) -> (Arc<Self>, mpsc::Receiver<Post>) {
        let (outbox, inbox) = mpsc::channel(OUTBOX);
        let channel = Self {
            hub,
            flights: Flights::default(),
            next_id: AtomicU64::new(1),
            outbox,
            shared_stream: AtomicBool::new(http.is_none()),
            http,
        };
        (Arc::new(channel), inbox)
    }

    /// A number that no other request of this connection has.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request and waits for its answer. Dropping the future cancels the request.
    pub(super) async fn exchange(self: &Arc<Self>, request: Outgoing<'_>) -> Result<Reply, Error> {
        let mut guard = Guard { channel: self, id: request.id, cancel: request.cancellable };
        let answer = match &self.http {
            Some(http) => {
                if request.context.is_some() && self.shared_stream.load(Ordering::Relaxed) {
                    self.flights.add(request.id, None, request.context.cloned());
                }
                http.exchange(self, request).await
            }
            None => {
                let (sender, receiver) = oneshot::channel();
                self.flights.add(request.id, Some(sender), request.context.cloned());
                match self.outbox.send(Post::from(request.body)).await {
                    Ok(()) => receiver.await.unwrap_or_else(|_| Err(self.hub.ending())),
                    Err(_) => Err(Error::NotSent("the connection has ended".to_owned())),
                }
            }
        };
        guard.cancel = false;
        if answer.is_ok()
            && let Some(auth) = &self.hub.auth
        {
            auth.worked();
        }
        answer
    }

    /// Gets another token in place of the one that the server has just refused.
    pub(super) async fn reauthorize(&self, status: u16, challenge: &str) -> Result<(), Error> {
        let (Some(auth), Some(http)) = (&self.hub.auth, &self.http) else {
            return Err(Error::Challenge { status, challenge: jsonrpc::excerpt(challenge.as_bytes()) });
        };
        let used = http.headers().get(header::AUTHORIZATION).cloned();
        let token = auth.renew(status, challenge, used.as_ref()).await?;
        http.set_header(header::AUTHORIZATION, token);
        Ok(())
    }

    /// Sends a notification or an answer, behind what is already to be sent.
    pub(super) async fn post(&self, message: Bytes) {
        // Where the connection has ended there is nobody to tell.
        let _ = self.outbox.send(Post::from(message)).await;
    }

    /// Sends a message where there is room for it.
    pub(super) fn try_post(&self, post: Post) {
        let _ = self.outbox.try_send(post);
    }

    /// Sees to messages that came on a stream shared by all requests. What is returned is to be run.
    pub(super) fn take(self: &Arc<Self>, text: &Bytes) -> Result<Vec<Errand>, Error> {
        let mut errands = Vec::new();
        for message in Message::read_all(text)? {
            match message {
                Message::Reply(Some(id), reply) => self.flights.answer(id, Ok(reply)),
                Message::Reply(None, _) => tracing::debug!(service = %self.hub.id, "an answer without id"),
                Message::Notification(method, params) => self.notified(&method, &params, None),
                Message::Request(id, method, params) => errands.push(self.asked(id, method, params)),
            }
        }
        Ok(errands)
    }

    /// Sees to a notification; `context` is the call on whose stream it came.
    pub(super) fn notified(&self, method: &str, params: &Json, context: Option<&CallContext>) {
        match method {
            "notifications/progress" => match context {
                Some(context) => context.client.progress(params),
                None => {
                    if let Some(context) = self.flights.of_progress(params) {
                        context.client.progress(params);
                    }
                }
            },
            "notifications/message" => match context.cloned().or_else(|| self.flights.sole_caller()) {
                Some(context) => context.client.log(params),
                None => self.hub.observer.logged(&self.hub.id, params),
            },
            _ => self.hub.notified(method, params),
        }
    }

    /// Sees to a request that came on a shared stream.
    fn asked(self: &Arc<Self>, id: Json, method: String, params: Json) -> Errand {
        let channel = Arc::clone(self);
        if !is_question(&method) {
            return Box::pin(async move { channel.post(simple_answer(&id, &method)).await });
        }
        match self.flights.of_question() {
            Ok((_, context, registration)) => Box::pin(async move {
                let asking = async { channel.ask(&context, &id, method, params).await };
                // The question ends with its call.
                let _ = Abortable::new(asking, registration).await;
            }),
            Err(astray) => {
                tracing::warn!(service = %self.hub.id, %method, ?astray, "a question from the server is refused");
                let answer = jsonrpc::refusal(&id, -32_603, astray.explain());
                Box::pin(async move { channel.post(answer).await })
            }
        }
    }

    /// Answers a request of the server that came where nobody can be asked.
    pub(super) async fn refuse(&self, id: &Json, method: &str) {
        self.post(simple_answer(id, method)).await;
    }

    /// Asks the caller of `context` and passes its answer on to the server.
    pub(super) async fn ask(&self, context: &CallContext, id: &Json, method: String, params: Json) {
        let answer = if is_question(&method) {
            match context.client.ask(Question { method, params }).await {
                Ok(result) => jsonrpc::answer(id, &result),
                Err(AskError::Refused(error)) => jsonrpc::refusal_with(id, &error),
                Err(error @ AskError::Unsupported(_)) => {
                    jsonrpc::refusal(id, jsonrpc::METHOD_NOT_FOUND, &error.to_string())
                }
                Err(error @ AskError::Gone(_)) => jsonrpc::refusal(id, -1, &error.to_string()),
            }
        } else {
            simple_answer(id, &method)
        };
        self.post(answer).await;
    }
}

/// Takes a request out of the list when it is over, and tells the server where nobody waits for its answer any more.
struct Guard<'a> {
    channel: &'a Arc<Channel>,
    id: u64,
    cancel: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.channel.shared_stream.load(Ordering::Relaxed) {
            self.channel.flights.remove(self.id);
        }
        if self.cancel {
            let params = format!(r#"{{"requestId":{},"reason":"the caller went away"}}"#, self.id);
            // Without room the server is overloaded anyway; it finds out when it answers.
            self.channel.try_post(jsonrpc::notification("notifications/cancelled", &params).into());
        }
    }
}

impl Astray {
    fn explain(&self) -> &'static str {
        match self {
            Self::NoCall => "no call is under way that this question could belong to",
            Self::Ambiguous => {
                "calls of several callers are under way on this connection, so it is not known whom to ask; \
                 configure `session: per_conversation` for this server"
            }
            Self::TooMany => "the call has asked too many questions",
        }
    }
}

fn is_question(method: &str) -> bool {
    matches!(method, "elicitation/create" | "sampling/createMessage" | "roots/list")
}

fn simple_answer(id: &Json, method: &str) -> Bytes {
    if method == "ping" {
        jsonrpc::answer(id, &Json::empty_object())
    } else {
        jsonrpc::refusal(id, jsonrpc::METHOD_NOT_FOUND, "this client does not answer that method")
    }
}
