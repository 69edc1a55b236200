//! One look at a gateway: what it answered at one time.

use std::time::Instant;

use http_body_util::{BodyExt as _, Limited};
use hyper::Method;
use serde_json::Value;

use super::exposition::{self, Sample};
use crate::cli::client::Client;
use crate::cli::stop::Stop;

/// The largest text of metrics, in bytes.
const MAX_METRICS: usize = 64 << 20;

/// What is read of `/metrics`.
const NAMES: [&str; 8] = [
    "trunkline_calls_total",
    "trunkline_call_duration_seconds_bucket",
    "trunkline_calls_in_flight",
    "trunkline_service_calls_running",
    "trunkline_service_calls_waiting",
    "trunkline_service_calls_limit",
    "trunkline_breaker_state",
    "trunkline_flows_unfinished",
];

/// What a gateway answered.
pub(super) struct Look {
    /// When.
    pub(super) at: Instant,
    /// Of `/metrics`.
    pub(super) samples: Vec<Sample>,
    /// Of `/v1/services`.
    pub(super) services: Vec<Value>,
    /// Of `/v1/alerts`.
    pub(super) alerts: Vec<Value>,
    /// Flows that have not ended, those that are stuck first.
    pub(super) flows: Vec<Value>,
}

impl Look {
    /// Asks the gateway.
    ///
    /// # Errors
    /// Where it does not answer, or refuses.
    pub(super) async fn take(client: &Client) -> Result<Self, Stop> {
        let metrics = client.send(Method::GET, &["metrics"], &[], None, "text/plain").await?;
        let text = Limited::new(metrics.into_body(), MAX_METRICS).collect().await;
        let text = text.map_err(|error| client.answer(error.to_string()))?.to_bytes();
        let list = async |path: &[&str], query: &[(&str, &str)], member: &str| {
            let mut answer: Value = client.get(path, query).await?;
            Ok::<_, Stop>(match answer[member].take() {
                Value::Array(list) => list,
                _ => Vec::new(),
            })
        };
        let instances = ["v1", "instances"];
        let mut flows = list(&instances, &[("status", "stuck"), ("limit", "50")], "instances").await?;
        let newest = list(&instances, &[("limit", "200")], "instances").await?;
        flows.extend(
            newest.into_iter().filter(|flow| flow["ended_ms"].is_null() && flow["status"] != "stuck"),
        );
        Ok(Self {
            at: Instant::now(),
            samples: exposition::read(&String::from_utf8_lossy(&text), &NAMES),
            services: list(&["v1", "services"], &[], "services").await?,
            alerts: list(&["v1", "alerts"], &[], "alerts").await?,
            flows,
        })
    }
}
