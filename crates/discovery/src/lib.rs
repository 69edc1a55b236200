//! What can be called: the catalogue of services with their tools, prompts and resources.

pub mod catalog;
pub mod discover;
pub mod search;

pub use catalog::{Catalog, Changes, ItemEntry, Names, Registered, Snapshot, ToolEntry};
