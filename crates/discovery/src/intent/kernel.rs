//! Kernel ridge regression over the examples themselves (Saunders, Gammerman and Vovk 1998): as sharp as a machine of support vectors
//! here, and in closed form. The triangular factor of the examples' likeness grows by a row with every example, as Cholesky's
//! method makes it row by row; the weights are found from it when they are asked for.

use super::words::dot;

/// How much large weights are held down.
const RIDGE: f32 = 0.12;

/// The factor of the likeness of all examples, its rows one after another.
#[derive(Default)]
pub(super) struct Factor {
    rows: Vec<Vec<f32>>,
}

impl Factor {
    /// Takes another example: how alike it is to those before it, and to itself.
    pub(super) fn grow(&mut self, near: &[f32], own: f32) {
        let mut row: Vec<f32> = Vec::with_capacity(self.rows.len() + 1);
        for (before, near) in self.rows.iter().zip(near) {
            let at = row.len();
            row.push((near - dot(&before[..at], &row)) / before[at]);
        }
        // Examples that say the same leave nothing but the ridge.
        row.push((own + RIDGE - dot(&row, &row)).max(RIDGE * RIDGE).sqrt());
        self.rows.push(row);
    }

    /// Forgets all rows from there on.
    pub(super) fn shrink(&mut self, rows: usize) {
        self.rows.truncate(rows);
    }

    /// The weights: for each example how much its likeness speaks for each of the intents. `meant` tells an example's intent.
    pub(super) fn weights(&self, intents: usize, meant: impl Fn(usize) -> usize) -> Vec<Vec<f32>> {
        let mut weights = vec![vec![0.0_f32; intents]; self.rows.len()];
        for (at, row) in self.rows.iter().enumerate() {
            let (before, rest) = weights.split_at_mut(at);
            let Some(own) = rest.first_mut() else { continue };
            own[meant(at)] = 1.0;
            for (before, factor) in before.iter().zip(row) {
                add(own, before, -factor);
            }
            own.iter_mut().for_each(|weight| *weight /= row[at]);
        }
        for (at, row) in self.rows.iter().enumerate().rev() {
            let (before, rest) = weights.split_at_mut(at);
            let Some(own) = rest.first_mut() else { continue };
            own.iter_mut().for_each(|weight| *weight /= row[at]);
            for (before, factor) in before.iter_mut().zip(row) {
                add(before, own, -factor);
            }
        }
        weights
    }
}

/// Adds `by` times the other to the one.
pub(super) fn add(one: &mut [f32], other: &[f32], by: f32) {
    one.iter_mut().zip(other).for_each(|(one, other)| *one += by * other);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_solve_the_equations_of_the_ridge() {
        let alike = [[1.2, 0.5, 0.1], [0.5, 1.1, 0.3], [0.1, 0.3, 1.3_f32]];
        let mut factor = Factor::default();
        for (at, row) in alike.iter().enumerate() {
            factor.grow(&row[..at], row[at]);
        }
        let weights = factor.weights(2, |at| usize::from(at == 2));
        for (at, row) in alike.iter().enumerate() {
            for intent in [0, 1] {
                let sum: f32 = (0..3).map(|other| row[other] * weights[other][intent]).sum();
                let target = f32::from(u8::from((at == 2) == (intent == 1)));
                assert!((sum + RIDGE * weights[at][intent] - target).abs() < 1e-5, "{at} {intent}");
            }
        }
    }
}
