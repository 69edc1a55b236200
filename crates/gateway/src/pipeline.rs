//! The life of a call: one linear function that every door enters.
//!
//! *authenticate → limit → resolve → authorize → plan → execute → shape → record*

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_model::{
    Call, CallContext, CallId, EffectState, Failure, Json, Operation, Outcome, Principal, Resume, Service,
    Tool,
};

use crate::gateway::Rules;
use crate::record::Subject;
use crate::{Error, Gateway};

/// What a door has decoded of a request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The identity that the call will have.
    pub id: CallId,
    /// Which door it came by: `mcp`, `stdio`, `http`.
    pub door: &'static str,
    /// What is asked.
    pub operation: Operation,
    /// The advertised name of the tool or prompt, or the URI of the resource; for a completion that of its `ref`.
    pub name: Arc<str>,
    /// The arguments, an object; for a completion the whole params object.
    pub arguments: Json,
    /// Members of `_meta` to pass on.
    pub meta: Option<Json>,
    /// Answers to an earlier `input_required`.
    pub resume: Option<Resume>,
    /// The caller's idempotency key.
    pub idempotency_key: Option<Arc<str>>,
}

/// What a caller shows to prove who it is.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The caller is on this machine.
    pub loopback: bool,
    /// The API key.
    pub key: Option<&'a str>,
}

/// A call that has been made. Where it is dropped before its end, the caller has gone away or cancelled it; that is
/// recorded, too.
struct Running<'a> {
    gateway: &'a Arc<Gateway>,
    call: &'a Call,
    context: &'a CallContext,
    subject: &'a Subject,
    start: Instant,
}

impl Running<'_> {
    async fn ended(self, outcome: &Result<Outcome, Failure>) -> Result<(), Error> {
        let this = std::mem::ManuallyDrop::new(self);
        let took = this.start.elapsed();
        this.gateway.recorder.ended(this.call, this.context, this.subject, outcome, took).await
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.gateway.is_closing() {
            return;
        }
        let (gateway, call, took) = (self.gateway.clone(), self.call.clone(), self.start.elapsed());
        let (context, subject) = (self.context.clone(), self.subject.clone());
        self.gateway.spawn(async move {
            let outcome = Err(Error::Cancelled.into());
            if let Err(error) = gateway.recorder.ended(&call, &context, &subject, &outcome, took).await {
                tracing::error!(call = %call.id, %error, "a cancelled call is not in the record");
            }
        });
    }
}

/// What a name stands for.
struct Target {
    service: Arc<dyn Service>,
    tool: Option<Arc<dyn Tool>>,
    own: Arc<str>,
    /// `service/own`.
    label: Arc<str>,
    read_only: bool,
    /// Further services that may have the resource.
    others: Vec<(Arc<dyn Service>, Arc<str>)>,
}

impl Gateway {
    /// The first phase, which a door runs as soon as it has a caller: who is it?
    ///
    /// # Errors
    /// [`Failure`] where the caller must show a key and does not, or shows a wrong one.
    pub fn authenticate(&self, credentials: Credentials<'_>) -> Result<Arc<Principal>, Failure> {
        let rules = self.rules.load();
        Ok(rules.authenticator.authenticate(credentials.loopback, credentials.key)?)
    }

    /// The life of a call, from the moment a door has decoded it to the moment it can encode the answer.
    ///
    /// # Errors
    /// [`Failure`] where the call was refused, could not be made, or did not end in time. Either way it is in the
    /// record.
    pub async fn call(self: &Arc<Self>, request: Request, context: CallContext) -> Result<Outcome, Failure> {
        let rules = self.rules.load_full();
        let (call, target) = match self.admit(&rules, &request, &context) {
            Ok(admitted) => admitted,
            Err(failure) => {
                let target = request.name.clone();
                let method = request.operation.method();
                self.recorder.refused(request.id.0, method, target, &context, &failure).await?;
                return Err(failure);
            }
        };
        let subject = Subject {
            target: target.label.clone(),
            door: request.door,
            read_only: target.read_only,
            keep: rules.config.record,
        };
        if !subject.read_only {
            self.recorder.started(&call, &context, &subject).await?;
        }
        let running = Running {
            gateway: self,
            call: &call,
            context: &context,
            subject: &subject,
            start: Instant::now(),
        };
        let outcome = execute(&target, call.clone(), &context).await.map(shape);
        running.ended(&outcome).await.map_err(|error| unrecorded(error, subject.read_only))?;
        outcome
    }

