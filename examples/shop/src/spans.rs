//! What a service of today does by itself: each request that is part of a trace becomes a span, sent as OTLP in JSON to
//! `OTEL_EXPORTER_OTLP_ENDPOINT`, where that is set. What the receiver does not take in time is lost.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// The most spans that wait to be sent.
const QUEUE: usize = 1_024;

/// How long the receiver may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Where the spans of a service go.
#[derive(Clone)]
pub(crate) struct Spans {
    queue: Option<mpsc::Sender<Value>>,
}

impl Spans {
    /// Sends spans where the environment says so.
    pub(crate) fn of(service: &'static str) -> Self {
        let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok();
        let address = endpoint
            .and_then(|endpoint| Some(endpoint.strip_prefix("http://")?.trim_end_matches('/').to_owned()));
        let queue = address.map(|address| {
            let (sender, mut spans) = mpsc::channel(QUEUE);
            tokio::spawn(async move {
                while let Some(span) = spans.recv().await {
                    let _ = tokio::time::timeout(TIMEOUT, send(&address, service, span)).await;
                }
            });
            sender
        });
        Self { queue }
    }
}

/// Makes a span of a request that is part of a trace.
pub(crate) async fn trace(State(spans): State<Spans>, request: Request, next: Next) -> Response {
    let parent =
        request.headers().get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (Some(queue), Some(parent)) = (&spans.queue, parent) else { return next.run(request).await };
    let ids: Vec<String> = parent.split('-').map(str::to_owned).collect();
    let [_, trace, parent, _] = &ids[..] else { return next.run(request).await };
    let (name, begun) = (format!("{} {}", request.method(), request.uri().path()), now());
    let response = next.run(request).await;
    let status = response.status();
    let span = json!({
        "traceId": trace, "parentSpanId": parent, "spanId": format!("{:016x}", chance() | 1), "name": name, "kind": 2,
        "startTimeUnixNano": begun.to_string(), "endTimeUnixNano": now().to_string(),
        "attributes": [{"key": "http.response.status_code", "value": {"intValue": status.as_u16().to_string()}}],
        "status": {"code": if status.is_server_error() { 2 } else { 0 }},
    });
    // A span that does not fit is lost; the answer is what counts.
    let _ = queue.try_send(span);
    response
}

async fn send(address: &str, service: &str, span: Value) -> std::io::Result<()> {
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
    let body =
        json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}).to_string();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

/// Nanoseconds since 1970.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos())
}

/// A number that nobody else draws.
fn chance() -> u64 {
    RandomState::new().hash_one(now())
}
