//! Revisions up to 2025-11-25: sessions, and questions put to the client while its request waits.
//!
//! A session and its open questions outlive the process: both are in the event log, and are taken up again when the
//! client comes back with its session id.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trunkline_event_log::Expected;
use trunkline_model::{
    CallId, ClientFeatures, EventData, Failure, Json, Operation, Outcome, Phase, Principal, TraceContext,
};

use super::lists::List;
use super::message::{Message, Meta, Params, features, name_of};
use super::modern::{Peer, context, request};
use super::reply::{
    Answer, Era, error_message, failed_tool_result, notification, progress_message, question_message,
    result_message, told_to_model,
};
use super::session::{CallStream, Running, Session};
use super::{severity, tasks};
use crate::aside;
use crate::exchange::{Caller, Exchange, Journal, Outbox, Step, WayBack};
use crate::meta_tools::unwrap;
use crate::pipeline::Request;
use crate::{Error, Gateway};

/// A session as the log keeps it.
#[derive(Serialize, Deserialize)]
struct Opened {
    elicitation_form: bool,
    elicitation_url: bool,
    sampling: bool,
    roots: bool,
    /// The name that the client gives itself.
    #[serde(default)]
    client: Option<Arc<str>>,
}

/// What the answer to a call needs to know.
struct Reply {
    id: Json,
    operation: Operation,
    progress_token: Option<Json>,
    /// The client asked for a task.
    task: bool,
}

/// Opens a session. Returns it with the answer to `initialize`.
pub(crate) async fn initialize(
    gateway: &Arc<Gateway>,
    peer: &Peer,
    body: &Bytes,
    message: &Message<'_>,
) -> Result<(Arc<Session>, Answer), Failure> {
    let id = message.id_in(body).ok_or_else(|| Error::Malformed("initialize has no id".to_owned()))?;
    let params = Params::parse(message.params)?;
    let (result, _version) = gateway.initialize_result(params.version.as_deref().unwrap_or_default());
    let features = features(params.capabilities);
    let session = (gateway.sources.random_id)().to_string();
    let opened = Opened {
        elicitation_form: features.elicitation_form,
        elicitation_url: features.elicitation_url,
        sampling: features.sampling,
        roots: features.roots,
        client: params.client.and_then(name_of),
    };
    gateway.recorder.session(&session, &peer.principal, Phase::Started, &opened).await?;
    let session = Arc::new(Session::new(session, peer.principal.clone(), features, opened.client));
    let session = gateway.sessions.insert(session, gateway.rules.load().config.max_sessions);
    Ok((session, Answer::result(&id, result.to_string().as_bytes())))
}

/// The session of this id, from memory or, after a restart, from the log. It belongs to one principal.
pub(crate) async fn find_session(
    gateway: &Arc<Gateway>,
    id: &str,
    principal: &Arc<Principal>,
) -> Result<Arc<Session>, Failure> {
    let session = match gateway.sessions.get(id) {
        Some(session) => session,
        None => restore_session(gateway, id).await?,
    };
    if session.principal != *principal {
        return Err(Error::UnknownSession.into());
    }
    session.touch();
    Ok(session)
}

async fn restore_session(gateway: &Arc<Gateway>, id: &str) -> Result<Arc<Session>, Failure> {
    if uuid::Uuid::try_parse(id).is_err() {
        return Err(Error::UnknownSession.into());
    }
    let stream = format!("session/{id}");
    let page = gateway.log.read_stream(stream.as_str(), 1, 2).await;
    let page = page.map_err(|error| Error::Log(error.to_string()))?;
    // A second event is the session's end.
    let [opened] = &page.events[..] else { return Err(Error::UnknownSession.into()) };
    let age = (gateway.sources.now)().duration_since(opened.event.time);
    let rules = gateway.rules.load();
    let idle = std::time::Duration::from_millis(rules.config.session_idle_ms);
    if std::time::Duration::try_from(age).is_ok_and(|age| age > idle.max(DAY)) {
        return Err(Error::UnknownSession.into());
    }
    let declared: Opened = opened.event.data.context.to().map_err(|_| Error::UnknownSession)?;
    let features = ClientFeatures {
        elicitation_form: declared.elicitation_form,
        elicitation_url: declared.elicitation_url,
        sampling: declared.sampling,
        roots: declared.roots,
        presumed: false,
    };
    let session =
        Arc::new(Session::new(id.to_owned(), opened.event.principal.clone(), features, declared.client));
    Ok(gateway.sessions.insert(session, rules.config.max_sessions))
}

/// How long after its beginning a session may be taken up again by another process.
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Ends a session.
pub(crate) async fn end_session(gateway: &Arc<Gateway>, session: &Session) -> Result<(), Failure> {
    // Recorded first: a session that is not in memory is looked for in the log.
    gateway.recorder.session(&session.id, &session.principal, Phase::Completed, &json!({})).await?;
    gateway.sessions.remove(&session.id);
    session.cancel_all();
    session.unsubscribe_all();
    Ok(())
}

