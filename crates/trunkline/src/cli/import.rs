//! `trunkline import`: services from a list of MCP servers, a `server.json` of the MCP Registry or an OpenAPI document.

mod hide;
mod insert;
mod mcp_servers;
mod openapi;
mod propose;
mod server_json;
mod source;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use trunkline_connectors::openapi::PreviewTool;

use super::client::ServerArgs;
use super::output::{Format, plain, print, print_data, say, short, table};
use super::stop::Stop;
use super::{OutputArgs, block_on};
use crate::Error;
use crate::config;

/// Add services from an .mcp.json, a server.json or an OpenAPI document.
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// A JSON file with MCP servers (.mcp.json, Claude Desktop, VS Code), a server.json of the MCP Registry, or an OpenAPI
    /// document: a file or a URL.
    source: String,
    /// Only say what would be added.
    #[arg(long)]
    dry_run: bool,
    /// The configuration to add to: a file or a folder.
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// The service's name, for an OpenAPI document or a server.json.
    #[arg(long)]
    name: Option<String>,
    /// Say what the source can do, what is there already that does the same, and what to write: capabilities, effects, undos. Nothing
    /// is written before `--accept`. The source can be the URL of an MCP server, too.
    #[arg(long)]
    propose: bool,
    /// Write what is proposed.
    #[arg(long, requires = "propose", visible_alias = "write")]
    accept: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// A service that can be added.
#[derive(Debug)]
struct Proposal {
    name: String,
    /// The entry under `services`.
    entry: Value,
    /// Its tools, where they are known without starting it.
    tools: Option<Vec<PreviewTool>>,
    left_out: Vec<LeftOut>,
    remarks: Vec<String>,
}

/// Something that is not taken over, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct LeftOut {
    what: String,
    reason: String,
}

/// What came of an import.
#[derive(Debug, Serialize)]
struct Report {
    source: String,
    /// The configuration that was, or would be, added to.
    into: PathBuf,
    dry_run: bool,
    services: Vec<Shown>,
    left_out: Vec<LeftOut>,
}

#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    /// The entry, with secrets hidden.
    service: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<PreviewTool>>,
    left_out: Vec<LeftOut>,
    remarks: Vec<String>,
}

impl Import {
    pub(super) fn run(self) -> Result<(), Stop> {
        let target = self.target()?;
        let folder = std::path::absolute(&target)?.parent().map(Path::to_path_buf).unwrap_or_default();
        let document = match block_on(source::read(&self.source)) {
            Err(_) if self.propose && config::is_url(&self.source) => self.server_at(),
            read => read?,
        };
        let (mut proposals, mut left_out) = match source::kind(&document) {
            Some(source::Kind::ServerJson(servers)) => server_json::proposals(&servers, self.name.as_deref()),
            Some(source::Kind::McpServers(servers)) => mcp_servers::proposals(servers),
            Some(source::Kind::OpenApi) => {
                let proposal = openapi::proposal(&self.source, self.name.as_deref(), &folder);
                (vec![block_on(async { Ok(proposal.await?) })?], Vec::new())
            }
            None => {
                let reason =
                    "it has neither mcpServers nor openapi or swagger at its top, nor is it a server.json"
                        .to_owned();
                return Err(Error::Import { source_name: self.source, reason }.into());
            }
        };
        let old = insert::Target::read(&target)?;
        proposals.retain(|proposal| {
            let there = old.has(&proposal.name);
            if there {
                left_out.push(LeftOut {
                    what: proposal.name.clone(),
                    reason: "the configuration has a service of this name already".to_owned(),
                });
            }
            !there
        });
        if self.propose {
            return block_on(propose::run(self, target, old, proposals, left_out));
        }
        if !self.dry_run && !proposals.is_empty() {
            let entries: Vec<_> = proposals.iter().map(|p| (p.name.as_str(), &p.entry)).collect();
            old.add(&entries)?;
            say(&format_args!("added {} to {}", plural(proposals.len(), "service"), target.display()));
        }
        let report = Report {
            source: self.source,
            into: target,
            dry_run: self.dry_run,
            services: proposals.into_iter().map(shown).collect(),
            left_out,
        };
        match self.output.output {
            Format::Table => print(&text(&report))?,
            format => print_data(format, &report, |_| String::new())?,
        }
        Ok(())
    }

    /// What is no document may be an MCP server: a list of it alone.
    fn server_at(&self) -> Value {
        let host = || url::Url::parse(&self.source).ok()?.host_str().map(str::to_owned);
        let name = self.name.clone().or_else(host).unwrap_or_default();
        serde_json::json!({ "mcpServers": { service_name(&name): { "url": self.source } } })
    }

    /// The configuration to add to; it need not be there yet.
    fn target(&self) -> Result<PathBuf, Stop> {
        let path = self.into.clone().unwrap_or_else(|| PathBuf::from("."));
        if !path.is_dir() {
            return Ok(path);
        }
        match config::find(&path) {
            Ok(file) => Ok(file),
            Err(findings) if findings.iter().any(|f| f.message.contains("two configurations")) => {
                Err(Stop::Findings(findings))
            }
            Err(_) => Ok(path.join("trunkline.yaml")),
        }
    }
}

fn shown(proposal: Proposal) -> Shown {
    Shown {
        name: proposal.name,
        service: hide::hide(&proposal.entry),
        tools: proposal.tools,
        left_out: proposal.left_out,
        remarks: proposal.remarks,
    }
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for service in &report.services {
        let kind = service.service.as_object().and_then(|entry| entry.keys().next_back().cloned());
        let tools = match &service.tools {
            Some(tools) => plural(tools.len(), "tool"),
            None => "its tools are known once it runs".to_owned(),
        };
        out.push_str(&plain(&format!("{} ({}): {tools}", service.name, kind.unwrap_or_default())));
        out.push('\n');
        if let Some(tools) = &service.tools {
            let row = |tool: &PreviewTool| {
                ["  ".to_owned() + &tool.name, tool.operation.clone(), short(&tool.description, 70)]
            };
            let rows: Vec<_> = tools.iter().map(row).collect();
            out.push_str(&table(["  TOOL", "OPERATION", "DESCRIPTION"], &rows));
        }
        for remark in &service.remarks {
            out.push_str(&format!("  note: {}\n", plain(remark)));
        }
        out.push_str(&left_out(&service.left_out, "  "));
    }
    out.push_str(&left_out(&report.left_out, ""));
    if report.dry_run && !report.services.is_empty() {
        out.push_str(&format!(
            "Nothing was written; without --dry-run this goes to {}.\n",
            report.into.display()
        ));
    }
    out
}

fn left_out(things: &[LeftOut], indent: &str) -> String {
    let line =
        |thing: &LeftOut| format!("{indent}left out: {}: {}\n", plain(&thing.what), plain(&thing.reason));
    things.iter().map(line).collect()
}

/// A name that can be a service's: letters, digits, - and _.
fn service_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.trim().chars().take(64) {
        let c = if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        // Two _ in a row part service and tool; two - only look odd.
        if !(matches!(c, '-' | '_') && name.ends_with(['-', '_'])) {
            name.push(c);
        }
    }
    let name = name.trim_matches(['-', '_']);
    if name.is_empty() { "service".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::service_name;

    #[test]
    fn any_text_becomes_a_name() {
        for (text, name) in [
            ("git", "git"),
            ("My API (v2)", "My-API-v2"),
            ("a__b", "a_b"),
            ("_x_", "x"),
            ("é", "service"),
            ("", "service"),
        ] {
            assert_eq!(service_name(text), name);
        }
    }
}
