//! What is wrong with a plan or a workflow: all findings in one pass, each with its place and, where it can be known, a
//! patch that is ready to apply.

mod finding;

pub use finding::{Finding, Severity};
