//! A histogram that many threads write to: each has a shard of its own, so that none waits for another.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in nanoseconds: those of the conventions for MCP, and finer ones below.
const BOUNDS_NS: [u64; 20] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    120_000_000_000,
    300_000_000_000,
];

/// The upper bounds of the buckets, in seconds.
pub const BOUNDS: [f64; 20] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
    30.0, 60.0, 120.0, 300.0,
];

/// How many buckets there are, the one without a bound included.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// The most shards.
const MAX_SHARDS: usize = 8;

/// One thread's part. Of two cache lines' size, so that processors do not fight for one.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// A histogram of times.
pub struct Histogram(Box<[Shard]>);

/// What a histogram holds at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many fell in each bucket, not added up.
    pub buckets: [u64; BUCKETS],
    /// All times together, in nanoseconds.
    pub sum_ns: u64,
}

/// How many shards there are on this machine.
fn shards() -> usize {
    static SHARDS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *SHARDS.get_or_init(|| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        processors.next_power_of_two().min(MAX_SHARDS)
    })
}

/// The shard of this thread.
pub(super) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    MINE.with(|mine| mine & (shards() - 1))
}

impl Default for Histogram {
    fn default() -> Self {
        Self((0..shards()).map(|_| Shard::default()).collect())
    }
}

impl Histogram {
    /// Counts a time.
    pub fn record(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.record_ns(ns);
    }

    /// Counts a time in nanoseconds.
    pub fn record_ns(&self, ns: u64) {
        let shard = &self.0[shard()];
        shard.buckets[bucket(ns)].fetch_add(1, Ordering::Relaxed);
        shard.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// What it holds.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for shard in &self.0 {
            for (sum, bucket) in counts.buckets.iter_mut().zip(&shard.buckets) {
                *sum += bucket.load(Ordering::Relaxed);
            }
            counts.sum_ns = counts.sum_ns.wrapping_add(shard.sum_ns.load(Ordering::Relaxed));
        }
        counts
    }
}

/// The bucket that a time falls in.
#[must_use]
pub fn bucket(ns: u64) -> usize {
    BOUNDS_NS.partition_point(|bound| *bound < ns)
}

impl Counts {
    /// How many times there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All times together, in seconds.
    #[must_use]
    pub fn sum(&self) -> f64 {
        seconds(self.sum_ns)
    }

    /// With those of another histogram.
    pub fn add(&mut self, other: &Self) {
        for (sum, bucket) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += bucket;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// What has come since an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = *self;
        for (bucket, before) in counts.buckets.iter_mut().zip(earlier.buckets) {
            *bucket = bucket.saturating_sub(before);
        }
        counts.sum_ns = counts.sum_ns.wrapping_sub(earlier.sum_ns);
        counts
    }

    /// The time within which this share of all fell, in seconds: linear within its bucket, as Prometheus reckons.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = share * as_float(count);
        let mut below = 0;
        for (index, in_bucket) in self.buckets.iter().enumerate() {
            if *in_bucket > 0 && as_float(below + in_bucket) >= rank {
                let Some(upper) = BOUNDS.get(index) else { return BOUNDS.last().copied() };
                let lower = index.checked_sub(1).map_or(0.0, |before| BOUNDS[before]);
                let within = ((rank - as_float(below)) / as_float(*in_bucket)).clamp(0.0, 1.0);
                return Some(lower + (upper - lower) * within);
            }
            below += in_bucket;
        }
        BOUNDS.last().copied()
    }

    /// The share of times that are at most `limit`, one of the bounds, in seconds.
    #[must_use]
    pub fn share_within(&self, limit: f64) -> Option<f64> {
        let count = self.count();
        let within: u64 = self
            .buckets
            .iter()
            .zip(BOUNDS)
            .filter(|(_, bound)| *bound <= limit)
            .map(|(bucket, _)| bucket)
            .sum();
        (count > 0).then(|| as_float(within) / as_float(count))
    }
}

/// A count as a number of the exposition.
#[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 lose what nobody reads")]
#[must_use]
pub fn as_float(count: u64) -> f64 {
    count as f64
}

/// Nanoseconds as seconds.
#[must_use]
pub fn seconds(ns: u64) -> f64 {
    as_float(ns) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_the_same_in_both_units() {
        for (ns, seconds) in BOUNDS_NS.iter().zip(BOUNDS) {
            assert!((as_float(*ns) / 1e9 - seconds).abs() < 1e-12);
        }
    }

    #[test]
    fn threads_count_for_themselves_and_nothing_is_lost() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1_000).for_each(|_| histogram.record(Duration::from_millis(3))));
            }
        });
        let counts = histogram.counts();
        assert_eq!((counts.count(), counts.sum_ns), (8_000, 24_000_000_000));
        let median = counts.quantile(0.5).unwrap();
        assert!((0.0025..=0.005).contains(&median), "{median}");
        assert_eq!(counts.share_within(0.005), Some(1.0));
        assert_eq!(counts.share_within(0.0025), Some(0.0));
        assert_eq!(counts.since(&counts).count(), 0);
    }

    #[test]
    fn a_time_on_a_bound_is_within_it() {
        assert_eq!((bucket(100_000), bucket(100_001), bucket(u64::MAX)), (0, 1, BUCKETS - 1));
    }
}
