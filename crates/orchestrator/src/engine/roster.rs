//! Which instances have begun and not ended: those that run, and those that are put aside until a time.
//!
//! What is put aside takes a few words of memory. Whoever waits for its end goes on waiting.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified, watch};

use crate::entry::{Finished, InstanceId};
use crate::run::{Held, Interventions, Run};

/// How many instances there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Those that have not ended.
    pub unfinished: usize,
    /// Those of them that are in memory.
    pub running: usize,
}

/// What those who wait for an instance are told, whether it runs or is put aside.
pub(crate) struct Told {
    ended: watch::Sender<End>,
    /// The questions that a person has to answer.
    pub(crate) interventions: Interventions,
    /// Told when a step gets stuck.
    pub(crate) stuck: Notify,
}

/// What has become of an instance.
#[derive(Clone)]
enum End {
    Going,
    Over(Finished),
    /// It stopped where it is: this process does not go on with it.
    Left,
}

impl Default for Told {
    fn default() -> Self {
        let ended = watch::Sender::new(End::Going);
        Self { ended, interventions: Interventions::default(), stuck: Notify::new() }
    }
}

impl Told {
    /// Tells the end, or that this process does not go on.
    pub(super) fn end(&self, finished: Option<Finished>) {
        self.ended.send_replace(finished.map_or(End::Left, End::Over));
    }

    /// Waits for the end; `None` where this process does not go on.
    pub(super) async fn finished(&self) -> Option<Finished> {
        let mut ended = self.ended.subscribe();
        let end = ended.wait_for(|end| !matches!(end, End::Going)).await.ok()?;
        match &*end {
            End::Over(finished) => Some(finished.clone()),
            _ => None,
        }
    }
}

/// Where an instance is.
enum Place {
    Running(Arc<Run>),
    /// It is being brought back.
    Coming(Arc<Told>),
    Aside {
        wake: Timestamp,
        told: Weak<Told>,
    },
}

/// What is to be done to have an instance run.
pub(super) enum Look {
    Running(Held),
    /// Somebody brings it back already.
    Coming,
    /// Whoever asked has to bring it back, and tell the roster when that is done.
    BringBack(Arc<Told>),
    Nothing,
}

/// What is to be woken next.
pub(super) enum Next {
    Now(InstanceId),
    At(Timestamp),
    Nothing,
}

/// All instances that have not ended.
#[derive(Default)]
pub(super) struct Roster {
    state: Mutex<State>,
    /// Told when what is to be woken next has changed.
    changed: Notify,
    /// Told when an instance has been brought back, or could not be.
    came: Notify,
}

#[derive(Default)]
struct State {
    places: HashMap<InstanceId, Place>,
    /// When those are to be woken that are put aside. What has come back in between is passed over.
    wakes: BTreeSet<(Timestamp, InstanceId)>,
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.state.lock().places.len()
    }

    pub(super) fn standing(&self) -> Standing {
        let state = self.state.lock();
        let running = state.places.values().filter(|place| matches!(place, Place::Running(_))).count();
        Standing { unfinished: state.places.len(), running }
    }

    pub(super) fn running(&self, id: InstanceId) -> Option<Arc<Run>> {
        match self.state.lock().places.get(&id)? {
            Place::Running(run) => Some(run.clone()),
            _ => None,
        }
    }

    /// It runs now.
    pub(super) fn enter(&self, run: Arc<Run>) {
        self.state.lock().places.insert(run.journal.instance, Place::Running(run));
        self.came.notify_waiters();
    }

    /// It has ended, or can't be brought back.
    pub(super) fn remove(&self, id: InstanceId) {
        let mut state = self.state.lock();
        if let Some(Place::Aside { wake, .. }) = state.places.remove(&id) {
            state.wakes.remove(&(wake, id));
        }
        drop(state);
        self.came.notify_waiters();
    }

    /// It is out of memory until a time.
    pub(super) fn put_aside(&self, id: InstanceId, wake: Timestamp, told: &Arc<Told>) {
        let mut state = self.state.lock();
        state.places.insert(id, Place::Aside { wake, told: Arc::downgrade(told) });
        state.wakes.insert((wake, id));
        self.changed.notify_one();
    }

    /// It was left by an earlier process, and is to be brought back at a time. Gives whether it is new here.
    pub(super) fn expect(&self, id: InstanceId, wake: Timestamp) -> bool {
        let mut state = self.state.lock();
        if state.places.contains_key(&id) {
            return false;
        }
        state.places.insert(id, Place::Aside { wake, told: Weak::new() });
        state.wakes.insert((wake, id));
        self.changed.notify_one();
        true
    }

    /// What those who wait for it are told.
    pub(super) fn told(&self, id: InstanceId) -> Option<(Arc<Told>, Weak<Run>)> {
        let mut state = self.state.lock();
        Some(match state.places.get_mut(&id)? {
            Place::Running(run) => (run.told.clone(), Arc::downgrade(run)),
            Place::Coming(told) => (told.clone(), Weak::new()),
            Place::Aside { told, .. } => {
                let known = told.upgrade().unwrap_or_default();
                *told = Arc::downgrade(&known);
                (known, Weak::new())
            }
        })
    }

    /// Where it is. One that is put aside is on its way back then.
    pub(super) fn look(&self, id: InstanceId) -> Look {
        let mut state = self.state.lock();
        let Some(place) = state.places.get_mut(&id) else { return Look::Nothing };
        match place {
            Place::Running(run) => Look::Running(Held::new(run.clone())),
            Place::Coming(_) => Look::Coming,
            Place::Aside { wake, told } => {
                let (wake, told) = (*wake, told.upgrade().unwrap_or_default());
                *place = Place::Coming(told.clone());
                state.wakes.remove(&(wake, id));
                Look::BringBack(told)
            }
        }
    }

    /// What is to be woken next.
    pub(super) fn next(&self, now: Timestamp) -> Next {
        match self.state.lock().wakes.first() {
            Some((wake, id)) if *wake <= now => Next::Now(*id),
            Some((wake, _)) => Next::At(*wake),
            None => Next::Nothing,
        }
    }

    /// Waits for another instance to be woken next.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Waits for an instance to come back, or to be found missing.
    pub(super) fn came(&self) -> Notified<'_> {
        self.came.notified()
    }
}
