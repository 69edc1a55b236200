//! Reads the file of weights that `training/minilm.py` writes.
//!
//! `TLM1`; then, each as four bytes with the low one first: how many tokens, numbers a vector, layers, heads, numbers within a layer, places, bytes
//! of tokens; the tokens, one a line. Then matrices, each as a single-precision scale for every row followed by the rows at a byte a
//! number, and vectors in single precision: rows of the tokens, of the places, the norm; of each layer the queries, keys and values, what is
//! made of what was attended, its norm, the inner part, the outer part, its norm.

use ndarray::{Array1, Array2, ArrayViewMut1};
use trunkline_model::Failure;

use super::MiniLm;
use super::forward::{Dense, Layer, Norm};
use crate::embed::pieces::Pieces;

/// The most of each that is taken for weights of such an encoder.
const MOST: [usize; 7] = [100_000, 1_024, 24, 32, 4_096, 1_024, 4 << 20];

/// Why a file of weights can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWeights {
    /// It ends too soon, or goes on after its end.
    #[error("the file of weights is not whole")]
    Cut,
    /// It is something else.
    #[error("this is no file of weights as training/minilm.py writes it")]
    Other,
}

impl From<BadWeights> for Failure {
    fn from(error: BadWeights) -> Self {
        let next =
            "Make the file anew with training/minilm.py, or take search.encoder out of the configuration.";
        Self::caller("TL8100", "Unusable encoder", error.to_string(), next)
    }
}

/// A matrix of which single rows are needed: a byte a number.
pub(super) struct Rows {
    columns: usize,
    scales: Vec<f32>,
    numbers: Vec<i8>,
}

impl Rows {
    pub(super) fn count(&self) -> usize {
        self.scales.len()
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Adds a row to another.
    pub(super) fn add(&self, row: usize, to: &mut ArrayViewMut1<'_, f32>) {
        let scale = self.scales.get(row).copied().unwrap_or_default();
        let numbers = self.numbers.chunks_exact(self.columns).nth(row).unwrap_or_default();
        to.iter_mut().zip(numbers).for_each(|(to, number)| *to += scale * f32::from(*number));
    }
}

impl MiniLm {
    /// Reads a file of weights.
    ///
    /// # Errors
    /// Where it is something else, or not whole.
    pub fn read(bytes: &[u8]) -> Result<Self, BadWeights> {
        let mut rest = Rest(bytes.strip_prefix(b"TLM1").ok_or(BadWeights::Other)?);
        let mut sizes = [0; 7];
        for (size, most) in sizes.iter_mut().zip(MOST) {
            *size = rest.number()?;
            if !(1..=most).contains(size) {
                return Err(BadWeights::Other);
            }
        }
        let [tokens, width, layers, heads, inner, places, text] = sizes;
        let text = std::str::from_utf8(rest.take(text)?).map_err(|_| BadWeights::Other)?;
        let pieces = Pieces::of_lines(text);
        if pieces.len() != tokens || width % heads != 0 {
            return Err(BadWeights::Other);
        }
        let special = ["[CLS]", "[SEP]", "[UNK]"].map(|name| pieces.get(name));
        let [Some(begins), Some(ends), Some(unknown)] = special else { return Err(BadWeights::Other) };
        let (words, places) = (rest.rows(tokens, width)?, rest.rows(places, width)?);
        let norm = rest.norm(width)?;
        let mut layer = || {
            Ok(Layer {
                asked: rest.dense(3 * width, width)?,
                attended: rest.dense(width, width)?,
                attended_norm: rest.norm(width)?,
                inner: rest.dense(inner, width)?,
                outer: rest.dense(width, inner)?,
                outer_norm: rest.norm(width)?,
            })
        };
        let layers = (0..layers).map(|_| layer()).collect::<Result<_, BadWeights>>()?;
        if !rest.0.is_empty() || places.count() < 3 {
            return Err(BadWeights::Cut);
        }
        Ok(Self { pieces, special: [begins, ends, unknown], words, places, norm, layers, heads })
    }
}

/// What of the file was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], BadWeights> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(BadWeights::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<usize, BadWeights> {
        let four = self.take(4)?.try_into().map_err(|_| BadWeights::Cut)?;
        usize::try_from(u32::from_le_bytes(four)).map_err(|_| BadWeights::Other)
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, BadWeights> {
        let floats: Vec<f32> =
            self.take(4 * count)?.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        let sound = floats.iter().all(|number| number.is_finite());
        if sound { Ok(floats) } else { Err(BadWeights::Other) }
    }

    fn rows(&mut self, rows: usize, columns: usize) -> Result<Rows, BadWeights> {
        let scales = self.floats(rows)?;
        let numbers = self.take(rows * columns)?.iter().map(|byte| byte.cast_signed()).collect();
        Ok(Rows { columns, scales, numbers })
    }

    fn dense(&mut self, rows: usize, columns: usize) -> Result<Dense, BadWeights> {
        let small = self.rows(rows, columns)?;
        let mut weights = Array2::zeros((rows, columns));
        weights.rows_mut().into_iter().zip(0..).for_each(|(mut row, at)| small.add(at, &mut row));
        Ok(Dense { weights, shift: Array1::from_vec(self.floats(rows)?) })
    }

    fn norm(&mut self, width: usize) -> Result<Norm, BadWeights> {
        let scale = Array1::from_vec(self.floats(width)?);
        Ok(Norm { scale, shift: Array1::from_vec(self.floats(width)?) })
    }
}
