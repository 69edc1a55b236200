//! Servers that run beside a task: started on a free port, ended with their handle.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::command::{output, shown};
use crate::workspace;

/// How long a server may take to say where it listens.
const START: Duration = Duration::from_secs(30);

/// How long a server may take to end when it is asked to.
const STOP: Duration = Duration::from_secs(5);

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// Where it listens, as it said.
    pub(crate) url: String,
}

impl Server {
    /// Starts a server whose first line of output is `listening on URL`.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't run {}", shown(command)))?;
        let stdout = child.stdout.take().context("a piped output is there")?;
        let mut server = Self { child, url: String::new() };
        let (tell, first_line) = mpsc::channel();
        // A thread of its own reads on to the end, so that the server never waits for a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let line = first_line
            .recv_timeout(START)
            .with_context(|| format!("{} did not say where it listens", shown(command)))?;
        match line.strip_prefix("listening on ") {
            Some(url) => server.url = url.trim().to_owned(),
            None => bail!("{} said {line:?} in place of where it listens", shown(command)),
        }
        Ok(server)
    }

    /// Starts a server that says nothing and listens on `port`.
    pub(crate) fn start_on(command: &mut Command, port: u16) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("can't run {}", shown(command)))?;
        let server = Self { child, url: format!("http://127.0.0.1:{port}") };
        let end = Instant::now() + START;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > end {
                bail!("{} does not listen on port {port}", shown(command));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and makes it end.
    fn stop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // The shell has `kill` built in; not every machine has it as a program.
        let _ = output(Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]));
        let end = Instant::now() + STOP;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Writes a gateway configuration into an empty folder of its own, where its state goes too. `services` is YAML.
pub(crate) fn gateway_config(name: &str, services: &str) -> anyhow::Result<PathBuf> {
    let folder = workspace::scratch("run").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let file = folder.join("trunkline.yaml");
    let state = folder.join("state");
    // A load is the same call again and again.
    fs::write(
        &file,
        format!(
            "listen: 127.0.0.1:0\nloops: {{ calls: 0 }}\ndata_dir: {}\nservices:\n{services}",
            state.display()
        ),
    )?;
    Ok(file)
}

/// The command that runs the gateway with a configuration. Its log goes into the folder of the configuration.
pub(crate) fn gateway(profile: &str, config: &Path) -> anyhow::Result<Command> {
    let log = fs::File::create(config.with_extension("log"))?;
    let mut command = Command::new(workspace::binary(profile, "trunkline"));
    command.arg("up").arg(config).stderr(log);
    Ok(command)
}
