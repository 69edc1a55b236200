//! Several services can do what is meant: which of them does it, and why.
//!
//! They have the very same capability by configuration, as those that stand in for one another when a call fails. Of two the one
//! is taken that can be called now; else the one for which the request says more of what is needed; else the cheaper; else
//! the one that answers in half the time; else the one nearer in meaning.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use trunkline_discovery::arguments::Filled;
use trunkline_discovery::{Snapshot, ToolEntry};
use trunkline_model::Capability;
use trunkline_resilience::breaker::BreakerState;

use super::understand::{Aim, Hearing, Meaning, Plan, Wish};
use crate::Gateway;

/// How many others are looked at.
const MOST: usize = 8;

/// In which part of the time of another one has to answer to be taken for that: nearly equal ones would take turns by noise.
const SOONER: f64 = 0.5;

/// Which of several services was chosen.
pub(super) struct Route {
    /// What all of them can do.
    capability: String,
    /// The others by name, and what speaks against each.
    others: Vec<(Arc<str>, String)>,
}

impl Route {
    /// For people and models.
    pub(super) fn in_words(&self) -> String {
        let against = self.others.iter().map(|(name, why)| format!("{name} {why}")).collect::<Vec<_>>();
        format!("One of {} for {}: {}.", self.others.len() + 1, self.capability, against.join("; "))
    }

    /// For programs.
    pub(super) fn told(&self) -> Value {
        let other = |(name, why): &(Arc<str>, String)| json!({"tool": &**name, "why_not": why});
        json!({"capability": self.capability, "others": self.others.iter().map(other).collect::<Vec<_>>()})
    }
}

/// What is known of a tool that can do what is meant.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    /// Why it can't be called now.
    ill: Option<&'static str>,
    /// Arguments that the request does not tell.
    missing: usize,
    /// What a call of a thousand tokens costs, in millionths.
    price: u64,
    /// Within which time 99 of 100 calls ended lately, in milliseconds.
    p99_ms: Option<f64>,
}

impl State {
    /// Which of two is rather taken (`Less` is this one), and what speaks against the other.
    fn against(&self, other: &Self) -> (Ordering, String) {
        let by = |ordering: Ordering, better: &Self, worse: &Self, why: &dyn Fn(&Self, &Self) -> String| {
            let (better, worse) = if ordering.is_le() { (better, worse) } else { (worse, better) };
            (ordering, why(better, worse))
        };
        let ill = self.ill.is_some().cmp(&other.ill.is_some());
        if ill.is_ne() {
            return by(ill, self, other, &|_, worse| worse.ill.unwrap_or_default().to_owned());
        }
        let missing = self.missing.cmp(&other.missing);
        if missing.is_ne() {
            return by(missing, self, other, &|better, worse| {
                format!("needs {} arguments more that were not said", worse.missing - better.missing)
            });
        }
        let price = self.price.cmp(&other.price);
        if price.is_ne() {
            return by(price, self, other, &|better, worse| {
                format!("costs {} a call and not {}", money(worse.price), money(better.price))
            });
        }
        if let (Some(own), Some(others)) = (self.p99_ms, other.p99_ms)
            && (own <= SOONER * others || others <= SOONER * own)
        {
            let latency = own.total_cmp(&others);
            let slow = own.max(others);
            return (latency, format!("takes up to {slow:.0} ms and not {:.0}", own.min(others)));
        }
        (Ordering::Equal, "is no nearer in meaning".to_owned())
    }
}

/// Millionths as the number that was configured.
fn money(millionths: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an amount of money to be read")]
    let whole = millionths as f64;
    whole / 1e6
}

/// One of those that can do what is meant.
struct Way {
    aim: Aim,
    filled: Filled,
    state: State,
}

