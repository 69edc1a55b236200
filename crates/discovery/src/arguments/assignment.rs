//! Which parameter takes which part of the request, so that no part is taken twice and the sum of what is gained is large.

use super::candidates::{Candidate, Make};

/// The most choices of a parameter.
pub(super) const CHOICES: usize = 12;

/// How often all parameters are looked at again.
const ROUNDS: usize = 3;

/// A value that a parameter could take.
pub(super) struct Choice {
    pub(super) candidate: Candidate,
    /// How much better that is than leaving the parameter out, in nats; above 0.
    pub(super) gain: f32,
    pub(super) confidence: f32,
}

/// The choice of each parameter: first the best pair of all, then the next, as long as there are any; then each parameter in turn
/// takes what is another's, where both together gain by it.
pub(super) fn of(weighed: &[Vec<Choice>]) -> Vec<Option<usize>> {
    let mut taken: Vec<Option<usize>> = vec![None; weighed.len()];
    let mut pairs: Vec<(usize, usize)> = weighed
        .iter()
        .enumerate()
        .flat_map(|(at, choices)| (0..choices.len()).map(move |one| (at, one)))
        .collect();
    pairs.sort_by(|a, b| weighed[b.0][b.1].gain.total_cmp(&weighed[a.0][a.1].gain));
    for (at, one) in pairs {
        if taken[at].is_none() && others(weighed, &taken, at, one).is_empty() {
            taken[at] = Some(one);
        }
    }
    for _ in 0..ROUNDS {
        let mut better = false;
        for at in 0..weighed.len() {
            for one in 0..weighed[at].len() {
                if let Some(next) = exchanged(weighed, &taken, at, one) {
                    taken = next;
                    better = true;
                }
            }
        }
        if !better {
            break;
        }
    }
    taken
}

/// The assignment with one choice made and those in its way moved, where that gains.
fn exchanged(
    weighed: &[Vec<Choice>],
    taken: &[Option<usize>],
    at: usize,
    one: usize,
) -> Option<Vec<Option<usize>>> {
    if taken[at] == Some(one) {
        return None;
    }
    let moved = others(weighed, taken, at, one);
    if moved.is_empty() && taken[at].is_some() || moved.len() > 2 {
        return None;
    }
    let gain = |taken: &[Option<usize>]| -> f32 {
        taken.iter().zip(weighed).filter_map(|(taken, choices)| Some(choices.get((*taken)?)?.gain)).sum()
    };
    let mut next = taken.to_vec();
    next[at] = Some(one);
    for other in &moved {
        next[*other] = None;
    }
    for other in moved {
        next[other] =
            (0..weighed[other].len()).find(|choice| others(weighed, &next, other, *choice).is_empty());
    }
    (gain(&next) > gain(taken) + 1e-3).then_some(next)
}

/// The parameters whose values stand where this choice does.
fn others(weighed: &[Vec<Choice>], taken: &[Option<usize>], at: usize, one: usize) -> Vec<usize> {
    let own = &weighed[at][one].candidate;
    if !alone(own) {
        return Vec::new();
    }
    let clash = |other: &usize| {
        let value =
            taken[*other].and_then(|choice| weighed[*other].get(choice)).map(|choice| &choice.candidate);
        *other != at
            && value.is_some_and(|value| alone(value) && value.start < own.end && own.start < value.end)
    };
    (0..taken.len()).filter(clash).collect()
}

/// What is chosen from a list may be said with the same words as another value.
fn alone(candidate: &Candidate) -> bool {
    !matches!(candidate.make, Make::Yes | Make::No | Make::Said | Make::Alike)
}
