//! A document to operations, each a tool or left out with its reason.

use std::collections::HashSet;

use http::{HeaderValue, Method};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use trunkline_model::{Capability, Effects};
use url::Url;

use super::config::Config;
use super::document::Document;
use super::inputs::{self, Inputs};
use super::names::{argument, fits, identifier, unique};
use super::output::{self, Output};
use super::parameters::{Location, Parameter, Style};
use super::reference::Node;
use super::request::{BODY, Template, placeholders};
use super::schema::{Dialect, Direction, Lowering, shortened};
use super::security::{self, Requirement, Scheme};
use super::server;
use super::swagger2;

/// The most schema nodes in all tools together: a bound on the memory that a document can take, some 0.7 KB a node.
const MAX_TOTAL: usize = 400_000;

/// From this many schema nodes on, the schemas of answers are left out.
const MAX_TOTAL_WITH_OUTPUT: usize = 150_000;

/// The longest description of a tool, in bytes.
const MAX_DESCRIPTION: usize = 8192;

/// The methods that a path item may have (`query` since 3.2).
const METHODS: [&str; 9] = ["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];

/// A document as tools.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) title: String,
    pub(super) version: String,
    /// `openapi 3.1.0` or `swagger 2.0`.
    pub(super) protocol: String,
    pub(super) operations: Vec<Operation>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) warnings: Vec<String>,
    pub(super) schemes: IndexMap<String, Scheme>,
}

/// An operation that does not become a tool.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// `METHOD /path`.
    pub operation: String,
    /// Why, in words.
    pub reason: String,
}

/// An operation as a tool.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: String,
    pub(super) title: Option<String>,
    pub(super) description: String,
    pub(super) capabilities: Vec<Capability>,
    pub(super) input: Value,
    pub(super) output: Option<Output>,
    pub(super) effects: Effects,
    pub(super) path: String,
    /// Where its requests go, if the document says so.
    pub(super) base: Option<Url>,
    pub(super) template: Template,
    pub(super) security: Vec<Vec<Requirement>>,
}

impl Operation {
    /// `METHOD /path`.
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.template.method, self.path)
    }
}

/// Reads a document's operations as `config` has them.
pub(super) fn lower(document: &Document, config: &Config) -> Lowered {
    let top = document.top();
    let version = top.text("openapi");
    let dialect = match version {
        None => Dialect::Swagger2,
        Some(version) if version.starts_with("3.0") => Dialect::V30,
        Some(_) => Dialect::V31,
    };
    let info = top.get("info");
    let text = |name: &str| info.and_then(|info| info.text(name)).unwrap_or_default().to_owned();
    let mut warnings = Vec::new();
    let schemes = security::schemes(document, &mut warnings);
    let mut reader = Reader {
        document,
        config,
        dialect,
        taken: HashSet::new(),
        total: 0,
        lowered: Lowered {
            title: text("title"),
            version: text("version"),
            protocol: version
                .map_or_else(|| "swagger 2.0".to_owned(), |version| format!("openapi {version}")),
            operations: Vec::new(),
            left_out: Vec::new(),
            warnings,
            schemes,
        },
    };
    for (path, node) in top.get("paths").into_iter().flat_map(Node::members) {
        if !path.starts_with("x-") {
            reader.path(path, node);
        }
    }
    for (name, _) in top.get("webhooks").into_iter().flat_map(Node::members) {
        reader.leave_out(format!("webhook {name}"), "a webhook is called by the service".to_owned());
    }
    if config.base_url.is_none() && reader.lowered.operations.iter().any(|operation| operation.base.is_none())
    {
        reader.warn("the document names no absolute server: set `base_url`".to_owned());
    }
    for name in config.tools.keys() {
        if !reader.taken.contains(name) {
            reader.warn(format!("`tools.{name}` is no tool of this document"));
        }
    }
    for name in config.credentials.keys() {
        if !reader.lowered.schemes.contains_key(name) {
            reader.warn(format!("`credentials.{name}` is no security scheme of this document"));
        }
    }
    reader.lowered
}

struct Reader<'a> {
    document: &'a Document,
    config: &'a Config,
    dialect: Dialect,
    taken: HashSet<String>,
    total: usize,
    lowered: Lowered,
}

