//! A service that refuses a call may have changed its tools: they are read anew, and the caller is told what has changed.
//!
//! Where the call changes nothing, or may be made again, and still fits, it is made once more. A call that may change something
//! is not: that the server refused it is only what it says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use trunkline_discovery::ToolEntry;
use trunkline_model::{CallContext, Failure, Outcome, ServiceId, Tool, ToolResult, ToolSpec};
use trunkline_resilience::Care;

use super::{Step, Tried, told};
use crate::Gateway;
use crate::error::Error;
use crate::guards::care;
use crate::pipeline::Request;

/// How long the tools of one service are not read again because of a refusal.
const PAUSE: Duration = Duration::from_secs(5);

/// How long it may take to read them.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest text of a server that is repeated, in characters.
const MOST_SAID: usize = 300;

/// The largest schema that an error carries, in bytes.
const LARGEST_SCHEMA: usize = 16 << 10;

/// When the tools of services were last read because of a refusal.
pub(super) type Looked = Mutex<HashMap<ServiceId, Instant>>;

/// What is different about a tool.
struct Change {
    words: String,
    about: Value,
}

/// What the server said, where an answer says that it has no such tool or that the arguments are wrong: the codes of
/// JSON-RPC, and the results that the SDKs for TypeScript (`MCP error -32602`) and Python (`Unknown tool`) make of these.
pub(crate) fn refusal(outcome: &Result<Outcome, Failure>) -> Option<String> {
    match outcome {
        Ok(Outcome::Complete(ToolResult { body, is_error: true, .. })) => {
            let text = body.as_str();
            if !text.contains("-32602") && !text.contains("nknown tool") {
                return None;
            }
            let said = body.to_value()["content"][0]["text"].as_str().map(short)?;
            (said.starts_with("MCP error -32602") || said.starts_with("Unknown tool")).then_some(said)
        }
        Err(failure) => {
            let error = failure.rpc.as_ref()?.to_value();
            let refused = matches!(error["code"].as_i64(), Some(-32_602 | -32_601));
            refused.then(|| error["message"].as_str().map(short).unwrap_or_default())
        }
        Ok(_) => None,
    }
}

fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_SAID).collect()
}

impl Gateway {
    /// Reads the tools of a service anew that has refused a call, and makes the call again where that is safe. None where
    /// nothing about the tool has changed.
    pub(super) async fn rediscovered(
        self: &Arc<Self>,
        request: &Request,
        context: &CallContext,
        used: &Arc<dyn Tool>,
        said: String,
    ) -> Option<Result<Outcome, Failure>> {
        let spec = used.spec();
        let service = self.catalog.services().get(&spec.service)?.service.clone();
        let now = |gateway: &Self| {
            let entry = gateway.catalog.snapshot().tools.get(&request.name).cloned();
            entry.filter(|entry| entry.service.id() == &spec.service)
        };
        let mut entry = now(self);
        // What the server announces may have been faster than its refusal.
        let mut change = changed(spec, entry.as_ref());
        if change.is_none() {
            if !self.recovery.may_look(service.id()) {
                return None;
            }
            let until = (Instant::now() + PATIENCE).min(context.deadline.into());
            timeout_at(until, service.rediscover()).await.ok().filter(|read| *read)?;
            entry = now(self);
            change = changed(spec, entry.as_ref());
        }
        let change = change?;
        let step = Step::Rediscovered;
        let fits = entry.is_some_and(|entry| {
            let safe = |tool: &dyn Tool| care(tool, request) != Care::Once;
            safe(&**used) && safe(&*entry.tool) && entry.tool.validate_parameters(&request.arguments).is_ok()
        });
        let mut outcome = Err(Error::ToolChanged {
            name: request.name.to_string(),
            said: said.clone(),
            change: change.words,
            about: Box::new(change.about.clone()),
        }
        .into());
        if fits {
            let again = Request { id: self.new_call(), stands_in: true, ..request.clone() };
            // Boxed: a call makes another.
            outcome = Box::pin(self.call(again, context.clone())).await;
        }
        let about = json!({
            "call": request.id, "tool": request.name, "recovery": step, "changed": change.about, "again": fits,
            "helped": outcome.is_ok(),
        });
        self.recorder.recovered(service.id(), about).await;
        let tried = Tried { recovery: step, tool: Some(request.name.clone()), code: "TL8043", why: said };
        Some(outcome.map(|outcome| told(outcome, &request.name, &[tried], &json!({"changed": change.about}))))
    }
}

