//! Restate, started beside the handlers that do what our flows do.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;

use super::super::line::{Ask, Line};
use super::service::Service;
use crate::provide;
use crate::server::{Server, free_port};
use crate::workspace::{root, scratch};

/// How long it may take to come up.
const START: Duration = Duration::from_secs(60);

/// Restate with our handlers.
pub(super) struct Restate {
    npm: provide::Npm,
    config: std::path::PathBuf,
    pub(super) ingress: u16,
    admin: u16,
    server: Option<Server>,
    _handlers: Server,
}

impl Restate {
    /// Brings it and starts it.
    pub(super) fn start(service: &Service) -> anyhow::Result<Self> {
        let npm = provide::npm_of("npm-restate")?;
        let folder = scratch("run").join("restate");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let (ingress, admin, node, handlers) = (free_port()?, free_port()?, free_port()?, free_port()?);
        let config = folder.join("restate.toml");
        let text = format!(
            "base-dir = \"{}\"\nbind-ip = \"127.0.0.1\"\nbind-port = {node}\ndisable-telemetry = true\nlog-filter = \"warn\"\n\
             [ingress]\nbind-port = {ingress}\n[admin]\nbind-port = {admin}\n",
            folder.join("data").display()
        );
        fs::write(&config, text)?;
        // Beside its packages, so that it finds them.
        let program = npm.folder().join("handlers.mjs");
        fs::copy(root().join("xtask/npm-restate/handlers.mjs"), &program)?;
        let mut command = Command::new(npm.node());
        command.arg(program).env("PORT", handlers.to_string()).env("SERVICE", service.port.to_string());
        let _handlers =
            Server::start_on(command.stderr(fs::File::create(folder.join("handlers.log"))?), handlers)?;
        let mut restate = Self { npm, config, ingress, admin, server: None, _handlers };
        restate.again()?;
        let ask = restate.ask_admin("/deployments", &json!({"uri": format!("http://127.0.0.1:{handlers}")}));
        let end = Instant::now() + START;
        while let Err(error) = Line::open(restate.admin).and_then(|mut line| line.post(&ask)) {
            if Instant::now() > end {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if !restate.is_ready(START) {
            bail!("Restate does not take calls");
        }
        Ok(restate)
    }

    /// Starts the server (once more) on its data.
    pub(super) fn again(&mut self) -> anyhow::Result<()> {
        let program = self.npm.file("@restatedev/restate-server-linux-x64/bin/restate-server");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.config.with_extension("log"))?;
        let mut command = Command::new(program);
        command.args(["--listen-mode", "tcp", "--no-logo", "--config-file"]).arg(&self.config).stderr(log);
        self.server = Some(Server::start_on(&mut command, self.admin)?);
        Ok(())
    }

    /// Kills the server.
    pub(super) fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    fn is_ready(&self, patience: Duration) -> bool {
        let ask = self.ask("one", "{}".to_owned());
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if Line::open(self.ingress).and_then(|mut line| line.post(&ask)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// A call of a handler that waits for its end.
    pub(super) fn ask(&self, handler: &str, body: String) -> Ask {
        Ask { port: self.ingress, path: format!("/bench/{handler}"), headers: "", body, expect: "\"ended\"" }
    }

    /// A call of a handler that does not wait.
    pub(super) fn send(&self, handler: &str, body: String) -> Ask {
        Ask { path: format!("/bench/{handler}/send"), expect: "", ..self.ask(handler, body) }
    }

    fn ask_admin(&self, path: &str, body: &serde_json::Value) -> Ask {
        Ask { port: self.admin, path: path.to_owned(), headers: "", body: body.to_string(), expect: "" }
    }
}
