//! Revision 2026-07-28: every request says all it needs, and nothing is kept between requests.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderMap;
use serde_json::json;
use trunkline_model::{CallContext, Failure, Json, Operation, Principal, Quota, TraceContext};

use super::lists::List;
use super::message::{Message, Meta, Params, Reference, features, follows_tasks, name_of, text};
use super::reply::{
    Answer, Era, Frame, error_message, failed_tool_result, input_required_result, modern_result_message,
    notification, progress_message, result_message, told_to_model,
};
use super::{LEGACY, MODERN, listen, param_headers, severity, tasks};
use crate::aside;
use crate::exchange::{Caller, Ended, Ending, Exchange, Step, advance};
use crate::meta_tools::{Show, unwrap};
use crate::pipeline::Request;
use crate::{Error, Gateway};

/// Who sent a message, and by which door.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) principal: Arc<Principal>,
    pub(crate) door: &'static str,
    /// Trace context of the transport; a message's own comes first.
    pub(crate) trace: TraceContext,
    /// The conversation that all messages of the transport belong to, where it is one.
    pub(crate) conversation: Option<Arc<str>>,
    /// Which tools it is to be told of, as it asked by its address or on the command line.
    pub(crate) show: Option<Show>,
}

/// What the answer to a call needs to know.
struct Reply {
    gateway: Arc<Gateway>,
    id: Json,
    operation: Operation,
    progress_token: Option<Json>,
}

/// Whether a message belongs to this era: by its header, a method that only exists here, or its `_meta`. That is read
/// last, and only where the body has the word at all.
pub(crate) fn is_modern(header: Option<&str>, body: &[u8], message: &Message<'_>) -> bool {
    header.is_some_and(|version| version >= MODERN)
        || matches!(message.method.as_deref(), Some("server/discover" | "subscriptions/listen"))
        || memchr::memmem::find(body, b"protocolVersion").is_some()
            && Params::parse(message.params)
                .and_then(|params| Ok(Meta::parse(params.meta)?.version.is_some()))
                .unwrap_or_default()
}

/// Answers a request. `headers` are there where the transport is HTTP.
pub(crate) async fn handle(
    gateway: &Arc<Gateway>,
    peer: Peer,
    body: &Bytes,
    message: &Message<'_>,
    headers: Option<&HeaderMap>,
) -> Answer {
    let Some(id) = message.id_in(body) else { return Answer::Accepted };
    match dispatch(gateway, peer, body, message, headers, &id).await {
        Ok(answer) => answer,
        Err(failure) => Answer::failure(Some(&id), &failure, Era::Modern),
    }
}

async fn dispatch(
    gateway: &Arc<Gateway>,
    peer: Peer,
    body: &Bytes,
    message: &Message<'_>,
    headers: Option<&HeaderMap>,
    id: &Json,
) -> Result<Answer, Failure> {
    let params = Params::parse(message.params)?;
    let meta = Meta::parse(params.meta)?;
    check_version(&meta, headers)?;
    let method = message.method.as_deref().unwrap_or_default();
    if let Some(headers) = headers {
        let name = match method {
            "tools/call" | "prompts/get" => params.name.as_deref(),
            "resources/read" => params.uri.as_deref(),
            "tasks/get" | "tasks/update" | "tasks/cancel" => params.task_id.as_deref(),
            _ => None,
        };
        param_headers::check_standard(headers, method, name)?;
    }
    if let Some(list) = List::of_method(method) {
        gateway.let_start().await;
        let client = meta.client.and_then(name_of);
        let show = gateway.rules.load().config.listing.of(peer.show, client.as_deref());
        let result = gateway.list(list, &peer.principal, Era::Modern, show, params.cursor.as_deref())?;
        return Ok(Answer::result(id, &result));
    }
    match method {
        "server/discover" => Ok(Answer::result(id, gateway.discover_result().to_string().as_bytes())),
        "subscriptions/listen" => {
            let listener = listen::modern(gateway, &peer.principal, id, params.notifications, &meta);
            Ok(Answer::Stream(listener.await?))
        }
        "tools/call" | "prompts/get" | "resources/read" | "completion/complete" => {
            call(gateway, peer, body, message, &params, &meta, headers, id).await
        }
        "tasks/get" | "tasks/update" | "tasks/cancel" => {
            tasks::modern(gateway, &peer.principal, method, &params, &meta, id).await
        }
        other => Err(Error::UnknownMethod(other.to_owned()).into()),
    }
}

