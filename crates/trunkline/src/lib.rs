//! The parts of the `trunkline` binary: its configuration, its command line, and the wiring of everything else.

pub mod app;
pub mod chaos;
pub mod cli;
pub mod config;
mod error;

pub use error::Error;