    /// The phases before anything is done: limit, resolve, authorize, plan.
    fn admit(
        &self,
        rules: &Rules,
        request: &Request,
        context: &CallContext,
    ) -> Result<(Call, Target), Failure> {
        limit(&context.principal, request)?;
        let mut target = self.resolve(rules, &context.principal, request)?;
        authorize(rules, &context.principal, &target, request.operation)?;
        target.others.retain(|(service, own)| {
            rules.authorizer.decide(&context.principal, service.id(), own, request.operation).allow
        });
        let call = plan(request, &target)?;
        Ok((call, target))
    }

    /// What the record calls a name: `service/own` where it stands for something.
    pub(crate) fn label(&self, operation: Operation, name: &Arc<str>) -> Arc<str> {
        let snapshot = self.catalog.snapshot();
        let label = match operation {
            Operation::CallTool => snapshot.tools.get(name).map(|entry| entry.target.clone()),
            Operation::GetPrompt => snapshot.prompts.get(name).map(|entry| entry.target.clone()),
            Operation::ReadResource | Operation::Complete => {
                snapshot.resources.get(name).map(|entry| entry.target.clone())
            }
        };
        label.unwrap_or_else(|| name.clone())
    }

    /// Finds what a name stands for. One that nothing has comes back with the nearest that the principal may use.
    fn resolve(&self, rules: &Rules, principal: &Principal, request: &Request) -> Result<Target, Failure> {
        let snapshot = self.catalog.snapshot();
        let name = &*request.name;
        match request.operation {
            Operation::CallTool => {
                let Some(entry) = snapshot.tools.get(name) else {
                    let mut near = snapshot.near_tools(name);
                    near.retain(|name| {
                        let spec = snapshot.tools.get(&**name).map(|entry| entry.tool.spec());
                        spec.is_some_and(|spec| {
                            let (service, own) = (&spec.service, &*spec.name);
                            rules.authorizer.decide(principal, service, own, request.operation).allow
                        })
                    });
                    return Err(Error::UnknownTool { name: name.to_owned(), near }.into());
                };
                let spec = entry.tool.spec();
                Ok(Target {
                    service: entry.service.clone(),
                    tool: Some(entry.tool.clone()),
                    own: spec.name.clone(),
                    label: entry.target.clone(),
                    read_only: spec.effects.read_only,
                    others: Vec::new(),
                })
            }
            Operation::GetPrompt => prompt_target(&snapshot, name),
            Operation::ReadResource => resource_target(&snapshot, name),
            Operation::Complete if is_uri_ref(&request.arguments) => resource_target(&snapshot, name),
            Operation::Complete => prompt_target(&snapshot, name),
        }
    }
}

fn prompt_target(snapshot: &trunkline_discovery::Snapshot, name: &str) -> Result<Target, Failure> {
    let Some(entry) = snapshot.prompts.get(name) else {
        let near = snapshot.near_prompts(name);
        return Err(Error::UnknownPrompt { name: name.to_owned(), near }.into());
    };
    Ok(Target {
        service: entry.service.clone(),
        tool: None,
        own: entry.own.clone(),
        label: entry.target.clone(),
        read_only: true,
        others: Vec::new(),
    })
}