/// Answers a message within a session.
pub(crate) async fn handle(
    gateway: &Arc<Gateway>,
    peer: &Peer,
    session: &Arc<Session>,
    body: &Bytes,
    message: &Message<'_>,
) -> Answer {
    let id = message.id_in(body);
    let answered = match (&message.method, &id) {
        (None, Some(id)) => answer_question(gateway, session, body, message, id).await,
        (None, None) => Ok(Answer::Accepted),
        (Some(method), None) => notified(session, method, message),
        (Some(method), Some(id)) => dispatch(gateway, peer, session, body, message, method, id).await,
    };
    answered.unwrap_or_else(|failure| Answer::failure(id.as_ref(), &failure, Era::Legacy))
}

fn notified(session: &Session, method: &str, message: &Message<'_>) -> Result<Answer, Failure> {
    if method == "notifications/cancelled" {
        let params = Params::parse(message.params)?;
        if let Some(request) = params.request_id {
            session.cancel(request.get());
        }
    }
    Ok(Answer::Accepted)
}

async fn dispatch(
    gateway: &Arc<Gateway>,
    peer: &Peer,
    session: &Arc<Session>,
    body: &Bytes,
    message: &Message<'_>,
    method: &str,
    id: &Json,
) -> Result<Answer, Failure> {
    let params = Params::parse(message.params)?;
    if let Some(list) = List::of_method(method) {
        gateway.let_start().await;
        let listing = &gateway.rules.load().config.listing;
        let show = listing.of(peer.show, session.client.as_deref());
        let result = gateway.list(list, &session.principal, Era::Legacy, show, params.cursor.as_deref())?;
        return Ok(Answer::result(id, &result));
    }
    match method {
        "tools/call" | "prompts/get" | "resources/read" | "completion/complete" => {
            call(gateway, peer, session, body, message, &params, id).await
        }
        "tasks/get" | "tasks/result" | "tasks/list" | "tasks/cancel" => {
            tasks::legacy(gateway, &session.principal, method, &params, id).await
        }
        "ping" => Ok(Answer::result(id, b"{}")),
        "logging/setLevel" => {
            let level = params.level.as_deref().and_then(severity);
            let level = level.ok_or_else(|| Error::Params("\"level\" is not a log level".to_owned()))?;
            session.set_log_level(level);
            Ok(Answer::result(id, b"{}"))
        }
        "resources/subscribe" | "resources/unsubscribe" => {
            let uri = params.uri.ok_or_else(|| Error::Params("params lack \"uri\"".to_owned()))?;
            if method == "resources/unsubscribe" {
                session.unsubscribe(&uri);
            } else if !session.subscribed(&uri) {
                session.subscribe(&uri, gateway.subscribe(&uri, &session.principal).await?)?;
            }
            Ok(Answer::result(id, b"{}"))
        }
        "initialize" => Err(Error::Params("the session is initialized already".to_owned()).into()),
        other => Err(Error::UnknownMethod(other.to_owned()).into()),
    }
}

async fn call(
    gateway: &Arc<Gateway>,
    peer: &Peer,
    session: &Arc<Session>,
    body: &Bytes,
    message: &Message<'_>,
    params: &Params<'_>,
    id: &Json,
) -> Result<Answer, Failure> {
    let meta = Meta::parse(params.meta)?;
    let reply = Reply {
        id: id.clone(),
        operation: operation_of(message),
        progress_token: meta.progress_token.map(|token| Json::slice_of(body, token)),
        task: message.method.as_deref() == Some("tools/call") && params.task.is_some(),
    };
    let request = Request {
        meta: meta.passed_on(session.asked_log_level()),
        transaction: meta.transaction.clone(),
        priority: meta.priority,
        ..request(gateway, peer.door, body, message, params)?
    };
    let mut context = context(gateway, peer, &meta);
    context.conversation = Some(session.conversation.clone());
    let request = unwrap(gateway, request, &context)?;
    if reply.task
        && let Some(entry) = gateway.catalog().snapshot().tools.get(&request.name)
        && !entry.tool.goes_on()
    {
        return Err(Error::NeverATask(request.name.to_string()).into());
    }
    let caller = caller(session, &reply);
    let mut exchange = Exchange::begin(gateway, request, context, caller);
    let running = session.run(id.as_str(), exchange.outbox.clone());
    match exchange.next().await {
        // A cancelled request has no answer.
        Step::Done(Err(failure)) if failure.code == "TL1021" => {
            Ok(Answer::Stream(futures_util::stream::empty().boxed()))
        }
        Step::Done(outcome) => {
            let quotas = exchange.outbox.told_quotas();
            let headers = match &outcome {
                Ok(Outcome::Complete(result)) => aside::of_result(&quotas, Some(result)),
                Ok(_) => aside::of_result(&quotas, None),
                Err(failure) => aside::of_failure(failure),
            };
            let (body, status) = reply.end(outcome);
            Ok(Answer::Message { body, status, headers })
        }
        first => {
            let stream = session.open_stream(exchange.id, 0);
            let messages = stream.read(0);
            let driven =
                Driven { gateway: gateway.clone(), session: session.clone(), reply, stream, running };
            gateway.spawn(driven.run(exchange, Some(first)));
            Ok(Answer::Stream(messages))
        }
    }
}

