//! Which of several instances of a service a call goes to.
//!
//! The usual way is the power of two choices (Mitzenmacher 2001) on what an instance costs: its latency, as an average that
//! follows slow calls at once and fast ones slowly (the peak EWMA of Finagle and Linkerd), times the calls that it has.
//! A failure counts as a slow call. An instance that is left out for its failures or fails its checks gets none; where that is
//! true of all, all are tried.

use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_model::{Instance, InstanceStatus};

use crate::guard::Chance;
use crate::outlier::{OutlierConfig, Record};

/// Time over which what was seen of an instance counts less and less (to 1/e).
const DECAY: Duration = Duration::from_secs(10);

/// What a failure costs beside slow calls.
const PENALTY: Duration = Duration::from_secs(5);

/// The longest that an instance may ask to be left alone.
const MAX_WISH: Duration = Duration::from_secs(300);

/// The share of its calls that an instance takes at the beginning of a slow start.
const FIRST_SHARE: f64 = 0.1;

/// How calls are spread over the instances of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BalanceConfig {
    /// Which instance a call goes to.
    pub policy: Policy,
    /// The zone that this gateway runs in: instances there are preferred as long as one of them is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How long a new instance, or one that is back, takes to get its full share, in milliseconds; 0: at once.
    pub slow_start_ms: u64,
    /// When an instance is left out for its failures.
    pub outliers: OutlierConfig,
}

/// Which instance a call goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The one of two chosen by chance that is faster and has less to do.
    #[default]
    PeakEwma,
    /// The one of two chosen by chance that has less to do.
    LeastRequests,
    /// One after the other.
    RoundRobin,
    /// The calls of a conversation (or of a caller, where there is none) to the same one: for services that keep state.
    /// Rendezvous hashing (Thaler and Ravishankar 1998): where one instance goes, only its conversations move.
    Sticky,
}

/// What is known of an instance and its calls.
pub struct Endpoint {
    instance: Instance,
    since: Mutex<Instant>,
    pending: AtomicUsize,
    cost: Mutex<Cost>,
    /// Why its checks, and its connection, say that it is not well.
    unwell: Mutex<[Option<Arc<str>>; 2]>,
    pub(crate) record: Mutex<Record>,
}

#[derive(Default)]
struct Cost {
    /// Seconds; nothing is known before the first call.
    seconds: Option<f64>,
    updated: Option<Instant>,
}

/// What says how an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A check that was made of it.
    Check,
    /// Whether it can be reached, as calls find it.
    Connection,
}

/// A call on its way at an instance.
pub struct Flight<'a>(&'a Endpoint, Instant);

