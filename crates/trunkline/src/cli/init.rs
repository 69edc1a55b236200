//! `trunkline init`: a first configuration, with the schema beside it for editors.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::output::say;
use super::stop::Stop;
use crate::Error;
use crate::config::Config;

/// The first configuration.
const TEMPLATE: &str = include_str!("init.yaml");

/// The address of the MCP door.
const MCP_URL: &str = "http://127.0.0.1:7400/mcp";

/// Write a first configuration.
#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// The folder; the working directory where left out.
    folder: Option<PathBuf>,
    /// Also tell Claude Code of the gateway, in .mcp.json.
    #[arg(long)]
    claude_code: bool,
}

impl Init {
    pub(super) fn run(self) -> Result<(), Stop> {
        let folder = self.folder.unwrap_or_else(|| PathBuf::from("."));
        let file = folder.join("trunkline.yaml");
        let state = folder.join(".trunkline");
        fs::create_dir_all(&state)?;
        let schema = serde_json::to_string_pretty(Config::json_schema()).map_err(anyhow::Error::from)?;
        fs::write(state.join("config.schema.json"), schema + "\n")?;
        // State is no source: the folder ignores itself.
        fs::write(state.join(".gitignore"), "*\n")?;
        let exists = file.exists();
        if exists && !self.claude_code {
            return Err(Error::Usage {
                reason: format!("{} is there already", file.display()),
                fix: "Add to it with `trunkline import`, or check it with `trunkline doctor`.".to_owned(),
            }
            .into());
        }
        if !exists {
            fs::write(&file, TEMPLATE)?;
            say(&format_args!("wrote {}", file.display()));
        }
        if self.claude_code {
            claude_code(&folder.join(".mcp.json"))?;
        }
        say(
            "Next: add services (`trunkline import .mcp.json`, `trunkline import openapi.yaml`), then `trunkline up`.",
        );
        Ok(())
    }
}

/// Adds the gateway to a list of MCP servers. What is there stays.
fn claude_code(file: &Path) -> Result<(), Stop> {
    let mut list = match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| not_json(file, &error.to_string()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => json!({}),
        Err(error) => return Err(error.into()),
    };
    let servers = list
        .as_object_mut()
        .map(|list| list.entry("mcpServers").or_insert_with(|| json!({})))
        .and_then(Value::as_object_mut)
        .ok_or_else(|| not_json(file, "it has no mcpServers object"))?;
    if servers.contains_key("trunkline") {
        say(&format_args!("{} has a server named trunkline already; left as it is", file.display()));
        return Ok(());
    }
    servers.insert("trunkline".to_owned(), json!({"type": "http", "url": MCP_URL}));
    fs::write(file, serde_json::to_string_pretty(&list).map_err(anyhow::Error::from)? + "\n")?;
    say(&format_args!("told Claude Code of {MCP_URL} in {}", file.display()));
    Ok(())
}

fn not_json(file: &Path, reason: &str) -> Error {
    Error::Usage {
        reason: format!("{} can't be changed: {reason}", file.display()),
        fix: format!("Correct it, or run `claude mcp add --transport http trunkline {MCP_URL}`."),
    }
}
