//! The load client and the upstream of `../shared/bench/mcp-load`, built here and run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use crate::command;
use crate::server::{Server, free_port};
use crate::workspace::{scratch, shared};

/// The load client, built.
pub(super) struct Load {
    folder: PathBuf,
}

impl Load {
    /// Builds the load client and its upstream.
    pub(super) fn build() -> anyhow::Result<Self> {
        let source = shared().context("../shared is absent, and the load client is there")?;
        // It is built from a copy: it comes without a lock file, and its folder may not be written to.
        let copy = scratch("mcp-load-source");
        copy_sources(&source.join("bench/mcp-load"), &copy)?;
        let target = scratch("mcp-load");
        let mut build = Command::new("cargo");
        build.args(["build", "--release", "--quiet", "--manifest-path"]);
        build.arg(copy.join("Cargo.toml")).arg("--target-dir").arg(&target);
        command::run(&mut build)?;
        Ok(Self { folder: target.join("release") })
    }

    /// Starts the upstream with so many generated tools beside its three.
    pub(super) fn upstream(&self, generated: u32) -> anyhow::Result<Server> {
        let port = free_port()?;
        let mut upstream = Command::new(self.folder.join("mcp-upstream"));
        upstream.args(["--listen", &format!("127.0.0.1:{port}"), "--tools", &generated.to_string()]);
        Server::start_on(upstream.stderr(std::process::Stdio::null()), port)
    }

    /// Runs the load client against an endpoint and gives the object that it prints.
    pub(super) fn ask(&self, verb: &str, url: &str, options: &[&str]) -> anyhow::Result<Value> {
        let mut client = Command::new(self.folder.join("mcp-load"));
        let text = command::output(client.args([verb, "--url", &format!("{url}/mcp")]).args(options))?;
        serde_json::from_str(&text).with_context(|| format!("the load client printed {text:?}"))
    }
}

/// Copies a package: its manifest and its sources.
fn copy_sources(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to.join("src"))?;
    // A workspace of its own, though it lies within ours.
    let manifest = fs::read_to_string(from.join("Cargo.toml"))?;
    fs::write(to.join("Cargo.toml"), format!("{manifest}\n[workspace]\n"))?;
    for entry in fs::read_dir(from.join("src"))? {
        copy_into(&entry?.path(), &to.join("src"))?;
    }
    Ok(())
}

fn copy_into(from: &Path, folder: &Path) -> anyhow::Result<()> {
    let to = folder.join(from.file_name().context("a folder entry has a name")?);
    if from.is_dir() {
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(from)? {
            copy_into(&entry?.path(), &to)?;
        }
    } else {
        fs::copy(from, &to)?;
    }
    Ok(())
}

/// The middle of some numbers; of an even count the upper one of the two.
pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
