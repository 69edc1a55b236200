//! Runtime expressions: jq, bounded in time and memory.
//!
//! The evaluator is our own. `jaq` leaves bounds to its host, and they cannot be put around it: its lists of variables
//! and paths are dropped recursively, so that a long one overflows the native stack, which aborts the process.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;

mod budget;
mod env;
mod frame;
mod json;
mod lexer;
mod machine;
mod natives;
mod number;
mod parser;
mod path;
mod prelude;
mod scope;
mod syntax;
mod template;
mod value;

pub use template::{Template, expression_in};

use budget::{Budget, Fault};
use machine::Machine;
use prelude::Prelude;
use syntax::Program;
use value::Val;

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
pub type Variables = [(Arc<str>, Arc<Value>)];

/// A jq expression. Cloning is cheap; it is compiled once, when it is first needed.
#[derive(Clone)]
pub struct Expression(Arc<Source>);

struct Source {
    text: Box<str>,
    program: OnceLock<Result<Program, ExpressionError>>,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Expression").field(&self.0.text).finish()
    }
}

impl Expression {
    /// The expression of this text, without `${` and `}`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Source { text: text.into(), program: OnceLock::new() }))
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    fn program(&self) -> Result<&Program, ExpressionError> {
        let parse = || parser::program(&self.0.text, Prelude::get());
        self.0.program.get_or_init(parse).as_ref().map_err(Clone::clone)
    }

    /// Whether it compiles, where these variables may be named.
    ///
    /// # Errors
    /// [`ExpressionError::Syntax`].
    pub fn check(&self, variables: &[&str]) -> Result<(), ExpressionError> {
        let program = self.program()?;
        match program.globals.iter().find(|(name, _)| !variables.contains(&&**name)) {
            Some((name, at)) => Err(undefined(name, *at, variables.iter().copied())),
            None => Ok(()),
        }
    }

    /// The caller's variables that it names, without the dollar.
    ///
    /// # Errors
    /// [`ExpressionError::Syntax`].
    pub fn variables(&self) -> Result<impl Iterator<Item = &str>, ExpressionError> {
        Ok(self.program()?.globals.iter().map(|(name, _)| &**name))
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
        self.evaluate_within(input, variables, &Budget::new(limits))
    }

    /// Whether its first value for `input` is true in the sense of jq: neither false nor null.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn holds(
        &self,
        input: &Value,
        variables: &Variables,
        limits: Limits,
    ) -> Result<bool, ExpressionError> {
        let budget = Budget::new(limits);
        Ok(self.first(input, variables, &budget)?.truthy())
    }

    /// Its first value, where what it uses is taken from `budget`.
    fn evaluate_within(
        &self,
        input: &Value,
        variables: &Variables,
        budget: &Budget,
    ) -> Result<Value, ExpressionError> {
        let value = self.first(input, variables, budget)?;
        json::to_value(&value, budget).map_err(|stop| ExpressionError::Stopped(stop.0))
    }

    fn first<'a>(
        &'a self,
        input: &'a Value,
        variables: &'a Variables,
        budget: &'a Budget,
    ) -> Result<Val<'a>, ExpressionError> {
        let program = self.program()?;
        let mut globals = Vec::with_capacity(program.globals.len());
        for (name, at) in &program.globals {
            match variables.iter().find(|(known, _)| known == name) {
                Some((_, value)) => globals.push(Val::lend(value)),
                None => return Err(undefined(name, *at, variables.iter().map(|(name, _)| &**name))),
            }
        }
        match Machine::new(program, Prelude::get(), globals, budget).run(Val::lend(input)) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(ExpressionError::Empty),
            Err(Fault::Raise(error)) => Err(ExpressionError::Raised(message(&error))),
            Err(Fault::Stop(stop)) => Err(ExpressionError::Stopped(stop.0)),
        }
    }
}

fn undefined<'n>(name: &str, at: usize, known: impl Iterator<Item = &'n str> + Clone) -> ExpressionError {
    let near = scope::nearest(name, known.clone()).map(|near| format!("; did you mean `${near}`?"));
    let hint = near.unwrap_or_else(|| {
        let mut known: Vec<_> = known.map(|name| format!("`${name}`")).collect();
        known.truncate(10);
        if known.is_empty() { String::new() } else { format!("; there are {}", known.join(", ")) }
    });
    ExpressionError::Syntax { message: format!("there is no variable `${name}`{hint}"), at }
}

/// How much of an error's text is kept.
const MESSAGE: usize = 2000;

/// What an error value says: a string as it is, anything else as the beginning of its JSON.
fn message(error: &Val<'_>) -> String {
    match error {
        Val::Str(text) => text.chars().take(MESSAGE).collect(),
        Val::Obj(object) => match object.get("message") {
            Some(Val::Str(text)) => text.chars().take(MESSAGE).collect(),
            _ => format!("{} (not a string)", error.shown()),
        },
        other => format!("{} (not a string)", other.shown()),
    }
}

#[cfg(test)]
mod tests;
