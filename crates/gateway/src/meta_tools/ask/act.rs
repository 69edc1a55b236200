//! Does what was understood: one call as it is, several as a plan.

use std::sync::Arc;

use serde_json::{Value, json};
use trunkline_discovery::ToolEntry;
use trunkline_model::{Call, CallContext, Failure, Json, Operation, Outcome};

use crate::Gateway;
use crate::pipeline::Request;

impl Gateway {
    /// Makes the calls: one as it is, several as a plan that is undone where one of them fails.
    pub(super) async fn do_all(
        self: &Arc<Self>,
        ready: &[(&ToolEntry, Json)],
        learned: Option<&str>,
        call: &Call,
        context: &CallContext,
    ) -> Result<Outcome, Failure> {
        let (name, arguments) = match ready {
            [(entry, arguments)] => (entry.name.clone(), arguments.clone()),
            several => {
                let step = |(number, (entry, arguments)): (usize, &(&ToolEntry, Json))| {
                    let id = format!("s{}", number + 1);
                    let before = format!("s{number}");
                    let after = if number == 0 { json!([]) } else { json!([before]) };
                    json!({"id": id, "tool": &*entry.name, "args": arguments.to_value(), "after": after})
                };
                let steps: Vec<Value> = several.iter().enumerate().map(step).collect();
                (Arc::from("run_plan"), Json::from_value(&json!({"plan": {"steps": steps}})))
            }
        };
        let request = Request {
            id: self.new_call(),
            door: "ask",
            operation: Operation::CallTool,
            name: name.clone(),
            arguments: arguments.clone(),
            meta: None,
            resume: None,
            idempotency_key: call.idempotency_key.clone(),
            journaled: false,
            transaction: None,
            stands_in: false,
            priority: None,
            wish: None,
        };
        let outcome = Box::pin(self.call(request, context.clone())).await?;
        // Who has seen what is to be done and wants it done, has said that it was understood.
        if let ([(entry, _)], Outcome::Complete(result), Some(request)) = (ready, &outcome, learned)
            && !result.is_error
        {
            self.catalog.learn(request, &entry.name);
        }
        Ok(outcome)
    }
}
