//! The text of a plan or a workflow: how large it may be, and what is in it.

use serde_json::{Map, Value};
use trunkline_model::{Budget, DocumentError, Repeated, read_document};

use crate::check::Finding;

use super::node::escape;

/// The longest text of a plan or a workflow, in bytes.
pub const MAX_TEXT: usize = 1 << 20;

/// The deepest nesting of a plan or a workflow. It keeps every recursive walk over it within a small stack.
pub const MAX_DEPTH: usize = trunkline_model::MAX_DOCUMENT_DEPTH;

/// How many values a document may hold: aliases of YAML count as often as they are used.
const MAX_VALUES: usize = 400_000;

/// Reads JSON where the text starts like JSON, YAML otherwise.
///
/// # Errors
/// One finding: it is no JSON and no YAML, or too large, or too deep.
pub(crate) fn parse(text: &str) -> Result<Value, Box<Finding>> {
    if text.len() > MAX_TEXT {
        return Err(Box::new(
            Finding::error("", "the text is too long")
                .expected(format!("at most {MAX_TEXT} bytes"))
                .found(&Value::from(text.len())),
        ));
    }
    let budget = Budget::new(MAX_VALUES, Repeated::Refused);
    read_document(text.as_bytes(), &budget).map_err(|error| {
        Box::new(match error {
            DocumentError::Syntax(reason) => {
                Finding::error("", reason).expected("a document in JSON or YAML")
            }
            DocumentError::TooLarge(reason) => Finding::error("", reason),
        })
    })
}

/// The longest name of a member, in bytes. Places are said as JSON Pointers, whose length this bounds.
const MAX_NAME: usize = 512;

/// What keeps a document from being looked at: it nests deeper than [`MAX_DEPTH`], or has endless names.
pub(crate) fn unfit(value: &Value) -> Option<Finding> {
    let mut level: Vec<&Value> = vec![value];
    for _ in 0..=MAX_DEPTH {
        let names = level.iter().filter_map(|value| value.as_object()).flat_map(Map::keys);
        if names.map(String::len).any(|length| length > MAX_NAME) {
            let finding = Finding::error("", "the name of a member is too long");
            return Some(finding.expected(format!("at most {MAX_NAME} bytes")));
        }
        level = level
            .into_iter()
            .flat_map(|value| -> Box<dyn Iterator<Item = &Value>> {
                match value {
                    Value::Array(items) => Box::new(items.iter()),
                    Value::Object(members) => Box::new(members.values()),
                    _ => Box::new(std::iter::empty()),
                }
            })
            .collect();
    }
    (!level.is_empty())
        .then(|| Finding::error("", "it nests too deep").expected(format!("at most {MAX_DEPTH} levels")))
}

/// Visits every text in a value, with its place: `path` and what leads there from the value.
pub(crate) fn texts<'v>(value: &'v Value, path: &mut String, visit: &mut dyn FnMut(&str, &'v str)) {
    let length = path.len();
    match value {
        Value::String(text) => visit(path, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push('/');
                path.push_str(&index.to_string());
                texts(item, path, visit);
                path.truncate(length);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                path.push('/');
                path.push_str(&escape(name));
                texts(member, path, visit);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_yaml_become_the_same_tree() {
        let expected = json!({"a": [1, 2.5, null, true], "on": {"x": "no"}, "v": "1.0.3"});
        for text in [
            r#"{"a": [1, 2.5, null, true], "on": {"x": "no"}, "v": "1.0.3"}"#,
            "a: [1, 2.5, ~, true]\non: {x: no}\nv: 1.0.3\n",
            "{a: [1, 2.5, null, true], on: {x: no}, v: '1.0.3'}",
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn size_depth_and_aliases_are_bounded() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let inner = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
        for text in [" ".repeat(MAX_TEXT + 1), deep, "{\"a\":".repeat(120), bomb] {
            assert!(parse(&text).is_err());
        }
        assert!(parse("{\"a\": 1, \"a\": 2}").is_err());
        assert!(parse("a: [1").is_err());
    }

    #[test]
    fn depth_of_a_tree_is_measured() {
        let nest = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(unfit(&nest(MAX_DEPTH)).is_none());
        assert!(unfit(&nest(MAX_DEPTH + 1)).is_some());
        assert!(unfit(&json!({"a": [{"x".repeat(MAX_NAME + 1): 1}]})).is_some());
    }
}
