//! A call as a door sees it: notes and questions on the way, then the outcome.
//!
//! A door drives an [`Exchange`] step by step. A question can be put to the caller in two ways, after the protocol
//! that the caller speaks: while the call waits (revisions up to 2025-11-25), or by ending the request, parking the
//! exchange, and going on with it when the caller sends the request again with its answers (2026-07-28, HTTP).
//! Questions and answers are in the event log before they are passed on, so a call that is parked when the process
//! ends is made again after it, with the answers that were given.

mod journal;
mod live;
mod outbox;
mod parking;
mod resume;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use trunkline_model::{BoxFuture, CallContext, CallId, Failure, Json, Outcome, Question};

use crate::Gateway;
use crate::pipeline::Request;

pub(crate) use journal::Journal;
pub(crate) use live::Between;
pub use outbox::{Caller, Outbox, WayBack};
pub(crate) use parking::Parking;
pub(crate) use resume::{Ended, Ending, advance};

/// What happens next in an exchange.
#[derive(Debug)]
pub enum Step {
    /// The params of a `notifications/progress`, without the caller's token.
    Progress(Json),
    /// The params of a `notifications/message`.
    Log(Json),
    /// A question to the caller. [`Outbox::answer`] takes the answer.
    Question(u64, Question),
    /// The call has ended.
    Done(Result<Outcome, Failure>),
}

/// A call under way.
pub struct Exchange {
    /// The call's identity.
    pub id: CallId,
    /// The request as it came: what a door needs to go on with it.
    pub request: Request,
    /// The way back to the caller.
    pub outbox: Arc<Outbox>,
    /// The call's context.
    pub context: CallContext,
    future: BoxFuture<'static, Result<Outcome, Failure>>,
    /// Where the call was parked before: nobody else goes on with it meanwhile.
    place: Option<parking::Place>,
}

impl Exchange {
    /// Begins a call. `context.client` is replaced by the exchange's own way back to `caller`.
    #[must_use]
    pub fn begin(gateway: &Arc<Gateway>, request: Request, mut context: CallContext, caller: Caller) -> Self {
        let outbox = Arc::new(Outbox::new(gateway, &request, &context, caller));
        context.client = outbox.clone();
        Self::with_outbox(gateway, request, context, outbox)
    }

    /// Makes a call again that was under way when an earlier process ended.
    pub(crate) fn take_up(
        gateway: &Arc<Gateway>,
        journal: Journal,
        caller: Caller,
        door: &'static str,
    ) -> Self {
        let origin = journal.origin();
        let request = origin.request(door);
        let mut context = gateway.context(journal.principal().clone());
        context.conversation = origin.conversation.clone();
        let outbox = Arc::new(Outbox::with_journal(gateway, caller, journal));
        context.client = outbox.clone();
        Self::with_outbox(gateway, request, context, outbox)
    }

    fn with_outbox(
        gateway: &Arc<Gateway>,
        request: Request,
        context: CallContext,
        outbox: Arc<Outbox>,
    ) -> Self {
        let (runner, asked, given) = (gateway.clone(), request.clone(), context.clone());
        let future: BoxFuture<'static, _> = if outbox.caller().answers_live {
            Box::pin(async move { live::call(&runner, asked, given).await })
        } else {
            Box::pin(async move { runner.call(asked, given).await })
        };
        Self { id: request.id, request, outbox, context, future, place: None }
    }

    /// What happens next. After [`Step::Done`] it must not be called again.
    pub async fn next(&mut self) -> Step {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// See [`next`](Self::next).
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.outbox.register(cx);
        if let Some(step) = self.outbox.take() {
            return Poll::Ready(step);
        }
        if self.outbox.is_cancelled() {
            self.future = Box::pin(std::future::pending());
            return Poll::Ready(Step::Done(Err(crate::Error::Cancelled.into())));
        }
        if let Poll::Ready(outcome) = self.future.as_mut().poll(cx) {
            // What the service said before its answer goes out before it.
            let Some(step) = self.outbox.take() else { return Poll::Ready(Step::Done(outcome)) };
            self.future = Box::pin(std::future::ready(outcome));
            return Poll::Ready(step);
        }
        match self.outbox.take() {
            Some(step) => Poll::Ready(step),
            None => Poll::Pending,
        }
    }
}
