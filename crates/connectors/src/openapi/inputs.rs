//! The parameters and body of an operation of OpenAPI 3.

use std::collections::HashMap;

use http::HeaderValue;
use serde_json::{Value, json};

use super::body::{Body, Field, file_schema};
use super::document::Document;
use super::media::{self, Kind, essence, rank};
use super::parameters::{Location, Parameter, Style};
use super::reference::Node;
use super::schema::{Lowering, shortened};

/// What an operation takes, before its arguments have their names.
#[derive(Default)]
pub(super) struct Inputs {
    /// Each with its schema.
    pub(super) parameters: Vec<(Parameter, Value)>,
    /// With its schema.
    pub(super) body: Option<(Body, Value)>,
}

/// Headers that HTTP or this connector sets, and those that OpenAPI says are not parameters.
pub(super) fn is_ignored_header(name: &str) -> bool {
    [
        "accept",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        // Who calls is said by a proxy of the mesh, not by whoever gives arguments.
        "l5d-client-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-client-cert",
    ]
    .iter()
    .any(|ignored| name.eq_ignore_ascii_case(ignored))
}

/// The parameters that hold for an operation: its own over those of its path.
///
/// # Errors
/// A parameter that is required and can't be read.
pub(super) fn effective<'a>(
    document: &'a Document,
    path_item: Node<'a>,
    operation: Node<'a>,
) -> Result<Vec<Node<'a>>, String> {
    let mut out: Vec<Node<'a>> = Vec::new();
    for list in [path_item.get("parameters"), operation.get("parameters")].into_iter().flatten() {
        for node in list.items() {
            let node = document.follow(node)?;
            let identity = |node: &Node<'a>| (node.text("name"), node.text("in"));
            match out.iter_mut().find(|other| identity(other) == identity(&node)) {
                Some(earlier) => *earlier = node,
                None => out.push(node),
            }
        }
    }
    Ok(out)
}

/// Reads the parameters and body of an operation.
///
/// # Errors
/// What can't be expressed, in words: the reason why the operation is left out.
pub(super) fn read<'a>(
    document: &'a Document,
    lowering: &mut Lowering<'a>,
    path_item: Node<'a>,
    operation: Node<'a>,
) -> Result<Inputs, String> {
    let mut inputs = Inputs::default();
    for node in effective(document, path_item, operation)? {
        if let Some(parameter) = parameter(lowering, node)? {
            inputs.parameters.push(parameter);
        }
    }
    if let Some(node) = operation.get("requestBody") {
        let node = document.follow(node)?;
        inputs.body = body(document, lowering, node)?;
    }
    Ok(inputs)
}

fn parameter<'a>(lowering: &mut Lowering<'a>, node: Node<'a>) -> Result<Option<(Parameter, Value)>, String> {
    let name = node.text("name").ok_or("a parameter has no name")?;
    let location = match node.text("in").unwrap_or_default() {
        "path" => Location::Path,
        "query" => Location::Query,
        "querystring" => Location::QueryString,
        "header" if is_ignored_header(name) => return Ok(None),
        "header" => Location::Header,
        "cookie" => Location::Cookie,
        other => return Err(format!("the parameter {name} is in {other:?}, which is not a known place")),
    };
    let default = match location {
        Location::Path | Location::Header => "simple",
        _ => "form",
    };
    let stated = node.text("style").unwrap_or(default);
    let mut style =
        style(stated).ok_or_else(|| format!("the parameter {name} has the unknown style {stated}"))?;
    let explode = node
        .get("explode")
        .and_then(|explode| explode.value.as_bool())
        .unwrap_or(matches!(stated, "form" | "cookie"));
    let content = node.get("content").and_then(|content| content.members().next());
    let schema = match content {
        Some((media_type, media)) => {
            style = match media::kind(media_type) {
                Kind::Json => Style::Json,
                Kind::Form => Style::Urlencoded,
                Kind::Text => style,
                _ => {
                    return Err(format!(
                        "the parameter {name} is {media_type}, which can't be written there"
                    ));
                }
            };
            media.get("schema")
        }
        None => node.get("schema"),
    };
    let mut schema = schema.map_or_else(|| json!({}), |schema| lowering.schema(schema));
    describe(node, &mut schema);
    let parameter = Parameter {
        argument: name.to_owned(),
        name: name.to_owned(),
        location,
        style,
        explode,
        allow_reserved: node.is_true("allowReserved"),
        required: location == Location::Path || node.is_true("required"),
    };
    Ok(Some((parameter, schema)))
}

