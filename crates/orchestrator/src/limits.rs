//! How many instances and steps may go on at the same time, by flow, tool and key. Who is over a limit waits in order.
//!
//! All limits that a step or an instance is under are met at once or not at all, and who waits holds none. The one that
//! has waited longest is at the head of all its queues, so it waits for holders alone; nobody waits in a circle.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use trunkline_model::Principal;

use crate::entry::{InstanceId, Key};
use crate::expression::{self, Expression};

/// The most characters of a key's value that are kept of it.
const MAX_KEY: usize = 200;

/// What the slots of deliveries begin with.
const DELIVERIES: &str = "subscription ";

/// One limit.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Of this flow: its name, or `namespace/name`. Without a tool its instances are counted, with one their calls of it.
    pub flow: Option<String>,
    /// Of calls of this tool, by its advertised name.
    pub tool: Option<String>,
    /// jq that gives a key: every value has a count of its own. `.` is the input of the instance or the arguments of the
    /// step; `$principal` is for whom it runs.
    pub key: Option<Expression>,
    /// How many at a time.
    pub max: usize,
}

impl Limit {
    /// What it counts, in words. Two limits that count the same have the same words.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if let Some(flow) = &self.flow {
            words.push(format!("flow {flow}"));
        }
        if let Some(tool) = &self.tool {
            words.push(format!("tool {tool}"));
        }
        if let Some(key) = &self.key {
            words.push(format!("key {}", key.text()));
        }
        words.join(", ")
    }

    fn is_of(&self, flow: &str, tool: Option<&str>) -> bool {
        let named = |name: &String| name == flow || flow.rsplit('/').next() == Some(name);
        self.tool.as_deref() == tool && self.flow.as_ref().is_none_or(named)
    }
}

/// What is counted: a limit's words, and the value of its key.
pub(crate) type SlotId = Arc<str>;

/// Who counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Holder {
    /// The instance.
    pub instance: InstanceId,
    /// The step; none where it is the instance itself.
    pub step: Option<Key>,
}

/// Since when someone waits, and a number that orders those of the same time.
type Ticket = (Timestamp, u64);

#[derive(Default)]
struct Slot {
    max: usize,
    active: HashSet<Holder>,
    waiting: BTreeMap<Ticket, ()>,
}

struct Waiter {
    holder: Holder,
    slots: Vec<SlotId>,
    admit: oneshot::Sender<Pass>,
}

#[derive(Default)]
struct State {
    rules: Arc<Vec<Limit>>,
    slots: HashMap<SlotId, Slot>,
    waiters: HashMap<Ticket, Waiter>,
    next: u64,
    /// Nobody is let in: those who wait come back first.
    closed: bool,
}

/// All limits, and who is under them. Cloning is cheap.
#[derive(Clone, Default)]
pub(crate) struct Limits(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// There are limits. Most runs meet none.
    any: AtomicBool,
    state: Mutex<State>,
    /// How many deliveries of each subscription may go on at a time.
    deliveries: Mutex<HashMap<Arc<str>, usize>>,
}

/// May go on until it is dropped.
pub(crate) struct Pass {
    limits: Limits,
    holder: Holder,
    slots: Vec<SlotId>,
}

/// Whether one may go on at once.
pub(crate) enum Entered {
    Now(Pass),
    Later(Waiting),
}

/// Waits for its turn.
pub(crate) struct Waiting {
    limits: Limits,
    ticket: Ticket,
    /// What it waits for, in words.
    pub(crate) what: SlotId,
    admitted: oneshot::Receiver<Pass>,
}

/// A queue as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct Queue {
    /// What is counted, in words, with the value of the key.
    pub what: Arc<str>,
    /// How many may go on at a time.
    pub max: usize,
    /// How many do.
    pub active: usize,
    /// Who waits, the first one first.
    pub waiting: Vec<Holder>,
}

impl Limits {
    /// Puts other limits in force. Who goes on already goes on.
    pub(crate) fn set(&self, rules: Vec<Limit>) {
        self.0.any.store(!rules.is_empty(), Ordering::Release);
        let freed = {
            let mut state = self.0.state.lock();
            let max: HashMap<String, usize> = rules.iter().map(|rule| (rule.words(), rule.max)).collect();
            state.rules = Arc::new(rules);
            for (what, slot) in state.slots.iter_mut().filter(|(what, _)| !what.starts_with(DELIVERIES)) {
                slot.max = max.get(rule_of(what)).copied().unwrap_or(usize::MAX);
            }
            state.admit_all()
        };
        self.send(freed);
    }

    /// Says how many deliveries of each subscription may go on at a time. Who goes on already goes on.
    pub(crate) fn set_deliveries(&self, limits: HashMap<Arc<str>, usize>) {
        let freed = {
            let mut state = self.0.state.lock();
            for (what, slot) in &mut state.slots {
                if let Some(name) = what.strip_prefix(DELIVERIES) {
                    slot.max = limits.get(name).copied().unwrap_or(usize::MAX);
                }
            }
            *self.0.deliveries.lock() = limits;
            state.admit_all()
        };
        self.send(freed);
    }

