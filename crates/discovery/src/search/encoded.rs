//! Vectors by a stronger encoder than the table, where there is one. They come later than the tools, and from elsewhere: making one
//! takes milliseconds.

use std::collections::HashMap;

use super::clauses;
use crate::text::beginning;

/// Texts of requests with their vectors.
#[derive(Clone, Debug, Default)]
pub struct Encoded(HashMap<Box<str>, Box<[f32]>>);

impl Encoded {
    /// The texts whose vectors a search for a request makes use of: itself and its clauses, each once.
    #[must_use]
    pub fn texts(request: &str) -> Vec<&str> {
        let request = beginning(request, super::LONGEST);
        let mut texts = vec![request];
        for clause in clauses::of(request) {
            if !texts.contains(&clause) {
                texts.push(clause);
            }
        }
        texts.retain(|text| !text.trim().is_empty());
        texts
    }

    /// The vectors of a request and of its clauses; none of a text of which `encode` gives none.
    pub fn of(request: &str, mut encode: impl FnMut(&str) -> Option<Box<[f32]>>) -> Self {
        let texts = Self::texts(request).into_iter();
        texts.filter_map(|text| Some((Box::from(text), encode(text)?))).collect()
    }

    /// The vector of a text, where it is among them.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<&[f32]> {
        self.0.get(text).map(|vector| &**vector)
    }
}

impl FromIterator<(Box<str>, Box<[f32]>)> for Encoded {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Box<[f32]>)>>(texts: I) -> Self {
        Self(texts.into_iter().collect())
    }
}

/// The vectors of tools, by number; none of those that have none yet. A byte a number.
#[derive(Default)]
pub(super) struct Vectors {
    rows: Vec<Option<(Box<[i8]>, f32)>>,
}

impl Vectors {
    pub(super) fn set(&mut self, number: usize, vector: &[f32]) {
        if self.rows.len() <= number {
            self.rows.resize_with(number + 1, || None);
        }
        self.rows[number] = Some(small(vector));
    }

    pub(super) fn clear(&mut self, number: usize) {
        if let Some(row) = self.rows.get_mut(number) {
            *row = None;
        }
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.rows.get(number).is_some_and(Option::is_some)
    }

    /// How alike each of these is to a request, from -1 to 1; none where its vector is not there or of another encoder.
    #[expect(clippy::cast_precision_loss, reason = "at most some thousands times 127 squared")]
    pub(super) fn compare(&self, request: &[f32], among: &[u32]) -> Vec<Option<f32>> {
        let (request, by) = small(request);
        let alike = |number: &u32| {
            let (row, scale) = self.rows.get(*number as usize)?.as_ref()?;
            (row.len() == request.len()).then(|| dot(row, &request) as f32 * scale * by)
        };
        among.iter().map(alike).collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 127 after the division")]
fn small(vector: &[f32]) -> (Box<[i8]>, f32) {
    let scale = vector.iter().fold(0.0_f32, |most, number| most.max(number.abs())) / 127.0;
    let by = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    (vector.iter().map(|number| (number * by).round() as i8).collect(), scale)
}

fn dot(one: &[i8], other: &[i8]) -> i32 {
    one.iter().zip(other).map(|(one, other)| i32::from(*one) * i32::from(*other)).sum()
}
