//! HTTP services described by an OpenAPI document.

mod config;

pub use config::{Config, Credential};
