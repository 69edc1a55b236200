//! Callers that answer while their request waits, before services that end the request with their questions.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use trunkline_model::{
    AskError, CallContext, EffectState, Failure, InputRequired, Json, Outcome, Question, Resume,
};

use crate::pipeline::Request;
use crate::{Error, Gateway};

/// The most rounds of questions that one call may take.
const MAX_ROUNDS: usize = 32;

/// Makes the call as often as the service asks for input, putting its questions to the caller in between.
pub(super) async fn call(
    gateway: &Arc<Gateway>,
    mut request: Request,
    context: CallContext,
) -> Result<Outcome, Failure> {
    for _ in 0..MAX_ROUNDS {
        match gateway.call(request.clone(), context.clone()).await? {
            Outcome::InputRequired(input) => {
                let between = Between { gateway, request: &request, context: &context };
                let answered = answers(&context, input).await;
                let resume = between.ended(answered).await?;
                request.resume = Some(resume);
            }
            other @ (Outcome::Complete(_) | Outcome::Task(_)) => return Ok(other),
        }
    }
    let failure = Failure::service(
        "TL1024",
        "Too many rounds of questions",
        format!("the service asked for input {MAX_ROUNDS} times without an answer to the call"),
        EffectState::Unknown,
        "Tell the operator of the service.",
    );
    Between { gateway, request: &request, context: &context }.ended(Err(failure)).await
}

/// A call between two rounds: the service has ended the first, and the next has not begun; or before it has begun, while its user
/// is asked for what it lacks. Where the call ends here,
/// that is recorded.
pub(crate) struct Between<'a> {
    pub(crate) gateway: &'a Arc<Gateway>,
    pub(crate) request: &'a Request,
    pub(crate) context: &'a CallContext,
}

impl Between<'_> {
    pub(crate) async fn ended<T>(self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        let this = std::mem::ManuallyDrop::new(self);
        if let Err(failure) = &outcome {
            this.gateway.recorder.gave_up(this.gateway, this.request, this.context, failure).await?;
        }
        outcome
    }
}

impl Drop for Between<'_> {
    fn drop(&mut self) {
        if self.gateway.closing.is_cancelled() {
            return;
        }
        let (gateway, request, context) = (self.gateway.clone(), self.request.clone(), self.context.clone());
        self.gateway.spawn(async move {
            let failure = Error::Cancelled.into();
            if let Err(error) = gateway.recorder.gave_up(&gateway, &request, &context, &failure).await {
                tracing::error!(call = %request.id, %error, "a cancelled call is not in the record");
            }
        });
    }
}

/// Puts the questions to the caller, one after the other.
async fn answers(context: &CallContext, input: InputRequired) -> Result<Resume, Failure> {
    #[derive(Deserialize)]
    struct Asked {
        method: String,
        params: Option<Json>,
    }
    let asked: IndexMap<String, Asked> = input.requests.to().map_err(|error| unusable(&error.to_string()))?;
    let mut responses: IndexMap<String, Json> = IndexMap::new();
    for (key, Asked { method, params }) in asked {
        let elicits = method == "elicitation/create";
        let question = Question { method, params: params.unwrap_or_else(Json::empty_object) };
        match context.client.ask(question).await {
            Ok(answer) => responses.insert(key, answer),
            Err(AskError::Refused(_)) if elicits => {
                responses.insert(key, Json::from(serde_json::json!({"action": "cancel"})))
            }
            Err(error) => return Err(unanswered(&error)),
        };
    }
    let responses = Json::from_serialize(&responses).map_err(|error| unusable(&error.to_string()))?;
    Ok(Resume { responses, state: input.state })
}

fn unanswered(error: &AskError) -> Failure {
    Failure::caller(
        "TL1023",
        "Question not answered",
        format!("the service asked a question and {error}"),
        "Use a client that supports what the service asks for.",
    )
}

fn unusable(why: &str) -> Failure {
    Failure::service(
        "TL1025",
        "Unusable questions",
        format!("the service's inputRequests can't be read: {why}"),
        EffectState::Unknown,
        "Tell the operator of the service.",
    )
}
