//! HTTP services described by an OpenAPI document (3.0, 3.1, 3.2 or Swagger 2.0). One operation is one tool.
//!
//! A document is read with all it refers to (`document`, `reference`), its operations are lowered to tools (`lower`
//! and the files it names), and what does not depend on arguments is made once. A call then is: arguments into their
//! places (`request`, `parameters`, `body`), credentials added (`security`, `token`), sent (`client`), the answer turned
//! into a result (`response`).
//!
//! **Trust.** What a document from a URL says is not believed where it could do harm: it may not refer to files or
//! other hosts, and credentials and configured headers go only to its own origin unless the operator sets `base_url`
//! or `token_url`. Redirects are followed only for safe methods and only within an origin.

mod body;
mod client;
mod config;
#[cfg(test)]
mod corpus;
mod document;
mod freshness;
mod health;
mod inputs;
mod lower;
mod media;
mod names;
mod operation;
mod output;
mod parameters;
mod preview;
mod reference;
mod request;
mod response;
mod schema;
mod security;
mod server;
mod service;
mod swagger2;
mod token;
mod tool;

pub use config::{Config, Credential};
pub use document::{Document, location};
pub use lower::LeftOut;
pub use operation::{Request, request};
pub use preview::{Preview, PreviewTool, preview};
pub use service::{OpenApi, Runner, build};
pub use token::Token;

/// How this connector names itself to services.
const USER_AGENT: &str = concat!("trunkline/", env!("CARGO_PKG_VERSION"));
