//! Sessions of the legacy era, and the streams of their calls.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_model::{CallId, ClientFeatures, Principal};
use trunkline_telemetry::Telemetry;

use super::reply::Frame;
use crate::Error;
use crate::exchange::Outbox;
use crate::observer::{MAX_SUBSCRIPTIONS, Subscription};

/// The most calls whose streams a session keeps for a client that comes back.
const MAX_STREAMS: usize = 64;

/// The most messages of one call that are kept for a client that comes back.
const MAX_FRAMES: usize = 1_024;

/// The most bytes of one call's messages that are kept for a client that comes back. The newest is always kept.
const MAX_BYTES: usize = 8 << 20;

/// How severe a log message must be when the client has not said: `info`.
const DEFAULT_LOG_LEVEL: u8 = 6;

/// The client has not said how severe a log message must be.
const UNSET: u8 = u8::MAX;

/// All sessions.
pub(crate) struct Sessions {
    map: RwLock<HashMap<String, Arc<Session>>>,
    telemetry: Telemetry,
}

impl Sessions {
    /// None yet; how long each lasts is told there.
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self { map: RwLock::default(), telemetry }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.map.read().len()
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.map.read().get(id).cloned()
    }

    /// Adds a session, and returns the one that has its id: another request may have restored it meanwhile. Where
    /// there are `max` already, the one that was idle longest goes.
    pub(crate) fn insert(&self, session: Arc<Session>, max: usize) -> Arc<Session> {
        let mut map = self.map.write();
        if let Some(there) = map.get(&session.id) {
            return there.clone();
        }
        if map.len() >= max.max(1) {
            let idle = map.values().filter(|s| !s.busy()).max_by_key(|s| s.idle()).map(|s| s.id.clone());
            if let Some(gone) = idle.and_then(|id| map.remove(&id)) {
                self.ended(&gone);
            }
        }
        map.insert(session.id.clone(), session.clone());
        session
    }

    /// Ends a session.
    pub(crate) fn remove(&self, id: &str) {
        let gone = self.map.write().remove(id);
        gone.iter().for_each(|gone| self.ended(gone));
    }

    /// Ends sessions that were idle for `time`.
    pub(crate) fn sweep(&self, time: Duration) {
        self.map.write().retain(|_, session| {
            let stays = session.busy() || session.idle() < time;
            if !stays {
                self.ended(session);
            }
            stays
        });
    }

    /// A session lasted from its beginning in this process to when it was last used.
    fn ended(&self, session: &Session) {
        self.telemetry.metrics().session_ended(session.opened.elapsed().saturating_sub(session.idle()));
    }
}

/// One session.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) principal: Arc<Principal>,
    pub(crate) features: ClientFeatures,
    pub(crate) conversation: Arc<str>,
    /// The name that the client gives itself.
    pub(crate) client: Option<Arc<str>>,
    log_level: AtomicU8,
    opened: Instant,
    used: Mutex<Instant>,
    subscriptions: Mutex<HashMap<String, Subscription>>,
    /// Calls under way by the JSON text of their request's id.
    running: Mutex<HashMap<Box<str>, Arc<Outbox>>>,
    /// Questions that wait for the client's answer, by the id of our request.
    questions: Mutex<HashMap<String, (Arc<Outbox>, u64)>>,
    streams: Mutex<VecDeque<Arc<CallStream>>>,
    /// Held while a call is taken up that an earlier process made: it is taken up once.
    pub(crate) taking_up: tokio::sync::Mutex<()>,
}

impl Session {
    pub(crate) fn new(
        id: String,
        principal: Arc<Principal>,
        features: ClientFeatures,
        client: Option<Arc<str>>,
    ) -> Self {
        Self {
            conversation: Arc::from(id.as_str()),
            id,
            client,
            principal,
            features,
            log_level: AtomicU8::new(UNSET),
            opened: Instant::now(),
            used: Mutex::new(Instant::now()),
            subscriptions: Mutex::default(),
            running: Mutex::default(),
            questions: Mutex::default(),
            streams: Mutex::default(),
            taking_up: tokio::sync::Mutex::default(),
        }
    }

    /// Notes that the session was used just now.
    pub(crate) fn touch(&self) {
        *self.used.lock() = Instant::now();
    }

    fn idle(&self) -> Duration {
        self.used.lock().elapsed()
    }

    fn busy(&self) -> bool {
        !self.running.lock().is_empty()
    }

    pub(crate) fn log_level(&self) -> u8 {
        self.asked_log_level().unwrap_or(DEFAULT_LOG_LEVEL)
    }

    /// The log level, where the client has said one.
    pub(crate) fn asked_log_level(&self) -> Option<u8> {
        Some(self.log_level.load(Ordering::Relaxed)).filter(|level| *level != UNSET)
    }

    pub(crate) fn set_log_level(&self, level: u8) {
        self.log_level.store(level, Ordering::Relaxed);
    }

    pub(crate) fn subscribed(&self, uri: &str) -> bool {
        self.subscriptions.lock().contains_key(uri)
    }

