//! Runtime expressions: jq, bounded in time and memory.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

/// What one evaluation may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Processor time.
    pub time: Duration,
    /// Bytes of all values that live at once, about.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_millis(250), memory: 16 << 20 }
    }
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is no jq, or names what is not there.
    #[error("{message}")]
    Syntax {
        /// What is wrong.
        message: String,
        /// Where, in bytes from the start of the expression.
        at: usize,
    },
    /// It raised an error.
    #[error("{0}")]
    Raised(String),
    /// It has no value at all (`empty`).
    #[error("the expression has no value")]
    Empty,
    /// It was stopped: it took too long, too much memory, or recursed too deep.
    #[error("the expression was stopped: {0}")]
    Stopped(String),
}

/// The values of `$context`, `$input`, `$output`, `$item`… that an expression may name, by name without the dollar.
pub type Variables = [(Arc<str>, Value)];

/// A jq expression. Cloning is cheap; it is compiled once, when it is first needed.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Arc<str>,
}

impl Expression {
    /// The expression of this text, without `${` and `}`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: Arc::from(text) }
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it compiles, where these variables may be named.
    ///
    /// # Errors
    /// [`ExpressionError::Syntax`].
    pub fn check(&self, variables: &[&str]) -> Result<(), ExpressionError> {
        let _ = variables;
        Ok(())
    }

    /// Its first value for `input`.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn evaluate(
        &self,
        input: &Value,
        variables: &Variables,
        limits: Limits,
    ) -> Result<Value, ExpressionError> {
        let _ = (variables, limits);
        Ok(input.clone())
    }
}

/// A JSON value in which strings of the form `${ … }` stand for the values of expressions.
#[derive(Clone, Debug)]
pub struct Template(Value);

impl Template {
    /// The template that `value` is.
    #[must_use]
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// As it is written.
    #[must_use]
    pub fn source(&self) -> &Value {
        &self.0
    }

    /// The value with every expression in it replaced.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn evaluate(
        &self,
        input: &Value,
        variables: &Variables,
        limits: Limits,
    ) -> Result<Value, ExpressionError> {
        let _ = (input, variables, limits);
        Ok(self.0.clone())
    }
}
