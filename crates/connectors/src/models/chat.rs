//! A model that writes: a prompt and a schema there, text back.

use std::time::Instant;

use http::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, Key};
use super::config::Endpoint;
use super::error::Error;
use crate::http_client::HttpClient;

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 256 << 10;

/// The version of Anthropic's API that is spoken.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `POST /chat/completions`, as OpenAI has it.
    OpenAi,
    /// `POST /messages`, as Anthropic has it.
    Anthropic,
}

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// What the model is told to do.
    pub system: &'a str,
    /// With what.
    pub user: &'a str,
    /// What the answer should fit.
    pub schema: &'a Value,
    /// The most tokens of the answer.
    pub max_tokens: u32,
    /// When nobody waits for it any more.
    pub deadline: Instant,
}

/// A model that writes.
#[derive(Clone, Debug)]
pub struct Chat {
    client: Client,
    dialect: Dialect,
    model: String,
}

impl Chat {
    /// A model behind an endpoint. Asks nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] where what is configured can't be used.
    pub fn new(endpoint: &Endpoint, dialect: Dialect, http: &HttpClient) -> Result<Self, Error> {
        let client = match dialect {
            Dialect::OpenAi => Client::new(endpoint, "chat/completions", Key::Bearer, http)?,
            Dialect::Anthropic => {
                let key = Key::In(HeaderName::from_static("x-api-key"));
                let version = HeaderValue::from_static(ANTHROPIC_VERSION);
                let client = Client::new(endpoint, "messages", key, http)?;
                client.with(HeaderName::from_static("anthropic-version"), version)
            }
        };
        Ok(Self { client, dialect, model: endpoint.model.clone() })
    }

    /// Has a JSON object written that should fit a schema. Nothing says that it does, or that it is JSON.
    ///
    /// # Errors
    /// There is no answer, or it is not one of that API.
    pub async fn write(&self, task: Task<'_>) -> Result<String, Error> {
        match self.dialect {
            Dialect::OpenAi => self.complete(task).await,
            Dialect::Anthropic => self.message(task).await,
        }
    }

    async fn complete(&self, task: Task<'_>) -> Result<String, Error> {
        let Task { system, user, schema, max_tokens, deadline } = task;
        let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": user}]);
        let plain = json!({"model": self.model, "messages": messages});
        let mut whole = plain.clone();
        whole["temperature"] = json!(0);
        whole["max_tokens"] = json!(max_tokens);
        whole["response_format"] = json!({
            "type": "json_schema",
            "json_schema": {"name": "arguments", "strict": false, "schema": schema},
        });
        let answer = match self.client.ask(&whole, deadline, MAX_ANSWER).await {
            // Some know no schema, no temperature or another name for the number of tokens.
            Err(Error::Refused { status: 400 | 422, .. }) => {
                self.client.ask(&plain, deadline, MAX_ANSWER).await?
            }
            other => other?,
        };
        #[derive(Deserialize)]
        struct Answer {
            choices: Vec<Choice>,
        }
        #[derive(Deserialize)]
        struct Choice {
            message: Message,
        }
        #[derive(Deserialize)]
        struct Message {
            content: Option<String>,
        }
        let answer: Answer =
            serde_json::from_slice(&answer).map_err(|error| self.client.unusable(error.to_string()))?;
        let first = answer.choices.into_iter().next().and_then(|choice| choice.message.content);
        first.ok_or_else(|| self.client.unusable("it has written nothing"))
    }

    async fn message(&self, task: Task<'_>) -> Result<String, Error> {
        let Task { system, user, schema, max_tokens, deadline } = task;
        let about = "Takes the arguments that the request tells.";
        let body = json!({
            "model": self.model, "max_tokens": max_tokens, "system": system,
            "messages": [{"role": "user", "content": user}],
            "tools": [{"name": "arguments", "description": about, "input_schema": schema}],
            "tool_choice": {"type": "tool", "name": "arguments"},
        });
        let answer = self.client.ask(&body, deadline, MAX_ANSWER).await?;
        #[derive(Deserialize)]
        struct Answer {
            content: Vec<Block>,
        }
        #[derive(Deserialize)]
        struct Block {
            input: Option<Value>,
            text: Option<String>,
        }
        let answer: Answer =
            serde_json::from_slice(&answer).map_err(|error| self.client.unusable(error.to_string()))?;
        let mut text = None;
        for block in answer.content {
            if let Some(input) = block.input {
                return Ok(input.to_string());
            }
            text = text.or(block.text);
        }
        text.ok_or_else(|| self.client.unusable("it has written nothing"))
    }
}
