//! What the log keeps of calls. This is the only place of the gateway that writes events.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_event_log::{EventLog, Expected};
use trunkline_model::{
    Call, CallContext, Event, EventData, EventKind, Failure, Instance, InstanceStatus, Json, Outcome, Phase,
    Principal, ServiceId, ServiceStatus,
};
use trunkline_resilience::strategy::Change;
use trunkline_telemetry::alerts::Alert;
use uuid::Uuid;

use crate::pipeline::Request;
use crate::{Error, Gateway, Sources};

/// Writes the events of calls and services.
pub(crate) struct Recorder {
    log: EventLog,
    sources: Sources,
}

/// What the record says of a call beside the call itself.
#[derive(Clone)]
pub(crate) struct Subject {
    /// `service/tool`.
    pub(crate) target: Arc<str>,
    /// Which door it came by.
    pub(crate) door: &'static str,
    /// It changes nothing.
    pub(crate) read_only: bool,
    /// Its caller or its tool keeps a journal of its own.
    pub(crate) journaled: bool,
    /// What the record keeps.
    pub(crate) keep: crate::Record,
}

impl Subject {
    /// Whether the call waits until its outcome is on disk.
    pub(crate) fn is_awaited(&self) -> bool {
        !(self.journaled || (self.read_only && !self.keep.durable_reads))
    }
}

impl Recorder {
    pub(crate) fn new(log: EventLog, sources: Sources) -> Self {
        Self { log, sources }
    }

    /// A call that may change something is about to be made. Not waited for: the outcome's append, which is, comes
    /// after it in the same stream.
    pub(crate) async fn started(
        &self,
        call: &Call,
        context: &CallContext,
        subject: &Subject,
    ) -> Result<(), Error> {
        let event = self.event(call, context, subject, Phase::Started, Json::empty_object());
        self.log.record(call.id, event).await.map_err(|e| Error::Log(e.to_string()))
    }

    /// A call has ended. Returns when the record is on disk, unless the call changes nothing.
    pub(crate) async fn ended(
        &self,
        call: &Call,
        context: &CallContext,
        subject: &Subject,
        outcome: &Result<Outcome, Failure>,
        took: Duration,
    ) -> Result<(), Error> {
        let phase = match outcome {
            Ok(Outcome::Complete(_) | Outcome::Task(_)) => Phase::Completed,
            Ok(Outcome::InputRequired(_)) => Phase::Asked,
            Err(_) => Phase::Failed,
        };
        let event = self.event(call, context, subject, phase, outcome_context(outcome, subject, took));
        let written = if subject.is_awaited() {
            self.log.append(call.id, Expected::Any, vec![event]).await.map(|_| ())
        } else {
            self.log.record(call.id, event).await
        };
        written.map_err(|e| Error::Log(e.to_string()))
    }

    /// A request was refused before it became a call.
    pub(crate) async fn refused(
        &self,
        id: Uuid,
        action: &str,
        target: Arc<str>,
        context: &CallContext,
        failure: &Failure,
    ) -> Result<(), Error> {
        let details = json!({ "code": failure.code, "detail": failure.detail });
        let data = EventData {
            action: Cow::Owned(action.to_owned()),
            parameters: Json::empty_object(),
            context: Json::from(details),
        };
        let kind = Event::type_of(EventKind::ToolExecution, Phase::Refused);
        let event =
            self.bare(kind, target, data, id, context.principal.clone(), context.trace.traceparent.clone());
        self.log.record(id, event).await.map_err(|e| Error::Log(e.to_string()))
    }

    /// Appends to the stream of a call and waits for the disk: questions and answers.
    pub(crate) async fn append(
        &self,
        call: Uuid,
        phase: Phase,
        target: Arc<str>,
        door: &'static str,
        principal: Arc<Principal>,
        data: EventData,
    ) -> trunkline_event_log::Result<()> {
        let kind = Event::type_of(EventKind::ToolExecution, phase);
        let mut event = self.bare(kind, target, data, call, principal, None);
        event.source = door_source(door);
        self.log.append(call, Expected::Any, vec![event]).await.map(|_| ())
    }

    /// A call has ended between two rounds of questions.
    pub(crate) async fn gave_up(
        &self,
        gateway: &Gateway,
        request: &Request,
        context: &CallContext,
        failure: &Failure,
    ) -> Result<(), Error> {
        let details = json!({ "outcome": "failed", "code": failure.code, "detail": failure.detail });
        let data = EventData {
            action: Cow::Borrowed(request.operation.method()),
            parameters: Json::empty_object(),
            context: Json::from(details),
        };
        let target = gateway.label(request.operation, &request.name);
        let principal = context.principal.clone();
        let appended = self.append(request.id.0, Phase::Failed, target, request.door, principal, data).await;
        appended.map_err(|error| Error::Log(error.to_string()))
    }

