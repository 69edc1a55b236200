//! What tools score for a text: by its words, by what it means, by what earlier requests led to.

use std::collections::HashMap;

use super::{Encoded, SearchIndex};
use crate::embed::Vector;

/// How alike request and tool have to be, where they share no word, for the tool to be told of.
const ALIKE: f32 = 0.05;

/// How alike the most alike tool has to be, where none shares a word with the request, for any to be told of.
const NOTHING: f32 = 0.25;

/// How alike they have to be to a stronger encoder, for the same.
const ALIKE_BY_VECTOR: f32 = 0.2;

/// How rare a word has to be beside the rarest of the request to count. The most usual words are in half of the tools and say
/// nothing.
const COMMON: f32 = 0.2;

impl SearchIndex {
    /// What each of these tools scores for a text, from 0 to 1. `room` has a number for every tool.
    pub(super) fn score(&self, text: &str, encoded: &Encoded, among: &[u32], room: &mut [f32]) -> Vec<f32> {
        room.fill(0.0);
        self.by_words(text, room);
        let of_words = |number: &u32| room[*number as usize];
        let most = among.iter().map(of_words).fold(0.0_f32, f32::max);
        let by = if most > 0.0 { 1.0 / most } else { 0.0 };
        let of_meaning = self.mix.meaning;
        let meant = self.table.encode(text);
        let alike = self.meanings.compare(&meant, among);
        let vectors = encoded.get(text).map(|vector| self.vectors.compare(vector, among)).unwrap_or_default();
        let (least, nearest) = range(alike.iter().copied());
        let (least_by_vector, nearest_by_vector) = range(vectors.iter().copied().flatten());
        let least_alike = if most > 0.0 || nearest > NOTHING { ALIKE } else { f32::MAX };
        let score = |(at, number): (usize, &u32)| {
            let (words, alike, vector) = (of_words(number), alike[at], vectors.get(at).copied().flatten());
            let near = alike > least_alike || vector.is_some_and(|alike| alike > ALIKE_BY_VECTOR);
            if words <= 0.0 && !(near && of_meaning > 0.0) {
                return 0.0;
            }
            let by_table = share_of(alike, least, nearest);
            let meaning = vector.map_or(by_table, |alike| {
                let by_vector = share_of(alike, least_by_vector, nearest_by_vector);
                (1.0 - self.mix.encoded) * by_table + self.mix.encoded * by_vector
            });
            (1.0 - of_meaning) * words * by + of_meaning * meaning
        };
        let mut scores: Vec<f32> = among.iter().enumerate().map(score).collect();
        self.by_votes(text, &meant, among, &mut scores);
        scores
    }

    /// Brings in what earlier requests led to.
    fn by_votes(&self, text: &str, meant: &Vector, among: &[u32], scores: &mut [f32]) {
        if self.mix.learned == 0.0 || self.learned.is_empty() {
            return;
        }
        let (sure, votes) = self.learned.votes(&self.words_in(text), meant);
        let share = self.mix.learned * sure;
        let best = scores.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        scores.iter_mut().for_each(|score| *score *= (1.0 - share) / best);
        for (tool, vote) in votes {
            let at = self.numbers.get(tool).and_then(|number| among.binary_search(number).ok());
            if let Some(at) = at {
                scores[at] += share * vote;
            }
        }
    }

    /// Adds what each tool scores for the words of a text.
    fn by_words(&self, request: &str, scores: &mut [f32]) {
        let mut asked: HashMap<u32, f32> = HashMap::new();
        self.words.known(request, |word| *asked.entry(word).or_default() += 1.0);
        let rare = |word: &u32| self.rare(self.postings[*word as usize].len());
        let rarest = asked.keys().map(rare).fold(0.0_f32, f32::max);
        for (word, times) in asked {
            let (rare, postings) = (rare(&word), &self.postings[word as usize]);
            if rare < COMMON * rarest {
                continue;
            }
            // Said twice it counts a little more.
            let weight = rare * (1.0 + (times - 1.0) * 0.25).min(2.0);
            for (tool, counts) in postings {
                scores[*tool as usize] += weight * counts;
            }
        }
    }
}

/// The least and the most of some numbers.
fn range(numbers: impl Iterator<Item = f32>) -> (f32, f32) {
    numbers.fold((f32::MAX, f32::MIN), |(least, most), number| (least.min(number), most.max(number)))
}

/// Where a number lies between the least and the most, from 0 to 1.
fn share_of(number: f32, least: f32, most: f32) -> f32 {
    (number - least) / (most - least).max(f32::MIN_POSITIVE)
}
