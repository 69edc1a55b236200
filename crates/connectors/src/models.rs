//! Models behind an endpoint: one that writes text, by the chat API of OpenAI (which most servers speak) or the messages API of
//! Anthropic; one that makes vectors of texts, by the embeddings API of OpenAI. Every answer is hostile: bounded in size and time, and nothing of it is trusted.

mod chat;
mod client;
mod config;
mod embeddings;
mod error;

pub use chat::{Chat, Dialect, Task};
pub use config::Endpoint;
pub use embeddings::Embedder;
pub use error::Error;