impl Gateway {
    /// Chooses between services where several can do what a wish means.
    pub(super) fn route(&self, wishes: &mut [Wish<'_>], hearing: &Hearing<'_>) {
        let snapshot = self.catalog.snapshot();
        for wish in wishes {
            let Some(first) = self.first_of(&snapshot, wish, hearing) else { continue };
            let others = self.equals(&snapshot, &first.aim.entry, hearing);
            let Some(capability) = others.first().and_then(|other| shared(&first.aim.entry, other)) else {
                continue;
            };
            let known = self.known(wish.text, hearing);
            let mut ways = vec![first];
            for other in others {
                let aim = Aim { intent: other.name.to_string(), entry: other, ..ways[0].aim.clone() };
                let filled = self.filled(&aim, wish.text, &known);
                let state = self.state_of(&aim.entry, &filled);
                ways.push(Way { aim, filled, state });
            }
            let chosen = (1..ways.len()).fold(0, |best, other| {
                if ways[other].state.against(&ways[best].state).0.is_lt() { other } else { best }
            });
            let Way { aim, filled, state } = ways.swap_remove(chosen);
            let others = ways.iter().map(|way| (way.aim.entry.name.clone(), state.against(&way.state).1));
            let route = Route { capability, others: others.collect() };
            match &mut wish.meaning {
                // The model may have had a part in the arguments.
                Meaning::This(plan) if chosen == 0 => plan.route = Some(route),
                meaning => {
                    *meaning = Meaning::This(Box::new(Plan { route: Some(route), ..Plan::ours(aim, filled) }))
                }
            }
        }
    }

    /// The nearest of those that a wish may mean, where all can do the same. What the configuration names is not asked
    /// about.
    fn first_of(&self, snapshot: &Snapshot, wish: &Wish<'_>, hearing: &Hearing<'_>) -> Option<Way> {
        let (aim, filled) = match &wish.meaning {
            Meaning::This(plan) => (plan.aim.clone(), plan.filled.clone()),
            Meaning::Unclear(aims) => {
                let (first, rest) = aims.split_first()?;
                let equals = self.equals(snapshot, &first.entry, hearing);
                let same = |aim: &Aim| equals.iter().any(|equal| equal.name == aim.entry.name);
                if !rest.iter().all(same) {
                    return None;
                }
                (first.clone(), self.filled(first, wish.text, &self.known(wish.text, hearing)))
            }
            Meaning::Nothing(_) => return None,
        };
        let state = self.state_of(&aim.entry, &filled);
        (aim.intent == *aim.entry.name).then_some(Way { aim, filled, state })
    }

    /// The tools of other services that can do the same, change as much or little, and that the caller may call.
    fn equals(&self, snapshot: &Snapshot, one: &ToolEntry, hearing: &Hearing<'_>) -> Vec<ToolEntry> {
        let mut seen = HashSet::new();
        let may = |other: &&ToolEntry| {
            let (own, spec) = (one.tool.spec(), other.tool.spec());
            other.service.id() != one.service.id()
                && spec.effects.read_only == own.effects.read_only
                && spec.effects.destructive == own.effects.destructive
                && self.shows(&hearing.context.principal, spec)
                && seen.insert(other.name.clone())
        };
        snapshot.same_capability(one, |_| true).filter(may).take(MOST).cloned().collect()
    }

    fn state_of(&self, entry: &ToolEntry, filled: &Filled) -> State {
        let guard = self.guards.state(&entry.target);
        let ill = if !entry.service.is_up() {
            Some("is not there now")
        } else if guard.as_ref().is_some_and(|guard| guard.breaker == BreakerState::Open) {
            Some("has failed lately and is left alone")
        } else {
            None
        };
        let missing = filled.missing.len();
        State {
            ill,
            missing,
            price: self.limits.load().price_of(entry.service.id(), &entry.tool.spec().name),
            p99_ms: guard.and_then(|guard| guard.p99_ms),
        }
    }

    /// Whether another service that is there can do what this one can't now.
    pub(super) fn has_equal(&self, entry: &ToolEntry, hearing: &Hearing<'_>) -> bool {
        self.equals(&self.catalog.snapshot(), entry, hearing).iter().any(|other| other.service.is_up())
    }
}

/// A capability that both have.
fn shared(one: &ToolEntry, other: &ToolEntry) -> Option<String> {
    let terms: Vec<&str> = other.capabilities().map(Capability::as_str).collect();
    one.capabilities().map(Capability::as_str).find(|term| terms.contains(term)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_taken_for_what_tells_them_apart_first() {
        let usual = State { price: 10, p99_ms: Some(100.0), ..State::default() };
        let ill = State { ill: Some("is not there now"), price: 0, ..usual.clone() };
        let lacks = State { missing: 2, price: 0, ..usual.clone() };
        let dear = State { price: 50_000, p99_ms: Some(1.0), ..usual.clone() };
        let slow = State { p99_ms: Some(200.0), ..usual.clone() };
        let nearly = State { p99_ms: Some(150.0), ..usual.clone() };
        for (other, why) in [
            (&ill, "is not there now"),
            (&lacks, "needs 2 arguments more that were not said"),
            (&dear, "costs 0.05 a call and not 0.00001"),
            (&slow, "takes up to 200 ms and not 100"),
        ] {
            assert_eq!(usual.against(other), (Ordering::Less, why.to_owned()));
            assert_eq!(other.against(&usual), (Ordering::Greater, why.to_owned()));
        }
        assert_eq!(usual.against(&nearly).0, Ordering::Equal);
    }
}
