//! The words that tools are told of with: those of one stem are one.

use std::collections::HashMap;

use rust_stemmers::{Algorithm, Stemmer};

use crate::text::split;

/// Words that have been seen, by stem.
pub(super) struct Words {
    stemmer: Stemmer,
    numbers: HashMap<Box<str>, u32>,
}

impl Default for Words {
    fn default() -> Self {
        Self { stemmer: Stemmer::create(Algorithm::English), numbers: HashMap::new() }
    }
}

impl Words {
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The words of a text, those that are new as well.
    pub(super) fn learn(&mut self, text: &str, mut each: impl FnMut(u32)) {
        let Self { stemmer, numbers } = self;
        split(text, |word| {
            let stem = stemmer.stem(word);
            let number = match numbers.get(&*stem) {
                Some(number) => *number,
                None => {
                    let number = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                    numbers.insert(Box::from(&*stem), number);
                    number
                }
            };
            each(number);
        });
    }

    /// The words of a text that have been seen.
    pub(super) fn known(&self, text: &str, mut each: impl FnMut(u32)) {
        split(text, |word| {
            if let Some(number) = self.numbers.get(&*self.stemmer.stem(word)) {
                each(*number);
            }
        });
    }
}
