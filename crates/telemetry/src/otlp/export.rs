//! Our spans go out. What the receiver does not take in time is dropped and counted; no call ever waits for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use trunkline_model::{BoxFuture, TraceId};

use super::encode;
use super::settings::Settings;
use crate::span::Span;
use crate::{Dropped, Telemetry};

/// Pauses before a request is sent again.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// The longest that a receiver keeps us waiting.
const MAX_WISH: Duration = Duration::from_secs(30);

/// A request as it goes out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The address.
    pub url: String,
    /// Its headers, beside the media type.
    pub headers: Vec<(String, String)>,
    /// The media type of the body.
    pub media_type: &'static str,
    /// The body.
    pub body: Bytes,
    /// How long it may take.
    pub timeout: Duration,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// The status.
    pub status: u16,
    /// How long to wait before the next request.
    pub wish: Option<Duration>,
}

/// Sends a request: the wiring's HTTP client.
pub type Transport = Arc<dyn Fn(Outgoing) -> BoxFuture<'static, Result<Came, String>> + Send + Sync>;

/// Sends spans as they come, until `shutdown`; then what there is, once.
pub async fn run(
    telemetry: Telemetry,
    settings: Settings,
    transport: Transport,
    mut spans: mpsc::Receiver<Vec<Span>>,
    shutdown: CancellationToken,
) {
    let mut batch: Vec<Span> = Vec::new();
    let mut failing = false;
    loop {
        let more = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            more = fill(&mut batch, &mut spans, &settings) => more,
        };
        if !batch.is_empty() {
            let sent = tokio::select! {
                sent = send(&settings, &transport, &batch, &PAUSES) => sent,
                () = shutdown.cancelled() => break,
            };
            settle(&telemetry, sent, &mut batch, &mut failing);
        }
        if !more {
            return;
        }
    }
    while let Ok(more) = spans.try_recv() {
        batch.extend(more);
    }
    for part in batch.chunks(settings.batch) {
        let last = tokio::time::timeout(Duration::from_secs(2), send(&settings, &transport, part, &[])).await;
        settle(
            &telemetry,
            last.unwrap_or_else(|_| Err("no answer".to_owned())),
            &mut part.to_vec(),
            &mut failing,
        );
        if failing {
            break;
        }
    }
}

/// Waits for spans until there are enough for a request, or the first has waited long enough. False where no more come.
async fn fill(batch: &mut Vec<Span>, spans: &mut mpsc::Receiver<Vec<Span>>, settings: &Settings) -> bool {
    let Some(first) = spans.recv().await else { return false };
    batch.extend(first);
    let until = tokio::time::Instant::now() + settings.delay;
    while batch.len() < settings.batch {
        match tokio::time::timeout_at(until, spans.recv()).await {
            Ok(Some(more)) => batch.extend(more),
            Ok(None) => return false,
            Err(_) => break,
        }
    }
    true
}

fn settle(telemetry: &Telemetry, sent: Result<(), String>, batch: &mut Vec<Span>, failing: &mut bool) {
    let count = batch.len() as u64;
    batch.clear();
    match sent {
        Ok(()) => {
            if std::mem::take(failing) {
                tracing::info!("the receiver of spans takes them again");
            }
            telemetry.sent(count);
        }
        Err(error) => {
            telemetry.drop_of(Dropped::Export, count);
            if !std::mem::replace(failing, true) {
                tracing::warn!(%error, "the receiver of spans does not take them; they are dropped");
            }
        }
    }
}

async fn send(
    settings: &Settings,
    transport: &Transport,
    spans: &[Span],
    pauses: &[Duration],
) -> Result<(), String> {
    let body = encode(spans, &settings.resource);
    let mut pauses = pauses.iter();
    loop {
        let outgoing = Outgoing {
            url: settings.url.clone(),
            headers: settings.headers.clone(),
            media_type: "application/x-protobuf",
            body: body.clone(),
            timeout: settings.timeout,
        };
        let (error, wish) = match transport(outgoing).await {
            Ok(came) if (200..300).contains(&came.status) => return Ok(()),
            Ok(Came { status, wish }) if matches!(status, 429 | 502 | 503 | 504) => {
                (format!("it answered {status}"), wish)
            }
            Ok(came) => return Err(format!("it answered {}", came.status)),
            Err(error) => (error, None),
        };
        let Some(pause) = pauses.next() else { return Err(error) };
        tokio::time::sleep((*pause).max(wish.unwrap_or_default().min(MAX_WISH))).await;
    }
}

impl Settings {
    /// Whether a trace is sent. `sampled_by_parent` is what its caller has decided.
    #[must_use]
    pub fn sends(&self, trace: TraceId, sampled_by_parent: Option<bool>) -> bool {
        if let (true, Some(sampled)) = (self.follows_parent, sampled_by_parent) {
            return sampled;
        }
        // The same in every process: by the trace's lower half, as OpenTelemetry's own sampler decides.
        let mut low = [0; 8];
        low.copy_from_slice(&trace.bytes()[8..]);
        let place = crate::metrics::histogram::as_float(u64::from_be_bytes(low) >> 1);
        self.share >= 1.0 || place < self.share * crate::metrics::histogram::as_float(1 << 63)
    }
}
