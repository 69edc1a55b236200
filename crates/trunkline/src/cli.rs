//! The command line: one file for each command. Data goes to standard output, everything else to standard error.

mod ask;
mod audit;
mod call;
mod chaos;
mod client;
mod completions;
mod config_command;
mod doctor;
mod events;
mod flow;
mod import;
mod init;
mod output;
mod registry;
mod serve;
mod services;
mod stop;
mod tools;
mod top;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Flags, Loaded};
use output::Format;
use stop::Stop;

/// One endpoint between agents and every tool, API and service.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the gateway.
    Up(serve::Up),
    /// Serve one MCP client over standard input and output.
    Stdio(serve::Stdio),
    /// Write a first configuration.
    Init(init::Init),
    /// Add services from an .mcp.json, a server.json or an OpenAPI document.
    Import(import::Import),
    /// Look for what is wrong, and say how to mend it.
    Doctor(doctor::Doctor),
    /// List the tools of the running gateway.
    Tools(tools::Tools),
    /// Call a tool of the running gateway.
    Call(call::Call),
    /// Do what is asked in plain words.
    Ask(ask::Ask),
    /// Show what has happened, or publish an event.
    Events(events::Events),
    /// Show who did what, and what came of it.
    Audit(audit::Audit),
    /// Check, run, show and steer flows.
    Flow(flow::Flow),
    /// Register services with the running gateway.
    Registry(registry::Registry),
    /// List the services of the running gateway.
    Services(services::Services),
    /// Show services, tools, flows and alerts, live.
    Top(top::Top),
    /// Stand before a service and disturb it.
    Chaos(chaos::Chaos),
    /// Check, show or convert the configuration.
    Config(config_command::ConfigCommand),
    /// Print the completions of a shell.
    Completions(completions::Completions),
    /// Run the shop of examples/shop.
    #[cfg(feature = "shop")]
    #[command(hide = true)]
    Shop(shop::Config),
}

/// How the output looks, for commands that print data.
#[derive(Clone, Copy, Debug, clap::Args)]
struct OutputArgs {
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Format::Table, global = true)]
    output: Format,
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(),
    }
}

fn run(command: Command) -> Result<(), Stop> {
    match command {
        Command::Up(up) => up.run(),
        Command::Stdio(stdio) => stdio.run(),
        Command::Init(init) => init.run(),
        Command::Import(import) => import.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Tools(tools) => tools.run(),
        Command::Call(call) => call.run(),
        Command::Ask(ask) => ask.run(),
        Command::Events(events) => events.run(),
        Command::Audit(audit) => audit.run(),
        Command::Flow(flow) => flow.run(),
        Command::Registry(registry) => registry.run(),
        Command::Services(services) => services.run(),
        Command::Top(top) => top.run(),
        Command::Chaos(chaos) => chaos.run(),
        Command::Config(config) => config.run(),
        Command::Completions(completions) => completions.run(),
        #[cfg(feature = "shop")]
        Command::Shop(config) => shop::run(&config).map_err(Stop::from),
    }
}

/// An environment variable.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Loads the configuration and prints its warnings and notes.
fn load(path: Option<&std::path::Path>, flags: &Flags) -> Result<Loaded, Stop> {
    let here = std::env::current_dir().map_err(anyhow::Error::from)?;
    let loaded = config::load_or_default(path, &here, &env, flags).map_err(Stop::Findings)?;
    for remark in &loaded.remarks {
        output::say(remark);
    }
    Ok(loaded)
}

/// Runs a command that waits for the network.
fn block_on<T>(task: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(anyhow::Error::from)?.block_on(task)
}