/// The revision and the client's capabilities must be there, agree with the header, and be known.
fn check_version(meta: &Meta<'_>, headers: Option<&HeaderMap>) -> Result<(), Failure> {
    let Some(version) = meta.version.and_then(text) else {
        return Err(Error::Params("_meta lacks io.modelcontextprotocol/protocolVersion".to_owned()).into());
    };
    if !meta.capabilities.is_some_and(|raw| raw.get().starts_with('{')) {
        return Err(Error::Params("_meta lacks io.modelcontextprotocol/clientCapabilities".to_owned()).into());
    }
    if let Some(headers) = headers {
        let header = headers.get("mcp-protocol-version").and_then(|value| value.to_str().ok());
        if header != Some(&*version) {
            let header = header.unwrap_or("missing");
            let detail = format!("the header MCP-Protocol-Version is {header}, _meta says {version}");
            return Err(Error::HeaderMismatch(detail).into());
        }
    }
    if &*version != MODERN {
        let mut supported = vec![MODERN];
        supported.extend(LEGACY);
        let data = json!({ "requested": &*version, "supported": supported });
        let failure: Failure = Error::ProtocolVersion { requested: version.to_string() }.into();
        return Err(failure.data(Json::from(data)));
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "each is a part of one decoded message")]
async fn call(
    gateway: &Arc<Gateway>,
    peer: Peer,
    body: &Bytes,
    message: &Message<'_>,
    params: &Params<'_>,
    meta: &Meta<'_>,
    headers: Option<&HeaderMap>,
    id: &Json,
) -> Result<Answer, Failure> {
    let log_level = meta.log_level.and_then(text).and_then(|level| severity(&level));
    let request = Request {
        meta: meta.passed_on(log_level),
        transaction: meta.transaction.clone(),
        priority: meta.priority,
        wish: None,
        ..request(gateway, peer.door, body, message, params)?
    };
    if let Some(headers) = headers
        && request.operation == Operation::CallTool
        && let Some(tool) = gateway.catalog().snapshot().tools.get(&request.name)
    {
        param_headers::check_parameters(headers, tool, &request.arguments)?;
    }
    let patience = gateway.rules.load().config.task_after_ms;
    let context = context(gateway, &peer, meta);
    let request = unwrap(gateway, request, &context)?;
    let caller = Caller {
        patience: follows_tasks(meta.capabilities).then(|| Duration::from_millis(patience)),
        features: features(meta.capabilities),
        wants_progress: meta.progress_token.is_some(),
        log_level,
        answers_live: false,
        way_back: None,
    };
    let reply = Reply {
        gateway: gateway.clone(),
        id: id.clone(),
        operation: request.operation,
        progress_token: meta.progress_token.map(|token| Json::slice_of(body, token)),
    };
    let responses = params.responses.map(|raw| Json::slice_of(body, raw)).filter(Json::is_object);
    let state = params.state.as_deref();
    let began = gateway.begin_or_resume(request, context, caller, responses, state).await;
    let exchange = match began {
        Ok(exchange) => exchange,
        Err(failure) => return Ok(reply.message(Err(failure), &[])),
    };
    let outbox = exchange.outbox.clone();
    let mut exchange = Some(exchange);
    match advance(gateway, &mut exchange).await {
        Ended::Yes(ending) => Ok(reply.message(ending, &outbox.told_quotas())),
        Ended::Note(note) => Ok(Answer::Stream(reply.stream(note, exchange))),
    }
}

/// The context of a call that came from `peer`.
pub(super) fn context(gateway: &Gateway, peer: &Peer, meta: &Meta<'_>) -> CallContext {
    let mut context = gateway.context(peer.principal.clone());
    context.trace = match &meta.traceparent {
        Some(_) => TraceContext {
            traceparent: meta.traceparent.clone(),
            tracestate: meta.tracestate.clone(),
            baggage: meta.baggage.clone(),
        },
        None => peer.trace.clone(),
    };
    context.conversation.clone_from(&peer.conversation);
    context
}

