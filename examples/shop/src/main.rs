//! The shop on its own: `shop serve --data DIR` runs all four services.

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
    Serve(shop::Config),
}

fn main() -> ExitCode {
    let Command::Serve(config) = Cli::parse().command;
    match shop::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {error:#}");
            ExitCode::FAILURE
        }
    }
}
