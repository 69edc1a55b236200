//! Instances that fail more than the others are left out for a while (outlier ejection, as Envoy has it).
//!
//! Three signs: failures in a row; a share of good answers that is some standard deviations below the mean of all; a share of
//! failures above a limit. At most a share of the instances is left out at a time. The time is the
//! base times how often that has happened, and what was well for a while counts less often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::balance::Endpoint;

/// When an instance is left out for its failures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutlierConfig {
    /// Failures in a row; 0: never for that.
    pub consecutive: u32,
    /// How often shares are looked at, in milliseconds.
    pub interval_ms: u64,
    /// How long it is left out the first time, in milliseconds.
    pub base_ms: u64,
    /// The longest that it is left out, in milliseconds.
    pub max_ms: u64,
    /// The most instances that are left out at a time, as a share; at least one, where there are two.
    pub max_share: f64,
    /// How many standard deviations below the mean a share of good answers may be; 0: never for that.
    pub deviations: f64,
    /// The share of failures in an interval, from 0 to 1; 0: never for that.
    pub failure_share: f64,
    /// The calls that an instance must have had in an interval for its shares to count.
    pub min_calls: u32,
    /// The instances that must have had so many for deviations to count.
    pub min_instances: usize,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            consecutive: 5,
            interval_ms: 10_000,
            base_ms: 30_000,
            max_ms: 300_000,
            max_share: 0.5,
            deviations: 1.9,
            failure_share: 0.85,
            min_calls: 100,
            min_instances: 5,
        }
    }
}

/// What is remembered of an instance's answers.
#[derive(Default)]
pub(crate) struct Record {
    in_a_row: u32,
    good: u32,
    bad: u32,
    out: Option<(Instant, Arc<str>)>,
    /// How many base times the next ejection takes, less one.
    times: u32,
    ejections: u32,
}

impl Record {
    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.out.as_ref().is_some_and(|(until, _)| now < *until)
    }

    pub(crate) fn cause(&self, now: Instant) -> Option<Arc<str>> {
        self.out.as_ref().filter(|(until, _)| now < *until).map(|(_, cause)| cause.clone())
    }

    pub(crate) fn ejections(&self) -> u32 {
        self.ejections
    }

    /// A check says that it is well. Gives whether it was left out.
    pub(crate) fn forgive(&mut self) -> bool {
        self.in_a_row = 0;
        self.out.take().is_some()
    }

    fn shares(&self, least: u32) -> Option<f64> {
        let all = self.good + self.bad;
        (all > 0 && all >= least).then(|| f64::from(self.good) / f64::from(all))
    }
}

/// Looks after the instances of a service.
pub struct Outliers {
    config: OutlierConfig,
    next: parking_lot::Mutex<Instant>,
}

impl Outliers {
    /// Nothing has been seen.
    #[must_use]
    pub fn new(config: OutlierConfig, now: Instant) -> Self {
        let next = now + Duration::from_millis(config.interval_ms);
        Self { config, next: parking_lot::Mutex::new(next) }
    }

    /// An instance has answered or failed. Gives whether an instance was left out for what was seen.
    pub fn saw(&self, all: &[Arc<Endpoint>], which: &Endpoint, good: bool, now: Instant) -> bool {
        let in_a_row = {
            let mut record = which.record.lock();
            if good {
                record.in_a_row = 0;
                record.good = record.good.saturating_add(1);
            } else {
                record.in_a_row += 1;
                record.bad = record.bad.saturating_add(1);
            }
            record.in_a_row
        };
        let mut changed = false;
        if !good && self.config.consecutive > 0 && in_a_row >= self.config.consecutive {
            changed = self.eject(all, which, &format!("it failed {in_a_row} times in a row"), now);
        }
        self.sweep(all, now) || changed
    }

    /// Looks at the shares of the last interval, where one has passed.
    fn sweep(&self, all: &[Arc<Endpoint>], now: Instant) -> bool {
        {
            let Some(mut next) = self.next.try_lock() else { return false };
            if now < *next {
                return false;
            }
            *next = now + Duration::from_millis(self.config.interval_ms);
        }
        let shares: Vec<Option<f64>> =
            all.iter().map(|one| one.record.lock().shares(self.config.min_calls)).collect();
        let least = self.least(&shares);
        let mut changed = false;
        for (endpoint, share) in all.iter().zip(&shares) {
            let mut record = endpoint.record.lock();
            (record.good, record.bad) = (0, 0);
            if !record.is_ejected(now) {
                record.times = record.times.saturating_sub(1);
            }
            drop(record);
            let Some(share) = share else { continue };
            let failures = 1.0 - share;
            let words = if self.config.failure_share > 0.0 && failures >= self.config.failure_share {
                format!("{:.0} % of its calls failed", failures * 100.0)
            } else if least.is_some_and(|least| *share < least) {
                format!("{:.0} % of its calls failed, far more than of the others", failures * 100.0)
            } else {
                continue;
            };
            changed |= self.eject(all, endpoint, &words, now);
        }
        changed
    }

    /// The share of good answers that is so far below the mean that it counts.
    #[expect(clippy::cast_precision_loss, reason = "a count of instances")]
    fn least(&self, shares: &[Option<f64>]) -> Option<f64> {
        let known: Vec<f64> = shares.iter().copied().flatten().collect();
        if self.config.deviations <= 0.0 || known.len() < self.config.min_instances.max(2) {
            return None;
        }
        let count = known.len() as f64;
        let mean = known.iter().sum::<f64>() / count;
        let variance = known.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / count;
        Some(mean - self.config.deviations * variance.sqrt())
    }

    /// Leaves an instance out, unless as many are left out as may be.
    fn eject(&self, all: &[Arc<Endpoint>], which: &Endpoint, words: &str, now: Instant) -> bool {
        // One at a time decides, so that the cap holds.
        let _deciding = self.next.lock();
        let out = all.iter().filter(|one| one.record.lock().is_ejected(now)).count();
        if out >= self.most(all.len()) {
            return false;
        }
        let mut record = which.record.lock();
        if record.is_ejected(now) {
            return false;
        }
        let base = Duration::from_millis(self.config.base_ms);
        let time = base.saturating_mul(record.times + 1).min(Duration::from_millis(self.config.max_ms));
        record.times = record.times.saturating_add(1);
        record.ejections = record.ejections.saturating_add(1);
        record.in_a_row = 0;
        record.out = Some((now + time, Arc::from(format!("{words}: left out for {time:.0?}"))));
        true
    }

    /// How many may be left out of so many.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count of instances"
    )]
    fn most(&self, count: usize) -> usize {
        if count < 2 {
            return 0;
        }
        ((count as f64 * self.config.max_share.clamp(0.0, 1.0)) as usize).clamp(1, count - 1)
    }
}
