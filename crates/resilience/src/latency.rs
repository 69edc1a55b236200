//! How long calls took lately: quantiles from a histogram with buckets of an eighth of a power of two.
//!
//! Two halves take turns, so that what is older than two windows is forgotten. A quantile is right to about 6 %.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Buckets within a power of two.
const FINE: u32 = 8;

/// Powers of two of microseconds: up to an hour.
const POWERS: u32 = 32;

/// Buckets in all.
const SIZE: usize = (FINE * POWERS) as usize;

/// How long calls took lately.
pub struct Latency {
    window: Duration,
    inner: Mutex<Inner>,
}

struct Inner {
    newer: Box<[u32; SIZE]>,
    older: Box<[u32; SIZE]>,
    turned: Instant,
}

impl Latency {
    /// An empty record of the last one to two windows.
    #[must_use]
    pub fn new(window: Duration, now: Instant) -> Self {
        let empty = || Box::new([0; SIZE]);
        Self { window, inner: Mutex::new(Inner { newer: empty(), older: empty(), turned: now }) }
    }

    /// Counts a call.
    pub fn took(&self, now: Instant, time: Duration) {
        let mut inner = self.inner.lock();
        inner.turn(now, self.window);
        let bucket = &mut inner.newer[bucket(time)];
        *bucket = bucket.saturating_add(1);
    }

    /// The time within which this share of the calls ended (0.99: the 99th percentile); `None` below `least` calls.
    #[must_use]
    pub fn quantile(&self, now: Instant, share: f64, least: u64) -> Option<Duration> {
        let mut inner = self.inner.lock();
        inner.turn(now, self.window);
        let count = |index: usize| u64::from(inner.newer[index]) + u64::from(inner.older[index]);
        let all: u64 = (0..SIZE).map(count).sum();
        if all == 0 || all < least {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among counts of calls"
        )]
        let rank = ((all as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for index in 0..SIZE {
            seen += count(index);
            if seen >= rank {
                return Some(upper(index));
            }
        }
        None
    }
}

impl Inner {
    fn turn(&mut self, now: Instant, window: Duration) {
        let passed = now.saturating_duration_since(self.turned);
        if passed < window {
            return;
        }
        std::mem::swap(&mut self.newer, &mut self.older);
        self.newer.fill(0);
        if passed >= window * 2 {
            self.older.fill(0);
        }
        self.turned = now;
    }
}

/// The bucket of a time: the power of two of its microseconds, and the three bits after it.
fn bucket(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(u64::from(FINE));
    let power = 63 - micros.leading_zeros();
    let fine = (micros >> (power - 3)) & u64::from(FINE - 1);
    let index = u64::from((power - 3) * FINE) + fine;
    usize::try_from(index).unwrap_or(SIZE).min(SIZE - 1)
}

/// The end of a bucket.
fn upper(index: usize) -> Duration {
    let index = u64::try_from(index).unwrap_or(0);
    let (power, fine) = (index / u64::from(FINE), index % u64::from(FINE));
    Duration::from_micros((u64::from(FINE) + fine + 1) << power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_sixteenth_or_so() {
        let now = Instant::now();
        let latency = Latency::new(Duration::from_secs(10), now);
        for ms in 1..=1_000 {
            latency.took(now, Duration::from_millis(ms));
        }
        for (share, expected) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let found = latency.quantile(now, share, 1).unwrap().as_secs_f64() * 1e3;
            assert!((found / expected - 1.0).abs() < 0.13, "{share}: {found}");
        }
        assert_eq!(latency.quantile(now, 0.5, 2_000), None);
        let later = now + Duration::from_secs(60);
        assert_eq!(latency.quantile(later, 0.5, 1), None);
    }

    #[test]
    fn every_time_has_a_bucket() {
        for time in [Duration::ZERO, Duration::from_micros(7), Duration::from_micros(8), Duration::MAX] {
            assert!(bucket(time) < SIZE);
        }
        for micros in [8_u64, 9, 15, 16, 17, 1_000, 123_456] {
            let end = upper(bucket(Duration::from_micros(micros)));
            assert!(end > Duration::from_micros(micros) && end <= Duration::from_micros(micros * 9 / 8 + 1));
        }
    }
}
