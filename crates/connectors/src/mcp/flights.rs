//! The requests that are under way on one connection, and whose question a question from the server is.

use std::collections::HashMap;

use futures_util::stream::AbortHandle;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use trunkline_model::{CallContext, Json};

use super::error::Error;
use super::jsonrpc::Reply;

/// The most questions that one call may ask.
const MAX_QUESTIONS: usize = 256;

/// The requests under way, by number.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<u64, Flight>>);

struct Flight {
    /// Where the answer goes, on a connection that many requests share.
    reply: Option<oneshot::Sender<Result<Reply, Error>>>,
    /// The call behind it; none for our own requests.
    context: Option<CallContext>,
    questions: Vec<AbortHandle>,
}

/// Why a question on a shared connection has nobody to go to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Astray {
    /// No call is under way.
    NoCall,
    /// Calls of several callers are under way.
    Ambiguous,
    /// The call has asked too many questions.
    TooMany,
}

impl Flights {
    /// Adds a request.
    pub(super) fn add(
        &self,
        id: u64,
        reply: Option<oneshot::Sender<Result<Reply, Error>>>,
        context: Option<CallContext>,
    ) {
        self.0.lock().insert(id, Flight { reply, context, questions: Vec::new() });
    }

    /// Removes a request, and with it its open questions.
    pub(super) fn remove(&self, id: u64) {
        let flight = self.0.lock().remove(&id);
        for question in flight.into_iter().flat_map(|flight| flight.questions) {
            question.abort();
        }
    }

    /// Hands an answer to whoever waits for it.
    pub(super) fn answer(&self, id: u64, reply: Result<Reply, Error>) {
        let sender = self.0.lock().get_mut(&id).and_then(|flight| flight.reply.take());
        if let Some(sender) = sender {
            let _ = sender.send(reply);
        }
    }

    /// The one whose calls alone are under way: what comes without saying for whom is for them.
    pub(super) fn sole_caller(&self) -> Option<CallContext> {
        let flights = self.0.lock();
        let mut calls = flights.values().filter_map(|flight| flight.context.as_ref());
        let first = calls.next()?;
        let same =
            |call: &CallContext| call.principal == first.principal && call.conversation == first.conversation;
        calls.all(same).then(|| first.clone())
    }

    /// Whether a call is under way.
    pub(super) fn any_call(&self) -> bool {
        self.0.lock().values().any(|flight| flight.context.is_some())
    }

    /// Fails everything under way.
    pub(super) fn fail_all(&self, error: &Error) {
        let flights = std::mem::take(&mut *self.0.lock());
        for flight in flights.into_values() {
            flight.questions.iter().for_each(AbortHandle::abort);
            if let Some(sender) = flight.reply {
                let _ = sender.send(Err(error.clone()));
            }
        }
    }

    /// The call that a progress notification belongs to: our token is the request's number.
    pub(super) fn of_progress(&self, params: &Json) -> Option<CallContext> {
        let mut token = None;
        super::jsonrpc::for_each_member(params, |key, value| {
            if key == "progressToken" {
                token = value.get().trim_matches('"').parse::<u64>().ok();
            }
        });
        self.0.lock().get(&token?)?.context.clone()
    }

    /// The call that a question belongs to which came without saying so: the only one under way, or the oldest where
    /// all are of the same principal and conversation.
    pub(super) fn of_question(&self) -> Result<(u64, CallContext, AbortRegistration), Astray> {
        let mut flights = self.0.lock();
        let mut calls = flights.iter_mut().filter_map(|(id, f)| Some((*id, f.context.clone()?, f)));
        let Some(mut oldest) = calls.next() else { return Err(Astray::NoCall) };
        for call in calls {
            let (a, b) = (&oldest.1, &call.1);
            if a.principal != b.principal || a.conversation != b.conversation {
                return Err(Astray::Ambiguous);
            }
            if call.0 < oldest.0 {
                oldest = call;
            }
        }
        let (id, context, flight) = oldest;
        if flight.questions.len() >= MAX_QUESTIONS {
            return Err(Astray::TooMany);
        }
        let (handle, registration) = AbortHandle::new_pair();
        flight.questions.push(handle);
        Ok((id, context, registration))
    }
}

pub(super) use futures_util::stream::AbortRegistration;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use trunkline_model::Principal;

    use super::*;

    fn context(who: &str, conversation: Option<&str>) -> CallContext {
        let mut context = CallContext::unattended(Arc::new(Principal::api_key(who)), Instant::now());
        context.conversation = conversation.map(Arc::from);
        context
    }

    #[test]
    fn a_question_goes_to_the_only_caller() {
        let flights = Flights::default();
        assert_eq!(flights.of_question().err(), Some(Astray::NoCall));
        flights.add(1, None, None);
        assert_eq!(flights.of_question().err(), Some(Astray::NoCall));
        flights.add(3, None, Some(context("a", Some("x"))));
        flights.add(2, None, Some(context("a", Some("x"))));
        assert_eq!(flights.of_question().unwrap().0, 2);
        assert!(flights.sole_caller().is_some());
        flights.add(4, None, Some(context("a", Some("y"))));
        assert!(flights.sole_caller().is_none());
        assert_eq!(flights.of_question().err(), Some(Astray::Ambiguous));
        flights.remove(4);
        for _ in 1..MAX_QUESTIONS {
            flights.of_question().unwrap();
        }
        assert_eq!(flights.of_question().err(), Some(Astray::TooMany));
    }

    #[test]
    fn an_answer_reaches_who_waits() {
        let flights = Flights::default();
        let (sender, mut receiver) = oneshot::channel();
        flights.add(1, Some(sender), None);
        flights.answer(9, Ok(Reply::Result(Json::null())));
        flights.answer(1, Ok(Reply::Result(Json::null())));
        assert!(matches!(receiver.try_recv(), Ok(Ok(Reply::Result(_)))));
        flights.fail_all(&Error::SessionExpired);
        assert_eq!(flights.of_question().err(), Some(Astray::NoCall));
    }
}
