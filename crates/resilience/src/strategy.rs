//! How calls of a service are made again or hedged, chosen from what its calls came to lately.
//!
//! The bounds are the configuration's: never more attempts than `retry.attempts`, never a hedge beyond the budget. A choice is
//! made after every interval with enough calls. Between the limits of going one way and of going back lies a gap, so that a
//! service at a limit does not go to and fro.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::latency::Latency;

/// The share of slow calls that is hedged.
const HEDGED_AFTER: f64 = 0.95;

/// How strategies follow what is seen of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StrategyConfig {
    /// Whether they do.
    pub adapt: bool,
    /// What was chosen stays as it is. The choice is shown in `/v1/services`.
    pub frozen: bool,
    /// The time between two choices, in milliseconds.
    pub interval_ms: u64,
    /// The calls that there must have been in an interval.
    pub min_calls: u32,
}

impl Default for StrategyConfig {
    fn default() -> Self {
        Self { adapt: false, frozen: false, interval_ms: 30_000, min_calls: 30 }
    }
}

/// What was chosen for a service.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// Attempts at a call that may be made again.
    pub attempts: u32,
    /// Slow calls that only read are hedged.
    pub hedge: bool,
}

/// A choice that has changed, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// What it was.
    pub from: Choice,
    /// What it is.
    pub to: Choice,
    /// Why, in words.
    pub reason: String,
}

/// What is seen of a service, and what was chosen from it.
pub struct Strategy {
    config: StrategyConfig,
    most: u32,
    attempts: AtomicU32,
    hedge: AtomicBool,
    good: AtomicU32,
    bad: AtomicU32,
    latency: Latency,
    next: Mutex<Instant>,
}

impl Strategy {
    /// The usual choice: as many attempts as may be, and no hedges of its own.
    #[must_use]
    pub fn new(config: StrategyConfig, attempts: u32, now: Instant) -> Self {
        let interval = Duration::from_millis(config.interval_ms.max(1_000));
        Self {
            most: attempts,
            attempts: AtomicU32::new(attempts),
            hedge: AtomicBool::new(false),
            good: AtomicU32::new(0),
            bad: AtomicU32::new(0),
            latency: Latency::new(interval, now),
            next: Mutex::new(now + interval),
            config,
        }
    }

