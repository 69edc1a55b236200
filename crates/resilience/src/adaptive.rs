//! How many calls of a service there should be at a time, found from how long they take.
//!
//! TCP Vegas (Brakmo and Peterson, 1995), as Netflix's concurrency-limits and failsafe-go apply it: where calls take
//! longer than they do in the long run, some of them wait within the service, and more than a few (between 3 and 6 times
//! log10 of the limit) are too many. A long overload becomes the long run itself; what shows it is that with more calls at
//! a time the service answers no more of them, but later: the correlations of concurrency with throughput and with time.
//! Of failsafe-go's rules the one on little variation of throughput is left out: it goes far below the capacity.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The quantile of a window's times that counts.
const QUANTILE: f64 = 0.9;

/// Calls that a window has at least.
const LEAST: usize = 50;

/// Times of a window that are kept; of more, every second one.
const KEPT: usize = 512;

/// The longest window.
const LONGEST: Duration = Duration::from_secs(30);

/// Windows that are compared with each other.
const COMPARED: usize = 50;

/// Windows that there have to be before they are.
const WARM: usize = 10;

/// Windows over which the present is smoothed, and the long run.
const SHORT_RUN: f64 = 5.0;
const LONG_RUN: f64 = 60.0;

/// What is left of the limit where the service says that there are too many calls.
const PUSHED_BACK: f64 = 0.9;

/// How the number of calls at a time follows the service. `bulkhead.concurrent` is the most there ever are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveConfig {
    /// It does. Otherwise there are always as many as `bulkhead.concurrent`.
    pub enabled: bool,
    /// The least calls at a time.
    pub min: usize,
    /// Calls at a time before anything is known of the service.
    pub initial: usize,
    /// The shortest time after which it is looked again, in milliseconds.
    pub window_ms: u64,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self { enabled: true, min: 4, initial: 64, window_ms: 1_000 }
    }
}

/// A limit that follows a service.
#[derive(Debug)]
pub(crate) struct Vegas {
    least: f64,
    most: f64,
    shortest: Duration,
    limit: f64,
    window: Window,
    short_run: Average,
    long_run: Average,
    compared: VecDeque<Seen>,
}

/// What has ended since it was looked last.
#[derive(Debug)]
struct Window {
    begun: Instant,
    until: Instant,
    /// Every `stride`-th time.
    times: Vec<Duration>,
    stride: usize,
    ended: usize,
    /// The most calls at a time.
    running: usize,
    /// There were as many as might be.
    full: bool,
    pushed_back: bool,
}

/// What was seen in a window.
#[derive(Clone, Copy, Debug)]
struct Seen {
    running: f64,
    time: f64,
    throughput: f64,
}

/// An average in which the latest values weigh more; over the first few, the plain one.
#[derive(Debug)]
struct Average {
    value: f64,
    values: u32,
    age: f64,
}

impl Average {
    fn add(&mut self, value: f64) -> f64 {
        self.values = self.values.saturating_add(1);
        let weight = (1.0 / f64::from(self.values)).max(2.0 / (self.age + 1.0));
        self.value += (value - self.value) * weight;
        self.value
    }
}

impl Vegas {
    /// A limit of at most `most`.
    pub(crate) fn new(config: &AdaptiveConfig, most: usize, now: Instant) -> Self {
        let most = real(most.max(1));
        let least = real(config.min.max(1)).min(most);
        let average = |age| Average { value: 0.0, values: 0, age };
        let shortest = Duration::from_millis(config.window_ms.max(10)).min(LONGEST);
        Self {
            least,
            most,
            shortest,
            limit: real(config.initial).clamp(least, most),
            window: Window::new(now, shortest),
            short_run: average(SHORT_RUN),
            long_run: average(LONG_RUN),
            compared: VecDeque::with_capacity(COMPARED),
        }
    }

    /// Calls at a time.
    pub(crate) fn limit(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 1 and a usize"
        )]
        let limit = self.limit as usize;
        limit.max(1)
    }

    /// A call has ended after `time`, having begun as the last of `running`; as many as might be were there where `full`.
    pub(crate) fn ended(&mut self, now: Instant, time: Duration, running: usize, full: bool) {
        self.window.add(time, running, full);
        if now >= self.window.until && self.window.ended >= LEAST {
            self.look(now);
        }
    }

    /// The service says that there are too many calls. Counts once a window.
    pub(crate) fn pushed_back(&mut self) {
        if !std::mem::replace(&mut self.window.pushed_back, true) {
            self.limit = (self.limit * PUSHED_BACK).max(self.least);
        }
    }

    fn look(&mut self, now: Instant) {
        let (least, time) = self.window.times();
        let (running, full) = (real(self.window.running), self.window.full);
        let elapsed = now.saturating_duration_since(self.window.begun).as_secs_f64().max(1e-6);
        let throughput = real(self.window.ended) / elapsed;
        let pushed_back = self.window.pushed_back;
        self.window = Window::new(now, (least * 2).clamp(self.shortest, LONGEST));

        let short = self.short_run.add(time);
        let long = self.long_run.add(short);
        if self.compared.len() == COMPARED {
            self.compared.pop_front();
        }
        self.compared.push_back(Seen { running, time: short, throughput });
        let waiting = self.limit * (1.0 - long / short.max(1e-9));
        let step = self.limit.log10().max(1.0);
        let more_is_slower = full && self.more_is_slower();
        if waiting > 6.0 * step || more_is_slower {
            self.limit -= step;
        } else if waiting < 3.0 * step && !pushed_back && running * 2.0 >= self.limit {
            // Nothing is known of more calls than there ever are.
            self.limit += step;
        }
        self.limit = self.limit.clamp(self.least, self.most);
    }

    /// Whether more calls at a time bring no more answers, but later ones.
    fn more_is_slower(&self) -> bool {
        let throughput = correlation(&self.compared, |seen| seen.throughput);
        let time = correlation(&self.compared, |seen| seen.time);
        throughput < 0.0 || (throughput < 0.3 && time > 0.5)
    }
}