fn operation_of(message: &Message<'_>) -> Operation {
    match message.method.as_deref() {
        Some("tools/call") => Operation::CallTool,
        Some("prompts/get") => Operation::GetPrompt,
        Some("resources/read") => Operation::ReadResource,
        _ => Operation::Complete,
    }
}

fn caller(session: &Session, reply: &Reply) -> Caller {
    let can_answer = session.features != ClientFeatures::default();
    Caller {
        features: session.features,
        wants_progress: reply.progress_token.is_some(),
        log_level: Some(session.log_level()),
        answers_live: true,
        // Who asks for a task gets it at once.
        patience: reply.task.then_some(Duration::ZERO),
        // Only a client that can be asked anything is ever looked for again.
        way_back: can_answer.then(|| WayBack {
            session: session.conversation.clone(),
            request_id: reply.id.clone(),
            progress_token: reply.progress_token.clone(),
        }),
    }
}

/// A call that is driven to its end whether or not its client listens: one that lost its connection may come back for
/// the rest.
struct Driven {
    gateway: Arc<Gateway>,
    session: Arc<Session>,
    reply: Reply,
    stream: Arc<CallStream>,
    running: Running,
}

impl Driven {
    async fn run(self, mut exchange: Exchange, mut first: Option<Step>) {
        let closing = &self.gateway.closing;
        loop {
            if closing.is_cancelled() && exchange.outbox.is_waiting() {
                // The next process goes on with it.
                break self.stream.end();
            }
            let step = match first.take() {
                Some(step) => step,
                None => tokio::select! {
                    biased;
                    step = exchange.next() => step,
                    () = closing.cancelled(), if !closing.is_cancelled() => continue,
                },
            };
            match step {
                Step::Progress(params) => {
                    if let Some(token) = &self.reply.progress_token {
                        self.stream.push(progress_message(&params, token), false);
                    }
                }
                Step::Log(params) => {
                    self.stream.push(notification("notifications/message", &params), false);
                }
                Step::Question(number, question) => {
                    let id = question_id(exchange.id, number);
                    self.session.ask(id.clone(), exchange.outbox.clone(), number);
                    self.stream.push(question_message(&id, &question), false);
                }
                Step::Done(Err(failure)) if failure.code == "TL1021" => break self.stream.end(),
                Step::Done(outcome) => break self.stream.push(self.reply.end(outcome).0, true),
            }
        }
        self.session.forget_questions(exchange.id);
        drop(self.running);
    }
}

/// The id of our request for a question. It tells which question it is, also to another process.
fn question_id(call: CallId, number: u64) -> String {
    format!("{call}/{number}")
}

fn parse_numbered(id: &str) -> Option<(CallId, u64)> {
    let (call, number) = id.split_once('/')?;
    Some((CallId(call.parse().ok()?), number.parse().ok()?))
}

/// Takes the client's answer to a question.
async fn answer_question(
    gateway: &Arc<Gateway>,
    session: &Arc<Session>,
    body: &Bytes,
    message: &Message<'_>,
    id: &Json,
) -> Result<Answer, Failure> {
    let Ok(id) = id.to::<String>() else { return Ok(Answer::Accepted) };
    let answer = match (message.result, message.error) {
        (Some(result), _) => Ok(Json::slice_of(body, result)),
        (None, Some(error)) => Err(Json::slice_of(body, error)),
        (None, None) => return Ok(Answer::Accepted),
    };
    if let Some((outbox, number)) = session.asked(&id) {
        outbox.answer(number, answer).await.map_err(|error| Error::Log(error.to_string()))?;
    } else if let Some((call, number)) = parse_numbered(&id) {
        take_up(gateway, session, call, Some((number, answer))).await?;
    }
    Ok(Answer::Accepted)
}

