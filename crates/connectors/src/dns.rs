//! DNS: the instances of a service as a name server tells them, by addresses (A and AAAA) or by SRV records.
//!
//! `client.rs` asks; `source.rs` makes instances of the answers and asks again when they are old.

mod client;
mod config;
mod source;

pub use client::Client;
pub use config::{Config, Lookup};
pub use source::DnsSource;
