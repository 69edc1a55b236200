//! The checks of the doctor, each for itself: one that fails keeps no other from being made.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::Check;
use crate::cli::client::{Client, address_to_ask};
use crate::cli::output::short;
use crate::cli::stop::Stop;
use crate::config::{self, Flags, Level, Loaded, Service, is_url};

/// How long a connection to a service may take.
const CONNECT: Duration = Duration::from_secs(3);

/// A moment that lies in the past of every machine whose clock is right: 2026-01-01.
const PAST: Duration = Duration::from_secs(1_767_225_600);

/// Makes every check.
pub(super) async fn all(path: Option<&Path>) -> Vec<Check> {
    let mut checks = Vec::new();
    let here = std::env::current_dir().unwrap_or_default();
    let env = |name: &str| std::env::var(name).ok();
    checks.push(clock());
    let loaded = match config::load_or_default(path, &here, &env, &Flags::default()) {
        Ok(loaded) => loaded,
        Err(findings) => {
            for finding in findings.iter().filter(|finding| finding.level == Level::Error) {
                let mut shown = finding.clone();
                let fix = std::mem::take(&mut shown.fix);
                checks.push(Check::failed("configuration", shown.to_string(), fix));
            }
            return checks;
        }
    };
    checks.push(match &loaded.file {
        Some(file) => Check::ok("configuration", file.display().to_string()),
        None => Check::warning("configuration", "there is none here", "Write one with `trunkline init`."),
    });
    for remark in &loaded.remarks {
        checks.push(Check::warning(
            "configuration",
            format!("{}: {}", remark.path, remark.message),
            &remark.fix,
        ));
    }
    let mut running = None;
    for address in &loaded.listen {
        let (check, client) = port(*address).await;
        checks.push(check);
        running = running.or(client);
    }
    checks.push(data_dir(&loaded.config.data_dir));
    services(&loaded, running.as_ref(), &mut checks).await;
    if let Some(client) = &running {
        checks.extend(encoder(client).await);
    }
    checks.push(claude_code(&loaded));
    checks
}

/// TLS certificates and identifiers need the right time.
fn clock() -> Check {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(now) if now >= PAST => Check::ok("clock", "plausible"),
        _ => Check::failed(
            "clock",
            "the clock is years behind: TLS will fail",
            "Set the clock, best by NTP (`timedatectl set-ntp true`).",
        ),
    }
}

/// The port is free, or ours.
async fn port(address: SocketAddr) -> (Check, Option<Client>) {
    let name = format!("listen {address}");
    match TcpListener::bind(address).await {
        Ok(_) => (Check::ok(name, "free; no gateway is running"), None),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let url = Url::parse(&address_to_ask(address)).ok();
            let Some(client) = url.map(|url| Client::new(url, crate::cli::env("TRUNKLINE_API_KEY"))) else {
                return (Check::failed(name, "in use", "Listen on another port."), None);
            };
            match tokio::time::timeout(CONNECT, client.get::<Value>(&["v1", "services"], &[])).await {
                Ok(Ok(answer)) if answer["services"].is_array() => {
                    (Check::ok(name, "a gateway is running"), Some(client))
                }
                Ok(Err(Stop::Problem(problem))) => (
                    Check::warning(
                        name,
                        format!("something answers with HTTP {}; it may be a gateway", problem.status),
                        "Set TRUNKLINE_API_KEY where it is one.",
                    ),
                    None,
                ),
                _ => (
                    Check::failed(
                        name,
                        "another program uses the port",
                        "Stop it, or set another listen in the configuration.",
                    ),
                    None,
                ),
            }
        }
        Err(error) => (
            Check::failed(
                name,
                error.to_string(),
                "Listen on an address of this machine and a port above 1023.",
            ),
            None,
        ),
    }
}

/// The record can be written.
fn data_dir(folder: &Path) -> Check {
    let name = format!("data folder {}", folder.display());
    let mut nearest = folder;
    while !nearest.exists() {
        match nearest.parent() {
            Some(parent) => nearest = parent,
            None => break,
        }
    }
    let probe = nearest.join(format!(".trunkline-doctor-{}", std::process::id()));
    match fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)) {
        Ok(()) if nearest == folder => Check::ok(name, "can be written"),
        Ok(()) => Check::ok(name, "will be made"),
        Err(error) => Check::failed(name, error.to_string(), "Make it writable, or set another data_dir."),
    }
}

/// Each service, as the running gateway sees it; without one, whether it can be reached at all.
async fn services(loaded: &Loaded, running: Option<&Client>, checks: &mut Vec<Check>) {
    let answer = match running {
        Some(client) => client.get::<Value>(&["v1", "services"], &[]).await.ok(),
        None => None,
    };
    let known = answer.as_ref().and_then(|answer| answer["services"].as_array());
    for (id, service) in loaded.config.services.iter().filter(|(_, service)| service.is_enabled()) {
        let name = format!("service {id}");
        let live = known.and_then(|known| known.iter().find(|service| service["id"] == id.as_str()));
        checks.push(match live {
            Some(service) => live_service(name, service),
            None if running.is_some() => Check::warning(
                name,
                "the running gateway does not have it",
                "Start the gateway with this configuration.",
            ),
            None => reachable(name, service).await,
        });
    }
}

