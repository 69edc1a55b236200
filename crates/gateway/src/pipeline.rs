//! The life of a call: one linear function that every door enters.
//! *authenticate → resolve → authorize → plan → limit → execute, or give what was kept → shape → record*

mod kept;
mod running;
mod shape;
mod target;

pub use shape::Wish;
pub(crate) use shape::document;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_model::{
    Call, CallContext, CallId, Failure, Fault, Json, Operation, Outcome, Principal, Resume,
};

use crate::cache::Lookup;
use crate::gateway::Rules;
use crate::limits::Ticket;
use crate::loops::Counted;
use crate::record::Subject;
use crate::recovery::refusal;
use crate::{Error, Gateway, members};
use running::Running;
use target::{Target, capped, is_uri_ref, label_of};
use trunkline_resilience::shed::{Class, Priority};
use trunkline_telemetry::call::{About, CallTrace, Phase};

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
    /// The caller journals the call by itself: its record need not be durable before its answer.
    pub journaled: bool,
    /// The transaction that it names, as it was written.
    pub transaction: Option<Arc<str>>,
    /// It is made in the place of a call that failed.
    pub stands_in: bool,
    /// How much it matters, as the caller says.
    pub priority: Option<Class>,
    /// How the caller wants the answer.
    pub wish: Option<Arc<Wish>>,
}

/// What a caller shows to prove who it is.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The caller is on this machine.
    pub loopback: bool,
    /// The API key.
    pub key: Option<&'a str>,
}

impl Gateway {
    /// The first phase, which a door runs as soon as it has a caller: who is it?
    ///
    /// # Errors
    /// [`Failure`] where the caller must show a key and does not, or shows a wrong one.
    pub fn authenticate(&self, credentials: Credentials<'_>) -> Result<Arc<Principal>, Failure> {
        let rules = self.rules.load();
        let principal = rules.authenticator.authenticate(credentials.loopback, credentials.key);
        principal.map_err(|error| Failure::from(error).status(401))
    }

    /// The life of a call, from the moment a door has decoded it to the moment it can encode the answer.
    ///
    /// # Errors
    /// [`Failure`] where the call was refused, could not be made, or did not end in time. Either way it is in the
    /// record.
    pub async fn call(
        self: &Arc<Self>,
        request: Request,
        mut context: CallContext,
    ) -> Result<Outcome, Failure> {
        if let Some(transaction) = self.transaction_of(&request, &context)? {
            return self.call_within(transaction, request, context).await;
        }
        let rules = self.rules.load_full();
        let method = request.operation.method();
        let about = About { call: request.id.0, door: request.door, method, name: &request.name };
        let mut seen = CallTrace::begin(&self.telemetry, about, &mut context);
        let (request, filled, admitted) = self.admitted(&rules, request, &context, &mut seen).await;
        let Admitted { call, target, lookup, ticket, counted } = match admitted {
            Ok(admitted) => admitted,
            Err(failure) => {
                seen.refused(&self.telemetry, &failure);
                let target = capped(&request.name);
                self.recorder.refused(request.id.0, method, Arc::from(target), &context, &failure).await?;
                return Err(failure);
            }
        };
        let subject = Subject {
            target: target.label.clone(),
            door: request.door,
            read_only: target.read_only,
            journaled: request.journaled || target.tool.as_ref().is_some_and(|tool| tool.journals()),
            keep: rules.config.record,
        };
        if !subject.read_only && !request.journaled {
            self.recorder.started(&call, &context, &subject).await?;
        }
        seen.mark(Phase::Begin);
        let read_only = subject.read_only;
        // Until the end, however it comes: what the call changes is out of date after it.
        let _touch = if read_only { None } else { self.cache.touched(&call.service, &call.name) };
        let (start, priority) = (Instant::now(), self.priority(&request, &context, &call));
        let mut running =
            Running { gateway: self, call, context: &context, subject, priority, start, seen, ended: false };
        let used = target.tool.clone();
        let outcome = match lookup {
            Some(lookup) => running.kept(lookup, target).await,
            None => running.execute(target).await,
        };
        running.seen.mark(Phase::Execute);
        if let Ok(outcome) = &outcome {
            self.heard(&request, &context, outcome);
        }
        let outcome = outcome.map(|outcome| shape::fit(self, &request, &running.call, &context, outcome));
        running.seen.mark(Phase::Shape);
        let (bytes, asked) = shape::cost(&outcome);
        ticket.answered(bytes, asked);
        if let Some(counted) = counted {
            self.loops.load().answered(&counted, &outcome);
        }
        running.ended(&outcome).await.map_err(|error| error.after_call(read_only))?;
        if request.operation == Operation::CallTool
            && let Ok(outcome) = &outcome
        {
            self.learn(&request, &context, outcome);
        }
        let done = match outcome {
            Ok(_) if refusal(&outcome).is_none() => outcome,
            outcome => self.recovered(&rules, &request, &context, used, outcome).await,
        };
        if filled.is_empty() { done } else { crate::recovery::asked(done, &filled) }
    }

