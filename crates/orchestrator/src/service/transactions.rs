//! The tools of agents' transactions: `begin`, `transact`, `commit`, `rollback`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use serde_json::{Value, json};
use trunkline_model::{Call, CallContext, Effects, Failure, Json, Outcome, Principal, ToolResult, ToolSpec};
use uuid::Uuid;

use super::{FlowTool, MARGIN, bare};
use crate::engine::Engine;
use crate::entry::{Entry, InstanceId, Key, StepOutcome, Undo};
use crate::outside::StepCall;
use crate::transaction::{DEFAULT_TIMEOUT, Decision, MAX_TIMEOUT, OutsideCall};
use crate::{Error, views};

/// What one of these tools does.
#[derive(Clone, Copy)]
pub(super) enum Verb {
    Begin,
    Transact,
    Commit,
    Rollback,
}

impl FlowTool {
    pub(super) async fn transaction(
        &self,
        verb: Verb,
        call: &Call,
        context: &CallContext,
    ) -> Result<Outcome, Failure> {
        let arguments = call.arguments.to_value();
        match verb {
            Verb::Begin => Ok(self.begin(&arguments, context).await?.into()),
            Verb::Transact => self.transact(call, &arguments, context).await,
            Verb::Commit => {
                let decision = Decision::Commit { by: context.principal.id.to_string() };
                Ok(self.end(&arguments, context, decision).await?.into())
            }
            Verb::Rollback => {
                let by = Some(context.principal.id.to_string());
                let reason = arguments["reason"].as_str().unwrap_or("it was rolled back").to_owned();
                Ok(self.end(&arguments, context, Decision::Rollback { by, reason }).await?.into())
            }
        }
    }

    async fn begin(&self, arguments: &Value, context: &CallContext) -> Result<ToolResult, Error> {
        let timeout = arguments["timeout_s"].as_u64().map_or(DEFAULT_TIMEOUT, Duration::from_secs);
        let conversation = context.conversation.clone();
        let joined = conversation.is_some();
        let title = arguments["title"].as_str();
        let engine = &self.shared.engine;
        let instance = engine.begin(context.principal.clone(), timeout, conversation, title)?;
        instance.durable().await?;
        let until = engine.now().saturating_add(timeout.min(MAX_TIMEOUT)).unwrap_or(jiff::Timestamp::MAX);
        let next = if joined {
            "Call tools as always: every call of this conversation belongs to the transaction. Then commit, or rollback \
             to undo what was done."
        } else {
            "Call tools with the tool transact, or name the transaction in each call (_meta \
             \"dev.trunkline/transaction\", header Trunkline-Transaction). Then commit, or rollback to undo what was \
             done."
        };
        let answer = json!({
            "transaction": instance.id, "rolls_back_at": until.to_string(), "whole_conversation": joined, "next": next,
        });
        Ok(ToolResult::document(&Json::from_value(&answer), false))
    }

    /// Calls a tool as a step of a transaction, for callers who can't say so with the call itself.
    async fn transact(
        &self,
        call: &Call,
        arguments: &Value,
        context: &CallContext,
    ) -> Result<Outcome, Failure> {
        let id = self.named(arguments, context)?;
        let engine = self.shared.engine.clone();
        let tool: Arc<str> = Arc::from(arguments["tool"].as_str().unwrap_or_default());
        let given = arguments.get("args").cloned().unwrap_or_else(|| json!({}));
        let undo = match arguments.get("undo") {
            Some(undo) => Some(
                serde_json::from_value::<Undo>(undo.clone())
                    .map_err(|error| Error::Undo(error.to_string()))?,
            ),
            None => None,
        };
        let step_arguments = Json::from_value(&given);
        let (tools, principal, deadline) = (engine.tools(), context.principal.clone(), context.deadline);
        let (name, sent, trace) = (tool.clone(), step_arguments.clone(), context.trace.clone());
        // A refusal of the tool itself is told as it is, and is no step.
        tools.contract(&context.principal, &tool)?;
        let make = move |idempotency_key| {
            tools.call(StepCall {
                instance: id,
                tool: name,
                arguments: sent,
                idempotency_key,
                principal,
                deadline,
                trace,
            })
        };
        let outside = OutsideCall {
            tool,
            arguments: step_arguments,
            idempotency_key: call.idempotency_key.clone(),
            undo,
            deadline,
            make: Box::new(make),
        };
        engine.within(id, &context.principal, outside).await
    }

    async fn end(
        &self,
        arguments: &Value,
        context: &CallContext,
        decision: Decision,
    ) -> Result<ToolResult, Error> {
        let id = self.named(arguments, context)?;
        let ended = end(&self.shared.engine, id, &context.principal, decision, context.deadline).await?;
        Ok(ToolResult::document(&Json::from_value(&ended), ended["status"] == "ending"))
    }

    /// The transaction that a caller means.
    fn named(&self, arguments: &Value, context: &CallContext) -> Result<InstanceId, Error> {
        match arguments.get("transaction").and_then(Value::as_str) {
            Some(text) => {
                let id = text.parse::<Uuid>().map(InstanceId);
                id.map_err(|_| Error::NoInstance(text.chars().take(64).collect()))
            }
            None => {
                let conversation = context.conversation.as_ref();
                let open = conversation.and_then(|conversation| {
                    self.shared.engine.transaction_of(&context.principal, conversation)
                });
                open.ok_or(Error::NoTransaction)
            }
        }
    }
}

