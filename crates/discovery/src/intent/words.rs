//! A text as numbers: what it means (`embed`) beside the words, pairs of words and pieces of words that it is made of, hashed.

use rust_stemmers::{Algorithm, Stemmer};

use crate::embed::{DIMENSIONS, Table};
use crate::text::{beginning, split};

/// How many numbers are for words and their pieces.
const HASHED: usize = 1_024;

/// How many numbers a text has.
pub(super) const WIDTH: usize = DIMENSIONS + HASHED;

/// The longest text that is read, in bytes; of more only the beginning is.
const LONGEST: usize = 2 << 10;

/// How much the words count beside the meaning.
const WORDS: f32 = 0.5;

/// How much pairs of words and pieces of words count beside whole words.
const PAIRS: f32 = 0.6;
const PIECES: f32 = 0.35;

pub(super) struct Reader {
    stemmer: Stemmer,
    table: &'static Table,
}

impl Reader {
    pub(super) fn new(table: &'static Table) -> Self {
        Self { stemmer: Stemmer::create(Algorithm::English), table }
    }

    /// A text as a vector; all zeros where it has no words.
    pub(super) fn read(&self, text: &str) -> Vec<f32> {
        let text = beginning(text, LONGEST);
        let mut numbers = vec![0.0; WIDTH];
        numbers[..DIMENSIONS].copy_from_slice(self.table.encode(text).numbers());
        let hashed = &mut numbers[DIMENSIONS..];
        let mut before = 0_u64;
        split(text, |word| {
            let stem = self.stemmer.stem(word);
            let own = hash(stem.as_bytes(), 1);
            put(hashed, own, 1.0);
            put(hashed, before.wrapping_mul(31).wrapping_add(own).wrapping_mul(0x9e37_79b9_7f4a_7c15), PAIRS);
            before = own;
            let framed: Vec<u8> = [b"<", word.as_bytes(), b">"].concat();
            for length in 3..=5 {
                for piece in framed.windows(length) {
                    put(hashed, hash(piece, 7), PIECES);
                }
            }
        });
        // What is said often counts less than in proportion.
        hashed.iter_mut().for_each(|number| *number = number.signum() * number.abs().sqrt());
        let length = hashed.iter().map(|number| number * number).sum::<f32>().sqrt();
        if length > 0.0 {
            hashed.iter_mut().for_each(|number| *number *= WORDS / length);
        }
        numbers
    }
}

/// FNV-1a, mixed once more.
fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Adds to one of the numbers, with a sign, so that what falls together by chance cancels out (Weinberger et al. 2009).
fn put(hashed: &mut [f32], hash: u64, weight: f32) {
    let sign = if hash >> 63 == 0 { weight } else { -weight };
    let at = ((hash >> 20) % hashed.len() as u64) as usize;
    hashed[at] += sign;
}
