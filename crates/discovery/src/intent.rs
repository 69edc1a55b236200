//! What a request is about: which of the known intents, how sure that is, or none of them.
//!
//! Intents are tools, flows, commands and whatever has examples in the configuration. A new example counts at once: the model is a
//! regression over the examples themselves, in closed form (`kernel`), beside the nearest of them. A request of several wishes
//! is taken apart; where two intents are about as likely, there is a question to ask and no guess.

mod error;
mod kernel;
mod wishes;
mod words;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use crate::embed::Table;
pub use error::Error;
use kernel::{Factor, add};
pub use words::Said;
use words::{Numbers, Reader};

/// The most intents, and the most examples of all together.
const INTENTS: usize = 2_000;
const EXAMPLES: usize = 5_000;

/// How much the nearest example counts beside the regression.
const NEAREST: f32 = 0.3;

/// How many of the nearest examples of an intent count, each half as much as the one before.
const NEIGHBOURS: usize = 3;

/// From scores to shares: how far apart they are drawn.
const SHARPNESS: f32 = 20.0;

/// Where a request as near as that to an intent is as likely meant as not, and how sharply that turns.
const HALF: f32 = 0.33;
const TURN: f32 = 16.0;

/// At least so sure, or nothing is understood.
const SURE: f32 = 0.5;

/// Two intents whose confidence differs by no more are both asked about.
const CLOSE: f32 = 0.3;

/// The intents that are known.
pub struct Intents {
    reader: Reader,
    names: Vec<Option<Named>>,
    places: HashMap<String, usize>,
    examples: Vec<Example>,
    factor: Factor,
    /// The weights of the examples; none where one came or went since.
    weights: OnceLock<Vec<Vec<f32>>>,
}

struct Named {
    id: String,
    /// What it is, for the question.
    about: String,
}

struct Example {
    intent: usize,
    text: Box<str>,
    numbers: Numbers,
}

/// An intent that a request may mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// Its id.
    pub intent: String,
    /// How sure it is, from 0 to 1. What is left to 1 over all guesses is that none is meant.
    pub confidence: f32,
}

/// One wish of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Its words, in bytes of the request.
    pub span: Range<usize>,
    /// What it means.
    pub meaning: Meaning,
}

/// What a wish means.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// This.
    Intent(Guess),
    /// One of these; the question to ask.
    Ambiguous {
        /// The likeliest first.
        guesses: Vec<Guess>,
        /// What to ask.
        question: String,
    },
    /// None of the intents.
    None {
        /// How sure that is, from 0 to 1.
        confidence: f32,
    },
}

/// The mean of what is near, the nearest first; where there are fewer, the nearest stands for them.
fn weighted(near: [f32; NEIGHBOURS]) -> f32 {
    let [first, second, third] = near;
    let second = if second > 0.0 { second } else { first };
    let third = if third > 0.0 { third } else { second };
    (4.0 * first + 2.0 * second + third) / 7.0
}

impl Default for Intents {
    fn default() -> Self {
        Self::new()
    }
}

