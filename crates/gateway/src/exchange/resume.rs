//! Ending a request with questions, and going on when the caller sends it again with the answers.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use trunkline_model::{CallContext, CallId, Failure, Json, Outcome, Resume, Task, ToolResult};

use super::parking::Place;
use super::{Caller, Exchange, Journal, Step};
use crate::pipeline::Request;
use crate::{Error, Gateway};

/// What a caller keeps for us between its requests.
#[derive(Serialize, Deserialize)]
struct Pending {
    /// The call that is parked, or was when an earlier process ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    call: Option<CallId>,
    /// The service's own state.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    state: Option<String>,
    /// When it is too late, in seconds since 1970.
    until: i64,
    /// The number of questions so far: no two states of a call are equal.
    round: usize,
}

/// How a request ends for a caller that answers questions by sending the request again.
pub(crate) enum Ending {
    /// With the service's answer.
    Complete(ToolResult),
    /// With a task that goes on by itself.
    Task(Box<Task>),
    /// With questions: an object of question id to `{method, params}`, and the state to send back.
    Questions {
        /// The questions.
        requests: Json,
        /// The sealed state, where there is any.
        state: Option<String>,
    },
}

/// A step of such a request.
pub(crate) enum Ended {
    /// It has not ended: a note to pass on.
    Note(Step),
    /// It has ended.
    Yes(Result<Ending, Failure>),
}

/// The next step of an exchange whose caller answers by sending the request again. An exchange that asks a question
/// is parked, so `exchange` is empty afterwards.
pub(crate) async fn advance(gateway: &Arc<Gateway>, exchange: &mut Option<Exchange>) -> Ended {
    let Some(current) = exchange.as_mut() else {
        return Ended::Yes(Err(Error::Cancelled.into()));
    };
    match current.next().await {
        Step::Question(..) => {
            let Some(current) = exchange.take() else { return Ended::Yes(Err(Error::Cancelled.into())) };
            Ended::Yes(gateway.park(current))
        }
        Step::Done(outcome) => {
            if current.outbox.journal().len() > 0 {
                gateway.parking.end(current.id);
            }
            Ended::Yes(outcome.and_then(|outcome| gateway.ending(current, outcome)))
        }
        note => Ended::Note(note),
    }
}

impl Gateway {
    /// Begins a call, or goes on with the one that `state` names.
    pub(crate) async fn begin_or_resume(
        self: &Arc<Self>,
        mut request: Request,
        context: CallContext,
        caller: Caller,
        responses: Option<Json>,
        state: Option<&str>,
    ) -> Result<Exchange, Failure> {
        let pending = match state {
            Some(state) => Some(self.unseal(state, &request, &context)?),
            None => None,
        };
        if let Some(Pending { call: Some(call), round, .. }) = pending {
            return self.resume_parked(call, round, responses, caller, request.door).await;
        }
        if responses.is_some() || pending.is_some() {
            request.resume = Some(Resume {
                responses: responses.unwrap_or_else(Json::empty_object),
                state: pending.and_then(|pending| pending.state),
            });
        }
        Ok(Exchange::begin(self, request, context, caller))
    }

    /// Goes on with a parked call. Answers count for the questions of the state's own round; where a later one has
    /// been asked meanwhile, the caller missed our answer, and it is asked again.
    async fn resume_parked(
        self: &Arc<Self>,
        call: CallId,
        round: usize,
        responses: Option<Json>,
        caller: Caller,
        door: &'static str,
    ) -> Result<Exchange, Failure> {
        let (place, parked) = Place::take(self, call)?;
        let mut exchange = match parked {
            Some(exchange) => exchange,
            None => self.make_again(call, caller, door).await?,
        };
        exchange.place = Some(place);
        let journal = exchange.outbox.journal();
        let responses = responses.filter(|_| journal.len() == round);
        let responses: IndexMap<String, Json> =
            responses.and_then(|responses| responses.to().ok()).unwrap_or_default();
        let open: Vec<u64> = journal.unanswered().iter().map(|entry| entry.number).collect();
        let mut missing = Vec::new();
        for number in open {
            match responses.get(&question_key(number)) {
                Some(answer) => {
                    let recorded = exchange.outbox.answer(number, Ok(answer.clone())).await;
                    recorded.map_err(|error| Error::Log(error.to_string()))?;
                }
                None => missing.push(number),
            }
        }
        exchange.outbox.ask_again(&missing);
        Ok(exchange)
    }

