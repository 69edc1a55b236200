//! The phase after a call: makes the result fit its caller.

mod answer;
mod shrink;

use std::time::Duration;

use trunkline_model::{
    Call, CallContext, EffectState, Failure, Operation, Outcome, Principal, Retry, ServedState,
};

use super::Request;
use crate::Gateway;
use crate::meta_tools::{SERVICE, tokens};
pub use answer::Wish;
pub(crate) use answer::document;

/// The longest that a service's wish keeps a caller away.
const MAX_WISH: Duration = Duration::from_secs(3_600);

/// Makes the result fit the caller. A task gets the identity by which the caller finds it again.
pub(super) fn fit(
    gateway: &Gateway,
    request: &Request,
    call: &Call,
    context: &CallContext,
    outcome: Outcome,
) -> Outcome {
    match outcome {
        Outcome::Complete(result)
            if request.operation == Operation::CallTool && call.service.as_str() != SERVICE =>
        {
            let budget = gateway.budget(request.door, &context.principal);
            let none = Wish::default();
            let wish = request.wish.as_deref().unwrap_or(&none);
            if wish.is_empty() && budget.is_none_or(|budget| tokens(result.body.len()) <= budget) {
                return result.into();
            }
            let snapshot = gateway.catalog().snapshot();
            let schema =
                snapshot.tools.get(&request.name).is_some_and(|entry| entry.tool.spec().output.is_some());
            gateway.shaped(result, wish, budget, schema, &context.principal, None).into()
        }
        Outcome::Task(mut task) => {
            task.id = gateway.task_id(&context.principal, &call.service, &call.name, &task.id);
            Outcome::Task(task)
        }
        other => other,
    }
}

impl Gateway {
    /// The most tokens of an answer to a principal that came by this door. Programs take answers whole.
    fn budget(&self, door: &str, principal: &Principal) -> Option<usize> {
        if !matches!(door, "mcp" | "stdio") {
            return None;
        }
        let rules = self.rules.load();
        let answers = &rules.config.answers;
        answers.callers.get(&*principal.id).copied().or(answers.most_tokens)
    }
}

/// A failure whose service does not send its caller away for a year.
pub(super) fn bounded(mut failure: Failure) -> Failure {
    if let Retry::After(wait) = failure.retry {
        failure.retry = Retry::After(wait.min(MAX_WISH));
    }
    failure
}

/// The bytes of an answer, and whether its service was asked for it.
pub(super) fn cost(outcome: &Result<Outcome, Failure>) -> (usize, bool) {
    match outcome {
        Ok(Outcome::Complete(result)) => {
            let served = result.freshness.as_ref().and_then(|freshness| freshness.served);
            let asked = served.is_none_or(|served| served.state == ServedState::Revalidated);
            (result.body.len(), asked)
        }
        Ok(Outcome::InputRequired(input)) => (input.requests.len(), true),
        Ok(Outcome::Task(_)) => (0, true),
        // What had no effect costs nothing.
        Err(failure) => (0, failure.effect == EffectState::Unknown),
    }
}
