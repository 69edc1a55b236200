//! The parameters and body of an operation of Swagger 2.0, where a parameter is its own schema and the body is a
//! parameter among others.

use std::collections::HashMap;

use http::HeaderValue;
use serde_json::{Map, Value, json};

use super::body::{Body, Field, file_schema};
use super::document::Document;
use super::inputs::{Inputs, describe, effective, is_ignored_header};
use super::media::{Kind, kind, rank};
use super::parameters::{Location, Parameter, Style};
use super::reference::Node;
use super::schema::Lowering;

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
    let mut form = Vec::new();
    for node in effective(document, path_item, operation)? {
        let name = node.text("name").ok_or("a parameter has no name")?;
        let location = match node.text("in").unwrap_or_default() {
            "path" => Location::Path,
            "query" => Location::Query,
            "header" if is_ignored_header(name) => continue,
            "header" => Location::Header,
            "formData" => {
                form.push(node);
                continue;
            }
            "body" => {
                inputs.body = Some(body(document, lowering, operation, node)?);
                continue;
            }
            other => return Err(format!("the parameter {name} is in {other:?}, which is not a known place")),
        };
        let (style, explode) = collection(node, location);
        let mut schema = lowering.schema(node);
        describe(node, &mut schema);
        let parameter = Parameter {
            argument: name.to_owned(),
            name: name.to_owned(),
            location,
            style,
            explode,
            allow_reserved: false,
            required: location == Location::Path || node.is_true("required"),
        };
        inputs.parameters.push((parameter, schema));
    }
    if !form.is_empty() {
        inputs.body = Some(form_body(document, lowering, operation, &form)?);
    }
    Ok(inputs)
}

/// How a list is written: `collectionFormat`.
fn collection(node: Node<'_>, location: Location) -> (Style, bool) {
    let plain = if location == Location::Query { Style::Form } else { Style::Simple };
    match node.text("collectionFormat") {
        Some("multi") => (Style::Form, true),
        Some("ssv") => (Style::Space, false),
        Some("tsv") => (Style::Tab, false),
        Some("pipes") => (Style::Pipe, false),
        _ => (plain, false),
    }
}

/// The media types that an operation takes, best first.
fn consumes<'a>(document: &'a Document, operation: Node<'a>) -> Vec<&'a str> {
    let stated = operation.get("consumes").or_else(|| document.top().get("consumes"));
    let mut types: Vec<_> =
        stated.into_iter().flat_map(Node::items).filter_map(|item| item.value.as_str()).collect();
    types.sort_by_key(|media_type| rank(media_type));
    types
}

fn body<'a>(
    document: &'a Document,
    lowering: &mut Lowering<'a>,
    operation: Node<'a>,
    node: Node<'a>,
) -> Result<(Body, Value), String> {
    let stated = consumes(document, operation);
    // A body is never a form: those have their own parameters.
    let media_type = stated
        .into_iter()
        .find(|media_type| {
            !matches!(kind(media_type), Kind::Form | Kind::Multipart) && !media_type.contains('*')
        })
        .unwrap_or("application/json");
    let kind = kind(media_type);
    let mut schema = match kind {
        Kind::Text => json!({"type": "string", "description": format!("The body as {media_type}")}),
        Kind::Binary => json!({"type": "string", "contentEncoding": "base64"}),
        _ => node.get("schema").map_or_else(|| json!({}), |schema| lowering.schema(schema)),
    };
    describe(node, &mut schema);
    let media_type = HeaderValue::from_str(media_type)
        .map_err(|_| format!("the body's media type {media_type:?} can't be sent"))?;
    Ok((Body { required: node.is_true("required"), kind, media_type, fields: HashMap::new() }, schema))
}

fn form_body<'a>(
    document: &'a Document,
    lowering: &mut Lowering<'a>,
    operation: Node<'a>,
    form: &[Node<'a>],
) -> Result<(Body, Value), String> {
    let has_file = form.iter().any(|node| node.text("type") == Some("file"));
    let stated = consumes(document, operation);
    let takes_urlencoded = stated.iter().any(|media_type| kind(media_type) == Kind::Form);
    let takes_multipart = stated.iter().any(|media_type| kind(media_type) == Kind::Multipart);
    let (kind, media_type) = if has_file || (takes_multipart && !takes_urlencoded) {
        (Kind::Multipart, "multipart/form-data")
    } else {
        (Kind::Form, "application/x-www-form-urlencoded")
    };
    let mut properties = Map::new();
    let mut required = Vec::new();
    let mut fields = HashMap::new();
    for node in form {
        let name = node.text("name").ok_or("a parameter has no name")?;
        let mut schema = lowering.schema(*node);
        if node.text("type") == Some("file") {
            schema = file_schema(node.value);
        } else {
            describe(*node, &mut schema);
            let (style, explode) = collection(*node, Location::Query);
            fields
                .insert(name.to_owned(), Field { style: Some((style, explode, false)), content_type: None });
        }
        properties.insert(name.to_owned(), schema);
        if node.is_true("required") {
            required.push(Value::from(name));
        }
    }
    let any_required = !required.is_empty();
    let mut schema = json!({"type": "object", "properties": properties});
    if any_required {
        schema["required"] = Value::Array(required);
    }
    let body =
        Body { required: any_required, kind, media_type: HeaderValue::from_static(media_type), fields };
    Ok((body, schema))
}
