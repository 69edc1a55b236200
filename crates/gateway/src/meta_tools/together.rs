//! `call_tool` with several names: the same is asked of tools that only read, at once, and their answers are one, merged by key. Who did
//! not answer is told; the whole of each answer is kept for `read_result`.

mod merge;

use std::sync::Arc;

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_model::{Call, CallContext, Failure, Json, Operation, Outcome, ToolResult};

use super::signature::cut;
use super::{CALL, READ, SERVICE};
use crate::pipeline::{Request, Wish, document};
use crate::{Error, Gateway};
use merge::{Merged, merge};

/// The most tools that are asked at once.
pub(super) const MOST: usize = 8;

/// The longest reason that is told of one that did not answer.
const LONGEST: usize = 400;

#[derive(Deserialize)]
struct Given {
    names: Option<Vec<String>>,
    #[serde(default)]
    arguments: Option<Json>,
    key: Option<String>,
    select: Option<String>,
    max_tokens: Option<usize>,
}

pub(super) async fn execute(
    gateway: &Arc<Gateway>,
    call: &Call,
    context: &CallContext,
) -> Result<Outcome, Failure> {
    let given: Given = call.arguments.to().map_err(|error| Error::Params(error.to_string()))?;
    let Some(mut names) = given.names else {
        let why = format!("{CALL} is for agents that are connected; name the tool itself in its place");
        return Err(Error::Params(why).into());
    };
    names.sort_unstable();
    names.dedup();
    if !(2..=MOST).contains(&names.len()) {
        return Err(Error::Params(format!("`names` are 2 to {MOST} different tools")).into());
    }
    gateway.all_read(&names, context)?;
    let arguments = given.arguments.unwrap_or_else(Json::empty_object);
    let asked = names.iter().map(|name| gateway.asked_beside(name, &arguments, context));
    let outcomes = join_all(asked).await;
    let (mut answered, mut whole, mut failed) = (Vec::new(), Map::new(), Vec::new());
    for (name, outcome) in names.iter().zip(outcomes) {
        match outcome {
            Ok((value, body)) => {
                answered.push((name.as_str(), value));
                whole.insert(name.clone(), body);
            }
            Err(why) => failed.push(why),
        }
    }
    let merged = merge(&answered, given.key.as_deref());
    let kept = Json::from_value(&json!({"structuredContent": whole}));
    let handle = gateway.results.keep(&(gateway.sources.random_id)(), &context.principal, &kept);
    let told = told(&merged, &answered, &failed, &handle);
    let result = ToolResult::content(
        json!([{"type": "text", "text": told.to_string()}]),
        Some(told),
        answered.is_empty(),
    );
    let budget = given.max_tokens.or_else(|| {
        let answers = &gateway.rules.load().config.answers;
        answers.callers.get(&*context.principal.id).copied().or(answers.most_tokens)
    });
    let wish = Wish { most_tokens: budget, select: given.select, free: true };
    Ok(gateway.shaped(result, &wish, None, false, &context.principal, None).into())
}

impl Gateway {
    /// Refuses where one of these tools may change something. What the caller may not know of is refused by its call.
    fn all_read(&self, names: &[String], context: &CallContext) -> Result<(), Error> {
        let snapshot = self.catalog.snapshot();
        for entry in names.iter().filter_map(|name| snapshot.tools.get(&**name)) {
            let spec = entry.tool.spec();
            let built_in = spec.service.as_str() == SERVICE;
            if self.shows(&context.principal, spec) && (built_in || !spec.effects.read_only) {
                let name = &entry.name;
                return Err(Error::Params(format!(
                    "only tools that read are called together, and {name} may change something; call it alone"
                )));
            }
        }
        Ok(())
    }

    /// Calls one of several tools. Gives what its answer is as a value, and the whole of it; or why there is none.
    async fn asked_beside(
        self: &Arc<Self>,
        name: &str,
        arguments: &Json,
        context: &CallContext,
    ) -> Result<(Value, Value), Value> {
        let request = Request {
            id: self.new_call(),
            door: CALL,
            operation: Operation::CallTool,
            name: Arc::from(name),
            arguments: arguments.clone(),
            meta: None,
            resume: None,
            idempotency_key: None,
            journaled: false,
            transaction: None,
            stands_in: false,
            priority: None,
            wish: None,
        };
        let why =
            |code: Option<&str>, why: &str| json!({"tool": name, "code": code, "why": cut(why, LONGEST)});
        // Boxed: a call makes others.
        match Box::pin(self.call(request, context.clone())).await {
            Err(failure) => Err(why(Some(failure.code), &failure.detail)),
            Ok(Outcome::Complete(result)) => {
                let body = result.body.to_value();
                if result.is_error {
                    let text = body["content"][0]["text"].as_str().unwrap_or("it answered with an error");
                    return Err(why(None, text));
                }
                Ok((document(&body).unwrap_or_else(|| body["content"].clone()), body))
            }
            Ok(Outcome::InputRequired(_)) => Err(why(None, "it asks something: call it alone")),
            Ok(Outcome::Task(_)) => Err(why(None, "it goes on by itself: call it alone")),
        }
    }
}

/// The answer.
fn told(merged: &Merged, answered: &[(&str, Value)], failed: &[Value], handle: &str) -> Value {
    let mut told = json!(merged);
    told["answered"] = answered.iter().map(|(name, _)| *name).collect();
    if !failed.is_empty() {
        told["failed"] = json!(failed);
    }
    told["whole"] = json!(format!("{READ} {{\"handle\": \"{handle}\"}}, by tool"));
    told
}