impl<'a> Reader<'a> {
    fn warn(&mut self, warning: String) {
        if !self.lowered.warnings.contains(&warning) && self.lowered.warnings.len() < 1000 {
            self.lowered.warnings.push(warning);
        }
    }

    fn leave_out(&mut self, operation: String, reason: String) {
        self.lowered.left_out.push(LeftOut { operation, reason });
    }

    fn path(&mut self, path: &str, node: Node<'a>) {
        let item = match self.document.follow(node) {
            Ok(item) if item.value.is_object() => item,
            Ok(_) => return self.leave_out(format!("* {path}"), "the path item is not an object".to_owned()),
            Err(cause) => return self.leave_out(format!("* {path}"), cause),
        };
        let additional = item.get("additionalOperations").into_iter().flat_map(Node::members);
        for (name, operation) in item.members().filter(|(name, _)| METHODS.contains(name)).chain(additional) {
            let method = name.to_ascii_uppercase();
            let label = format!("{method} {path}");
            match self.operation(&method, path, item, operation) {
                Ok(Some(operation)) => self.lowered.operations.push(operation),
                Ok(None) => {}
                Err(reason) => self.leave_out(label, reason),
            }
        }
    }

    /// An operation as a tool, or the reason why not. `None`: it has been listed already.
    fn operation(
        &mut self,
        method: &str,
        path: &str,
        item: Node<'a>,
        node: Node<'a>,
    ) -> Result<Option<Operation>, String> {
        let node = self.document.follow(node)?;
        if !node.value.is_object() {
            return Err("the operation is not an object".to_owned());
        }
        let http_method =
            Method::from_bytes(method.as_bytes()).map_err(|_| "the method is not one of HTTP")?;
        if matches!(method, "TRACE" | "CONNECT") {
            return Err(format!("{method} is a method between machines, not a call"));
        }
        if !path.starts_with('/') {
            return Err("the path does not begin with a slash".to_owned());
        }
        let id = node.text("operationId").filter(|id| !id.trim().is_empty());
        let label = format!("{method} {path}");
        self.selected(id, &label)?;
        let name = unique(identifier(id.unwrap_or(&label.to_ascii_lowercase())), &mut self.taken);
        let settings = self.config.tools.get(&name);
        if settings.is_some_and(|settings| settings.hidden) {
            return Err(format!("`tools.{name}.hidden` is set"));
        }
        if self.total > MAX_TOTAL {
            return Err("the schemas of the document's operations are too large together".to_owned());
        }
        let mut lowering = Lowering::new(self.document, self.dialect, Direction::Request);
        let inputs = match self.dialect {
            Dialect::Swagger2 => swagger2::read(self.document, &mut lowering, item, node)?,
            _ => inputs::read(self.document, &mut lowering, item, node)?,
        };
        let (input, parameters, body) = self.input(&label, path, inputs, &mut lowering)?;
        let output = if self.total < MAX_TOTAL_WITH_OUTPUT {
            output::schema(self.document, self.dialect, node)
        } else {
            self.warn(
                "the document is large: the answers of its later operations are not described".to_owned(),
            );
            None
        };
        self.total += lowering.nodes() + output.as_ref().map_or(0, |(_, nodes)| *nodes);
        let accept = HeaderValue::try_from(output::accept(self.document, self.dialect, node))
            .unwrap_or(HeaderValue::from_static("*/*"));
        let (title, description) = described(node, &label);
        let mut capabilities = settings.map(|settings| settings.capabilities.clone()).unwrap_or_default();
        capabilities.extend(tags(node));
        capabilities.dedup();
        let effects = Effects::of_http_method(method);
        Ok(Some(Operation {
            title,
            description: settings.and_then(|settings| settings.description.clone()).unwrap_or(description),
            capabilities,
            input,
            output: output.map(|(output, _)| output),
            effects: settings.and_then(|settings| settings.effects).map_or(effects, |own| own.over(effects)),
            path: path.to_owned(),
            base: server::base(self.document, item, node),
            template: Template::new(http_method, path, parameters, body, accept),
            security: security::alternatives(self.document, node),
            name,
        }))
    }

