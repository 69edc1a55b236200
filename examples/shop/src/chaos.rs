//! The switch that makes a service slow or failing: `/_chaos`. Not part of what agents see.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::RETRY_AFTER;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream;
use serde::{Deserialize, Serialize};

use crate::problem::{Problem, status};
use crate::request::{Checks, Command};

/// The longest delay, in milliseconds.
const MAX_LATENCY_MS: u64 = 600_000;

/// How requests are disturbed. The default disturbs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// How long each request waits first, in milliseconds.
    latency_ms: u64,
    /// The share of requests that fail, 0 to 1.
    fail_share: f64,
    /// How they fail.
    mode: Mode,
    /// Whether they fail before anything is done, or after, so that the caller can't know.
    when: When,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// 503 with a problem document.
    #[default]
    Error,
    /// No answer, ever.
    Hang,
    /// The connection closes without an answer.
    Reset,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum When {
    #[default]
    Before,
    After,
}

/// The switch of one service.
#[derive(Clone, Default)]
pub(crate) struct Chaos(Arc<Mutex<Switch>>);

#[derive(Default)]
struct Switch {
    settings: Settings,
    /// What is owed to `fail_share`: a request fails when this reaches 1. So a share of 0.5 is every second
    /// request, and a test can count on it.
    owed: f64,
}

impl Chaos {
    fn lock(&self) -> MutexGuard<'_, Switch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings, and whether this request fails.
    fn next(&self) -> (Settings, bool) {
        let mut state = self.lock();
        state.owed += state.settings.fail_share;
        // Sums of shares such as 0.1 end a little under 1.
        let fails = state.owed > 1.0 - 1e-9;
        if fails {
            state.owed -= 1.0;
        }
        (state.settings, fails)
    }
}

/// The switch itself, which is never disturbed.
pub(crate) fn routes(chaos: Chaos) -> Router {
    Router::new().route("/_chaos", get(show).post(set)).with_state(chaos)
}

async fn show(State(chaos): State<Chaos>) -> Json<Settings> {
    Json(chaos.lock().settings)
}

async fn set(State(chaos): State<Chaos>, command: Command<Settings>) -> Result<Json<Settings>, Problem> {
    let settings = command.input;
    let mut checks = Checks::default();
    checks.that((0.0..=1.0).contains(&settings.fail_share), "#/fail_share", "a number from 0 to 1");
    checks.that(
        settings.latency_ms <= MAX_LATENCY_MS,
        "#/latency_ms",
        format!("at most {MAX_LATENCY_MS} milliseconds"),
    );
    checks.done()?;
    *chaos.lock() = Switch { settings, owed: 0.0 };
    Ok(Json(settings))
}

/// Delays or fails a request as the switch says.
pub(crate) async fn disturb(State(chaos): State<Chaos>, request: Request, next: Next) -> Response {
    let (settings, fails) = chaos.next();
    if settings.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(settings.latency_ms)).await;
    }
    if !fails {
        return next.run(request).await;
    }
    if settings.when == When::After {
        drop(next.run(request).await);
    }
    match settings.mode {
        Mode::Error => {
            let problem = Problem::new(status::SERVICE_UNAVAILABLE, "chaos", "Out of order", "chaos is on");
            ([(RETRY_AFTER, "1")], problem).into_response()
        }
        Mode::Hang => std::future::pending().await,
        // A body that fails before its first byte: the server closes the connection with nothing sent.
        Mode::Reset => {
            Response::new(Body::from_stream(stream::iter([Err::<Bytes, _>(io::Error::other("chaos"))])))
        }
    }
}
