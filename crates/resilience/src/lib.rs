//! What stands between a call and a service that fails.
//!
//! [`guard`] is the way of a call: [`breaker`], [`bulkhead`], timeout by [`latency`], retry within a [`budget`], hedge.
//! How many calls run at a time follows the service ([`adaptive`]); who goes first is [`shed`]'s to say. [`rate`] limits
//! callers, [`repetition`] finds those that go round in circles. [`balance`] chooses between instances of a service, and
//! [`outlier`] leaves those out that fail more than the others. All of it is told the time; nothing here spawns a task or
//! takes an asynchronous lock.

pub mod adaptive;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
mod error;
pub mod guard;
pub mod latency;
pub mod outlier;
pub mod rate;
pub mod repetition;
pub mod shed;
pub mod strategy;
pub mod window;

pub use error::Error;
pub use guard::{Care, Guard, GuardConfig, ServiceGuard, Verdict, verdict};
