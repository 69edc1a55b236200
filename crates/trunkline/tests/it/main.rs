//! Integration tests of the configuration and the command line.
#![cfg(test)]

mod cli;
mod config;
mod docs;
