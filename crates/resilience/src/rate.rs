//! Rates: so much in a while, with a burst. The generic cell rate algorithm (GCRA, ITU-T I.371), one atomic a key.
//!
//! The only state is the theoretical arrival time: when all that was taken would have been earned. Taking more moves it
//! on; it may be ahead of now by the burst, no more. What a call costs may be known only after it: that is debited, and
//! then the time may be ahead by another burst, the debt, which has to be earned before anything is taken again.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

/// Shards of the keys.
const SHARDS: usize = 16;

/// So many units in a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Units in the while.
    pub units: u64,
    /// The while.
    pub every: Duration,
    /// Units that may be taken at once, after a time without any.
    pub burst: u64,
}

/// Whether something may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken; so many units are left now.
    Taken {
        /// Units left.
        left: u64,
        /// When all are back.
        reset: Duration,
    },
    /// It was not taken.
    Denied {
        /// When it can be.
        after: Duration,
    },
    /// It never can be: it costs more than the burst.
    Never,
}

/// What is used of a limit by one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// The key.
    pub key: Arc<str>,
    /// Units used; more than the burst where some are owed.
    pub used: u64,
    /// Units left.
    pub left: u64,
    /// When there is room for one unit.
    pub free: Duration,
    /// When all are back.
    pub full: Duration,
}

/// Limits by key. What has not been used for so long that it is full again is forgotten.
pub struct Limits {
    rate: Rate,
    start: Instant,
    hasher: RandomState,
    shards: [RwLock<HashMap<Arc<str>, AtomicU64>>; SHARDS],
    /// The most keys of a shard.
    most: usize,
}

