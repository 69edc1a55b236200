//! A breaker: after enough failures a tool is not called for a while, then once as a probe.
//!
//! It opens after so many failures on end, or where the share of successes in a window of exact counts is too low
//! (Linkerd's "unified" accrual has both). It stays open for a time that doubles with every probe that fails, with
//! jitter, and never shorter than the service itself asked for. A probe is never a call that would repeat a change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::window::Window;

/// The longest that a service's own wish (`Retry-After`) keeps a breaker open.
const MAX_WISH: Duration = Duration::from_secs(300);

/// When a breaker opens, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Failures on end that open it.
    pub consecutive: u32,
    /// The share of failures in the window that opens it, from 0 to 1.
    pub failure_share: f64,
    /// The calls there have to be in the window before the share counts.
    pub min_calls: u32,
    /// The length of the window, in milliseconds.
    pub window_ms: u64,
    /// How long it is open the first time, in milliseconds. It doubles with every probe that fails.
    pub open_ms: u64,
    /// The longest it is open, in milliseconds.
    pub max_open_ms: u64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive: 5,
            failure_share: 0.5,
            min_calls: 20,
            window_ms: 10_000,
            open_ms: 1_000,
            max_open_ms: 60_000,
        }
    }
}

/// A breaker. Cloning shares it.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    config: BreakerConfig,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    window: Window,
    /// Failures on end.
    streak: u32,
    /// How often it has opened on end: the exponent of its time.
    opened: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// A probe is under way, of this number.
    Probing(u64),
}

/// How a breaker is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// No call passes.
    Open,
    /// One call is tried.
    Probing,
}

/// A call was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When to come back.
    pub after: Duration,
}

/// A call that was let through. It is to be told how the call ended; dropped without that, it counts as nothing, and a
/// probe makes room for another.
#[must_use]
pub struct Pass {
    breaker: Breaker,
    probe: Option<u64>,
    told: bool,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(config: BreakerConfig, now: Instant) -> Self {
        let window = Window::new(Duration::from_millis(config.window_ms), now);
        let inner = Inner { state: State::Closed, window, streak: 0, opened: 0 };
        Self(Arc::new(Shared { config, inner: Mutex::new(inner) }))
    }

    /// Asks whether a call may pass. `probe` says whether it may be the probe after an outage: not where it would
    /// repeat a change.
    ///
    /// # Errors
    /// [`Refused`] while it is open, or while a probe is under way.
    pub fn admit(&self, now: Instant, probe: bool) -> Result<Pass, Refused> {
        let mut inner = self.0.inner.lock();
        let pass = |probe| Pass { breaker: self.clone(), probe, told: false };
        match inner.state {
            State::Closed => Ok(pass(None)),
            State::Open { until } if until > now => Err(Refused { after: until - now }),
            State::Open { .. } if probe => {
                let number = u64::from(inner.opened);
                inner.state = State::Probing(number);
                Ok(pass(Some(number)))
            }
            State::Open { .. } | State::Probing(_) => {
                Err(Refused { after: Duration::from_millis(self.0.config.open_ms) })
            }
        }
    }

    /// Lets the next call find out at once, where it is open.
    pub fn probe_now(&self, now: Instant) {
        let mut inner = self.0.inner.lock();
        if matches!(inner.state, State::Open { .. }) {
            inner.state = State::Open { until: now };
        }
    }

    /// How it is.
    #[must_use]
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.0.inner.lock().state {
            State::Closed => BreakerState::Closed,
            State::Open { until } if until > now => BreakerState::Open,
            State::Open { .. } | State::Probing(_) => BreakerState::Probing,
        }
    }

    fn succeeded(&self, now: Instant, probe: Option<u64>) {
        let mut inner = self.0.inner.lock();
        inner.streak = 0;
        inner.window.good(now);
        if probe.is_some_and(|number| inner.state == State::Probing(number)) {
            inner.state = State::Closed;
            inner.opened = 0;
            // What failed before the outage ended says nothing of the time after it.
            inner.window.clear();
        }
    }

    fn failed(&self, now: Instant, probe: Option<u64>, wish: Option<Duration>, jitter: f64) {
        let config = &self.0.config;
        let mut inner = self.0.inner.lock();
        inner.window.bad(now);
        inner.streak = inner.streak.saturating_add(1);
        let opens = match inner.state {
            State::Closed => {
                let counts = inner.window.counts(now);
                let share = f64::from(counts.bad) / f64::from(counts.all().max(1));
                let low = counts.all() >= config.min_calls && share >= config.failure_share;
                inner.streak >= config.consecutive || low
            }
            State::Probing(number) => probe == Some(number),
            State::Open { .. } => false,
        };
        if !opens {
            return;
        }
        let first = Duration::from_millis(config.open_ms);
        let most = Duration::from_millis(config.max_open_ms.max(config.open_ms));
        let time = first.saturating_mul(1 << inner.opened.min(16)).min(most);
        // Between three quarters and all of it: gateways that opened at the same time do not probe at the same time.
        let time = time.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0));
        let time = time.max(wish.unwrap_or_default().min(MAX_WISH));
        inner.opened = inner.opened.saturating_add(1);
        inner.streak = 0;
        inner.state = State::Open { until: now + time };
    }

    fn untold(&self, probe: u64) {
        let mut inner = self.0.inner.lock();
        if inner.state == State::Probing(probe) {
            // Another call may be the probe at once.
            inner.state = State::Open { until: inner.window.start() };
        }
    }
}

