//! One tool, prompt or resource as callers see it, with its JSON made once.

use std::sync::Arc;

use crate::capabilities::inferred;
use crate::discover::About;
use crate::search::Document;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use trunkline_model::{Effects, Item, Json, Service, ServiceId, Tool, ToolSpec};

/// A tool as callers see it.
#[derive(Clone)]
pub struct ToolEntry {
    /// The name that callers use.
    pub name: Arc<str>,
    /// The tool.
    pub tool: Arc<dyn Tool>,
    /// The service that it belongs to.
    pub service: Arc<dyn Service>,
    /// `service/tool` by the tool's own name: what the record calls it.
    pub target: Arc<str>,
    /// The MCP tool object under the advertised name.
    pub listed: Json,
    /// The same for clients of revision 2025-11-25, which learn from it whether a call may be a task (`execution`).
    pub listed_legacy: Json,
    /// What else is known of the service.
    pub about: Arc<About>,
    /// Parameters that an MCP client repeats in a header (`x-mcp-header`): the path of property names and the header's
    /// name after `Mcp-Param-`.
    pub header_parameters: Vec<(Vec<String>, String)>,
}

/// A prompt, resource or template as callers see it.
#[derive(Clone)]
pub struct ItemEntry {
    /// The name, URI or URI template that callers use.
    pub key: Arc<str>,
    /// The service's own name for it.
    pub own: Arc<str>,
    /// The service that it belongs to.
    pub service: Arc<dyn Service>,
    /// `service/own`: what the record calls it.
    pub target: Arc<str>,
    /// The MCP object under the advertised key.
    pub listed: Json,
}

impl ToolEntry {
    pub(crate) fn new(name: &str, tool: Arc<dyn Tool>, service: Arc<dyn Service>, about: Arc<About>) -> Self {
        let spec = tool.spec();
        let listed = tool_object(spec, name);
        let mut header_parameters = Vec::new();
        find_header_parameters(spec.input.document(), &mut Vec::new(), &mut header_parameters);
        Self {
            header_parameters,
            name: Arc::from(name),
            target: target(&spec.service, &spec.name),
            listed_legacy: with_execution(&listed, tool.goes_on()),
            listed,
            service,
            tool,
            about,
        }
    }
}

impl ToolEntry {
    /// What it can do, as configured or told by its service and its instances.
    pub fn capabilities(&self) -> impl Iterator<Item = &trunkline_model::Capability> {
        self.tool.spec().capabilities.iter().chain(self.about.terms())
    }

    /// What its name lets guess that it can do, where nobody has said it.
    #[must_use]
    pub fn inferred_capability(&self) -> Option<trunkline_model::Capability> {
        if self.capabilities().next().is_some() { None } else { inferred(&self.tool.spec().name) }
    }

    /// Gives the words that it is found by.
    pub(super) fn be_found(&self, take: impl FnOnce(Document<'_>)) {
        let spec = self.tool.spec();
        let inferred = self.inferred_capability();
        let mut document = Document {
            inferred: inferred.as_ref().map_or("", trunkline_model::Capability::as_str),
            name: &spec.name,
            description: &spec.description,
            terms: vec![spec.service.as_str()],
            ..Document::default()
        };
        document.terms.extend(spec.title.as_deref());
        document.terms.extend(self.capabilities().map(trunkline_model::Capability::as_str));
        let mut parameters = Vec::new();
        named(spec.input.document(), NESTED, &mut parameters);
        for (name, schema) in parameters {
            document.parameters.push(name);
            document.about_parameters.extend(schema.get("description").and_then(|about| about.as_str()));
        }
        take(document);
    }
}

/// How deep parameters are looked for: the body of a request is one of its parameters.
const NESTED: usize = 3;

/// The parameters that a schema names.
fn named<'a>(schema: &'a serde_json::Value, depth: usize, found: &mut Vec<(&'a str, &'a serde_json::Value)>) {
    const MOST: usize = 200;
    for (name, schema) in schema.get("properties").and_then(|all| all.as_object()).into_iter().flatten() {
        if depth == 0 || found.len() >= MOST {
            return;
        }
        found.push((name, schema));
        named(schema, depth - 1, found);
    }
}

