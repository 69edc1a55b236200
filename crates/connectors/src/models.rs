//! Models behind an endpoint: one that writes text, by the chat API of OpenAI (which most servers speak) or the messages API of
//! Anthropic. Every answer is hostile: bounded in size and time, and nothing of it is trusted.

mod chat;
mod client;
mod config;
mod error;

pub use chat::{Chat, Dialect, Task};
pub use config::Endpoint;
pub use error::Error;
