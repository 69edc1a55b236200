//! Webhooks that come in. Their signature is their proof, so they need no API key.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use trunkline_model::{CallContext, Failure, Principal};
use trunkline_orchestrator::Error as FlowError;

use super::problem::Problem;
use super::publish;
use crate::server::read_body;
use crate::{Error, Gateway};

/// Where they come in.
pub(crate) const PREFIX: &str = "/v1/webhooks/";

/// The largest body: it is held before anything is known of its sender.
const MAX_BODY: usize = 1 << 20;

/// How often refusals of a webhook are recorded, with how many there were since.
const RECORDED_EVERY: Duration = Duration::from_secs(1);

/// The most bodies that are read at the same time.
const MAX_AT_ONCE: usize = 128;

/// The refusals of a webhook.
#[derive(Default)]
struct Refusals {
    /// How many are not recorded yet.
    count: u64,
    /// When the last were.
    recorded: Option<Instant>,
}

/// What the doors keep of webhooks.
pub(crate) struct Webhooks {
    refusals: Mutex<HashMap<Arc<str>, Refusals>>,
    reading: Semaphore,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self { refusals: Mutex::default(), reading: Semaphore::new(MAX_AT_ONCE) }
    }
}

impl Webhooks {
    /// Counts one. Gives how many there were since the last record, where it is time for another.
    fn refused(&self, name: &Arc<str>) -> Option<u64> {
        let mut all = self.refusals.lock();
        let Refusals { count, recorded } = all.entry(name.clone()).or_default();
        *count += 1;
        if recorded.is_some_and(|at| at.elapsed() < RECORDED_EVERY) {
            return None;
        }
        *recorded = Some(Instant::now());
        Some(std::mem::take(count))
    }
}

/// Takes an event of another system in: signed by Standard Webhooks, GitHub or Stripe, as `flows.webhooks` says. It is
/// published as a CloudEvent. The same one sent again is not published again.
#[utoipa::path(post, path = "/v1/webhooks/{name}", request_body = Value, params(("name" = String, Path)),
    responses((status = 202, description = "It is durable", body = Value),
        (status = 401, description = "The signature or the time does not hold, or there is no such webhook")))]
pub(crate) async fn receive(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(http::StatusCode, Json<Value>), Problem> {
    let Some(door) = gateway.flows.get() else { return Err(Error::NotFound(PREFIX.to_owned()).into()) };
    let rules = door.choreography.rules();
    let Some(webhook) = rules.webhooks.get(&name) else { return Err(FlowError::Unproven.into()) };
    let limit = gateway.rules.load().config.max_request_bytes.min(MAX_BODY);
    let reading = gateway.webhooks.reading.acquire().await;
    let body = read_body(body, limit).await?;
    drop(reading);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let event = match webhook.event(header, &body, (gateway.sources.now)()) {
        Ok(event) => event,
        Err(error) => {
            let failure = Failure::from(error);
            refused(&gateway, &webhook.name, &webhook.principal, &failure).await;
            return Err(failure.into());
        }
    };
    let arguments = publish::structured(event)?;
    let answer = publish::call(&gateway, &webhook.principal, arguments).await?;
    Ok((http::StatusCode::ACCEPTED, Json(json!({"id": answer["id"], "duplicate": answer["duplicate"]}))))
}

/// Records refusals, without anything of what was sent.
async fn refused(gateway: &Gateway, name: &Arc<str>, principal: &Arc<Principal>, failure: &Failure) {
    let Some(count) = gateway.webhooks.refused(name) else { return };
    tracing::warn!(webhook = %name, count, "requests to a webhook did not prove where they come from");
    let target = Arc::from(format!("webhooks/{name}"));
    let context = CallContext::unattended(principal.clone(), Instant::now());
    let id = gateway.new_call().0;
    if let Err(error) = gateway.recorder.refused(id, "webhook", target, &context, failure).await {
        tracing::error!(%error, "the refusal of a webhook is not in the record");
    }
}
