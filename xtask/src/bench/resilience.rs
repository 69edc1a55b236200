//! `bench resilience`: the benchmark of the crate, which prints its own table and JSON line.

use std::process::Command;

use crate::command;
use crate::workspace::root;

/// Runs the benchmark.
pub(super) fn run() -> anyhow::Result<bool> {
    let bench = ["bench", "--quiet", "--package", "trunkline-resilience", "--bench", "guard"];
    command::run(Command::new("cargo").args(bench).current_dir(root()))?;
    Ok(true)
}
