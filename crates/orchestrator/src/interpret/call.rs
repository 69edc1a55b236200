//! Tasks that have effects: calls of tools and endpoints, processes, other workflows.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_model::{Effects, Json};

use super::scope::Scope;
use super::{Place, control, duration, given_out, list, taken_in, task};
use crate::entry::{Entry, Key, Undo};
use crate::expression::Template;
use crate::fault::Fault;
use crate::run::{Run, Step, Target};
use crate::saga::scope as saga_scope;
use crate::workflow::{
    self, Authentication, AuthenticationRef, CallTask, Credentials, Endpoint, ExternalResource, HttpCall,
    HttpOutput, Login, McpCall, McpTransport, OAuth2, OpenApiCall, ProcessInput, ProcessReturn, Run as What,
    RunTask, Saga, ScriptSource, Sensitive, Transform, Uri, Workflow,
};

/// The most levels of workflows within workflows.
const MAX_NESTING: usize = 16;

/// Evaluates the parts of a call.
struct Call<'a> {
    run: &'a Arc<Run>,
    scope: &'a Scope,
    input: &'a Value,
}

/// Calls a tool, a function or an endpoint.
pub(super) async fn call(
    run: &Arc<Run>,
    call: &CallTask,
    saga: Option<&Saga>,
    at: &Place,
    scope: &Scope,
    input: &Value,
) -> Result<Value, Fault> {
    let parts = Call { run, scope, input };
    let mut timeout = None;
    let (target, arguments, credentials) = match call {
        CallTask::Function { name, with } => {
            let arguments = parts.template(with)?;
            if let Some(function) = run.workflow.definitions.functions.get(name) {
                let at = at.part("function");
                let scope = scope.with("input", arguments.clone());
                let done = Box::pin(task(run, function, name, &at, &scope, arguments)).await?;
                return Ok(done.0);
            }
            (Target::Tool(name.clone()), arguments, Value::Null)
        }
        CallTask::Http(http) => {
            let effects = Effects::of_http_method(&http.method);
            let (with, credentials) = parts.http(http)?;
            (Target::Endpoint("http", effects), with, credentials)
        }
        CallTask::OpenApi(openapi) => {
            let (with, credentials) = parts.openapi(openapi)?;
            (Target::Endpoint("openapi", Effects::default()), with, credentials)
        }
        CallTask::Mcp(mcp) => {
            if let Some(limit) = &mcp.timeout {
                timeout = Some(duration(run, limit, scope, input)?);
            }
            let (with, credentials) = parts.mcp(mcp)?;
            (Target::Endpoint("mcp", Effects::default()), with, credentials)
        }
        CallTask::Grpc(_) => return Err(missing("grpc")),
        CallTask::AsyncApi(_) => return Err(missing("asyncapi")),
        CallTask::A2a(_) => return Err(missing("a2a")),
    };
    let mut step = step(at, target, &arguments, timeout);
    step.credentials = credentials;
    let policy = saga.and_then(|saga| saga.retry.as_deref());
    if let Some(saga) = saga {
        step.pivot = saga.pivot;
        match &saga.undo {
            workflow::Undo::Unsaid => {}
            workflow::Undo::Nothing | workflow::Undo::Safe(_) => step.needs_no_undo = true,
            workflow::Undo::Call(call) => {
                let args = call.args.source().clone();
                step.bound = scope.named_in(&args);
                step.undo = Some(Undo { tool: call.tool.clone(), args, safe: call.safe });
            }
        }
    }
    let value = control::retried(run, policy, at, scope, input, &step).await?;
    prepare_undo(run, &step, saga, scope, &value);
    Ok(value)
}

/// Makes the arguments of a step's undo while all that they are made of is in sight.
fn prepare_undo(run: &Arc<Run>, step: &Step, saga: Option<&Saga>, scope: &Scope, value: &Value) {
    let Some(undo) = run.saga.undo_of(&step.key) else { return };
    let mut steps = run.exported_steps();
    if let Some(id) = saga.and_then(|saga| saga.step.as_deref()) {
        steps.insert(id.to_owned(), value.clone());
    }
    let dot = saga_scope(&run.input, steps, &step.arguments.to_value(), value);
    let template = Transform::Template(Template::new(undo.args));
    let args = scope.with("output", value.clone()).evaluate(run, &template, &dot);
    run.saga.prepare(&step.key, args);
}

