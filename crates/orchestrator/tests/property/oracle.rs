//! What has to hold in the end, whatever happened.

use std::collections::{HashMap, HashSet};

use trunkline_orchestrator::entry::{Finished, StepOutcome};
use trunkline_orchestrator::{Ending, Entry, Resolution};

use crate::plans::{Case, Way};
use crate::world::{Effect, What, World};

/// What a journal may not say, however long it is.
pub(crate) fn journal(entries: &[Entry]) -> Result<(), String> {
    let (mut intended, mut ended, mut succeeded) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut over = false;
    for entry in entries {
        if over {
            return Err(format!("there is more after the end: {entry:?}"));
        }
        match entry {
            Entry::Intended(step) => {
                let attempt = (step.key.clone(), step.attempt);
                if ended.contains(&attempt) || succeeded.contains(&step.key) {
                    return Err(format!("{attempt:?} is intended when it had ended"));
                }
                if !intended.insert(attempt.clone()) {
                    return Err(format!("{attempt:?} is intended twice"));
                }
            }
            Entry::Ended(end) => {
                let attempt = (end.key.clone(), end.attempt);
                if matches!(end.outcome, StepOutcome::Succeeded(_)) {
                    if !intended.contains(&attempt) {
                        return Err(format!("{attempt:?} succeeded and was not intended"));
                    }
                    succeeded.insert(end.key.clone());
                }
                // One whose branch had gone with its process ends for its branch, too.
                if !end.orphan && !ended.insert(attempt.clone()) {
                    return Err(format!("{attempt:?} ended twice"));
                }
            }
            Entry::Finished(_) => over = true,
            _ => {}
        }
    }
    Ok(())
}

/// What is known in the end.
pub(crate) struct End<'a> {
    pub(crate) case: &'a Case,
    pub(crate) entries: &'a [Entry],
    pub(crate) finished: &'a Finished,
    pub(crate) world: &'a World,
    /// What a person let be.
    pub(crate) excused: &'a HashSet<String>,
}

impl End<'_> {
    /// Whether the step after which there is no way back was done.
    fn past_pivot(&self) -> bool {
        let pivots: HashSet<_> = self
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Intended(step) if step.pivot => Some(step.key.clone()),
                _ => None,
            })
            .collect();
        self.entries.iter().any(|entry| match entry {
            Entry::Ended(end) => {
                let key = end.key.strip_suffix("~query").unwrap_or(&end.key);
                matches!(end.outcome, StepOutcome::Succeeded(_)) && pivots.contains(key)
            }
            Entry::Resolved { key, resolution: Resolution::Resolve { done: true, .. }, .. } => {
                pivots.contains(key)
            }
            _ => false,
        })
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let effects = self.world.effects();
        if let Some(blind) = self.world.blind().first() {
            return Err(format!("a call names nothing: {blind}"));
        }
        let mut first: HashMap<(&str, bool), usize> = HashMap::new();
        for (place, effect) in effects.iter().enumerate() {
            first.entry((&effect.id, effect.what == What::Done)).or_insert(place);
        }
        self.once(&effects)?;
        self.order(&first)?;
        let undone = effects.iter().any(|effect| effect.what == What::Undone);
        let past = self.past_pivot();
        let status = self.finished.status;
        if past && undone {
            return Err("something was undone past the pivot".to_owned());
        }
        let was_stuck = self.entries.iter().any(|entry| matches!(entry, Entry::Stuck { .. }));
        match status {
            Ending::Completed if undone => return Err("it is completed, and something was undone".to_owned()),
            Ending::Completed => self.all_there()?,
            _ if past && !was_stuck => {
                return Err(format!("it is {status:?} past its pivot, and nobody saw it stuck"));
            }
            _ if past => {}
            Ending::Undone => self.none_there()?,
            Ending::Faulted | Ending::Cancelled if undone => {
                return Err(format!("it is {status:?}, and something was undone"));
            }
            Ending::Faulted | Ending::Cancelled => self.none_there()?,
        }
        Ok(())
    }

    /// Nothing happens twice, nothing is undone that was not done or done again after its undo.
    fn once(&self, effects: &[Effect]) -> Result<(), String> {
        let mut undone: HashSet<&str> = HashSet::new();
        let mut done: HashSet<&str> = HashSet::new();
        for effect in effects {
            let (id, index) = (&*effect.id, index(&effect.id));
            let step = &self.case.steps[index];
            match effect.what {
                What::Done => {
                    if undone.contains(id) {
                        return Err(format!("{id} was done after its undo"));
                    }
                    if !done.insert(id) && !step.may_repeat() {
                        return Err(format!("{id} was done twice"));
                    }
                }
                What::Undone => {
                    if undone.insert(id) && !effect.before && step.way != Way::Safe {
                        return Err(format!("{id} was undone and had not been done"));
                    }
                }
            }
        }
        Ok(())
    }

    /// What depends on something is done after it and undone before it.
    fn order(&self, first: &HashMap<(&str, bool), usize>) -> Result<(), String> {
        for (index, step) in self.case.steps.iter().enumerate() {
            for (on, _) in &step.needs {
                let before = &self.case.steps[*on];
                for later in step.ids(index) {
                    for earlier in before.ids(*on) {
                        let at = |id: &str, done| {
                            first
                                .iter()
                                .find(|((known, is), _)| *known == id && *is == done)
                                .map(|(_, at)| *at)
                        };
                        let (a, b) = (at(&earlier, true), at(&later, true));
                        if let (Some(a), Some(b)) = (a, b)
                            && a > b
                        {
                            return Err(format!("{later} was done before {earlier}"));
                        }
                        let missing = a.is_none() && before.has_effects() && !before.is_left_out();
                        if missing && b.is_some() && !self.excused.contains(&earlier) {
                            return Err(format!("{later} was done without {earlier}"));
                        }
                        if let (Some(a), Some(b)) = (at(&earlier, false), at(&later, false))
                            && a < b
                            && !self.excused.contains(&later)
                        {
                            return Err(format!("{earlier} was undone before {later}"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything that is to be there is there.
    fn all_there(&self) -> Result<(), String> {
        for (index, step) in self.case.steps.iter().enumerate() {
            if step.is_left_out() || !step.has_effects() {
                continue;
            }
            for id in step.ids(index) {
                if self.world.there(&id) != 1 && !self.excused.contains(&id) {
                    return Err(format!(
                        "it is completed, and {id} is there {} times",
                        self.world.there(&id)
                    ));
                }
            }
        }
        Ok(())
    }

    /// Nothing is there that can be undone.
    fn none_there(&self) -> Result<(), String> {
        for (index, step) in self.case.steps.iter().enumerate() {
            for id in step.ids(index) {
                if step.can_be_undone() && self.world.there(&id) != 0 && !self.excused.contains(&id) {
                    return Err(format!("it is {:?}, and {id} is still there", self.finished.status));
                }
            }
        }
        Ok(())
    }
}

/// The number of the step that an id is of.
fn index(id: &str) -> usize {
    let digits: String = id.chars().skip(1).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}
