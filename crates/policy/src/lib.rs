//! Who calls and what they may do.
//!
//! - [`identity`] turns what a request carries into a [`Principal`](trunkline_model::Principal): API keys, and nothing
//!   on a loopback listener.
//! - [`authorize`] decides by (principal, service, the service's own name, operation), never by the advertised name.
//!
//! Both are built once from their configuration and then only read.

pub mod authorize;
mod error;
mod glob;
pub mod identity;

pub use authorize::{Authorizer, Decision};
pub use error::Error;
pub use glob::Glob;
pub use identity::Authenticator;
