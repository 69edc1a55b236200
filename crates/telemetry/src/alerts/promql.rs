//! The part of PromQL that is known: selectors with matchers, ranges, the usual functions and aggregations, arithmetic,
//! comparison and set operators with `on` and `ignoring`.

use std::time::Duration;

use regex_automata::meta::Regex;

/// An expression.
#[derive(Debug)]
pub enum Expr {
    /// A number.
    Number(f64),
    /// The newest samples of series.
    Select(Selector),
    /// A function over the samples of series within a time.
    OverTime(OverTime, Selector, Duration),
    /// A function of values.
    Call(Function, Vec<Expr>),
    /// Series put together.
    Aggregate(Aggregate, Grouping, Box<Expr>),
    /// Two expressions.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// The negative.
    Negate(Box<Expr>),
}

/// Which series.
#[derive(Debug)]
pub struct Selector {
    /// The metric.
    pub name: String,
    /// What its labels have to be.
    pub matchers: Vec<Matcher>,
}

/// What a label has to be. One that is not there is empty.
#[derive(Debug)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// What it is compared with.
    pub with: With,
    /// Whether it must not be that.
    pub not: bool,
}

/// What a label is compared with.
#[derive(Debug)]
pub enum With {
    /// A text.
    Text(String),
    /// A regular expression for the whole of it.
    Pattern(Regex),
}

/// A function over the samples of a series within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverTime {
    /// How much a counter grew a second.
    Rate,
    /// How much a counter grew.
    Increase,
    /// The mean.
    Avg,
    /// The least.
    Min,
    /// The most.
    Max,
    /// The sum.
    Sum,
    /// How many.
    Count,
}

/// A function of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `histogram_quantile(share, buckets)`.
    HistogramQuantile,
    /// One where there is nothing.
    Absent,
    /// Without the sign.
    Abs,
    /// The next whole number above.
    Ceil,
    /// The next whole number below.
    Floor,
    /// At least.
    ClampMin,
    /// At most.
    ClampMax,
    /// A scalar as a vector.
    Vector,
    /// Now, in seconds since 1970.
    Time,
}

/// How series are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
    /// The least.
    Min,
    /// The most.
    Max,
    /// How many.
    Count,
}

/// By which labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// The labels.
    pub labels: Vec<String>,
    /// All but these.
    pub without: bool,
}

/// What is done with two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `>`
    Gt,
    /// `<`
    Lt,
    /// `>=`
    Ge,
    /// `<=`
    Le,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

/// An operator between two expressions.
#[derive(Debug)]
pub struct Binary {
    /// The operator.
    pub operator: Operator,
    /// A comparison gives 0 or 1.
    pub bool: bool,
    /// Which labels have to agree; all where none is named.
    pub on: Option<Grouping>,
}

impl Operator {
    /// Whether it compares.
    #[must_use]
    pub fn compares(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Gt | Self::Lt | Self::Ge | Self::Le)
    }

    /// Whether it chooses between series.
    #[must_use]
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

impl Matcher {
    /// Whether a value fits.
    #[must_use]
    pub fn fits(&self, value: &str) -> bool {
        let same = match &self.with {
            With::Text(text) => text == value,
            With::Pattern(pattern) => pattern.is_match(value),
        };
        same != self.not
    }
}

impl Expr {
    /// The metrics that it asks for, and the longest time back.
    pub fn asks(&self, names: &mut Vec<String>, longest: &mut Duration) {
        match self {
            Self::Number(_) => {}
            Self::Select(selector) => names.push(selector.name.clone()),
            Self::OverTime(_, selector, range) => {
                names.push(selector.name.clone());
                *longest = (*longest).max(*range);
            }
            Self::Call(_, arguments) => arguments.iter().for_each(|argument| argument.asks(names, longest)),
            Self::Aggregate(_, _, inner) | Self::Negate(inner) => inner.asks(names, longest),
            Self::Binary(_, left, right) => {
                left.asks(names, longest);
                right.asks(names, longest);
            }
        }
    }
}
