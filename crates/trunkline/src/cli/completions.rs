//! `trunkline completions`: for shells.

use clap::CommandFactory;
use clap_complete::Shell;

use super::stop::Stop;
use super::{Cli, output};

/// Print the completions of a shell.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "trunkline", &mut text);
        Ok(output::print(&String::from_utf8_lossy(&text))?)
    }
}
