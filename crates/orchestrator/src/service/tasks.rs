//! Instances as tasks: the identity of the task is that of the instance, so that it is found again after a restart.

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::{Value, json};
use trunkline_model::{CallContext, Json, Outcome, Principal, Task, TaskOrder, TaskState};

use super::{MARGIN, result};
use crate::Error;
use crate::engine::{Engine, Instance};
use crate::entry::{Ending, Entry, Finished, InstanceId, Key, Resolution};
use crate::fault::Fault;
use crate::views::{self, InstanceRow};

/// How often to look at a task.
const POLL_MS: u64 = 1000;

/// How many of the newest entries of a journal are searched for its end.
const TAIL: usize = 16;

/// The HTTP status of the fault that a cancelled instance ends with.
const CANCELLED: u16 = 499;

/// Waits for the end of a run as long as its caller does, or `limit` where the caller has said one. What has not ended
/// then, or waits for a person, is a task.
pub(super) async fn begin(
    engine: &Engine,
    instance: Instance,
    context: &CallContext,
    patience: Duration,
    limit: Option<Duration>,
) -> Result<Outcome, Error> {
    let id = instance.id;
    // Who asks for a task at once gets one.
    if !patience.is_zero() {
        let last = context.deadline.checked_sub(MARGIN).unwrap_or(context.deadline);
        let end = last.min(Instant::now() + limit.unwrap_or(patience));
        let ended = async {
            tokio::select! {
                biased;
                finished = instance.finished() => finished,
                _ = instance.stuck() => None,
            }
        };
        if let Ok(Some(finished)) = tokio::time::timeout_at(end.into(), ended).await {
            return Ok(result(id, &finished).into());
        }
    }
    instance.durable().await?;
    let row = seen(engine, id, &context.principal).await?.ok_or(Error::UnknownInstance(id))?;
    Ok(Outcome::Task(Box::new(task(engine, row, context).await?)))
}

/// Looks at a task. None where the principal has none of this identity.
pub(super) async fn look(engine: &Engine, id: &str, context: &CallContext) -> Result<Option<Task>, Error> {
    let Ok(id) = id.parse().map(InstanceId) else { return Ok(None) };
    match seen(engine, id, &context.principal).await? {
        Some(row) => Ok(Some(task(engine, row, context).await?)),
        None => Ok(None),
    }
}

/// Answers a task or asks for its end. False where the principal has none of this identity.
pub(super) async fn order(
    engine: &Engine,
    id: &str,
    order: TaskOrder,
    context: &CallContext,
) -> Result<bool, Error> {
    let Ok(id) = id.parse().map(InstanceId) else { return Ok(false) };
    let Some(row) = seen(engine, id, &context.principal).await? else { return Ok(false) };
    if row.ended_ms.is_some() {
        return Ok(true);
    }
    match order {
        TaskOrder::Update(answers) => update(engine, id, &answers, &context.principal).await?,
        TaskOrder::Cancel => match engine.cancel(id, &context.principal.id, Some("tasks/cancel")).await {
            // It may just have ended.
            Ok(()) | Err(Error::UnknownInstance(_)) => {}
            Err(error) => return Err(error),
        },
    }
    Ok(true)
}

/// The row of an instance, where the principal may see it: the holder of an API key sees its own.
async fn seen(engine: &Engine, id: InstanceId, principal: &Principal) -> Result<Option<InstanceRow>, Error> {
    engine.log().projected(views::NAME, engine.log().head()).await?;
    let row = views::instance(engine.log(), id).await?;
    Ok(row.filter(|row| !principal.is_confined() || *row.principal == *principal.id))
}

/// The tasks of a principal, the newest first, from before an identity on. They say how they are, and not what came of
/// them: their results are not read.
///
/// # Errors
/// Where the log can't be read.
pub async fn tasks(
    engine: &Engine,
    before: Option<InstanceId>,
    limit: usize,
    context: &CallContext,
) -> Result<Vec<Task>, Error> {
    engine.log().projected(views::NAME, engine.log().head()).await?;
    let own = context.principal.is_confined();
    let filter = views::InstanceFilter {
        before,
        limit,
        principal: own.then(|| context.principal.id.to_string()),
        ..views::InstanceFilter::default()
    };
    let mut tasks = Vec::new();
    for row in views::instances(engine.log(), filter).await? {
        tasks.push(task(engine, row, context).await?);
    }
    Ok(tasks)
}

async fn task(engine: &Engine, row: InstanceRow, context: &CallContext) -> Result<Task, Error> {
    let (state, message) = match row.ended_ms {
        Some(_) => ended(engine, &row).await?,
        None => under_way(engine, &row, context).await?,
    };
    let time = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
    Ok(Task {
        id: row.id.to_string().into(),
        state,
        message,
        created: time(row.started_ms),
        updated: time(row.updated_ms),
        // The views keep every instance.
        ttl_ms: None,
        poll_ms: Some(POLL_MS),
    })
}

/// What came of an instance.
async fn ended(engine: &Engine, row: &InstanceRow) -> Result<(TaskState, Option<String>), Error> {
    let finished = finished(engine, row).await?;
    let fault = finished.fault.as_ref();
    let cancelled = fault.is_some_and(|fault| fault.status == CANCELLED);
    let state = match finished.status {
        Ending::Cancelled => TaskState::Cancelled,
        Ending::Undone if cancelled => TaskState::Cancelled,
        _ => TaskState::Completed(result(row.id, &finished)),
    };
    let undone = if finished.status == Ending::Undone { " What it had done was undone." } else { "" };
    Ok((state, fault.map(|fault| format!("{}.{undone}", fault.words()))))
}