    /// What a delivery to a subscription counts towards.
    pub(crate) fn delivery(&self, subscription: &str) -> Option<(SlotId, usize)> {
        let max = *self.0.deliveries.lock().get(subscription)?;
        Some((Arc::from(format!("{DELIVERIES}{subscription}")), max))
    }

    /// Lets nobody in until [`open`](Self::open): who waited before a crash comes back first.
    pub(crate) fn close(&self) {
        self.0.state.lock().closed = true;
    }

    /// Lets in those whose turn it is.
    pub(crate) fn open(&self) {
        let freed = {
            let mut state = self.0.state.lock();
            state.closed = false;
            state.admit_all()
        };
        self.send(freed);
    }

    /// What an instance or a step counts towards.
    pub(crate) fn slots(
        &self,
        flow: &str,
        tool: Option<&str>,
        dot: impl FnOnce() -> Value,
        principal: &Principal,
        bounds: expression::Limits,
    ) -> Vec<(SlotId, usize)> {
        if !self.0.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let rules = self.0.state.lock().rules.clone();
        let of: Vec<&Limit> = rules.iter().filter(|rule| rule.is_of(flow, tool)).collect();
        if of.is_empty() {
            return Vec::new();
        }
        let (dot, principal) = (dot(), [(Arc::from("principal"), Arc::new(Value::from(&*principal.id)))]);
        let slot = |rule: &Limit| {
            let Some(key) = &rule.key else { return (Arc::from(rule.words()), rule.max) };
            // What has no key is counted together.
            let value = key.evaluate(&dot, &principal, bounds).unwrap_or(Value::Null);
            let value: String = value.to_string().chars().take(MAX_KEY).collect();
            (Arc::from(format!("{} = {value}", rule.words())), rule.max)
        };
        of.into_iter().map(slot).collect()
    }

    /// Goes on at once, or waits. `forced` goes on over the limit: it did before a crash.
    pub(crate) fn enter(
        &self,
        holder: Holder,
        slots: Vec<(SlotId, usize)>,
        since: Timestamp,
        forced: bool,
    ) -> Entered {
        let mut state = self.0.state.lock();
        let mut blocked = None;
        for (what, max) in &slots {
            let slot = state.slots.entry(what.clone()).or_default();
            slot.max = *max;
            if blocked.is_none() && (slot.active.len() >= slot.max || !slot.waiting.is_empty()) {
                blocked = Some(what.clone());
            }
        }
        let first = slots.first().map(|(what, _)| what.clone());
        let blocked = blocked.or_else(|| first.filter(|_| state.closed));
        let slots: Vec<SlotId> = slots.into_iter().map(|(what, _)| what).collect();
        let Some(what) = blocked.filter(|_| !forced) else {
            state.take(&holder, &slots);
            return Entered::Now(Pass { limits: self.clone(), holder, slots });
        };
        state.next += 1;
        let ticket = (since, state.next);
        for what in &slots {
            state.slots.entry(what.clone()).or_default().waiting.insert(ticket, ());
        }
        let (admit, admitted) = oneshot::channel();
        state.waiters.insert(ticket, Waiter { holder, slots, admit });
        Entered::Later(Waiting { limits: self.clone(), ticket, what, admitted })
    }

    /// The queues as they are now: those that count anyone.
    pub(crate) fn queues(&self) -> Vec<Queue> {
        let state = self.0.state.lock();
        let mut queues: Vec<Queue> = state
            .slots
            .iter()
            .map(|(what, slot)| Queue {
                what: what.clone(),
                max: slot.max,
                active: slot.active.len(),
                waiting: slot
                    .waiting
                    .keys()
                    .filter_map(|ticket| state.waiters.get(ticket).map(|waiter| waiter.holder.clone()))
                    .collect(),
            })
            .collect();
        queues.sort_by(|a, b| a.what.cmp(&b.what));
        queues
    }

    /// Hands out passes, outside the lock: one that nobody takes comes back at once.
    fn send(&self, admitted: Vec<Waiter>) {
        for Waiter { holder, slots, admit } in admitted {
            drop(admit.send(Pass { limits: self.clone(), holder, slots }));
        }
    }

    fn leave(&self, ticket: Ticket) {
        let freed = {
            let mut state = self.0.state.lock();
            let Some(waiter) = state.waiters.remove(&ticket) else { return };
            for what in &waiter.slots {
                if let Some(slot) = state.slots.get_mut(what) {
                    slot.waiting.remove(&ticket);
                }
            }
            state.admit(waiter.slots)
        };
        self.send(freed);
    }
}

/// The words of the limit that a slot is of.
fn rule_of(what: &str) -> &str {
    what.rfind(" = ").filter(|_| what.contains("key ")).map_or(what, |at| &what[..at])
}

