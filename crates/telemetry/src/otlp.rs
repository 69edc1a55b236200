//! OTLP over HTTP: spans that come in from agents and services, and ours that go out.

mod decode;
mod encode;
pub mod export;
mod proto;
pub mod settings;

pub use decode::{Received, decode};
pub use encode::encode;
