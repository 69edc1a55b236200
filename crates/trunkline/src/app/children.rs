//! Helper processes that the configuration asks for: started before the services, ended with the gateway.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use indexmap::IndexMap;
use tokio::process::{Child, Command};
use trunkline_model::Secret;

use crate::config;

/// How long a helper may take until it answers.
const READY: Duration = Duration::from_secs(15);

/// Helpers that run. Each ends when this is dropped: its standard input closes, and then it is killed.
pub(super) struct Children {
    _running: Vec<Child>,
}

/// Starts the helpers and waits until each answers.
pub(super) async fn start(children: &IndexMap<String, config::Child>) -> anyhow::Result<Children> {
    let mut running = Vec::new();
    for (name, child) in children {
        running.push(spawn(name, child)?);
    }
    for (name, child) in children {
        let Some(url) = &child.ready_url else { continue };
        tokio::time::timeout(READY, ready(url)).await.with_context(|| {
            format!("the child {name:?} did not answer at {url} within {} s", READY.as_secs())
        })?;
    }
    Ok(Children { _running: running })
}

fn spawn(name: &str, child: &config::Child) -> anyhow::Result<Child> {
    let (program, arguments) =
        child.command.split_first().with_context(|| format!("the child {name:?} has no command"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    command.envs(child.env.iter().map(|(key, value): (&String, &Secret)| (key, value.expose())));
    if let Some(folder) = &child.cwd {
        command.current_dir(folder);
    }
    command.spawn().with_context(|| format!("the child {name:?} ({program}) can't be started"))
}

/// Waits until something accepts connections where the URL points.
async fn ready(url: &str) {
    let address = url::Url::parse(url)
        .ok()
        .and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
    let Some((host, port)) = address else { return };
    while tokio::net::TcpStream::connect((host.as_str(), port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