/// The end of an instance: from its journal, or, where that has been dropped, what the views keep of it.
async fn finished(engine: &Engine, row: &InstanceRow) -> Result<Finished, Error> {
    for recorded in engine.log().newest_of(row.id.0, TAIL).await? {
        match Entry::of_event(&recorded) {
            Ok(Some(Entry::Finished(finished))) => return Ok(finished),
            Ok(_) => {}
            Err(error) => return Err(Error::Journal { instance: row.id, error }),
        }
    }
    let status = match &*row.status {
        "completed" => Ending::Completed,
        "cancelled" => Ending::Cancelled,
        "undone" => Ending::Undone,
        _ => Ending::Faulted,
    };
    let fault = row.fault.as_ref().map(|words| match words.strip_prefix("Cancelled: ") {
        Some(detail) => Fault::cancelled(detail),
        None => Fault { title: None, ..Fault::standard("runtime", 500, "", words) },
    });
    Ok(Finished { status, output: views::output(engine.log(), row.id).await?, fault })
}

async fn under_way(
    engine: &Engine,
    row: &InstanceRow,
    context: &CallContext,
) -> Result<(TaskState, Option<String>), Error> {
    let stuck = engine.stuck(row.id);
    if !stuck.is_empty() {
        let message = format!("A person has to say what to do with: {}", stuck.join(", "));
        if context.client.features().elicitation_form {
            let questions = questions(engine, row.id).await?;
            let requests: IndexMap<&str, Value> =
                questions.iter().map(|question| (&*question.id, question.form())).collect();
            if let Ok(requests) = Json::from_serialize(&requests)
                && !questions.is_empty()
            {
                return Ok((TaskState::InputRequired(requests), Some(message)));
            }
        }
        let state = if engine.is_cancelling(row.id) { TaskState::Cancelling } else { TaskState::Working };
        return Ok((state, Some(format!("{message}. They can with `trunkline flow resolve`."))));
    }
    let words = row.fault.as_deref().unwrap_or_default();
    let message = match &*row.status {
        "waiting" => row.wake_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(|until| {
            let after = if words.is_empty() { String::new() } else { format!(" after: {words}") };
            format!("It waits until {until:.0}{after}.")
        }),
        "queued" => Some("It waits for its turn.".to_owned()),
        "compensating" => Some(format!("It takes back what it has done: {words}")),
        _ if engine.is_cancelling(row.id) => Some(words.to_owned()),
        _ => None,
    };
    let state = if engine.is_cancelling(row.id) { TaskState::Cancelling } else { TaskState::Working };
    Ok((state, message))
}

/// A step that waits for a person.
struct Question {
    /// Unique among all questions of the instance, and the same after a restart.
    id: String,
    key: Key,
    fault: Fault,
    unknown: bool,
}

/// The steps of an instance that wait for a person.
async fn questions(engine: &Engine, id: InstanceId) -> Result<Vec<Question>, Error> {
    let mut questions: IndexMap<Key, Question> = IndexMap::new();
    for (entry, time, _) in engine.journal_of(id).await? {
        if let Entry::Stuck { key, fault, unknown } = entry {
            let id = format!("{key}@{}", time.as_microsecond());
            questions.insert(key.clone(), Question { id, key, fault, unknown });
        }
    }
    let open = engine.stuck(id);
    Ok(questions.into_values().filter(|question| open.contains(&question.key)).collect())
}

impl Question {
    /// The question as a form (`elicitation/create`).
    fn form(&self) -> Value {
        let what = if self.unknown { "Nobody knows whether it took effect." } else { "It keeps failing." };
        let message = format!("The step {} is stuck. {what} {}", self.key, self.fault.words());
        json!({"method": "elicitation/create", "params": {
            "mode": "form",
            "message": message,
            "requestedSchema": {
                "type": "object",
                "properties": {
                    "decision": {
                        "type": "string",
                        "title": "What to do",
                        "enum": ["retry", "done", "not_done", "skip"],
                        "description": "retry: try it again. done: it took effect. not_done: it had none. skip: leave it.",
                    },
                    "reason": {"type": "string", "title": "Why", "description": "For the record, with skip."},
                },
                "required": ["decision"],
            },
        }})
    }
}

/// Decides what the answers decide. One that decides nothing leaves its step as it is.
async fn update(engine: &Engine, id: InstanceId, answers: &Json, by: &Principal) -> Result<(), Error> {
    let answers: IndexMap<String, Value> = answers.to().unwrap_or_default();
    for question in questions(engine, id).await? {
        if let Some(resolution) = answers.get(&question.id).and_then(resolution) {
            match engine.resolve(id, &question.key, resolution, &by.id).await {
                // Another one was faster.
                Ok(()) | Err(Error::NotStuck { .. } | Error::UnknownInstance(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// What an answered form decides.
fn resolution(answer: &Value) -> Option<Resolution> {
    if answer["action"] != "accept" {
        return None;
    }
    let content = &answer["content"];
    Some(match content["decision"].as_str()? {
        "retry" => Resolution::Retry,
        "done" => Resolution::Resolve { done: true, result: Value::Null },
        "not_done" => Resolution::Resolve { done: false, result: Value::Null },
        "skip" => {
            let reason = content["reason"].as_str().unwrap_or("decided at the task");
            Resolution::Skip { reason: reason.to_owned() }
        }
        _ => return None,
    })
}
