//! WordPieces (Wu et al. 2016): words as the longest pieces that are known, taken greedily from the start.

use std::collections::HashMap;

/// The pieces that are known, each with its number. One that goes on a word begins with `##`.
pub(super) struct Pieces {
    numbers: HashMap<Box<str>, u32>,
    /// The longest piece, in bytes.
    longest: usize,
}

impl Pieces {
    /// Those of a text, one a line, numbered from 0.
    pub(super) fn of_lines(text: &str) -> Self {
        let numbers: HashMap<Box<str>, u32> = text.split('\n').map(Box::from).zip(0..).collect();
        let longest = numbers.keys().map(|piece| piece.len()).max().unwrap_or_default();
        Self { numbers, longest }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The number of a piece.
    pub(super) fn get(&self, piece: &str) -> Option<u32> {
        self.numbers.get(piece).copied()
    }

    /// Adds the pieces that a word is made of; gives false, and adds none, where it has a part that is no piece.
    pub(super) fn of_word(&self, word: &str, tokens: &mut Vec<u32>) -> bool {
        let before = tokens.len();
        let mut key = String::with_capacity(word.len() + 2);
        let mut start = 0;
        while start < word.len() {
            let prefix = if start == 0 { "" } else { "##" };
            let most = word.len().min(start + self.longest);
            let piece = (start + 1..=most).rev().filter(|end| word.is_char_boundary(*end)).find_map(|end| {
                key.clear();
                key.push_str(prefix);
                key.push_str(&word[start..end]);
                Some((self.get(&key)?, end))
            });
            let Some((token, end)) = piece else {
                tokens.truncate(before);
                return false;
            };
            tokens.push(token);
            start = end;
        }
        true
    }
}
