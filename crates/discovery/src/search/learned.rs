//! What requests have led to before: a request that is like earlier ones means the tool that those were met by.
//!
//! The nearest earlier requests vote for their tools (nearest neighbours, Cover and Hart 1967), near by the words that they share
//! and by what they mean. What is learned counts at once and is bounded: a tool keeps its latest requests.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::meanings::Meanings;
use crate::embed::Vector;

/// The most requests that are kept of one tool.
const MOST_OF_TOOL: usize = 64;

/// The most that are kept of all.
const MOST: usize = 16_384;

/// How many of the nearest are looked at closely.
const LOOKED_AT: usize = 64;

/// How many of them vote.
const VOTERS: usize = 12;

/// How alike two requests are, where the one begins to tell of the other, and where it tells the most.
const ALIKE: (f32, f32) = (0.25, 0.7);

/// The requests that were met before.
#[derive(Default)]
pub(super) struct Learned {
    examples: Vec<Example>,
    /// Which of them come next to be replaced, where there are too many: the oldest first.
    oldest: VecDeque<u32>,
    of_tool: HashMap<Arc<str>, VecDeque<u32>>,
    free: Vec<u32>,
    /// By number of a word: the examples that have it.
    postings: HashMap<u32, Vec<u32>>,
    meanings: Meanings,
}

#[derive(Default)]
struct Example {
    tool: Option<Arc<str>>,
    words: Vec<u32>,
}

impl Learned {
    pub(super) fn is_empty(&self) -> bool {
        self.of_tool.is_empty()
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.oldest.len()
    }

    /// Keeps a request that a tool has met, by its words (each once) and its meaning.
    pub(super) fn learn(&mut self, tool: &Arc<str>, words: Vec<u32>, meaning: &Vector) {
        let known = self.of_tool.get(tool).into_iter().flatten();
        if known.into_iter().any(|number| self.examples[*number as usize].words == words) {
            return;
        }
        let full = self.of_tool.get(tool).is_some_and(|own| own.len() >= MOST_OF_TOOL);
        let last = if full { self.of_tool.get(tool).and_then(|own| own.front().copied()) } else { None };
        if let Some(number) =
            last.or_else(|| self.oldest.front().copied().filter(|_| self.oldest.len() >= MOST))
        {
            self.forget(number);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.examples.push(Example::default());
            u32::try_from(self.examples.len() - 1).unwrap_or(u32::MAX)
        });
        for word in &words {
            self.postings.entry(*word).or_default().push(number);
        }
        self.meanings.set(number as usize, meaning);
        self.oldest.push_back(number);
        self.of_tool.entry(tool.clone()).or_default().push_back(number);
        self.examples[number as usize] = Example { tool: Some(tool.clone()), words };
    }

    fn forget(&mut self, number: u32) {
        let Example { tool, words } = std::mem::take(&mut self.examples[number as usize]);
        for word in words {
            if let Some(having) = self.postings.get_mut(&word) {
                having.retain(|one| *one != number);
            }
        }
        if let Some(tool) = tool
            && let Some(own) = self.of_tool.get_mut(&tool)
        {
            own.retain(|one| *one != number);
        }
        self.oldest.retain(|one| *one != number);
        self.meanings.clear(number as usize);
        self.free.push(number);
    }

    /// Which tools earlier requests speak for, the best with 1, and how sure that is, from 0 to 1.
    pub(super) fn votes(&self, words: &[u32], meaning: &Vector) -> (f32, HashMap<&Arc<str>, f32>) {
        let all: Vec<u32> = (0..).take(self.examples.len()).collect();
        let alike = self.meanings.compare(meaning, &all);
        let (shared, own) = self.shared(words);
        let rough = |(number, (alike, shared)): (usize, (&f32, &f32))| (alike + shared / own, number);
        let mut nearest: Vec<(f32, usize)> = alike.iter().zip(&shared).enumerate().map(rough).collect();
        keep_best(&mut nearest, LOOKED_AT);
        for (near, number) in &mut nearest {
            let Example { tool, words } = &self.examples[*number];
            let theirs: f32 = words.iter().map(|word| self.rare(*word)).sum();
            let shared = shared[*number] / (own * theirs).sqrt().max(f32::MIN_POSITIVE);
            *near = if tool.is_some() { 0.5 * (alike[*number].max(0.0) + shared) } else { 0.0 };
        }
        nearest.retain(|(alike, _)| *alike > ALIKE.0);
        keep_best(&mut nearest, VOTERS);
        let sure = nearest.iter().map(|(alike, _)| *alike).fold(0.0_f32, f32::max);
        let mut votes: HashMap<&Arc<str>, f32> = HashMap::new();
        for (alike, number) in nearest {
            if let Some(tool) = &self.examples[number].tool {
                *votes.entry(tool).or_default() += alike.powi(4);
            }
        }
        let most = votes.values().copied().fold(f32::MIN_POSITIVE, f32::max);
        votes.values_mut().for_each(|vote| *vote /= most);
        (((sure - ALIKE.0) / (ALIKE.1 - ALIKE.0)).clamp(0.0, 1.0), votes)
    }

    /// How much the words count that each example shares with a request, and how much all of the request's do.
    fn shared(&self, words: &[u32]) -> (Vec<f32>, f32) {
        let mut shared = vec![0.0; self.examples.len()];
        let mut own = f32::MIN_POSITIVE;
        for word in words {
            let weight = self.rare(*word);
            own += weight;
            for number in self.postings.get(word).into_iter().flatten() {
                shared[*number as usize] += weight;
            }
        }
        (shared, own)
    }

    /// How much a word counts in a cosine: for how rare it is, squared.
    #[expect(clippy::cast_precision_loss, reason = "counts of examples")]
    fn rare(&self, word: u32) -> f32 {
        let having = self.postings.get(&word).map_or(0, Vec::len) as f32;
        (1.0 + self.oldest.len() as f32 / (1.0 + having)).ln().powi(2)
    }
}

/// The best of them, in no order.
fn keep_best(found: &mut Vec<(f32, usize)>, most: usize) {
    if found.len() > most {
        found.select_nth_unstable_by(most - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        found.truncate(most);
    }
}
