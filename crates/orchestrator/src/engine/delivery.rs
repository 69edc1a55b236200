//! Instances whose identity follows from what they are of, so that each begins once however often that is tried:
//! deliveries of events, so many at a time, those that the clock begins, and those that a step begins and does not wait
//! for.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use serde_json::Value;
use trunkline_event_log::{Error as LogError, Expected};

use trunkline_model::{BoxFuture, Json, Principal};

use super::{Engine, Instance, Shared, Start};
use crate::choreography::Cause;
use crate::entry::{Entry, InstanceId, Key, Parent, Started};
use crate::fault::Fault;
use crate::published::{self, By, Published};
use crate::run::Run;
use crate::workflow::Workflow;
use crate::{Error, identity};

/// How many instances may begin each other, one the next: more is a circle.
const MAX_DEPTH: u32 = 100;

/// Where a run begins others, as long as its engine is there.
#[derive(Clone)]
pub(crate) struct Beside(Weak<Shared>);

impl Beside {
    pub(super) fn new(engine: &Engine) -> Self {
        Self(Arc::downgrade(&engine.0))
    }

    /// Begins an instance beside that of `run`, once for this step.
    ///
    /// # Errors
    /// Where too many have begun each other or run already, or the log takes nothing.
    pub(crate) fn begin<'a>(
        &'a self,
        run: &'a Run,
        step: Key,
        workflow: Arc<Workflow>,
        input: Json,
    ) -> BoxFuture<'a, Result<InstanceId, Fault>> {
        // Boxed: an instance begins another, which may begin another.
        Box::pin(async move {
            let engine = Engine(self.0.upgrade().ok_or_else(|| Fault::runtime("the engine ends"))?);
            let depth = run.depth + 1;
            if depth > MAX_DEPTH {
                let words = format!("instances have begun each other {MAX_DEPTH} times in a row");
                return Err(Fault::configuration(words));
            }
            let parent = Parent { instance: run.journal.instance, step, depth };
            let begun = engine.begin_beside(parent, workflow, input, run.journal.principal.clone()).await;
            begun.map_err(|error| Fault::runtime(error.to_string()))
        })
    }
}

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
        let started = Started { cause: Some(Box::new(cause)), ..Started::of(&workflow, input) };
        self.begin_once(id, started, workflow, principal).await
    }

    /// Starts what the clock says. Its start is durable when this returns; `None` where it had been started before.
    ///
    /// # Errors
    /// Where the log takes nothing.
    pub(crate) async fn occur(&self, id: InstanceId, start: Start) -> Result<Option<Instance>, Error> {
        let Start { workflow, input, principal } = start;
        self.begin_once(id, Started::of(&workflow, input), workflow, principal).await
    }

    /// Begins an instance whose identity follows from what it is of. Its start is durable when this returns; `None` where
    /// it had begun before.
    ///
    /// # Errors
    /// Where the log takes nothing.
    async fn begin_once(
        &self,
        id: InstanceId,
        started: Started,
        workflow: Arc<Workflow>,
        principal: Arc<Principal>,
    ) -> Result<Option<Instance>, Error> {
        let workflow = self.0.shelf.share(workflow);
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

    /// Begins an instance beside the one whose step asks for it, once, however often the step is replayed.
    ///
    /// # Errors
    /// [`Error::TooMany`], or that of the log.
    async fn begin_beside(
        &self,
        parent: Parent,
        workflow: Arc<Workflow>,
        input: Json,
        principal: Arc<Principal>,
    ) -> Result<InstanceId, Error> {
        let running = self.0.roster.len();
        if running >= self.0.parts.bounds.instances {
            return Err(Error::TooMany(running));
        }
        let id = InstanceId(identity::of(&["beside", &parent.instance.to_string(), &parent.step]));
        let started = Started { parent: Some(parent), ..Started::of(&workflow, input) };
        self.begin_once(id, started, workflow, principal).await?;
        Ok(id)
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