    /// Appends to a stream of the doors' own and waits for the disk. Returns the stream's version.
    pub(crate) async fn append_to(
        &self,
        stream: &str,
        expected: Expected,
        phase: Phase,
        principal: Arc<Principal>,
        data: EventData,
    ) -> trunkline_event_log::Result<u64> {
        let kind = Event::type_of(EventKind::ServiceCall, phase);
        let id = (self.sources.time_id)();
        let target = Arc::from(data.action.as_ref());
        let event = self.bare(kind, target, data, id, principal, None);
        Ok(self.log.append(stream, expected, vec![event]).await?.version)
    }

    /// The instances that the newest event of a stream of leases tells of.
    pub(crate) async fn newest_lease(&self, stream: &str) -> trunkline_event_log::Result<Vec<Instance>> {
        let newest = self.log.newest_of(stream, 1).await?;
        let known = newest.first().map(|recorded| recorded.event.data.context.to_value()["instances"].take());
        // What an other version has written is not known here.
        Ok(known.and_then(|known| serde_json::from_value(known).ok()).unwrap_or_default())
    }

    /// The services that had registered themselves at the newest change of these.
    pub(crate) async fn newest_registrations(
        &self,
    ) -> trunkline_event_log::Result<Vec<crate::registrations::Recorded>> {
        let newest = self.log.newest_of(crate::registrations::STREAM, 1).await?;
        let known = newest.first().map(|recorded| recorded.event.data.context.to_value()["services"].take());
        // What an other version has written is not known here.
        Ok(known.and_then(|known| serde_json::from_value(known).ok()).unwrap_or_default())
    }

    /// A service came up or went down.
    pub(crate) async fn service_changed(&self, service: &ServiceId, status: &ServiceStatus) {
        let about = json!({
            "state": status.state, "cause": status.cause, "restarts": status.restarts, "protocol": status.protocol,
        });
        self.of_service(service, "status", about).await;
    }

    /// An instance of a service is well, or no longer is, has come or has gone.
    pub(crate) async fn instance_changed(&self, service: &ServiceId, instance: &InstanceStatus) {
        let about = json!({
            "url": instance.url, "healthy": instance.healthy, "cause": instance.cause, "zone": instance.zone,
            "version": instance.version, "capabilities": instance.capabilities, "metadata": instance.metadata,
        });
        self.of_service(service, "instance", about).await;
    }

    /// A service is called in another way from now on.
    pub(crate) async fn strategy_changed(&self, service: &ServiceId, change: &Change) {
        self.of_service(service, "strategy", json!(change)).await;
    }

    /// Something was done about a call of a service that failed.
    pub(crate) async fn recovered(&self, service: &ServiceId, about: Value) {
        self.of_service(service, "recovery", about).await;
    }

    /// The source that tells of a service's instances can't be asked, or can be again.
    pub(crate) async fn source_changed(
        &self,
        service: &ServiceId,
        source: &'static str,
        failure: Option<&Failure>,
    ) {
        let about = json!({
            "source": source, "failing": failure.is_some(), "code": failure.map(|failure| failure.code),
            "cause": failure.map(|failure| &failure.detail),
        });
        self.of_service(service, "source", about).await;
    }

    /// The search has learned that a tool meets a request.
    pub(crate) async fn learned(&self, request: &str, tool: &str) {
        let catalog = ServiceId::new(crate::meta_tools::SERVICE);
        self.of_service(&catalog, crate::meta_tools::LEARNED, json!({"request": request, "tool": tool}))
            .await;
    }

    /// Something was said in a conversation, or came of a call in it.
    pub(crate) async fn said(&self, said: Value, principal: Arc<Principal>) {
        let data = EventData {
            action: Cow::Borrowed(crate::meta_tools::SAID),
            parameters: Json::empty_object(),
            context: Json::from(said),
        };
        let kind = Event::type_of(EventKind::ServiceCall, Phase::Changed);
        let target = Arc::from(crate::meta_tools::STREAM);
        let event = self.bare(kind, target, data, (self.sources.time_id)(), principal, None);
        if let Err(error) = self.log.record(crate::meta_tools::STREAM, event).await {
            tracing::error!(%error, "what was said is not in the record");
        }
    }

    /// An alert fires, or does no more.
    pub(crate) async fn alert_changed(&self, alert: &Alert) {
        let data = EventData {
            action: Cow::Borrowed("alert"),
            parameters: Json::empty_object(),
            context: Json::from(json!(alert)),
        };
        let kind = Event::type_of(EventKind::ServiceCall, Phase::Changed);
        let (id, target) = ((self.sources.time_id)(), Arc::from(&*alert.name));
        let event = self.bare(kind, target, data, id, Arc::new(Principal::system()), None);
        if let Err(error) = self.log.record("alerts", event).await {
            tracing::error!(alert = alert.name, %error, "an alert is not in the record");
        }
    }

