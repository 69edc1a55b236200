//! MCP servers: children that speak over standard input and output, and servers over Streamable HTTP.

mod config;

pub use config::{Config, OAuth, Session};