impl Window {
    fn new(now: Instant, length: Duration) -> Self {
        Self {
            begun: now,
            until: now + length,
            times: Vec::with_capacity(64),
            stride: 1,
            ended: 0,
            running: 0,
            full: false,
            pushed_back: false,
        }
    }

    fn add(&mut self, time: Duration, running: usize, full: bool) {
        if self.ended.is_multiple_of(self.stride) {
            if self.times.len() == KEPT {
                let mut odd = false;
                self.times.retain(|_| {
                    odd = !odd;
                    odd
                });
                self.stride *= 2;
            }
            self.times.push(time);
        }
        self.ended += 1;
        self.running = self.running.max(running);
        self.full |= full;
    }

    /// The shortest of the times, and the quantile that counts, in seconds.
    fn times(&mut self) -> (Duration, f64) {
        let least = self.times.iter().min().copied().unwrap_or_default();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into a short list"
        )]
        let rank = (real(self.times.len().saturating_sub(1)) * QUANTILE) as usize;
        if self.times.is_empty() {
            return (least, 0.0);
        }
        let (_, time, _) = self.times.select_nth_unstable(rank);
        (least, time.as_secs_f64())
    }
}

/// Pearson's correlation of concurrency with something else; 0 where there is none to see.
fn correlation(seen: &VecDeque<Seen>, of: impl Fn(&Seen) -> f64) -> f64 {
    if seen.len() < WARM {
        return 0.0;
    }
    let count = real(seen.len());
    let mean = |of: &dyn Fn(&Seen) -> f64| seen.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|seen| seen.running), mean(&of));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for seen in seen {
        let (dx, dy) = (seen.running - x, of(seen) - y);
        xy += dx * dy;
        xx += dx * dx;
        yy += dy * dy;
    }
    let spread = (xx * yy).sqrt();
    if spread > f64::EPSILON * x.abs() * y.abs() * count { xy / spread } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls at a time are small")]
fn real(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that answers `capacity` calls at a time, each in `time`: others wait within it. As many calls as may be
    /// are always there. Gives the limit after each of so many seconds.
    fn overloaded(vegas: &mut Vegas, now: &mut Instant, capacity: usize, time: f64, seconds: usize) -> usize {
        for second in 0..seconds {
            let running = vegas.limit();
            let throughput = real(running.min(capacity)) / time;
            // A service is never quite steady.
            let noise = 1.0 + 0.02 * ((second * 7919 % 13) as f64 - 6.0) / 6.0;
            let took = time * (real(running) / real(capacity)).max(1.0) * noise;
            let calls = (throughput * noise) as usize;
            *now += Duration::from_secs(1);
            for call in 0..calls {
                let at = *now - Duration::from_micros((calls - call) as u64);
                let at = if call + 1 == calls { *now } else { at };
                vegas.ended(at, Duration::from_secs_f64(took), running, true);
            }
        }
        vegas.limit()
    }

    fn vegas(initial: usize) -> (Vegas, Instant) {
        let now = Instant::now();
        let config = AdaptiveConfig { initial, ..AdaptiveConfig::default() };
        (Vegas::new(&config, 256, now), now)
    }

    #[test]
    fn it_finds_about_what_the_service_can_take_from_above_and_from_below() {
        for initial in [4, 64, 200] {
            let (mut vegas, mut now) = vegas(initial);
            overloaded(&mut vegas, &mut now, 16, 0.02, 300);
            for _ in 0..20 {
                let limit = overloaded(&mut vegas, &mut now, 16, 0.02, 20);
                assert!((12..=64).contains(&limit), "from {initial}: {limit}");
            }
        }
    }

    #[test]
    fn it_goes_down_when_the_service_slows_down() {
        let (mut vegas, mut now) = vegas(64);
        let before = overloaded(&mut vegas, &mut now, 64, 0.02, 100);
        let after = overloaded(&mut vegas, &mut now, 8, 0.02, 60);
        assert!(after < before / 2 + 8, "{before}, then {after}");
    }

    #[test]
    fn few_calls_say_nothing_of_many() {
        let (mut vegas, mut now) = vegas(64);
        for _ in 0..10_000 {
            now += Duration::from_millis(10);
            vegas.ended(now, Duration::from_millis(5), 2, false);
        }
        assert_eq!(vegas.limit(), 64);
    }

    #[test]
    fn a_service_that_asks_for_less_is_heard_once_a_window() {
        let (mut vegas, _) = vegas(64);
        (0..10).for_each(|_| vegas.pushed_back());
        assert_eq!(vegas.limit(), 57);
    }
}
