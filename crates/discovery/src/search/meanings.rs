//! What the tools mean: a vector of each, a byte a number.

use crate::embed::{DIMENSIONS, Vector};

/// A row a tool, by its number; all zeros where there is none.
#[derive(Default)]
pub(super) struct Meanings {
    rows: Vec<[i8; DIMENSIONS]>,
    /// What the numbers of each row are multiplied by.
    scales: Vec<f32>,
}

impl Meanings {
    pub(super) fn set(&mut self, number: usize, meaning: &Vector) {
        if self.rows.len() <= number {
            self.rows.resize(number + 1, [0; DIMENSIONS]);
            self.scales.resize(number + 1, 0.0);
        }
        (self.rows[number], self.scales[number]) = meaning.small();
    }

    pub(super) fn clear(&mut self, number: usize) {
        if let Some(row) = self.rows.get_mut(number) {
            *row = [0; DIMENSIONS];
        }
    }

    /// How alike each of these is to a request, from -1 to 1.
    #[expect(clippy::cast_precision_loss, reason = "at most 256 times 127 squared")]
    pub(super) fn compare(&self, request: &Vector, among: &[u32]) -> Vec<f32> {
        let (request, scale) = request.small();
        let alike = |number: &u32| {
            let number = *number as usize;
            dot(&self.rows[number], &request) as f32 * self.scales[number] * scale
        };
        among.iter().map(alike).collect()
    }
}

fn dot(one: &[i8; DIMENSIONS], other: &[i8; DIMENSIONS]) -> i32 {
    one.iter().zip(other).map(|(one, other)| i32::from(*one) * i32::from(*other)).sum()
}
