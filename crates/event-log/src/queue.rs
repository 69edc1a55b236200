//! The one way to the writer: a bounded queue that wakes it as rarely as it can.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};
use trunkline_model::Event;

use crate::projection::Projection;
use crate::snapshot::Snapshot;
use crate::{Appended, Config, Error, Expected, Result, StreamId};

/// How long the writer waits before it tries a failed batch of recorded events again.
const RETRY: Duration = Duration::from_secs(1);

/// What the writer is asked to do.
#[expect(
    clippy::large_enum_variant,
    reason = "recorded events are the many; a box for each would cost more than room"
)]
pub(crate) enum Request {
    /// Put the event at the end of the stream, some time soon.
    Record(StreamId, Event),
    /// Put the events at the end of the stream and answer when they are durable.
    Append(Box<Append>),
    /// Anything else, in its turn.
    Command(Box<Command>),
}

/// A durable append.
pub(crate) struct Append {
    pub(crate) stream: StreamId,
    pub(crate) expected: Expected,
    pub(crate) events: Vec<Event>,
    pub(crate) reply: oneshot::Sender<Result<Appended>>,
}

/// A task for the writer and the way back.
pub(crate) struct Command {
    pub(crate) task: Task,
    pub(crate) reply: oneshot::Sender<Result<()>>,
}

/// What the writer does beside appending.
pub(crate) enum Task {
    SaveSnapshot(Snapshot),
    Hold(String, u64),
    Release(String),
    Project(Box<dyn Projection>),
    Rebuild(String),
    Forget(String),
    Retain,
}

/// What the writer is doing, as far as those who push need to know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// It works, and looks at the queue before it sleeps.
    No,
    /// It waits for the batch interval to end.
    Timed,
    /// It waits for anything to come.
    Idle,
}

struct State {
    requests: Vec<Request>,
    events: usize,
    bytes: usize,
    /// Something in the queue is waited for.
    urgent: bool,
    sleep: Sleep,
    closed: bool,
    /// Why the last batch failed. Recorded events are then kept, and tried again.
    failure: Option<Error>,
}

/// The queue between producers and the writer.
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    space: Notify,
    max_events: usize,
    max_bytes: usize,
    interval: Duration,
}

/// The queue has no room: the request comes back with what to wait for.
pub(crate) struct NoRoom<'a> {
    pub(crate) request: Request,
    pub(crate) space: Notified<'a>,
}

impl Queue {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            state: Mutex::new(State {
                requests: Vec::new(),
                events: 0,
                bytes: 0,
                urgent: false,
                sleep: Sleep::No,
                closed: false,
                failure: None,
            }),
            wake: Condvar::new(),
            space: Notify::new(),
            // Half of it must be something.
            max_events: config.queue_events.max(2),
            max_bytes: config.queue_bytes.max(2),
            interval: config.batch_interval,
        }
    }

    /// Puts the request in the queue. One that is alone always fits, and so does a command. Where the queue is full
    /// because batches fail, nobody waits for it.
    ///
    /// The writer is woken for the first recorded event after a pause, for the one that makes the queue half full, and
    /// for what is waited for; not for any other.
    pub(crate) fn push(&self, request: Request, events: usize, bytes: usize) -> Result<Option<NoRoom<'_>>> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        let record = matches!(request, Request::Record(..));
        let fits = state.events + events <= self.max_events && state.bytes + bytes <= self.max_bytes;
        if !fits && events > 0 && !state.requests.is_empty() {
            return match &state.failure {
                Some(failure) => Err(failure.clone()),
                None => Ok(Some(NoRoom { request, space: self.space.notified() })),
            };
        }
        state.requests.push(request);
        state.events += events;
        state.bytes += bytes;
        state.urgent |= !record;
        let wake = match state.sleep {
            Sleep::No => false,
            Sleep::Idle => true,
            Sleep::Timed => state.urgent || self.half_full(&state),
        };
        if wake {
            state.sleep = Sleep::No;
            drop(state);
            self.wake.notify_one();
        }
        Ok(None)
    }

    /// Takes everything once it is time to: at once where something is waited for, else when the batch interval is over
    /// or the queue is half full. Returns at `until` at the latest, and tells whether the queue is closed.
    pub(crate) fn take(&self, batch: &mut Vec<Request>, until: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        let mut flush = None;
        let due = loop {
            let failed = state.failure.is_some();
            if state.urgent || state.closed || (self.half_full(&state) && !failed) {
                break true;
            }
            let now = Instant::now();
            if !state.requests.is_empty() {
                flush = flush.or(Some(now + if failed { RETRY } else { self.interval }));
            }
            // Woken by `until`, recorded events stay until their own time.
            if flush.is_some_and(|at| at <= now) {
                break true;
            } else if until.is_some_and(|at| at <= now) {
                break false;
            }
            state.sleep = if flush.is_some() { Sleep::Timed } else { Sleep::Idle };
            match flush.into_iter().chain(until).min() {
                Some(at) => drop(self.wake.wait_until(&mut state, at)),
                None => self.wake.wait(&mut state),
            }
            state.sleep = Sleep::No;
        };
        if due {
            std::mem::swap(&mut state.requests, batch);
            state.events = 0;
            state.bytes = 0;
            state.urgent = false;
            self.space.notify_waiters();
        }
        state.closed
    }

    /// Puts recorded events that could not be committed back in front.
    pub(crate) fn put_back(&self, mut requests: Vec<Request>, events: usize, bytes: usize, failure: Error) {
        let mut state = self.state.lock();
        requests.append(&mut state.requests);
        state.requests = requests;
        state.events += events;
        state.bytes += bytes;
        state.failure = Some(failure);
        self.space.notify_waiters();
    }

    /// The last batch was committed.
    pub(crate) fn recovered(&self) {
        self.state.lock().failure = None;
    }

    /// Takes no more requests. What is queued is still committed.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
        self.space.notify_waiters();
    }

    /// Takes no more requests and drops what is queued: the writer is gone.
    pub(crate) fn abandon(&self) {
        self.close();
        drop(std::mem::take(&mut self.state.lock().requests));
    }

    fn half_full(&self, state: &State) -> bool {
        state.events >= self.max_events / 2 || state.bytes >= self.max_bytes / 2
    }
}
