//! The doors agents and programs enter by, and the pipeline behind them.
//!
//! - [`pipeline`]: the life of a call, one linear function. Every door enters there.
//! - [`exchange`]: a call as a door sees it: notes and questions on the way, then the outcome.
//! - [`flows`]: tools as the steps of flows see them; `transactions`: calls from outside that are steps.
//! - [`mcp`]: the MCP door, over Streamable HTTP and standard input and output, for both protocol eras.
//! - [`meta_tools`]: the tools that agents find and call the others with.
//! - [`http`]: the HTTP door under `/v1`.
//! - `console`: pages for people, made of what the HTTP door answers.
//! - [`server`]: the listener that both stand behind.

mod aside;
mod cache;
mod config;
mod console;
mod encoder;
mod error;
pub mod exchange;
pub mod flows;
mod gateway;
mod guards;
pub mod http;
mod leases;
mod limits;
mod loops;
pub mod mcp;
mod members;
pub mod meta_tools;
mod observer;
pub mod pipeline;
pub mod pool;
mod priorities;
mod record;
mod recovery;
mod registrations;
mod results;
mod seal;
pub mod server;
mod surroundings;
mod transactions;
mod watching;

pub use cache::{CacheConfig, CacheRule, Scope, ServiceCache, WriteRule};
pub use config::{Answers, Config, Record};
pub use console::ConsoleConfig;
pub use encoder::{Embed, Encoder, Vectors};
pub use error::Error;
pub use gateway::{Gateway, Parts, Sources};
pub use guards::GuardsConfig;
pub use http::settings::Setting;
pub use leases::LeaseConfig;
pub use limits::{Each, Limit, Price};
pub use meta_tools::{ArgumentModel, IntentConfig, Listing, Prompt, Show, Writer};
pub use observer::Observer;
pub use priorities::{PrioritiesConfig, PriorityRule};
pub use recovery::RecoveryConfig;
pub use registrations::{Kind, RegisteredService, RegistrationsConfig};
pub use seal::Sealer;
pub use watching::FlowWatcher;
