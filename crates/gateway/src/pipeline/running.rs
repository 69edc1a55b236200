//! A call that has been made: its attempts, and its end, however it comes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_model::{Call, CallContext, Failure, Outcome, Service, Tool};
use trunkline_resilience::shed::Priority;
use trunkline_telemetry::call::{CallTrace, Phase};

use super::target::{Target, label_of};
use super::{shape, within_deadline};
use crate::record::Subject;
use crate::{Error, Gateway};

/// A call that has been made. Where it is dropped before its end, the caller has gone away or cancelled it; that is
/// recorded, too.
pub(super) struct Running<'a> {
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) call: Call,
    pub(super) context: &'a CallContext,
    pub(super) subject: Subject,
    pub(super) priority: Priority,
    pub(super) start: Instant,
    pub(super) seen: CallTrace,
    pub(super) ended: bool,
}

impl Running<'_> {
    pub(super) async fn ended(mut self, outcome: &Result<Outcome, Failure>) -> Result<(), Error> {
        self.ended = true;
        let telemetry = &self.gateway.telemetry;
        if self.goes_on_later(outcome) {
            self.seen.left(telemetry);
            return Ok(());
        }
        let took = self.start.elapsed();
        let recorder = &self.gateway.recorder;
        let recorded = recorder.ended(&self.call, self.context, &self.subject, outcome, took).await;
        let mut seen = self.seen.take();
        seen.mark(Phase::Record);
        seen.end(telemetry, outcome, self.context.client.waited(), self.subject.is_awaited());
        recorded
    }

    /// One attempt. What the service does is a child of it.
    async fn attempt(&self, service: &dyn Service, tool: Option<&dyn Tool>) -> Result<Outcome, Failure> {
        let Some((attempt, context)) = self.seen.attempt(self.context) else {
            return match tool {
                Some(tool) => tool.execute(&self.call, self.context).await,
                None => service.request(&self.call, self.context).await,
            };
        };
        let outcome = match tool {
            Some(tool) => tool.execute(&self.call, &context).await,
            None => service.request(&self.call, &context).await,
        };
        attempt.ended(&self.gateway.telemetry, &outcome);
        outcome
    }

    /// Whether a call that has asked its caller was cut off because this process ends: the next one goes on with it.
    /// An error that the service answered with is an end all the same.
    fn goes_on_later(&self, outcome: &Result<Outcome, Failure>) -> bool {
        let cut_off = matches!(outcome, Err(failure) if failure.rpc.is_none());
        cut_off && self.gateway.is_closing() && self.context.client.waited() > Duration::ZERO
    }

    /// Runs the call to its end or its deadline. A resource that several services may have is read from the first that
    /// has it; the call and its record name the one that was asked last.
    pub(super) async fn execute(&mut self, target: Target) -> Result<Outcome, Failure> {
        if let Some(tool) = &target.tool {
            let context = self.context;
            let Some(guard) = self.gateway.guards.of(&self.call.service, &self.subject.target) else {
                let work = self.attempt(&*target.service, Some(&**tool));
                return within_deadline(&self.subject, context, work).await;
            };
            let deadline = Instant::from_std(context.deadline);
            let waited = || context.client.waited();
            let make = || self.attempt(&*target.service, Some(&**tool));
            let work = guard.call(&self.subject.target, target.care, self.priority, deadline, waited, make);
            return within_deadline(&self.subject, context, work).await.map_err(shape::bounded);
        }
        let work = self.attempt(&*target.service, None);
        let mut outcome = within_deadline(&self.subject, self.context, work).await;
        for (service, own) in target.others {
            if !matches!(&outcome, Err(failure) if failure.rpc.is_some()) {
                break;
            }
            self.subject.target = label_of(&*service, &own);
            self.call.service = service.id().clone();
            self.call.name = own;
            let work = self.attempt(&*service, None);
            outcome = within_deadline(&self.subject, self.context, work).await;
        }
        outcome
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if self.gateway.is_closing() {
            self.seen.left(&self.gateway.telemetry);
            return;
        }
        self.seen.cancelled(&self.gateway.telemetry);
        let (gateway, call, took) = (self.gateway.clone(), self.call.clone(), self.start.elapsed());
        let (context, subject) = (self.context.clone(), self.subject.clone());
        self.gateway.spawn(async move {
            let outcome = Err(Error::Cancelled.into());
            if let Err(error) = gateway.recorder.ended(&call, &context, &subject, &outcome, took).await {
                tracing::error!(call = %call.id, %error, "a cancelled call is not in the record");
            }
        });
    }
}
