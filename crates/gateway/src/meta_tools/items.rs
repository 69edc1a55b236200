//! Prompts, resources and resource templates beside the tools that a search finds: what they are and how they are got.

use serde::Serialize;
use trunkline_discovery::{ItemEntry, ItemKind};
use trunkline_model::{Operation, Principal};
use utoipa::ToSchema;

use super::signature::cut;
use crate::Gateway;

/// The most that are told of beside tools.
const MOST: usize = 3;

/// The most characters of what one is.
const SUMMARY: usize = 160;

/// A prompt, resource or template.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundItem {
    /// `prompt`, `resource` or `template`.
    kind: &'static str,
    /// The name of the prompt, the URI of the resource or the template of URIs.
    name: String,
    /// The service that it belongs to.
    service: String,
    /// What it is.
    description: String,
    /// The method of MCP that gets it.
    method: &'static str,
}

impl FoundItem {
    fn of(kind: ItemKind, entry: &ItemEntry) -> Self {
        let listed = entry.listed.to_value();
        let about = ["description", "title", "name"].iter().find_map(|member| listed[*member].as_str());
        Self {
            kind: kind.name(),
            name: entry.key.to_string(),
            service: entry.service.id().to_string(),
            description: cut(about.unwrap_or_default().trim(), SUMMARY),
            method: kind.method(),
        }
    }

    /// In a line.
    pub(super) fn line(&self) -> String {
        let about = self.description.replace(['\n', '\r'], " ");
        format!("{} {} [{}] {about}", self.kind, cut(&self.name, 200), self.method)
    }
}

impl Gateway {
    /// The prompts, resources and templates that are near to a request, that can be got now and that the principal may get.
    pub(crate) fn items_near(&self, request: &str, principal: &Principal) -> Vec<FoundItem> {
        let rules = self.rules.load();
        let found = self.catalog.search_items(request, MOST, |kind, entry| {
            let operation = match kind {
                ItemKind::Prompt => Operation::GetPrompt,
                ItemKind::Resource | ItemKind::Template => Operation::ReadResource,
            };
            let allowed = rules.authorizer.decide(principal, entry.service.id(), &entry.own, operation).allow;
            allowed && entry.service.is_up()
        });
        found.iter().map(|(kind, entry)| FoundItem::of(*kind, entry)).collect()
    }
}
