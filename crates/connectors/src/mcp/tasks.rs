//! Calls that a server turns into tasks (the extension `io.modelcontextprotocol/tasks`): a caller that follows tasks gets
//! the task. For everybody else the connector asks until the task is done, so that a call is a call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use trunkline_model::{CallContext, InputRequired, Json, Outcome, Resume, Task, TaskOrder, TaskState};

use super::client::{Request, Session};
use super::error::{Error, RpcError};
use super::headers::header_value;
use super::jsonrpc;
use super::service::outcome;

/// What the state of a question starts with that a task asks; the task's id follows.
const STATE: &str = "trunkline.task:";

const FIRST_POLL: Duration = Duration::from_millis(250);
const SHORTEST_POLL: Duration = Duration::from_millis(20);
const LONGEST_POLL: Duration = Duration::from_secs(30);

/// The longest task id.
const MAX_ID: usize = 4_096;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    task_id: String,
    status: String,
    #[serde(default)]
    status_message: Option<String>,
    #[serde(default)]
    created_at: Option<Timestamp>,
    #[serde(default)]
    last_updated_at: Option<Timestamp>,
    #[serde(default)]
    ttl_ms: Option<f64>,
    #[serde(default)]
    poll_interval_ms: Option<f64>,
    #[serde(borrow, default)]
    input_requests: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// The task that `resume` continues, if it does so.
pub(super) fn resumed(resume: Option<&Resume>) -> Option<&str> {
    resume?.state.as_deref()?.strip_prefix(STATE)
}

