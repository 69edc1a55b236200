//! A log in a folder of its own, with its writer running, and events to put in it.

use std::borrow::Cow;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;

use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;
use trunkline_event_log::{Clock, Config, EventLog, Result};
use trunkline_model::{Event, EventData, EventKind, Json, Phase, Principal};
use uuid::Uuid;

/// The time of the tests, in seconds since 1970, until they move it.
pub(crate) const START: i64 = 1_800_000_000;

/// A log whose writer runs.
pub(crate) struct Log {
    handle: Option<EventLog>,
    writer: Option<JoinHandle<Result<()>>>,
    pub(crate) config: Config,
    now: Arc<AtomicI64>,
    folder: Option<TempDir>,
}

impl Log {
    pub(crate) fn open() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("events.db"));
        change(&mut config);
        Self::start(config, Some(folder))
    }

    /// Shuts the log down and opens it again.
    pub(crate) fn reopen(self) -> Self {
        self.reopen_with(|_| {})
    }

    pub(crate) fn reopen_with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        self.stop();
        change(&mut self.config);
        Self::start(self.config.clone(), self.folder.take())
    }

    /// Shuts the log down and leaves its file.
    pub(crate) fn into_file(mut self) -> (PathBuf, TempDir) {
        self.stop();
        (self.config.path.clone(), self.folder.take().unwrap())
    }

    pub(crate) fn handle(&self) -> EventLog {
        self.handle.clone().unwrap()
    }

    /// Moves the clock.
    pub(crate) fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    fn start(config: Config, folder: Option<TempDir>) -> Self {
        let now = Arc::new(AtomicI64::new(START));
        let clock_now = Arc::clone(&now);
        let clock: Clock =
            Arc::new(move || Timestamp::from_second(clock_now.load(Ordering::Relaxed)).unwrap());
        let (handle, writer) = config.clone().build(clock).unwrap();
        let writer = std::thread::spawn(move || writer.run());
        Self { handle: Some(handle), writer: Some(writer), config, now, folder }
    }

    fn stop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.close();
        }
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap().unwrap();
        }
    }
}

impl Deref for Log {
    type Target = EventLog;

    fn deref(&self) -> &EventLog {
        self.handle.as_ref().unwrap()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// An event whose id is `n`.
pub(crate) fn event(n: u128) -> Event {
    Event {
        id: Uuid::from_u128(n),
        kind: Cow::Borrowed(Event::type_of(EventKind::ToolExecution, Phase::Completed)),
        time: Timestamp::from_second(START).unwrap(),
        source: Arc::from("/doors/mcp"),
        target: Arc::from("git/log"),
        data: EventData {
            action: Cow::Borrowed("log"),
            parameters: Json::from(json!({"count": 3})),
            context: Json::from(json!({"outcome": "complete"})),
        },
        correlation: Uuid::from_u128(2),
        causation: None,
        traceparent: None,
        principal: Arc::new(Principal::local()),
    }
}

/// An event with everything set, and JSON text that a parser would not give back as it was.
pub(crate) fn full_event() -> Event {
    Event {
        time: "2026-11-22T10:00:00.123456789Z".parse().unwrap(),
        kind: Cow::Borrowed("com.example.\u{0}odd"),
        causation: Some(Uuid::from_u128(3)),
        traceparent: Some(Arc::from("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        principal: Arc::new(Principal::api_key("ci")),
        data: EventData {
            action: Cow::Borrowed(""),
            parameters: Json::parse(r#" {"b": 1.50, "a":[ ] , "a": 12345678901234567890123} "#).unwrap(),
            context: Json::parse("\"\\u0041\"").unwrap(),
        },
        ..event(1)
    }
}

/// An event of at least so many bytes.
pub(crate) fn event_of_size(n: u128, bytes: usize) -> Event {
    let mut event = event(n);
    event.data.parameters = Json::from(json!({ "text": "x".repeat(bytes) }));
    event
}
