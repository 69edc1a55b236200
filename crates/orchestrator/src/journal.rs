//! The journal of one instance: what is written as it goes on, and what is read again after a crash.
//!
//! A run is brought back by running it again: whatever was decided by the world (what a step came to, that a wait is
//! over, which branch won) is taken from the journal, in the order in which it was written, so that the run takes the
//! same turns. Only when all of that has been taken may it do anything new.

mod replay;
mod watched;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Poll, Waker};

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use trunkline_event_log::{EventLog, Expected};
use trunkline_model::{BoxFuture, Effects, Event, Principal};
use uuid::Uuid;

use crate::choreography::Cause;
use crate::entry::{Ended, Entry, InstanceId, Intended, Key, Resolution, StepOutcome};
use crate::fault::Fault;
use replay::{Kind, Replay, Turn};
use watched::Watched;

/// The most bytes of arguments and results that are put into one append, where there is more than one entry. The log
/// takes 16 MiB.
const MAX_APPEND: usize = 4 << 20;

/// Where time and identities come from.
#[derive(Clone)]
pub struct Sources {
    /// The time of day.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// A new UUIDv7.
    pub time_id: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

/// The journal of one instance.
pub(crate) struct Journal {
    pub(crate) instance: InstanceId,
    pub(crate) flow: Arc<str>,
    pub(crate) principal: Arc<Principal>,
    log: EventLog,
    sources: Sources,
    watched: Watched,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What waits for the next append.
    pending: VecDeque<Event>,
    /// How many entries were noted, and how many of them are durable.
    noted: u64,
    durable: u64,
    /// The append under way. Whoever waits for it drives it, so it is made also where the branch that began it is
    /// dropped.
    writing: Option<Shared<BoxFuture<'static, trunkline_event_log::Result<u64>>>>,
    /// The log has taken an append no more: the journal has a gap, and nothing may be written after it.
    broken: Option<trunkline_event_log::Error>,
    /// The effects of the steps that were intended, and whether they honour a key.
    repeatable: HashMap<Key, (Effects, bool)>,
    /// What waits can't be found out again: it has to be written also where the run has nothing more to write.
    urgent: bool,
    replay: Replay,
    /// It had ended, and is to be undone: nothing new may happen before it has come to its end again.
    undo: Option<UndoOrder>,
    held: bool,
    /// Its end is noted: nobody can ask for another.
    over: bool,
    /// The time of the last entry that the run has seen: the only clock that expressions may see.
    time: Option<Timestamp>,
    /// The event that the instance is a delivery of.
    cause: Option<Arc<Cause>>,
}

/// That an instance that had ended is to be undone.
#[derive(Clone, Debug)]
pub(crate) struct UndoOrder {
    /// Why.
    pub(crate) fault: Fault,
    /// Steps that belong to another instance.
    pub(crate) except: Vec<Key>,
}

impl Journal {
    /// A journal without entries.
    pub(crate) fn new(
        instance: InstanceId,
        flow: Arc<str>,
        principal: Arc<Principal>,
        log: EventLog,
        sources: Sources,
    ) -> Self {
        let watched = Watched::default();
        Self { instance, flow, principal, log, sources, watched, state: Mutex::default() }
    }

