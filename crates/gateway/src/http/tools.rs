//! Tools: what there is, and calling one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_model::{CallId, Effects, Json as RawJson, Operation, Principal};
use trunkline_resilience::shed::Class;
use utoipa::{IntoParams, ToSchema};

use super::idempotency;
use super::problem::Problem;
use crate::aside;
use crate::exchange::{Caller, Ended, Ending, advance};
use crate::mcp::trace_of;
use crate::meta_tools::unwrap;
use crate::pipeline::{Request, Wish};
use crate::server::read_body;
use crate::{Error, Gateway};

/// The tools that the caller may use.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tools {
    tools: Vec<Tool>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// A tool.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tool {
    /// The name to call it by.
    name: String,
    /// The service that it belongs to.
    service: String,
    /// Its own name there.
    original_name: String,
    /// Its version, or that of its service.
    version: String,
    /// A title for people.
    title: Option<String>,
    /// What it does.
    description: String,
    /// The JSON Schema of its arguments.
    input_schema: Value,
    /// The JSON Schema of its structured result.
    output_schema: Option<Value>,
    /// What it does to the world.
    #[schema(value_type = Object)]
    effects: Effects,
    /// What it can do, as terms.
    capabilities: Vec<String>,
}

/// Which tools.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Only tools whose name or description has this text.
    q: Option<String>,
    /// Only tools of this service.
    service: Option<String>,
    /// The most tools of a page; all where left out.
    limit: Option<usize>,
    /// Where to begin: `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What a call came to.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the answer is written by hand around the service's own JSON; this describes it"
)]
pub(crate) struct Called {
    /// The identity of the call: the correlation id of its events.
    call_id: String,
    /// `complete` or `input_required`.
    outcome: String,
    /// The tool reports an error of its own.
    is_error: bool,
    /// The MCP result object.
    result: Value,
}

/// The tools that the caller may use, in the order of the configuration.
#[utoipa::path(get, path = "/v1/tools", params(Which), responses((status = 200, body = Tools)))]
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Tools>, Problem> {
    let Query(which) = which.map_err(|error| Error::Params(error.body_text()))?;
    let rules = gateway.rules.load();
    let snapshot = gateway.catalog().snapshot();
    let wanted = which.q.map(|text| text.to_lowercase());
    let start = match which.cursor.as_deref() {
        None => 0,
        Some(cursor) => snapshot
            .tools
            .get_index_of(cursor)
            .ok_or_else(|| Error::Params("the cursor is not one of ours".to_owned()))?,
    };
    let mut rest = snapshot.tools.values().skip(start).filter(|entry| {
        let spec = entry.tool.spec();
        let may = rules.authorizer.decide(&principal, &spec.service, &spec.name, Operation::CallTool).allow;
        let has = |text: &str| {
            entry.name.to_lowercase().contains(text) || spec.description.to_lowercase().contains(text)
        };
        may && which.service.as_deref().is_none_or(|service| service == spec.service.as_str())
            && wanted.as_deref().is_none_or(has)
    });
    let limit = which.limit.unwrap_or(usize::MAX).max(1);
    let tools = rest.by_ref().take(limit).map(tool).collect();
    let next_cursor = rest.next().map(|entry| entry.name.to_string());
    Ok(Json(Tools { tools, next_cursor }))
}

fn tool(entry: &trunkline_discovery::ToolEntry) -> Tool {
    let spec = entry.tool.spec();
    Tool {
        name: entry.name.to_string(),
        service: spec.service.to_string(),
        original_name: spec.name.to_string(),
        version: spec.version.to_string(),
        title: spec.title.clone(),
        description: spec.description.clone(),
        input_schema: spec.input.document().clone(),
        output_schema: spec.output.as_ref().map(|schema| schema.document().clone()),
        effects: spec.effects,
        capabilities: entry.tool.capabilities().iter().map(ToString::to_string).collect(),
    }
}

/// Calls a tool. The path is `/v1/tools/{tool}:call`, the body its arguments, an object. Where the tool asks for input,
/// the answer is 202 with the questions and a state; send the call again with the header `Trunkline-Request-State` and
/// the body `{"arguments": {…}, "input_responses": {…}}`. With `Idempotency-Key` a repeated request has the first one's
/// answer.
#[utoipa::path(post, path = "/v1/tools/{tool}", request_body = Value,
    params(("tool" = String, Path, description = "the tool's name with the suffix `:call`")),
    responses((status = 200, body = Called), (status = 202, body = Called),
        (status = 404, description = "No such tool"), (status = 422, description = "The arguments do not fit"),
        (status = 502, description = "The service failed"), (status = 504, description = "The deadline passed")))]
