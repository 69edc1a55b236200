//! What a fault proxy is asked to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The most steps, and the most faults of one.
const MAX: usize = 1_000;

/// The longest time in a script, in milliseconds: a day.
const MAX_MS: u64 = 86_400_000;

/// What a fault proxy does, step by step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The same seed hits the same exchanges.
    pub seed: u64,
    /// One after the other, from the start of the proxy.
    pub steps: Vec<Step>,
}

/// A while with the same faults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// How long it lasts, in milliseconds; to the end where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// The faults. Each exchange may be hit by several.
    pub faults: Vec<Fault>,
}

/// A fault, and how often it hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// The share of exchanges that it hits, from 0 to 1.
    #[serde(default = "every")]
    pub share: f64,
    /// How long: `latency` before the answer, `stall` within it, in milliseconds.
    #[serde(default)]
    pub ms: u64,
    /// Chance adds up to this to a latency, in milliseconds.
    #[serde(default)]
    pub jitter_ms: u64,
    /// After so many bytes of the answer: `stall`, `reset`, `truncate`.
    #[serde(default)]
    pub after_bytes: u64,
    /// How wide a `bandwidth` is, in KiB a second.
    #[serde(default)]
    pub kib_s: u64,
    /// The status of an `error`.
    #[serde(default = "unavailable")]
    pub status: u16,
    /// The `Retry-After` of an `error`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

/// What happens to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The answer comes later.
    Latency,
    /// The answer stops for a while.
    Stall,
    /// The connection is reset.
    Reset,
    /// The connection is closed in the midst of the answer, as if that were its end.
    Truncate,
    /// Nothing passes any more, and nobody is told that anybody has closed.
    HalfOpen,
    /// The answer comes slowly.
    Bandwidth,
    /// The client gets an HTTP error, the service nothing.
    Error,
}

fn every() -> f64 {
    1.0
}

fn unavailable() -> u16 {
    503
}

impl Kind {
    /// All kinds, in their own order.
    pub const ALL: [Self; 7] = [
        Self::Latency,
        Self::Stall,
        Self::Reset,
        Self::Truncate,
        Self::HalfOpen,
        Self::Bandwidth,
        Self::Error,
    ];

    /// Its name in scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Stall => "stall",
            Self::Reset => "reset",
            Self::Truncate => "truncate",
            Self::HalfOpen => "half_open",
            Self::Bandwidth => "bandwidth",
            Self::Error => "error",
        }
    }
}

impl Fault {
    /// A fault that hits every exchange.
    #[must_use]
    pub fn every(kind: Kind) -> Self {
        Self {
            kind,
            share: 1.0,
            ms: 0,
            jitter_ms: 0,
            after_bytes: 0,
            kib_s: 0,
            status: unavailable(),
            retry_after_s: None,
        }
    }

    /// What is wrong with it.
    fn wrong(&self) -> Option<String> {
        let name = self.kind.name();
        let (timed, cut) = match self.kind {
            Kind::Latency => (true, false),
            Kind::Stall => (true, true),
            Kind::Reset | Kind::Truncate => (false, true),
            Kind::HalfOpen | Kind::Bandwidth | Kind::Error => (false, false),
        };
        let unused = [
            ("ms", self.ms > 0 && !timed),
            ("jitter_ms", self.jitter_ms > 0 && self.kind != Kind::Latency),
            ("after_bytes", self.after_bytes > 0 && !cut),
            ("kib_s", self.kib_s > 0 && self.kind != Kind::Bandwidth),
            ("retry_after_s", self.retry_after_s.is_some() && self.kind != Kind::Error),
            ("status", self.status != unavailable() && self.kind != Kind::Error),
        ];
        if let Some((member, _)) = unused.into_iter().find(|(_, given)| *given) {
            return Some(format!("{name} has no {member}"));
        }
        if !(0.0..=1.0).contains(&self.share) {
            return Some(format!("the share of {name} is not between 0 and 1"));
        }
        if timed && (self.ms == 0 && self.jitter_ms == 0 || self.ms.max(self.jitter_ms) > MAX_MS) {
            return Some(format!("{name} needs ms, from 1 to {MAX_MS}"));
        }
        if self.kind == Kind::Bandwidth && !(1..=1 << 20).contains(&self.kib_s) {
            return Some("bandwidth needs kib_s, from 1 to 1048576".to_owned());
        }
        if !(400..=599).contains(&self.status) {
            return Some("the status of an error is from 400 to 599".to_owned());
        }
        None
    }
}

impl Script {
    /// Reads a script: YAML, of which JSON is a part.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, Error> {
        let options = serde_saphyr::options! { with_snippet: false };
        let script: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| unfit(&format!("the script can't be read: {error}")))?;
        script.checked()
    }

    /// The script, where it can be carried out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn checked(self) -> Result<Self, Error> {
        if self.steps.len() > MAX || self.steps.iter().any(|step| step.faults.len() > MAX) {
            return Err(unfit(&format!("there are more than {MAX} steps, or faults of one")));
        }
        let last = self.steps.len().saturating_sub(1);
        for (index, step) in self.steps.iter().enumerate() {
            let wrong = step.faults.iter().find_map(Fault::wrong);
            let endless = step.for_ms.is_none() && index < last;
            let wrong = wrong.or_else(|| endless.then(|| "it never ends: only the last may".to_owned()));
            let long = step.for_ms.is_some_and(|ms| ms > MAX_MS);
            let wrong = wrong.or_else(|| long.then(|| format!("for_ms is above {MAX_MS}")));
            if let Some(wrong) = wrong {
                return Err(unfit(&format!("step {}: {wrong}", index + 1)));
            }
        }
        Ok(self)
    }

    /// The faults at a time after the start. After the last step there are none.
    #[must_use]
    pub fn faults_at(&self, passed: Duration) -> &[Fault] {
        let mut end = Duration::ZERO;
        for step in &self.steps {
            match step.for_ms {
                None => return &step.faults,
                Some(ms) => end += Duration::from_millis(ms),
            }
            if passed < end {
                return &step.faults;
            }
        }
        &[]
    }
}

fn unfit(reason: &str) -> Error {
    Error::Usage { reason: reason.to_owned(), fix: "See docs/chaos.md for what a script has.".to_owned() }
}