/// What is asked, for the pipeline. Both eras ask alike.
pub(super) fn request(
    gateway: &Gateway,
    door: &'static str,
    body: &Bytes,
    message: &Message<'_>,
    params: &Params<'_>,
) -> Result<Request, Failure> {
    let method = message.method.as_deref().unwrap_or_default();
    let missing = |member: &str| Error::Params(format!("params lack {member:?}, a string"));
    let (operation, name) = match method {
        "tools/call" => (Operation::CallTool, params.name.as_deref().ok_or_else(|| missing("name"))?),
        "prompts/get" => (Operation::GetPrompt, params.name.as_deref().ok_or_else(|| missing("name"))?),
        "resources/read" => (Operation::ReadResource, params.uri.as_deref().ok_or_else(|| missing("uri"))?),
        _ => {
            let key = params.reference.as_ref().and_then(Reference::key);
            (Operation::Complete, key.ok_or_else(|| missing("ref"))?)
        }
    };
    let arguments = match (operation, params.arguments) {
        (Operation::Complete, _) => without_meta(message),
        (_, Some(raw)) => {
            let arguments = Json::slice_of(body, raw);
            if !arguments.is_object() && raw.get() != "null" {
                return Err(Error::Params("\"arguments\" must be an object".to_owned()).into());
            }
            if arguments.is_object() { arguments } else { Json::empty_object() }
        }
        (_, None) => Json::empty_object(),
    };
    Ok(Request {
        id: gateway.new_call(),
        door,
        operation,
        name: Arc::from(name),
        arguments,
        meta: None,
        resume: None,
        idempotency_key: None,
        journaled: false,
        transaction: None,
        stands_in: false,
        priority: None,
        wish: None,
    })
}

/// The params of a completion without `_meta`, which the connector writes anew.
fn without_meta(message: &Message<'_>) -> Json {
    let params = message.params.map_or_else(Json::empty_object, Json::from_raw);
    let mut members: indexmap::IndexMap<Cow<'static, str>, Json> = params.to().unwrap_or_default();
    members.shift_remove("_meta");
    Json::from_serialize(&members).unwrap_or(params)
}

impl Reply {
    /// The message that ends the request.
    fn end(&self, ending: Result<Ending, Failure>) -> (Bytes, u16) {
        match ending {
            Ok(Ending::Complete(result)) => {
                let ttl = self.gateway.rules.load().config.list_ttl_ms;
                (modern_result_message(&self.id, &result, self.operation, ttl), 200)
            }
            Ok(Ending::Task(task)) => {
                (result_message(&self.id, tasks::created(&task, Era::Modern).as_bytes()), 200)
            }
            Ok(Ending::Questions { requests, state }) => {
                let result = input_required_result(&requests, state.as_deref());
                (result_message(&self.id, result.as_bytes()), 200)
            }
            Err(failure) if self.operation == Operation::CallTool && told_to_model(&failure) => {
                (modern_result_message(&self.id, &failed_tool_result(&failure), self.operation, 0), 200)
            }
            Err(failure) => error_message(Some(&self.id), &failure, Era::Modern),
        }
    }

    fn message(&self, ending: Result<Ending, Failure>, quotas: &[Quota]) -> Answer {
        let headers = match &ending {
            Ok(Ending::Complete(result)) => aside::of_result(quotas, Some(result)),
            Ok(_) => aside::of_result(quotas, None),
            Err(failure) => aside::of_failure(failure),
        };
        let (body, status) = self.end(ending);
        Answer::Message { body, status, headers }
    }

    /// A note as a message, where the caller can be told it.
    fn note(&self, note: &Step) -> Option<Bytes> {
        match note {
            Step::Progress(params) => Some(progress_message(params, self.progress_token.as_ref()?)),
            Step::Log(params) => Some(notification("notifications/message", params)),
            Step::Question(..) | Step::Done(_) => None,
        }
    }

    /// The rest of the request as a stream that starts with a note.
    fn stream(
        self,
        first: Step,
        exchange: Option<Exchange>,
    ) -> futures_util::stream::BoxStream<'static, Frame> {
        let state = (self, Some(first), exchange, false);
        futures_util::stream::unfold(state, |(reply, mut pending, mut exchange, ended)| async move {
            if ended {
                return None;
            }
            loop {
                let next = match pending.take() {
                    Some(note) => Ended::Note(note),
                    None => advance(&reply.gateway, &mut exchange).await,
                };
                let (data, ended) = match next {
                    Ended::Note(note) => match reply.note(&note) {
                        Some(data) => (data, false),
                        None => continue,
                    },
                    Ended::Yes(ending) => (reply.end(ending).0, true),
                };
                return Some((Frame { id: None, data }, (reply, None, exchange, ended)));
            }
        })
        .boxed()
    }
}
