//! Models that help: one that fills in arguments, one that makes vectors for the search.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::models::{Chat, Dialect, Embedder, Endpoint, Error};
use trunkline_model::Secret;

/// A model that fills in the arguments of what is asked in plain words. Exactly one of `openai`, `anthropic` and `sampling` is given.
/// It is sent what is asked, what is known beside it from the conversation, and the schema of the tool that is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// An endpoint with the chat API of OpenAI, which most servers of models speak (llama.cpp, vLLM, Ollama).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openai: Option<Endpoint>,
    /// An endpoint with the messages API of Anthropic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anthropic: Option<Endpoint>,
    /// The model of the caller's own client, where that lets itself be asked (MCP sampling).
    pub sampling: bool,
    /// How long an endpoint has for an answer, in milliseconds. Without one in time the arguments are read without it.
    pub timeout_ms: u64,
    /// The most tokens of an answer.
    pub max_tokens: u32,
}

impl Default for Model {
    fn default() -> Self {
        Self { openai: None, anthropic: None, sampling: false, timeout_ms: 10_000, max_tokens: 1_024 }
    }
}

impl Model {
    /// The model behind an endpoint that is configured; none where it is the client's own.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn chat(&self, http: &HttpClient) -> Result<Option<Chat>, Error> {
        match (&self.openai, &self.anthropic, self.sampling) {
            (Some(endpoint), None, false) => Chat::new(endpoint, Dialect::OpenAi, http).map(Some),
            (None, Some(endpoint), false) => Chat::new(endpoint, Dialect::Anthropic, http).map(Some),
            (None, None, true) => Ok(None),
            _ => {
                Err(Error::Config("exactly one of openai, anthropic and sampling is to be given".to_owned()))
            }
        }
    }
}

/// An endpoint with the embeddings API of OpenAI. It is sent what tools say of themselves, the examples of intents, and what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embeddings {
    /// The base URL: `https://api.openai.com/v1`, `http://127.0.0.1:8080/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The key, where the endpoint wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// How long a request waits for its vectors, in milliseconds. Without them in time it is searched without.
    #[serde(default = "half_a_second")]
    pub timeout_ms: u64,
}

fn half_a_second() -> u64 {
    500
}

impl Embeddings {
    /// The model that is configured.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn embedder(&self, http: &HttpClient) -> Result<Embedder, Error> {
        let Self { url, model, key, .. } = self.clone();
        Embedder::new(&Endpoint { url, model, key }, http)
    }
}
