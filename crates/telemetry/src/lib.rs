//! What operators see: metrics, traces, alerts, the service map.
//!
//! Calls leave what was seen of them in a queue ([`Telemetry::push`]); one thread, the [`Collector`], makes spans of it,
//! chooses those that are kept, and writes them. Nothing here ever makes a call wait: what does not fit is dropped and
//! counted.

pub mod alerts;
pub mod call;
pub mod clock;
mod collector;
pub mod config;
mod error;
mod expand;
pub mod exposition;
pub mod flow;
pub mod kpis;
pub mod map;
pub mod metrics;
pub mod otlp;
pub mod packet;
pub mod redact;
pub mod semconv;
pub mod span;
pub mod store;
pub mod surroundings;
mod telemetry;
pub mod waterfall;

pub use collector::Collector;
pub use config::Config;
pub use error::Error;
pub use span::Span;
pub use surroundings::Surroundings;
pub use telemetry::{Dropped, Item, Telemetry};