    /// Whether the configuration takes an operation.
    fn selected(&self, id: Option<&str>, label: &str) -> Result<(), String> {
        let any = |patterns: &[String]| {
            patterns.iter().any(|pattern| fits(pattern, label) || id.is_some_and(|id| fits(pattern, id)))
        };
        if !self.config.include.is_empty() && !any(&self.config.include) {
            return Err("`include` does not name it".to_owned());
        }
        if any(&self.config.exclude) {
            return Err("`exclude` names it".to_owned());
        }
        Ok(())
    }

    /// The tool's input schema, with arguments named so that none clash.
    fn input(
        &mut self,
        label: &str,
        path: &str,
        mut inputs: Inputs,
        lowering: &mut Lowering<'a>,
    ) -> Result<(Value, Vec<Parameter>, Option<super::body::Body>), String> {
        inputs.parameters.retain(|(parameter, _)| {
            parameter.location != Location::Path || placeholders(path).any(|name| name == parameter.name)
        });
        for name in placeholders(path) {
            let declared = |p: &Parameter| p.location == Location::Path && p.name == name;
            if !inputs.parameters.iter().any(|(parameter, _)| declared(parameter)) {
                self.warn(format!("{label}: {{{name}}} of the path is not declared; it is taken as text"));
                inputs.parameters.push((undeclared(name), json!({"type": "string"})));
            }
        }
        // What is most specific keeps its name: the body, then path, query, header, cookie.
        inputs.parameters.sort_by_key(|(parameter, _)| parameter.location);
        let mut names: HashSet<String> = HashSet::new();
        if inputs.body.is_some() {
            names.insert(BODY.to_owned());
        }
        let mut properties = Map::new();
        let mut required: Vec<Value> = Vec::new();
        let mut parameters = Vec::with_capacity(inputs.parameters.len());
        for (mut parameter, schema) in inputs.parameters {
            let mut name = argument(&parameter.name);
            if names.contains(&name) {
                name = format!("{name}_{}", parameter.location.name());
            }
            parameter.argument = unique(name, &mut names);
            if parameter.required {
                required.push(parameter.argument.clone().into());
            }
            properties.insert(parameter.argument.clone(), schema);
            parameters.push(parameter);
        }
        let body = inputs.body.map(|(body, schema)| {
            if body.required {
                required.push(BODY.into());
            }
            properties.insert(BODY.to_owned(), schema);
            body
        });
        let mut input = json!({"type": "object", "properties": properties, "additionalProperties": false});
        if !required.is_empty() {
            input["required"] = Value::Array(required);
        }
        let definitions = lowering.definitions();
        if !definitions.is_empty() {
            input["$defs"] = Value::Object(definitions);
        }
        if let Some(cause) = lowering.dangling.first() {
            return Err(cause.clone());
        }
        if lowering.was_cut() {
            self.warn(format!(
                "{label}: the input schema is very large; parts of it are left out and take any value"
            ));
        }
        Ok((input, parameters, body))
    }
}

fn undeclared(name: &str) -> Parameter {
    Parameter {
        argument: name.to_owned(),
        name: name.to_owned(),
        location: Location::Path,
        style: Style::Simple,
        explode: false,
        allow_reserved: false,
        required: true,
    }
}

/// Title and description for people and models.
fn described(node: Node<'_>, label: &str) -> (Option<String>, String) {
    let clean = |name: &str| node.text(name).map(str::trim).filter(|text| !text.is_empty());
    let (summary, text) = (clean("summary"), clean("description"));
    let mut description = match (summary, text) {
        (Some(summary), Some(text)) if text.starts_with(summary) => text.to_owned(),
        (Some(summary), Some(text)) => format!("{summary}\n\n{text}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => label.to_owned(),
    };
    if node.is_true("deprecated") {
        description = format!("Deprecated. {description}");
    }
    (summary.map(|summary| shortened(summary, 200)), shortened(&description, MAX_DESCRIPTION))
}

/// An operation's tags as terms: `1-Click Applications` is `1-click-applications`.
fn tags(node: Node<'_>) -> Vec<Capability> {
    let tags = node.get("tags").into_iter().flat_map(Node::items).filter_map(|tag| tag.value.as_str());
    tags.map(|tag| identifier(&tag.to_lowercase()).replace('_', "-"))
        .filter(|term| !term.is_empty())
        .take(8)
        .map(Capability::new)
        .collect()
}
