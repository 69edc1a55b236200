//! The `bench` task: measures a part in its release build, prints a table and one JSON line.

mod balance;
mod console;
mod crates;
mod event_log;
mod flows;
mod gateway;
mod line;
mod load;
mod telemetry;
mod tokens;

use clap::Subcommand;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Name {
    /// What the gateway costs beside a direct connection, in both eras of the protocol.
    Gateway(gateway::Config),
    /// What the guard before a tool costs a call.
    Resilience,
    /// Three times as many calls as a service can take, with and without the limiter.
    Overload,
    /// A read that is answered from the cache, beside the service itself.
    Cache,
    /// How long finding a tool by what it can do takes among 10,000 services.
    Discover,
    /// Calls over three instances of which one is slow, beside three that are well.
    Balance(balance::Config),
    /// How well and how fast tools are found by requests in plain words.
    Search {
        /// Folders with tools.jsonl and queries.jsonl, or folders of such; the development sets where left out.
        folders: Vec<std::path::PathBuf>,
        /// Learn every other request and the tools that met it first; measure the rest.
        #[arg(long)]
        learn: bool,
        #[command(flatten)]
        by: crates::By,
    },
    /// How well and how fast requests in plain words become arguments of a call.
    Arguments {
        /// Folders with tools.jsonl and queries.jsonl that have calls, or folders of such; the development sets where left out.
        folders: Vec<std::path::PathBuf>,
    },
    /// How well and how fast requests find their intent, with 20 examples of each.
    Intent {
        /// Folders with train.jsonl and queries.jsonl, or folders of such; the development sets where left out.
        folders: Vec<std::path::PathBuf>,
        #[command(flatten)]
        by: crates::By,
    },
    /// How many tokens a model reads and writes for some tasks: all tools listed, searched, planned.
    Tokens {
        /// Folders with tools.jsonl; two of the development sets where left out.
        folders: Vec<std::path::PathBuf>,
    },
    /// Durable runs beside Restate, and how much a gateway holds.
    Flows(flows::Config),
    /// How long pages and what they show take where there is much.
    Console(console::Config),
    /// What it costs that calls are measured and traced.
    Telemetry(telemetry::Config),
    /// Durable appends a second, beside a raw `fdatasync` loop.
    EventLog,
}

/// Measures.
pub(crate) fn run(name: &Name) -> anyhow::Result<bool> {
    match name {
        Name::Gateway(config) => gateway::run(config),
        Name::Resilience => crates::run("trunkline-resilience", "guard"),
        Name::Overload => crates::doors("overload"),
        Name::Cache => crates::doors("cache"),
        Name::Search { folders, learn, by } => crates::sets("search", folders, *learn, by),
        Name::Arguments { folders } => crates::sets("arguments", folders, false, &crates::By::default()),
        Name::Intent { folders, by } => crates::sets("intent", folders, false, by),
        Name::Tokens { folders } => tokens::run(folders),
        Name::Discover => crates::run("trunkline-discovery", "discover"),
        Name::Balance(config) => balance::run(config),
        Name::Flows(config) => flows::run(config),
        Name::Console(config) => console::run(config),
        Name::Telemetry(config) => telemetry::run(config),
        Name::EventLog => event_log::run(),
    }
}
