//! What is left of what a caller may use.

use std::sync::Arc;
use std::time::Duration;

/// A limit that holds for a call, and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The limit's name.
    pub policy: Arc<str>,
    /// What is counted: `requests`, `content-bytes`, `tokens`, `money-micros` (millionths).
    pub unit: &'static str,
    /// Units in the while.
    pub limit: u64,
    /// The while.
    pub window: Duration,
    /// Units that are left.
    pub left: u64,
    /// When all are back; of a call that was refused, when there is room for it.
    pub reset: Duration,
}
