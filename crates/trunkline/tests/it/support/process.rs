//! Processes of a test: the gateway and servers behind it. Each ends with its owner.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::http::{self, Reply};
use super::{eventually, within};

/// The binary under test.
pub(crate) const TRUNKLINE: &str = env!("CARGO_BIN_EXE_trunkline");

/// The fixture server's binary, built once for all tests.
pub(crate) fn fixture_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let folder = Path::new(TRUNKLINE).parent().unwrap();
        let profile = match folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let built = std::process::Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "mcp-fixture", "--profile", profile, "--target-dir"])
            .arg(folder.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(built.success(), "the fixture server can't be built");
        folder.join("mcp-fixture")
    })
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A process that says on its first line where it listens.
pub(crate) struct Listening {
    child: Child,
    /// Kept open: who writes to a closed pipe may die of it.
    _stdout: Lines<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl Listening {
    pub(crate) async fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within("the first line", stdout.next_line()).await.unwrap();
        let line = line.expect("the process says where it listens");
        let url = line.strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}"));
        let address = url.trim_end_matches("/mcp").parse().unwrap();
        Self { child, _stdout: stdout, address }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Ends it without a word.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A fixture server over HTTP.
pub(crate) async fn fixture(arguments: &[&str]) -> Listening {
    fixture_at("127.0.0.1:0".parse().unwrap(), arguments).await
}

/// A fixture server over HTTP at this address.
pub(crate) async fn fixture_at(address: SocketAddr, arguments: &[&str]) -> Listening {
    let mut command = Command::new(fixture_binary());
    command.args(["--listen", &address.to_string()]).args(arguments);
    Listening::start(&mut command).await
}

/// A fault proxy before a service, with this script.
pub(crate) async fn chaos(to: &str, script: &str) -> Listening {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chaos.yaml");
    std::fs::write(&file, script).unwrap();
    let mut command = Command::new(TRUNKLINE);
    command.args(["chaos", "--to", to, "--script"]).arg(file).stderr(Stdio::null());
    // It has read its script when it says where it listens.
    Listening::start(&mut command).await
}

/// A service of the configuration: a fixture server over HTTP.
pub(crate) fn over_http(name: &str, server: &Listening) -> String {
    format!("  {name}: {{ mcp: {{ url: \"http://{}/mcp\" }} }}\n", server.address)
}

/// A service of the configuration: a fixture server as a child.
pub(crate) fn as_child(name: &str, arguments: &[&str]) -> String {
    let mut command = vec![fixture_binary().to_str().unwrap(), "--stdio"];
    command.extend(arguments);
    format!("  {name}: {{ mcp: {{ command: {} }} }}\n", serde_json::to_string(&command).unwrap())
}

/// The gateway.
pub(crate) struct Gateway {
    pub(crate) folder: TempDir,
    process: Option<Listening>,
    pub(crate) address: SocketAddr,
    /// The API key that requests by this show.
    pub(crate) key: &'static str,
}

impl Gateway {
    /// Starts the gateway on a free port with this configuration, and waits for its services.
    pub(crate) async fn start(config: &str) -> Self {
        let gateway = Self::begin(config).await;
        gateway.ready().await;
        gateway
    }

    /// Starts the gateway and does not wait for its services.
    pub(crate) async fn begin(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let mut gateway = Self { folder, process: None, address, key: "" };
        gateway.configure(config);
        gateway.run().await;
        gateway
    }

    /// Writes the configuration, whole or not at all.
    pub(crate) fn configure(&self, config: &str) {
        let data = self.folder.path().join("data");
        let text = format!("data_dir: {}\n{config}", data.display());
        std::fs::write(self.folder.path().join("next"), text).unwrap();
        std::fs::rename(self.folder.path().join("next"), self.folder.path().join("trunkline.yaml")).unwrap();
    }

    async fn run(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = Command::new(TRUNKLINE);
        command.args(["up", "--listen", &self.address.to_string()]).arg(self.folder.path()).stderr(log);
        let process = Listening::start(&mut command).await;
        self.address = process.address;
        self.process = Some(process);
    }

    /// Starts it again on the same port and data, and waits for its services.
    pub(crate) async fn start_again(&mut self) {
        self.run().await;
        self.ready().await;
    }

    /// Ends it without a word (SIGKILL).
    pub(crate) async fn kill(&mut self) {
        self.process.take().unwrap().kill().await;
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        signal(process.pid(), Signal::TERM);
        within("the end of the gateway", process.child.wait()).await.unwrap()
    }

    /// Waits until every service is up.
    pub(crate) async fn ready(&self) {
        eventually("all services are up", async || {
            let reply = http::get(self.address, "/readyz").await;
            let health: Value = reply.json().await;
            (health["status"] == "ok" && health["services_up"] == health["services"]).then_some(())
        })
        .await;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().pid()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("stderr.log")
    }

    /// What it has said on standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A figure of `/proc/PID/status` in KiB.
    pub(crate) fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        http::send(self.address, "GET", path, &[("x-api-key", self.key)], "").await
    }

    pub(crate) async fn get_accepting(&self, path: &str, kind: &str) -> Reply {
        let headers = [("x-api-key", self.key), ("accept", kind)];
        http::send(self.address, "GET", path, &headers, "").await
    }

    /// Calls a tool by the HTTP door.
    pub(crate) async fn call(&self, tool: &str, arguments: &Value, headers: &[(&str, &str)]) -> Reply {
        let path = format!("/v1/tools/{tool}:call");
        let mut all = vec![("x-api-key", self.key)];
        all.extend(headers);
        http::post(self.address, &path, &all, arguments.to_string()).await
    }

    /// The events of a type, as `/v1/events` has them.
    pub(crate) async fn events(&self, kind: &str) -> Vec<Value> {
        let page: Value = self.get(&format!("/v1/events?from=1&limit=1000&type={kind}")).await.json().await;
        page["events"].as_array().unwrap().clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("what the gateway said:\n{log}");
        } else {
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}