/// What the running gateway says of its encoder, where that fails.
async fn encoder(client: &Client) -> Option<Check> {
    let health: Value = client.get(&["readyz"], &[]).await.ok()?;
    let why = health["encoder_failing"].as_str()?;
    let fix = "Look at search.embeddings and its endpoint; until then tools are found without it.";
    Some(Check::warning("encoder", why, fix))
}

fn live_service(name: String, service: &Value) -> Check {
    let text = |key: &str| service[key].as_str().unwrap_or_default();
    let out = |instance: &&Value| instance["healthy"] == false;
    if let Some(instance) = service["instances"].as_array().and_then(|all| all.iter().find(out))
        && text("state") == "up"
    {
        let part = |key: &str| instance[key].as_str().unwrap_or_default();
        let detail = format!("up, but no calls go to its instance {}: {}", part("url"), part("cause"));
        return Check::warning(name, detail, "Calls go to the others; mend what the cause names.");
    }
    if text("state") == "up" {
        return Check::ok(name, format!("up, {}, {} tools", text("protocol"), service["tools"]));
    }
    let last = service["stderr"].as_array().and_then(|lines| lines.last()).and_then(Value::as_str);
    let said = last.map(|line| format!("; it said: {}", short(line, 200))).unwrap_or_default();
    Check::failed(
        name,
        format!("{}: {}{said}", text("state"), text("cause")),
        "Mend what the cause names; the gateway tries again by itself.",
    )
}

/// Whether a service can be reached, without starting it.
async fn reachable(name: String, service: &Service) -> Check {
    let mut programs: Vec<(&str, Option<&PathBuf>)> = Vec::new();
    let mut urls: Vec<&str> = Vec::new();
    if let Some(mcp) = &service.mcp {
        programs.extend(mcp.command.first().map(|program| (program.as_str(), mcp.cwd.as_ref())));
        urls.extend(mcp.url.as_deref());
    }
    if let Some(process) = &service.process {
        let argv = process.tools.values().filter_map(|tool| tool.argv.first());
        programs.extend(argv.map(|program| (program.as_str(), process.cwd.as_ref())));
    }
    if let Some(openapi) = &service.openapi {
        urls.extend(openapi.base_url.as_deref());
        urls.extend(Some(openapi.document.as_str()).filter(|document| is_url(document)));
    }
    urls.extend(service.instances.iter().map(|instance| instance.url.as_str()));
    for (program, _) in &programs {
        if find_program(program).is_none() {
            let fix = format!("Install {program}, or write its whole path.");
            return Check::failed(name, format!("the program {program} is not in PATH"), fix);
        }
    }
    for url in urls {
        if let Err(reason) = connect(url).await {
            let fix = "Start it, or correct the URL. Children that `up` starts are not running now.";
            return Check::warning(name, reason, fix);
        }
    }
    Check::ok(name, "can be reached; `trunkline up` speaks with it")
}

/// The program's file, as the system would find it.
fn find_program(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|file| file.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

async fn connect(url: &str) -> Result<(), String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    match tokio::time::timeout(CONNECT, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{host}:{port} can't be reached: {error}")),
        Err(_) => Err(format!("{host}:{port} does not answer")),
    }
}

/// Claude Code knows of the gateway.
fn claude_code(loaded: &Loaded) -> Check {
    let name = "Claude Code";
    let file = loaded.base.join(".mcp.json");
    let Ok(text) = fs::read_to_string(&file) else {
        return Check::warning(
            name,
            "there is no .mcp.json here",
            "To use the gateway from Claude Code: `trunkline init --claude-code`.",
        );
    };
    let list: Value = match serde_json::from_str(&text) {
        Ok(list) => list,
        Err(error) => {
            return Check::failed(name, format!("{} is not JSON: {error}", file.display()), "Correct it.");
        }
    };
    let wired = list["mcpServers"].as_object().into_iter().flatten().any(|(_, server)| {
        let url = server["url"].as_str().and_then(|url| Url::parse(url).ok());
        url.is_some_and(|url| {
            url.path() == "/mcp"
                && loaded.listen.iter().any(|listen| url.port_or_known_default() == Some(listen.port()))
        }) || server["command"].as_str().is_some_and(|command| command.ends_with("trunkline"))
    });
    if wired {
        Check::ok(name, format!("{} names the gateway", file.display()))
    } else {
        Check::warning(
            name,
            format!("{} does not name the gateway", file.display()),
            "`trunkline init --claude-code` adds it; `trunkline import .mcp.json` puts its servers behind the gateway.",
        )
    }
}