    /// The phases before anything is done, again where the caller's user has filled in what was missing.
    async fn admitted(
        self: &Arc<Self>,
        rules: &Rules,
        request: Request,
        context: &CallContext,
        seen: &mut CallTrace,
    ) -> (Request, Vec<String>, Result<Admitted, Failure>) {
        let failure = match self.let_in(rules, &request, context, seen) {
            Ok(admitted) => return (request, Vec::new(), Ok(admitted)),
            Err(failure) => failure,
        };
        match Box::pin(self.filled_in(&request, context, failure)).await {
            Ok((filled, asked)) => {
                let admitted = self.let_in(rules, &filled, context, seen);
                (filled, asked, admitted)
            }
            Err(failure) => (request, Vec::new(), Err(failure)),
        }
    }

    /// The phases before anything is done: resolve, authorize, plan, limit. Arguments that are known to fit from an
    /// earlier call are not looked at again.
    fn let_in(
        &self,
        rules: &Rules,
        request: &Request,
        context: &CallContext,
        seen: &mut CallTrace,
    ) -> Result<Admitted, Failure> {
        let target = self.aim(rules, request, context, seen)?;
        seen.asks(&self.telemetry, &request.arguments);
        let (service, own, label) = (target.service.id(), &target.own, &target.label);
        let reads = target.read_only && request.resume.is_none();
        let kept = matches!(request.operation, Operation::CallTool | Operation::ReadResource);
        let mut lookup = None;
        if reads && kept && target.others.is_empty() {
            lookup = self.cache.look(request.operation, service, own, label, &request.arguments);
        }
        let call = match &mut lookup {
            Some(lookup) if lookup.is_known() => made_of(request, &target),
            Some(lookup) => {
                let call = plan(request, &target)?;
                lookup.fits();
                call
            }
            None => plan(request, &target)?,
        };
        seen.mark(Phase::Plan);
        let mut counted = None;
        let first = !request.journaled && !request.stands_in && request.resume.is_none();
        if target.tool.is_some() && first {
            counted = self.loops.load().begins(context, &target.label, &call.arguments)?;
        }
        let ticket = self.limits.load().take(context, &call.service, &call.name, &call.arguments)?;
        seen.mark(Phase::Limit);
        Ok(Admitted { call, target, lookup, ticket, counted })
    }

    /// How much a call matters.
    fn priority(&self, request: &Request, context: &CallContext, call: &Call) -> Priority {
        let priorities = self.priorities.load();
        priorities.of(&context.principal, &call.service, &call.name, request.priority, self.running())
    }

    /// What a name stands for, where the principal may use it.
    fn aim(
        &self,
        rules: &Rules,
        request: &Request,
        context: &CallContext,
        seen: &mut CallTrace,
    ) -> Result<Target, Failure> {
        let mut target = self.resolve(rules, &context.principal, request)?;
        seen.aims_at(&target.label);
        seen.mark(Phase::Resolve);
        authorize(rules, &context.principal, &mut target, request.operation)?;
        seen.aims_at(&target.label);
        seen.mark(Phase::Authorize);
        Ok(target)
    }

    /// The phases before anything is done: resolve, authorize, plan.
    pub(crate) fn admit(
        &self,
        rules: &Rules,
        request: &Request,
        context: &CallContext,
    ) -> Result<(Call, Target), Failure> {
        let target = self.aim(rules, request, context, &mut CallTrace::none())?;
        let call = plan(request, &target)?;
        Ok((call, target))
    }
}

/// A call that may be made.
struct Admitted {
    call: Call,
    target: Target,
    /// How it may be answered from what is kept.
    lookup: Option<Lookup>,
    /// What it has been charged so far.
    ticket: Ticket,
    counted: Option<Counted>,
}

