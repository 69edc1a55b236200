//! The shop: four small HTTP services to try Trunkline on. `shop serve --data DIR` runs all of them.

mod chaos;
mod orders;
mod payments;
mod problem;
mod request;
mod serve;
mod shipping;
mod stock;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Four small HTTP services with state: orders, stock, payments, shipping.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the four services until told to stop.
    Serve(serve::Config),
}

fn main() -> ExitCode {
    let Command::Serve(config) = Cli::parse().command;
    match serve::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {error:#}");
            ExitCode::FAILURE
        }
    }
}
