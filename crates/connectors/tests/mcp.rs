//! The MCP connector with real processes and real sockets: what works, and what a server may do wrong.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking; a server prints its answers"
)]

#[path = "mcp/child.rs"]
mod child;
#[path = "mcp/http.rs"]
mod http;
#[path = "mcp/setup.rs"]
mod setup;
