//! all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020): texts as vectors by a transformer encoder, for those who want a
//! better search than the table gives and have ten milliseconds a request. Its weights are no part of the binary: a file of them
//! is made by `training/minilm.py`. The encoder is BERT's (Devlin et al. 2019), the vector the mean over the tokens.

mod forward;
mod read;
mod tokens;

use ndarray::Array1;

use super::pieces::Pieces;
use forward::{Layer, Norm};
use read::Rows;

pub use read::BadWeights;

/// The most tokens of a text that count.
const MOST_TOKENS: usize = 128;

/// The encoder, with its weights.
pub struct MiniLm {
    pieces: Pieces,
    /// The numbers of the tokens that begin and end a text, and of what is not known.
    special: [u32; 3],
    /// A row for each token.
    words: Rows,
    /// A row for each place in a text.
    places: Rows,
    norm: Norm,
    layers: Vec<Layer>,
    heads: usize,
}

impl MiniLm {
    /// How many numbers a vector has.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.words.columns()
    }

    /// A text as a vector of length 1. Takes milliseconds: it belongs on a thread that may be busy.
    #[must_use]
    pub fn encode(&self, text: &str) -> Box<[f32]> {
        let tokens = self.tokens(text, MOST_TOKENS.min(self.places.count()));
        let last = self.forward(&tokens);
        let mut mean = last.mean_axis(ndarray::Axis(0)).unwrap_or_else(|| Array1::zeros(self.dimensions()));
        let length = mean.dot(&mean).sqrt();
        if length > 0.0 {
            mean /= length;
        }
        mean.to_vec().into_boxed_slice()
    }
}

#[cfg(test)]
mod tests;
