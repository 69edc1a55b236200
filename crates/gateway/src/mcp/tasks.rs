//! Tasks: calls that go on by themselves while their client follows them.
//!
//! In revision 2026-07-28 they are the extension `io.modelcontextprotocol/tasks` (SEP-2663): the gateway decides which
//! call becomes one, for clients that declare the extension. In 2025-11-25 the client asks for one. Either way the
//! identity of the task of a flow is that of its instance, so that it is found again after a restart. That of another
//! service's task is sealed together with the service's name, so that nothing has to be kept of it.

mod watch;

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::once;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_model::{
    AskError, BoxFuture, CallContext, Client, ClientFeatures, Failure, Json, Operation, Principal, Question,
    Service, ServiceId, Task, TaskOrder, TaskState, ToolResult,
};
use trunkline_orchestrator::service::{SERVICE, tasks};
use trunkline_orchestrator::{Error as FlowError, InstanceId};
use uuid::Uuid;

use super::message::{Meta, Params, features, follows_tasks};
use super::reply::{Answer, Era, Frame, result_message, with_members};
use crate::{Error, Gateway};

pub(super) use watch::{changes, followed};

/// The name of the extension.
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Where a result of revision 2025-11-25 says which task it is of.
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// The longest identity of a task.
const MAX_ID: usize = 8_192;

/// The most of an unknown identity that is repeated.
const MAX_ECHO: usize = 64;

/// How many tasks a page of a list has.
const PAGE: usize = 50;

/// What the gateway declares to clients of revision 2025-11-25.
pub(super) fn capability() -> Value {
    json!({ "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } })
}

/// Where a task is kept that is not a flow's.
#[derive(Serialize, Deserialize)]
struct Place {
    service: ServiceId,
    tool: Arc<str>,
    id: Arc<str>,
}

/// A client that can be asked nothing now, and says what it could be asked.
struct Follower(ClientFeatures);

impl Client for Follower {
    fn features(&self) -> ClientFeatures {
        self.0
    }

    fn ask<'a>(&'a self, question: Question) -> BoxFuture<'a, Result<Json, AskError>> {
        Box::pin(async move { Err(AskError::Unsupported(question.method)) })
    }
}

impl Gateway {
    /// The identity by which a principal finds a task of a service again.
    pub(crate) fn task_id(
        &self,
        principal: &Principal,
        service: &ServiceId,
        tool: &Arc<str>,
        id: &Arc<str>,
    ) -> Arc<str> {
        if service.as_str() == SERVICE {
            return id.clone();
        }
        let place = Place { service: service.clone(), tool: tool.clone(), id: id.clone() };
        let text = serde_json::to_string(&place).unwrap_or_default();
        let sealed = self.sealer.seal(&text, &binding(principal));
        sealed.map_or_else(|| id.clone(), Arc::from)
    }

    /// Where a task is kept: an instance of a flow where its identity is a UUID. The rules may have changed since it
    /// began, so it is held against them.
    fn place_of_task(&self, principal: &Principal, id: &str) -> Option<Place> {
        if id.parse::<Uuid>().is_ok() {
            let service = ServiceId::new(SERVICE);
            return Some(Place { service, tool: Arc::from(""), id: Arc::from(id) });
        }
        let text = self.sealer.open(id, &binding(principal)).filter(|_| id.len() <= MAX_ID)?;
        let place: Place = serde_json::from_str(&text).ok()?;
        let rules = self.rules.load();
        let decision = rules.authorizer.decide(principal, &place.service, &place.tool, Operation::CallTool);
        decision.allow.then_some(place)
    }

    /// The service that keeps a task, and the task's identity there.
    fn keeper_of_task(&self, principal: &Principal, id: &str) -> Result<(Arc<dyn Service>, Arc<str>), Error> {
        let unknown = || Error::UnknownTask(id.chars().take(MAX_ECHO).collect());
        let place = self.place_of_task(principal, id).ok_or_else(unknown)?;
        let services = self.catalog.services();
        let entry = services.get(&place.service).ok_or_else(unknown)?;
        Ok((entry.service.clone(), place.id))
    }

    /// Looks at a task, for a client that can be asked what `features` say.
    async fn task(
        &self,
        id: &str,
        principal: &Arc<Principal>,
        features: ClientFeatures,
    ) -> Result<Task, Failure> {
        let (service, own) = self.keeper_of_task(principal, id)?;
        let task = service.task(&own, &self.follower(principal, features)).await?;
        let unknown = || Error::UnknownTask(id.chars().take(MAX_ECHO).collect());
        Ok(Task { id: Arc::from(id), ..task.ok_or_else(unknown)? })
    }

