//! JSON Schema 2020-12, the one inner form of every schema.

use std::fmt;
use std::sync::{Arc, OnceLock};

use jsonschema::Validator;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Json;

/// The most violations that one answer carries.
const MAX_VIOLATIONS: usize = 100;

/// The longest excerpt of an offending value, in characters.
const MAX_EXCERPT: usize = 80;

/// A JSON Schema. It is compiled when it is first used. References to other documents are never followed.
#[derive(Clone)]
pub struct Schema(Arc<Inner>);

struct Inner {
    document: Value,
    validator: OnceLock<Result<Validator, String>>,
}

/// One place where a value does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Where, as a JSON Pointer (RFC 6901); empty for the whole value.
    pub path: String,
    /// What the schema asks for there, in words.
    pub expected: String,
    /// What is there, shortened.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "(the whole value)" } else { &self.path };
        write!(f, "{path}: expected {}, found {}", self.expected, self.found)
    }
}

impl Schema {
    /// A schema document.
    #[must_use]
    pub fn new(document: Value) -> Self {
        Self(Arc::new(Inner { document, validator: OnceLock::new() }))
    }

    /// A schema that takes any object.
    #[must_use]
    pub fn any_object() -> Self {
        Self::new(serde_json::json!({"type": "object"}))
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.0.document
    }

    /// What is wrong with the schema itself, where it can't be used. Values are then not checked here.
    #[must_use]
    pub fn defect(&self) -> Option<&str> {
        self.validator().as_ref().err().map(String::as_str)
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Every violation, up to 100. A schema with a [`defect`](Self::defect) finds none.
    pub fn validate(&self, value: &Json) -> Result<(), Vec<Violation>> {
        let Ok(validator) = self.validator() else { return Ok(()) };
        let value = value.to_value();
        if validator.is_valid(&value) {
            return Ok(());
        }
        let violations: Vec<_> = validator
            .iter_errors(&value)
            .take(MAX_VIOLATIONS)
            .map(|error| Violation {
                path: error.instance_path().as_str().to_owned(),
                expected: expected(error.kind()),
                found: excerpt(error.instance()),
            })
            .collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    fn validator(&self) -> &Result<Validator, String> {
        self.0
            .validator
            .get_or_init(|| jsonschema::options().build(&self.0.document).map_err(|error| error.to_string()))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.document.fmt(f)
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.0.document == other.0.document
    }
}

fn excerpt(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn expected(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as K;
    match kind {
        K::Type { kind: TypeKind::Single(one) } => format!("type {one}"),
        K::Type { kind: TypeKind::Multiple(many) } => {
            format!("one of the types {}", many.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", "))
        }
        K::Required { property } => format!("the required property {property}"),
        K::AdditionalProperties { unexpected } => format!("no property named {}", unexpected.join(", ")),
        K::Enum { options } => format!("one of {options}"),
        K::Constant { expected_value } => format!("the value {expected_value}"),
        K::Minimum { limit } => format!("a number of at least {limit}"),
        K::Maximum { limit } => format!("a number of at most {limit}"),
        K::ExclusiveMinimum { limit } => format!("a number above {limit}"),
        K::ExclusiveMaximum { limit } => format!("a number below {limit}"),
        K::MinLength { limit } => format!("at least {limit} characters"),
        K::MaxLength { limit } => format!("at most {limit} characters"),
        K::MinItems { limit } => format!("at least {limit} items"),
        K::MaxItems { limit } => format!("at most {limit} items"),
        K::Pattern { pattern } => format!("text that matches {pattern}"),
        K::Format { format } => format!("text in the format {format}"),
        K::UniqueItems => "items that all differ".to_owned(),
        K::AnyOf { .. } => "a value that fits one of the alternatives (anyOf)".to_owned(),
        K::OneOfNotValid { .. } => {
            "a value that fits exactly one alternative (oneOf), it fits none".to_owned()
        }
        K::OneOfMultipleValid { .. } => {
            "a value that fits exactly one alternative (oneOf), it fits several".to_owned()
        }
        other => other.keyword().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_violation_is_named_with_its_path() {
        let schema = Schema::new(json!({
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "object", "properties": {"c": {"enum": ["x"]}}}},
            "required": ["a", "z"],
        }));
        let bad = Json::from(json!({"a": "one", "b": {"c": "y"}}));
        let mut found: Vec<_> =
            schema.validate(&bad).unwrap_err().into_iter().map(|v| (v.path, v.expected)).collect();
        found.sort();
        assert_eq!(
            found,
            [
                (String::new(), "the required property \"z\"".to_owned()),
                ("/a".to_owned(), "type number".to_owned()),
                ("/b/c".to_owned(), "one of [\"x\"]".to_owned()),
            ]
        );
    }

    #[test]
    fn a_reference_to_another_document_is_never_followed() {
        let schema = Schema::new(json!({"$ref": "http://127.0.0.1:1/elsewhere.json"}));
        assert!(schema.defect().is_some());
        assert_eq!(schema.validate(&Json::null()), Ok(()));
    }
}