fn step(at: &Place, target: Target, arguments: &Value, timeout: Option<Duration>) -> Step {
    Step {
        key: at.key.clone(),
        pointer: at.pointer.clone(),
        target,
        arguments: Json::from_value(arguments),
        credentials: Value::Null,
        undo: None,
        bound: None,
        needs_no_undo: false,
        pivot: false,
        undoes: None,
        timeout,
        idempotency_key: None,
        expect: None,
        outside: None,
    }
}

fn missing(kind: &str) -> Fault {
    Fault::configuration(format!("there is no connector for calls of kind {kind:?} yet"))
}

impl Call<'_> {
    fn value(&self, transform: &Transform) -> Result<Value, Fault> {
        self.scope.evaluate(self.run, transform, self.input)
    }

    fn template(&self, template: &Template) -> Result<Value, Fault> {
        self.scope.evaluate(self.run, &Transform::Template(template.clone()), self.input)
    }

    fn put(&self, with: &mut Value, name: &str, transform: Option<&Transform>) -> Result<(), Fault> {
        if let Some(transform) = transform {
            with[name] = self.value(transform)?;
        }
        Ok(())
    }

    fn http(&self, call: &HttpCall) -> Result<(Value, Value), Fault> {
        let mut with = json!({
            "method": &*call.method,
            "uri": self.uri(&call.endpoint)?,
            "output": output_name(call.output),
            "redirect": call.redirect,
        });
        self.put(&mut with, "headers", call.headers.as_ref())?;
        self.put(&mut with, "query", call.query.as_ref())?;
        self.put(&mut with, "body", call.body.as_ref())?;
        Ok((with, self.authentication(call.endpoint.authentication.as_ref())?))
    }

    fn openapi(&self, call: &OpenApiCall) -> Result<(Value, Value), Fault> {
        let mut with = json!({
            "document": self.resource(&call.document)?,
            "operationId": &*call.operation_id,
            "output": output_name(call.output),
            "redirect": call.redirect,
        });
        if let Some(parameters) = &call.parameters {
            with["parameters"] = self.template(parameters)?;
        }
        Ok((with, self.authentication(call.authentication.as_ref())?))
    }

    fn mcp(&self, call: &McpCall) -> Result<(Value, Value), Fault> {
        let mut with = json!({"method": &*call.method});
        if let Some(version) = &call.protocol_version {
            with["protocolVersion"] = json!(&**version);
        }
        self.put(&mut with, "parameters", call.parameters.as_ref())?;
        let mut credentials = Value::Null;
        match &call.transport {
            McpTransport::Http { endpoint, headers } => {
                with["uri"] = json!(self.uri(endpoint)?);
                credentials = self.authentication(endpoint.authentication.as_ref())?;
                if let Some(headers) = headers {
                    with["headers"] = self.template(headers)?;
                }
            }
            McpTransport::Stdio { command, arguments, environment } => {
                with["command"] = self.value(command)?;
                with["arguments"] = arguments
                    .iter()
                    .map(|argument| self.value(argument))
                    .collect::<Result<Vec<_>, _>>()?
                    .into();
                if let Some(environment) = environment {
                    with["environment"] = self.template(environment)?;
                }
            }
        }
        Ok((with, credentials))
    }

    fn resource(&self, resource: &ExternalResource) -> Result<String, Fault> {
        self.uri(&resource.endpoint)
    }

    /// The URI of an endpoint. `{name}` in a template is the member of that name of the task's input (RFC 6570, level 1).
    fn uri(&self, endpoint: &Endpoint) -> Result<String, Fault> {
        match &endpoint.uri {
            Uri::Template(template) => expand(template, self.input),
            Uri::Expression(expression) => match self.value(&Transform::Expression(expression.clone()))? {
                Value::String(text) => Ok(text),
                other => Err(Fault::configuration(format!("an endpoint is to be a URI, and it is {other}"))),
            },
        }
    }

    /// What proves to the endpoint who asks: a policy with all expressions evaluated, or the name of a secret that only the
    /// endpoint's side knows. It goes into no journal.
    fn authentication(&self, policy: Option<&AuthenticationRef>) -> Result<Value, Fault> {
        let Some(policy) = policy else { return Ok(Value::Null) };
        let policy = self.run.workflow.authentication_of(policy).ok_or_else(|| {
            Fault::configuration("the authentication policy is not defined in `use.authentications`")
        })?;
        Ok(match &**policy {
            Authentication::Basic(given) => {
                json!({"basic": self.credentials(given, |login| self.login(login))?})
            }
            Authentication::Digest(given) => {
                json!({"digest": self.credentials(given, |login| self.login(login))?})
            }
            Authentication::Bearer(given) => {
                let token = |token: &Sensitive| Ok(json!({"token": self.value(token.expose())?}));
                json!({"bearer": self.credentials(given, token)?})
            }
            Authentication::OAuth2(given) => {
                json!({"oauth2": self.credentials(given, |given| self.oauth2(given))?})
            }
            Authentication::Oidc(given) => {
                json!({"oidc": self.credentials(given, |given| self.oauth2(given))?})
            }
        })
    }

    fn credentials<T>(
        &self,
        given: &Credentials<T>,
        evaluated: impl FnOnce(&T) -> Result<Value, Fault>,
    ) -> Result<Value, Fault> {
        match given {
            Credentials::Inline(given) => evaluated(given),
            Credentials::Secret(name) => Ok(json!({"use": &**name})),
        }
    }

    fn login(&self, login: &Login) -> Result<Value, Fault> {
        Ok(
            json!({"username": self.value(&login.username)?, "password": self.value(login.password.expose())?}),
        )
    }

    /// Flat: the members of `client` and of tokens stand beside the others, with a dot in their names.
    fn oauth2(&self, given: &OAuth2) -> Result<Value, Fault> {
        let authority = match &given.authority {
            Uri::Template(template) => expand(template, self.input)?.into(),
            Uri::Expression(expression) => self.value(&Transform::Expression(expression.clone()))?,
        };
        let mut with = json!({
            "authority": authority,
            "grant": &*given.grant,
            "endpoints.token": given.token_endpoint.as_deref(),
            "client.authentication": given.client_authentication.as_deref(),
            "json": given.json_request,
            "issuers": given.issuers,
            "scopes": given.scopes,
            "audiences": given.audiences,
        });
        let open = |secret: &'_ Option<Sensitive>| secret.as_ref().map(|secret| secret.expose().clone());
        let (subject, actor) = (given.subject.as_ref(), given.actor.as_ref());
        for (name, value) in [
            ("client.id", given.client_id.clone()),
            ("client.secret", open(&given.client_secret)),
            ("client.assertion", open(&given.client_assertion)),
            ("username", given.username.clone()),
            ("password", open(&given.password)),
            ("subject.token", subject.map(|(token, _)| token.expose().clone())),
            ("subject.type", subject.map(|(_, kind)| kind.clone())),
            ("actor.token", actor.map(|(token, _)| token.expose().clone())),
            ("actor.type", actor.map(|(_, kind)| kind.clone())),
        ] {
            self.put(&mut with, name, value.as_ref())?;
        }
        Ok(with)
    }

    fn process(&self, process: &ProcessInput, with: &mut Value) -> Result<(), Fault> {
        self.put(with, "stdin", process.stdin.as_ref())?;
        let arguments = process.arguments.iter().map(|argument| self.value(argument));
        with["arguments"] = arguments.collect::<Result<Vec<_>, _>>()?.into();
        if let Some(environment) = &process.environment {
            with["environment"] = self.template(environment)?;
        }
        Ok(())
    }
}

