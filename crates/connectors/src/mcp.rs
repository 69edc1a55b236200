//! MCP servers: children that speak over standard input and output, and servers over Streamable HTTP.
//!
//! `service.rs` and `tool.rs` are what the rest of Trunkline sees; `supervise.rs` keeps a connection alive;
//! `handshake.rs` finds the server's revision; `client.rs` writes requests; `channel.rs` carries them, over
//! `streamable.rs` (on `http.rs` and `sse.rs`) or `stdio.rs` (on `lines.rs`).

mod auth;
mod channel;
mod client;
mod config;
mod conversations;
mod error;
mod flights;
mod handshake;
mod headers;
mod http;
mod hub;
mod jsonrpc;
mod lines;
mod link;
mod listen;
mod lists;
mod meta;
mod old_sse;
mod revision;
mod service;
mod sse;
mod stderr;
mod stdio;
mod streamable;
mod supervise;
mod tasks;
mod tool;

pub use auth::Authorizer;
pub use client::ClientInfo;
pub use config::{Config, Grant, OAuth, Session};
pub use error::{Error, RpcError};
pub use service::{McpService, build};
pub use supervise::Runner;
