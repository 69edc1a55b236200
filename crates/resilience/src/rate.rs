//! Rates: so much in a while, with a burst. The generic cell rate algorithm (GCRA, ITU-T I.371), one atomic a key.
//!
//! The only state is the theoretical arrival time: when all that was taken would have been earned. Taking more moves it
//! on; it may be ahead of now by the burst, no more.

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
    pub units: u32,
    /// The while.
    pub every: Duration,
    /// Units that may be taken at once, after a time without any.
    pub burst: u32,
}

/// Whether something may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken; so many units are left now.
    Taken {
        /// Units left.
        left: u32,
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

/// Limits by key. What has not been used for so long that it is full again is forgotten.
pub struct Limits {
    rate: Rate,
    /// Nanoseconds that a unit takes to be earned.
    unit: u64,
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
        let every = u64::try_from(rate.every.as_nanos()).unwrap_or(u64::MAX);
        Self {
            rate: Rate { burst: rate.burst.max(1), ..rate },
            unit: (every / u64::from(rate.units.max(1))).max(1),
            start: now,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| RwLock::default()),
            most: (keys / SHARDS).max(1),
        }
    }

    /// Takes `cost` units for a key.
    #[must_use]
    pub fn take(&self, key: &str, cost: u32, now: Instant) -> Verdict {
        let now = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        let shard = &self.shards[shard];
        if let Some(cell) = shard.read().get(key) {
            return self.move_on(cell, cost, now);
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
        let cell = map.entry(Arc::from(key)).or_default();
        self.move_on(cell, cost, now)
    }

    fn move_on(&self, cell: &AtomicU64, cost: u32, now: u64) -> Verdict {
        if cost > self.rate.burst {
            return Verdict::Never;
        }
        let (cost, burst) = (self.unit.saturating_mul(u64::from(cost)), u64::from(self.rate.burst));
        let most = self.unit.saturating_mul(burst);
        let mut arrival = cell.load(Ordering::Relaxed);
        loop {
            let next = arrival.max(now).saturating_add(cost);
            let ahead = next - now;
            if ahead > most {
                return Verdict::Denied { after: Duration::from_nanos(ahead - most) };
            }
            match cell.compare_exchange_weak(arrival, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    let left = u32::try_from((most - ahead) / self.unit).unwrap_or(u32::MAX);
                    return Verdict::Taken { left, reset: Duration::from_nanos(ahead) };
                }
                Err(moved) => arrival = moved,
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            let reset = Duration::from_millis(u64::from(5 - left) * 100);
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
    fn over_a_long_time_the_rate_holds_whatever_the_schedule() {
        let (limits, start) = limits();
        let mut taken = 0;
        for ms in 0..60_000_u64 {
            let now = start + Duration::from_millis(ms);
            taken += u32::from(matches!(limits.take("a", 1, now), Verdict::Taken { .. }));
        }
        assert!((600..=605).contains(&taken), "{taken}");
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
