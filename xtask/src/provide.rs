//! Brings what tests need, once for each version of the lock files: Debian packages, npm packages, a Python venv.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::command::{output, run};
use crate::workspace::{path_with, root, scratch, which};

/// Programs that tests run, with the Debian package of each.
const PROGRAMS: [(&str, &str); 9] = [
    ("git", "git"),
    ("strace", "strace"),
    ("npm", "npm"),
    ("node", "nodejs"),
    ("python3", "python3"),
    ("dnsmasq", "dnsmasq-base"),
    ("promtool", "prometheus"),
    ("curl", "curl"),
    ("chromium", "chromium"),
];

/// The line of Node that the conformance suite needs.
const NODE: &str = "v22.";

/// What npm brings: Node 22, the conformance suite, SDKs and servers.
pub(crate) struct Npm {
    folder: PathBuf,
}

impl Npm {
    /// Where the packages are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The Node that comes with the packages.
    pub(crate) fn node(&self) -> PathBuf {
        self.bin().join("node")
    }

    /// A file of a package.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.folder.join("node_modules").join(path)
    }

    /// The search path with the Node that comes with the packages first.
    pub(crate) fn path(&self) -> std::ffi::OsString {
        path_with(&self.bin())
    }

    fn bin(&self) -> PathBuf {
        self.folder.join("node_modules/.bin")
    }
}

/// Installs what is missing of the programs that tests run, where this is root on Debian.
pub(crate) fn programs() -> anyhow::Result<()> {
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|(program, _)| which(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    install(&packages).with_context(|| format!("install {}", packages.join(", ")))
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let is_root = output(Command::new("id").arg("-u"))?.trim() == "0";
    if !is_root || which("apt-get").is_none() {
        bail!("this is not root on Debian, so it has to be done by hand");
    }
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    run(command.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
}

/// Installs a module of Debian's Python where it is missing.
pub(crate) fn python_module(python: &str, module: &str, package: &str) -> anyhow::Result<()> {
    let there = || output(Command::new(python).args(["-c", &format!("import {module}")]));
    if there().is_err() {
        install(&[package])?;
        there()?;
    }
    Ok(())
}

/// The npm packages of `xtask/npm`.
pub(crate) fn npm() -> anyhow::Result<Npm> {
    npm_of("npm")
}

/// The npm packages of a folder of `xtask`.
pub(crate) fn npm_of(name: &str) -> anyhow::Result<Npm> {
    let source = root().join("xtask").join(name);
    let npm = Npm { folder: scratch(name) };
    let manifest = fs::read_to_string(source.join("package.json"))?;
    let lock = fs::read_to_string(source.join("package-lock.json"))?;
    once(&npm.folder, &format!("{manifest}{lock}"), || {
        fs::write(npm.folder.join("package.json"), &manifest)?;
        fs::write(npm.folder.join("package-lock.json"), &lock)?;
        let quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
        run(Command::new("npm").arg("ci").args(quiet).current_dir(&npm.folder))?;
        let version = || output(Command::new(npm.node()).arg("--version"));
        if !version().is_ok_and(|version| version.starts_with(NODE)) {
            // Some versions and settings of npm do not run install scripts; this is the one of `node`.
            let package = npm.file("node");
            run(Command::new("node").arg("installArchSpecificPackage").current_dir(package))?;
        }
        let version = version()?;
        if !version.starts_with(NODE) {
            bail!("the package node gave {} in place of {NODE}x", version.trim());
        }
        Ok(())
    })?;
    Ok(npm)
}

/// The Python of a venv with the packages of `xtask/python`.
pub(crate) fn python() -> anyhow::Result<PathBuf> {
    let folder = scratch("venv");
    let requirements = root().join("xtask/python/requirements.txt");
    let python = folder.join("bin/python");
    once(&folder, &fs::read_to_string(&requirements)?, || {
        let create = || output(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        if create().is_err() {
            // Debian keeps what venv needs in a package of its own.
            install(&["python3-venv"])?;
            create()?;
        }
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        run(Command::new(&python).args(pip).arg(&requirements))
    })?;
    Ok(python)
}

/// Fills a folder anew unless it was filled for the same `lock` before.
fn once(folder: &Path, lock: &str, fill: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let stamp = folder.join(".filled-for");
    if fs::read_to_string(&stamp).is_ok_and(|filled_for| filled_for == lock) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    fill()?;
    Ok(fs::write(stamp, lock)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_filled_once_for_each_lock() {
        let folder = scratch("test-once");
        let _ = fs::remove_dir_all(&folder);
        let mut filled = 0;
        for lock in ["a", "a", "b", "b"] {
            once(&folder, lock, || {
                filled += 1;
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(filled, 2);
        assert!(once(&folder, "c", || bail!("no network")).is_err());
        once(&folder, "c", || {
            filled += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(filled, 3, "a failed attempt does not count");
        fs::remove_dir_all(&folder).unwrap();
    }
}
