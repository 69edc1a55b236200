//! Models that help, as the configuration says: one that fills in arguments, and an encoder for the search.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::models::{Chat, Embedder, Error, Task};
use trunkline_discovery::embed::MiniLm;
use trunkline_gateway::{ArgumentModel, Embed, Encoder, Gateway, Prompt, Vectors, Writer};
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

/// The stronger encoder that is configured, if any: weights in a file, or an endpoint.
pub(super) fn encoder(config: &Config, base: &Path) -> anyhow::Result<Option<Encoder>> {
    if let Some(file) = &config.search.encoder {
        let file = base.join(file);
        let weights = std::fs::read(&file)
            .with_context(|| format!("search.encoder: {} can't be read", file.display()))?;
        return Ok(Some(Encoder::of_weights(MiniLm::read(&weights).map_err(Failure::from)?)));
    }
    let Some(endpoint) = &config.search.embeddings else { return Ok(None) };
    let model = endpoint.embedder(&HttpClient::new()?).map_err(Failure::from)?;
    let embed: Embed = Arc::new(move |texts, deadline| {
        let model = model.clone();
        Box::pin(async move { embed(&model, &texts, deadline).await })
    });
    Ok(Some(Encoder::new(embed, Duration::from_millis(endpoint.timeout_ms))))
}

async fn embed(model: &Embedder, texts: &[String], deadline: std::time::Instant) -> Vectors {
    let told = |error: Error| {
        let failure = Failure::from(error);
        format!("{} ({})", failure.detail, failure.code)
    };
    model.embed(texts, deadline).await.map_err(told)
}
