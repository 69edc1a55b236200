//! Drives the MCP connector through the model's traits as the protocol's conformance suite wants its clients driven:
//! connects to the URL given last, uses everything that the server offers, and answers what it asks.
//!
//! The suite hands over what a person would configure (`MCP_CONFORMANCE_CONTEXT`: credentials, calls to make).

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trunkline_connectors::mcp::{Authorizer, ClientInfo, Config, Grant, McpService, OAuth, build};
use trunkline_model::{
    AskError, BoxFuture, Call, CallContext, CallId, Client, ClientFeatures, Json, Operation, Outcome,
    Principal, Question, Resume, Secret, Service, ServiceId, ServiceObserver, ServiceState, ServiceStatus,
    Tool,
};
use uuid::Uuid;

/// How long the server may take to be usable.
const READY: Duration = Duration::from_secs(20);

/// How many attempts to connect are waited for.
const ATTEMPTS: u64 = 3;

/// The client metadata document that the suite knows.
const METADATA: &str = "https://conformance-test.local/client-metadata.json";

/// Where authorization pages send the "browser" back to. Nobody needs to listen: the redirect itself is read.
const REDIRECT: &str = "http://localhost:3000/callback";

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let url = std::env::args().next_back().unwrap_or_default();
    let context: Value = match std::env::var("MCP_CONFORMANCE_CONTEXT") {
        Ok(text) => serde_json::from_str(&text)?,
        Err(_) => Value::Null,
    };
    let text = |key: &str| context[key].as_str().map(str::to_owned);
    // Which grant to use is for whoever configures the client to say.
    let scenario = std::env::var("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    let machine = scenario.starts_with("auth/client-credentials");
    let oauth = OAuth {
        grant: if machine { Grant::ClientCredentials } else { Grant::AuthorizationCode },
        client_id: text("client_id"),
        client_secret: text("client_secret").map(Secret::new),
        client_metadata_url: Some(METADATA.to_owned()),
        ..OAuth::default()
    };
    let config = Config { url: Some(url), oauth: Some(oauth), ..Config::default() };
    let (changed, mut changes) = watch::channel(());
    let observer = Arc::new(Watcher(changed));
    let (service, runner) = build(config, ServiceId::new("suite"), ClientInfo::default(), observer)?;
    let stop = CancellationToken::new();
    let running = tokio::spawn(runner.with_authorizer(Arc::new(Visitor)).run(stop.clone()));
    let done = match tokio::time::timeout(READY, ready(&service, &mut changes)).await {
        Ok(Ok(())) => use_everything(&service, &context).await,
        Ok(Err(error)) => Err(error),
        Err(_) => Err(format!("not ready: {:?}", service.status()).into()),
    };
    stop.cancel();
    running.await?;
    done
}

/// Waits until the server's lists are read.
async fn ready(service: &McpService, changes: &mut watch::Receiver<()>) -> Result<(), Failed> {
    loop {
        let status = service.status();
        if status.state == ServiceState::Up {
            return Ok(());
        }
        if status.restarts >= ATTEMPTS {
            return Err(status.cause.unwrap_or_default().into());
        }
        changes.changed().await?;
    }
}

/// Calls every tool, gets every prompt, reads every resource.
async fn use_everything(service: &Arc<McpService>, context: &Value) -> Result<(), Failed> {
    let contents = service.contents();
    let mut failure = None;
    let planned = context["toolCalls"].as_array().cloned();
    let calls: Vec<(Arc<dyn Tool>, Value)> = match planned {
        Some(planned) => planned
            .iter()
            .filter_map(|call| {
                let tool = contents.tools.iter().find(|tool| call["name"] == *tool.spec().name)?;
                Some((Arc::clone(tool), call["arguments"].clone()))
            })
            .collect(),
        None => {
            let first = contents.tools.first().map(|tool| tool.spec().input.document().clone());
            let arguments = |tool: &Arc<dyn Tool>| sample(tool.spec().input.document(), first.as_ref());
            contents.tools.iter().map(|tool| (Arc::clone(tool), arguments(tool))).collect()
        }
    };
    for (tool, arguments) in calls {
        let made = complete(service, Operation::CallTool, &tool.spec().name, arguments, Some(&*tool)).await;
        failure = failure.or(made.err());
    }
    for prompt in &contents.prompts {
        let arguments = prompt_arguments(&prompt.raw.to_value());
        let made = complete(service, Operation::GetPrompt, &prompt.key, arguments, None).await;
        failure = failure.or(made.err());
    }
    for resource in &contents.resources {
        let made = complete(service, Operation::ReadResource, &resource.key, json!({}), None).await;
        failure = failure.or(made.err());
    }
    failure.map_or(Ok(()), Err)
}

