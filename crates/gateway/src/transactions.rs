//! Calls that are steps of an agent's transaction: those that name one, and those of a conversation that has one open.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use trunkline_model::{
    AskError, BoxFuture, CallContext, Client, ClientFeatures, Failure, Json, Operation, Outcome, Question,
    Quota,
};
use trunkline_orchestrator::transaction::{Make, OutsideCall};
use trunkline_orchestrator::{Error as FlowError, InstanceId, service};

use crate::flows::{FlowDoor, IDEMPOTENCY_KEY};
use crate::pipeline::Request;
use crate::{Error, Gateway};

impl Gateway {
    /// The transaction that a call belongs to.
    ///
    /// # Errors
    /// Where it names what is no transaction, or is a saga of its own.
    pub(crate) fn transaction_of(
        &self,
        request: &Request,
        context: &CallContext,
    ) -> Result<Option<InstanceId>, Failure> {
        if request.operation != Operation::CallTool || request.journaled {
            return Ok(None);
        }
        let id = match (&request.transaction, &context.conversation) {
            (Some(named), _) => {
                let unknown = || FlowError::NoInstance(named.chars().take(64).collect());
                Some(named.parse().map(InstanceId).map_err(|_| unknown())?)
            }
            (None, Some(conversation)) => {
                let door = self.flows.get();
                door.and_then(|door| door.engine.transaction_of(&context.principal, conversation))
            }
            (None, None) => None,
        };
        let Some(id) = id else { return Ok(None) };
        let snapshot = self.catalog.snapshot();
        match snapshot.tools.get(&request.name).map(|entry| entry.tool.spec()) {
            Some(spec) if spec.service.as_str() == service::SERVICE => {
                if service::steers(&spec.name) {
                    return Ok(None);
                }
                Err(FlowError::FlowInside(id).into())
            }
            _ => Ok(Some(id)),
        }
    }

    /// Makes a call as a step of a transaction: through the same phases as any other, and journaled.
    pub(crate) fn call_within(
        self: &Arc<Self>,
        id: InstanceId,
        request: Request,
        context: CallContext,
    ) -> BoxFuture<'static, Result<Outcome, Failure>> {
        let gateway = self.clone();
        Box::pin(async move {
            let Some(FlowDoor { engine, .. }) = gateway.flows.get() else {
                return Err(Error::Params("there are no transactions here".to_owned()).into());
            };
            let rules = gateway.rules.load_full();
            if gateway.admit(&rules, &request, &context).is_err() {
                // It is refused, and recorded as that, without being a step.
                return gateway.call(Request { journaled: true, ..request }, context).await;
            }
            let (runner, principal) = (gateway.clone(), context.principal.clone());
            let (tool, arguments) = (request.name.clone(), request.arguments.clone());
            let (idempotency_key, deadline) = (request.idempotency_key.clone(), context.deadline);
            let make: Make = Box::new(move |key| {
                let meta = Some(with_key(request.meta.as_ref(), &key));
                let context = CallContext { client: Arc::new(Waiting(context.client.clone())), ..context };
                let step = Request { idempotency_key: Some(key), meta, journaled: true, ..request };
                Box::pin(async move { runner.call(step, context).await })
            });
            let call = OutsideCall { tool, arguments, idempotency_key, undo: None, deadline, make };
            engine.within(id, &principal, call).await
        })
    }
}

/// The caller of a step: a step is over when its call is, so it does not follow tasks.
struct Waiting(Arc<dyn Client>);

impl Client for Waiting {
    fn features(&self) -> ClientFeatures {
        self.0.features()
    }

    fn wants_progress(&self) -> bool {
        self.0.wants_progress()
    }

    fn waited(&self) -> Duration {
        self.0.waited()
    }

    fn quotas(&self, quotas: &[Quota]) {
        self.0.quotas(quotas);
    }

    fn progress(&self, params: &Json) {
        self.0.progress(params);
    }

    fn log(&self, params: &Json) {
        self.0.log(params);
    }

    fn ask<'a>(&'a self, question: Question) -> BoxFuture<'a, Result<Json, AskError>> {
        self.0.ask(question)
    }
}

/// The caller's `_meta` with the key under which the tool may recognise the call.
fn with_key(meta: Option<&Json>, key: &str) -> Json {
    let mut meta = meta.map_or_else(|| Value::Object(serde_json::Map::new()), Json::to_value);
    if let Value::Object(members) = &mut meta {
        members.insert(IDEMPOTENCY_KEY.to_owned(), Value::from(key));
    }
    Json::from_value(&meta)
}
