//! Texts as vectors: texts of like meaning point the same way, also where they share no word.
//!
//! A static table, one vector a token, that is summed over the tokens of a text. It is made by `training/train.py` and built into
//! the binary: no network, no model run time. The tokens are WordPieces (Wu et al. 2016), taken greedily, the longest first.

mod error;
mod minilm;
mod pieces;

use std::borrow::Cow;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::text::{beginning, split};
pub use error::BadTable;
pub use minilm::{BadWeights, MiniLm};
use pieces::Pieces;

/// How many numbers a vector has.
pub const DIMENSIONS: usize = 256;

/// The longest text that is read, in bytes; of more only the beginning is.
const LONGEST: usize = 16 << 10;

/// The most tokens of a text that count.
const MOST_TOKENS: usize = 2_048;

/// What a table begins with.
const MAGIC: &[u8] = b"TLE1";

/// A table of vectors, one a token.
pub struct Table {
    pieces: Pieces,
    /// What the numbers of each row are multiplied by.
    scales: Vec<f32>,
    /// Two numbers a byte, the first in the low half, 8 above what they are.
    rows: Cow<'static, [u8]>,
}

/// A text as a vector of length 1, or all zeros where nothing of it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector(Box<[f32; DIMENSIONS]>);

static BUILT_IN: LazyLock<Table> = LazyLock::new(|| {
    // A table that is not whole finds nothing; a test holds that it is.
    Table::read(Cow::Borrowed(include_bytes!("embed/table.bin"))).unwrap_or_else(|_| Table::nothing())
});

impl Table {
    /// The one in the binary.
    #[must_use]
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// Reads a table as `training/train.py` writes it: `TLE1`; how many tokens, how many numbers a row, how many bytes of tokens, each
    /// as four bytes, the low one first; the tokens, one a line; a half-precision scale for each; the rows, four bits a number.
    ///
    /// # Errors
    /// Where it is something else, or not whole.
    pub fn read(bytes: Cow<'static, [u8]>) -> Result<Self, BadTable> {
        let number = |at: usize| {
            let four = bytes.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(four)).ok()
        };
        let (Some(count), Some(dimensions), Some(length)) = (number(4), number(8), number(12)) else {
            return Err(BadTable::Cut);
        };
        if !bytes.starts_with(MAGIC) || dimensions != DIMENSIONS {
            return Err(BadTable::Other);
        }
        let scales = 16 + length;
        let rows = scales + 2 * count;
        if bytes.len() != rows + count * DIMENSIONS / 2 {
            return Err(BadTable::Cut);
        }
        let text = std::str::from_utf8(&bytes[16..scales]).map_err(|_| BadTable::Other)?;
        let pieces = Pieces::of_lines(text);
        if pieces.len() != count {
            return Err(BadTable::Other);
        }
        let scales =
            bytes[scales..rows].as_chunks::<2>().0.iter().map(|two| half(u16::from_le_bytes(*two))).collect();
        let rows = match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[rows..]),
            Cow::Owned(mut bytes) => Cow::Owned(bytes.split_off(rows)),
        };
        Ok(Self { pieces, scales, rows })
    }

    /// Whether a word is a piece of its own: one that many texts have.
    #[must_use]
    pub fn knows(&self, word: &str) -> bool {
        self.pieces.get(word).is_some()
    }

    fn nothing() -> Self {
        Self { pieces: Pieces::of_lines(""), scales: Vec::new(), rows: Cow::Borrowed(&[]) }
    }

    /// A text as a vector. Of a token that comes again, the square root of how often counts.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vector {
        let mut sum = Box::new([0.0_f32; DIMENSIONS]);
        let mut tokens = self.tokens(text);
        tokens.sort_unstable();
        for same in tokens.chunk_by(|a, b| a == b) {
            #[expect(clippy::cast_precision_loss, reason = "a count of at most 2,048")]
            self.add(same[0], (same.len() as f32).sqrt(), &mut sum);
        }
        let length = sum.iter().map(|number| number * number).sum::<f32>().sqrt();
        if length > 0.0 {
            sum.iter_mut().for_each(|number| *number /= length);
        }
        Vector(sum)
    }

    fn add(&self, token: u32, times: f32, sum: &mut [f32; DIMENSIONS]) {
        let token = token as usize;
        let scale = self.scales[token] * times;
        let row = &self.rows[token * DIMENSIONS / 2..(token + 1) * DIMENSIONS / 2];
        for (two, byte) in sum.as_chunks_mut::<2>().0.iter_mut().zip(row) {
            two[0] += scale * (f32::from(byte & 15) - 8.0);
            two[1] += scale * (f32::from(byte >> 4) - 8.0);
        }
    }

    /// The tokens of a text that the table knows.
    fn tokens(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        let mut folded = String::new();
        split(beginning(text, LONGEST), |word| {
            if tokens.len() >= MOST_TOKENS {
                return;
            }
            if word.is_ascii() {
                self.pieces.of_word(word, &mut tokens);
            } else {
                folded.clear();
                folded.extend(word.nfd().filter(|letter| !is_combining_mark(*letter)));
                self.pieces.of_word(&folded, &mut tokens);
            }
        });
        tokens
    }
}