/// Answers what a task has asked, and follows it on.
pub(super) async fn resume(
    session: &Arc<Session>,
    task: &str,
    responses: &Json,
    context: &CallContext,
) -> Result<Outcome, Error> {
    let params = format!(r#""taskId":{},"inputResponses":{responses}"#, jsonrpc::quoted(task));
    ask(session, "tasks/update", task, &params, context).await?;
    follow(session, task.to_owned(), None, context).await
}

/// Follows the task that `result` tells of to its end.
pub(super) async fn begun(
    session: &Arc<Session>,
    result: &Json,
    context: &CallContext,
) -> Result<Outcome, Error> {
    let text = result.bytes();
    let wire = read(&text)?;
    if context.client.patience().is_some() {
        return Ok(Outcome::Task(Box::new(task(&wire, &text)?)));
    }
    follow(session, wire.task_id.clone(), wait(&wire), context).await
}

/// Looks at a task.
pub(super) async fn look(session: &Arc<Session>, id: &str, context: &CallContext) -> Result<Task, Error> {
    let params = format!(r#""taskId":{}"#, jsonrpc::quoted(id));
    let result = ask(session, "tasks/get", id, &params, context).await?;
    let text = result.bytes();
    task(&read(&text)?, &text)
}

/// Answers a task or asks for its end.
pub(super) async fn order(
    session: &Arc<Session>,
    id: &str,
    order: &TaskOrder,
    context: &CallContext,
) -> Result<(), Error> {
    let quoted = jsonrpc::quoted(id);
    let (method, params) = match order {
        TaskOrder::Update(answers) => {
            ("tasks/update", format!(r#""taskId":{quoted},"inputResponses":{answers}"#))
        }
        TaskOrder::Cancel => ("tasks/cancel", format!(r#""taskId":{quoted}"#)),
    };
    ask(session, method, id, &params, context).await.map(drop)
}

/// A task as its server tells it.
fn task(wire: &Wire<'_>, text: &Bytes) -> Result<Task, Error> {
    let missing = || Error::Garbage(format!("the task is {} and does not say more", wire.status));
    let part = |raw: Option<&RawValue>| raw.map(|raw| Json::slice_of(text, raw)).ok_or_else(missing);
    let state = match &*wire.status {
        "completed" => match outcome(part(wire.result)?)? {
            Outcome::Complete(result) => TaskState::Completed(result),
            Outcome::InputRequired(_) | Outcome::Task(_) => return Err(missing()),
        },
        "failed" => TaskState::Failed(part(wire.error)?),
        "cancelled" => TaskState::Cancelled,
        // What a new task asks is told by the first look at it.
        "input_required" if wire.input_requests.is_some() => {
            TaskState::InputRequired(part(wire.input_requests)?)
        }
        _ => TaskState::Working,
    };
    if wire.task_id.is_empty() || wire.task_id.len() > MAX_ID {
        return Err(Error::Garbage(format!("a task id of {} bytes", wire.task_id.len())));
    }
    let created = wire.created_at.ok_or_else(|| Error::Garbage("a task without createdAt".to_owned()))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds")]
    let whole = |ms: f64| (0.0..1e15).contains(&ms).then_some(ms as u64);
    Ok(Task {
        id: Arc::from(&*wire.task_id),
        state,
        message: wire.status_message.clone(),
        created,
        updated: wire.last_updated_at.unwrap_or(created),
        ttl_ms: wire.ttl_ms.and_then(whole),
        poll_ms: wire.poll_interval_ms.and_then(whole),
    })
}

async fn follow(
    session: &Arc<Session>,
    task: String,
    first: Option<Duration>,
    context: &CallContext,
) -> Result<Outcome, Error> {
    if task.is_empty() || task.len() > MAX_ID {
        return Err(Error::Garbage(format!("a task id of {} bytes", task.len())));
    }
    let mut cancel = CancelOnDrop { session, task: &task, armed: true };
    let params = format!(r#""taskId":{}"#, jsonrpc::quoted(&task));
    let mut pause = first.unwrap_or(FIRST_POLL);
    let mut told = None;
    let mut polls = 0;
    loop {
        tokio::time::sleep(pause).await;
        let result = ask(session, "tasks/get", &task, &params, context).await?;
        let text = result.bytes();
        let wire = read(&text)?;
        polls += 1;
        if wire.status_message.is_some() && wire.status_message != told {
            told.clone_from(&wire.status_message);
            let progress = json!({"progressToken": 0, "progress": polls, "message": told});
            context.client.progress(&Json::from(progress));
        }
        let part = |raw: Option<&RawValue>| raw.map(|raw| Json::slice_of(&text, raw));
        let missing = || Error::Garbage(format!("the task is {} and does not say more", wire.status));
        match wire.status.as_str() {
            "completed" => {
                cancel.armed = false;
                return outcome(part(wire.result).ok_or_else(missing)?);
            }
            "failed" => {
                cancel.armed = false;
                return Err(Error::Rpc(RpcError::read(part(wire.error).ok_or_else(missing)?)));
            }
            "cancelled" => {
                cancel.armed = false;
                return Err(Error::TaskCancelled(task.clone()));
            }
            "input_required" => {
                cancel.armed = false;
                let requests = part(wire.input_requests).ok_or_else(missing)?;
                let state = Some(format!("{STATE}{task}"));
                return Ok(Outcome::InputRequired(InputRequired { requests, state }));
            }
            _ => pause = wait(&wire).unwrap_or(pause),
        }
    }
}

async fn ask(
    session: &Arc<Session>,
    method: &'static str,
    task: &str,
    params: &str,
    context: &CallContext,
) -> Result<Json, Error> {
    let parts: [&[u8]; 1] = [params.as_bytes()];
    let request = request(method, task, &parts);
    session.request(&request, Some(context)).await?.into_result()
}

fn request<'a>(method: &'static str, task: &str, params: &'a [&'a [u8]]) -> Request<'a> {
    Request { method, params, name: header_value(task), repeatable: true, ..Request::default() }
}

fn read(text: &[u8]) -> Result<Wire<'_>, Error> {
    serde_json::from_slice(text).map_err(|error| Error::Garbage(format!("{error} in a task")))
}

fn wait(wire: &Wire<'_>) -> Option<Duration> {
    let ms = wire.poll_interval_ms.filter(|ms| (0.0..1e9).contains(ms))?;
    Some(Duration::from_secs_f64(ms / 1e3).clamp(SHORTEST_POLL, LONGEST_POLL))
}

/// Tells the server that nobody waits for the task any more.
struct CancelOnDrop<'a> {
    session: &'a Arc<Session>,
    task: &'a str,
    armed: bool,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            let params = format!(r#""taskId":{}"#, jsonrpc::quoted(self.task));
            self.session.post(&request("tasks/cancel", self.task, &[params.as_bytes()]));
        }
    }
}