/// Whether the principal may do this. Decided by the binding (service, own name), never by the advertised name. Of
/// several services that may have a resource, those are left that the principal may ask.
fn authorize(
    rules: &Rules,
    principal: &Principal,
    target: &mut Target,
    operation: Operation,
) -> Result<(), Failure> {
    let authorizer = &rules.authorizer;
    target.others.retain(|(service, own)| authorizer.decide(principal, service.id(), own, operation).allow);
    if let Err(denied) = authorizer.check(principal, target.service.id(), &target.own, operation) {
        if target.others.is_empty() {
            return Err(Failure::from(denied).status(403));
        }
        (target.service, target.own) = target.others.remove(0);
        target.label = label_of(&*target.service, &target.own);
    }
    Ok(())
}

/// Checks the arguments and makes the call.
fn plan(request: &Request, target: &Target) -> Result<Call, Failure> {
    if let Some(tool) = &target.tool {
        let unfit = |violations| Error::Arguments { name: request.name.to_string(), violations };
        let repeated = members::repeated(&request.arguments);
        let repeated = repeated.map_err(|error| Error::Params(format!("the arguments: {error}")))?;
        if !repeated.is_empty() {
            return Err(unfit(repeated).into());
        }
        tool.validate_parameters(&request.arguments).map_err(unfit)?;
    }
    Ok(made_of(request, target))
}

/// The call of a request.
fn made_of(request: &Request, target: &Target) -> Call {
    let mut arguments = request.arguments.clone();
    if request.operation == Operation::Complete && *target.own != *request.name {
        let mut params = arguments.to_value();
        let member = if is_uri_ref(&arguments) { "uri" } else { "name" };
        params["ref"][member] = serde_json::Value::from(&*target.own);
        arguments = Json::from(params);
    }
    Call {
        id: request.id,
        operation: request.operation,
        service: target.service.id().clone(),
        name: target.own.clone(),
        arguments,
        meta: request.meta.clone(),
        resume: request.resume.clone(),
        idempotency_key: request.idempotency_key.clone(),
        known: None,
    }
}

/// Waits for an outcome until the deadline. Time spent waiting for the caller's answers does not count.
async fn within_deadline(
    subject: &Subject,
    context: &CallContext,
    work: impl Future<Output = Result<Outcome, Failure>>,
) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let mut work = std::pin::pin!(work);
    let mut sleep = std::pin::pin!(tokio::time::sleep_until(context.deadline.into()));
    loop {
        tokio::select! {
            biased;
            outcome = &mut work => return outcome.map_err(|failure| {
                // What ran into the call's own deadline is told as that, whoever noticed it first.
                let deadline = Instant::from_std(context.deadline) + context.client.waited();
                let late = deadline <= Instant::now() && failure.fault == Fault::Service;
                if late && failure.rpc.is_none() { overdue(subject, start) } else { failure }
            }),
            () = &mut sleep => {
                let deadline = Instant::from_std(context.deadline) + context.client.waited();
                if deadline <= Instant::now() + Duration::from_millis(1) {
                    return Err(overdue(subject, start));
                }
                sleep.as_mut().reset(deadline);
            }
        }
    }
}

fn overdue(subject: &Subject, start: Instant) -> Failure {
    let target = subject.target.to_string();
    Error::Deadline { target, within: start.elapsed(), read_only: subject.read_only }.into()
}

#[cfg(test)]
pub(crate) mod tests {
    use trunkline_discovery::{Catalog, Registered};
    use trunkline_model::{
        BoxFuture, Contents, EffectState, Item, Service, ServiceId, ServiceState, ServiceStatus, ToolResult,
    };
    use trunkline_policy::{Authenticator, Authorizer};
    use uuid::Uuid;

    use super::target::MAX_ECHO;
    use super::*;

    /// A gateway that keeps its record in `folder`, as one process after another may.
    pub(crate) fn gateway(folder: &std::path::Path, rules: &serde_json::Value) -> Arc<Gateway> {
        let now: Arc<dyn Fn() -> jiff::Timestamp + Send + Sync> = Arc::new(jiff::Timestamp::now);
        let config = trunkline_event_log::Config::new(folder.join("events.db"));
        let (log, writer) = config.build(now.clone()).unwrap();
        std::thread::spawn(move || writer.run());
        Gateway::new(crate::Parts {
            config: crate::Config::default(),
            catalog: Arc::new(Catalog::new()),
            log,
            authenticator: Authenticator::new(&trunkline_policy::identity::api_key::Config::default())
                .unwrap(),
            authorizer: Authorizer::new(&serde_json::from_value(rules.clone()).unwrap()),
            sealer: crate::Sealer::new(&[7; 32]).unwrap(),
            sources: crate::Sources {
                now,
                time_id: Arc::new(Uuid::now_v7),
                random_id: Arc::new(Uuid::new_v4),
            },
            tasks: tokio_util::task::TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            telemetry: trunkline_telemetry::Telemetry::off(),
        })
    }

