//! The `fuzz` task: runs the targets of cargo-fuzz, each for a bounded time.
//!
//! cargo-fuzz needs a nightly compiler and its sanitizer. Where either is missing nothing is fuzzed, and the task says
//! so and fails; the property tests that run on stable are part of `cargo xtask test`.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::command::{output, run as run_command};
use crate::workspace::root;

/// Which targets, and for how long.
#[derive(clap::Args)]
pub(crate) struct Config {
    /// The targets; all where left out.
    targets: Vec<String>,
    /// How long each target runs, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only list the targets.
    #[arg(long)]
    list: bool,
}

/// Runs or lists the targets.
pub(crate) fn run(config: &Config) -> anyhow::Result<bool> {
    let known = targets()?;
    if config.list {
        known.iter().for_each(|target| println!("{target}"));
        return Ok(true);
    }
    if let Some(unknown) = config.targets.iter().find(|target| !known.contains(target)) {
        bail!("there is no fuzz target {unknown:?}; there are: {}", known.join(", "));
    }
    if known.is_empty() {
        bail!("there are no fuzz targets: fuzz/fuzz_targets has no .rs files");
    }
    if output(Command::new("cargo").args(["+nightly", "fuzz", "--version"])).is_err() {
        bail!(
            "nothing was fuzzed: this needs `rustup toolchain install nightly` and `cargo install cargo-fuzz`"
        );
    }
    for target in if config.targets.is_empty() { &known } else { &config.targets } {
        let limit = format!("-max_total_time={}", config.seconds);
        let fuzz = ["+nightly", "fuzz", "run", target, "--", &limit, "-rss_limit_mb=2048", "-timeout=10"];
        run_command(Command::new("cargo").args(fuzz).current_dir(root()))?;
    }
    Ok(true)
}

/// The names of the targets: the files of `fuzz/fuzz_targets`, which is a workspace of its own.
fn targets() -> anyhow::Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut targets = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.extend(path.file_stem().map(Path::new).map(|stem| stem.display().to_string()));
        }
    }
    targets.sort();
    Ok(targets)
}
