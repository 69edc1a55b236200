//! Tools in plain words: a request in, the tools that fit it out, the best first.
//!
//! Two ways at once. By words, BM25F (Robertson and Zaragoza 2009): a word counts for how rare it is among the tools and for where
//! it stands, in the name most. By meaning: the vector of the request beside that of each tool (`embed`). Both are brought to 0 to 1
//! and added. A request of several clauses is also asked clause by clause, so that each of several wishes finds its tool. One index
//! for all, updated in place.

mod clauses;
mod encoded;
mod learned;
mod meanings;
mod score;
mod words;

use std::collections::HashMap;
use std::sync::Arc;

use crate::embed::Table;
use crate::text::beginning;
pub use encoded::Encoded;
use encoded::Vectors;
use learned::Learned;
use meanings::Meanings;
use words::Words;

/// How soon more of the same word counts no more.
const K1: f32 = 2.0;

/// How much the length of a field counts.
const B: f32 = 0.75;

/// Of more tools than these, clauses are compared with those that fit the whole request best.
const LIKELY: usize = 1_024;

/// And with so many others.
const COMPARED: usize = 256;

/// The most words of a request that are put right.
const MOST_SPELLED: usize = 8;

/// The longest request that is read, in bytes; of more only the beginning is.
const LONGEST: usize = 16 << 10;

/// What a tool says in the places where a word counts differently.
#[derive(Clone, Debug, Default)]
pub struct Document<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it does.
    pub description: &'a str,
    /// Names of parameters.
    pub parameters: Vec<&'a str>,
    /// What is said of its parameters.
    pub about_parameters: Vec<&'a str>,
    /// What it can do, and other words that it is known by.
    pub terms: Vec<&'a str>,
    /// What it can do as its name lets guess, where nobody has said it.
    pub inferred: &'a str,
}

/// How much of a score comes from where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// The share of the meaning; the rest is of the words.
    pub meaning: f32,
    /// The share of the best clause, where there are several; the rest is of the request as a whole.
    pub clauses: f32,
    /// The share of what earlier requests led to, where they are most alike.
    pub learned: f32,
    /// The share of a stronger encoder in the meaning, where there is one.
    pub encoded: f32,
}

impl Default for Mix {
    fn default() -> Self {
        Self { meaning: 0.65, clauses: 0.5, learned: 0.6, encoded: 0.6 }
    }
}

/// How much a word in each place counts: name, description, parameters, what is said of these, other terms, inferred capabilities.
const WEIGHTS: [f32; FIELDS] = [4.0, 1.0, 0.7, 0.5, 1.0, 0.3];
const FIELDS: usize = 6;

/// Length that a field counts as having at least, so that the words of a short one don't count for too much.
const SHORTEST: f32 = 1.0;

/// A tool that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its key.
    pub key: Arc<str>,
    /// How well it fits, from 0 to 1 beside the best of this request.
    pub score: f32,
}

/// How near a request is to a tool, whatever else there is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Nearness {
    /// How alike they are in meaning, from -1 to 1.
    pub meaning: f32,
    /// The share of the request's words that the tool has, rare words counting more, from 0 to 1. Words that no tool has count as the
    /// rarest.
    pub words: f32,
    /// How sure earlier requests make it, from 0 to 1.
    pub learned: f32,
    /// The share of the words of the tool's name that the request has, from 0 to 1.
    pub name: f32,
}

impl Nearness {
    /// All of it in one number, from 0 to 1.
    #[must_use]
    pub fn sure(&self) -> f32 {
        let both = 0.6 * self.meaning.max(0.0) + 0.4 * self.words;
        both.max(self.learned).clamp(0.0, 1.0)
    }
}

/// The tools, by the words that they are told of with.
pub struct SearchIndex {
    table: &'static Table,
    mix: Mix,
    words: Words,
    /// By number of a word: which tools have it, and how much it counts there.
    postings: Vec<Vec<(u32, f32)>>,
    /// By number of a tool; none where one was removed.
    tools: Vec<Option<Arc<str>>>,
    numbers: HashMap<Arc<str>, u32>,
    free: Vec<u32>,
    /// The words of each tool, to remove it again.
    known: Vec<Vec<u32>>,
    /// How many words each field has, over all tools.
    lengths: [f32; FIELDS],
    /// The same of each tool.
    own_lengths: Vec<[f32; FIELDS]>,
    meanings: Meanings,
    vectors: Vectors,
    learned: Learned,
}