impl Endpoint {
    /// An instance of which nothing is known.
    #[must_use]
    pub fn new(instance: Instance, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            instance,
            since: Mutex::new(now),
            pending: AtomicUsize::new(0),
            cost: Mutex::default(),
            unwell: Mutex::default(),
            record: Mutex::default(),
        })
    }

    /// The instance.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// A call begins.
    #[must_use]
    pub fn begin(&self, now: Instant) -> Flight<'_> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        Flight(self, now)
    }

    /// A sign of how it is: why it is not well, or none. Gives whether that is another thing than before. A check that it
    /// passes ends its being left out.
    pub fn saw(&self, sign: Sign, unwell: Option<Arc<str>>, now: Instant) -> bool {
        let well = unwell.is_none();
        let was = std::mem::replace(&mut self.unwell.lock()[sign as usize], unwell);
        if well && was.is_some() {
            // It begins anew: what it cost before it was mended says nothing.
            *self.since.lock() = now;
            *self.cost.lock() = Cost::default();
        }
        let back = well && sign == Sign::Check && self.record.lock().forgive();
        back || was.is_none() != well
    }

    /// Whether calls go to it.
    #[must_use]
    pub fn is_usable(&self, now: Instant) -> bool {
        self.instance.weight > 0 && self.unwell().is_none() && !self.record.lock().is_ejected(now)
    }

    /// What its signs say is wrong.
    fn unwell(&self) -> Option<Arc<str>> {
        self.unwell.lock().iter().flatten().next().cloned()
    }

    /// How long its calls take, in seconds.
    fn cost(&self, now: Instant) -> Option<f64> {
        self.cost.lock().at(now)
    }

    /// How it is, for people.
    #[must_use]
    pub fn status(&self, now: Instant) -> InstanceStatus {
        // One lock at a time, here as everywhere.
        let (left_out, ejections) = {
            let record = self.record.lock();
            (record.cause(now), record.ejections())
        };
        let cause = self.unwell().or(left_out);
        InstanceStatus {
            url: self.instance.url.clone(),
            zone: self.instance.zone.clone(),
            version: self.instance.version.clone(),
            healthy: cause.is_none() && self.instance.weight > 0,
            cause,
            pending: self.pending.load(Ordering::Relaxed),
            latency_ms: self.cost(now).map(|seconds| seconds * 1e3),
            ejections,
            capabilities: self.instance.capabilities.clone(),
            metadata: self.instance.metadata.clone(),
        }
    }

    /// The part of its share that it takes yet.
    fn ramp(&self, now: Instant, slow_start: Duration) -> f64 {
        let age = now.saturating_duration_since(*self.since.lock());
        if age >= slow_start {
            return 1.0;
        }
        (age.as_secs_f64() / slow_start.as_secs_f64()).max(FIRST_SHARE)
    }

    /// The share of calls that it should take, beside the others.
    fn share(&self, now: Instant, slow_start: Duration) -> f64 {
        f64::from(self.instance.weight) * self.ramp(now, slow_start)
    }
}

impl Cost {
    /// What is left of it: nobody has looked for a while.
    fn at(&self, now: Instant) -> Option<f64> {
        let (seconds, updated) = (self.seconds?, self.updated?);
        Some(seconds * (-now.saturating_duration_since(updated).as_secs_f64() / DECAY.as_secs_f64()).exp())
    }

    fn saw(&mut self, now: Instant, took: Duration) {
        let (took, old) = (took.as_secs_f64(), self.seconds.unwrap_or(0.0));
        let since = self.updated.map_or(DECAY, |updated| now.saturating_duration_since(updated));
        let kept = (-since.as_secs_f64() / DECAY.as_secs_f64()).exp();
        self.seconds = Some(if took > old { took } else { old * kept + took * (1.0 - kept) });
        self.updated = Some(now);
    }
}

impl Flight<'_> {
    /// The service answered.
    pub fn answered(self, now: Instant) {
        self.0.cost.lock().saw(now, now.saturating_duration_since(self.1));
    }

    /// The service failed, or asked to be left alone for a while.
    pub fn failed(self, now: Instant, wish: Option<Duration>) {
        let cost = wish.unwrap_or(PENALTY).clamp(PENALTY, MAX_WISH);
        self.0.cost.lock().saw(now, cost.max(now.saturating_duration_since(self.1)));
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
        // A call that was given up has taken so long at least.
        let now = tokio::time::Instant::now().into_std();
        let (mut cost, took) = (self.0.cost.lock(), now.saturating_duration_since(self.1));
        if cost.seconds.is_some_and(|seconds| took.as_secs_f64() > seconds) {
            cost.saw(now, took);
        }
    }
}

/// Chooses instances.
pub struct Balancer {
    config: BalanceConfig,
    chance: Chance,
    turn: AtomicUsize,
}

impl Balancer {
    /// A balancer that draws its chance from `chance`.
    #[must_use]
    pub fn new(config: BalanceConfig, chance: Chance) -> Self {
        Self { config, chance, turn: AtomicUsize::new(0) }
    }

    /// How it was configured.
    #[must_use]
    pub fn config(&self) -> &BalanceConfig {
        &self.config
    }