    /// An attempt has ended.
    pub fn saw(&self, good: bool, took: Duration, now: Instant) {
        if !self.config.adapt {
            return;
        }
        if good {
            self.good.fetch_add(1, Ordering::Relaxed);
            self.latency.took(now, took);
        } else {
            self.bad.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What is chosen now.
    #[must_use]
    pub fn choice(&self) -> Choice {
        Choice { attempts: self.attempts.load(Ordering::Relaxed), hedge: self.hedge.load(Ordering::Relaxed) }
    }

    /// The share of calls after which a second one is made meanwhile, where that was chosen.
    #[must_use]
    pub fn hedge_after(&self) -> Option<f64> {
        self.hedge.load(Ordering::Relaxed).then_some(HEDGED_AFTER)
    }

    /// Chooses anew, where an interval is over. Gives what has changed.
    pub fn adapt(&self, now: Instant) -> Option<Change> {
        if !self.config.adapt || self.config.frozen {
            return None;
        }
        {
            let mut next = self.next.lock();
            if now < *next {
                return None;
            }
            *next = now + Duration::from_millis(self.config.interval_ms.max(1_000));
        }
        let (good, bad) = (self.good.swap(0, Ordering::Relaxed), self.bad.swap(0, Ordering::Relaxed));
        let all = good.saturating_add(bad);
        if all < self.config.min_calls.max(1) {
            return None;
        }
        let seen = Seen {
            failures: f64::from(bad) / f64::from(all),
            median: self.latency.quantile(now, 0.5, 1),
            slow: self.latency.quantile(now, 0.99, u64::from(self.config.min_calls)),
        };
        let from = self.choice();
        let (to, reason) = seen.choose(from, self.most);
        if to == from {
            return None;
        }
        self.attempts.store(to.attempts, Ordering::Relaxed);
        self.hedge.store(to.hedge, Ordering::Relaxed);
        Some(Change { from, to, reason })
    }
}

/// What the calls of an interval came to.
struct Seen {
    failures: f64,
    median: Option<Duration>,
    slow: Option<Duration>,
}

impl Seen {
    fn choose(&self, before: Choice, most: u32) -> (Choice, String) {
        let percent = self.failures * 100.0;
        let mut reasons = Vec::new();
        let attempts = match self.failures {
            share if share >= 0.5 => 1,
            share if share >= 0.2 => most.min(2),
            share if share < 0.05 => most,
            _ => before.attempts,
        };
        if attempts != before.attempts {
            reasons.push(if attempts < before.attempts {
                format!("{percent:.0} % of the attempts failed: further ones mostly add load")
            } else {
                format!("{percent:.0} % of the attempts failed: further ones help again")
            });
        }
        let mut hedge = before.hedge;
        if let (Some(median), Some(slow)) = (self.median, self.slow) {
            let times = slow.as_secs_f64() / median.as_secs_f64().max(1e-6);
            if !hedge && times >= 4.0 && self.failures < 0.05 {
                hedge = true;
                reasons.push(format!(
                    "one call in a hundred takes {times:.0} times the median: slow ones are hedged"
                ));
            } else if hedge && times < 2.5 {
                hedge = false;
                reasons.push(format!(
                    "one call in a hundred takes only {times:.1} times the median: hedges gain nothing"
                ));
            }
        }
        if hedge && self.failures >= 0.2 {
            hedge = false;
            reasons.push(format!("{percent:.0} % of the attempts failed: hedges would add load"));
        }
        (Choice { attempts, hedge }, reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy(frozen: bool) -> (Strategy, Instant) {
        let now = Instant::now();
        (Strategy::new(StrategyConfig { adapt: true, frozen, ..StrategyConfig::default() }, 3, now), now)
    }

    /// An interval of calls, and what was chosen after it.
    fn interval(strategy: &Strategy, now: &mut Instant, good: u32, bad: u32, slow: u32) -> Option<Change> {
        for n in 0..good {
            let ms = if n < slow { 500 } else { 20 };
            strategy.saw(true, Duration::from_millis(ms), *now);
        }
        for _ in 0..bad {
            strategy.saw(false, Duration::from_millis(1), *now);
        }
        *now += Duration::from_secs(31);
        strategy.adapt(*now)
    }

    #[test]
    fn attempts_follow_the_share_of_failures_and_come_back() {
        let (strategy, mut now) = strategy(false);
        assert_eq!(interval(&strategy, &mut now, 100, 2, 0), None);
        let change = interval(&strategy, &mut now, 40, 60, 0).unwrap();
        assert_eq!((change.from.attempts, change.to.attempts), (3, 1));
        assert!(change.reason.starts_with("60 % of the attempts failed"), "{}", change.reason);
        // In between it stays as it is.
        assert_eq!(interval(&strategy, &mut now, 90, 10, 0), None);
        assert_eq!(interval(&strategy, &mut now, 75, 25, 0).unwrap().to.attempts, 2);
        assert_eq!(interval(&strategy, &mut now, 100, 0, 0).unwrap().to.attempts, 3);
        // Too little is no reason for anything.
        assert_eq!(interval(&strategy, &mut now, 1, 20, 0), None);
    }

    #[test]
    fn a_long_tail_is_hedged_until_it_is_gone_or_the_service_fails() {
        let (strategy, mut now) = strategy(false);
        let change = interval(&strategy, &mut now, 100, 0, 3).unwrap();
        assert!(change.to.hedge && strategy.hedge_after() == Some(HEDGED_AFTER), "{change:?}");
        assert!(!interval(&strategy, &mut now, 60, 40, 3).unwrap().to.hedge);
        interval(&strategy, &mut now, 100, 0, 3);
        assert!(strategy.choice().hedge);
        // The calls of two intervals are remembered.
        interval(&strategy, &mut now, 100, 0, 0);
        now += Duration::from_secs(60);
        interval(&strategy, &mut now, 100, 0, 0);
        assert!(!strategy.choice().hedge);
    }

    #[test]
    fn what_is_frozen_or_off_stays() {
        let (frozen, mut now) = strategy(true);
        assert_eq!(interval(&frozen, &mut now, 0, 100, 0), None);
        let off = Strategy::new(StrategyConfig::default(), 3, now);
        assert_eq!(interval(&off, &mut now, 0, 100, 0), None);
        assert_eq!(off.choice(), Choice { attempts: 3, hedge: false });
    }
}