impl Default for SearchIndex {
    fn default() -> Self {
        Self::with(Table::built_in(), Mix::default())
    }
}

impl SearchIndex {
    /// An index without tools that takes meanings from a table.
    #[must_use]
    pub fn with(table: &'static Table, mix: Mix) -> Self {
        Self {
            table,
            mix,
            words: Words::default(),
            postings: Vec::new(),
            tools: Vec::new(),
            numbers: HashMap::new(),
            free: Vec::new(),
            known: Vec::new(),
            lengths: [0.0; FIELDS],
            own_lengths: Vec::new(),
            meanings: Meanings::default(),
            vectors: Vectors::default(),
            learned: Learned::default(),
        }
    }

    /// How many tools there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Adds a tool, or puts it in place of the one of the same key.
    pub fn insert(&mut self, key: &Arc<str>, document: &Document<'_>) {
        self.remove(key);
        let number = self.free.pop().unwrap_or_else(|| {
            self.tools.push(None);
            self.known.push(Vec::new());
            self.own_lengths.push([0.0; FIELDS]);
            u32::try_from(self.tools.len() - 1).unwrap_or(u32::MAX)
        });
        self.tools[number as usize] = Some(key.clone());
        self.numbers.insert(key.clone(), number);
        let mut counts: HashMap<u32, [f32; FIELDS]> = HashMap::new();
        let mut lengths = [0.0; FIELDS];
        let mut take = |words: &mut Words, field: usize, text: &str| {
            words.learn(text, |word| {
                counts.entry(word).or_default()[field] += 1.0;
                lengths[field] += 1.0;
            });
        };
        let words = &mut self.words;
        take(words, 0, document.name);
        take(words, 1, document.description);
        document.parameters.iter().for_each(|text| take(words, 2, text));
        document.about_parameters.iter().for_each(|text| take(words, 3, text));
        document.terms.iter().for_each(|text| take(words, 4, text));
        take(words, 5, document.inferred);
        for (all, own) in self.lengths.iter_mut().zip(lengths) {
            *all += own;
        }
        self.postings.resize_with(self.words.len(), Vec::new);
        let usual = self.usual_lengths();
        for (word, counts) in &counts {
            let weighted: f32 = (0..FIELDS)
                .map(|field| {
                    let norm = 1.0 - B + B * lengths[field] / usual[field];
                    WEIGHTS[field] * counts[field] / norm
                })
                .sum();
            self.postings[*word as usize].push((number, weighted / (K1 + weighted)));
        }
        self.known[number as usize] = counts.into_keys().collect();
        self.own_lengths[number as usize] = lengths;
        self.meanings.set(number as usize, &self.table.encode(&told(document)));
    }