    /// Makes a call again that was parked when an earlier process ended.
    async fn make_again(
        self: &Arc<Self>,
        call: CallId,
        caller: Caller,
        door: &'static str,
    ) -> Result<Exchange, Failure> {
        let journal = Journal::read(self, call, door).await.map_err(|error| Error::Log(error.to_string()))?;
        let journal = journal.ok_or(Error::State("the call has ended"))?;
        Ok(Exchange::take_up(self, journal, caller, door))
    }

    /// A context for a call that begins now.
    pub(crate) fn context(&self, principal: Arc<trunkline_model::Principal>) -> CallContext {
        let time = Duration::from_millis(self.rules.load().config.call_timeout_ms);
        let deadline = tokio::time::Instant::now() + time;
        CallContext::unattended(principal, deadline.into_std())
    }

    /// Parks a call that has asked, and ends its request with the questions.
    fn park(self: &Arc<Self>, exchange: Exchange) -> Result<Ending, Failure> {
        // Only what is open is asked; the questions of the queue are the same ones.
        while exchange.outbox.take().is_some() {}
        let open = exchange.outbox.open_questions();
        let requests: IndexMap<String, serde_json::Value> = open
            .iter()
            .map(|(number, question)| {
                let asked =
                    serde_json::json!({"method": question.method, "params": question.params.to_value()});
                (question_key(*number), asked)
            })
            .collect();
        let round = exchange.outbox.journal().len();
        let pending = Pending { call: Some(exchange.id), state: None, until: self.question_end(), round };
        let state = self.seal(&pending, &exchange.request, &exchange.context)?;
        let requests = Json::from_serialize(&requests).unwrap_or_else(|_| Json::empty_object());
        let time = Duration::from_millis(self.rules.load().config.question_timeout_ms);
        self.parking.park(exchange, time)?;
        Ok(Ending::Questions { requests, state: Some(state) })
    }

    fn ending(&self, exchange: &Exchange, outcome: Outcome) -> Result<Ending, Failure> {
        match outcome {
            Outcome::Complete(result) => Ok(Ending::Complete(result)),
            Outcome::Task(task) => Ok(Ending::Task(task)),
            Outcome::InputRequired(input) => {
                let state = match input.state {
                    None => None,
                    state => {
                        let pending = Pending { call: None, state, until: self.question_end(), round: 0 };
                        Some(self.seal(&pending, &exchange.request, &exchange.context)?)
                    }
                };
                Ok(Ending::Questions { requests: input.requests, state })
            }
        }
    }

    fn question_end(&self) -> i64 {
        let time = self.rules.load().config.question_timeout_ms / 1000;
        (self.sources.now)().as_second().saturating_add_unsigned(time)
    }

    fn seal(&self, pending: &Pending, request: &Request, context: &CallContext) -> Result<String, Failure> {
        let text = serde_json::to_string(pending).ok();
        let sealed = text.and_then(|text| self.sealer.seal(&text, &binding(request, context)));
        Ok(sealed.ok_or(Error::State("it can't be sealed"))?)
    }

    fn unseal(&self, state: &str, request: &Request, context: &CallContext) -> Result<Pending, Failure> {
        let text = self.sealer.open(state, &binding(request, context));
        let pending: Option<Pending> = text.and_then(|text| serde_json::from_str(&text).ok());
        let pending = pending.ok_or(Error::State("it was not made here for this request"))?;
        if pending.until < (self.sources.now)().as_second() {
            return Err(Error::State("it is too old").into());
        }
        Ok(pending)
    }
}

/// What a state is bound to: it opens only for the same principal and the same kind of request.
fn binding(request: &Request, context: &CallContext) -> String {
    format!("{}\n{}\n{}", context.principal.id, request.operation.method(), request.name)
}

fn question_key(number: u64) -> String {
    format!("q{number}")
}
