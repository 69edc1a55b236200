//! The MCP conformance suite: against the gateway in front of our fixture server, and against the connector as a
//! client. A leg is full or has failed; there are no expected failures.

use std::fs;
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::command::run as run_command;
use crate::provide::{self, Npm};
use crate::report::{Outcome, Report};
use crate::server::{Server, gateway, gateway_config};
use crate::workspace::{binary, root, scratch};

/// One side and one revision of the protocol.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Leg {
    /// The gateway, revision 2025-11-25.
    #[value(name = "server-2025-11-25")]
    Server2025,
    /// The gateway, revision 2026-07-28.
    #[value(name = "server-2026-07-28")]
    Server2026,
    /// The connector, revision 2025-11-25.
    #[value(name = "client-2025-11-25")]
    Client2025,
    /// The connector, revision 2026-07-28.
    #[value(name = "client-2026-07-28")]
    Client2026,
}

/// Scenarios of the extension of tasks that pass, though the suite does not score them. One is left out:
/// `tasks-required-task-error` wants a client to be refused that does not follow tasks; the gateway follows them for it.
const TASKS: [&str; 8] = [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-mrtr-composition",
];

impl Leg {
    pub(crate) const ALL: [Self; 4] =
        [Self::Server2025, Self::Server2026, Self::Client2025, Self::Client2026];

    /// Side, revision, and how many scenarios the revision requires.
    fn parts(self) -> (&'static str, &'static str, usize) {
        match self {
            Self::Server2025 => ("server", "2025-11-25", 30),
            Self::Server2026 => ("server", "2026-07-28", 37),
            Self::Client2025 => ("client", "2025-11-25", 18),
            Self::Client2026 => ("client", "2026-07-28", 32),
        }
    }

    pub(crate) fn name(self) -> String {
        let (side, revision, _) = self.parts();
        format!("conformance {side} {revision}")
    }
}

/// The `conformance` task.
pub(crate) fn run(legs: &[Leg]) -> anyhow::Result<bool> {
    let npm = provide::npm()?;
    build()?;
    let mut report = Report::default();
    for &leg in if legs.is_empty() { &Leg::ALL } else { legs } {
        report.leg(&leg.name(), || run_leg(&npm, leg));
    }
    Ok(report.finish())
}

/// Builds the gateway, the fixture and the connector's test client.
pub(crate) fn build() -> anyhow::Result<()> {
    let bins = ["trunkline", "mcp-fixture", "mcp-conformance-client"];
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(["build", "--quiet", "--workspace"]);
    run_command(command.args(bins.iter().flat_map(|bin| ["--bin", bin])))
}

/// Runs the suite for one leg.
pub(crate) fn run_leg(npm: &Npm, leg: Leg) -> anyhow::Result<Outcome> {
    let (side, revision, required) = leg.parts();
    let results = scratch("conformance").join(format!("{side}-{revision}"));
    if results.exists() {
        fs::remove_dir_all(&results)?;
    }
    let mut suite = Command::new(npm.node());
    suite.env("PATH", npm.path()).arg(npm.file("@modelcontextprotocol/conformance/dist/index.js"));
    suite.arg(side).args(["--requirements", revision, "-o"]).arg(&results);
    let running = if side == "server" {
        let behind = Fixture::start()?;
        suite.args(["--url", &format!("{}/mcp", behind.gateway.url)]);
        Some(behind)
    } else {
        suite.arg("--command").arg(binary("debug", "mcp-conformance-client"));
        None
    };
    let text = output_even_if_failed(&mut suite)?;
    drop(running);
    let (mut passed, mut failed) = scored(&text);
    if passed.is_empty() && failed.is_empty() {
        println!("{text}");
        bail!("the suite printed no scenario");
    }
    let mut required = required;
    if matches!(leg, Leg::Server2026) {
        let (done, missed): (Vec<_>, Vec<_>) =
            TASKS.into_iter().partition(|name| not_scored(&text).contains(&(name, true)));
        passed.extend(done);
        failed.extend(missed);
        required += TASKS.len();
    }
    for name in &failed {
        println!("  FAILED {name}; see {}", results.display());
    }
    let missing = required.saturating_sub(passed.len() + failed.len());
    let failed = failed.len() + missing;
    Ok(Outcome { passed: passed.len(), failed, note: format!("{}/{required}", passed.len()) })
}

/// The suite ends with an error where a scenario failed; what it printed counts.
fn output_even_if_failed(command: &mut Command) -> anyhow::Result<String> {
    let output =
        command.stdin(std::process::Stdio::null()).output().context("can't run the conformance suite")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text + &String::from_utf8_lossy(&output.stderr))
}

/// The scenarios that count, passed and failed, as the summary of the suite lists them.
fn scored(text: &str) -> (Vec<&str>, Vec<&str>) {
    let summary = text.find("SUMMARY ===").map_or("", |start| &text[start..]);
    let counted = summary.split_once(NOT_SCORED).map_or(summary, |(counted, _)| counted);
    let unscored: Vec<_> = not_scored(text).into_iter().map(|(name, _)| name).collect();
    let rows = counted.lines().filter_map(scenario).filter(|(name, _)| !unscored.contains(name));
    let (passed, failed): (Vec<_>, Vec<_>) = rows.partition(|(_, passed)| *passed);
    (passed.into_iter().map(|row| row.0).collect(), failed.into_iter().map(|row| row.0).collect())
}

/// What the list begins with of the scenarios that do not count.
const NOT_SCORED: &str = "Not scored for";

/// The scenarios that do not count, each with whether it passed.
fn not_scored(text: &str) -> Vec<(&str, bool)> {
    let listed = text.split_once(NOT_SCORED).map_or("", |(_, listed)| listed);
    listed.lines().filter_map(scenario).collect()
}

/// The name in a line such as `✓ tools-list: 3 passed, 0 failed` or `  ✗ auth/dpop (extension)`, and its mark.
fn scenario(line: &str) -> Option<(&str, bool)> {
    let (mark, rest) = line.trim().split_once(' ')?;
    let passed = match mark {
        "✓" => true,
        "✗" => false,
        _ => return None,
    };
    let name = rest.split([':', ' ']).next()?;
    Some((name, passed))
}

/// The fixture server with the gateway in front of it. The gateway ends first.
struct Fixture {
    gateway: Server,
    _fixture: Server,
}

impl Fixture {
    fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(binary("debug", "mcp-fixture"));
        let fixture = Server::start(command.args(["--listen", "127.0.0.1:0"]))?;
        let services = format!("  fixture:\n    names: plain\n    mcp:\n      url: {}\n", fixture.url);
        let config = gateway_config("conformance", &services)?;
        let gateway = Server::start(&mut gateway("debug", &config)?)?;
        Ok(Self { gateway, _fixture: fixture })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_required_scenarios_count() {
        let text = "\
=== SUITE SUMMARY ===

✓ initialize: 1 passed, 0 failed
✗ auth/basic: 0 passed, 7 failed
✓ quiet: 0 passed, 0 failed
✗ auth/dpop: 0 passed, 3 failed

Total: 1 passed, 10 failed, 0 warnings

Not scored for 2025-11-25: 1 scenario(s) run, 1 failing. These do not affect conformance.
  ✗ auth/dpop (extension)
";
        assert_eq!(scored(text), (vec!["initialize", "quiet"], vec!["auth/basic"]));
        assert_eq!(not_scored(text), [("auth/dpop", false)]);
        assert_eq!(scored("it crashed"), (vec![], vec![]));
    }
}
