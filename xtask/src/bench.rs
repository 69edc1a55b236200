//! The `bench` task: measures a part in its release build, prints a table and one JSON line.

mod event_log;
mod flows;
mod gateway;
mod load;
mod resilience;

use clap::Subcommand;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Name {
    /// What the gateway costs beside a direct connection, in both eras of the protocol.
    Gateway(gateway::Config),
    /// What the guard before a tool costs a call.
    Resilience,
    /// Durable runs beside Restate, and how much a gateway holds.
    Flows(flows::Config),
    /// Durable appends a second, beside a raw `fdatasync` loop.
    EventLog,
}

/// Measures.
pub(crate) fn run(name: &Name) -> anyhow::Result<bool> {
    match name {
        Name::Gateway(config) => gateway::run(config),
        Name::Resilience => resilience::run(),
        Name::Flows(config) => flows::run(config),
        Name::EventLog => event_log::run(),
    }
}
