//! What is done about a call that failed, before its caller hears of it; which depends on what went wrong.
//!
//! - Another service that can do the same is called where its service can't be asked (here): only where nothing was done or
//!   nothing could be changed, only for capabilities that the operator names, and only with a tool that the caller may call and
//!   that takes the same arguments.
//! - The tools of a service that refuses the call are read anew (`rediscover.rs`).
//! - What the arguments lack is asked for (`asking.rs`).
//! - An answer that was kept is given (`pipeline/kept.rs`), a token is renewed (the connector does).
//!
//! Every call that is made again is one of its own, with its own record. The caller is told either way.

mod asking;
mod rediscover;

use std::sync::Arc;

use arc_swap::ArcSwap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_discovery::ToolEntry;
use trunkline_model::{
    CallContext, Capability, EffectState, Failure, Fault, Json, Operation, Outcome, Tool, ToolResult,
};

use crate::Gateway;
use crate::gateway::Rules;
use crate::pipeline::Request;

/// The member of a result's `_meta` that says what was done.
const META: &str = "dev.trunkline/recovery";

/// The most tools that are called in the place of one.
const MOST: usize = 2;

/// What is done about calls that fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// Capabilities, as dotted terms with `*` for any one part, of which one tool may stand in for another: where its service can't
    /// be asked, another tool of the very same capability is called that takes the same arguments. None where left out.
    pub fail_over: Vec<String>,
    /// Where a service refuses a call because it has no such tool or takes other arguments, its tools are read anew, and a call that
    /// may be made again is, where it still fits.
    pub rediscover: bool,
    /// Where nothing is wrong with arguments but that some are missing, the caller's user is asked for them, once, if its client can.
    /// Off where left out: a model that has forgotten an argument mostly knows it, and is told.
    pub ask: bool,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self { fail_over: Vec::new(), rediscover: true, ask: false }
    }
}

/// What is done about calls that fail, and what was done lately.
#[derive(Default)]
pub(crate) struct Recovery {
    config: ArcSwap<RecoveryConfig>,
    looked: rediscover::Looked,
}

impl Recovery {
    fn config(&self) -> Arc<RecoveryConfig> {
        self.config.load_full()
    }
}

/// A way to recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// Another service was called.
    FailOver,
    /// The tools of the service were read anew.
    Rediscovered,
    /// The caller's user was asked.
    Asked,
    /// An answer was given that had been kept.
    Kept,
}

/// What did not go well, and what was done about it.
#[derive(Serialize)]
struct Tried {
    recovery: Step,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<Arc<str>>,
    code: &'static str,
    why: String,
}

impl Tried {
    fn of(tool: &Arc<str>, failure: &Failure) -> Self {
        let (code, why) = (failure.code, failure.detail.clone());
        Self { recovery: Step::FailOver, tool: Some(tool.clone()), code, why }
    }
}

pub(crate) use rediscover::refusal;

/// An answer that was kept, given because of a failure: it says so.
pub(crate) fn instead(kept: ToolResult, failure: &Failure) -> Outcome {
    let tried = Tried { recovery: Step::Kept, tool: None, code: failure.code, why: failure.detail.clone() };
    told(kept.into(), &Arc::from("cache"), &[tried], &Value::Null)
}

/// What came of a call whose user was asked for some of its arguments: it says so.
pub(crate) fn asked(outcome: Result<Outcome, Failure>, names: &[String]) -> Result<Outcome, Failure> {
    let about = json!({"asked_for": names});
    outcome.map(|outcome| with_meta(outcome, &about))
}

impl Gateway {
    /// Takes other rules for calls that fail.
    pub fn recover(&self, config: RecoveryConfig) {
        self.recovery.config.store(Arc::new(config));
    }

