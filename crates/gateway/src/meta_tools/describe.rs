//! `describe_tool`: all that is known of a tool, or of all tools as much as fits.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_discovery::Snapshot;
use trunkline_model::{Call, CallContext, Failure, Outcome, Principal, ToolResult};

use super::signature::{cut, effects, signature, summary};
use super::{SEARCH, SERVICE};
use crate::meta_tools::listing::tokens;
use crate::{Error, Gateway};

pub(super) const DESCRIPTION: &str = "Everything about a tool: what it does, its parameters as JSON Schema, its effects. \
Without a name: what can be done here, by service, in so much detail.";

pub(super) fn input() -> Value {
    json!({
        "name": {"type": "string", "description": "A tool or a service; everything where left out."},
        "detail": {"enum": ["brief", "normal", "full"]},
    })
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Detail {
    #[default]
    Brief,
    Normal,
    Full,
}

impl Detail {
    /// The most tokens of an overview.
    fn budget(self) -> usize {
        match self {
            Self::Brief => 500,
            Self::Normal => 1_500,
            Self::Full => 4_000,
        }
    }
}

#[derive(Deserialize)]
struct Given {
    name: Option<String>,
    detail: Option<Detail>,
}

pub(super) fn execute(gateway: &Gateway, call: &Call, context: &CallContext) -> Result<Outcome, Failure> {
    let given: Given = call.arguments.to().map_err(|error| Error::Params(error.to_string()))?;
    let snapshot = gateway.catalog().snapshot();
    let principal = &context.principal;
    let Some(name) = given.name else {
        let text = overview(gateway, &snapshot, principal, None, given.detail.unwrap_or_default());
        return Ok(ToolResult::text(&text, false).into());
    };
    let entry = snapshot.tools.get(name.as_str());
    if let Some(entry) = entry.filter(|entry| gateway.shows(principal, entry.tool.spec())) {
        let text = described(entry, given.detail == Some(Detail::Full));
        return Ok(ToolResult::text(&text, false).into());
    }
    if gateway.catalog().services().keys().any(|id| id.as_str() == name) {
        let detail = given.detail.unwrap_or(Detail::Normal);
        let text = overview(gateway, &snapshot, principal, Some(&name), detail);
        return Ok(ToolResult::text(&text, false).into());
    }
    let name = cut(&name, 256);
    let near = gateway.near_tools(principal, &name);
    Err(Error::UnknownTool { name, near }.into())
}

fn described(entry: &trunkline_discovery::ToolEntry, full: bool) -> String {
    let spec = entry.tool.spec();
    let mut text = format!("{} [{}]\n{}\n", entry.name, effects(spec.effects), spec.description.trim());
    let capabilities: Vec<&str> = entry.capabilities().map(trunkline_model::Capability::as_str).collect();
    if !capabilities.is_empty() {
        let _ = writeln!(text, "Capabilities: {}", capabilities.join(", "));
    } else if let Some(inferred) = entry.inferred_capability() {
        let _ = writeln!(text, "Capabilities: {inferred} (inferred from its name)");
    }
    if !entry.service.is_up() {
        let _ = writeln!(text, "Its service {} can't be called now.", spec.service);
    }
    let _ = write!(text, "Arguments: {}", spec.input.document());
    if let Some(output) = spec.output.as_ref().filter(|_| full) {
        let _ = write!(text, "\nResult: {}", output.document());
    }
    text
}

/// What there is, by service: how much it is, its tools by name, or with their parameters; as much of that as may be told.
fn overview(
    gateway: &Gateway,
    snapshot: &Snapshot,
    principal: &Principal,
    only: Option<&str>,
    detail: Detail,
) -> String {
    let mut sections = Vec::new();
    for (id, registered) in gateway.catalog().services().iter() {
        let tools: Vec<_> = snapshot
            .tools
            .values()
            .filter(|entry| {
                let spec = entry.tool.spec();
                spec.service == *id && gateway.shows(principal, spec)
            })
            .collect();
        let wanted = only.map_or(id.as_str() != SERVICE, |only| only == id.as_str());
        if !wanted || tools.is_empty() {
            continue;
        }
        let state = if registered.service.is_up() { "" } else { ", can't be called now" };
        let mut lines = vec![format!("{id}: {} tools{state}", tools.len())];
        let line = |entry: &&trunkline_discovery::ToolEntry| match detail {
            Detail::Brief => format!("  {}", entry.name),
            Detail::Normal => format!("  {}: {}", entry.name, summary(&entry.tool.spec().description, 80)),
            Detail::Full => {
                format!("  {}: {}", signature(entry), summary(&entry.tool.spec().description, 160))
            }
        };
        lines.extend(tools.iter().map(line));
        sections.push(lines);
    }
    fitted(&sections, detail.budget())
}

/// The first line of every section, then as many of the others, in turns, as fit.
fn fitted(sections: &[Vec<String>], budget: usize) -> String {
    // Room for the last line.
    let mut left = budget.saturating_sub(40);
    let mut shown = vec![0; sections.len()];
    let longest = sections.iter().map(Vec::len).max().unwrap_or_default();
    for row in 0..longest {
        for (lines, shown) in sections.iter().zip(&mut shown) {
            let Some(line) = lines.get(row).filter(|_| *shown == row) else { continue };
            let cost = tokens(line.len() + 1);
            if cost <= left {
                left -= cost;
                *shown += 1;
            }
        }
    }
    let mut text = String::new();
    let mut hidden = 0;
    for (lines, shown) in sections.iter().zip(shown) {
        hidden += lines.len() - shown;
        for line in &lines[..shown] {
            text.push_str(line);
            text.push('\n');
        }
    }
    if hidden > 0 {
        let _ = write!(text, "{hidden} lines more: name a service, or ask {SEARCH}.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overview_stays_within_its_budget_and_tells_of_every_service() {
        let section =
            |name: &str| (0..200).map(|row| format!("{name} {row} {}", "x".repeat(30))).collect::<Vec<_>>();
        let text = fitted(&[section("a"), section("b")], 500);
        assert!(tokens(text.len()) <= 500, "{}", text.len());
        assert!(text.contains("a 0") && text.contains("b 0") && text.contains("lines more"));
    }
}
