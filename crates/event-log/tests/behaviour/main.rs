//! The event log as its users see it, on real files.

#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod file;
mod fixture;
mod log;
mod projections;
mod property;
