//! `trunkline up` and `trunkline stdio`: run the gateway.

use std::io::IsTerminal;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;
use trunkline_gateway::Show;

use super::output::say;
use super::stop::Stop;
use crate::config::{Flags, Log, LogFormat};
use crate::{Error, app};

/// Start the gateway.
#[derive(Debug, clap::Args)]
pub(super) struct Up {
    /// The configuration: a file, or a folder with a trunkline.yaml; that of the working directory where left out.
    path: Option<PathBuf>,
    /// Listen here (an address and port) in place of what the configuration says. Can be given again.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Keep state here in place of what the configuration says.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Log this (`debug`, or `info,trunkline_gateway=debug`) in place of what the configuration says.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

impl Up {
    pub(super) fn run(self) -> Result<(), Stop> {
        let flags = Flags { listen: self.listen, data_dir: self.data_dir, log: self.log };
        let loaded = super::load(self.path.as_deref(), &flags)?;
        if loaded.config.services.is_empty() {
            let place = match &loaded.file {
                Some(file) => format!("{} has no services", file.display()),
                None => "there is no trunkline.yaml here, so there are no services".to_owned(),
            };
            say(&format_args!(
                "{place}. Add some with `trunkline import .mcp.json` or `trunkline import openapi.yaml`, or write a \
                 first configuration with `trunkline init`."
            ));
        }
        start_log(&loaded.config.log)?;
        runtime()?.block_on(app::run_up(loaded, flags)).map_err(Stop::from)
    }
}

/// Serve one MCP client over standard input and output.
#[derive(Debug, clap::Args)]
pub(super) struct Stdio {
    /// The configuration: a file, or a folder with a trunkline.yaml; that of the working directory where left out.
    path: Option<PathBuf>,
    /// Tell the client of these tools in place of what the configuration says: `all`, `search` (those that the others are found
    /// with) or `auto` (by how many there are).
    #[arg(long, value_name = "WHICH", value_parser = shown)]
    tools: Option<Show>,
}

fn shown(name: &str) -> Result<Show, &'static str> {
    Show::named(name).ok_or("it is `all`, `search` or `auto`")
}

impl Stdio {
    pub(super) fn run(self) -> Result<(), Stop> {
        let loaded = super::load(self.path.as_deref(), &Flags::default())?;
        start_log(&loaded.config.log)?;
        runtime()?.block_on(app::run_stdio(loaded, self.tools)).map_err(Stop::from)
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    // Connections have threads of their own; what is left is little.
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Begins to log, to standard error: standard output belongs to data and, under `stdio`, to the protocol.
fn start_log(log: &Log) -> Result<(), Stop> {
    let filter = EnvFilter::try_new(&log.level).map_err(|_| Error::Usage {
        reason: "the log level can't be read".to_owned(),
        fix: "Write a level (error, warn, info, debug, trace), or levels by module: info,trunkline_gateway=debug."
            .to_owned(),
    })?;
    let ansi = super::env("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal();
    let builder =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_ansi(ansi);
    match log.format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
