//! `search_tools`: what is to be done, in plain words, to the tools that do it.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_discovery::ToolEntry;
use trunkline_model::{Call, CallContext, Failure, Outcome, ToolResult};
use trunkline_telemetry::metrics::Kpi;

use super::signature::{cut, effects, signature, summary};
use super::{CALL, DESCRIBE, SERVICE};
use crate::{Error, Gateway};

pub(super) const DESCRIPTION: &str = "Finds tools by what is to be done, in plain words, the best first, with their \
parameters. Call what fits with call_tool.";

/// How many tools are told where the caller does not say.
const USUAL: usize = 5;

/// The most that are told.
const MOST: usize = 25;

/// The most characters of what a tool does.
const SUMMARY: usize = 160;

pub(super) fn input() -> Value {
    json!({
        "query": {"type": "string", "description": "What is to be done."},
        "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
        "required": ["query"],
    })
}

#[derive(Deserialize)]
struct Given {
    query: String,
    limit: Option<usize>,
}

impl Gateway {
    /// Puts those forward a little that the caller works with.
    fn rather_used(&self, context: &CallContext, found: &mut [(ToolEntry, f32)]) {
        let conversation = self.conversation(context);
        let boosts = conversation.boosts(self.now_ms());
        for (entry, score) in found.iter_mut() {
            *score += boosts.iter().find(|(tool, _)| **tool == *entry.name).map_or(0.0, |(_, boost)| *boost);
        }
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
    }
}

pub(super) async fn execute(
    gateway: &Gateway,
    call: &Call,
    context: &CallContext,
) -> Result<Outcome, Failure> {
    let Given { query, limit } = call.arguments.to().map_err(|error| Error::Params(error.to_string()))?;
    let limit = limit.unwrap_or(USUAL).clamp(1, MOST);
    let begun = std::time::Instant::now();
    let asked = gateway.encode_search(&query).await;
    let mut found = gateway.catalog().search(&query, &asked.vectors, limit, |entry| {
        let spec = entry.tool.spec();
        spec.service.as_str() != SERVICE && entry.service.is_up() && gateway.shows(&context.principal, spec)
    });
    gateway.rather_used(context, &mut found);
    gateway.telemetry().took(Kpi::ServiceDiscovery, begun.elapsed());
    gateway.searches.asked(context, &query, found.iter().map(|(entry, _)| entry.name.clone()));
    let without = asked.without.map(|why| format!("\nSearched without the encoder: {}", cut(&why, 200)));
    let without = without.unwrap_or_default();
    let items = gateway.items_near(&query, &context.principal);
    if found.is_empty() && items.is_empty() {
        let text = format!(
            "No tool fits. Say it in other words, or look at what there is: {DESCRIBE} without a name.{without}"
        );
        return Ok(ToolResult::text(&text, false).into());
    }
    let mut text = String::new();
    for (entry, _) in &found {
        let spec = entry.tool.spec();
        let about = summary(&spec.description, SUMMARY);
        let _ = writeln!(text, "{} [{}] {about}", signature(entry), effects(spec.effects));
    }
    for item in &items {
        let _ = writeln!(text, "{}", item.line());
    }
    let _ = write!(text, "Call with {CALL}; all of a tool: {DESCRIBE}.{without}");
    Ok(ToolResult::text(&text, false).into())
}