    /// Gives what an earlier process wrote, in its order.
    pub(crate) fn load(&self, entries: impl IntoIterator<Item = (Entry, Timestamp)>) {
        let mut state = self.state.lock();
        for (entry, time) in entries {
            let waits =
                matches!(entry, Entry::Started(_) | Entry::Queued { .. } | Entry::CancelRequested { .. });
            state.replay.begun |= !waits;
            match entry {
                Entry::Queued { key, .. } => {
                    state.replay.queued.insert(key, time);
                }
                Entry::Unqueued { key } => {
                    state.replay.queued.remove(&key);
                }
                Entry::Intended(intended) => {
                    let known = (intended.effects, intended.keyed);
                    state.repeatable.insert(intended.key.clone(), known);
                    state.replay.unfinished.insert(intended.key.clone());
                    state.replay.intended.insert(intended.key.clone(), *intended);
                }
                Entry::Waiting { key, until, .. } => {
                    state.replay.waiting.insert(key, until);
                }
                Entry::Compensating { .. } => state.replay.compensating = true,
                Entry::Passed { key } => {
                    // Nobody waited for the answer any more.
                    state.replay.stuck.remove(&key);
                    state.replay.passed.insert(key, time);
                }
                Entry::Stuck { key, .. } => {
                    state.replay.stuck.insert(key);
                }
                Entry::Ended(ended) => {
                    state.replay.unfinished.remove(&ended.key);
                    if ended.orphan {
                        let late = (ended.attempt, ended.outcome.clone());
                        state.replay.late.insert(ended.key.clone(), late);
                    }
                    state.replay.order.push_back(Turn::Ended(ended, time));
                }
                Entry::Decided { key, value } => {
                    state.replay.order.push_back(Turn::Decided(key, value, time))
                }
                Entry::Resolved { key, resolution, .. } => {
                    state.replay.stuck.remove(&key);
                    state.replay.order.push_back(Turn::Resolved(key, resolution, time));
                }
                Entry::Started(started) => {
                    state.time = Some(time);
                    state.cause = started.cause.map(Arc::from);
                }
                Entry::UndoRequested { by, reason, except } => {
                    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                    let fault = Fault::cancelled(format!("{by} asked to undo it{reason}"));
                    state.undo = Some(UndoOrder { fault, except });
                    state.held = true;
                }
                _ => {}
            }
        }
    }

    /// Whether an earlier process had let it begin.
    pub(crate) fn was_begun(&self) -> bool {
        self.state.lock().replay.begun
    }

    /// Since when something waits for its turn, where an earlier process wrote that.
    pub(crate) fn queued_since(&self, key: &str) -> Option<Timestamp> {
        self.state.lock().replay.queued.get(key).copied()
    }

    /// The same, once.
    pub(crate) fn take_queued(&self, key: &str) -> Option<Timestamp> {
        self.state.lock().replay.queued.remove(key)
    }

    /// The time of the last entry that the run has seen.
    pub(crate) fn time(&self) -> Timestamp {
        self.state.lock().time.unwrap_or_else(|| (self.sources.now)())
    }

    /// The event that the instance is a delivery of.
    pub(crate) fn cause(&self) -> Option<Arc<Cause>> {
        self.state.lock().cause.clone()
    }

    /// The time of day, which only what goes to the journal may see.
    pub(crate) fn now(&self) -> Timestamp {
        (self.sources.now)()
    }

    /// Where time and identities come from.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Puts an entry behind the others; it becomes durable with the next [`flush`](Self::flush). One that an earlier
    /// process wrote is not written again.
    pub(crate) fn note(&self, entry: Entry) {
        let mut state = self.state.lock();
        match &entry {
            Entry::Finished(_) => state.over = true,
            Entry::CancelRequested { .. } if state.over => return,
            _ => {}
        }
        if let Entry::Intended(intended) = &entry {
            state.repeatable.insert(intended.key.clone(), (intended.effects, intended.keyed));
        }
        let known = match &entry {
            Entry::Passed { key } => state.replay.passed.remove(key),
            Entry::Stuck { key, .. } if state.replay.stuck.remove(key) => return,
            _ => None,
        };
        let time = known.unwrap_or_else(|| (self.sources.now)());
        // The others are not seen again in a replay.
        if let Entry::Started(_)
        | Entry::Passed { .. }
        | Entry::Ended(_)
        | Entry::Decided { .. }
        | Entry::Resolved { .. } = &entry
        {
            state.time = Some(time);
        }
        if known.is_none() {
            self.tell(&entry, time);
            let id = (self.sources.time_id)();
            state.pending.push_back(entry.into_event(self.instance, &self.flow, &self.principal, id, time));
            state.noted += 1;
        }
    }

    /// Puts an entry behind the others that is to become durable soon, though nothing waits for that.
    pub(crate) fn note_soon(&self, entry: Entry) {
        self.note(entry);
        self.state.lock().urgent = true;
    }

    /// Whether its end is noted.
    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().over
    }

    /// Whether something waits that is to become durable soon.
    pub(crate) fn is_urgent(&self) -> bool {
        self.state.lock().urgent
    }

