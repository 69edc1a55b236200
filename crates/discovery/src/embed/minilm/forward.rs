//! From tokens to vectors: BERT's layers, in single precision.

use ndarray::{Array1, Array2, ArrayView1, Axis, Slice, Zip};

use super::MiniLm;

/// What keeps a division from being one by zero.
const EPSILON: f32 = 1e-12;

/// What brings each row to mean 0 and variance 1, then to scale and place.
pub(super) struct Norm {
    pub(super) scale: Array1<f32>,
    pub(super) shift: Array1<f32>,
}

/// Rows times a matrix, and something added.
pub(super) struct Dense {
    /// A row for each output.
    pub(super) weights: Array2<f32>,
    pub(super) shift: Array1<f32>,
}

/// One layer.
pub(super) struct Layer {
    /// Queries, keys and values, one beside the other.
    pub(super) asked: Dense,
    pub(super) attended: Dense,
    pub(super) attended_norm: Norm,
    pub(super) inner: Dense,
    pub(super) outer: Dense,
    pub(super) outer_norm: Norm,
}

impl MiniLm {
    /// The last layer's row for each token.
    pub(super) fn forward(&self, tokens: &[u32]) -> Array2<f32> {
        let mut rows = Array2::zeros((tokens.len(), self.dimensions()));
        for ((mut row, token), place) in rows.rows_mut().into_iter().zip(tokens).zip(0..) {
            self.words.add(*token as usize, &mut row);
            self.places.add(place, &mut row);
        }
        self.norm.apply(&mut rows);
        for layer in &self.layers {
            let mut attended = layer.attended.apply(&attend(&layer.asked.apply(&rows), self.heads));
            attended += &rows;
            layer.attended_norm.apply(&mut attended);
            let mut inner = layer.inner.apply(&attended);
            inner.mapv_inplace(gelu);
            rows = layer.outer.apply(&inner);
            rows += &attended;
            layer.outer_norm.apply(&mut rows);
        }
        rows
    }
}

impl Dense {
    fn apply(&self, rows: &Array2<f32>) -> Array2<f32> {
        let mut out = rows.dot(&self.weights.t());
        out += &self.shift;
        out
    }
}

impl Norm {
    fn apply(&self, rows: &mut Array2<f32>) {
        for mut row in rows.rows_mut() {
            let mean = row.mean().unwrap_or_default();
            row -= mean;
            let variance = row.dot(&row) / count(row.view());
            row /= (variance + EPSILON).sqrt();
            Zip::from(&mut row)
                .and(&self.scale)
                .and(&self.shift)
                .for_each(|x, scale, shift| *x = *x * scale + shift);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a row has hundreds of numbers")]
fn count(row: ArrayView1<'_, f32>) -> f32 {
    row.len() as f32
}

/// Scaled dot-product attention of every head (Vaswani et al. 2017).
fn attend(asked: &Array2<f32>, heads: usize) -> Array2<f32> {
    let width = asked.ncols() / 3;
    let each = width / heads;
    let mut out = Array2::zeros((asked.nrows(), width));
    let scale = 1.0 / count(asked.row(0).slice_axis(Axis(0), Slice::from(..each))).sqrt();
    for head in 0..heads {
        let columns = |of: usize| Slice::from(of * width + head * each..of * width + (head + 1) * each);
        let part = |of: usize| asked.slice_axis(Axis(1), columns(of));
        let mut shares = part(0).dot(&part(1).t());
        for mut row in shares.rows_mut() {
            let most = row.fold(f32::MIN, |most, number| most.max(*number));
            row.mapv_inplace(|number| ((number - most) * scale).exp());
            let sum = row.sum();
            row /= sum;
        }
        out.slice_axis_mut(Axis(1), columns(0)).assign(&shares.dot(&part(2)));
    }
    out
}

/// Gaussian error linear unit (Hendrycks and Gimpel 2016).
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function, within 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let sum =
        t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    (1.0 - sum * (-size * size).exp()).copysign(x)
}
