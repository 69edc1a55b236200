//! What is done about a call that failed, before its caller hears of it: another service that can do the same is called.
//!
//! Only where nothing was done or nothing could be changed, only for capabilities that the operator names, and only with a tool
//! that the caller may call and that takes the same arguments. It is a call of its own, with its own record. The caller is told
//! either way.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_discovery::ToolEntry;
use trunkline_model::{
    CallContext, Capability, EffectState, Failure, Fault, Json, Operation, Outcome, ToolResult,
};

use crate::Gateway;
use crate::gateway::Rules;
use crate::pipeline::Request;

/// The member of a result's `_meta` that says what was done.
const META: &str = "trunkline.dev/recovery";

/// The most tools that are called in the place of one.
const MOST: usize = 2;

/// What is done about calls that fail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// Capabilities, as dotted terms with `*` for any one part, of which one tool may stand in for another: where its service can't
    /// be asked, another tool of the very same capability is called that takes the same arguments. None where left out.
    pub fail_over: Vec<String>,
}

/// A call that was made in the place of another, and what came of it.
#[derive(Serialize)]
struct Tried {
    tool: Arc<str>,
    code: &'static str,
    why: String,
}

impl Tried {
    fn of(tool: &Arc<str>, failure: &Failure) -> Self {
        Self { tool: tool.clone(), code: failure.code, why: failure.detail.clone() }
    }
}

impl Gateway {
    /// Takes other rules for calls that fail.
    pub fn recover(&self, config: RecoveryConfig) {
        self.recovery.store(Arc::new(config));
    }

    /// Does what can be done about a call that failed.
    pub(crate) async fn recovered(
        self: &Arc<Self>,
        rules: &Rules,
        request: &Request,
        context: &CallContext,
        failure: Failure,
    ) -> Result<Outcome, Failure> {
        let mut tried = vec![Tried::of(&request.name, &failure)];
        for other in self.stand_ins(rules, request, context, &failure) {
            let again =
                Request { id: self.new_call(), name: other.name.clone(), stands_in: true, ..request.clone() };
            // Boxed: a call makes another.
            match Box::pin(self.call(again, context.clone())).await {
                Ok(outcome) => return Ok(told(outcome, &other.name, &tried)),
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
        let config = self.recovery.load();
        let alone = request.operation != Operation::CallTool
            || request.stands_in
            || request.journaled
            || request.resume.is_some()
            || request.transaction.is_some();
        if alone || config.fail_over.is_empty() {
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

/// Whether the service was not asked, or did nothing.
fn nothing_done(failure: &Failure) -> bool {
    failure.effect == EffectState::None && failure.fault == Fault::Service && failure.rpc.is_none()
}

/// The outcome of another tool, which says so.
fn told(outcome: Outcome, tool: &Arc<str>, tried: &[Tried]) -> Outcome {
    let Outcome::Complete(ToolResult { body, is_error, freshness }) = outcome else { return outcome };
    let mut body = body.to_value();
    if let Some(members) = body.as_object_mut() {
        let meta = members.entry("_meta").or_insert_with(|| json!({}));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert(META.to_owned(), json!({"answered_by": tool, "tried": tried}));
        }
    }
    Outcome::Complete(ToolResult { body: Json::from_value(&body), is_error, freshness })
}

/// The failure of the call, which says what else was tried.
fn with_tried(mut failure: Failure, tried: &[Tried]) -> Failure {
    let names: Vec<&str> = tried.iter().map(|one| &*one.tool).collect();
    failure.detail = format!("{} (tried before: {})", failure.detail, names.join(", "));
    let mut data = failure.data.take().map_or_else(|| json!({}), |data| data.to_value());
    if let Value::Object(members) = &mut data {
        members.insert("recovery".to_owned(), json!({ "tried": tried }));
    }
    failure.data = Some(Box::new(Json::from_value(&data)));
    failure
}