fn output_name(output: HttpOutput) -> &'static str {
    match output {
        HttpOutput::Raw => "raw",
        HttpOutput::Content => "content",
        HttpOutput::Response => "response",
    }
}

/// Expands `{name}` by members of `input`. What is not plain is percent-encoded.
fn expand(template: &str, input: &Value) -> Result<String, Fault> {
    use std::fmt::Write as _;
    let (mut out, mut rest) = (String::with_capacity(template.len()), template);
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            return Err(Fault::configuration(format!(
                "the URI template {template:?} has a brace without an end"
            )));
        };
        let text = match input.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                // Writing to a String can't fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Runs another workflow, a script, a command or a container.
pub(super) async fn run(
    run: &Arc<Run>,
    what: &RunTask,
    at: &Place,
    scope: &Scope,
    input: Value,
) -> Result<Value, Fault> {
    let parts = Call { run, scope, input: &input };
    let (kind, mut with) = match &what.what {
        What::Workflow { namespace, name, version, input: given } => {
            let given = match given {
                Some(template) => parts.template(template)?,
                None => input.clone(),
            };
            let flow = (&**namespace, &**name, &**version);
            if what.await_ {
                return nested(run, flow, at, given).await;
            }
            beside(run, flow, at, given).await?;
            return Ok(input);
        }
        What::Script { language, source, process } => {
            let mut with = json!({"language": &**language});
            match source {
                ScriptSource::Code(code) => with["code"] = json!(&**code),
                ScriptSource::External(resource) => with["source"] = json!(parts.resource(resource)?),
            }
            parts.process(process, &mut with)?;
            ("script", with)
        }
        What::Shell { command, process } => {
            let mut with = json!({"command": parts.value(command)?});
            parts.process(process, &mut with)?;
            ("shell", with)
        }
        What::Container(_) => return Err(missing("container")),
    };
    with["return"] = json!(match what.return_ {
        ProcessReturn::Stdout => "stdout",
        ProcessReturn::Stderr => "stderr",
        ProcessReturn::Code => "code",
        ProcessReturn::All => "all",
        ProcessReturn::None => "none",
    });
    let step = step(at, Target::Endpoint(kind, Effects::default()), &with, None);
    if !what.await_ {
        run.let_go(&step).await?;
        return Ok(input);
    }
    let output = run.step(&step).await?;
    Ok(if what.return_ == ProcessReturn::None { input } else { output })
}

