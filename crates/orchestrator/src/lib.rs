//! Chains of tools: plans, execution, sagas, choreography.
//!
//! A *plan* (flat, what a model writes) compiles to a *workflow* (Open Workflow Specification 1.0.3, what is stored and
//! shown). Executing a workflow makes an *instance*, whose journal is a stream of the event log.

pub mod check;
pub mod expression;
pub mod plan;
pub mod workflow;
