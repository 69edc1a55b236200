//! Development tasks: `cargo xtask test|conformance|ctk|crash|browser|bench|fuzz`.

#![expect(clippy::print_stdout, reason = "tasks report on standard output")]

mod bench;
mod browser;
mod clients;
mod command;
mod conformance;
mod crash;
mod ctk;
mod fuzz;
mod observe;
mod provide;
mod registry;
mod report;
mod server;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring what tests need and run all of them: Rust tests, conformance suite, SDK clients.
    Test,
    /// Run the MCP conformance suite against the gateway and the connector; prints each leg as passed/required.
    Conformance {
        /// Which legs, such as `server-2026-07-28`; all where left out.
        #[arg(value_enum)]
        legs: Vec<conformance::Leg>,
    },
    /// Run the test kit of the Open Workflow Specification and our own scenarios; prints both as passed/required last.
    Ctk,
    /// Look at the console in Chromium, which `test` does as well.
    Browser,
    /// Build for release and measure; prints a table and one JSON line.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        name: bench::Name,
    },
    /// Kill the gateway over and over with sagas in flight, and read the books in the end.
    Crash(crash::Config),
    /// Run the fuzz targets, each for a bounded time.
    Fuzz(fuzz::Config),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test => test::run(),
        Task::Conformance { legs } => conformance::run(&legs),
        Task::Ctk => ctk::run(),
        Task::Browser => browser::run(),
        Task::Bench { name } => bench::run(&name),
        Task::Crash(config) => crash::run(&config),
        Task::Fuzz(config) => fuzz::run(&config),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
