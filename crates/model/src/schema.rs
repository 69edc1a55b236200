//! JSON Schema 2020-12, the one inner form of every schema.

mod effort;

use std::fmt;
use std::sync::{Arc, OnceLock};

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Json;

/// The most violations that one answer carries.
const MAX_VIOLATIONS: usize = 100;

/// The most steps of a check whose every violation is looked for; of a larger one the first is told. The checker keeps
/// all it finds in memory.
const MAX_LISTED_STEPS: usize = 1_000_000;

/// How often the match of a pattern may go back and try again.
const MAX_BACKTRACKS: usize = 10_000;

/// The longest excerpt of an offending value, in characters.
const MAX_EXCERPT: usize = 80;

/// A JSON Schema. It is compiled when it is first used. References to other documents are never followed.
#[derive(Clone)]
pub struct Schema(Arc<Inner>);

struct Inner {
    document: Value,
    checker: OnceLock<Result<Checker, String>>,
}

struct Checker {
    validator: Validator,
    index: effort::Index,
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
        Self(Arc::new(Inner { document, checker: OnceLock::new() }))
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
        self.checker().as_ref().err().map(String::as_str)
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Every violation, up to 100. A schema with a [`defect`](Self::defect) finds none. A value that would take too
    /// many steps to check is refused.
    pub fn validate(&self, value: &Json) -> Result<(), Vec<Violation>> {
        let Ok(Checker { validator, index }) = self.checker() else { return Ok(()) };
        let value = value.to_value();
        let Some(steps) = effort::steps(&self.0.document, index, &value) else {
            let expected = "a value that takes fewer steps to check: a smaller or flatter one".to_owned();
            return Err(vec![Violation { path: String::new(), expected, found: excerpt(&value) }]);
        };
        if validator.is_valid(&value) {
            return Ok(());
        }
        let violations: Vec<_> = if steps <= MAX_LISTED_STEPS {
            validator.iter_errors(&value).take(MAX_VIOLATIONS).map(violation).collect()
        } else {
            validator.validate(&value).err().map(violation).into_iter().collect()
        };
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    fn checker(&self) -> &Result<Checker, String> {
        self.0.checker.get_or_init(|| {
            let index = effort::Index::new(&self.0.document)?;
            let patterns = PatternOptions::fancy_regex().backtrack_limit(MAX_BACKTRACKS);
            let validator = jsonschema::options()
                .with_pattern_options(patterns)
                .build(&self.0.document)
                .map_err(|error| error.to_string())?;
            Ok(Checker { validator, index })
        })
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

fn violation(error: ValidationError<'_>) -> Violation {
    Violation {
        path: error.instance_path().as_str().to_owned(),
        expected: expected(error.kind()),
        found: excerpt(error.instance()),
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
        K::BacktrackLimitExceeded { .. } => "text that is simpler to match against a pattern".to_owned(),
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

    /// Definitions that each refer to the next one twice: the work doubles with each.
    fn doubling(keyword: &str, count: usize) -> Value {
        let mut definitions = serde_json::Map::new();
        for n in 0..count {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            definitions.insert(format!("d{n}"), json!({keyword: [next, next]}));
        }
        definitions.insert(format!("d{count}"), json!({"type": "string"}));
        json!({"$defs": definitions, "$ref": "#/$defs/d0"})
    }

    #[test]
    fn alternatives_that_multiply_are_refused_before_they_are_tried() {
        let too_many = "a value that takes fewer steps to check: a smaller or flatter one";
        for keyword in ["allOf", "anyOf", "oneOf"] {
            assert_eq!(
                Schema::new(doubling(keyword, 60)).validate(&Json::from(json!(1))).unwrap_err()[0].expected,
                too_many,
                "{keyword}"
            );
            assert!(Schema::new(doubling(keyword, 3)).validate(&Json::from(json!(1))).is_err(), "{keyword}");
        }
        assert_eq!(Schema::new(doubling("allOf", 3)).validate(&Json::from(json!("x"))), Ok(()));
        // By names of other kinds.
        let mut named = json!({"$id": "https://a.example/", "$dynamicRef": "#a0", "$defs": {}});
        let mut identified = json!({"$id": "https://a.example/", "$ref": "i0", "$defs": {}});
        let mut encoded = json!({"$ref": "#/$defs/%650", "$defs": {"e30": {"type": "string"}}});
        for n in 0..30 {
            let next = json!({"$dynamicRef": format!("#a{}", n + 1)});
            named["$defs"][format!("d{n}")] =
                json!({"$dynamicAnchor": format!("a{n}"), "anyOf": [next, next]});
            let next = json!({"$ref": format!("i{}", n + 1)});
            identified["$defs"][format!("d{n}")] = json!({"$id": format!("i{n}"), "anyOf": [next, next]});
            let next = json!({"$ref": format!("#/$defs/%65{}", n + 1)});
            encoded["$defs"][format!("e{n}")] = json!({"anyOf": [next, next]});
        }
        named["$defs"]["last"] = json!({"$dynamicAnchor": "a30", "type": "string"});
        identified["$defs"]["last"] = json!({"$id": "i30", "type": "string"});
        for schema in [named, identified, encoded] {
            let schema = Schema::new(schema);
            assert_eq!(schema.defect(), None);
            assert_eq!(schema.validate(&Json::from(json!(1))).unwrap_err()[0].expected, too_many);
        }
    }

    #[test]
    fn a_schema_that_repeats_in_its_members_is_refused_only_for_deep_values() {
        let schema = Schema::new(json!({"anyOf": [
            {"type": "string"},
            {"properties": {"a": {"$ref": "#"}}, "required": ["a", "b"]},
            {"properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        ]}));
        let nested = |depth| (0..depth).fold(json!("x"), |inner, _| json!({"a": inner}));
        assert_eq!(schema.validate(&Json::from(nested(10))), Ok(()));
        assert!(schema.validate(&Json::from(nested(60))).is_err());
        // As deep, but only one way to go.
        let schema = Schema::new(json!({"properties": {"a": {"$ref": "#"}}}));
        assert_eq!(schema.validate(&Json::from(nested(100))), Ok(()));
    }

    #[test]
    fn references_in_a_circle_end() {
        let definitions = json!({"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}});
        let schema = Schema::new(json!({"$ref": "#/$defs/a", "$defs": definitions}));
        assert_eq!(schema.validate(&Json::from(json!({"x": 1}))), Ok(()));
    }

    #[test]
    fn a_long_chain_of_references_does_not_use_up_the_stack() {
        let chain = |length: usize| {
            let mut definitions = serde_json::Map::new();
            for n in 0..length {
                definitions.insert(format!("d{n}"), json!({"$ref": format!("#/$defs/d{}", n + 1)}));
            }
            definitions.insert(format!("d{length}"), json!({"type": "string"}));
            Schema::new(json!({"$defs": definitions, "$ref": "#/$defs/d0"}))
        };
        assert_eq!(chain(100_000).defect(), Some("it holds more than 2000 references"));
        assert_eq!(chain(1_900).defect(), None);
        assert!(chain(1_900).validate(&Json::from(json!("x"))).is_err());
        assert_eq!(chain(200).validate(&Json::from(json!("x"))), Ok(()));
    }

    #[test]
    fn a_pattern_that_goes_back_and_back_is_given_up() {
        let schema = Schema::new(json!({"items": {"pattern": r"^(a|a)*\1$"}}));
        let text = "a".repeat(200) + "b";
        let violations = schema.validate(&Json::from(json!([text]))).unwrap_err();
        assert_eq!(violations[0].expected, "text that is simpler to match against a pattern");
        // Real patterns of this kind stay far below the bound.
        let schema = Schema::new(json!({"pattern": r"^(?=.*[A-Z])(?=.*\d)(?!.*\s).{8,}$"}));
        assert_eq!(schema.validate(&Json::from(json!("a".repeat(2_000) + "A1"))), Ok(()));
    }
}