impl ItemEntry {
    pub(super) fn new(key: &str, member: &str, item: &Item, service: &Arc<dyn Service>) -> Self {
        Self {
            key: Arc::from(key),
            own: item.key.clone(),
            target: target(service.id(), &item.key),
            listed: if *key == *item.key { item.raw.clone() } else { renamed(&item.raw, member, key) },
            service: service.clone(),
        }
    }
}

/// The properties with `x-mcp-header`, reached from the root through `properties` alone.
fn find_header_parameters(
    schema: &serde_json::Value,
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, String)>,
) {
    const MAX_DEPTH: usize = 16;
    let Some(properties) = schema.get("properties").and_then(|p| p.as_object()) else { return };
    if path.len() >= MAX_DEPTH {
        return;
    }
    for (name, property) in properties {
        path.push(name.clone());
        if let Some(header) = property.get("x-mcp-header").and_then(|header| header.as_str()) {
            found.push((path.clone(), header.to_owned()));
        }
        find_header_parameters(property, path, found);
        path.pop();
    }
}

fn target(service: &ServiceId, own: &str) -> Arc<str> {
    Arc::from(format!("{service}/{own}"))
}

/// The object with another value for `member`; every other member stays as it came, to the letter.
fn renamed(object: &Json, member: &str, value: &str) -> Json {
    let Ok(mut members) = object.to::<IndexMap<String, Box<RawValue>>>() else { return object.clone() };
    if let Ok(value) = to_raw_value(value) {
        members.insert(member.to_owned(), value);
    }
    Json::from_serialize(&members).unwrap_or_else(|_| object.clone())
}

/// The tool object with what it says of tasks. What a server says of its own does not hold here.
fn with_execution(object: &Json, goes_on: bool) -> Json {
    const MEMBER: &str = "execution";
    if !goes_on && !object.as_str().contains(MEMBER) {
        return object.clone();
    }
    let Ok(mut members) = object.to::<IndexMap<String, Box<RawValue>>>() else { return object.clone() };
    members.shift_remove(MEMBER);
    if goes_on && let Ok(support) = to_raw_value(&serde_json::json!({"taskSupport": "optional"})) {
        members.insert(MEMBER.to_owned(), support);
    }
    Json::from_serialize(&members).unwrap_or_else(|_| object.clone())
}

/// MCP's tool object. Where the service is an MCP server it is the one it sent, with the advertised name and the
/// effects that the operator states.
fn tool_object(spec: &ToolSpec, name: &str) -> Json {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Annotations {
        read_only_hint: bool,
        destructive_hint: bool,
        idempotent_hint: bool,
        open_world_hint: bool,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Object<'a> {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        description: &'a str,
        input_schema: &'a serde_json::Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        output_schema: Option<&'a serde_json::Value>,
        annotations: Annotations,
    }
    if let Some(raw) = &spec.raw {
        return renamed(raw, "name", name);
    }
    let Effects { read_only, idempotent, destructive, open_world } = spec.effects;
    let object = Object {
        name,
        title: spec.title.as_deref(),
        description: &spec.description,
        input_schema: spec.input.document(),
        output_schema: spec.output.as_ref().map(trunkline_model::Schema::document),
        annotations: Annotations {
            read_only_hint: read_only,
            destructive_hint: destructive,
            idempotent_hint: idempotent,
            open_world_hint: open_world,
        },
    };
    Json::from_serialize(&object).unwrap_or_else(|_| Json::empty_object())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tool_that_goes_on_is_listed_with_tasks() {
        let object = Json::parse(r#"{"name":"a","execution":{"taskSupport":"required"}}"#).unwrap();
        assert_eq!(with_execution(&object, false).as_str(), r#"{"name":"a"}"#);
        let object = Json::parse(r#"{"name":"a"}"#).unwrap();
        let listed = r#"{"name":"a","execution":{"taskSupport":"optional"}}"#;
        assert_eq!(with_execution(&object, true).as_str(), listed);
        assert_eq!(with_execution(&object, false), object);
    }

    #[test]
    fn renaming_leaves_the_rest_to_the_letter() {
        let object = Json::parse(r#"{"name":"a","x":1.50,"big":123456789012345678901234567890}"#).unwrap();
        assert_eq!(
            renamed(&object, "name", "s__a").as_str(),
            r#"{"name":"s__a","x":1.50,"big":123456789012345678901234567890}"#
        );
    }
}
