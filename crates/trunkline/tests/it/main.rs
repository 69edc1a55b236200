//! Integration tests of the configuration and the command line.

mod config;
