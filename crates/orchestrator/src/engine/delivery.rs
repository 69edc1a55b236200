//! Instances that are deliveries of events: started once for each, however often that is tried, and so many at a time.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use trunkline_event_log::{Error as LogError, Expected};

use super::{Engine, Instance, Start};
use crate::Error;
use crate::choreography::Cause;
use crate::entry::{Entry, InstanceId, Started};
use crate::published::{self, By, Published};

impl Engine {
    /// Says how many deliveries of each subscription may run at the same time.
    pub(crate) fn limit_deliveries(&self, limits: HashMap<Arc<str>, usize>) {
        self.0.limits.set_deliveries(limits);
    }

    /// Starts a delivery. Its start is durable when this returns; `None` where it had been started before.
    ///
    /// # Errors
    /// Where the log takes nothing.
    pub(crate) async fn deliver(
        &self,
        id: InstanceId,
        start: Start,
        cause: Cause,
    ) -> Result<Option<Instance>, Error> {
        let Start { workflow, input, principal } = start;
        let workflow = self.0.shelf.share(workflow);
        let started = Started { cause: Some(Box::new(cause)), ..Started::of(&workflow, input) };
        let run = self.prepare(id, workflow, &started, principal.clone(), Arc::default());
        let entry = Entry::Started(Box::new(started));
        let sources = &self.0.parts.sources;
        let now = (sources.now)();
        let event = entry.clone().into_event(id, &run.journal.flow, &principal, (sources.time_id)(), now);
        match self.0.parts.log.append(id.0, Expected::Empty, vec![event]).await {
            Ok(_) => {}
            Err(LogError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        run.journal.load([(entry, now)]);
        Ok(Some(self.go(run, false)))
    }

    /// Waits until no more than half of the instances run that may: deliveries leave the other half to others.
    pub(crate) async fn room(&self) {
        loop {
            let told = self.0.left.notified();
            let mut told = std::pin::pin!(told);
            // Before the look, so that nothing is missed between the two.
            told.as_mut().enable();
            if self.0.roster.len() <= self.0.parts.bounds.instances / 2 {
                return;
            }
            told.await;
        }
    }

    /// Publishes an event that comes from outside or from a tool. It is durable when this returns.
    ///
    /// # Errors
    /// [`Error::NotAnEvent`], or that of the log.
    pub(crate) async fn publish(&self, event: &Value, by: By) -> Result<Published, Error> {
        published::publish(&self.0.parts.log, &self.0.parts.sources, event, by).await
    }

    /// The event that an instance which runs here is a delivery of.
    pub(crate) fn cause_of(&self, id: InstanceId, principal: &str) -> Option<Arc<Cause>> {
        let run = self.run(id).ok()?;
        let journal = &run.journal;
        journal.cause().filter(|_| *journal.principal.id == *principal)
    }

    /// What one expression may use.
    pub(crate) fn expression_limits(&self) -> crate::expression::Limits {
        self.0.parts.bounds.expression
    }
}
