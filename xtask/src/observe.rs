//! What operators see, looked at by programs of others: `promtool` reads our rules and our exposition, a receiver on
//! Python's `opentelemetry-proto` our spans.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::json;

use crate::clients::counts;
use crate::command::{output, watch};
use crate::report::Outcome;
use crate::server::{Server, gateway, gateway_config};
use crate::workspace::{binary, root, scratch};

/// A service behind the gateway, with a name that means to break lines.
const SERVICES: &str = "  tools:
    process:
      tools:
        version: {description: Says its version., argv: [git, --version], effects: {read_only: true}}
        fails: {description: Fails., argv: [git, nothing], effects: {read_only: true}}
";

/// `promtool` on the rules that are shipped, and on what a gateway exposes after some calls.
pub(crate) fn promtool() -> anyhow::Result<Outcome> {
    if crate::workspace::which("promtool").is_none() {
        return Ok(Outcome::missing("promtool (Debian package prometheus) is not installed"));
    }
    let rules = root().join("crates/telemetry/rules/trunkline.rules.yaml");
    let mut check = Command::new("promtool");
    output(check.args(["check", "rules"]).arg(&rules)).context("the shipped rules")?;
    let config = gateway_config("promtool", SERVICES)?;
    let server = Server::start(&mut gateway("debug", &config)?)?;
    let curl = |path: &str, more: &[&str]| {
        let url = format!("{}{path}", server.url);
        output(Command::new("curl").args(["--silent", "--show-error"]).args(more).arg(url))
    };
    curl("/readyz", &["--retry", "20", "--retry-all-errors", "--fail", "--retry-delay", "1"])?;
    for tool in ["tools__version", "tools__fails", "nothing%22%5C%7B"] {
        curl(&format!("/v1/tools/{tool}:call"), &["--data", "{}"])?;
    }
    curl("/v1/discover", &["--data", "{\"capability\": \"x\"}"])?;
    let text = curl("/metrics", &[])?;
    let served = curl("/v1/alerts/rules.yaml", &[])?;
    drop(server);
    let file = config.with_file_name("metrics.txt");
    fs::write(&file, &text)?;
    let mut check = Command::new("promtool");
    let checked = check.args(["check", "metrics"]).stdin(Stdio::from(fs::File::open(&file)?)).output()?;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    print!("{said}");
    let same = served == fs::read_to_string(&rules)?;
    let good =
        [checked.status.success() && said.trim().is_empty(), same, text.contains("trunkline_calls_total")];
    let passed = good.iter().filter(|good| **good).count() + 1;
    Ok(Outcome { passed, failed: good.len() + 1 - passed, note: String::new() })
}

/// One trace through everything, received by a program in Python.
pub(crate) fn otlp(python: &Path) -> anyhow::Result<Outcome> {
    let folder = scratch("run").join("otlp");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let what = json!({
        "trunkline": binary("debug", "trunkline"), "folder": folder, "documents": root().join("examples/shop/openapi"),
    });
    let mut client = Command::new(python);
    client.arg(root().join("xtask/clients/otlp.py")).arg(what.to_string());
    let (lines, succeeded) = watch(&mut client)?;
    let (passed, failed) = lines.last().and_then(|line| counts(line)).unwrap_or((0, 1));
    Ok(Outcome { passed, failed: failed.max(usize::from(!succeeded)), note: String::new() })
}
