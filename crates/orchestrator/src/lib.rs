//! Chains of tools: plans, execution, sagas, choreography.
//!
//! A *plan* (flat, what a model writes) compiles to a *workflow* (Open Workflow Specification 1.0.3, what is stored and
//! shown). Executing a workflow makes an *instance*, whose journal is a stream of the event log.

pub mod check;
pub mod choreography;
pub mod engine;
pub mod entry;
mod error;
pub mod expression;
pub mod fault;
mod identity;
mod interpret;
mod journal;
pub mod life;
pub mod limits;
pub mod outside;
pub mod plan;
pub mod proposals;
pub mod published;
mod run;
mod saga;
pub mod service;
pub mod trace;
pub mod transaction;
pub mod views;
pub mod workflow;

pub use engine::{Engine, Instance, Parts, Standing, Start};
pub use entry::{Ending, Entry, Finished, InstanceId, Resolution};
pub use error::Error;
pub use fault::Fault;
pub use journal::Sources;
pub use run::{Bounds, Definitions, Stuck};
