//! Numbers: integers are exact as long as they fit, everything else is a double.

use std::cmp::Ordering;

use serde_json::Number;

/// Integers up to which every double is exact: those that a computed double turns back into.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Num {
    Int(i64),
    /// Above `i64::MAX`.
    Big(u64),
    Float(f64),
}

impl Num {
    pub(super) fn from_json(number: &Number) -> Self {
        if let Some(int) = number.as_i64() {
            Self::Int(int)
        } else if let Some(big) = number.as_u64() {
            Self::Big(big)
        } else {
            Self::Float(number.as_f64().unwrap_or(f64::NAN))
        }
    }

    /// As JSON has it: no number at all is null, infinity is the largest double, as in jq.
    pub(super) fn to_json(self) -> Option<Number> {
        match self {
            Self::Int(int) => Some(int.into()),
            Self::Big(big) => Some(big.into()),
            Self::Float(float) => Number::from_f64(float.clamp(f64::MIN, f64::MAX)),
        }
    }

    /// The number that `text` writes, JSON or not much more (`.5`, `1.`, `007`).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
        if !text.bytes().all(plain) || text.starts_with('+') {
            return match text {
                "nan" | "NaN" => Some(Self::Float(f64::NAN)),
                _ => None,
            };
        }
        if let Ok(int) = text.parse() {
            return Some(Self::Int(int));
        }
        if let Ok(big) = text.parse() {
            return Some(Self::Big(big));
        }
        text.parse().ok().map(Self::Float)
    }

    /// The result of a calculation: integral ones are integers again.
    pub(super) fn computed(float: f64) -> Self {
        if float.fract() == 0.0 && float.abs() <= EXACT {
            #[expect(clippy::cast_possible_truncation, reason = "it is integral and below 2^53")]
            return Self::Int(float as i64);
        }
        Self::Float(float)
    }

    #[expect(clippy::cast_precision_loss, reason = "that is what a double is")]
    pub(super) fn float(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Big(big) => big as f64,
            Self::Float(float) => float,
        }
    }

    /// Towards zero, within the bounds of `i64`; no number is 0.
    #[expect(clippy::cast_possible_truncation, reason = "it saturates, which is what is wanted")]
    pub(super) fn trunc(self) -> i64 {
        match self {
            Self::Int(int) => int,
            Self::Big(_) => i64::MAX,
            Self::Float(float) => float as i64,
        }
    }

    /// Towards minus infinity, within the bounds of `i64`: an index.
    #[expect(clippy::cast_possible_truncation, reason = "it saturates, which is what is wanted")]
    pub(super) fn floor(self) -> i64 {
        match self {
            Self::Float(float) => float.floor() as i64,
            whole => whole.trunc(),
        }
    }

    /// The least integer that is not below it, and not below zero; `None` for no number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it saturates, which is what is wanted"
    )]
    pub(super) fn ceiling(self) -> Option<u64> {
        match self {
            Self::Int(int) => Some(u64::try_from(int).unwrap_or(0)),
            Self::Big(big) => Some(big),
            Self::Float(float) => (!float.is_nan()).then(|| float.ceil() as u64),
        }
    }

    pub(super) fn is_nan(self) -> bool {
        matches!(self, Self::Float(float) if float.is_nan())
    }

    pub(super) fn add(self, other: Self) -> Self {
        self.exact(other, i64::checked_add, |a, b| a + b)
    }

    pub(super) fn sub(self, other: Self) -> Self {
        self.exact(other, i64::checked_sub, |a, b| a - b)
    }

    pub(super) fn mul(self, other: Self) -> Self {
        self.exact(other, i64::checked_mul, |a, b| a * b)
    }

    /// `None` where the other is zero.
    pub(super) fn div(self, other: Self) -> Option<Self> {
        if other.float() == 0.0 {
            return None;
        }
        let whole = |a: i64, b: i64| (a.checked_rem(b)? == 0).then(|| a.checked_div(b)).flatten();
        Some(self.exact(other, whole, |a, b| a / b))
    }

    /// The remainder of the integers that both are, with the sign of the first; `None` where the other is zero.
    pub(super) fn rem(self, other: Self) -> Option<Self> {
        if self.is_nan() || other.is_nan() {
            return Some(Self::Float(f64::NAN));
        }
        let (a, b) = (self.trunc(), other.trunc());
        (b != 0).then(|| Self::Int(a.checked_rem(b).unwrap_or(0)))
    }

    pub(super) fn neg(self) -> Self {
        Self::Int(0).sub(self)
    }

    fn exact(self, other: Self, int: fn(i64, i64) -> Option<i64>, float: fn(f64, f64) -> f64) -> Self {
        if let (Self::Int(a), Self::Int(b)) = (self, other)
            && let Some(result) = int(a, b)
        {
            return Self::Int(result);
        }
        Self::computed(float(self.float(), other.float()))
    }

    /// The order of jq, in which no number is below every number.
    pub(super) fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Big(a), Self::Big(b)) => a.cmp(&b),
            (Self::Int(_), Self::Big(_)) => Ordering::Less,
            (Self::Big(_), Self::Int(_)) => Ordering::Greater,
            (a, b) => {
                let (a, b) = (a.float(), b.float());
                a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
            }
        }
    }
}
