//! Clients that others wrote, through the gateway: the Python and TypeScript SDKs, over HTTP and stdio, in both eras
//! of the protocol, with server-everything and server-filesystem behind it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::command::watch;
use crate::provide::Npm;
use crate::report::Outcome;
use crate::server::{Server, gateway, gateway_config};
use crate::workspace::{binary, root, scratch};

/// The revision of the newer era.
const MODERN: &str = "2026-07-28";

/// Which client speaks which era how.
pub(crate) struct Leg {
    sdk: Sdk,
    era: &'static str,
    over: Over,
}

#[derive(Clone, Copy, PartialEq)]
enum Sdk {
    Python,
    /// The first line of the TypeScript SDK, which knows only the older era.
    TypeScript1,
    TypeScript2,
}

#[derive(Clone, Copy)]
enum Over {
    Http,
    Stdio,
}

impl Leg {
    /// Every SDK over every transport in every era that it knows.
    pub(crate) fn all() -> Vec<Self> {
        let mut legs = Vec::new();
        for sdk in [Sdk::Python, Sdk::TypeScript1, Sdk::TypeScript2] {
            for era in ["legacy", MODERN] {
                if sdk != Sdk::TypeScript1 || era != MODERN {
                    legs.extend([Over::Http, Over::Stdio].map(|over| Self { sdk, era, over }));
                }
            }
        }
        legs
    }

    pub(crate) fn name(&self) -> String {
        let sdk = match self.sdk {
            Sdk::Python => "python",
            Sdk::TypeScript1 => "typescript v1",
            Sdk::TypeScript2 => "typescript v2",
        };
        let over = match self.over {
            Over::Http => "http",
            Over::Stdio => "stdio",
        };
        format!("{sdk} {} {over}", self.era)
    }

    /// Runs the checks of one client.
    pub(crate) fn run(&self, npm: &Npm, python: &Path) -> anyhow::Result<Outcome> {
        let name = self.name().replace(' ', "-");
        let files = scratch("run").join(format!("{name}-files"));
        fs::create_dir_all(&files)?;
        let config = gateway_config(&name, &services(npm, &files))?;
        let mut what = json!({"era": self.era, "folder": files});
        let running = match self.over {
            Over::Http => {
                let server = Server::start(&mut gateway("debug", &config)?)?;
                what["url"] = json!(format!("{}/mcp", server.url));
                Some(server)
            }
            Over::Stdio => {
                let trunkline = binary("debug", "trunkline");
                what["command"] = json!([trunkline, "stdio", config]);
                None
            }
        };
        let mut client = match self.sdk {
            Sdk::Python => {
                let mut client = Command::new(python);
                client.arg(root().join("xtask/clients/client.py"));
                client
            }
            Sdk::TypeScript1 | Sdk::TypeScript2 => {
                what["sdk"] = json!(if self.sdk == Sdk::TypeScript1 { "v1" } else { "v2" });
                let mut client = Command::new(npm.node());
                client.arg(root().join("xtask/clients/client.mjs"));
                client
            }
        };
        client.arg(what.to_string()).current_dir(npm.folder());
        let (lines, succeeded) = watch(&mut client)?;
        drop(running);
        let (passed, failed) = lines.last().and_then(|line| counts(line)).unwrap_or((0, 1));
        // A client that dies at its end has failed too.
        let failed = failed.max(usize::from(!succeeded));
        Ok(Outcome { passed, failed, note: String::new() })
    }
}

/// The two servers behind the gateway, as a piece of configuration.
fn services(npm: &Npm, files: &Path) -> String {
    let server = |name: &str| -> PathBuf { npm.file(&format!("@modelcontextprotocol/{name}/dist/index.js")) };
    let everything = json!([npm.node(), server("server-everything"), "stdio"]);
    let filesystem = json!([npm.node(), server("server-filesystem"), files]);
    format!(
        "  everything:\n    mcp:\n      command: {everything}\n  files:\n    mcp:\n      command: {filesystem}\n"
    )
}

/// The numbers in `N passed, N failed`.
pub(crate) fn counts(line: &str) -> Option<(usize, usize)> {
    let (passed, failed) = line.trim().strip_suffix(" failed")?.split_once(" passed, ")?;
    Some((passed.parse().ok()?, failed.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_client_is_read() {
        assert_eq!(counts("11 passed, 2 failed"), Some((11, 2)));
        assert_eq!(counts("Traceback"), None);
    }

    #[test]
    fn every_sdk_is_run_over_every_transport_in_every_era_it_knows() {
        assert_eq!(Leg::all().len(), 10);
    }
}
