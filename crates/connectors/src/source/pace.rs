//! How often a source is asked: a bucket of two tokens, one more each second, and longer pauses while it fails.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Chance;

/// As Consul's documentation of blocking queries suggests: a burst of two.
const BURST: f64 = 2.0;

/// Tokens a second.
const RATE: f64 = 1.0;

/// The first pause after a failure, and the longest.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// How often a source is asked.
pub(crate) struct Pace {
    chance: Chance,
    tokens: f64,
    filled: Instant,
    failures: u32,
    not_before: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(chance: Chance) -> Self {
        Self { chance, tokens: BURST, filled: Instant::now(), failures: 0, not_before: None }
    }

    /// Waits for its turn. Where this is dropped, nothing was taken.
    pub(crate) async fn turn(&mut self) {
        if let Some(not_before) = self.not_before {
            sleep_until(not_before).await;
        }
        loop {
            let now = Instant::now();
            self.tokens = (self.tokens + (now - self.filled).as_secs_f64() * RATE).min(BURST);
            self.filled = now;
            if self.tokens >= 1.0 {
                self.tokens -= 1.0;
                return;
            }
            sleep_until(now + Duration::from_secs_f64((1.0 - self.tokens) / RATE)).await;
        }
    }

    /// It has answered.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// It has failed: the pause doubles, by half to the whole of it, so that not all come back at once.
    pub(crate) fn failed(&mut self) {
        let pause = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        self.not_before =
            Some(Instant::now() + pause.mul_f64(f64::midpoint(1.0, (self.chance)().clamp(0.0, 1.0))));
    }

    /// Whether it has failed since it last answered.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// A pause, longer by up to `share` of it.
    pub(crate) fn spread(&self, pause: Duration, share: f64) -> Duration {
        pause.mul_f64(1.0 + share * (self.chance)().clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_at_once_then_one_a_second_and_longer_pauses_while_it_fails() {
        let start = Instant::now();
        let took = |since: Instant| (since.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let mut pace = Pace::new(Arc::new(|| 1.0));
        for expected in [0.0, 0.0, 1.0, 2.0] {
            pace.turn().await;
            assert!((took(start) - expected).abs() < 0.05, "{} {expected}", took(start));
        }
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.failed();
            let before = Instant::now();
            pace.turn().await;
            waits.push(took(before));
        }
        assert_eq!(waits, [1.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, 10.0]);
        assert!(pace.is_failing());
        pace.succeeded();
        assert!(!pace.is_failing());
    }
}
