//! The tools of a service that is not there yet: from its document, or from the server itself, which is asked and left again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use trunkline_connectors::mcp::{self, ClientInfo};
use trunkline_connectors::openapi::PreviewTool;
use trunkline_model::{
    Json, Schema, Service as _, ServiceId, ServiceObserver, ServiceState, ServiceStatus, ToolSpec,
};

use super::super::Proposal;
use crate::Error;
use crate::cli::stop::Stop;
use crate::config::{Flags, Format, load_text};

/// How long a server has to tell its tools.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tools, as they would be called.
pub(super) async fn tools(proposal: &Proposal, target: &Path) -> Result<Vec<ToolSpec>, Stop> {
    match &proposal.tools {
        Some(tools) => Ok(tools.iter().map(|tool| spec(&proposal.name, tool)).collect()),
        None => told(proposal, target).await,
    }
}

/// A tool of an OpenAPI document.
pub(super) fn spec(service: &str, tool: &PreviewTool) -> ToolSpec {
    ToolSpec {
        service: ServiceId::new(service),
        name: Arc::from(&*tool.name),
        version: Arc::from(""),
        title: None,
        description: tool.description.clone(),
        capabilities: Vec::new(),
        dependencies: Vec::new(),
        input: Schema::new(tool.input.clone()),
        output: tool.output.clone().map(Schema::new),
        effects: tool.effects,
        raw: None,
    }
}

/// Wakes who waits for the server.
struct Waker(tokio::sync::Notify);

impl ServiceObserver for Waker {
    fn contents_changed(&self, _: &ServiceId) {
        self.0.notify_one();
    }

    fn status_changed(&self, _: &ServiceId, _: &ServiceStatus) {
        self.0.notify_one();
    }

    fn resource_updated(&self, _: &ServiceId, _: &str) {}

    fn logged(&self, _: &ServiceId, _: &Json) {}
}

/// Starts or reaches the MCP server, as the configuration would, and reads its tools.
async fn told(proposal: &Proposal, target: &Path) -> Result<Vec<ToolSpec>, Stop> {
    let fail = |reason: String| Error::Import { source_name: proposal.name.clone(), reason };
    let base = std::path::absolute(target)?.parent().map(Path::to_path_buf).unwrap_or_default();
    let alone = json!({"services": {&proposal.name: enabled(&proposal.entry)}});
    let loaded = load_text(&alone.to_string(), Format::Json, &base, &crate::cli::env, &Flags::default());
    let loaded = loaded.map_err(Stop::Findings)?;
    let config = loaded.config.services.get(&proposal.name).and_then(|service| service.mcp.clone());
    let config = config.ok_or_else(|| fail("it is no MCP server".to_owned()))?;
    let waker = Arc::new(Waker(tokio::sync::Notify::new()));
    let id = ServiceId::new(&proposal.name);
    let built = mcp::build(config, id, ClientInfo::default(), waker.clone());
    let (service, runner) = built.map_err(|error| fail(error.to_string()))?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(runner.run(shutdown.clone()));
    let up = async {
        loop {
            let status = service.status();
            match status.state {
                ServiceState::Up => return Ok(service.contents()),
                ServiceState::Down => {
                    return Err(status.cause.unwrap_or_else(|| "it can't be reached".to_owned()));
                }
                ServiceState::Starting => waker.0.notified().await,
            }
        }
    };
    let up = tokio::time::timeout(PATIENCE, up).await;
    shutdown.cancel();
    // What it was told at its end is no longer needed.
    let _ = tokio::time::timeout(Duration::from_secs(5), running).await;
    let contents = up.map_err(|_| fail(format!("no answer in {} s", PATIENCE.as_secs())))?;
    let contents = contents.map_err(fail)?;
    Ok(contents.tools.iter().map(|tool| tool.spec().clone()).collect())
}

/// The entry, as if it were wanted at once.
fn enabled(entry: &Value) -> Value {
    let mut entry = entry.clone();
    entry["enabled"] = json!(true);
    entry
}
