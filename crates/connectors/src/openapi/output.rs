//! What an operation answers: the schema of its structured result and the media types to ask for.

use serde_json::{Map, Value, json};

use super::document::Document;
use super::media::{Kind, kind};
use super::reference::Node;
use super::schema::{Dialect, Direction, Lowering, loosen};

/// The largest schema of an answer that is kept, in nodes: a larger one costs a model more than it tells.
const MAX_OUTPUT: usize = 250;

/// The schema of an operation's answer.
#[derive(Clone, Debug)]
pub(super) struct Output {
    /// A schema of an object.
    pub(super) schema: Value,
    /// The answer is not an object itself and is put into one as `result`.
    pub(super) wrapped: bool,
}

/// The answer's schema, where there is one that real answers fit: every good answer is JSON of one stated schema.
pub(super) fn schema<'a>(
    document: &'a Document,
    dialect: Dialect,
    operation: Node<'a>,
) -> Option<(Output, usize)> {
    let mut stated = None;
    for (status, response) in operation.get("responses")?.members() {
        if !status.starts_with('2') {
            continue;
        }
        let response = document.follow(response).ok()?;
        // Two kinds of good answer, or one that is not JSON: no schema fits all.
        if stated.is_some() {
            return None;
        }
        stated = Some(json_schema(document, dialect, operation, response)?);
    }
    let node = stated?;
    let mut lowering = Lowering::new(document, dialect, Direction::Response);
    let mut schema = lowering.schema(node);
    let target = document.follow(node).ok()?;
    let mut definitions = lowering.definitions();
    if !lowering.dangling.is_empty() || lowering.nodes() > MAX_OUTPUT {
        return None;
    }
    let is_object = target.text("type") == Some("object") || target.get("properties").is_some();
    let wrapped = !is_object;
    if wrapped && target.text("type").is_none() {
        // An answer of unknown type could be an object, which is not put into another.
        return None;
    }
    if is_object && schema.get("$ref").is_some() {
        // The root has to be an object itself, not a reference to one.
        let mut again = Lowering::new(document, dialect, Direction::Response);
        schema = again.schema(target);
        definitions = again.definitions();
    }
    loosen(&mut schema);
    let mut root = Map::new();
    root.insert("type".to_owned(), "object".into());
    if wrapped {
        root.insert("properties".to_owned(), json!({"result": schema}));
    } else if let Value::Object(members) = schema {
        // Alternatives at the root would not be understood by every client.
        root.extend(members.into_iter().filter(|(keyword, _)| {
            matches!(keyword.as_str(), "title" | "description" | "properties" | "additionalProperties")
        }));
    }
    if !definitions.is_empty() {
        definitions.values_mut().for_each(loosen);
        root.insert("$defs".to_owned(), Value::Object(definitions));
    }
    Some((Output { schema: Value::Object(root), wrapped }, lowering.nodes()))
}

/// The schema of a response that is JSON and nothing else.
fn json_schema<'a>(
    document: &'a Document,
    dialect: Dialect,
    operation: Node<'a>,
    response: Node<'a>,
) -> Option<Node<'a>> {
    if dialect == Dialect::Swagger2 {
        let all_json = produces(document, operation).all(|media_type| kind(media_type) == Kind::Json);
        return response.get("schema").filter(|_| all_json);
    }
    let mut contents = response.get("content")?.members();
    let (media_type, media) = contents.next()?;
    if contents.next().is_some() || kind(media_type) != Kind::Json {
        return None;
    }
    document.follow(media).ok()?.get("schema")
}

fn produces<'a>(document: &'a Document, operation: Node<'a>) -> impl Iterator<Item = &'a str> {
    let stated = operation.get("produces").or_else(|| document.top().get("produces"));
    stated.into_iter().flat_map(Node::items).filter_map(|item| item.value.as_str())
}

/// The `Accept` header: JSON before anything else that the operation's answers may be.
pub(super) fn accept(document: &Document, dialect: Dialect, operation: Node<'_>) -> String {
    let mut types: Vec<&str> = Vec::new();
    if dialect == Dialect::Swagger2 {
        types.extend(produces(document, operation));
    } else {
        for (_, response) in operation.get("responses").into_iter().flat_map(Node::members) {
            if let Ok(response) = document.follow(response) {
                types.extend(
                    response.get("content").into_iter().flat_map(Node::members).map(|(name, _)| name),
                );
            }
        }
    }
    types.retain(|media_type| {
        media_type.contains('/')
            && media_type.len() < 100
            && media_type.bytes().all(|b| (0x20..0x7f).contains(&b))
    });
    types.sort_by_key(|media_type| kind(media_type) != Kind::Json);
    let mut seen = std::collections::HashSet::new();
    types.retain(|media_type| seen.insert(*media_type));
    types.truncate(8);
    match types.as_slice() {
        [] => "application/json, */*;q=0.5".to_owned(),
        [one] => format!("{one}, */*;q=0.1"),
        [first, rest @ ..] => {
            let mut out = (*first).to_owned();
            for other in rest {
                out.push_str(&format!(
                    ", {other};q={}",
                    if kind(other) == Kind::Json { "0.9" } else { "0.5" }
                ));
            }
            out
        }
    }
}