pub(crate) async fn call(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    tool: Result<Path<String>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let Path(tool) = tool.map_err(|error| Error::Params(error.body_text()))?;
    let Some(name) = tool.strip_suffix(":call") else {
        return Err(Error::NotFound(format!("/v1/tools/{tool}")).into());
    };
    let limit = gateway.rules.load().config.max_request_bytes;
    let body = read_body(body, limit).await?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let call = gateway.new_call();
    let Some(key) = text("idempotency-key") else {
        return run(&gateway, call, principal, name, &headers, body, None).await;
    };
    let state = text("trunkline-request-state");
    let request = idempotency::Key::new(&principal, key, name, state, &body)?;
    let begins = state.is_none().then_some(call);
    // From the key's beginning to its end, also where the caller goes away: the answer is there when it comes back.
    let (runner, name, key) = (gateway.clone(), name.to_owned(), key.to_owned());
    let running = gateway.spawn(async move {
        match idempotency::begin(&runner, &request, &principal, begins).await? {
            idempotency::Begun::Before(response) => Ok(response),
            idempotency::Begun::Now(version) => {
                match run(&runner, call, principal.clone(), &name, &headers, body, Some(&key)).await {
                    Ok(answer) => idempotency::end(&runner, &request, version, principal, answer).await,
                    Err(Problem(failure)) => {
                        idempotency::failed(&runner, &request, version, principal, failure).await
                    }
                }
            }
        }
    });
    Ok(running.await.map_err(|error| Error::Log(error.to_string()))??)
}

async fn run(
    gateway: &Arc<Gateway>,
    call: CallId,
    principal: Arc<Principal>,
    name: &str,
    headers: &HeaderMap,
    body: bytes::Bytes,
    key: Option<&str>,
) -> Result<Response<Body>, Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let state = text("trunkline-request-state");
    let (arguments, responses) = arguments(body, state.is_some())?;
    let request = Request {
        stands_in: false,
        id: call,
        door: "http",
        operation: Operation::CallTool,
        name: Arc::from(name),
        arguments,
        meta: None,
        resume: None,
        idempotency_key: key.map(Arc::from),
        journaled: false,
        transaction: text("trunkline-transaction").map(Arc::from),
        priority: text(aside::PRIORITY).and_then(Class::named),
        wish: wish(headers),
    };
    let mut context = gateway.context(principal);
    context.trace = trace_of(headers);
    context.conversation = text("trunkline-conversation").map(Arc::from);
    let request = unwrap(gateway, request, &context)?;
    if let Some(wait) = text("trunkline-timeout-ms").and_then(|value| value.parse().ok()) {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_millis(wait);
        context.deadline = context.deadline.min(deadline.into_std());
    }
    // Any program can answer a question by sending the request again.
    let features = trunkline_model::ClientFeatures {
        elicitation_form: true,
        elicitation_url: true,
        sampling: true,
        roots: true,
        presumed: true,
    };
    let caller = Caller { features, ..Caller::default() };
    let exchange = gateway.begin_or_resume(request, context, caller, responses, state).await?;
    let (call, outbox) = (exchange.id, exchange.outbox.clone());
    let mut exchange = Some(exchange);
    loop {
        match advance(gateway, &mut exchange).await {
            Ended::Note(_) => {}
            Ended::Yes(ending) => {
                let quotas = outbox.told_quotas();
                let ending = ending?;
                let result = match &ending {
                    Ending::Complete(result) => Some(result),
                    Ending::Task(_) | Ending::Questions { .. } => None,
                };
                let headers = aside::of_result(&quotas, result);
                let mut response = respond(call, ending);
                response.headers_mut().extend(headers);
                return Ok(response);
            }
        }
    }
}

/// How the caller wants the answer: `Trunkline-Select`, jq, and `Trunkline-Max-Tokens`.
fn wish(headers: &HeaderMap) -> Option<Arc<Wish>> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let most_tokens = text("trunkline-max-tokens").and_then(|value| value.parse().ok());
    let wish = Wish { most_tokens, select: text("trunkline-select").map(str::to_owned), free: true };
    (!wish.is_empty()).then(|| Arc::new(wish))
}

/// The body is the arguments, or, where a call goes on, the arguments and the answers.
fn arguments(body: bytes::Bytes, resumed: bool) -> Result<(RawJson, Option<RawJson>), Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Resumed {
        arguments: RawJson,
        input_responses: RawJson,
    }
    if body.trim_ascii().is_empty() {
        return Ok((RawJson::empty_object(), None));
    }
    let body = RawJson::parse(body).map_err(|error| Error::Params(format!("the body is {error}")))?;
    if !body.is_object() {
        return Err(Error::Params("the body must be the tool's arguments, a JSON object".to_owned()));
    }
    if resumed {
        let resumed: Resumed = body.to().map_err(|error| Error::Params(error.to_string()))?;
        return Ok((resumed.arguments, Some(resumed.input_responses)));
    }
    Ok((body, None))
}

fn respond(call: CallId, ending: Ending) -> Response<Body> {
    let (status, body) = match ending {
        Ending::Complete(result) => {
            let head = format!(
                r#"{{"call_id":"{call}","outcome":"complete","is_error":{},"result":"#,
                result.is_error
            );
            (StatusCode::OK, [head.as_bytes(), result.body.as_bytes(), b"}"].concat())
        }
        // Nobody comes here who follows tasks.
        Ending::Task(task) => {
            let body = json!({"call_id": call, "outcome": "task", "task": &*task.id});
            (StatusCode::ACCEPTED, body.to_string().into_bytes())
        }
        Ending::Questions { requests, state } => {
            let body = json!({
                "call_id": call, "outcome": "input_required", "requests": requests.to_value(), "request_state": state,
            });
            (StatusCode::ACCEPTED, body.to_string().into_bytes())
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
