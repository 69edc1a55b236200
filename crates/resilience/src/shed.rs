//! Who goes first when not all can: five classes by a hundred levels.
//!
//! The class says how much a call matters. The level is made from its caller, so that in an overload the same callers
//! are refused together and the others are served whole, rather than that everyone's tasks break here and there (DAGOR,
//! SoCC 2018; Uber's Cinnamon; failsafe-go has the same five by a hundred). Levels change every hour: nobody is always
//! the first to go.
//!
//! What is refused follows from how much has to be and from what came lately: the least of it, whatever its priority.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Levels of a class.
const LEVELS: u16 = 100;

/// Classes.
pub(crate) const CLASSES: usize = 5;

/// All priorities.
const ALL: usize = CLASSES * LEVELS as usize;

/// Counts are halved at this many, so that what came long ago counts for little.
const MOST: u32 = 8_192;

/// How long a caller keeps its level.
const KEPT: Duration = Duration::from_secs(3_600);

/// How much a call matters, the least first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It can wait: prefetching, reports.
    Background,
    /// It matters less than usual.
    Low,
    /// What nothing is said of.
    #[default]
    Normal,
    /// A person waits for it.
    High,
    /// It has to be done: a share of every service is kept for it.
    Critical,
}

impl Class {
    /// The class of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Background, Self::Low, Self::Normal, Self::High, Self::Critical];
        all.into_iter().find(|class| class.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// 0 for the least.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// A class, and a level within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority {
    class: Class,
    level: u16,
}

impl Priority {
    /// The priority of a caller's calls of a class. `running` is how long the process has run.
    #[must_use]
    pub fn new(class: Class, caller: &str, running: Duration) -> Self {
        let mut hasher = DefaultHasher::new();
        (caller, running.as_secs() / KEPT.as_secs()).hash(&mut hasher);
        Self { class, level: u16::try_from(hasher.finish() % u64::from(LEVELS)).unwrap_or(0) }
    }

    /// Its class.
    #[must_use]
    pub fn class(self) -> Class {
        self.class
    }

    fn index(self) -> usize {
        self.class.index() * usize::from(LEVELS) + usize::from(self.level.min(LEVELS - 1))
    }
}

/// What came lately, by priority.
#[derive(Debug)]
pub(crate) struct Arrivals {
    counts: Box<[u32; ALL]>,
    total: u32,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self { counts: Box::new([0; ALL]), total: 0 }
    }

    /// Counts a call.
    pub(crate) fn count(&mut self, priority: Priority) {
        if self.total >= MOST {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
        self.counts[priority.index()] += 1;
        self.total += 1;
    }

    /// Whether a call is among the share (0 to 1) that has to go. Of those with the priority at which the share ends, a
    /// part goes, by `chance` (0 to 1).
    pub(crate) fn goes(&self, priority: Priority, share: f64, chance: f64) -> bool {
        let index = priority.index();
        let (Some(below), Some(&at)) = (self.counts.get(..index), self.counts.get(index)) else {
            return false;
        };
        let has_to = share.clamp(0.0, 1.0) * f64::from(self.total);
        let below = f64::from(below.iter().sum::<u32>());
        has_to > below && chance * f64::from(at.max(1)) < has_to - below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_caller_has_the_same_level_for_a_while() {
        let level = |caller: &str, minutes: u64| {
            Priority::new(Class::Normal, caller, Duration::from_secs(minutes * 60)).level
        };
        assert_eq!(level("ada", 1), level("ada", 59));
        let changed = (0..50).filter(|n| level(&n.to_string(), 1) != level(&n.to_string(), 61)).count();
        assert!(changed > 40, "{changed}");
        let some: std::collections::HashSet<u16> = (0..1_000).map(|n| level(&n.to_string(), 1)).collect();
        assert!(some.len() > 90, "{}", some.len());
    }

    #[test]
    fn what_goes_is_the_least_of_what_came() {
        let mut arrivals = Arrivals::new();
        let of = |class, level| Priority { class, level };
        for n in 0..1_000 {
            arrivals.count(of(if n % 10 == 0 { Class::High } else { Class::Low }, n % 100));
        }
        // Nine tenths are low. A share of 45 % is half of those, from the lowest level on.
        assert!(arrivals.goes(of(Class::Low, 10), 0.45, 0.99));
        assert!(!arrivals.goes(of(Class::Low, 90), 0.45, 0.01));
        assert!(!arrivals.goes(of(Class::High, 0), 0.89, 0.01));
        assert!(arrivals.goes(of(Class::High, 0), 1.0, 0.5));
        assert!(!arrivals.goes(of(Class::Background, 0), 0.0, 0.0));
        // Nobody with this priority has come, but all who did matter more.
        assert!(arrivals.goes(of(Class::Background, 5), 0.1, 0.5));
    }

    #[test]
    fn one_caller_alone_is_refused_in_part() {
        let mut arrivals = Arrivals::new();
        let one = Priority { class: Class::Normal, level: 7 };
        (0..100_000).for_each(|_| arrivals.count(one));
        assert!(arrivals.goes(one, 0.3, 0.29));
        assert!(!arrivals.goes(one, 0.3, 0.31));
        assert!(arrivals.total <= MOST + 1);
    }
}
