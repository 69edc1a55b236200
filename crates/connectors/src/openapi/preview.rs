//! What a document would become, for people to read before they take it.

use serde::Serialize;
use serde_json::Value;
use trunkline_model::Effects;

use super::config::Config;
use super::document::Document;
use super::lower::{LeftOut, Lowered, lower};

/// What a document becomes: every operation is a tool or is left out with its reason.
#[derive(Clone, Debug, Serialize)]
pub struct Preview {
    /// The title of the document.
    pub title: String,
    /// The version that the document gives itself.
    pub version: String,
    /// `openapi 3.1.0` or `swagger 2.0`.
    pub protocol: String,
    /// The operations that become tools, in the document's order.
    pub tools: Vec<PreviewTool>,
    /// The operations that do not.
    pub left_out: Vec<LeftOut>,
    /// What is odd, and what to configure.
    pub warnings: Vec<String>,
}

/// An operation that becomes a tool.
#[derive(Clone, Debug, Serialize)]
pub struct PreviewTool {
    /// The tool's name.
    pub name: String,
    /// `METHOD /path`.
    pub operation: String,
    /// Where its requests go; nothing where neither the document nor the configuration says so.
    pub server: Option<String>,
    /// What it does.
    pub description: String,
    /// What it does to the world, as its method says.
    pub effects: Effects,
    /// The schema of its arguments.
    pub input: Value,
    /// The schema of its structured result.
    pub output: Option<Value>,
    /// The alternatives of security schemes that it names.
    pub security: Vec<Vec<String>>,
}

/// What `document` becomes under `config`.
#[must_use]
pub fn preview(document: &Document, config: &Config) -> Preview {
    let Lowered { title, version, protocol, operations, left_out, warnings, .. } = lower(document, config);
    let tools = operations
        .into_iter()
        .map(|operation| PreviewTool {
            operation: operation.label(),
            server: config.base_url.clone().or_else(|| operation.base.as_ref().map(ToString::to_string)),
            name: operation.name,
            description: operation.description,
            effects: operation.effects,
            input: operation.input,
            output: operation.output.map(|output| output.schema),
            security: operation
                .security
                .into_iter()
                .map(|alternative| alternative.into_iter().map(|requirement| requirement.scheme).collect())
                .collect(),
        })
        .collect();
    Preview { title, version, protocol, tools, left_out, warnings }
}