fn defined(run: &Run, (namespace, name, version): (&str, &str, &str)) -> Result<Arc<Workflow>, Fault> {
    run.definitions.find(namespace, name, version).ok_or_else(|| {
        Fault::configuration(format!("there is no workflow {namespace}/{name} of version {version}"))
    })
}

/// Begins an instance of another workflow and does not wait for it: it is a run of its own, which is neither cancelled nor
/// undone with this one.
async fn beside(run: &Arc<Run>, flow: (&str, &str, &str), at: &Place, input: Value) -> Result<(), Fault> {
    if run.journal.decided(&at.key).await.is_some() {
        return Ok(());
    }
    run.journal.live().await;
    let workflow = defined(run, flow)?;
    let begun = run.beside.begin(run, at.key.clone(), workflow, Json::from_value(&input)).await?;
    run.journal.note(Entry::Decided { key: at.key.clone(), value: json!({"instance": begun}) });
    Ok(())
}

/// Runs another workflow within this run: its steps are undone with those of this one. The definition is journaled, so
/// that the run keeps it.
async fn nested(
    run: &Arc<Run>,
    (namespace, name, version): (&str, &str, &str),
    at: &Place,
    input: Value,
) -> Result<Value, Fault> {
    if at.key.matches("/workflow").count() >= MAX_NESTING {
        return Err(Fault::configuration(format!(
            "workflows run each other more than {MAX_NESTING} levels deep"
        )));
    }
    let key: Key = Arc::from(format!("{}~definition", at.key));
    let source = match run.journal.decided(&key).await {
        Some(source) => source,
        None => {
            run.journal.live().await;
            let found = defined(run, (namespace, name, version))?;
            let source = Value::clone(found.source());
            run.journal.note(Entry::Decided { key, value: source.clone() });
            source
        }
    };
    let definition = Workflow::from_source(Arc::new(source))
        .map_err(|error| Fault::configuration(format!("{namespace}/{name}: {error}")))?;
    let inner = run.nested(Arc::new(definition), input.clone());
    let scope = Scope::root(&inner);
    let workflow = inner.workflow.clone();
    let input = taken_in(&inner, workflow.input.as_ref(), &scope, input)?;
    let scope = scope.with("input", input.clone());
    let place = at.part("workflow/do");
    let (output, _) = list(&inner, &workflow.tasks, place, scope.clone(), input).await?;
    given_out(&inner, workflow.output.as_ref(), &scope, output)
}