impl Vector {
    /// How alike two texts are, from -1 to 1; 0 where nothing of one of them is known.
    #[must_use]
    pub fn likeness(&self, other: &Self) -> f32 {
        self.0.iter().zip(other.0.iter()).map(|(one, other)| one * other).sum()
    }

    /// Its numbers.
    #[must_use]
    pub fn numbers(&self) -> &[f32; DIMENSIONS] {
        &self.0
    }

    /// The same in a byte a number, and what each is multiplied by.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "at most 127 after the division")]
    pub fn small(&self) -> ([i8; DIMENSIONS], f32) {
        let scale = self.0.iter().fold(0.0_f32, |most, number| most.max(number.abs())) / 127.0;
        let by = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let mut small = [0; DIMENSIONS];
        for (small, number) in small.iter_mut().zip(self.0.iter()) {
            *small = (number * by).round() as i8;
        }
        (small, scale)
    }
}

/// A number of IEEE 754's half precision.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023) / 1024.0);
    let magnitude = if exponent == 0 {
        fraction * 2.0_f32.powi(-14)
    } else {
        (1.0 + fraction) * 2.0_f32.powi(exponent - 15)
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_whole_and_knows_what_words_mean() {
        let table = Table::built_in();
        assert!(table.pieces.len() > 20_000);
        let of = |text: &str| table.encode(text);
        let wish = of("what will the weather be like tomorrow");
        assert!(wish.likeness(&of("getForecast")) > wish.likeness(&of("sendMoney")) + 0.1);
        assert!((wish.likeness(&wish) - 1.0).abs() < 1e-4);
        assert!(of("\u{1f600}").numbers().iter().all(|number| *number == 0.0));
        assert_eq!(of("caf\u{e9}"), of("cafe"));
    }

    #[test]
    fn words_are_taken_apart_from_the_longest_piece_on() {
        let table = Table::built_in();
        let tokens = |text: &str| table.tokens(text).len();
        assert_eq!((tokens("order"), tokens("orders and more"), tokens("")), (1, 3, 0));
        assert!(tokens("unbelievabilities") > 1);
        assert!(tokens(&"order ".repeat(100_000)) <= MOST_TOKENS);
    }

    #[test]
    fn a_table_that_is_no_table_is_refused() {
        let bytes = include_bytes!("embed/table.bin");
        let read = |bytes: &[u8]| Table::read(Cow::Owned(bytes.to_vec())).map(|_| ());
        assert_eq!(read(&bytes[..]), Ok(()));
        assert_eq!(read(&bytes[..bytes.len() - 1]), Err(BadTable::Cut));
        assert_eq!(read(b"TLE"), Err(BadTable::Cut));
        assert_eq!(read(&[b"XXXX", &bytes[4..]].concat()), Err(BadTable::Other));
        assert_eq!(half(0x3c00), 1.0);
        assert_eq!((half(0xc000), half(1)), (-2.0, 2.0_f32.powi(-24)));
    }

    #[test]
    fn a_byte_a_number_is_near_enough() {
        let vector = Table::built_in().encode("ship the order to Berlin");
        let (small, scale) = vector.small();
        for (small, number) in small.iter().zip(vector.numbers()) {
            assert!((f32::from(*small) * scale - number).abs() <= scale);
        }
    }
}
