//! Who calls and what they may do.
//!
//! - [`identity`] turns what a request carries into a [`Principal`](trunkline_model::Principal): API keys, and nothing
//!   on a loopback listener.
//! - [`authorize`] decides by (principal, service, the service's own name, operation), never by the advertised name.
//!
//! Both are built once from their configuration and then only read.

pub mod authorize;
mod error;
pub mod identity;

pub use authorize::{Authorizer, Decision};
pub use error::Error;
pub use identity::Authenticator;
pub use trunkline_model::Glob;