impl Pass {
    /// Whether the call is the probe after an outage.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// The call went well.
    pub fn succeeded(mut self, now: Instant) {
        self.told = true;
        self.breaker.succeeded(now, self.probe);
    }

    /// The call failed. `wish` is the time that the service asked for, `jitter` a random number from 0 to 1.
    pub fn failed(mut self, now: Instant, wish: Option<Duration>, jitter: f64) {
        self.told = true;
        self.breaker.failed(now, self.probe, wish, jitter);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let (false, Some(probe)) = (self.told, self.probe) {
            self.breaker.untold(probe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, now: Instant) {
        breaker.admit(now, true).unwrap().failed(now, None, 0.0);
    }

    #[test]
    fn five_failures_open_it_after_a_hundred_thousand_successes() {
        let now = Instant::now();
        let breaker = Breaker::new(BreakerConfig::default(), now);
        for _ in 0..100_000 {
            breaker.admit(now, false).unwrap().succeeded(now);
        }
        for _ in 0..5 {
            assert_eq!(breaker.state(now), BreakerState::Closed);
            fail(&breaker, now);
        }
        assert_eq!(breaker.state(now), BreakerState::Open);
        assert!(breaker.admit(now, true).is_err());
    }

    #[test]
    fn failures_between_successes_open_it_by_their_share() {
        let now = Instant::now();
        let breaker = Breaker::new(BreakerConfig::default(), now);
        for _ in 0..9 {
            fail(&breaker, now);
            breaker.admit(now, false).unwrap().succeeded(now);
        }
        assert_eq!(breaker.state(now), BreakerState::Closed);
        breaker.admit(now, false).unwrap().succeeded(now);
        fail(&breaker, now);
        assert_eq!(breaker.state(now), BreakerState::Open);
    }

    #[test]
    fn one_probe_closes_it_or_doubles_its_time() {
        let start = Instant::now();
        let breaker = Breaker::new(BreakerConfig::default(), start);
        (0..5).for_each(|_| fail(&breaker, start));
        let mut now = start + Duration::from_millis(1_000);
        // A call that may not be repeated is no probe.
        assert!(breaker.admit(now, false).is_err());
        let probe = breaker.admit(now, true).unwrap();
        assert!(probe.is_probe());
        assert!(breaker.admit(now, true).is_err(), "one probe at a time");
        probe.failed(now, None, 0.0);
        assert_eq!(breaker.admit(now, true).err(), Some(Refused { after: Duration::from_secs(2) }));
        now += Duration::from_secs(2);
        // A probe of which nobody hears makes room.
        drop(breaker.admit(now, true).unwrap());
        breaker.admit(now, true).unwrap().succeeded(now);
        assert_eq!(breaker.state(now), BreakerState::Closed);
        fail(&breaker, now);
        assert_eq!(breaker.state(now), BreakerState::Closed, "it begins anew");
    }

    #[test]
    fn the_services_wish_is_honoured_within_bounds() {
        let now = Instant::now();
        let breaker = Breaker::new(BreakerConfig::default(), now);
        (0..4).for_each(|_| fail(&breaker, now));
        let year = Duration::from_secs(365 * 24 * 3600);
        breaker.admit(now, true).unwrap().failed(now, Some(year), 0.0);
        assert_eq!(breaker.admit(now, true).err(), Some(Refused { after: MAX_WISH }));
    }
}
