//! Who calls: what a request carries, turned into a principal.

pub mod api_key;
mod mesh;

pub use api_key::{Authenticator, Config, key_of};
pub use mesh::{MeshConfig, MeshHeader};
