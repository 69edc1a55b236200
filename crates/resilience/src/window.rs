//! Exact counts of the last few seconds, in ten buckets.
//!
//! An average weighted by time or by arrivals hides a burst of failures behind a long good history; exact counts of a
//! short window do not, and they cost one addition a call.

use std::time::{Duration, Instant};

/// How many buckets a window has: its end moves in tenths.
const BUCKETS: usize = 10;

/// How often something went well and badly in the last while.
#[derive(Clone, Debug)]
pub struct Window {
    buckets: [Counts; BUCKETS],
    /// Which tenth of the window's length, counted from `start`, the newest bucket is of.
    newest: u64,
    start: Instant,
    tenth: Duration,
}

/// How often something went well and badly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Went well.
    pub good: u32,
    /// Went badly.
    pub bad: u32,
}

impl Counts {
    /// All of them.
    #[must_use]
    pub fn all(self) -> u32 {
        self.good.saturating_add(self.bad)
    }
}

impl Window {
    /// An empty window of this length.
    #[must_use]
    pub fn new(length: Duration, now: Instant) -> Self {
        let tenth = (length / 10).max(Duration::from_millis(1));
        Self { buckets: [Counts::default(); BUCKETS], newest: 0, start: now, tenth }
    }

    /// Counts something that went well.
    pub fn good(&mut self, now: Instant) {
        let bucket = self.bucket(now);
        bucket.good = bucket.good.saturating_add(1);
    }

    /// Counts something that went badly.
    pub fn bad(&mut self, now: Instant) {
        let bucket = self.bucket(now);
        bucket.bad = bucket.bad.saturating_add(1);
    }

    /// The counts of the last while.
    pub fn counts(&mut self, now: Instant) -> Counts {
        self.bucket(now);
        self.buckets.iter().fold(Counts::default(), |sum, bucket| Counts {
            good: sum.good.saturating_add(bucket.good),
            bad: sum.bad.saturating_add(bucket.bad),
        })
    }

    /// When it began: a time that has passed.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets = [Counts::default(); BUCKETS];
    }

    /// The newest bucket, after those that are too old were emptied.
    fn bucket(&mut self, now: Instant) -> &mut Counts {
        let passed = now.saturating_duration_since(self.start).as_nanos() / self.tenth.as_nanos();
        let tenth = u64::try_from(passed).unwrap_or(u64::MAX).max(self.newest);
        let old = (tenth - self.newest).min(BUCKETS as u64);
        for back in 0..old {
            self.buckets[slot(tenth - back)] = Counts::default();
        }
        self.newest = tenth;
        &mut self.buckets[slot(tenth)]
    }
}

fn slot(tenth: u64) -> usize {
    usize::try_from(tenth % BUCKETS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut window = Window::new(Duration::from_secs(10), start);
        (0..100_000).for_each(|_| window.good(at(100)));
        window.bad(at(5_000));
        assert_eq!(window.counts(at(9_900)), Counts { good: 100_000, bad: 1 });
        assert_eq!(window.counts(at(10_100)), Counts { good: 0, bad: 1 });
        assert_eq!(window.counts(at(15_100)), Counts::default());
        // A clock that stands still or a long silence does no harm.
        window.good(at(1_000_000));
        window.good(at(5));
        assert_eq!(window.counts(at(1_000_000)), Counts { good: 2, bad: 0 });
    }
}
