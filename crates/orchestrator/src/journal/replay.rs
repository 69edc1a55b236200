//! What a journal holds that the run has not come to again after a crash.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::task::Waker;

use jiff::Timestamp;
use serde_json::Value;

use crate::entry::{Ended, Intended, Key, Resolution, StepOutcome};

/// What an earlier process has written and this one has not taken yet.
#[derive(Default)]
pub(super) struct Replay {
    /// The decisions in their order.
    pub(super) order: VecDeque<Turn>,
    /// The last intent of every step.
    pub(super) intended: HashMap<Key, Intended>,
    /// Until when something waits.
    pub(super) waiting: HashMap<Key, Timestamp>,
    pub(super) compensating: bool,
    /// Since when something waits for its turn.
    pub(super) queued: HashMap<Key, Timestamp>,
    /// It had done more than to wait for its own turn.
    pub(super) begun: bool,
    /// The steps whose last attempt was not seen to end.
    pub(super) unfinished: BTreeSet<Key>,
    /// The tasks that were passed.
    pub(super) passed: HashMap<Key, Timestamp>,
    /// The steps about which a person was asked who has not answered.
    pub(super) stuck: HashSet<Key>,
    /// Steps that ended when their branch had gone, as far as the turns before them were taken.
    pub(super) orphans: Vec<Ended>,
    /// The same steps: the branch of one may have gone with its process only.
    pub(super) late: HashMap<Key, (u32, StepOutcome)>,
    pub(super) wakers: Vec<Waker>,
    /// Counts the turns that were taken.
    pub(super) taken: u64,
}

/// A decision that the run takes again.
#[derive(Clone, Debug)]
pub(super) enum Turn {
    Ended(Ended, Timestamp),
    Decided(Key, Value, Timestamp),
    Resolved(Key, Resolution, Timestamp),
}

impl Turn {
    pub(super) fn is_of(&self, kind: Kind, key: &str) -> bool {
        match self {
            Self::Ended(ended, _) => kind == Kind::Step && !ended.orphan && *ended.key == *key,
            Self::Decided(of, ..) => kind == Kind::Decision && **of == *key,
            Self::Resolved(of, ..) => kind == Kind::Resolution && **of == *key,
        }
    }
}

impl Replay {
    /// Takes the turns that no branch waits for any more.
    pub(super) fn pass_orphans(&mut self) {
        while let Some(Turn::Ended(ended, _)) = self.order.front()
            && ended.orphan
            && let Some(Turn::Ended(ended, _)) = self.order.pop_front()
        {
            self.orphans.push(ended);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Step,
    Decision,
    Resolution,
}
