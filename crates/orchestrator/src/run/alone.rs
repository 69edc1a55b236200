//! Processes that a run begins and does not wait for.

use std::sync::Arc;

use serde_json::json;

use super::Run;
use super::step::Step;
use crate::entry::{Entry, StepOutcome};
use crate::fault::Fault;
use crate::identity;

impl Run {
    /// Has a process begin, at most once however often the run is replayed. What it comes to is in the log of the gateway
    /// alone; it ends with its time limit or the gateway, whichever comes first.
    ///
    /// # Errors
    /// Where the log takes nothing.
    pub(crate) async fn let_go(&self, step: &Step) -> Result<(), Fault> {
        if self.journal.decided(&step.key).await.is_some() {
            return Ok(());
        }
        self.journal.live().await;
        self.journal.note(Entry::Decided { key: step.key.clone(), value: json!({"begun": true}) });
        // First: after a crash nobody could say whether it had begun.
        self.journal.flush().await.map_err(|error| Fault::runtime(error.to_string()))?;
        let instance = self.journal.instance;
        let key = identity::header_safe(&format!("{instance}{}", step.key));
        let call = self.call(step, 1, Arc::from(key));
        tokio::spawn(async move {
            if let StepOutcome::Refused(fault) | StepOutcome::Unknown(fault) = call.await {
                tracing::warn!(%instance, %fault, "a process that nobody waits for has failed");
            }
        });
        Ok(())
    }
}