    /// Does what can be done about a call that failed.
    pub(crate) async fn recovered(
        self: &Arc<Self>,
        rules: &Rules,
        request: &Request,
        context: &CallContext,
        used: Option<Arc<dyn Tool>>,
        outcome: Result<Outcome, Failure>,
    ) -> Result<Outcome, Failure> {
        if let Some(used) = used.filter(|_| self.recovery.config().rediscover && !is_bound(request))
            && let Some(said) = refusal(&outcome)
            && let Some(outcome) = self.rediscovered(request, context, &used, said).await
        {
            return outcome;
        }
        let failure = match outcome {
            Ok(outcome) => return Ok(outcome),
            Err(failure) => failure,
        };
        let mut tried = vec![Tried::of(&request.name, &failure)];
        for other in self.stand_ins(rules, request, context, &failure) {
            let again =
                Request { id: self.new_call(), name: other.name.clone(), stands_in: true, ..request.clone() };
            // Boxed: a call makes another.
            match Box::pin(self.call(again, context.clone())).await {
                Ok(outcome) => {
                    let about = json!({
                        "call": request.id, "tool": request.name, "recovery": Step::FailOver,
                        "answered_by": other.name, "tried": tried, "helped": true,
                    });
                    self.recorder.recovered(other.service.id(), about).await;
                    return Ok(told(outcome, &other.name, &tried, &Value::Null));
                }
                Err(failure) if nothing_done(&failure) => tried.push(Tried::of(&other.name, &failure)),
                Err(failure) => return Err(with_tried(failure, &tried)),
            }
        }
        Err(if tried.len() > 1 { with_tried(failure, &tried) } else { failure })
    }

    /// The tools that may stand in for the one that failed, the best first.
    fn stand_ins(
        &self,
        rules: &Rules,
        request: &Request,
        context: &CallContext,
        failure: &Failure,
    ) -> Vec<ToolEntry> {
        let config = self.recovery.config();
        if is_bound(request) || config.fail_over.is_empty() {
            return Vec::new();
        }
        let snapshot = self.catalog.snapshot();
        let Some(failed) = snapshot.tools.get(&request.name) else { return Vec::new() };
        let read_only = failed.tool.spec().effects.read_only;
        if !(nothing_done(failure) || read_only && failure.fault == Fault::Service) {
            return Vec::new();
        }
        let named = |term: &str| config.fail_over.iter().any(|one| Capability::matches_term(term, one));
        let may = |entry: &ToolEntry| {
            let spec = entry.tool.spec();
            entry.service.id() != failed.service.id()
                && spec.effects.read_only == read_only
                && rules
                    .authorizer
                    .decide(&context.principal, &spec.service, &spec.name, Operation::CallTool)
                    .allow
                && entry.service.is_up()
                && entry.tool.validate_parameters(&request.arguments).is_ok()
        };
        snapshot.same_capability(failed, named).filter(|entry| may(entry)).take(MOST).cloned().collect()
    }
}

/// Whether a call is made as it is or not at all: its caller journals it, it goes on with an earlier one, or is itself made in the
/// place of another.
fn is_bound(request: &Request) -> bool {
    request.operation != Operation::CallTool
        || request.stands_in
        || request.journaled
        || request.resume.is_some()
        || request.transaction.is_some()
}

/// Whether the service was not asked, or did nothing.
fn nothing_done(failure: &Failure) -> bool {
    failure.effect == EffectState::None && failure.fault == Fault::Service && failure.rpc.is_none()
}

/// The outcome of another call, which says so, and `more`.
fn told(outcome: Outcome, tool: &Arc<str>, tried: &[Tried], more: &Value) -> Outcome {
    let mut about = json!({"answered_by": tool, "tried": tried});
    for (key, value) in more.as_object().into_iter().flatten() {
        about[key] = value.clone();
    }
    with_meta(outcome, &about)
}

/// An outcome with what was done in its `_meta`.
fn with_meta(outcome: Outcome, about: &Value) -> Outcome {
    let Outcome::Complete(ToolResult { body, is_error, freshness }) = outcome else { return outcome };
    let mut body = body.to_value();
    if let Some(members) = body.as_object_mut() {
        let meta = members.entry("_meta").or_insert_with(|| json!({}));
        if let Some(meta) = meta.as_object_mut() {
            let said = meta.entry(META).or_insert_with(|| json!({}));
            for (key, value) in about.as_object().into_iter().flatten() {
                said[key] = value.clone();
            }
        }
    }
    Outcome::Complete(ToolResult { body: Json::from_value(&body), is_error, freshness })
}

/// The failure of the call, which says what else was tried.
fn with_tried(mut failure: Failure, tried: &[Tried]) -> Failure {
    let words: Vec<&str> = tried
        .iter()
        .map(|one| match (&one.recovery, &one.tool) {
            (Step::FailOver, Some(tool)) => &**tool,
            _ => &*one.why,
        })
        .collect();
    failure.detail = format!("{} (tried before: {})", failure.detail, words.join(", "));
    let mut data = failure.data.take().map_or_else(|| json!({}), |data| data.to_value());
    if let Value::Object(members) = &mut data {
        members.insert("recovery".to_owned(), json!({ "tried": tried }));
    }
    failure.data = Some(Box::new(Json::from_value(&data)));
    failure
}
