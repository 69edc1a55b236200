//! Ridge regression that takes one example at a time and is, after each, what a fit over all of them would be (recursive least
//! squares; Sherman and Morrison 1950). An intent that is new is a column of zeros: none of the examples before meant it.

use super::words::WIDTH;

/// How much large weights are held down.
const RIDGE: f32 = 1.2;

pub(super) struct Ridge {
    /// The inverse of the examples' covariance.
    inverse: Vec<f32>,
    /// A row of weights for each intent.
    weights: Vec<Vec<f32>>,
}

impl Ridge {
    pub(super) fn new() -> Self {
        let mut inverse = vec![0.0; WIDTH * WIDTH];
        inverse.iter_mut().step_by(WIDTH + 1).for_each(|one| *one = 1.0 / RIDGE);
        Self { inverse, weights: Vec::new() }
    }

    /// A new intent.
    pub(super) fn grow(&mut self) {
        self.weights.push(vec![0.0; WIDTH]);
    }

    /// Learns an example of an intent; with `forget` takes it back.
    pub(super) fn learn(&mut self, numbers: &[f32], intent: usize, forget: bool) {
        let sign = if forget { -1.0 } else { 1.0 };
        let along: Vec<f32> = self.inverse.chunks_exact(WIDTH).map(|row| dot(row, numbers)).collect();
        let scale = sign / (1.0 + sign * dot(&along, numbers)).max(1e-6);
        for (at, weights) in self.weights.iter_mut().enumerate() {
            let target = if at == intent { 1.0 } else { 0.0 };
            let step = scale * (target - dot(weights, numbers));
            weights.iter_mut().zip(&along).for_each(|(weight, along)| *weight += step * along);
        }
        for (row, one) in self.inverse.chunks_exact_mut(WIDTH).zip(&along) {
            let step = scale * one;
            row.iter_mut().zip(&along).for_each(|(cell, along)| *cell -= step * along);
        }
    }

    /// What each intent scores: near 1 for one that is meant, near 0 for the others.
    pub(super) fn scores(&self, numbers: &[f32]) -> Vec<f32> {
        self.weights.iter().map(|weights| dot(weights, numbers)).collect()
    }
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