impl Intents {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Table::built_in())
    }

    /// None yet, with another table of embeddings.
    #[must_use]
    pub fn with(table: &'static Table) -> Self {
        Self {
            reader: Reader::new(table),
            names: Vec::new(),
            places: HashMap::new(),
            examples: Vec::new(),
            factor: Factor::default(),
            weights: OnceLock::new(),
        }
    }

    /// Adds an intent, or says anew what it is about. Its words count as its first example.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn add(&mut self, id: &str, about: &str) -> Result<(), Error> {
        self.add_said(id, about, (&Self::first_example(id, about)).into())
    }

    /// The same with a vector of its first example ([`Self::first_example`]).
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn add_said(&mut self, id: &str, about: &str, first: Said<'_>) -> Result<(), Error> {
        let place = self.place(id)?;
        if let Some(Some(named)) = self.names.get_mut(place) {
            about.clone_into(&mut named.about);
        }
        self.learn(place, first)
    }

    /// What counts as the first example of an intent: its own words.
    #[must_use]
    pub fn first_example(id: &str, about: &str) -> String {
        format!("{} {about}", id.trim_start_matches('/'))
    }

    /// Adds an example of an intent, which is new where it has not been added. It counts from now on. Where one example has a vector
    /// of a stronger encoder all texts have to have one, those of requests as well.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn example<'a>(&mut self, id: &str, text: impl Into<Said<'a>>) -> Result<(), Error> {
        let place = self.place(id)?;
        self.learn(place, text.into())
    }

    /// Forgets an intent with all its examples.
    pub fn remove(&mut self, id: &str) {
        let Some(place) = self.places.remove(id) else { return };
        self.names[place] = None;
        let first = self.examples.iter().position(|example| example.intent == place);
        let Some(first) = first else { return };
        let rest = self.examples.split_off(first);
        self.factor.shrink(first);
        rest.into_iter().filter(|example| example.intent != place).for_each(|example| self.take(example));
    }

    fn place(&mut self, id: &str) -> Result<usize, Error> {
        if let Some(place) = self.places.get(id) {
            return Ok(*place);
        }
        let place = self.names.len();
        if place >= INTENTS {
            return Err(Error::Full);
        }
        self.names.push(Some(Named { id: id.to_owned(), about: String::new() }));
        self.places.insert(id.to_owned(), place);
        self.weights.take();
        Ok(place)
    }

    fn learn(&mut self, intent: usize, said: Said<'_>) -> Result<(), Error> {
        if self.examples.len() >= EXAMPLES {
            return Err(Error::Full);
        }
        let numbers = self.reader.read(said);
        let text = crate::text::beginning(said.words, 256).into();
        self.take(Example { intent, text, numbers });
        Ok(())
    }

    fn take(&mut self, example: Example) {
        let open = example.numbers.open();
        let near: Vec<f32> = self.examples.iter().map(|other| open.alike(&other.numbers)).collect();
        self.factor.grow(&near, open.alike(&example.numbers));
        self.examples.push(example);
        self.weights.take();
    }

    /// Works out what follows from the examples that came or went since. The first request after that does it by itself;
    /// with thousands of examples it takes a second.
    pub fn settle(&self) {
        self.weights.get_or_init(|| self.factor.weights(self.names.len(), |at| self.examples[at].intent));
    }

    /// What a text may mean, the likeliest first, at most `limit`. The confidences add up to 1 with that of none.
    #[must_use]
    pub fn guess<'a>(&self, text: impl Into<Said<'a>>, limit: usize) -> Vec<Guess> {
        let numbers = self.reader.read(text.into());
        let open = numbers.open();
        self.settle();
        let weights = self.weights.get().map(Vec::as_slice).unwrap_or_default();
        let mut scores = vec![0.0_f32; self.names.len()];
        let mut nearest = vec![[0.0_f32; NEIGHBOURS]; scores.len()];
        for (example, weights) in self.examples.iter().zip(weights) {
            let mut near = open.alike(&example.numbers);
            add(&mut scores, weights, near);
            for place in &mut nearest[example.intent] {
                if near > *place {
                    std::mem::swap(place, &mut near);
                }
            }
        }
        for (score, nearest) in scores.iter_mut().zip(nearest) {
            *score += NEAREST * weighted(nearest);
        }
        let mut order: Vec<usize> = (0..scores.len()).filter(|place| self.names[*place].is_some()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let Some(best) = order.first().map(|place| scores[*place]) else { return Vec::new() };
        let known = 1.0 / (1.0 + (-TURN * (best - HALF)).exp());
        let share = |place: &usize| (SHARPNESS * (scores[*place] - best)).exp();
        let total: f32 = order.iter().map(share).sum();
        let named =
            |place: usize| self.names[place].as_ref().map(|named| named.id.clone()).unwrap_or_default();
        order
            .iter()
            .take(limit)
            .map(|place| Guess { intent: named(*place), confidence: known * share(place) / total })
            .collect()
    }

    /// The wishes of a request, in the order in which they are to be done.
    #[must_use]
    pub fn understand(&self, text: &str) -> Vec<Wish> {
        let text = crate::text::beginning(text, 8 << 10);
        if let Some(wish) = self.command(text) {
            return vec![wish];
        }
        wishes::of(text, |clause| self.guess(clause, 2))
            .into_iter()
            .map(|span| Wish { meaning: self.meaning(&text[span.clone()]), span })
            .collect()
    }

    /// `/task buy milk` means the command and nothing else.
    fn command(&self, text: &str) -> Option<Wish> {
        let rest = text.trim_start();
        let name = rest.split_whitespace().next().filter(|word| word.starts_with('/'))?;
        let place = self.places.get(name).or_else(|| self.places.get(&name[1..]))?;
        let intent = self.names[*place].as_ref()?.id.clone();
        let start = text.len() - rest.len() + name.len();
        Some(Wish { span: start..text.len(), meaning: Meaning::Intent(Guess { intent, confidence: 1.0 }) })
    }

    /// The example of an intent that is most like a text.
    #[must_use]
    pub fn like<'a>(&self, intent: &str, text: impl Into<Said<'a>>) -> Option<&str> {
        let place = *self.places.get(intent)?;
        let numbers = self.reader.read(text.into());
        let open = numbers.open();
        let of_it = self.examples.iter().filter(|example| example.intent == place);
        let nearest = of_it.max_by(|a, b| open.alike(&a.numbers).total_cmp(&open.alike(&b.numbers)));
        nearest.map(|example| &*example.text)
    }

    /// What one wish means.
    #[must_use]
    pub fn meaning<'a>(&self, text: impl Into<Said<'a>>) -> Meaning {
        let guesses = self.guess(text, 3);
        let sum: f32 = guesses.iter().map(|guess| guess.confidence).sum();
        let Some(best) = guesses.first().filter(|_| sum >= SURE) else {
            return Meaning::None { confidence: 1.0 - sum };
        };
        let close: Vec<Guess> =
            guesses.iter().filter(|guess| best.confidence - guess.confidence <= CLOSE).cloned().collect();
        if close.len() == 1 {
            return Meaning::Intent(best.clone());
        }
        let question = self.question(&close);
        Meaning::Ambiguous { guesses: close, question }
    }

    fn question(&self, guesses: &[Guess]) -> String {
        let told = |guess: &Guess| {
            let named = self.places.get(&guess.intent).and_then(|place| self.names[*place].as_ref());
            match named.map(|named| named.about.trim()).filter(|about| !about.is_empty()) {
                Some(about) => format!("{} ({})", guess.intent, crate::text::beginning(about, 120)),
                None => guess.intent.clone(),
            }
        };
        let all: Vec<String> = guesses.iter().map(told).collect();
        match &*all {
            [first @ .., last] if !first.is_empty() => format!("Do you mean {} or {last}?", first.join(", ")),
            _ => "What do you want to do?".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