    /// Keeps a subscription for as long as the session lasts.
    pub(crate) fn subscribe(&self, uri: &str, subscription: Subscription) -> Result<(), Error> {
        let mut subscriptions = self.subscriptions.lock();
        if subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return Err(Error::TooMany("subscriptions of one session"));
        }
        subscriptions.insert(uri.to_owned(), subscription);
        Ok(())
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&self, uri: &str) {
        self.subscriptions.lock().remove(uri);
    }

    /// Ends all subscriptions.
    pub(crate) fn unsubscribe_all(&self) {
        self.subscriptions.lock().clear();
    }

    /// Notes a call under way, until the returned guard goes.
    pub(crate) fn run(self: &Arc<Self>, request_id: &str, outbox: Arc<Outbox>) -> Running {
        self.running.lock().insert(Box::from(request_id), outbox);
        Running { session: self.clone(), request_id: Box::from(request_id) }
    }

    /// The way back to the client of a call that is under way.
    pub(crate) fn under_way(&self, call: CallId) -> Option<Arc<Outbox>> {
        self.running.lock().values().find(|outbox| outbox.journal().origin().id == call).cloned()
    }

    /// Cancels the call of a request.
    pub(crate) fn cancel(&self, request_id: &str) {
        let outbox = self.running.lock().get(request_id).cloned();
        if let Some(outbox) = outbox {
            outbox.cancel();
        }
    }

    /// Cancels every call.
    pub(crate) fn cancel_all(&self) {
        let all: Vec<_> = self.running.lock().values().cloned().collect();
        for outbox in all {
            outbox.cancel();
        }
    }

    /// Notes a question that waits for the client's answer.
    pub(crate) fn ask(&self, id: String, outbox: Arc<Outbox>, number: u64) {
        self.questions.lock().insert(id, (outbox, number));
    }

    /// A call has ended: nobody waits for answers to its questions any more.
    pub(crate) fn forget_questions(&self, call: CallId) {
        self.questions.lock().retain(|_, (outbox, _)| outbox.journal().origin().id != call);
    }

    /// The question that an answer is for.
    pub(crate) fn asked(&self, id: &str) -> Option<(Arc<Outbox>, u64)> {
        self.questions.lock().remove(id)
    }

    /// A stream for the messages of a call, numbered from `first`. It is kept for a while, for a client that comes
    /// back.
    pub(crate) fn open_stream(&self, call: CallId, first: u64) -> Arc<CallStream> {
        let stream = Arc::new(CallStream::new(call, first));
        let mut streams = self.streams.lock();
        if streams.len() >= MAX_STREAMS
            && let Some(ended) = streams.iter().position(|stream| stream.ended())
        {
            streams.remove(ended);
        }
        streams.push_back(stream.clone());
        stream
    }

    /// The stream of a call.
    pub(crate) fn stream(&self, call: CallId) -> Option<Arc<CallStream>> {
        self.streams.lock().iter().find(|stream| stream.call == call).cloned()
    }
}

/// A call that a session has under way.
pub(crate) struct Running {
    session: Arc<Session>,
    request_id: Box<str>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.session.running.lock().remove(&self.request_id);
    }
}

/// The messages of one call, numbered, for one who reads along or comes back later.
pub(crate) struct CallStream {
    call: CallId,
    frames: Mutex<Frames>,
    grown: watch::Sender<()>,
}

#[derive(Default)]
struct Frames {
    first: u64,
    bytes: usize,
    kept: VecDeque<Bytes>,
    ended: bool,
}

impl CallStream {
    fn new(call: CallId, first: u64) -> Self {
        let frames = Mutex::new(Frames { first, ..Frames::default() });
        Self { call, frames, grown: watch::Sender::new(()) }
    }

    /// Adds a message; the last one ends the stream.
    pub(crate) fn push(&self, data: Bytes, last: bool) {
        {
            let mut frames = self.frames.lock();
            frames.bytes += data.len();
            while frames.kept.len() >= MAX_FRAMES || frames.bytes > MAX_BYTES.max(data.len()) {
                let Some(oldest) = frames.kept.pop_front() else { break };
                frames.first += 1;
                frames.bytes -= oldest.len();
            }
            frames.kept.push_back(data);
            frames.ended |= last;
        }
        self.grown.send_replace(());
    }

    /// Ends the stream without a further message.
    pub(crate) fn end(&self) {
        self.frames.lock().ended = true;
        self.grown.send_replace(());
    }

    fn ended(&self) -> bool {
        self.frames.lock().ended
    }

    /// The messages from number `from` on, as they come, with ids of the form `call/number`.
    pub(crate) fn read(self: &Arc<Self>, from: u64) -> BoxStream<'static, Frame> {
        let state = (self.clone(), self.grown.subscribe(), from);
        futures_util::stream::unfold(state, |(stream, mut grown, from)| async move {
            loop {
                {
                    let frames = stream.frames.lock();
                    let number = from.max(frames.first);
                    let index = usize::try_from(number - frames.first).unwrap_or(usize::MAX);
                    if let Some(data) = frames.kept.get(index) {
                        let frame =
                            Frame { id: Some(format!("{}/{number}", stream.call)), data: data.clone() };
                        drop(frames);
                        return Some((frame, (stream, grown, number + 1)));
                    }
                    if frames.ended {
                        return None;
                    }
                }
                if grown.changed().await.is_err() {
                    return None;
                }
            }
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_read_again_from_any_message() {
        let stream = Arc::new(CallStream::new(CallId(uuid::Uuid::nil()), 0));
        stream.push(Bytes::from_static(b"a"), false);
        let mut early = stream.read(0);
        assert_eq!(&early.next().await.unwrap().data[..], b"a");
        stream.push(Bytes::from_static(b"b"), true);
        assert_eq!(&early.next().await.unwrap().data[..], b"b");
        assert!(early.next().await.is_none());
        let late: Vec<_> = stream.read(1).collect().await;
        assert_eq!(late.len(), 1);
        assert!(late[0].id.as_deref().unwrap().ends_with("/1"));
    }
}
