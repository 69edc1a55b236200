//! A text as numbers: what it means (`embed`) beside the words, pairs of words and pieces of words that it is made of, hashed.

use std::collections::HashMap;

use rust_stemmers::{Algorithm, Stemmer};

use crate::embed::Table;
use crate::text::{beginning, split};

/// How many places there are for words and their pieces, which are hashed.
const PLACES: usize = 1 << 14;

/// The longest text that is read, in bytes; of more only the beginning is.
const LONGEST: usize = 2 << 10;

/// How much likeness by words (each, and each with the next) counts beside that of the meaning, and that by pieces of words.
const WORDS: f32 = 0.2;
const PIECES: f32 = 0.2;

/// A text as numbers.
pub(super) struct Numbers {
    /// What it means; of length 1, or all zeros where nothing of it is known.
    meaning: Vec<f32>,
    /// The places of its words and pieces, and how much each counts.
    words: Vec<(usize, f32)>,
}

/// A text to which others are compared: its words lie open.
pub(super) struct Open<'a> {
    numbers: &'a Numbers,
    places: Vec<f32>,
}

/// How fast likeness of meaning falls with the angle.
const STEEP: f32 = 3.0;

impl Numbers {
    /// Ready to be compared to others.
    pub(super) fn open(&self) -> Open<'_> {
        let mut places = vec![0.0; PLACES];
        self.words.iter().for_each(|(place, weight)| places[*place] += weight);
        Open { numbers: self, places }
    }
}

impl Open<'_> {
    /// How alike two texts are: by meaning, steeply, and by their words.
    pub(super) fn alike(&self, other: &Numbers) -> f32 {
        let words: f32 = other.words.iter().map(|(place, weight)| self.places[*place] * weight).sum();
        (STEEP * (dot(&self.numbers.meaning, &other.meaning) - 1.0)).exp() + words
    }
}

/// Reads texts as numbers.
pub(super) struct Reader {
    stemmer: Stemmer,
    table: &'static Table,
}

/// A text, with its vector by a stronger encoder than the table where there is one.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub(super) words: &'a str,
    /// Of length 1.
    vector: Option<&'a [f32]>,
}

impl<'a> Said<'a> {
    /// A text with its vector, of length 1.
    #[must_use]
    pub fn encoded(words: &'a str, vector: &'a [f32]) -> Self {
        Self { words, vector: Some(vector) }
    }
}

impl<'a> From<&'a str> for Said<'a> {
    fn from(words: &'a str) -> Self {
        Self { words, vector: None }
    }
}

impl<'a> From<&'a String> for Said<'a> {
    fn from(words: &'a String) -> Self {
        words.as_str().into()
    }
}

impl Reader {
    pub(super) fn new(table: &'static Table) -> Self {
        Self { stemmer: Stemmer::create(Algorithm::English), table }
    }

    /// A text as numbers.
    pub(super) fn read(&self, said: Said<'_>) -> Numbers {
        let text = beginning(said.words, LONGEST);
        let (mut words, mut pieces) = (HashMap::new(), HashMap::new());
        let mut before = 0_u64;
        split(text, |word| {
            let own = hash(self.stemmer.stem(word).as_bytes(), 1);
            let pair = before.wrapping_mul(31).wrapping_add(own).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            count(&mut words, own);
            count(&mut words, pair);
            before = own;
            let framed: Vec<u8> = [b"<", word.as_bytes(), b">"].concat();
            for length in 3..=5 {
                framed.windows(length).for_each(|piece| count(&mut pieces, hash(piece, 7)));
            }
        });
        let mut places = weighted(&words, WORDS);
        places.extend(weighted(&pieces, PIECES));
        let meaning = match said.vector {
            Some(vector) => vector.to_vec(),
            None => self.table.encode(text).numbers().to_vec(),
        };
        Numbers { meaning, words: places }
    }
}

fn count(all: &mut HashMap<u64, f32>, hash: u64) {
    *all.entry(hash).or_default() += 1.0;
}

/// The places of what was counted; likeness of two such is at most `most`. What is said often counts less than in proportion.
fn weighted(all: &HashMap<u64, f32>, most: f32) -> Vec<(usize, f32)> {
    let weight = |count: f32| 1.0 + count.ln();
    let length = all.values().map(|count| weight(*count).powi(2)).sum::<f32>().sqrt();
    let scale = most.sqrt() / length.max(f32::MIN_POSITIVE);
    let mut places: Vec<(usize, f32)> =
        all.iter().map(|(hash, times)| place(*hash, scale * weight(*times))).collect();
    // In one order, so that sums of the same text are the same to the last bit.
    places.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    places
}

/// Where a hash has its place, with a sign, so that what falls together by chance cancels out (Weinberger et al. 2009).
fn place(hash: u64, weight: f32) -> (usize, f32) {
    ((hash >> 20) as usize % PLACES, if hash >> 63 == 0 { weight } else { -weight })
}

/// FNV-1a, mixed once more.
fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// The sum of products, in eight parts so that it needs no order.
pub(super) fn dot(one: &[f32], other: &[f32]) -> f32 {
    let (ones, rest) = one.as_chunks::<8>();
    let (others, tail) = other.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (one, other) in ones.iter().zip(others) {
        for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
            *sum += one * other;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().zip(tail).map(|(one, other)| one * other).sum::<f32>()
}