impl Limits {
    /// Limits with this rate for at most about `keys` keys at a time.
    #[must_use]
    pub fn new(rate: Rate, keys: usize, now: Instant) -> Self {
        Self {
            rate: Rate { units: rate.units.max(1), burst: rate.burst.max(1), ..rate },
            start: now,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| RwLock::default()),
            most: (keys / SHARDS).max(1),
        }
    }

    /// Takes `cost` units for a key.
    #[must_use]
    pub fn take(&self, key: &str, cost: u64, now: Instant) -> Verdict {
        if cost > self.rate.burst {
            return Verdict::Never;
        }
        let (now, earned) = (self.since(now), self.earned_in(cost));
        let most = self.earned_in(self.rate.burst);
        self.with(key, now, |cell| {
            let mut arrival = cell.load(Ordering::Relaxed);
            loop {
                let next = arrival.max(now).saturating_add(earned);
                let ahead = next - now;
                if ahead > most {
                    return Verdict::Denied { after: Duration::from_nanos(ahead - most) };
                }
                match cell.compare_exchange_weak(arrival, next, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => {
                        let left = self.units_in(most - ahead);
                        return Verdict::Taken { left, reset: Duration::from_nanos(ahead) };
                    }
                    Err(moved) => arrival = moved,
                }
            }
        })
    }

    /// Takes units for what has happened already, whether or not they are there. The debt is a burst at most, so that one
    /// dear call does not shut its caller out for ever.
    pub fn debit(&self, key: &str, cost: u64, now: Instant) {
        let (now, earned) = (self.since(now), self.earned_in(cost));
        let most = now.saturating_add(self.earned_in(self.rate.burst).saturating_mul(2));
        self.with(key, now, |cell| {
            let owed = |arrival: u64| {
                let arrival = arrival.max(now);
                Some(arrival.saturating_add(earned).min(most.max(arrival)))
            };
            // The closure never gives none.
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, owed);
        });
    }

    /// Gives back units that were taken for what did not happen.
    pub fn give_back(&self, key: &str, cost: u64, now: Instant) {
        let (now, earned) = (self.since(now), self.earned_in(cost));
        self.with(key, now, |cell| {
            let less = |arrival: u64| Some(arrival.saturating_sub(earned));
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        });
    }

    /// What is used by the keys of which `of` says yes, the most used first and `most` of them, and how many have used any.
    #[must_use]
    pub fn used(&self, most: usize, now: Instant, of: impl Fn(&str) -> bool) -> (Vec<Used>, usize) {
        let now = self.since(now);
        let mut ahead: Vec<(u64, Arc<str>)> = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            let used =
                shard.iter().map(|(key, cell)| (cell.load(Ordering::Relaxed).saturating_sub(now), key));
            ahead.extend(
                used.filter(|(ahead, key)| *ahead > 0 && of(key)).map(|(ahead, key)| (ahead, key.clone())),
            );
        }
        let all = ahead.len();
        ahead.sort_unstable_by(|a, b| b.cmp(a));
        ahead.truncate(most);
        let (burst, unit) = (self.earned_in(self.rate.burst), self.earned_in(1));
        let used = |(ahead, key): (u64, Arc<str>)| {
            let left = self.units_in(burst.saturating_sub(ahead));
            // What is in part back is used as yet.
            let used = if ahead <= burst { self.rate.burst - left } else { self.units_in(ahead) };
            let free = Duration::from_nanos(ahead.saturating_add(unit).saturating_sub(burst));
            Used { key, used, left, free, full: Duration::from_nanos(ahead) }
        };
        (ahead.into_iter().map(used).collect(), all)
    }

    /// What is limited.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    fn since(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The nanoseconds in which so many units are earned.
    fn earned_in(&self, units: u64) -> u64 {
        let time = u128::from(units).saturating_mul(self.rate.every.as_nanos());
        u64::try_from(time.div_ceil(u128::from(self.rate.units))).unwrap_or(u64::MAX)
    }

    /// The whole units that are earned in so many nanoseconds.
    fn units_in(&self, nanos: u64) -> u64 {
        let every = self.rate.every.as_nanos().max(1);
        u64::try_from(u128::from(nanos).saturating_mul(u128::from(self.rate.units)) / every)
            .unwrap_or(u64::MAX)
    }

    fn with<T>(&self, key: &str, now: u64, act: impl FnOnce(&AtomicU64) -> T) -> T {
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        let shard = &self.shards[shard];
        if let Some(cell) = shard.read().get(key) {
            return act(cell);
        }
        let mut map = shard.write();
        if map.len() >= self.most {
            // What is full again is as good as new.
            map.retain(|_, cell| cell.load(Ordering::Relaxed) > now);
            if map.len() >= self.most {
                // All of them are in use. One of them begins anew rather than that memory grows without bound.
                let any = map.keys().next().cloned();
                any.and_then(|key| map.remove(&key));
            }
        }
        act(map.entry(Arc::from(key)).or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> (Limits, Instant) {
        let now = Instant::now();
        let rate = Rate { units: 10, every: Duration::from_secs(1), burst: 5 };
        (Limits::new(rate, 64, now), now)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (limits, now) = limits();
        for left in (0..5).rev() {
            let reset = Duration::from_millis((5 - left) * 100);
            assert_eq!(limits.take("a", 1, now), Verdict::Taken { left, reset });
        }
        assert_eq!(limits.take("a", 1, now), Verdict::Denied { after: Duration::from_millis(100) });
        assert!(matches!(limits.take("b", 5, now), Verdict::Taken { left: 0, .. }), "keys are apart");
        let later = now + Duration::from_millis(100);
        assert!(matches!(limits.take("a", 1, later), Verdict::Taken { .. }));
        assert!(matches!(limits.take("a", 2, later), Verdict::Denied { .. }));
        assert_eq!(limits.take("a", 6, later), Verdict::Never);
    }

    #[test]
    fn what_a_call_costs_is_debited_after_it_and_has_to_be_earned() {
        let (limits, now) = limits();
        assert!(matches!(limits.take("a", 1, now), Verdict::Taken { left: 4, .. }));
        limits.debit("a", 6, now);
        // Seven are taken of five: two are owed, and one more is wanted.
        assert_eq!(limits.take("a", 1, now), Verdict::Denied { after: Duration::from_millis(300) });
        limits.debit("a", 1_000_000, now);
        assert_eq!(limits.take("a", 1, now), Verdict::Denied { after: Duration::from_millis(600) });
        limits.give_back("a", 1_000_000, now);
        assert!(matches!(limits.take("a", 5, now), Verdict::Taken { left: 0, .. }));
    }

    #[test]
    fn what_is_used_is_told_until_it_is_back() {
        let (limits, now) = limits();
        let _ = (limits.take("a", 2, now), limits.take("b", 5, now));
        let used = |now| limits.used(9, now, |_| true);
        let (all, count) = used(now);
        assert_eq!((all.len(), count), (2, 2));
        assert_eq!((&*all[0].key, all[0].used, all[0].left), ("b", 5, 0));
        assert_eq!(all[0].free, Duration::from_millis(100));
        assert_eq!((&*all[1].key, all[1].used, all[1].left, all[1].free), ("a", 2, 3, Duration::ZERO));
        assert_eq!(limits.used(1, now, |key| key == "a").0[0].full, Duration::from_millis(200));
        assert_eq!(used(now + Duration::from_millis(200)).1, 1);
        limits.debit("b", 3, now);
        assert_eq!(used(now).0[0].used, 8);
    }

    #[test]
    fn rates_far_from_one_a_second_are_kept_exactly() {
        let now = Instant::now();
        let huge = Rate { units: 10_000_000_000, every: Duration::from_secs(1), burst: 10_000_000_000 };
        let limits = Limits::new(huge, 64, now);
        assert!(matches!(limits.take("a", 5_000_000_000, now), Verdict::Taken { left: 5_000_000_000, .. }));
        assert!(matches!(limits.take("a", 5_000_000_010, now), Verdict::Denied { .. }));
        let rare = Rate { units: 1, every: Duration::from_secs(30 * 86_400), burst: 1 };
        let limits = Limits::new(rare, 64, now);
        assert!(matches!(limits.take("a", 1, now), Verdict::Taken { left: 0, .. }));
        assert_eq!(limits.take("a", 1, now), Verdict::Denied { after: rare.every });
    }

    proptest! {
        #[test]
        fn over_a_long_time_the_rate_holds_whatever_the_schedule(
            steps in proptest::collection::vec((0..200_u64, 1..6_u64), 1..400),
        ) {
            let (limits, start) = limits();
            let (mut ms, mut taken) = (0, 0);
            for (pause, cost) in steps {
                ms += pause;
                let now = start + Duration::from_millis(ms);
                if matches!(limits.take("a", cost, now), Verdict::Taken { .. }) {
                    taken += cost;
                }
            }
            prop_assert!(taken <= ms / 100 + 5, "{taken} in {ms} ms");
        }
    }

    #[test]
    fn memory_is_bounded_whoever_asks() {
        let (limits, now) = limits();
        for n in 0..100_000 {
            let _ = limits.take(&format!("key {n}"), 1, now);
        }
        let held: usize = limits.shards.iter().map(|shard| shard.read().len()).sum();
        assert!(held <= 64, "{held}");
    }
}