/// The rest of a call's messages, for a client that lost its connection after the event `last`.
pub(crate) async fn resume_stream(
    gateway: &Arc<Gateway>,
    session: &Arc<Session>,
    last: &str,
) -> Result<Option<futures_util::stream::BoxStream<'static, super::reply::Frame>>, Failure> {
    let Some((call, number)) = parse_numbered(last) else { return Ok(None) };
    if let Some(stream) = session.stream(call) {
        return Ok(Some(stream.read(number + 1)));
    }
    take_up(gateway, session, call, None).await?;
    Ok(session.stream(call).map(|stream| stream.read(number + 1)))
}

/// Makes a call again that was under way when an earlier process ended: its answered questions are answered from the
/// log, the open ones are put to the client again, except for one that `answer` is for. Nothing happens where there is
/// no such call, or it has ended; where it is under way already, it gets the answer.
async fn take_up(
    gateway: &Arc<Gateway>,
    session: &Arc<Session>,
    call: CallId,
    answer: Option<(u64, Result<Json, Json>)>,
) -> Result<(), Failure> {
    let answered = async |outbox: &Outbox| match answer {
        Some((number, answer)) => {
            outbox.answer(number, answer).await.map_err(|error| Error::Log(error.to_string()))
        }
        None => Ok(()),
    };
    let _alone = session.taking_up.lock().await;
    if let Some(outbox) = session.under_way(call) {
        return Ok(answered(&outbox).await?);
    }
    if session.stream(call).is_some() {
        return Ok(());
    }
    let journal = Journal::read(gateway, call, "mcp").await.map_err(|error| Error::Log(error.to_string()))?;
    let Some(journal) = journal else { return Ok(()) };
    let origin = journal.origin();
    let door = origin.door.clone().filter(|door| *door.session == *session.id);
    let Some(door) = door else { return Ok(()) };
    let (id, progress_token) = (door.request_id, door.progress_token);
    // A call that asks before it is a task is none any more: it is answered as it is.
    let reply = Reply { id, operation: origin.operation, progress_token, task: false };
    let caller = caller(session, &reply);
    let exchange = Exchange::take_up(gateway, journal, caller, "mcp");
    // Before the call runs: what is answered is not asked again.
    answered(&exchange.outbox).await?;
    let running = session.run(reply.id.as_str(), exchange.outbox.clone());
    // Messages are numbered on from where no earlier process has come, so that a client which names the last one it
    // saw gets all of these.
    let first = u64::try_from((gateway.sources.now)().as_microsecond()).unwrap_or(0);
    let stream = session.open_stream(call, first);
    let driven = Driven { gateway: gateway.clone(), session: session.clone(), reply, stream, running };
    gateway.spawn(driven.run(exchange, None));
    Ok(())
}

impl Reply {
    /// The message that ends the request.
    fn end(&self, outcome: Result<Outcome, Failure>) -> (Bytes, u16) {
        match outcome {
            Ok(Outcome::Task(task)) => {
                (result_message(&self.id, tasks::created(&task, Era::Legacy).as_bytes()), 200)
            }
            Ok(Outcome::Complete(result)) if self.task => {
                let said = result.body.to_value()["content"][0]["text"].take();
                let failure = Error::NoTask(said.as_str().unwrap_or_default().to_owned()).into();
                error_message(Some(&self.id), &failure, Era::Legacy)
            }
            Ok(Outcome::Complete(result)) => (result_message(&self.id, result.body.as_bytes()), 200),
            // A caller that answers live never sees this: its call is made again with the answers.
            Ok(Outcome::InputRequired(_)) => {
                let failure = Error::State("the service asks for input again").into();
                error_message(Some(&self.id), &failure, Era::Legacy)
            }
            Err(failure)
                if self.operation == Operation::CallTool && !self.task && told_to_model(&failure) =>
            {
                (result_message(&self.id, failed_tool_result(&failure).body.as_bytes()), 200)
            }
            Err(failure) => error_message(Some(&self.id), &failure, Era::Legacy),
        }
    }
}

impl crate::record::Recorder {
    /// A session began or ended.
    async fn session(
        &self,
        id: &str,
        principal: &Arc<Principal>,
        phase: Phase,
        about: &impl Serialize,
    ) -> Result<(), Error> {
        let data = EventData {
            action: std::borrow::Cow::Borrowed("session"),
            parameters: Json::empty_object(),
            context: Json::from_serialize(about).unwrap_or_else(|_| Json::empty_object()),
        };
        let expected = if phase == Phase::Started { Expected::Empty } else { Expected::Any };
        let stream = format!("session/{id}");
        let appended = self.append_to(&stream, expected, phase, principal.clone(), data).await;
        appended.map(|_| ()).map_err(|error| Error::Log(error.to_string()))
    }
}

/// The trace context in HTTP headers.
pub(crate) fn trace_of(headers: &http::HeaderMap) -> TraceContext {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(Arc::from);
    TraceContext {
        traceparent: header("traceparent"),
        tracestate: header("tracestate"),
        baggage: header("baggage"),
    }
}
