//! Lists of tools, prompts and resources, and what the gateway says of itself.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use trunkline_discovery::ToolEntry;
use trunkline_model::{Json, Operation, Principal, ServiceState};

use super::message::keys;
use super::reply::Era;
use super::{LEGACY, MODERN, tasks};
use crate::meta_tools::{Show, is_listed};
use crate::{Error, Gateway};

/// How long a list waits for services that are just starting.
const START: Duration = Duration::from_secs(2);

/// How often it looks whether they have started.
const START_STEP: Duration = Duration::from_millis(10);

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl List {
    pub(crate) fn of_method(method: &str) -> Option<Self> {
        Some(match method {
            "tools/list" => Self::Tools,
            "prompts/list" => Self::Prompts,
            "resources/list" => Self::Resources,
            "resources/templates/list" => Self::Templates,
            _ => return None,
        })
    }

    fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }
}

impl Gateway {
    /// Whether some service has not answered yet since the start.
    fn is_starting(&self) -> bool {
        self.catalog.services().values().any(|entry| entry.service.status().state == ServiceState::Starting)
    }

    /// Waits for services that are just starting, for a moment: many clients list once, when they connect.
    pub(crate) async fn let_start(&self) {
        let until = Instant::now() + START;
        while self.is_starting() && Instant::now() < until && !self.is_closing() {
            tokio::time::sleep(START_STEP).await;
        }
    }

    /// A list as a result: what the principal may use, in the order of the catalogue. It has one page.
    pub(crate) fn list(
        &self,
        list: List,
        principal: &Principal,
        era: Era,
        show: Show,
        cursor: Option<&str>,
    ) -> Result<Vec<u8>, Error> {
        if cursor.is_some() {
            return Err(Error::Params("the cursor is not one of ours: lists have one page".to_owned()));
        }
        let rules = self.rules.load();
        let snapshot = self.catalog.snapshot();
        let may = |service: &trunkline_model::ServiceId, own: &str, operation| {
            rules.authorizer.decide(principal, service, own, operation).allow
        };
        let mut out = Vec::with_capacity(256 + 512 * snapshot.tools.len());
        out.extend_from_slice(b"{");
        if era == Era::Modern {
            // A list that is about to grow is not to be kept.
            let ttl = if self.is_starting() { 0 } else { rules.config.list_ttl_ms };
            let head = format!(r#""resultType":"complete","ttlMs":{ttl},"cacheScope":"private","#);
            out.extend_from_slice(head.as_bytes());
        }
        out.extend_from_slice(format!("\"{}\":[", list.member()).as_bytes());
        let start = out.len();
        let mut put = |listed: &Json| {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(listed.as_bytes());
        };
        match list {
            List::Tools => {
                let of_era = |entry: &ToolEntry| {
                    if era == Era::Modern { entry.listed.clone() } else { entry.listed_legacy.clone() }
                };
                let allowed = |entry: &&ToolEntry| {
                    let spec = entry.tool.spec();
                    may(&spec.service, &spec.name, Operation::CallTool)
                };
                let allowed: Vec<&ToolEntry> = snapshot.tools.values().filter(allowed).collect();
                let bytes = allowed
                    .iter()
                    .filter(|entry| is_listed(entry, true))
                    .map(|entry| of_era(entry).len())
                    .sum();
                let whole = !rules.config.listing.is_long(show, bytes);
                allowed
                    .into_iter()
                    .filter(|entry| is_listed(entry, whole))
                    .for_each(|entry| put(&of_era(entry)));
            }
            List::Prompts | List::Resources | List::Templates => {
                let (items, operation) = match list {
                    List::Prompts => (&snapshot.prompts, Operation::GetPrompt),
                    List::Resources => (&snapshot.resources, Operation::ReadResource),
                    _ => (&snapshot.templates, Operation::ReadResource),
                };
                for entry in items.values() {
                    if may(entry.service.id(), &entry.own, operation) {
                        put(&entry.listed);
                    }
                }
            }
        }
        out.extend_from_slice(b"]}");
        Ok(out)
    }

    /// The result of `initialize`: the asked revision where it is a legacy one, the newest legacy one otherwise.
    pub(crate) fn initialize_result(&self, requested: &str) -> (Value, &'static str) {
        let version = LEGACY.into_iter().find(|known| *known == requested).unwrap_or(LEGACY[0]);
        let mut result = json!({
            "protocolVersion": version,
            "capabilities": self.capabilities(Era::Legacy),
            "serverInfo": server_info(),
        });
        if version == LEGACY[0] {
            result["capabilities"]["tasks"] = tasks::capability();
        }
        if let Some(instructions) = self.instructions() {
            result["instructions"] = Value::from(instructions);
        }
        (result, version)
    }

    /// The result of `server/discover`.
    pub(crate) fn discover_result(&self) -> Value {
        let mut versions = vec![MODERN];
        versions.extend(LEGACY);
        let ttl = self.rules.load().config.list_ttl_ms;
        let mut result = json!({
            "resultType": "complete",
            "supportedVersions": versions,
            "capabilities": self.capabilities(Era::Modern),
            "ttlMs": ttl,
            "cacheScope": "private",
            "_meta": { keys::SERVER: server_info() },
        });
        if let Some(instructions) = self.instructions() {
            result["instructions"] = Value::from(instructions);
        }
        result
    }

    /// Lists are always there, for a service may bring something later; the rest as far as some service has it.
    fn capabilities(&self, era: Era) -> Value {
        let snapshot = self.catalog.snapshot();
        let mut capabilities = json!({
            "tools": { "listChanged": true },
            "prompts": { "listChanged": true },
            "resources": { "subscribe": true, "listChanged": true },
        });
        if snapshot.completions {
            capabilities["completions"] = json!({});
        }
        if era == Era::Modern {
            capabilities["extensions"] = json!({ tasks::EXTENSION: {} });
        }
        if snapshot.logging || era == Era::Legacy {
            capabilities["logging"] = json!({});
        }
        capabilities
    }

    /// What the services say of themselves to models, each under its name.
    fn instructions(&self) -> Option<String> {
        let services = self.catalog.services();
        let said: Vec<String> = services
            .iter()
            .filter_map(|(id, entry)| {
                let contents: Arc<trunkline_model::Contents> = entry.service.contents();
                let text = contents.instructions.as_deref()?;
                Some(if services.len() == 1 { text.to_owned() } else { format!("# {id}\n{text}") })
            })
            .collect();
        (!said.is_empty()).then(|| said.join("\n\n"))
    }
}

fn server_info() -> Value {
    json!({ "name": "trunkline", "title": "Trunkline", "version": env!("CARGO_PKG_VERSION") })
}
