//! Callers that go round in circles: the same call again and again, with nothing else between and the same answer each
//! time. A model that does so does not stop by itself.
//!
//! A caller that waits for something to change is not stopped for long: after a pause its calls count anew.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Callers that are told apart at a time.
const MOST: usize = 10_000;

/// When equal calls are a loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoopsConfig {
    /// Equal calls on end with equal answers after which the next is refused; 0 refuses none.
    pub calls: u32,
    /// The longest pause between two of them, in milliseconds: after a longer one, counting starts anew.
    pub pause_ms: u64,
    /// Calls that name no conversation count, too: all those of a principal together.
    pub without_conversation: bool,
}

impl Default for LoopsConfig {
    fn default() -> Self {
        Self { calls: 30, pause_ms: 60_000, without_conversation: false }
    }
}

/// Who repeats what. `K` says who calls, `C` what is called with what.
pub struct Repetitions<K, C> {
    config: LoopsConfig,
    callers: Mutex<HashMap<K, Last<C>>>,
}

struct Last<C> {
    call: C,
    /// Its answer, where it was called more than once.
    answer: Option<u64>,
    times: u32,
    at: Instant,
}

/// A call is refused: it has been made so often on end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looping {
    /// How often.
    pub times: u32,
    /// The pause after which it may be made again.
    pub pause: Duration,
}

impl<K: Eq + Hash + Clone, C> Repetitions<K, C> {
    /// Nobody has called yet.
    #[must_use]
    pub fn new(config: LoopsConfig) -> Self {
        Self { config, callers: Mutex::default() }
    }

    /// What is configured.
    #[must_use]
    pub fn config(&self) -> &LoopsConfig {
        &self.config
    }

    /// Counts a call. `same` tells whether the caller's last call was this one, `call` what to remember of it otherwise.
    /// Gives how often it has been made on end.
    ///
    /// # Errors
    /// [`Looping`].
    pub fn begins(
        &self,
        who: &K,
        now: Instant,
        same: impl FnOnce(&C) -> bool,
        call: impl FnOnce() -> C,
    ) -> Result<u32, Looping> {
        let pause = Duration::from_millis(self.config.pause_ms);
        let mut callers = self.callers.lock();
        if let Some(last) = callers.get_mut(who) {
            let soon = now.saturating_duration_since(last.at) < pause;
            if !soon || !same(&last.call) {
                *last = Last { call: call(), answer: None, times: 1, at: now };
                return Ok(1);
            }
            if last.times >= self.config.calls {
                // The time of the last call that was made stays: the pause ends, however often it is asked meanwhile.
                return Err(Looping { times: last.times, pause: pause - (now - last.at).min(pause) });
            }
            last.times += 1;
            last.at = now;
            return Ok(last.times);
        }
        if callers.len() >= MOST {
            callers.retain(|_, last| now.saturating_duration_since(last.at) < pause);
            if callers.len() >= MOST {
                // All of them have called just now. Forgetting some is better than growing without bound.
                let mut keep = false;
                callers.retain(|_, _| {
                    keep = !keep;
                    keep
                });
            }
        }
        callers.insert(who.clone(), Last { call: call(), answer: None, times: 1, at: now });
        Ok(1)
    }

    /// Takes the answer to a call that was made `times` on end: another one than before begins the count anew.
    pub fn answered(&self, who: &K, times: u32, answer: impl FnOnce() -> u64) {
        if times < 2 {
            return;
        }
        let answer = answer();
        if let Some(last) = self.callers.lock().get_mut(who) {
            if last.answer.is_some_and(|before| before != answer) {
                last.times = 1;
            }
            last.answer = Some(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repetitions(calls: u32) -> (Repetitions<&'static str, u32>, Instant) {
        let config = LoopsConfig { calls, ..LoopsConfig::default() };
        (Repetitions::new(config), Instant::now())
    }

    /// A call and its answer.
    fn call(
        repetitions: &Repetitions<&'static str, u32>,
        now: Instant,
        call: u32,
        answer: u64,
    ) -> Result<u32, Looping> {
        let times = repetitions.begins(&"ada", now, |last| *last == call, || call)?;
        repetitions.answered(&"ada", times, || answer);
        Ok(times)
    }

    #[test]
    fn equal_calls_with_equal_answers_are_stopped_until_a_pause() {
        let (repetitions, now) = repetitions(3);
        for times in 1..=3 {
            assert_eq!(call(&repetitions, now, 7, 1), Ok(times));
        }
        let later = now + Duration::from_secs(20);
        let looping = Looping { times: 3, pause: Duration::from_secs(40) };
        assert_eq!(call(&repetitions, later, 7, 1), Err(looping));
        assert!(repetitions.begins(&"bob", later, |last| *last == 7, || 7).is_ok(), "others are not meant");
        let later = now + Duration::from_secs(60);
        assert_eq!(call(&repetitions, later, 7, 1), Ok(1));
    }

    #[test]
    fn another_call_or_another_answer_between_begins_anew() {
        let (repetitions, now) = repetitions(3);
        for round in 0..10 {
            assert_eq!(call(&repetitions, now, 7, 1), Ok(1), "{round}");
            assert_eq!(call(&repetitions, now, 7, 1), Ok(2));
            assert_eq!(call(&repetitions, now, 8, 1), Ok(1));
        }
        for answer in 0..20 {
            assert!(call(&repetitions, now, 9, answer).is_ok(), "it changes");
        }
    }

    #[test]
    fn memory_is_bounded_whoever_calls() {
        let repetitions = Repetitions::new(LoopsConfig::default());
        let now = Instant::now();
        for who in 0..100_000_u32 {
            let _ = repetitions.begins(&who, now, |()| false, || ());
        }
        assert!(repetitions.callers.lock().len() <= MOST);
    }
}
