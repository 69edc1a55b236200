//! Who calls: what a request carries, turned into a principal.

pub mod api_key;

pub use api_key::{Authenticator, Config, key_of};
