//! Clients that others wrote against the stand-in for a Consul agent, so that what our own connector is tested with is what
//! Consul is: npm `consul`, with the shapes of `@hashicorp/consul-api-double`, and Debian's `python3-consul`.

use std::process::Command;

use serde_json::json;

use crate::clients::counts;
use crate::command::{run, watch};
use crate::provide::{self, Npm};
use crate::report::Outcome;
use crate::server::Server;
use crate::workspace::{binary, root};

/// The Python that Debian's packages are for.
const PYTHON: &str = "/usr/bin/python3";

/// Which client.
#[derive(Clone, Copy)]
pub(crate) enum Leg {
    Npm,
    Python,
}

impl Leg {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Npm, Self::Python];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Npm => "consul npm",
            Self::Python => "consul python",
        }
    }

    /// Runs the checks of one client.
    pub(crate) fn run(self, npm: &Npm) -> anyhow::Result<Outcome> {
        run(Command::new("cargo").current_dir(root()).args([
            "build",
            "--quiet",
            "--package",
            "consul-stand-in",
        ]))?;
        let server = Server::start(&mut Command::new(binary("debug", "consul-stand-in")))?;
        let what = json!({"url": server.url, "folder": npm.folder()}).to_string();
        let clients = root().join("xtask/clients");
        let mut client = match self {
            Self::Npm => {
                let mut client = Command::new(npm.node());
                client.arg(clients.join("registry.mjs"));
                client
            }
            Self::Python => {
                if let Err(error) = provide::python_module(PYTHON, "consul", "python3-consul") {
                    return Ok(Outcome::missing(format!("{error:#}")));
                }
                let mut client = Command::new(PYTHON);
                client.arg(clients.join("registry.py"));
                client
            }
        };
        let (lines, succeeded) = watch(client.arg(what))?;
        drop(server);
        let (passed, failed) = lines.last().and_then(|line| counts(line)).unwrap_or((0, 1));
        Ok(Outcome { passed, failed: failed.max(usize::from(!succeeded)), note: String::new() })
    }
}