    /// Somebody did something at the console that is no call and no order.
    pub(crate) async fn console(&self, action: &'static str, principal: Arc<Principal>) {
        let data = EventData {
            action: Cow::Borrowed(action),
            parameters: Json::empty_object(),
            context: Json::empty_object(),
        };
        let kind = Event::type_of(EventKind::ServiceCall, Phase::Changed);
        let event = self.bare(kind, Arc::from("console"), data, (self.sources.time_id)(), principal, None);
        if let Err(error) = self.log.record("console", event).await {
            tracing::error!(action, %error, "what was done at the console is not in the record");
        }
    }

    async fn of_service(&self, service: &ServiceId, action: &'static str, about: Value) {
        let data = EventData {
            action: Cow::Borrowed(action),
            parameters: Json::empty_object(),
            context: Json::from(about),
        };
        let kind = Event::type_of(EventKind::ServiceCall, Phase::Changed);
        let id = (self.sources.time_id)();
        let target = Arc::from(service.as_str());
        let event = self.bare(kind, target, data, id, Arc::new(Principal::system()), None);
        let stream = format!("service/{service}");
        if let Err(error) = self.log.record(stream.as_str(), event).await {
            tracing::error!(%service, %error, "the change of a service's status is not in the record");
        }
    }

    fn event(
        &self,
        call: &Call,
        context: &CallContext,
        subject: &Subject,
        phase: Phase,
        about: Json,
    ) -> Event {
        let parameters = if subject.keep.arguments { call.arguments.clone() } else { Json::empty_object() };
        let data = EventData { action: Cow::Borrowed(call.operation.method()), parameters, context: about };
        let kind = Event::type_of(EventKind::ToolExecution, phase);
        let traceparent = context.trace.traceparent.clone();
        let mut event =
            self.bare(kind, subject.target.clone(), data, call.id.0, context.principal.clone(), traceparent);
        event.source = door_source(subject.door);
        event
    }

    fn bare(
        &self,
        kind: &'static str,
        target: Arc<str>,
        data: EventData,
        correlation: Uuid,
        principal: Arc<Principal>,
        traceparent: Option<Arc<str>>,
    ) -> Event {
        Event {
            id: (self.sources.time_id)(),
            kind: Cow::Borrowed(kind),
            time: (self.sources.now)(),
            source: door_source(""),
            target,
            data,
            correlation,
            causation: None,
            traceparent,
            principal,
        }
    }
}

/// The URI reference of a door, made once.
fn door_source(door: &str) -> Arc<str> {
    use std::sync::OnceLock;
    static SOURCES: OnceLock<[(&str, Arc<str>); 5]> = OnceLock::new();
    let sources = SOURCES.get_or_init(|| {
        ["mcp", "stdio", "http", "flow", ""].map(|door| {
            let path = if door.is_empty() { "/gateway".to_owned() } else { format!("/doors/{door}") };
            (door, Arc::from(path))
        })
    });
    sources.iter().find(|(name, _)| *name == door).unwrap_or(&sources[4]).1.clone()
}

/// What came of the call, as the event's context.
fn outcome_context(outcome: &Result<Outcome, Failure>, subject: &Subject, took: Duration) -> Json {
    let mut text = String::with_capacity(96);
    let took = took.as_micros();
    // Writing to a String can't fail.
    let _ = match outcome {
        Ok(Outcome::Complete(result)) => {
            let state = if result.is_error { "tool_error" } else { "complete" };
            let bytes = result.body.len();
            let start = write!(text, r#"{{"outcome":"{state}","duration_us":{took},"result_bytes":{bytes}"#);
            if let Some(served) = result.freshness.as_ref().and_then(|freshness| freshness.served) {
                let (state, age) = (served.state.name(), served.age.as_millis());
                let _ = write!(text, r#","cache":"{state}","age_ms":{age}"#);
            }
            if subject.keep.results {
                text.push_str(",\"result\":");
                text.push_str(result.body.as_str());
            }
            text.push('}');
            start
        }
        Ok(Outcome::Task(task)) => {
            let id = json!(&*task.id);
            write!(text, r#"{{"outcome":"task","duration_us":{took},"task":{id}}}"#)
        }
        Ok(Outcome::InputRequired(input)) => {
            let requests = input.requests.as_str();
            write!(text, r#"{{"outcome":"input_required","duration_us":{took},"requests":{requests}}}"#)
        }
        Err(failure) => {
            let details = json!({
                "outcome": "failed", "duration_us": u64::try_from(took).unwrap_or(u64::MAX), "code": failure.code,
                "detail": failure.detail, "fault": failure.fault, "effect": failure.effect,
            });
            write!(text, "{details}")
        }
    };
    Json::parse(text).unwrap_or_else(|_| Json::empty_object())
}
