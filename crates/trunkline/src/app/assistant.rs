//! The model that fills in arguments, put in force as the configuration says.

use std::sync::Arc;
use std::time::Duration;

use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::models::{Chat, Task};
use trunkline_gateway::{ArgumentModel, Gateway, Prompt, Writer};
use trunkline_model::{BoxFuture, Failure};

use crate::config::{Config, Model};

/// Puts it in force, or none.
pub(super) fn apply(gateway: &Arc<Gateway>, config: &Config) {
    let model = config.model.as_ref().map(build).transpose().unwrap_or_else(|error| {
        tracing::error!(%error, "arguments are read without a model");
        None
    });
    gateway.fill_by(model);
}

fn build(config: &Model) -> anyhow::Result<ArgumentModel> {
    let Some(chat) = config.chat(&HttpClient::new()?)? else {
        return Ok(ArgumentModel::of_client(config.max_tokens));
    };
    let writer: Writer = Arc::new(move |prompt: Prompt| write(chat.clone(), prompt));
    Ok(ArgumentModel::new(writer, Duration::from_millis(config.timeout_ms), config.max_tokens))
}

fn write(chat: Chat, prompt: Prompt) -> BoxFuture<'static, Result<String, Failure>> {
    Box::pin(async move {
        let Prompt { system, user, schema, max_tokens, deadline } = prompt;
        let task = Task { system: &system, user: &user, schema: &schema, max_tokens, deadline };
        chat.write(task).await.map_err(Failure::from)
    })
}
