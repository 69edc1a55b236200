//! Callers that answer while their request waits, before services that end the request with their questions.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use trunkline_model::{
    AskError, CallContext, EffectState, Failure, InputRequired, Json, Outcome, Question, Resume,
};

use crate::Gateway;
use crate::pipeline::Request;

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
            Outcome::InputRequired(input) => request.resume = Some(answers(&context, input).await?),
            complete @ Outcome::Complete(_) => return Ok(complete),
        }
    }
    Err(Failure::service(
        "TL1024",
        "Too many rounds of questions",
        format!("the service asked for input {MAX_ROUNDS} times without an answer to the call"),
        EffectState::Unknown,
        "Tell the operator of the service.",
    ))
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
