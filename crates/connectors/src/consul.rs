//! Consul: instances of a service as its catalogue and health checks tell them, and services that are told to it.
//!
//! `source.rs` follows a service by blocking queries; `entry.rs` reads what Consul says of an instance; `announce.rs` registers
//! services at the agent and keeps their heartbeat.

mod announce;
mod client;
mod config;
mod entry;
mod source;

pub use announce::{Announcement, Health, announce};
pub use client::Client;
pub use config::{Announce, AnnouncedCheck, Config, Lookup};
pub use source::ConsulSource;
