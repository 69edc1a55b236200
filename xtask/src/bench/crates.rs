//! Benchmarks of crates, which print their own tables and JSON lines.

use std::path::PathBuf;
use std::process::Command;

use crate::command;
use crate::workspace::root;

/// What tells how near texts are in meaning.
#[derive(clap::Args, Default)]
pub(crate) struct By {
    /// This table of embeddings in place of the built-in one.
    #[arg(long)]
    table: Option<PathBuf>,
    /// This encoder's weights too, as `training/minilm.py` writes them.
    #[arg(long)]
    encoder: Option<PathBuf>,
}

/// Runs a benchmark of a crate.
pub(super) fn run(package: &str, name: &str) -> anyhow::Result<bool> {
    let bench = ["bench", "--quiet", "--package", package, "--bench", name];
    command::run(Command::new("cargo").args(bench).current_dir(root()))?;
    Ok(true)
}

/// Runs a benchmark of the doors.
pub(super) fn doors(name: &str) -> anyhow::Result<bool> {
    let bench = ["bench", "--quiet", "--package", "trunkline", "--bench", "doors", "--", name];
    command::run(Command::new("cargo").args(bench).current_dir(root()))?;
    Ok(true)
}

/// Runs a benchmark of the discovery over sets of requests.
pub(super) fn sets(name: &str, folders: &[PathBuf], learn: bool, by: &By) -> anyhow::Result<bool> {
    let shared = root().join("../shared/data/toolsearch");
    let folders = if folders.is_empty() { &[shared][..] } else { folders };
    let bench = ["bench", "--quiet", "--package", "trunkline-discovery", "--bench", name, "--"];
    let folders: Vec<_> = folders.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
    let mut command = Command::new("cargo");
    command.args(bench).args(folders).current_dir(root());
    if learn {
        command.arg("--learn");
    }
    for (option, file) in [("--table", &by.table), ("--encoder", &by.encoder)] {
        if let Some(file) = file {
            command.arg(option).arg(std::path::absolute(file)?);
        }
    }
    command::run(&mut command)?;
    Ok(true)
}
