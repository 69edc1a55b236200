//! Tests of the house: what depends on what, how files look, which error codes there are.

mod connectors;
mod direction;
mod error_pages;
mod sources;
mod tidy;