/// Ends a transaction, and says what its calls came to. Waits for the end until `deadline`.
///
/// # Errors
/// Where it is not open, or another principal's.
pub async fn end(
    engine: &Engine,
    id: InstanceId,
    principal: &Principal,
    decision: Decision,
    deadline: Instant,
) -> Result<Value, Error> {
    let commits = matches!(decision, Decision::Commit { .. });
    let instance = engine.end(id, principal, decision).await?;
    let wait = deadline.checked_sub(MARGIN).unwrap_or(deadline);
    let ended = tokio::select! {
        biased;
        finished = instance.finished() => finished,
        _ = instance.stuck() => None,
        () = tokio::time::sleep_until(wait.into()) => None,
    };
    let mut answer = report(engine, id).await?;
    answer["transaction"] = json!(id);
    answer["status"] = match &ended {
        Some(finished) if commits => json!(views::ending(finished.status)),
        Some(_) => json!("rolled_back"),
        None => json!("ending"),
    };
    let left = answer["not_undone"].as_array().is_some_and(|steps| !steps.is_empty());
    if ended.is_none() {
        answer["next"] =
            json!("It goes on by itself. Ask with the tool get_run; a step that is stuck needs a person.");
    } else if left && !commits {
        answer["next"] = json!("The steps under not_undone have no undo: what they did is still there.");
    }
    Ok(answer)
}

/// What the calls of a transaction came to.
async fn report(engine: &Engine, id: InstanceId) -> Result<Value, Error> {
    let (mut calls, mut undoes) = (IndexMap::<Key, Made>::new(), HashMap::<Key, Key>::new());
    for (entry, ..) in engine.journal_of(id).await? {
        match entry {
            Entry::Intended(intended) => match intended.undoes {
                Some(of) => drop(undoes.insert(intended.key, of)),
                None => {
                    let made = Made {
                        tool: intended.tool,
                        changes: !intended.effects.read_only,
                        state: State::None,
                    };
                    calls.insert(intended.key, made);
                }
            },
            Entry::Ended(ended) => {
                let undone = ended.key.ends_with("~undo").then(|| undoes.get(&ended.key)).flatten();
                let state = match ended.outcome {
                    StepOutcome::Succeeded(_) if undone.is_some() => State::Undone,
                    StepOutcome::Succeeded(_) => State::Done,
                    StepOutcome::Unknown(_) => State::Unknown,
                    StepOutcome::Refused(_) => continue,
                };
                if let Some(made) = calls.get_mut(undone.unwrap_or(&ended.key)) {
                    made.state = state;
                }
            }
            _ => {}
        }
    }
    let list = |state: State| -> Vec<&str> {
        let those = calls.values().filter(|made| made.changes && made.state == state);
        those.map(|made| &*made.tool).collect()
    };
    Ok(json!({
        "calls": calls.len(),
        "undone": list(State::Undone),
        "not_undone": list(State::Done),
        "unknown": list(State::Unknown),
    }))
}

/// A call of a transaction, as its journal has it.
struct Made {
    tool: Arc<str>,
    changes: bool,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    /// Nothing has come of it.
    None,
    Done,
    Unknown,
    Undone,
}

pub(super) fn specs() -> [(ToolSpec, Verb); 4] {
    let transaction = json!({
        "type": "string", "description": "What begin gave; the one of this conversation where left out.",
    });
    let begin = json!({
        "type": "object",
        "properties": {
            "title": {"type": "string", "description": "What it is for, for people."},
            "timeout_s": {
                "type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT.as_secs(), "default": DEFAULT_TIMEOUT.as_secs(),
                "description": "When it rolls back by itself, where it was not ended.",
            },
        },
    });
    let transact = json!({
        "type": "object",
        "properties": {
            "transaction": transaction,
            "tool": {"type": "string", "description": "The tool to call."},
            "args": {"type": "object", "description": "Its arguments."},
            "undo": {
                "type": "object",
                "description": "How to take the call back: {\"tool\", \"args\"}; args see {args, result} of the call by \"${ jq }\".",
                "properties": {"tool": {"type": "string"}, "args": {"type": "object"}, "safe": {"type": "boolean"}},
                "required": ["tool"],
            },
        },
        "required": ["tool"],
    });
    let commit = json!({"type": "object", "properties": {"transaction": transaction}});
    let rollback = json!({
        "type": "object",
        "properties": {"transaction": transaction, "reason": {"type": "string", "description": "Why, for the record."}},
    });
    let closed = Effects { destructive: false, ..Effects::default() };
    [
        (
            bare(
                "begin",
                "Opens a transaction: the tool calls after it can be undone together with rollback, or kept with commit. \
                 Left open past its time, it rolls back.",
                begin,
                closed,
            ),
            Verb::Begin,
        ),
        (
            bare("transact", "Calls a tool as a step of an open transaction.", transact, Effects::default()),
            Verb::Transact,
        ),
        (bare("commit", "Ends a transaction. What its calls did stays done.", commit, closed), Verb::Commit),
        (
            bare(
                "rollback",
                "Ends a transaction and undoes what its calls did, the last one first. Says what had no undo.",
                rollback,
                Effects::default(),
            ),
            Verb::Rollback,
        ),
    ]
}
