//! `bench resilience` and `bench discover`: the benchmarks of crates, which print their own tables and JSON lines.

use std::process::Command;

use crate::command;
use crate::workspace::root;

/// Runs a benchmark of a crate.
pub(super) fn run(package: &str, name: &str) -> anyhow::Result<bool> {
    let bench = ["bench", "--quiet", "--package", package, "--bench", name];
    command::run(Command::new("cargo").args(bench).current_dir(root()))?;
    Ok(true)
}