    /// Whether all that was noted is durable.
    pub(crate) fn is_written(&self) -> bool {
        let state = self.state.lock();
        state.durable == state.noted
    }

    /// Writes what was noted. When it returns, all of it is durable, whichever branch of the run wrote it.
    pub(crate) async fn flush(&self) -> trunkline_event_log::Result<()> {
        let wanted = self.state.lock().noted;
        loop {
            let writing = {
                let mut state = self.state.lock();
                if let Some(error) = &state.broken {
                    return Err(error.clone());
                }
                if state.durable >= wanted {
                    return Ok(());
                }
                match &state.writing {
                    Some(writing) => writing.clone(),
                    None => self.write(&mut state),
                }
            };
            let written = writing.clone().await;
            let mut state = self.state.lock();
            if state.writing.as_ref().is_some_and(|current| current.ptr_eq(&writing)) {
                state.writing = None;
            }
            match written {
                Ok(durable) => state.durable = state.durable.max(durable),
                Err(error) => state.broken = Some(error),
            }
        }
    }

    /// Begins to write what was noted, as much of it as one append may take.
    fn write(&self, state: &mut State) -> Shared<BoxFuture<'static, trunkline_event_log::Result<u64>>> {
        let mut bytes = 0;
        let mut events = Vec::with_capacity(state.pending.len());
        while let Some(event) = state.pending.pop_front() {
            bytes += event.data.parameters.as_str().len() + event.data.context.as_str().len();
            if bytes > MAX_APPEND && !events.is_empty() {
                state.pending.push_front(event);
                break;
            }
            events.push(event);
        }
        state.urgent = !state.pending.is_empty();
        let durable = state.noted - state.pending.len() as u64;
        let (log, instance) = (self.log.clone(), self.instance.0);
        let append: BoxFuture<'static, _> =
            Box::pin(async move { log.append(instance, Expected::Any, events).await.map(|_| durable) });
        let writing = append.shared();
        state.writing = Some(writing.clone());
        writing
    }

    /// Whether all that an earlier process wrote has been taken.
    pub(crate) fn is_live(&self) -> bool {
        let mut state = self.state.lock();
        state.replay.pass_orphans();
        let live = state.replay.order.is_empty() && !state.held;
        if live {
            state.replay.wakers.drain(..).for_each(Waker::wake);
        }
        live
    }

    /// Keeps the run from doing anything new, also when all that was written has been taken.
    pub(crate) fn hold(&self) {
        self.state.lock().held = true;
    }

    /// Whether every decision that was written has been taken.
    pub(crate) fn is_taken(&self) -> bool {
        let mut state = self.state.lock();
        state.replay.pass_orphans();
        state.replay.order.is_empty()
    }

    /// The run has come to its end again: what is new may happen. Tells whether and why it is to be undone.
    pub(crate) fn take_undo(&self) -> Option<UndoOrder> {
        let mut state = self.state.lock();
        let undo = state.undo.take()?;
        state.held = false;
        state.replay.wakers.drain(..).for_each(Waker::wake);
        Some(undo)
    }

    /// How many decisions were taken again. A replay whose run waits without taking any has lost its way.
    pub(crate) fn taken(&self) -> u64 {
        self.state.lock().replay.taken
    }

    /// Waits until all that an earlier process wrote has been taken.
    pub(crate) async fn live(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.state.lock();
            state.replay.pass_orphans();
            if state.replay.order.is_empty() && !state.held {
                return Poll::Ready(());
            }
            state.replay.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// What an attempt at a step came to before, in its turn; `None` where it was not seen to end.
    pub(crate) async fn ended(&self, key: &str) -> Option<Ended> {
        match self.turn(Kind::Step, key).await? {
            Turn::Ended(ended, _) => Some(ended),
            _ => None,
        }
    }

    /// What was decided before, in its turn.
    pub(crate) async fn decided(&self, key: &str) -> Option<Value> {
        match self.turn(Kind::Decision, key).await? {
            Turn::Decided(_, value, _) => Some(value),
            _ => None,
        }
    }

    /// What a person said before, in its turn.
    pub(crate) async fn resolved(&self, key: &str) -> Option<Resolution> {
        match self.turn(Kind::Resolution, key).await? {
            Turn::Resolved(_, resolution, _) => Some(resolution),
            _ => None,
        }
    }

    /// How many steps were intended so far.
    pub(crate) fn intended(&self) -> usize {
        self.state.lock().repeatable.len()
    }

    /// What the last intent of a step says of repeating it.
    pub(crate) fn last_intent(&self, key: &str) -> Option<(Effects, bool)> {
        self.state.lock().repeatable.get(key).copied()
    }

    /// The last intent of a step that an earlier process wrote.
    pub(crate) fn known_intent(&self, key: &str) -> Option<Intended> {
        self.state.lock().replay.intended.get(key).cloned()
    }

    /// The intent of an attempt that an earlier process made and did not see to its end.
    pub(crate) fn take_intent(&self, key: &str, attempt: u32) -> Option<Intended> {
        let mut state = self.state.lock();
        let known = state.replay.intended.get(key).is_some_and(|intended| intended.attempt == attempt);
        if !known {
            return None;
        }
        state.replay.unfinished.remove(key);
        state.replay.intended.remove(key)
    }

    /// What an attempt came to when its branch had gone.
    pub(crate) fn late_end(&self, key: &str, attempt: u32) -> Option<StepOutcome> {
        let mut state = self.state.lock();
        let known = state.replay.late.get(key).is_some_and(|(of, _)| *of == attempt);
        state.replay.late.remove(key).filter(|_| known).map(|(_, outcome)| outcome)
    }

    /// The steps that an earlier process had begun and no branch of this run has come to again: theirs had gone before
    /// the crash. Nobody knows what became of them.
    pub(crate) fn take_unfinished(&self) -> Vec<Intended> {
        let mut state = self.state.lock();
        let keys = std::mem::take(&mut state.replay.unfinished);
        let left = keys.iter().filter_map(|key| state.replay.intended.get(key).cloned());
        left.filter(|intended| intended.undoes.is_none()).collect()
    }

    /// The steps that an earlier process saw end when their branch had gone: those before the last turn that was taken,
    /// or all up to the next.
    pub(crate) fn take_orphans(&self, upto_next: bool) -> Vec<(Intended, StepOutcome)> {
        let mut state = self.state.lock();
        if upto_next {
            state.replay.pass_orphans();
        }
        let ended = std::mem::take(&mut state.replay.orphans);
        let known = |ended: Ended| {
            let intended = state.replay.intended.get(&ended.key).cloned()?;
            Some((intended, ended.outcome))
        };
        ended.into_iter().filter_map(known).collect()
    }

    /// The record.
    pub(crate) fn log(&self) -> &EventLog {
        &self.log
    }

    /// Until when something was to wait, where an earlier process wrote that.
    pub(crate) fn waiting(&self, key: &str) -> Option<Timestamp> {
        self.state.lock().replay.waiting.remove(key)
    }

    /// Whether an earlier process had begun to undo.
    pub(crate) fn was_compensating(&self) -> bool {
        self.state.lock().replay.compensating
    }

    /// Waits for the turn of a decision; `None` where the journal does not have it.
    async fn turn(&self, kind: Kind, key: &str) -> Option<Turn> {
        std::future::poll_fn(|context| {
            let mut state = self.state.lock();
            let replay = &mut state.replay;
            replay.pass_orphans();
            match replay.order.front() {
                Some(first) if first.is_of(kind, key) => {
                    // Those that ended later are not known yet to who decides by this turn.
                    let turn = replay.order.pop_front();
                    replay.taken += 1;
                    replay.wakers.drain(..).for_each(Waker::wake);
                    if let Some(
                        Turn::Ended(_, time) | Turn::Decided(_, _, time) | Turn::Resolved(_, _, time),
                    ) = &turn
                    {
                        state.time = Some(*time);
                    }
                    Poll::Ready(turn)
                }
                Some(_) if replay.order.iter().any(|turn| turn.is_of(kind, key)) => {
                    replay.wakers.push(context.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(None),
            }
        })
        .await
    }
}
