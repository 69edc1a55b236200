//! The `test` task: brings what tests need and runs all of them.

use std::process::Command;

use crate::command::watch;
use crate::provide::{self, Npm};
use crate::report::{Outcome, Report};
use crate::workspace::{root, shared};
use crate::{browser, clients, conformance, crash, ctk, observe, registry};

/// Runs every leg.
pub(crate) fn run() -> anyhow::Result<bool> {
    let mut report = Report::default();
    let mut npm = None;
    let mut python = None;
    report.leg("programs", || match provide::programs() {
        Ok(()) => Ok(Outcome::passed("git, strace, npm, node, python3, dnsmasq, promtool, curl, chromium")),
        Err(error) => Ok(Outcome::missing(format!("{error:#}"))),
    });
    report.leg("npm packages", || brought(provide::npm(), &mut npm));
    report.leg("python packages", || brought(provide::python(), &mut python));
    report.leg("../shared", || {
        Ok(match shared() {
            Some(_) => Outcome::passed("its documents and data are tested with"),
            None => Outcome::missing("the folder is absent; tests that read it skip themselves"),
        })
    });
    report.leg("cargo test", || cargo_test(npm.as_ref()));
    report.leg("workflow test kit", ctk::leg);
    report.leg("crash", crash::leg);
    let mut built = false;
    report.leg("binaries", || {
        conformance::build()?;
        built = true;
        Ok(Outcome::passed("trunkline, mcp-fixture, mcp-conformance-client"))
    });
    for leg in conformance::Leg::ALL {
        report.leg(&leg.name(), || match &npm {
            Some(npm) if built => conformance::run_leg(npm, leg),
            _ => Ok(Outcome::missing("npm packages or binaries are missing")),
        });
    }
    for leg in clients::Leg::all() {
        report.leg(&leg.name(), || match (&npm, &python) {
            (Some(npm), Some(python)) if built => leg.run(npm, python),
            _ => Ok(Outcome::missing("npm packages, python packages or binaries are missing")),
        });
    }
    for leg in registry::Leg::ALL {
        report.leg(leg.name(), || match &npm {
            Some(npm) => leg.run(npm),
            _ => Ok(Outcome::missing("npm packages are missing")),
        });
    }
    report.leg("promtool", || {
        if built { observe::promtool() } else { Ok(Outcome::missing("binaries are missing")) }
    });
    report.leg("otlp python", || match &python {
        Some(python) if built => observe::otlp(python),
        _ => Ok(Outcome::missing("python packages or binaries are missing")),
    });
    report.leg("browser", || match &npm {
        Some(npm) if built => browser::leg(npm),
        _ => Ok(Outcome::missing("npm packages or binaries are missing")),
    });
    Ok(report.finish())
}

/// Keeps what was brought, or says why it was not.
fn brought<T>(result: anyhow::Result<T>, keep: &mut Option<T>) -> anyhow::Result<Outcome> {
    Ok(match result {
        Ok(what) => {
            *keep = Some(what);
            Outcome::passed("")
        }
        Err(error) => Outcome::missing(format!("{error:#}")),
    })
}

/// Every test of the workspace: those of the crates, of the examples, and those of the house in `xtask/tests`.
fn cargo_test(npm: Option<&Npm>) -> anyhow::Result<Outcome> {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(["test", "--workspace", "--no-fail-fast"]);
    if let Some(npm) = npm {
        command.env("PATH", npm.path());
    }
    let (lines, succeeded) = watch(&mut command)?;
    let (passed, failed) = lines
        .iter()
        .filter_map(|line| closing_line(line))
        .fold((0, 0), |sum, line| (sum.0 + line.0, sum.1 + line.1));
    let note = if succeeded { "" } else { "cargo test failed" };
    // What does not compile or dies prints no closing line.
    Ok(Outcome { passed, failed: failed.max(usize::from(!succeeded)), note: note.to_owned() })
}

/// The numbers in `test result: ok. 12 passed; 0 failed; …`.
fn closing_line(line: &str) -> Option<(usize, usize)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut numbers = counts.split("; ").filter_map(|part| part.split(' ').next()?.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_of_cargo_test_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(closing_line(line), Some((12, 3)));
        assert_eq!(closing_line("test tidy ... ok"), None);
    }
}
