//! `trunkline doctor`: looks for what is wrong and says how to mend it.

mod checks;

use std::path::PathBuf;

use serde::Serialize;

use super::output::{Format, print, print_data};
use super::stop::Stop;
use super::{OutputArgs, block_on};

/// Look for what is wrong, and say how to mend it.
#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    /// The configuration: a file or a folder.
    path: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warning,
    Failed,
}

/// A check.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: String,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
}

impl Check {
    fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Ok, detail: detail.into(), fix: String::new() }
    }

    fn warning(name: impl Into<String>, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, fix: fix.into(), ..Self::ok(name, detail) }
    }

    fn failed(name: impl Into<String>, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, fix: fix.into(), ..Self::ok(name, detail) }
    }
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

impl Doctor {
    pub(super) fn run(self) -> Result<(), Stop> {
        let checks = block_on(async { Ok(checks::all(self.path.as_deref()).await) })?;
        let report = Report { ok: checks.iter().all(|check| check.verdict != Verdict::Failed), checks };
        match self.output.output {
            Format::Table => print(&text(&report.checks))?,
            format => print_data(format, &report, |_| String::new())?,
        }
        if report.ok { Ok(()) } else { Err(Stop::Said) }
    }
}

fn text(checks: &[Check]) -> String {
    let mut out = String::new();
    for check in checks {
        let mark = match check.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warning => "note",
            Verdict::Failed => "FAIL",
        };
        let name = super::output::plain(&format!("{mark}  {}: {}", check.name, check.detail));
        out.push_str(name.trim_end());
        out.push('\n');
        if !check.fix.is_empty() {
            out.push_str(&super::output::plain(&format!("      fix: {}", check.fix)));
            out.push('\n');
        }
    }
    out
}