    /// Asks something of a task.
    async fn order_task(
        &self,
        id: &str,
        order: TaskOrder,
        principal: &Arc<Principal>,
        features: ClientFeatures,
    ) -> Result<(), Failure> {
        let (service, own) = self.keeper_of_task(principal, id)?;
        if service.order_task(&own, order, &self.follower(principal, features)).await? {
            return Ok(());
        }
        Err(Error::UnknownTask(id.chars().take(MAX_ECHO).collect()).into())
    }

    fn follower(&self, principal: &Arc<Principal>, features: ClientFeatures) -> CallContext {
        let client = Arc::new(Follower(features));
        CallContext { client, ..self.context(principal.clone()) }
    }
}

fn binding(principal: &Principal) -> String {
    format!("{}\ntask", principal.id)
}

/// Answers `tasks/get`, `tasks/update` and `tasks/cancel` of revision 2026-07-28.
pub(super) async fn modern(
    gateway: &Gateway,
    principal: &Arc<Principal>,
    method: &str,
    params: &Params<'_>,
    meta: &Meta<'_>,
    id: &Json,
) -> Result<Answer, Failure> {
    if !follows_tasks(meta.capabilities) {
        return Err(Error::TasksNotDeclared.into());
    }
    let task = task_of(params)?;
    let features = features(meta.capabilities);
    let order = match method {
        "tasks/update" => {
            let responses = params.responses.map(Json::from_raw).filter(Json::is_object);
            let missing = || Error::Params("params lack \"inputResponses\", an object".to_owned());
            TaskOrder::Update(responses.ok_or_else(missing)?)
        }
        "tasks/cancel" => TaskOrder::Cancel,
        _ => {
            let task = gateway.task(task, principal, features).await?;
            return Ok(Answer::result(id, detailed(&task, &[("resultType", json!("complete"))]).as_bytes()));
        }
    };
    gateway.order_task(task, order, principal, features).await?;
    // What has become of it is seen by `tasks/get`.
    Ok(Answer::result(id, br#"{"resultType":"complete"}"#))
}

/// Those of the identities that are instances of flows that the principal may see.
pub(super) async fn own(gateway: &Gateway, principal: &Arc<Principal>, ids: Vec<String>) -> Vec<String> {
    let mut own = Vec::with_capacity(ids.len());
    for id in ids {
        if id.parse::<Uuid>().is_ok() && look(gateway, principal, &id).await.is_ok() {
            own.push(id);
        }
    }
    own
}

fn task_of<'a>(params: &'a Params<'_>) -> Result<&'a str, Error> {
    params.task_id.as_deref().ok_or_else(|| Error::Params("params lack \"taskId\", a string".to_owned()))
}

/// The result of a call that has become a task, in either era.
pub(super) fn created(task: &Task, era: Era) -> Json {
    // What has ended meanwhile is told by the first look at it.
    let ended = task.state.is_terminal();
    let state = if ended { TaskState::Working } else { task.state.clone() };
    let seed = Task { state, ..task.clone() };
    match era {
        Era::Modern => {
            let mut seed = base(&seed, Era::Modern);
            seed["resultType"] = json!("task");
            Json::from(seed)
        }
        Era::Legacy => Json::from(json!({ "task": base(&seed, Era::Legacy) })),
    }
}

/// How a task is called that is in a state.
fn status(state: &TaskState, era: Era) -> &'static str {
    match (state, era) {
        (TaskState::Working, _) | (TaskState::Cancelling, Era::Modern) => "working",
        (TaskState::InputRequired(_), _) => "input_required",
        // The older revision counts a tool's own error as a failure.
        (TaskState::Completed(ToolResult { is_error: true, .. }), Era::Legacy) => "failed",
        (TaskState::Completed(_), _) => "completed",
        (TaskState::Failed(_), _) => "failed",
        // The older revision wants a task to be cancelled as soon as that is asked for, and to stay so.
        (TaskState::Cancelled, _) | (TaskState::Cancelling, Era::Legacy) => "cancelled",
    }
}

/// A task without what has come of it.
fn base(task: &Task, era: Era) -> Value {
    let (ttl, poll) = match era {
        Era::Modern => ("ttlMs", "pollIntervalMs"),
        Era::Legacy => ("ttl", "pollInterval"),
    };
    let mut base = json!({
        "taskId": &*task.id,
        "status": status(&task.state, era),
        "createdAt": format!("{:.3}", task.created),
        "lastUpdatedAt": format!("{:.3}", task.updated),
        ttl: task.ttl_ms,
    });
    if let Some(message) = &task.message {
        base["statusMessage"] = Value::from(message.as_str());
    }
    if let Some(interval) = task.poll_ms {
        base[poll] = Value::from(interval);
    }
    base
}

/// A task of the modern era with what has come of it.
fn detailed(task: &Task, more: &[(&str, Value)]) -> Json {
    let mut members = base(task, Era::Modern);
    for (name, value) in more {
        members[*name] = value.clone();
    }
    let object = Json::from(members);
    match &task.state {
        TaskState::InputRequired(requests) => with_members(&object, &[("inputRequests", requests)]),
        TaskState::Completed(result) => with_members(&object, &[("result", &result.body)]),
        TaskState::Failed(error) => with_members(&object, &[("error", error)]),
        TaskState::Working | TaskState::Cancelling | TaskState::Cancelled => object,
    }
}

/// Answers `tasks/get`, `tasks/result`, `tasks/list` and `tasks/cancel` of revision 2025-11-25.
pub(super) async fn legacy(
    gateway: &Arc<Gateway>,
    principal: &Arc<Principal>,
    method: &str,
    params: &Params<'_>,
    id: &Json,
) -> Result<Answer, Failure> {
    let result = match method {
        "tasks/list" => list(gateway, principal, params.cursor.as_deref()).await?,
        "tasks/cancel" => cancel(gateway, principal, task_of(params)?).await?,
        "tasks/result" => return outcome(gateway, principal, task_of(params)?, id).await,
        _ => base(&look(gateway, principal, task_of(params)?).await?, Era::Legacy),
    };
    Ok(Answer::result(id, result.to_string().as_bytes()))
}

/// What a client of a session sees of a task. It is not asked anything: that is a person's to do.
async fn look(gateway: &Gateway, principal: &Arc<Principal>, task: &str) -> Result<Task, Failure> {
    gateway.task(task, principal, ClientFeatures::default()).await
}

async fn list(gateway: &Gateway, principal: &Arc<Principal>, cursor: Option<&str>) -> Result<Value, Failure> {
    let unknown = || Error::Params("the cursor is not one of ours".to_owned());
    let before = match cursor {
        Some(cursor) => Some(InstanceId(cursor.parse().map_err(|_| unknown())?)),
        None => None,
    };
    let Some(door) = gateway.flows.get() else { return Ok(json!({ "tasks": [] })) };
    let context = gateway.follower(principal, ClientFeatures::default());
    // One more than a page has, to know whether there is another page.
    let mut tasks = tasks(&door.engine, before, PAGE + 1, &context).await?;
    let more = tasks.len() > PAGE;
    tasks.truncate(PAGE);
    let listed: Vec<Value> = tasks.iter().map(|task| base(task, Era::Legacy)).collect();
    let mut result = json!({ "tasks": listed });
    if more && let Some(last) = tasks.last() {
        result["nextCursor"] = json!(&*last.id);
    }
    Ok(result)
}

async fn cancel(gateway: &Gateway, principal: &Arc<Principal>, id: &str) -> Result<Value, Failure> {
    let ended = |task: &Task| {
        let over = task.state.is_terminal() || matches!(task.state, TaskState::Cancelling);
        over.then(|| Error::TaskEnded { id: task.id.to_string(), status: status(&task.state, Era::Legacy) })
    };
    if let Some(error) = ended(&look(gateway, principal, id).await?) {
        return Err(error.into());
    }
    gateway.order_task(id, TaskOrder::Cancel, principal, ClientFeatures::default()).await?;
    let mut task = look(gateway, principal, id).await?;
    match task.state {
        TaskState::Completed(_) | TaskState::Failed(_) => {
            if let Some(error) = ended(&task) {
                return Err(error.into());
            }
        }
        _ => task.state = TaskState::Cancelled,
    }
    Ok(base(&task, Era::Legacy))
}

/// The result of a call, as soon as there is one.
async fn outcome(
    gateway: &Arc<Gateway>,
    principal: &Arc<Principal>,
    task: &str,
    id: &Json,
) -> Result<Answer, Failure> {
    // Followed before the first look, so that nothing is missed between the two.
    let followed = followed(gateway, [task]);
    let first = look(gateway, principal, task).await?;
    if first.state.is_terminal() {
        return Ok(ended(id, &first));
    }
    let (gateway, principal, task, id) = (gateway.clone(), principal.clone(), task.to_owned(), id.clone());
    let closing = gateway.closing().clone();
    let last = once(async move {
        let mut followed = followed;
        let answer = loop {
            let now = look(&gateway, &principal, &task).await;
            match now {
                Ok(now) if now.state.is_terminal() => break ended(&id, &now),
                Ok(_) => {}
                Err(failure) => break Answer::failure(Some(&id), &failure, Era::Legacy),
            }
            if followed.next().await.is_none() {
                let closed = FlowError::Log(trunkline_event_log::Error::Closed);
                break Answer::failure(Some(&id), &closed.into(), Era::Legacy);
            }
        };
        let data = match answer {
            Answer::Message { body, .. } => body,
            Answer::Accepted | Answer::Stream(_) => bytes::Bytes::new(),
        };
        Frame { id: None, data }
    });
    // Where this process ends first, the client asks the next one.
    Ok(Answer::Stream(last.take_until(closing.cancelled_owned()).boxed()))
}

/// The answer to `tasks/result` for a task that has ended: what its call would have been answered with.
fn ended(id: &Json, task: &Task) -> Answer {
    let cancelled;
    let result = match &task.state {
        TaskState::Completed(result) => &result.body,
        TaskState::Failed(error) => {
            let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{error}}}", id.as_str());
            return Answer::message(body.into(), 200);
        }
        _ => {
            let why = task.message.as_deref().unwrap_or_default();
            cancelled = ToolResult::text(&format!("The task was cancelled. {why}"), true).body;
            &cancelled
        }
    };
    let mut meta = result.to_value()["_meta"].take();
    if !meta.is_object() {
        meta = json!({});
    }
    meta[RELATED] = json!({ "taskId": &*task.id });
    let result = with_members(result, &[("_meta", &Json::from(meta))]);
    Answer::message(result_message(id, result.as_bytes()), 200)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::pipeline::tests::gateway;

    fn task(state: TaskState) -> Task {
        let created = Timestamp::from_millisecond(1_785_000_000_000).unwrap();
        let message = Some("so".to_owned());
        Task { id: Arc::from("t"), state, message, created, updated: created, ttl_ms: None, poll_ms: Some(7) }
    }

    #[test]
    fn each_era_has_its_own_form() {
        let done = task(TaskState::Completed(ToolResult::text("no", true)));
        assert_eq!(
            detailed(&done, &[("resultType", json!("complete"))]).to_value(),
            json!({
                "taskId": "t", "status": "completed", "createdAt": "2026-07-25T17:20:00.000Z",
                "lastUpdatedAt": "2026-07-25T17:20:00.000Z", "ttlMs": null, "pollIntervalMs": 7,
                "statusMessage": "so", "resultType": "complete",
                "result": {"content": [{"type": "text", "text": "no"}], "isError": true},
            })
        );
        let legacy = base(&done, Era::Legacy);
        assert_eq!(
            (&legacy["status"], &legacy["ttl"], &legacy["pollInterval"]),
            (&json!("failed"), &Value::Null, &json!(7))
        );
        assert!(legacy.get("ttlMs").is_none());
        // A task begins as one that works, whatever has become of it since.
        let seed = created(&done, Era::Modern).to_value();
        assert_eq!((&seed["resultType"], &seed["status"]), (&json!("task"), &json!("working")));
        assert!(seed.get("result").is_none());
        assert_eq!(created(&done, Era::Legacy).to_value()["task"]["status"], "working");
        for (state, modern, legacy) in [
            (TaskState::Cancelling, "working", "cancelled"),
            (TaskState::Cancelled, "cancelled", "cancelled"),
            (TaskState::Failed(Json::empty_object()), "failed", "failed"),
            (TaskState::InputRequired(Json::empty_object()), "input_required", "input_required"),
        ] {
            assert_eq!((status(&state, Era::Modern), status(&state, Era::Legacy)), (modern, legacy));
        }
    }

    #[test]
    fn a_result_says_which_task_it_is_of() {
        let body = Json::parse(r#"{"content":[],"_meta":{"a":1}}"#).unwrap();
        let done = task(TaskState::Completed(ToolResult::raw(body, false)));
        let Answer::Message { body, .. } = ended(&Json::parse("1").unwrap(), &done) else { panic!() };
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["result"]["_meta"], json!({"a": 1, RELATED: {"taskId": "t"}}));
    }

    #[tokio::test]
    async fn an_identity_leads_only_its_principal_to_the_task() {
        let folder = tempfile::tempdir().unwrap();
        let rules = json!({"rules": [{"effect": "deny", "service": "s", "tool": "secret"}]});
        let gateway = gateway(folder.path(), &rules);
        let (ada, bob) = (Principal::local(), Principal::system());
        let (service, own) = (ServiceId::new("s"), Arc::from("17"));
        let id = gateway.task_id(&ada, &service, &Arc::from("open"), &own);
        assert_ne!(id, own);
        let place = gateway.place_of_task(&ada, &id).unwrap();
        assert_eq!((place.service, place.id), (service.clone(), own.clone()));
        assert!(gateway.place_of_task(&bob, &id).is_none());
        assert!(gateway.place_of_task(&ada, "17").is_none());
        let secret = gateway.task_id(&ada, &service, &Arc::from("secret"), &own);
        assert!(gateway.place_of_task(&ada, &secret).is_none());
        let flows = ServiceId::new(SERVICE);
        assert_eq!(gateway.task_id(&ada, &flows, &Arc::from("run_plan"), &own), own);
        let failure = gateway.task("17", &Arc::new(ada), ClientFeatures::default()).await.unwrap_err();
        assert_eq!(failure.code, "TL7041");
    }
}