    /// A service that has resources: it reads those that begin with its name, and knows no other.
    struct Files(ServiceId);

    impl Service for Files {
        fn id(&self) -> &ServiceId {
            &self.0
        }

        fn status(&self) -> ServiceStatus {
            let protocol = "test".to_owned();
            ServiceStatus { state: ServiceState::Up, cause: None, restarts: 0, protocol, stderr: Vec::new() }
        }

        fn contents(&self) -> Arc<Contents> {
            let raw = Json::parse(r#"{"uri":"x:listed","name":"listed"}"#.to_owned()).unwrap();
            let listed = Item { key: Arc::from("x:listed"), raw };
            Arc::new(Contents { resources: vec![listed], ..Contents::default() })
        }

        fn request<'a>(
            &'a self,
            call: &'a Call,
            _context: &'a CallContext,
        ) -> BoxFuture<'a, Result<Outcome, Failure>> {
            Box::pin(async move {
                if call.service == self.0 && call.name.starts_with(self.0.as_str()) {
                    return Ok(ToolResult::raw(Json::empty_object(), false).into());
                }
                let none = Failure::service("TL4004", "No", "no such resource", EffectState::None, "");
                Err(none.rpc(Json::empty_object()))
            })
        }

        fn subscribe<'a>(&'a self, _uri: &'a str, _on: bool) -> BoxFuture<'a, Result<(), Failure>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    async fn read(gateway: &Arc<Gateway>, uri: &str) -> Result<Outcome, Failure> {
        let request = Request {
            id: gateway.new_call(),
            door: "http",
            operation: Operation::ReadResource,
            name: Arc::from(uri),
            arguments: Json::empty_object(),
            meta: None,
            resume: None,
            idempotency_key: None,
            journaled: false,
            transaction: None,
            stands_in: false,
            priority: None,
            wish: None,
        };
        let context = gateway.context(Arc::new(Principal::local()));
        gateway.call(request, context).await
    }

    #[tokio::test]
    async fn a_resource_is_read_only_from_services_that_policy_allows() {
        let folder = tempfile::tempdir().unwrap();
        let deny = |service: &str| serde_json::json!({"effect": "deny", "service": service});
        let gateway = gateway(folder.path(), &serde_json::json!({"rules": [deny("a"), deny("c")]}));
        let services = ["a", "b", "c"].map(|name| {
            let service: Arc<dyn Service> = Arc::new(Files(ServiceId::new(name)));
            (
                ServiceId::new(name),
                Registered { service, names: trunkline_discovery::Names::Plain, about: Arc::default() },
            )
        });
        gateway.set_services(services.into_iter().collect());
        assert!(read(&gateway, "b:1").await.is_ok());
        assert!(read(&gateway, "a:1").await.is_err_and(|failure| failure.rpc.is_some()));
        assert!(read(&gateway, "c:1").await.is_err_and(|failure| failure.rpc.is_some()));
        let unknown = "q".repeat(300);
        assert_eq!(capped(&unknown).len(), MAX_ECHO);
        let open = Authorizer::new(&trunkline_policy::authorize::Config::default());
        let closed = serde_json::json!({"default": "deny"});
        let closed = Authorizer::new(&serde_json::from_value(closed).unwrap());
        for (authorizer, code) in [(open, None), (closed, Some("TL2003"))] {
            let keys = Authenticator::new(&trunkline_policy::identity::api_key::Config::default()).unwrap();
            gateway.reconfigure(crate::Config::default(), keys, authorizer);
            assert_eq!(read(&gateway, "c:2").await.err().map(|failure| failure.code), code);
        }
        let mut record = gateway.log.subscribe(1);
        let mut targets = Vec::new();
        while targets.len() < 5 {
            targets.push(record.next().await.unwrap().unwrap().event.target.to_string());
        }
        assert_eq!(targets, ["b/b:1", "b/a:1", "b/c:1", "c/c:2", "c:2"]);
    }
}
