//! What can be called: the catalogue of services with their tools, prompts and resources.

pub mod arguments;
pub mod capabilities;
pub mod catalog;
pub mod conversation;
pub mod discover;
pub mod embed;
pub mod intent;
pub mod search;
mod text;

pub use catalog::{Catalog, Changes, ItemEntry, ItemKind, Names, Registered, Snapshot, ToolEntry};
