//! `trunkline up` and `trunkline stdio`: run the gateway.

use std::path::PathBuf;

use super::output::say;
use super::stop::Stop;
use crate::app;
use crate::config::Flags;

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
        runtime()?.block_on(app::run_up(loaded, flags)).map_err(Stop::from)
    }
}

/// Serve one MCP client over standard input and output.
#[derive(Debug, clap::Args)]
pub(super) struct Stdio {
    /// The configuration: a file, or a folder with a trunkline.yaml; that of the working directory where left out.
    path: Option<PathBuf>,
}

impl Stdio {
    pub(super) fn run(self) -> Result<(), Stop> {
        let flags = Flags::default();
        let loaded = super::load(self.path.as_deref(), &flags)?;
        runtime()?.block_on(app::run_stdio(loaded, flags)).map_err(Stop::from)
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