impl State {
    fn take(&mut self, holder: &Holder, slots: &[SlotId]) {
        for what in slots {
            self.slots.entry(what.clone()).or_default().active.insert(holder.clone());
        }
    }

    /// Lets in who stands at the head of all its queues and has room in all of them.
    fn admit(&mut self, mut changed: Vec<SlotId>) -> Vec<Waiter> {
        let mut admitted = Vec::new();
        while let Some(what) = changed.pop() {
            if self.closed {
                break;
            }
            let Some(slot) = self.slots.get(&what) else { continue };
            let Some(&ticket) = slot.waiting.keys().next() else {
                if slot.active.is_empty() {
                    self.slots.remove(&what);
                }
                continue;
            };
            let may = |what: &SlotId| {
                let slot = self.slots.get(what);
                slot.is_some_and(|slot| {
                    slot.active.len() < slot.max && slot.waiting.keys().next() == Some(&ticket)
                })
            };
            let Some(waiter) = self.waiters.get(&ticket) else { continue };
            if !waiter.slots.iter().all(may) {
                continue;
            }
            let Some(waiter) = self.waiters.remove(&ticket) else { continue };
            for what in &waiter.slots {
                if let Some(slot) = self.slots.get_mut(what) {
                    slot.waiting.remove(&ticket);
                    slot.active.insert(waiter.holder.clone());
                }
            }
            // There may be room for the next ones.
            changed.extend(waiter.slots.iter().cloned());
            admitted.push(waiter);
        }
        admitted
    }

    fn admit_all(&mut self) -> Vec<Waiter> {
        let all = self.slots.keys().cloned().collect();
        self.admit(all)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.slots.is_empty() {
            return;
        }
        let freed = {
            let mut state = self.limits.0.state.lock();
            for what in &self.slots {
                if let Some(slot) = state.slots.get_mut(what) {
                    slot.active.remove(&self.holder);
                }
            }
            state.admit(std::mem::take(&mut self.slots))
        };
        self.limits.send(freed);
    }
}

impl Pass {
    /// Whether a limit counts it.
    pub(crate) fn counts(&self) -> bool {
        !self.slots.is_empty()
    }

    /// A pass of one that is under no limit.
    pub(crate) fn free(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            holder: Holder { instance: InstanceId(uuid::Uuid::nil()), step: None },
            slots: Vec::new(),
        }
    }
}

impl Waiting {
    /// Waits for the turn; `None` where the limits are gone.
    pub(crate) async fn turn(&mut self) -> Option<Pass> {
        (&mut self.admitted).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.limits.leave(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder { instance: InstanceId(uuid::Uuid::now_v7()), step: None }
    }

    fn slots(names: &[&str]) -> Vec<(SlotId, usize)> {
        names.iter().map(|name| (Arc::from(*name), 1)).collect()
    }

    fn enter(limits: &Limits, names: &[&str]) -> Entered {
        limits.enter(holder(), slots(names), Timestamp::UNIX_EPOCH, false)
    }

    fn now(entered: Entered) -> Pass {
        match entered {
            Entered::Now(pass) => pass,
            Entered::Later(waiting) => panic!("it waits for {}", waiting.what),
        }
    }

    fn later(entered: Entered) -> Waiting {
        match entered {
            Entered::Later(waiting) => waiting,
            Entered::Now(_) => panic!("it need not wait"),
        }
    }

    #[tokio::test]
    async fn who_comes_first_goes_first_and_holds_nothing_meanwhile() {
        let limits = Limits::default();
        let (a, b) = (now(enter(&limits, &["a"])), now(enter(&limits, &["b"])));
        let mut both = later(enter(&limits, &["a", "b"]));
        // It would have room, and one that came before it waits for the same.
        let mut after = later(enter(&limits, &["b"]));
        drop(b);
        assert!(after.admitted.try_recv().is_err() && both.admitted.try_recv().is_err());
        drop(a);
        let pass = both.turn().await.unwrap();
        assert!(after.admitted.try_recv().is_err());
        drop(pass);
        drop(after.turn().await.unwrap());
        assert!(limits.queues().is_empty());
    }

    #[tokio::test]
    async fn who_goes_away_keeps_nobody() {
        let limits = Limits::default();
        let a = now(enter(&limits, &["a"]));
        let both = later(enter(&limits, &["a", "b"]));
        let mut after = later(enter(&limits, &["b"]));
        drop(both);
        drop(after.turn().await.unwrap());
        drop(a);
        assert!(limits.queues().is_empty());
    }

    #[tokio::test]
    async fn after_a_crash_the_order_is_that_of_before() {
        let limits = Limits::default();
        limits.close();
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut second = later(limits.enter(holder(), slots(&["a"]), at(2), false));
        let mut first = later(limits.enter(holder(), slots(&["a"]), at(1), false));
        limits.open();
        let pass = first.turn().await.unwrap();
        assert!(second.admitted.try_recv().is_err());
        drop(pass);
        drop(second.turn().await.unwrap());
    }
}
