//! Calls of kind `mcp`: one request to an MCP server that the workflow names. The connection is made for the call and
//! ends with it; a server that is asked often is better configured as a service.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use trunkline_connectors::mcp;
use trunkline_model::{
    Call, CallContext, CallId, EffectState, Failure, Json, Operation, Outcome, Principal, Secret,
    Service as _, ServiceId, ServiceObserver, ServiceStatus,
};
use trunkline_orchestrator::Fault;
use trunkline_orchestrator::outside::EndpointCall;
use url::Url;
use uuid::Uuid;

use super::access::Access;
use super::{Failed, Shared, http, process, read, refused, text_of};

/// The largest answer, in bytes. It goes into the journal.
const MAX_ANSWER: usize = 2 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct With {
    method: String,
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default)]
    parameters: Value,
    #[serde(default)]
    uri: Option<String>,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    command: Value,
    #[serde(default)]
    arguments: Vec<Value>,
    #[serde(default)]
    environment: Map<String, Value>,
}

/// Nobody looks at a service that lives for one call.
struct Nobody;

impl ServiceObserver for Nobody {
    fn contents_changed(&self, _: &ServiceId) {}
    fn status_changed(&self, _: &ServiceId, _: &ServiceStatus) {}
    fn resource_updated(&self, _: &ServiceId, _: &str) {}
    fn logged(&self, _: &ServiceId, _: &Json) {}
}

pub(super) async fn call(shared: &Shared, access: &Access, mut call: EndpointCall) -> Result<Value, Failed> {
    let with: With = read(call.with.take())?;
    let request = request(&with, &call)?;
    let config = config(&with, shared, access, &call).await?;
    let client =
        mcp::ClientInfo { name: "trunkline".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let (service, runner) = mcp::build(config, request.service.clone(), client, Arc::new(Nobody))
        .map_err(|error| refused(Fault::configuration(error.to_string())))?;
    let shutdown = CancellationToken::new();
    let _end = shutdown.clone().drop_guard();
    tokio::spawn(runner.run(shutdown));
    let context = CallContext::unattended(Arc::new(Principal::system()), call.deadline);
    match service.request(&request, &context).await {
        Ok(Outcome::Complete(result)) if result.is_error => {
            let body = result.body.to_value();
            let said: String = text_of(&body["content"][0]["text"]).chars().take(500).collect();
            Err(refused(Fault::standard("communication", 422, "Refused by the tool", said)))
        }
        Ok(Outcome::Complete(result)) => Ok(result.body.to_value()),
        Ok(Outcome::InputRequired(_) | Outcome::Task(_)) => Err(refused(Fault::standard(
            "runtime",
            422,
            "Input Required",
            "the server asks a person something",
        ))),
        Err(failure) => Err(failed(&failure, &request)),
    }
}

fn failed(failure: &Failure, request: &Call) -> Failed {
    let changes = request.operation == Operation::CallTool;
    (Fault::from(failure), if changes { failure.effect } else { EffectState::None })
}

fn request(with: &With, call: &EndpointCall) -> Result<Call, Failed> {
    let parameters = &with.parameters;
    let text = |name: &str| text_of(parameters.get(name).unwrap_or(&Value::from("")));
    let (operation, name) = match &*with.method {
        "tools/call" => (Operation::CallTool, text("name")),
        "prompts/get" => (Operation::GetPrompt, text("name")),
        "resources/read" => (Operation::ReadResource, text("uri")),
        other => {
            let what = format!("{other} can't be called: tools/call, prompts/get and resources/read can");
            return Err(refused(Fault::configuration(what)));
        }
    };
    let arguments = parameters.get("arguments").map_or_else(Json::empty_object, Json::from_value);
    Ok(Call {
        id: CallId(Uuid::now_v7()),
        operation,
        service: ServiceId::new("workflow"),
        name: Arc::from(name),
        arguments,
        meta: None,
        resume: None,
        idempotency_key: Some(call.idempotency_key.clone()),
        known: None,
    })
}

async fn config(
    with: &With,
    shared: &Shared,
    access: &Access,
    call: &EndpointCall,
) -> Result<mcp::Config, Failed> {
    let wrong = |what: &str| refused(Fault::configuration(what));
    let mut config = mcp::Config {
        protocol: with.protocol_version.clone(),
        max_response_bytes: MAX_ANSWER,
        cwd: Some(shared.place.cwd.clone()),
        ..mcp::Config::default()
    };
    if let Some(uri) = &with.uri {
        let url = Url::parse(uri)
            .map_err(|error| wrong(&format!("the endpoint {uri:?} is no absolute URI: {error}")))?;
        access.url(&url)?;
        config.url = Some(url.to_string());
        let headers = http::headers_of(&with.headers)?;
        config.headers = headers
            .iter()
            .map(|(name, value)| (name.to_string(), Secret::new(String::from_utf8_lossy(value.as_bytes()))))
            .collect();
        let proofs = shared.proofs(access, call.deadline);
        if let Some(proof) = proofs.authorization(&call.credentials, &url).await? {
            let proof = Secret::new(String::from_utf8_lossy(proof.as_bytes()));
            config.headers.insert("authorization".to_owned(), proof);
        }
        return Ok(config);
    }
    let program = text_of(&with.command);
    access.command(&program)?;
    config.command = std::iter::once(program).chain(with.arguments.iter().map(text_of)).collect();
    config.env = process::environment(&with.environment)?.into_iter().collect::<IndexMap<_, _>>();
    Ok(config)
}