fn style(name: &str) -> Option<Style> {
    Some(match name {
        "simple" => Style::Simple,
        "label" => Style::Label,
        "matrix" => Style::Matrix,
        "form" | "cookie" => Style::Form,
        "spaceDelimited" => Style::Space,
        "pipeDelimited" => Style::Pipe,
        "deepObject" => Style::DeepObject,
        _ => return None,
    })
}

/// What a parameter says of itself, put into its schema.
pub(super) fn describe(node: Node<'_>, schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    if let Some(text) = node.text("description") {
        members.insert("description".to_owned(), shortened(text, 2048).into());
    }
    if node.is_true("deprecated") {
        members.insert("deprecated".to_owned(), true.into());
    }
    if let Some(example) = node.get("example")
        && example.value.to_string().len() < 500
    {
        members.entry("examples").or_insert_with(|| json!([example.value]));
    }
}

fn body<'a>(
    document: &'a Document,
    lowering: &mut Lowering<'a>,
    node: Node<'a>,
) -> Result<Option<(Body, Value)>, String> {
    let content = node.get("content");
    let best = content.into_iter().flat_map(Node::members).min_by_key(|(media_type, _)| rank(media_type));
    let Some((media_type, media)) = best else { return Ok(None) };
    let media = document.follow(media)?;
    let kind = media::kind(media_type);
    let schema_node = media.get("schema");
    let mut schema = schema_node.map_or_else(|| json!({}), |schema| lowering.schema(schema));
    let mut fields = HashMap::new();
    // A range such as `*/*` is not a type that can be sent.
    let mut sent = if media_type.contains('*') { "application/json" } else { media_type };
    match kind {
        Kind::Json => {}
        Kind::Text => schema = json!({"type": "string", "description": format!("The body as {media_type}")}),
        Kind::Binary => {
            sent = if media_type.contains('*') { "application/octet-stream" } else { media_type };
            let description = format!("The body, {media_type}, in base64");
            schema = json!({"type": "string", "contentEncoding": "base64", "description": description});
        }
        Kind::Form | Kind::Multipart => {
            fields = form_fields(document, media);
            if kind == Kind::Multipart
                && let Some(node) = schema_node
            {
                with_files(document, lowering, node, &mut schema)?;
            }
        }
    }
    describe(node, &mut schema);
    if kind == Kind::Multipart {
        // The boundary is ours.
        sent = media_type.split(';').next().unwrap_or_default();
    }
    let media_type = HeaderValue::from_str(sent.trim())
        .map_err(|_| format!("the body's media type {media_type:?} can't be sent"))?;
    let body = Body { required: node.is_true("required"), kind, media_type, fields };
    Ok(Some((body, schema)))
}

fn form_fields(document: &Document, media: Node<'_>) -> HashMap<String, Field> {
    let encoding = media.get("encoding");
    let fields = encoding.into_iter().flat_map(Node::members).filter_map(|(name, node)| {
        let node = document.follow(node).ok()?;
        let stated = ["style", "explode", "allowReserved"].iter().any(|member| node.get(member).is_some());
        let style = stated.then(|| {
            let style = node.text("style").and_then(style).unwrap_or(Style::Form);
            let explode = node.get("explode").and_then(|explode| explode.value.as_bool());
            (style, explode.unwrap_or(style == Style::Form), node.is_true("allowReserved"))
        });
        let content_type = node.text("contentType").map(str::to_owned);
        Some((name.to_owned(), Field { style, content_type }))
    });
    fields.collect()
}

/// Puts the schema of a file in the place of each binary property of a multipart body.
fn with_files<'a>(
    document: &'a Document,
    lowering: &mut Lowering<'a>,
    node: Node<'a>,
    schema: &mut Value,
) -> Result<(), String> {
    let node = document.follow(node)?;
    if schema.get("$ref").is_some() {
        // The definition is shared with nothing: files are replaced in a copy of its own.
        *schema = lowering.schema(node);
    }
    for (name, property) in node.get("properties").into_iter().flat_map(Node::members) {
        let property = document.follow(property)?;
        let file = if is_file(property) {
            file_schema(property.value)
        } else if let Some(items) = property.get("items")
            && is_file(document.follow(items)?)
        {
            json!({"type": "array", "items": file_schema(property.value)})
        } else {
            continue;
        };
        if let Some(slot) = schema.get_mut("properties").and_then(|properties| properties.get_mut(name)) {
            *slot = file;
        }
    }
    Ok(())
}

fn is_file(property: Node<'_>) -> bool {
    let binary = property.text("format") == Some("binary") || property.text("type") == Some("file");
    let media = property
        .text("contentMediaType")
        .is_some_and(|media| !matches!(media::kind(&essence(media)), Kind::Json | Kind::Form));
    binary || media
}
