//! Ways to reach a service. Each connector is a folder with the same files: `config.rs` (what is configured),
//! `client.rs` (the wire), `service.rs` (the [`Service`](trunkline_model::Service)), `tool.rs` (the
//! [`Tool`](trunkline_model::Tool)). No connector knows that policy exists.

pub mod consul;
pub mod dns;
mod error;
pub mod health;
pub mod http_client;
pub mod mcp;
pub mod models;
pub mod openapi;
mod per_thread;
pub mod process;
pub mod source;
mod tool_settings;

pub use error::Error;
pub use tool_settings::{ToolEffects, ToolSettings};
