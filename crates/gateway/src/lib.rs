//! The doors agents and programs enter by, and the pipeline behind them.

mod config;

pub use config::Config;
