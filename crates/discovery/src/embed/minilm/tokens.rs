//! Texts as BERT's tokens: small letters without accents, every mark a token of its own, words as WordPieces.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::MiniLm;
use crate::text::beginning;

/// The longest text that is read, in bytes; of more only the beginning is.
const LONGEST: usize = 8 << 10;

/// A longer word is not known.
const LONGEST_WORD: usize = 100;

impl MiniLm {
    /// The tokens of a text between the one that begins and the one that ends it, at most so many.
    pub(super) fn tokens(&self, text: &str, most: usize) -> Vec<u32> {
        let [begins, ends, unknown] = self.special;
        let mut tokens = vec![begins];
        let mut word = String::new();
        let mut take = |word: &mut String| {
            let known = word.chars().count() <= LONGEST_WORD && self.pieces.of_word(word, &mut tokens);
            if !known && !word.is_empty() {
                tokens.push(unknown);
            }
            word.clear();
            tokens.len() < most
        };
        for letter in beginning(text, LONGEST).nfd().filter(|letter| !is_combining_mark(*letter)) {
            if letter.is_whitespace() || letter.is_control() {
                if !take(&mut word) {
                    break;
                }
            } else if letter.is_alphanumeric() && !is_ideograph(letter) {
                word.extend(letter.to_lowercase());
            } else {
                let goes_on = take(&mut word);
                word.push(letter);
                if !take(&mut word) || !goes_on {
                    break;
                }
            }
        }
        take(&mut word);
        tokens.truncate(most - 1);
        tokens.push(ends);
        tokens
    }
}

/// Chinese characters are words of their own.
fn is_ideograph(letter: char) -> bool {
    matches!(u32::from(letter), 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x2_fa1f)
}
