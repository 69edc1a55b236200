//! Integration tests of the configuration, the command line, the documentation and the doors.
#![cfg(test)]

mod ask;
mod bad_input;
mod cache;
mod chaos;
mod choreography;
mod cli;
mod config;
mod console;
mod console_pages;
mod ctk;
mod docs;
mod doors;
mod endpoints;
mod failures;
mod hostile_flows;
mod instances;
mod intents;
mod life;
mod limits;
mod mesh;
mod meta_tools;
mod propose;
mod questions;
mod recovery;
mod registrations;
mod reload;
mod resilience;
mod search;
mod sources;
mod stdio;
mod support;
mod tasks;
mod telemetry;
mod top;
mod transactions;
