//! The words that tools are told of with: those of one stem are one.

use std::collections::HashMap;

use rust_stemmers::{Algorithm, Stemmer};

use crate::text::split;

/// Words that have been seen, by stem.
pub(super) struct Words {
    stemmer: Stemmer,
    numbers: HashMap<Box<str>, u32>,
    /// Whole words, one for each stem.
    whole: Vec<Box<str>>,
}

impl Default for Words {
    fn default() -> Self {
        let stemmer = Stemmer::create(Algorithm::English);
        Self { stemmer, numbers: HashMap::new(), whole: Vec::new() }
    }
}

impl Words {
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The words of a text, those that are new as well.
    pub(super) fn learn(&mut self, text: &str, mut each: impl FnMut(u32)) {
        let Self { stemmer, numbers, whole } = self;
        split(text, |word| {
            let stem = stemmer.stem(word);
            let number = match numbers.get(&*stem) {
                Some(number) => *number,
                None => {
                    let number = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                    numbers.insert(Box::from(&*stem), number);
                    whole.push(Box::from(word));
                    number
                }
            };
            each(number);
        });
    }

    /// The words of a text, none for those that have not been seen.
    pub(super) fn each(&self, text: &str, mut each: impl FnMut(Option<u32>)) {
        // A number is a value and no word, and so is what stands before one in an identifier.
        split(text, |word| {
            if !word.bytes().any(|letter| letter.is_ascii_digit()) {
                each(self.numbers.get(&*self.stemmer.stem(word)).copied());
            }
        });
    }

    /// A word that was seen and differs from one that was not by a letter, or by two where it is long; by the first letter never.
    pub(super) fn nearest(&self, word: &str) -> Option<&str> {
        if self.numbers.contains_key(&*self.stemmer.stem(word)) {
            return None;
        }
        let most = if word.len() >= 7 { 2 } else { 1 };
        let near = |other: &&str| {
            other.len().abs_diff(word.len()) <= most && other.as_bytes().first() == word.as_bytes().first()
        };
        let all = self.whole.iter().chain(self.numbers.keys()).map(|other| &**other);
        let found = all.filter(near).map(|other| (slips(word, other), other));
        found.filter(|(slips, _)| *slips <= most).min().map(|(_, other)| other)
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

/// How many slips of the pen lie between two words: a letter too many, too few, another, or two that changed places (Damerau 1964,
/// without a slip within a slip).
fn slips(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut before = vec![0; other.len() + 1];
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i; other.len() + 1];
        for j in 1..=other.len() {
            let same = usize::from(one[i - 1] != other[j - 1]);
            row[j] = (last[j - 1] + same).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_put_right() {
        let mut words = Words::default();
        words.learn("refund the payment of an order, shipment", |_| {});
        assert_eq!(words.nearest("refnd"), Some("refund"));
        assert_eq!(words.nearest("paymnet"), Some("payment"));
        assert_eq!(words.nearest("shippment"), Some("shipment"));
        assert_eq!((words.nearest("orders"), words.nearest("weather")), (None, None));
    }
}
