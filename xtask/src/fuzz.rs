//! The `fuzz` task: runs the targets of cargo-fuzz, each for a bounded time.
//!
//! The targets are built without a sanitizer (`-s none`): what is left is the coverage that guides libFuzzer, which the
//! stable compiler can emit, and the code holds no `unsafe` of its own. Panics, failed assertions, overflows, stack
//! exhaustion, hangs and too much memory are found. What was found stays in `fuzz/artifacts`, what was learned in
//! `fuzz/corpus`; neither is part of the repository, `fuzz/seeds` is.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::command::{output, run as run_command};
use crate::workspace::{root, scratch};

/// Which targets, and for how long.
#[derive(clap::Args)]
pub(crate) struct Config {
    /// The targets; all where left out.
    targets: Vec<String>,
    /// How long each target runs, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only list the targets.
    #[arg(long)]
    list: bool,
}

/// Runs or lists the targets. One that finds something does not keep the others from running.
pub(crate) fn run(config: &Config) -> anyhow::Result<bool> {
    let known = targets()?;
    if config.list {
        known.iter().for_each(|target| println!("{target}"));
        return Ok(true);
    }
    if let Some(unknown) = config.targets.iter().find(|target| !known.contains(target)) {
        bail!("there is no fuzz target {unknown:?}; there are: {}", known.join(", "));
    }
    if output(Command::new("cargo").args(["fuzz", "--version"])).is_err() {
        bail!(
            "nothing was fuzzed: this needs cargo-fuzz and a C++ compiler; `cargo install cargo-fuzz` brings it"
        );
    }
    // Event logs of the targets; a fuzzer ends without clearing up.
    let temporary = scratch("fuzz");
    fs::create_dir_all(&temporary)?;
    let chosen = if config.targets.is_empty() { &known } else { &config.targets };
    // A target that can't be built has found nothing: that is an error of its own.
    for target in chosen {
        run_command(cargo_fuzz("build", target).current_dir(root()))?;
    }
    let mut failed = Vec::new();
    for target in chosen {
        if let Err(error) = fuzz(target, config.seconds, &temporary) {
            eprintln!("xtask: {error:#}");
            failed.push(target.as_str());
        }
    }
    fs::remove_dir_all(&temporary)?;
    println!("{} of {} targets found nothing", chosen.len() - failed.len(), chosen.len());
    if !failed.is_empty() {
        println!("failed: {}; what was found is in fuzz/artifacts", failed.join(", "));
    }
    Ok(failed.is_empty())
}

/// Runs a target.
fn fuzz(target: &str, seconds: u32, temporary: &Path) -> anyhow::Result<()> {
    let corpus = root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("can't make {}", corpus.display()))?;
    let mut command = cargo_fuzz("run", target);
    // libFuzzer writes what it learns into the first folder and only reads the others.
    command.args([format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}")]);
    command.args(["--", &format!("-max_total_time={seconds}")]);
    command.args(["-timeout=10", "-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1"]);
    run_command(command.current_dir(root()).env("TMPDIR", temporary))
}

/// `cargo fuzz build` or `run` of a target. Units are compiled side by side, as a run is short beside a build.
fn cargo_fuzz(action: &str, target: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(["fuzz", action, "--sanitizer", "none", "--codegen-units", "16", target]);
    command
}

/// The names of the targets: the files of `fuzz/fuzz_targets`, which is a workspace of its own.
fn targets() -> anyhow::Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("can't list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    targets.sort();
    Ok(targets)
}