    /// The instance for a call, by index; none where all have been tried. `key` is what sticks.
    #[must_use]
    pub fn pick(&self, all: &[Arc<Endpoint>], tried: &[usize], key: &str, now: Instant) -> Option<usize> {
        let open: Vec<usize> = (0..all.len()).filter(|index| !tried.contains(index)).collect();
        let mut well: Vec<usize> = open.iter().copied().filter(|&index| all[index].is_usable(now)).collect();
        if well.is_empty() {
            // Nobody is known to be well: better to try than to refuse.
            well = open.into_iter().filter(|&index| all[index].instance.weight > 0).collect();
        }
        if let Some(zone) = &self.config.zone {
            let near = |index: &usize| all[*index].instance.zone.as_ref() == Some(zone);
            if well.iter().any(near) {
                well.retain(near);
            }
        }
        match &well[..] {
            [] => None,
            [one] => Some(*one),
            several => Some(self.among(all, several, key, now)),
        }
    }

    fn among(&self, all: &[Arc<Endpoint>], well: &[usize], key: &str, now: Instant) -> usize {
        let slow_start = Duration::from_millis(self.config.slow_start_ms);
        match self.config.policy {
            Policy::PeakEwma | Policy::LeastRequests => {
                let (one, other) = self.two(well);
                if self.is_less(&all[other], &all[one], now, slow_start) { other } else { one }
            }
            Policy::RoundRobin => self.next_in_turn(all, well),
            Policy::Sticky => stuck_to(all, well, key),
        }
    }

    /// Two different ones.
    fn two(&self, well: &[usize]) -> (usize, usize) {
        let first = self.below(well.len());
        let second = (first + 1 + self.below(well.len() - 1)) % well.len();
        (well[first], well[second])
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index among instances"
    )]
    fn below(&self, count: usize) -> usize {
        ((((self.chance)()).clamp(0.0, 1.0) * count as f64) as usize).min(count - 1)
    }

    #[expect(clippy::cast_precision_loss, reason = "calls at a time")]
    fn is_less(&self, one: &Endpoint, other: &Endpoint, now: Instant, slow_start: Duration) -> bool {
        let waiting = |endpoint: &Endpoint| (endpoint.pending.load(Ordering::Relaxed) + 1) as f64;
        let (mut a, mut b) =
            (waiting(one) / one.share(now, slow_start), waiting(other) / other.share(now, slow_start));
        // Of what has not been called yet nothing speaks against it.
        if self.config.policy == Policy::PeakEwma
            && let (Some(costs), Some(others)) = (one.cost(now), other.cost(now))
        {
            (a, b) = (a * costs, b * others);
        }
        a < b
    }

    fn next_in_turn(&self, all: &[Arc<Endpoint>], well: &[usize]) -> usize {
        let weight = |index: &usize| all[*index].instance.weight as usize;
        let sum: usize = well.iter().map(weight).sum();
        let mut turn = self.turn.fetch_add(1, Ordering::Relaxed) % sum.max(1);
        for index in well {
            if turn < weight(index) {
                return *index;
            }
            turn -= weight(index);
        }
        well[0]
    }
}

/// The instance with the highest weighted score of key and address.
fn stuck_to(all: &[Arc<Endpoint>], well: &[usize], key: &str) -> usize {
    let score = |index: usize| {
        let instance = &all[index].instance;
        // Without keys of chance: the same in every process.
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(key.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(instance.url.as_bytes());
        #[expect(clippy::cast_precision_loss, reason = "a number from 0 to 1")]
        let uniform = ((hasher.finish() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -f64::from(instance.weight) / uniform.ln()
    };
    let mut best = (well[0], score(well[0]));
    for &index in &well[1..] {
        let found = score(index);
        if found > best.1 {
            best = (index, found);
        }
    }
    best.0
}

#[cfg(test)]
mod tests;
