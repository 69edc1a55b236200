//! Plans: what a model writes. A flat list of steps in JSON, where order follows from what refers to what.
//!
//! ```json
//! {"name": "trip",
//!  "steps": [
//!   {"id": "book", "tool": "hotel_book", "args": {"city": "${ .input.city }"},
//!    "undo": {"tool": "hotel_cancel", "args": {"id": "${ .steps.book.id }"}}},
//!   {"id": "pay", "tool": "card_charge", "args": {"amount": "${ .steps.book.price }"}, "pivot": true}],
//!  "output": ".steps.pay.receipt"}
//! ```
//!
//! Text wholly of the form `${ jq }` in arguments is computed; so are `when`, `forEach` and `output`, which are jq
//! without marks. jq runs with `.` = `{"input": …, "steps": {"id": result}}`; the result of a step that was left out
//! is null. A step comes after every step that its expressions name as `.steps.id` or `.steps["id"]`, and after those in
//! `after`. With `forEach` it is done for each item, one after the other, with `$item` and `$index`; its result is the
//! list of their results. `undo` may refer to the step's own result.
//!
//! # What a plan compiles to
//!
//! [`compile()`] makes a workflow of the Open Workflow Specification. Each step becomes a call task with its id as its name:
//! - `call` and `with` are its tool and arguments as they are written; `input.from` gives them the `.` of above, from
//!   `$workflow.input` and `$context.steps`, so that expressions need no rewriting;
//! - `if` is `when`, and `timeout` is `timeout`;
//! - `export.as` adds its result to `$context.steps`. Branches that end at once must export one after the other, each
//!   seeing the context that the last one left;
//! - `metadata` holds its id, undo, pivot and retry under [`crate::workflow::SAGA`]. A `try` would not do for the retry:
//!   it swallows the error once the last attempt failed.
//!
//! With `forEach` that call task stands in the `do` of a `for` task of the same name, which collects the results.
//!
//! Order becomes structure, by the decomposition of series-parallel graphs, with a cut where there is none:
//! 1. Parts that do not depend on each other are branches of a `fork`.
//! 2. Where all of one part comes before all of another, they stand in sequence.
//! 3. Where neither holds, the steps that wait for nothing go first, at once, and the rest is decomposed as before.
//!    Only here may a step wait for one that it does not depend on.
//!
//! Forks nest six deep at most, and knots of more than 500 steps are cut into levels.
//!
//! The plan's `input` is no part of the workflow: two runs with other inputs are runs of the same definition.

mod compile;
mod order;
mod read;
mod reference;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::expression::Expression;
use crate::workflow::node::Log;
use crate::workflow::{Invalid, RetryPolicy, Undo};

pub use compile::{CONCURRENCY, NAMESPACE, compile};
pub(crate) use order::Order;
pub(crate) use read::read_noting;
pub(crate) use reference::{Part, Reference, references};

/// The most steps of a plan.
pub const MAX_STEPS: usize = 10_000;

/// A plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name; `plan` unless given.
    pub name: Option<Arc<str>>,
    /// A title for people.
    pub title: Option<String>,
    /// The input to run it with.
    pub input: Value,
    /// How long it may take, as written.
    pub timeout: Option<Value>,
    /// How many steps may run at once.
    pub concurrency: Option<u64>,
    /// The steps.
    pub steps: Vec<Step>,
    /// What it gives out; the results of all steps, by id, unless given.
    pub output: Option<Expression>,
}

/// A step of a plan.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its id: a name as of jq, so that `.steps.id` names it.
    pub id: Arc<str>,
    /// The tool that it calls.
    pub tool: Arc<str>,
    /// The arguments, with expressions in them.
    pub args: Map<String, Value>,
    /// Steps that come before it, besides those that it refers to.
    pub after: Vec<Arc<str>>,
    /// What takes back its effect.
    pub undo: Undo,
    /// Whether nothing is taken back any more once it is done.
    pub pivot: bool,
    /// It is done only where this holds.
    pub when: Option<Expression>,
    /// It is done for each item of what this gives.
    pub for_each: Option<Expression>,
    /// How it is retried.
    pub retry: Option<Arc<RetryPolicy>>,
    /// How long it may take, as written.
    pub timeout: Option<Value>,
    /// Where it stands in the plan as it was written.
    pub(crate) index: usize,
    /// Whether something is wrong with its form, so that some of it may be missing here.
    pub(crate) malformed: bool,
    /// Whether there are arguments, even if none.
    pub(crate) has_args: bool,
    /// Its undo and retry, as written.
    pub(crate) undo_source: Option<Value>,
    pub(crate) retry_source: Option<Value>,
    /// Every step that it refers to in an expression.
    pub(crate) references: Vec<Reference>,
}

impl Plan {
    /// Reads JSON (or YAML) text of at most [`crate::workflow::MAX_TEXT`] bytes and [`crate::workflow::MAX_DEPTH`] levels.
    ///
    /// # Errors
    /// [`Invalid`], with all findings about its form. [`crate::check::plan`] finds more.
    pub fn read(text: &str) -> Result<Self, Invalid> {
        let source =
            crate::workflow::text::parse(text).map_err(|finding| Invalid { findings: vec![*finding] })?;
        Self::from_source(&source)
    }

    /// Of JSON that is parsed already.
    ///
    /// # Errors
    /// [`Invalid`], with all findings about its form.
    pub fn from_source(source: &Value) -> Result<Self, Invalid> {
        if let Some(finding) = crate::workflow::text::unfit(source) {
            return Err(Invalid { findings: vec![finding] });
        }
        let log = Log::new(0);
        let plan = read_noting(source, &log);
        let findings = log.into_findings();
        plan.filter(|_| findings.is_empty()).ok_or(Invalid { findings })
    }
}
