//! The phase after a call: makes the result fit its caller.

use trunkline_model::{Call, CallContext, Outcome};

use crate::Gateway;

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
