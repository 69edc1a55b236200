//! The time of spans: nanoseconds since 1970, from one reading of the time of day and a clock that never goes back.

use std::time::Instant;

use jiff::Timestamp;

/// Turns instants into times of day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Instant,
    base_ns: u64,
}

impl Clock {
    /// A clock that is right at this moment.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { base: Instant::now(), base_ns: unix_ns(now) }
    }

    /// The time of day of an instant.
    #[must_use]
    pub fn at(&self, instant: Instant) -> u64 {
        let after = instant.saturating_duration_since(self.base).as_nanos();
        let before = self.base.saturating_duration_since(instant).as_nanos();
        let (after, before) = (u64::try_from(after).unwrap_or(0), u64::try_from(before).unwrap_or(0));
        self.base_ns.saturating_add(after).saturating_sub(before)
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.at(Instant::now())
    }
}

/// A time of day in nanoseconds since 1970.
#[must_use]
pub fn unix_ns(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}

/// The time of day of nanoseconds since 1970.
#[must_use]
pub fn timestamp(ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Nanoseconds as milliseconds, to the microsecond.
#[must_use]
pub fn millis(ns: u64) -> f64 {
    crate::metrics::histogram::as_float(ns / 1_000) / 1e3
}