/// Makes one call and answers what it asks until it is complete.
async fn complete(
    service: &Arc<McpService>,
    operation: Operation,
    name: &str,
    arguments: Value,
    tool: Option<&dyn Tool>,
) -> Result<(), Failed> {
    let mut call = Call {
        id: CallId(Uuid::now_v7()),
        operation,
        service: service.id().clone(),
        name: Arc::from(name),
        arguments: Json::from(arguments),
        meta: None,
        resume: None,
        idempotency_key: None,
        known: None,
    };
    let context = CallContext {
        client: Arc::new(Answerer),
        ..CallContext::unattended(Arc::new(Principal::local()), Instant::now() + READY)
    };
    for _ in 0..10 {
        let outcome = match tool {
            Some(tool) => tool.execute(&call, &context).await?,
            None => service.request(&call, &context).await?,
        };
        let Outcome::InputRequired(wanted) = outcome else { return Ok(()) };
        let requests: BTreeMap<String, Value> = wanted.requests.to()?;
        let responses: Map<String, Value> =
            requests.iter().map(|(id, request)| (id.clone(), answer(request))).collect();
        call.resume = Some(Resume { responses: Json::from(Value::Object(responses)), state: wanted.state });
    }
    Err("the server never has enough input".into())
}

/// What a person and their model would answer: they take what is proposed.
fn answer(request: &Value) -> Value {
    match request["method"].as_str() {
        Some("elicitation/create") => {
            json!({"action": "accept", "content": sample(&request["params"]["requestedSchema"], None)})
        }
        Some("sampling/createMessage") => {
            json!({"role": "assistant", "model": "none", "content": {"type": "text", "text": "an answer"}})
        }
        _ => json!({"roots": []}),
    }
}

/// A value that fits an object schema: defaults where there are some.
fn sample(schema: &Value, other: Option<&Value>) -> Value {
    let Some(properties) = schema["properties"].as_object() else { return json!({}) };
    let value = |name: &str, property: &Value| {
        if let Some(default) = property.get("default") {
            return default.clone();
        }
        if let Some(first) = property["enum"].as_array().and_then(|values| values.first()) {
            return first.clone();
        }
        match property["type"].as_str() {
            Some("number") => json!(1.5),
            Some("integer") => json!(7),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") if name == "schema" => other.cloned().unwrap_or_else(|| json!({})),
            Some("object") => sample(property, other),
            _ => json!("text"),
        }
    };
    properties
        .iter()
        .map(|(name, property)| (name.clone(), value(name, property)))
        .collect::<Map<_, _>>()
        .into()
}

fn prompt_arguments(prompt: &Value) -> Value {
    let names =
        prompt["arguments"].as_array().into_iter().flatten().filter_map(|argument| argument["name"].as_str());
    names.map(|name| (name.to_owned(), json!("text"))).collect::<Map<_, _>>().into()
}

/// A caller that can do everything and answers at once.
struct Answerer;

impl Client for Answerer {
    fn features(&self) -> ClientFeatures {
        ClientFeatures {
            elicitation_form: true,
            elicitation_url: true,
            sampling: true,
            roots: true,
            presumed: false,
        }
    }

    fn wants_progress(&self) -> bool {
        true
    }

    fn ask<'a>(&'a self, question: Question) -> BoxFuture<'a, Result<Json, AskError>> {
        let request = json!({"method": question.method, "params": question.params.to_value()});
        Box::pin(async move { Ok(Json::from(answer(&request))) })
    }
}

/// Follows an authorization link as a browser would, up to the redirect back.
struct Visitor;

impl Authorizer for Visitor {
    fn redirect_uri(&self) -> String {
        REDIRECT.to_owned()
    }

    fn authorize<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<String, String>> {
        Box::pin(async move {
            let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
            let page = browser.map_err(|error| error.to_string())?.get(url).send().await;
            let page = page.map_err(|error| error.to_string())?;
            let location = page.headers().get("location").and_then(|location| location.to_str().ok());
            location.map(str::to_owned).ok_or_else(|| format!("the page answered {}", page.status()))
        })
    }
}

struct Watcher(watch::Sender<()>);

impl ServiceObserver for Watcher {
    fn contents_changed(&self, _: &ServiceId) {}

    fn status_changed(&self, _: &ServiceId, status: &ServiceStatus) {
        eprintln!("{:?} {} {}", status.state, status.protocol, status.cause.as_deref().unwrap_or_default());
        self.0.send_replace(());
    }

    fn resource_updated(&self, _: &ServiceId, uri: &str) {
        eprintln!("{uri} has changed");
    }

    fn logged(&self, _: &ServiceId, params: &Json) {
        eprintln!("log: {params}");
    }
}
