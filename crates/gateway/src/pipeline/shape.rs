//! The phase after a call: makes the result fit its caller.

use std::time::Duration;

use trunkline_model::{Call, CallContext, EffectState, Failure, Outcome, Retry, ServedState};

use crate::Gateway;

/// The longest that a service's wish keeps a caller away.
const MAX_WISH: Duration = Duration::from_secs(3_600);

/// Makes the result fit the caller. A task gets the identity by which the caller finds it again.
pub(super) fn fit(gateway: &Gateway, call: &Call, context: &CallContext, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Task(mut task) => {
            task.id = gateway.task_id(&context.principal, &call.service, &call.name, &task.id);
            Outcome::Task(task)
        }
        other => other,
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
