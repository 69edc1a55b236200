//! What is configured of a model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_model::Secret;

/// A model behind an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The base URL: `https://api.openai.com/v1`, `http://127.0.0.1:8080/v1`, `https://api.anthropic.com/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The key, where the endpoint wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
}
