//! What an instance takes over of another that it goes on from: the decisions that do not come after a step.
//!
//! Of two steps, the later one comes after the other unless they stand in different branches of a fork. So the steps of
//! other branches are kept, also where they ended later. Whether what is left is a journal that a run can follow is not
//! argued but tried: the run is replayed over it, without any way to do something new.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use jiff::Timestamp;

use crate::entry::{Entry, InstanceId, Key, StepOutcome};
use crate::fault::Fault;
use crate::run::Run;
use crate::{Error, interpret};

/// The most steps that an error names.
const NAMED: usize = 20;

/// What a replay without new deeds comes to.
#[derive(Debug)]
pub(super) enum Replayed {
    /// All decisions were taken: it can go on.
    Stands,
    /// Some were never asked for.
    Lost,
    /// It came to an error again.
    Fails(Fault),
}

/// The whole key of a step: `named` is it, or the name of its task where only one step has that.
pub(super) fn find(id: InstanceId, entries: &[Entry], named: &str) -> Result<Key, Error> {
    let mut keys: Vec<&Key> = Vec::new();
    for entry in entries {
        let key = match entry {
            Entry::Intended(intended) if intended.undoes.is_none() => &intended.key,
            Entry::Ended(ended) => &ended.key,
            _ => continue,
        };
        if !keys.contains(&key) && suffix_at(key).is_none() {
            keys.push(key);
        }
    }
    let is = |key: &&&Key| &****key == named || key.rsplit('/').next() == Some(named);
    let mut found = keys.iter().filter(is);
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(Key::clone(key)),
        _ => Err(Error::UnknownStep {
            instance: id,
            step: named.chars().take(200).collect(),
            known: keys.iter().take(NAMED).map(|key| &***key).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// The entries that do not come after `from`; `None` where they can't stand alone.
pub(super) fn before(
    entries: &[Entry],
    from: &Key,
    stands: impl Fn(&[Entry]) -> Replayed,
) -> Option<Vec<Entry>> {
    // A step whose branch went because of what is not taken over is waited for again; others stay without a branch.
    for adopt in [true, false] {
        let mut cuts = vec![from.clone()];
        loop {
            let left = without(entries, &cuts, adopt);
            match stands(&left) {
                Replayed::Stands => return Some(left),
                Replayed::Lost => break,
                Replayed::Fails(fault) => {
                    tracing::debug!(%fault, "another branch is done again, too");
                    let failed = left.iter().rev().find_map(|entry| match entry {
                        Entry::Ended(ended) if !matches!(ended.outcome, StepOutcome::Succeeded(_)) => {
                            Some(ended.key.clone())
                        }
                        _ => None,
                    });
                    let Some(failed) = failed else { break };
                    cuts.push(failed);
                }
            }
        }
    }
    None
}

/// The decisions that come after none of the cuts, with the intents of their steps.
fn without(entries: &[Entry], cuts: &[Key], adopt: bool) -> Vec<Entry> {
    let places: Vec<usize> = cuts
        .iter()
        .map(|cut| entries.iter().position(|entry| key_of(entry) == Some(cut)).unwrap_or(entries.len()))
        .collect();
    let comes_after = |place: usize, key: &str| {
        let step = &key[..suffix_at(key).unwrap_or(key.len())];
        cuts.iter().zip(&places).any(|(cut, &at)| {
            let same = step == &**cut;
            same || (place >= at && !parallel(step, cut))
        })
    };
    let kept = |(place, entry): (usize, &Entry)| {
        let key = key_of(entry)?;
        let last = suffix_at(key).map_or("", |at| &key[at..]);
        let of_the_end = last.starts_with("~undo") || last.starts_with("~query") || &**key == "~cancel";
        (!of_the_end && !comes_after(place, key)).then(|| entry.clone())
    };
    let mut left: Vec<Entry> = entries.iter().enumerate().filter_map(kept).collect();
    let ended: HashSet<Key> = left
        .iter()
        .filter_map(|entry| match entry {
            Entry::Ended(ended) => Some(ended.key.clone()),
            _ => None,
        })
        .collect();
    left.retain(|entry| match entry {
        Entry::Intended(intended) => ended.contains(&intended.key),
        _ => true,
    });
    if adopt {
        for entry in &mut left {
            if let Entry::Ended(ended) = entry {
                ended.orphan = false;
            }
        }
    }
    left
}

/// What an entry that can be taken over is about.
fn key_of(entry: &Entry) -> Option<&Key> {
    match entry {
        Entry::Intended(intended) => Some(&intended.key),
        Entry::Ended(ended) => Some(&ended.key),
        Entry::Waiting { key, .. }
        | Entry::Decided { key, .. }
        | Entry::Stuck { key, .. }
        | Entry::Resolved { key, .. } => Some(key),
        _ => None,
    }
}

/// Where what is written behind a task's key begins, such as `~again`. (`~0` and `~1` are parts of names.)
fn suffix_at(key: &str) -> Option<usize> {
    let tilde = |(at, _): &(usize, &str)| !key[at + 1..].starts_with(['0', '1']);
    key.match_indices('~').find(tilde).map(|(at, _)| at)
}

/// Whether two tasks stand in different branches of a fork.
fn parallel(a: &str, b: &str) -> bool {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split('/').collect(), b.split('/').collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else { return false };
    at >= 2 && a[at - 2] == "fork" && a[at - 1] == "branches"
}

/// Runs again over these decisions as far as they lead, and does nothing new.
pub(super) fn stands(run: &Arc<Run>, entries: &[Entry], now: Timestamp) -> Replayed {
    run.journal.load(entries.iter().map(|entry| (entry.clone(), now)));
    run.journal.hold();
    let mut work = Box::pin(tokio::task::unconstrained(interpret::workflow(run)));
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let taken = run.journal.taken();
        match work.as_mut().poll(&mut context) {
            Poll::Ready(_) if !run.journal.is_taken() => return Replayed::Lost,
            Poll::Ready(Err(fault)) => return Replayed::Fails(fault),
            Poll::Pending if run.journal.taken() > taken => {}
            Poll::Pending if !run.journal.is_taken() => return Replayed::Lost,
            Poll::Ready(Ok(_)) | Poll::Pending => return Replayed::Stands,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_different_branches_of_a_fork_are_side_by_side() {
        let fork = "/do/1/both/fork/branches";
        assert!(parallel(&format!("{fork}/0/a"), &format!("{fork}/1/b")));
        assert!(parallel(&format!("{fork}/0/a/do/3/x"), &format!("{fork}/1/b/do/0/y")));
        assert!(!parallel("/do/0/a", "/do/1/b"));
        assert!(!parallel("/do/1/both", &format!("{fork}/1/b")));
        assert!(!parallel("/do/0/each/for/do[0]/0/a", "/do/0/each/for/do[1]/0/a"));
    }

    #[test]
    fn a_tilde_of_a_name_is_no_suffix() {
        assert_eq!(suffix_at("/do/0/a~0b"), None);
        assert_eq!(suffix_at("/do/0/a~1b~again"), Some(10));
    }
}