fn resource_target(snapshot: &trunkline_discovery::Snapshot, uri: &str) -> Result<Target, Failure> {
    // A completion names a template itself, everything else an expansion of one.
    let mut readers = match snapshot.templates.get(uri) {
        Some(entry) => vec![(entry.service.clone(), entry.own.clone())],
        None => snapshot.readers_of(uri),
    };
    if readers.is_empty() {
        return Err(Error::UnknownResource { uri: uri.to_owned() }.into());
    }
    let (service, own) = readers.remove(0);
    let label = Arc::from(format!("{}/{own}", service.id()));
    Ok(Target { service, tool: None, own, label, read_only: true, others: readers })
}

fn is_uri_ref(params: &Json) -> bool {
    params.to_value()["ref"]["type"] == "ref/resource"
}

/// Limits by principal, tool and conversation: none yet, every call passes.
#[expect(clippy::unnecessary_wraps, reason = "the phase has its place before there is a limit")]
fn limit(_principal: &Principal, _request: &Request) -> Result<(), Failure> {
    Ok(())
}

/// Whether the principal may do this. Decided by the binding (service, own name), never by the advertised name.
fn authorize(
    rules: &Rules,
    principal: &Principal,
    target: &Target,
    operation: Operation,
) -> Result<(), Failure> {
    Ok(rules.authorizer.check(principal, target.service.id(), &target.own, operation)?)
}

/// Checks the arguments and makes the call.
fn plan(request: &Request, target: &Target) -> Result<Call, Failure> {
    if let Some(tool) = &target.tool {
        tool.validate_parameters(&request.arguments)
            .map_err(|violations| Error::Arguments { name: request.name.to_string(), violations })?;
    }
    let mut arguments = request.arguments.clone();
    if request.operation == Operation::Complete && *target.own != *request.name {
        let mut params = arguments.to_value();
        let member = if is_uri_ref(&arguments) { "uri" } else { "name" };
        params["ref"][member] = serde_json::Value::from(&*target.own);
        arguments = Json::from(params);
    }
    Ok(Call {
        id: request.id,
        operation: request.operation,
        service: target.service.id().clone(),
        name: target.own.clone(),
        arguments,
        meta: request.meta.clone(),
        resume: request.resume.clone(),
        idempotency_key: request.idempotency_key.clone(),
    })
}

/// Runs the call to its end or its deadline. Time spent waiting for the caller's answers does not count.
async fn execute(target: &Target, mut call: Call, context: &CallContext) -> Result<Outcome, Failure> {
    if let Some(tool) = &target.tool {
        return within_deadline(target, context, tool.execute(&call, context)).await;
    }
    let mut outcome = within_deadline(target, context, target.service.request(&call, context)).await;
    for (service, own) in &target.others {
        if !matches!(&outcome, Err(failure) if failure.rpc.is_some()) {
            break;
        }
        call.service = service.id().clone();
        call.name = own.clone();
        outcome = within_deadline(target, context, service.request(&call, context)).await;
    }
    outcome
}

async fn within_deadline(
    target: &Target,
    context: &CallContext,
    work: impl Future<Output = Result<Outcome, Failure>>,
) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let mut work = std::pin::pin!(work);
    let mut sleep = std::pin::pin!(tokio::time::sleep_until(context.deadline.into()));
    loop {
        tokio::select! {
            biased;
            outcome = &mut work => return outcome,
            () = &mut sleep => {
                let deadline = Instant::from_std(context.deadline) + context.client.waited();
                if deadline <= Instant::now() + Duration::from_millis(1) {
                    let (target, read_only) = (target.label.to_string(), target.read_only);
                    return Err(Error::Deadline { target, within: start.elapsed(), read_only }.into());
                }
                sleep.as_mut().reset(deadline);
            }
        }
    }
}

/// The call was made, but its outcome is not on disk: it is not answered as done.
fn unrecorded(error: Error, read_only: bool) -> Failure {
    let effect = if read_only { EffectState::None } else { EffectState::Unknown };
    Failure { effect, ..error.into() }
}

/// Makes the result fit the caller: passes through until results are shaped.
fn shape(outcome: Outcome) -> Outcome {
    outcome
}
