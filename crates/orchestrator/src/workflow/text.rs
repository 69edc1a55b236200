//! JSON or YAML text to a tree, bounded in size and depth while the tree is built.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::check::Finding;

use super::node::escape;

/// The longest text of a plan or a workflow, in bytes.
pub const MAX_TEXT: usize = 1 << 20;

/// The deepest nesting of a plan or a workflow. It keeps every recursive walk over it within a small stack.
pub const MAX_DEPTH: usize = 100;

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
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let budget = Budget { left: Cell::new(MAX_VALUES), exceeded: Cell::new(None) };
    let json_like = matches!(text.trim_ascii_start().as_bytes().first(), Some(b'{' | b'['));
    let result = if json_like { json(text, &budget) } else { yaml(text, &budget) };
    if let Some(reason) = budget.exceeded.get() {
        return Err(Box::new(Finding::error("", reason)));
    }
    result.map_err(|message| Box::new(Finding::error("", message).expected("a document in JSON or YAML")))
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

fn json(text: &str, budget: &Budget) -> Result<Value, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = Seed { budget, depth: 0 }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| format!("it is no JSON: {error}"));
    // YAML's flow style starts like JSON.
    match parsed {
        Err(error) if budget.exceeded.get().is_none() => {
            budget.left.set(MAX_VALUES);
            yaml(text, budget).map_err(|_| error)
        }
        other => other,
    }
}

fn yaml(text: &str, budget: &Budget) -> Result<Value, String> {
    // Our own budget counts what is built; the parser's bounds what it keeps aside for anchors.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 2_000_000,
            max_nodes: 1_000_000,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: 4 << 20,
            max_depth: MAX_DEPTH,
            max_documents: 1,
            simple_key_max_lookahead: 65_536,
            enforce_alias_anchor_ratio: false,
        },
        strict_booleans: true,
        emit_comments: false,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |reader| {
        Seed { budget, depth: 0 }.deserialize(reader)
    })
    .map_err(|error| {
        let text = error.to_string();
        let text = text.lines().next().unwrap_or_default();
        // The reader has several errors for its limits, some within others; their texts agree.
        if ["budget breached", "limit exceeded"].iter().any(|limit| text.contains(limit)) {
            budget.exceeded.set(Some("it nests too deep, or its aliases make too many copies"));
        }
        format!("it is no YAML: {text}")
    })
}

struct Budget {
    left: Cell<usize>,
    exceeded: Cell<Option<&'static str>>,
}

#[derive(Clone, Copy)]
struct Seed<'b> {
    budget: &'b Budget,
    depth: usize,
}

impl Seed<'_> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            self.budget.exceeded.set(Some("it nests more than 100 levels deep"));
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.budget.left.get().checked_sub(1) else {
            self.budget.exceeded.set(Some("it holds too many values"));
            return Err(D::Error::custom("too many values"));
        };
        self.budget.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "JSON's integers beyond 64 bits have no other form here"
        )]
        Ok(Value::from(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "JSON's integers beyond 64 bits have no other form here"
        )]
        Ok(Value::from(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            // Which of two members counts must not depend on the reader.
            if map.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!("the member {key:?} is there twice")));
            }
        }
        Ok(Value::Object(map))
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