    /// Removes a tool. Gives whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let Some(number) = self.numbers.remove(key) else { return false };
        let index = number as usize;
        for word in std::mem::take(&mut self.known[index]) {
            self.postings[word as usize].retain(|(tool, _)| *tool != number);
        }
        for (all, own) in self.lengths.iter_mut().zip(self.own_lengths[index]) {
            *all -= own;
        }
        self.meanings.clear(index);
        self.vectors.clear(index);
        self.tools[index] = None;
        self.free.push(number);
        true
    }

    /// Learns that a tool has met a request, from now on. A tool that is not there now is learned of all the same.
    pub fn learn(&mut self, request: &str, tool: &str) {
        let request = beginning(request, LONGEST);
        let mut words = Vec::new();
        self.words.learn(request, |word| words.push(word));
        words.sort_unstable();
        words.dedup();
        self.postings.resize_with(self.words.len(), Vec::new);
        let tool = self.numbers.get_key_value(tool).map_or_else(|| Arc::from(tool), |(tool, _)| tool.clone());
        self.learned.learn(&tool, words, &self.table.encode(request));
    }

    /// How near a request is to each of these tools, given by key and by its own name; to one that is not there not at all.
    #[must_use]
    pub fn nearness(&self, request: &str, tools: &[(&str, &str)]) -> Vec<Nearness> {
        let request = beginning(request, LONGEST);
        let meant = self.table.encode(request);
        let mut asked = Vec::new();
        self.words.each(request, |word| {
            if !asked.contains(&word) {
                asked.push(word);
            }
        });
        let words = self.words_in(request);
        let (sure, votes) = self.learned.votes(&words, &meant);
        let of_tool = |(tool, name): &(&str, &str)| {
            let number = *self.numbers.get(*tool)?;
            let meaning = self.meanings.compare(&meant, &[number])[0];
            let (mut shared, mut total) = (0.0, f32::MIN_POSITIVE);
            for word in &asked {
                let postings = word.map_or(&[][..], |word| &self.postings[word as usize]);
                let rare = self.rare(postings.len());
                total += rare;
                if postings.iter().any(|(other, _)| *other == number) {
                    shared += rare;
                }
            }
            let (mut of_name, mut said) = (0.0_f32, 0.0);
            self.words.known(name, |word| {
                of_name += 1.0;
                said += f32::from(u8::from(words.contains(&word)));
            });
            let vote = votes.iter().find(|(voted, _)| &****voted == *tool).map_or(0.0, |(_, vote)| *vote);
            Some(Nearness {
                meaning,
                words: shared / total,
                learned: sure * vote,
                name: said / of_name.max(1.0),
            })
        };
        tools.iter().map(|tool| of_tool(tool).unwrap_or_default()).collect()
    }

    /// The words of a text that are known, each once.
    fn words_in(&self, text: &str) -> Vec<u32> {
        let mut words = Vec::new();
        self.words.known(text, |word| words.push(word));
        words.sort_unstable();
        words.dedup();
        words
    }

    /// How much a word counts that so many of the tools have: the rarer, the more.
    #[expect(clippy::cast_precision_loss, reason = "counts of tools")]
    fn rare(&self, having: usize) -> f32 {
        let (all, having) = (self.numbers.len() as f32, having as f32);
        (1.0 + (all - having + 0.5) / (having + 0.5)).ln()
    }

    /// A request with its misspelt words put right, as far as they are near to a word that some tool has.
    #[must_use]
    pub fn spelled(&self, request: &str) -> String {
        let request = beginning(request, LONGEST);
        let mut right = String::with_capacity(request.len());
        let mut left = MOST_SPELLED;
        for part in request.split_inclusive(|letter: char| !letter.is_alphabetic()) {
            let word = part.trim_end_matches(|letter: char| !letter.is_alphabetic());
            let small = word.len() >= 4 && word.bytes().all(|letter| letter.is_ascii_lowercase());
            let near = if small && left > 0 && !self.table.knows(word) {
                left -= 1;
                self.words.nearest(word)
            } else {
                None
            };
            right.push_str(near.unwrap_or(word));
            right.push_str(&part[word.len()..]);
        }
        right
    }

    /// How long each field is on average, over the tools that there are.
    #[expect(clippy::cast_precision_loss, reason = "a count of tools")]
    fn usual_lengths(&self) -> [f32; FIELDS] {
        let count = self.numbers.len().max(1) as f32;
        self.lengths.map(|length| (length / count).max(SHORTEST))
    }

    /// Gives a tool the vector that a stronger encoder has for what it says of itself ([`told`]). One that is not there is left out.
    pub fn set_vector(&mut self, key: &str, vector: &[f32]) {
        if let Some(number) = self.numbers.get(key) {
            self.vectors.set(*number as usize, vector);
        }
    }

    /// Whether a tool is there and has no such vector yet.
    #[must_use]
    pub fn lacks_vector(&self, key: &str) -> bool {
        self.numbers.get(key).is_some_and(|number| !self.vectors.has(*number as usize))
    }

    /// The tools that fit a request, the best first, of those that `may` be told of.
    #[must_use]
    pub fn search(&self, request: &str, limit: usize, may: impl Fn(&str) -> bool) -> Vec<Hit> {
        self.search_encoded(request, &Encoded::default(), limit, may)
    }

    /// The same with the vectors of a stronger encoder.
    #[must_use]
    pub fn search_encoded(
        &self,
        request: &str,
        encoded: &Encoded,
        limit: usize,
        may: impl Fn(&str) -> bool,
    ) -> Vec<Hit> {
        let request = beginning(request, LONGEST);
        let all = self.tools.iter().zip(0..).filter(|(tool, _)| tool.is_some()).map(|(_, number)| number);
        let mut among: Vec<u32> = all.collect();
        let mut room = vec![0.0; self.tools.len()];
        let mut scores = self.score(request, encoded, &among, &mut room);
        let clauses = clauses::of(request);
        if clauses.len() > 1 && self.mix.clauses > 0.0 {
            self.likely(&mut among, &mut scores);
            let mut best = vec![0.0_f32; among.len()];
            for clause in clauses {
                let of_clause = self.score(clause, encoded, &among, &mut room);
                best.iter_mut().zip(of_clause).for_each(|(best, own)| *best = best.max(own));
            }
            for (score, best) in scores.iter_mut().zip(best) {
                *score = (1.0 - self.mix.clauses) * *score + self.mix.clauses * best;
            }
        }
        let found = scores.into_iter().zip(among).filter(|(score, _)| *score > 0.0).collect();
        self.best_of(found, limit, may)
    }

    /// The best, as far as they may be told of. Asked is of as few as possible: it may cost more than all the rest.
    fn best_of(&self, mut found: Vec<(f32, u32)>, limit: usize, may: impl Fn(&str) -> bool) -> Vec<Hit> {
        let key = |number: u32| self.tools[number as usize].as_ref();
        let order =
            |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then_with(|| key(a.1).cmp(&key(b.1)));
        let mut hits: Vec<Hit> = Vec::with_capacity(limit.min(found.len()));
        let (mut rest, mut next) = (&mut found[..], limit.max(16));
        while hits.len() < limit && !rest.is_empty() {
            if next < rest.len() {
                rest.select_nth_unstable_by(next - 1, order);
            }
            let (best, others) = rest.split_at_mut(next.min(rest.len()));
            best.sort_unstable_by(order);
            let told = best.iter().filter_map(|(score, number)| Some((score, key(*number)?)));
            let told = told.filter(|(_, key)| may(key)).take(limit - hits.len());
            hits.extend(told.map(|(score, key)| Hit { key: key.clone(), score: *score }));
            (rest, next) = (others, next * 4);
        }
        let most = hits.first().map_or(1.0, |hit| hit.score);
        hits.iter_mut().for_each(|hit| hit.score /= most);
        hits
    }

    /// Of many tools those that a part of the request may mean, and some of all kinds to compare them with: what fits a clause
    /// fits the whole request a little.
    fn likely(&self, among: &mut Vec<u32>, scores: &mut Vec<f32>) {
        if among.len() <= LIKELY {
            return;
        }
        let mut order: Vec<u32> = (0..).take(among.len()).collect();
        let by_score = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]);
        order.select_nth_unstable_by(LIKELY - 1, by_score);
        let (likely, others) = order.split_at(LIKELY);
        let mut kept: Vec<u32> = likely.to_vec();
        kept.extend(others.iter().step_by((others.len() / COMPARED).max(1)));
        kept.sort_unstable();
        *scores = kept.iter().map(|at| scores[*at as usize]).collect();
        *among = kept.into_iter().map(|at| among[at as usize]).collect();
    }
}

/// The clauses of a request; itself where it has but one.
#[must_use]
pub fn clauses_of(request: &str) -> Vec<&str> {
    clauses::of(beginning(request, LONGEST))
}

/// What a tool says of itself, as the table was trained on it: the text that is encoded.
#[must_use]
pub fn told(document: &Document<'_>) -> String {
    let mut told = String::with_capacity(document.name.len() + document.description.len() + 64);
    told.push_str(document.name);
    told.push_str(". ");
    told.push_str(document.description);
    for word in document.parameters.iter().chain(&document.terms) {
        told.push(' ');
        told.push_str(word);
    }
    told
}

#[cfg(test)]
mod tests;
