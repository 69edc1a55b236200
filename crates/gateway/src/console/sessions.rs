//! Sign-ins: who a browser's cookie stands for, and how often sign-ins may be tried.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use trunkline_resilience::rate::{Limits, Rate, Verdict};
use uuid::Uuid;

use super::config::ConsoleConfig;

/// Attempts to sign in that fail, from one address.
const ATTEMPTS: Rate = Rate { units: 10, every: Duration::from_secs(60), burst: 10 };

/// Addresses that are told apart.
const ADDRESSES: usize = 10_000;

type Digest = [u8; 32];

/// The sign-ins of a process. They end with it.
pub(crate) struct Sessions {
    /// By the digest of what the cookie says: who reads this memory has no cookie.
    held: Mutex<HashMap<Digest, Held>>,
    attempts: Limits,
}

struct Held {
    /// The digest of the API key that was shown.
    key: Digest,
    began: Instant,
    used: Instant,
}

impl Sessions {
    pub(crate) fn new(now: Instant) -> Self {
        Self { held: Mutex::default(), attempts: Limits::new(ATTEMPTS, ADDRESSES, now) }
    }

    /// Begins one for the holder of a key, and gives what the cookie says. `random` are two numbers that can't be guessed.
    pub(crate) fn begin(
        &self,
        key: Digest,
        random: [Uuid; 2],
        now: Instant,
        config: &ConsoleConfig,
    ) -> String {
        let token = format!("{}{}", random[0].simple(), random[1].simple());
        let mut held = self.held.lock();
        held.retain(|_, one| one.lasts(now, config));
        while held.len() >= config.max_sessions.max(1) {
            let Some(oldest) = held.iter().min_by_key(|(_, one)| one.used).map(|(id, _)| *id) else { break };
            held.remove(&oldest);
        }
        held.insert(of(&token), Held { key, began: now, used: now });
        token
    }

    /// The digest of the key behind a cookie, and the session's name, where it still lasts.
    pub(crate) fn find(
        &self,
        token: &str,
        now: Instant,
        config: &ConsoleConfig,
    ) -> Option<(Digest, Arc<str>)> {
        let id = of(token);
        let mut held = self.held.lock();
        let one = held.get_mut(&id)?;
        if !one.lasts(now, config) {
            held.remove(&id);
            return None;
        }
        one.used = now;
        let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Some((one.key, name.into()))
    }

    /// Ends one.
    pub(crate) fn end(&self, token: &str) {
        self.held.lock().remove(&of(token));
    }

    /// Counts an attempt from an address; gives how long to wait where there were too many.
    pub(crate) fn attempt(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        match self.attempts.take(&whom(address), 1, now) {
            Verdict::Taken { .. } => Ok(()),
            Verdict::Denied { after } => Err(after),
            Verdict::Never => Err(ATTEMPTS.every),
        }
    }

    /// The attempt was a good one: it does not count.
    pub(crate) fn forgive(&self, address: IpAddr, now: Instant) {
        self.attempts.give_back(&whom(address), 1, now);
    }
}

impl Held {
    fn lasts(&self, now: Instant, config: &ConsoleConfig) -> bool {
        let within =
            |since: Instant, ms: u64| now.saturating_duration_since(since) < Duration::from_millis(ms);
        within(self.began, config.session_ms) && within(self.used, config.session_idle_ms)
    }
}

/// One address of IPv4, and a network of IPv6, which one customer has all of.
fn whom(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{:x?}", &address.segments()[..4]),
    }
}

fn of(token: &str) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(number: u128) -> [Uuid; 2] {
        [Uuid::from_u128(number), Uuid::from_u128(7)]
    }

    #[test]
    fn sign_ins_end_by_age_by_rest_and_by_number() {
        let now = Instant::now();
        let config = ConsoleConfig {
            session_ms: 10_000,
            session_idle_ms: 4_000,
            max_sessions: 2,
            ..ConsoleConfig::default()
        };
        let sessions = Sessions::new(now);
        let at = |seconds| now + Duration::from_secs(seconds);
        let used = sessions.begin([1; 32], random(1), now, &config);
        for second in [3, 6, 9] {
            assert!(sessions.find(&used, at(second), &config).is_some_and(|(key, _)| key == [1; 32]));
        }
        assert!(sessions.find(&used, at(10), &config).is_none(), "too old");
        let idle = sessions.begin([1; 32], random(2), now, &config);
        assert!(sessions.find(&idle, at(4), &config).is_none(), "unused for too long");
        let first = sessions.begin([1; 32], random(3), now, &config);
        let second = sessions.begin([1; 32], random(4), at(1), &config);
        let third = sessions.begin([1; 32], random(5), at(1), &config);
        assert!(sessions.find(&first, at(1), &config).is_none(), "one too many");
        assert!(sessions.find(&second, at(1), &config).is_some());
        sessions.end(&third);
        assert!(
            sessions.find(&third, at(1), &config).is_none() && sessions.find("", at(1), &config).is_none()
        );
    }

    #[test]
    fn attempts_from_one_address_are_bounded() {
        let now = Instant::now();
        let sessions = Sessions::new(now);
        let (here, there): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..10 {
            assert!(sessions.attempt(here, now).is_ok());
        }
        assert_eq!(sessions.attempt(here, now), Err(Duration::from_secs(6)));
        assert!(sessions.attempt(there, now).is_ok());
        sessions.forgive(here, now);
        assert!(sessions.attempt(here, now).is_ok());
        let network = |last: &str| whom(format!("2001:db8:1:2::{last}").parse().unwrap());
        assert_eq!(network("1"), network("ffff"));
    }
}