impl super::Recovery {
    /// Whether the tools of a service may be read again now.
    fn may_look(&self, service: &ServiceId) -> bool {
        let (mut looked, now) = (self.looked.lock(), Instant::now());
        looked.retain(|_, at| now.saturating_duration_since(*at) < PAUSE);
        if looked.contains_key(service) {
            return false;
        }
        looked.insert(service.clone(), now);
        true
    }
}

/// What is different about a tool, as far as its callers have to know.
fn changed(before: &ToolSpec, after: Option<&ToolEntry>) -> Option<Change> {
    let Some(after) = after else {
        return Some(Change { words: "it is no longer there".to_owned(), about: json!({"gone": true}) });
    };
    let (old, new) = (before.input.document(), after.tool.spec().input.document());
    if old == new {
        return None;
    }
    let member = |schema: &Value, key: &str| schema.get(key).cloned().unwrap_or_default();
    let names = |list: &Value| -> Vec<String> {
        let names = list.as_array().into_iter().flatten();
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let (was, is) = (names(&member(old, "required")), names(&member(new, "required")));
    let (had, has) = (member(old, "properties"), member(new, "properties"));
    let keys = |of: &Value, but: &Value| -> Vec<String> {
        let all = of.as_object().into_iter().flat_map(|members| members.keys());
        all.filter(|key| but.get(key.as_str()).is_none()).cloned().collect()
    };
    let needs: Vec<String> = is.into_iter().filter(|name| !was.contains(name)).collect();
    let (gone, new_ones) = (keys(&had, &has), keys(&has, &had));
    let others = has.as_object().into_iter().flatten();
    let others: Vec<String> = others
        .filter(|(key, schema)| had.get(key.as_str()).is_some_and(|before| before != *schema))
        .map(|(key, _)| key.clone())
        .collect();
    let listed =
        [("needs", &needs), ("takes_no_more", &gone), ("takes_now", &new_ones), ("other_rules_for", &others)];
    let words: Vec<String> = listed
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| {
            format!("it {} {}", what.replace('_', " ").replace("other", "has other"), names.join(", "))
        })
        .collect();
    let words = if words.is_empty() { "its schema is another one".to_owned() } else { words.join("; ") };
    let mut about: serde_json::Map<String, Value> =
        listed.into_iter().map(|(what, names)| (what.to_owned(), json!(names))).collect();
    if new.to_string().len() <= LARGEST_SCHEMA {
        about.insert("input_schema".to_owned(), new.clone());
    }
    Some(Change { words, about: Value::Object(about) })
}

#[cfg(test)]
mod tests {
    use trunkline_model::{EffectState, Json};

    use super::*;

    #[test]
    fn what_servers_say_of_tools_and_arguments_that_they_do_not_know_is_a_refusal() {
        let rpc = |code: i64| {
            let failure = Failure::service("TL4006", "Error", "x", EffectState::None, "y");
            Err(failure.rpc(Json::from(json!({"code": code, "message": "Unknown tool: x"}))))
        };
        assert_eq!(refusal(&rpc(-32_602)).as_deref(), Some("Unknown tool: x"));
        assert!(refusal(&rpc(-32_601)).is_some() && refusal(&rpc(-32_603)).is_none());
        let result = |text: &str, is_error| Ok(ToolResult::text(text, is_error).into());
        assert!(refusal(&result("MCP error -32602: Tool x not found", true)).is_some());
        assert!(refusal(&result("Unknown tool: x", true)).is_some());
        assert!(refusal(&result("MCP error -32602: Tool x not found", false)).is_none());
        assert!(refusal(&result("the log says: MCP error -32602", true)).is_none());
    }
}
