//! Commands of this machine as tools.

mod config;

pub use config::{Config, Format, ProcessTool};
