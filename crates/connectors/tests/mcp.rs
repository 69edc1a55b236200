//! The MCP connector with real processes and real sockets: what works, and what a server may do wrong.

#[path = "mcp/child.rs"]
mod child;
#[path = "mcp/http.rs"]
mod http;
#[path = "mcp/setup.rs"]
mod setup;
