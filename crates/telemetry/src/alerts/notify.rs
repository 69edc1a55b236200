//! Rules are evaluated every so often, and what changes is told: to Alertmanager, webhooks, and the record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Alert, Rules, State};
use crate::Telemetry;
use crate::clock::timestamp;
use crate::otlp::export::{Outgoing, Transport};

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often alerts that fire are told to Alertmanager again: it forgets what it is not told of.
const AGAIN: Duration = Duration::from_secs(60);

/// Until when Alertmanager takes an alert to fire that it is not told of again.
const HOLDS: SignedDuration = SignedDuration::from_secs(240);

/// The first evaluation is not long after the start.
const FIRST: Duration = Duration::from_secs(1);

/// The fewest milliseconds between two evaluations.
const LEAST_INTERVAL: u64 = 100;

/// Told of an alert that fires now and did not, or does no more.
pub type Tell = Arc<dyn Fn(&Alert) + Send + Sync>;

/// Evaluates the rules until `shutdown`.
pub async fn run(
    telemetry: Telemetry,
    mut rules: Rules,
    transport: Transport,
    tell: Tell,
    shutdown: CancellationToken,
) {
    let config = telemetry.config().alerts.clone();
    let interval = Duration::from_millis(config.interval_ms.max(LEAST_INTERVAL));
    let mut told: Option<Instant> = None;
    let mut wait = interval.min(FIRST);
    while shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        wait = interval;
        let seeing = telemetry.clone();
        // What is counted of thousands of tools takes some milliseconds.
        let work = tokio::task::spawn_blocking(move || {
            let now = timestamp(seeing.clock().now());
            let changed = rules.evaluate(&seeing.families(), now);
            let board = rules.board(now);
            (rules, changed, board)
        });
        let Ok((back, changed, board)) = work.await else {
            tracing::error!("the evaluation of alerts has panicked; there are no alerts any more");
            return;
        };
        rules = back;
        let firing: Vec<Alert> =
            board.alerts.iter().filter(|alert| alert.state == State::Firing).cloned().collect();
        *telemetry.board().lock() = board;
        changed.iter().for_each(|alert| tell(alert));
        let due = !firing.is_empty() && told.is_none_or(|told| told.elapsed() >= AGAIN);
        if changed.is_empty() && !due {
            continue;
        }
        told = Some(Instant::now());
        let now = timestamp(telemetry.clock().now());
        let resolved = changed.iter().filter(|alert| alert.state == State::Resolved).cloned();
        let all: Vec<Alert> = firing.into_iter().chain(resolved).collect();
        for manager in &config.alertmanagers {
            let url = format!("{}/api/v2/alerts", manager.trim_end_matches('/'));
            send(
                &transport,
                url,
                &Value::Array(all.iter().map(|alert| of_alertmanager(alert, now)).collect()),
            );
        }
        if !changed.is_empty() {
            for webhook in &config.webhooks {
                send(&transport, webhook.expose().to_owned(), &of_webhook(&changed));
            }
        }
    }
}

/// Sends aside: a receiver that does not answer keeps no rule from being evaluated. What is not taken is told again.
fn send(transport: &Transport, url: String, body: &Value) {
    let outgoing = Outgoing {
        url,
        headers: Vec::new(),
        media_type: "application/json",
        body: Bytes::from(body.to_string()),
        timeout: TIMEOUT,
    };
    let sending = transport(outgoing);
    tokio::spawn(async move {
        match sending.await {
            Ok(came) if (200..300).contains(&came.status) => {}
            Ok(came) => tracing::warn!(status = came.status, "a receiver of alerts has refused them"),
            // The address may hold a secret, so it is not repeated.
            Err(error) => tracing::warn!(%error, "a receiver of alerts can't be told"),
        }
    });
}

fn of_alertmanager(alert: &Alert, now: Timestamp) -> Value {
    let holds = now.saturating_add(HOLDS).unwrap_or(Timestamp::MAX);
    let ends = alert.resolved_at.unwrap_or(holds);
    json!({
        "labels": alert.labels, "annotations": alert.annotations, "startsAt": alert.fired_at, "endsAt": ends,
    })
}

/// What Alertmanager sends to a webhook, version 4.
fn of_webhook(alerts: &[Alert]) -> Value {
    let word = |alert: &Alert| if alert.state == State::Resolved { "resolved" } else { "firing" };
    let one = |alert: &Alert| {
        json!({
            "status": word(alert), "labels": alert.labels, "annotations": alert.annotations,
            "startsAt": alert.fired_at, "endsAt": alert.resolved_at, "generatorURL": "", "fingerprint": fingerprint(alert),
        })
    };
    let firing = alerts.iter().any(|alert| alert.state == State::Firing);
    json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "receiver": "trunkline",
        "status": if firing { "firing" } else { "resolved" },
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "",
        "alerts": alerts.iter().map(one).collect::<Vec<_>>(),
    })
}

/// The same for the same labels.
fn fingerprint(alert: &Alert) -> String {
    let parts: Vec<&[u8]> =
        alert.labels.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect();
    trunkline_model::SpanId::derived(&parts).to_string()
}
