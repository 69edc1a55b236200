//! How many further attempts there may be: a share of the calls of the last while, so that an outage can't be made worse.
//!
//! Every call earns a share of one attempt, up to what the window holds, and a further attempt costs a whole one (as in
//! Envoy and failsafe-go: 20 %, and at least three).

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::window::Window;

/// The length of the window.
const WINDOW: Duration = Duration::from_secs(10);

/// How many further attempts there may be.
#[derive(Debug)]
pub struct Budget {
    share: f64,
    least: u32,
    /// Calls count as good, further attempts as bad.
    window: Mutex<Window>,
}

impl Budget {
    /// A share of the calls (from 0 to 1), and at least so many in a window.
    #[must_use]
    pub fn new(share: f64, least: u32, now: Instant) -> Self {
        Self { share: share.clamp(0.0, 1.0), least, window: Mutex::new(Window::new(WINDOW, now)) }
    }

    /// Counts a call: its first attempt.
    pub fn call(&self, now: Instant) {
        self.window.lock().good(now);
    }

    /// Takes a further attempt, where there is one left.
    #[must_use]
    pub fn take(&self, now: Instant) -> bool {
        let mut window = self.window.lock();
        let counts = window.counts(now);
        let allowed = (f64::from(counts.good) * self.share).max(f64::from(self.least));
        let left = f64::from(counts.bad) + 1.0 <= allowed;
        if left {
            window.bad(now);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_attempts_stay_within_their_share() {
        let now = Instant::now();
        let budget = Budget::new(0.2, 3, now);
        assert_eq!((0..10).filter(|_| budget.take(now)).count(), 3);
        for _ in 0..1_000 {
            budget.call(now);
        }
        assert_eq!((0..1_000).filter(|_| budget.take(now)).count(), 197);
        assert!(budget.take(now + WINDOW * 2));
    }
}
