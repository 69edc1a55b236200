//! The console in a real browser: Debian's Chromium, driven by `playwright-core`, with a gateway, the shop and a service
//! that means harm behind it. Screenshots of all pages are left in the folder `xtask/screenshots` of the build output.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::clients::counts;
use crate::command::watch;
use crate::conformance::build;
use crate::provide::{self, Npm};
use crate::report::{Outcome, Report};
use crate::workspace::{binary, root, scratch, which};

/// Brings what is needed and looks at every page.
pub(crate) fn run() -> anyhow::Result<bool> {
    let mut report = Report::default();
    provide::programs()?;
    let npm = provide::npm()?;
    build()?;
    report.leg("browser", || leg(&npm));
    Ok(report.finish())
}

/// Looks at every page. A browser that can't be started is a failure, one that is not installed is missing.
pub(crate) fn leg(npm: &Npm) -> anyhow::Result<Outcome> {
    let Some(chromium) = which("chromium") else {
        return Ok(Outcome::missing("chromium is not installed"));
    };
    let (folder, shots) = (scratch("run").join("browser"), scratch("screenshots"));
    for folder in [&folder, &shots] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
    }
    let what = json!({
        "trunkline": binary("debug", "trunkline"), "folder": folder, "shots": shots, "chromium": chromium,
        "documents": root().join("examples/shop/openapi"),
    });
    let mut client = Command::new(npm.node());
    client.arg(root().join("xtask/clients/browser/main.mjs")).arg(what.to_string()).current_dir(npm.folder());
    let (lines, succeeded) = watch(&mut client)?;
    let (passed, failed) = lines.last().and_then(|line| counts(line)).unwrap_or((0, 1));
    let note = format!("screenshots: {}", shots.display());
    Ok(Outcome { passed, failed: failed.max(usize::from(!succeeded)), note })
}
