//! The wiring of what operators see: the collector on a thread of its own, and what goes out over HTTP.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::{Request, header};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_connectors::http_client::HttpClient;
use trunkline_gateway::Gateway;
use trunkline_telemetry::alerts::notify::Tell;
use trunkline_telemetry::alerts::{self, Alert, Rules};
use trunkline_telemetry::otlp::export::{self, Came, Outgoing, Transport};
use trunkline_telemetry::otlp::settings::Settings;
use trunkline_telemetry::{Collector, Surroundings, Telemetry};

use crate::config::Config;

/// The longest answer of a receiver that is read, in bytes. Nothing of it is kept.
const MAX_ANSWER: usize = 64 << 10;

/// About so many spans are told at once: those of a call.
const SPANS_OF_A_CALL: usize = 10;

/// Puts telemetry together. Nothing runs yet.
pub(super) fn build(config: &Config, base: &Path, folder: &Path) -> anyhow::Result<(Telemetry, Collector)> {
    let file = config.telemetry.enabled.then(|| folder.join("traces.db"));
    let mut telemetry = config.telemetry.clone();
    // Files of rules are named from the configuration's own folder.
    telemetry.alerts.rules.iter_mut().for_each(|rules| *rules = base.join(&*rules));
    Ok(Telemetry::new(telemetry, Timestamp::now(), file)?)
}

/// Telemetry that runs.
pub(super) struct Seeing {
    telemetry: Telemetry,
    collector: Option<JoinHandle<()>>,
}

impl Seeing {
    /// Starts the collector, and what sends spans where the configuration or the environment says so.
    pub(super) fn start(
        gateway: &Arc<Gateway>,
        mut collector: Collector,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let telemetry = gateway.telemetry().clone();
        let around: Arc<dyn Surroundings> = gateway.clone();
        let around: Weak<dyn Surroundings> = Arc::downgrade(&around);
        telemetry.surround(around);
        if !telemetry.is_on() {
            return Ok(Self { telemetry, collector: None });
        }
        let env = |name: &str| std::env::var(name).ok();
        if let Some(settings) = Settings::new(&telemetry.config().otlp, &env)? {
            let (sender, spans) = mpsc::channel((settings.queue / SPANS_OF_A_CALL).max(16));
            collector.export_to(sender, settings.clone());
            let transport = transport(HttpClient::new()?);
            tasks.spawn(export::run(telemetry.clone(), settings, transport, spans, shutdown.clone()));
        }
        let alerts = &telemetry.config().alerts;
        let rules = Rules::load(alerts.shipped, &alerts.rules)?;
        let teller = Arc::downgrade(gateway);
        let tell: Tell = Arc::new(move |alert: &Alert| {
            let (name, state) = (&alert.name, alert.state);
            tracing::warn!(alert = name, ?state, labels = ?alert.labels, "alert");
            if let Some(gateway) = teller.upgrade() {
                gateway.alert_changed(alert);
            }
        });
        let transport = transport(HttpClient::new()?);
        tasks.spawn(alerts::run(telemetry.clone(), rules, transport, tell, shutdown.clone()));
        let thread = std::thread::Builder::new().name("telemetry".to_owned());
        let collector = Some(thread.spawn(move || collector.run())?);
        Ok(Self { telemetry, collector })
    }

    /// Stops, when what there was is written.
    pub(super) async fn stop(self) {
        self.telemetry.close();
        let Some(collector) = self.collector else { return };
        let joined = tokio::task::spawn_blocking(move || collector.join().is_ok()).await;
        if !joined.unwrap_or(false) {
            tracing::error!("the collector of telemetry has panicked");
        }
    }
}

/// Sends what goes out with the connectors' client.
fn transport(http: HttpClient) -> Transport {
    Arc::new(move |outgoing: Outgoing| {
        let http = http.clone();
        Box::pin(async move {
            let Outgoing { url, headers, media_type, body, timeout } = outgoing;
            let mut request = Request::post(url).header(header::CONTENT_TYPE, media_type);
            request = request.header(header::USER_AGENT, concat!("trunkline/", env!("CARGO_PKG_VERSION")));
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
            let answer = http.send(request, Instant::now() + timeout, MAX_ANSWER).await;
            let answer = answer.map_err(|error| error.to_string())?;
            let wish =
                answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Ok(Came { status: answer.status.as_u16(), wish: wish.map(Duration::from_secs) })
        })
    })
}
