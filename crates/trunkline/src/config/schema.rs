//! Checks a configuration against its JSON Schema and finds every mistake in one pass: unknown names with the nearest
//! known one, wrong types, missing members. Text from XML and from variables becomes numbers where those belong.

use serde_json::{Number, Value};

use super::finding::Finding;
use super::near::nearest;
use super::node::{ConfigPath, Kind, Member, Node};
use crate::Error;

/// A place in a JSON Schema document made by `schemars`.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    root: &'a Value,
    here: &'a Value,
}

/// The schema that every value fits.
static ANY: Value = Value::Bool(true);

impl Cursor<'static> {
    /// A place where any value fits.
    pub(super) const ANY: Self = Self { root: &ANY, here: &ANY };
}

impl<'a> Cursor<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root, here: root }
    }

    /// Follows references and looks through "or null".
    fn go(self, mut here: &'a Value) -> Self {
        // A schema made by schemars has no chain of references longer than a few.
        for _ in 0..8 {
            if let Some(name) = here["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
                here = &self.root["$defs"][name];
            } else if let Some(real) = here["anyOf"]
                .as_array()
                .and_then(|options| options.iter().find(|option| option["type"] != "null"))
            {
                here = real;
            } else {
                break;
            }
        }
        Self { root: self.root, here }
    }

    /// Whether any value fits.
    pub(super) fn is_any(self) -> bool {
        ["type", "enum", "oneOf"].iter().all(|key| self.here.get(*key).is_none())
    }

    pub(super) fn takes(self, kind: &str) -> bool {
        match &self.here["type"] {
            Value::String(only) => only == kind,
            Value::Array(kinds) => kinds.iter().any(|k| k == kind),
            _ => false,
        }
    }

    /// The texts that can stand here, where there is a closed list of them.
    fn choices(self) -> Option<Vec<&'a str>> {
        if let Some(options) = self.here["enum"].as_array() {
            return Some(options.iter().filter_map(Value::as_str).collect());
        }
        let options = self.here["oneOf"].as_array()?;
        let texts = options.iter().flat_map(|option| {
            let listed = option["enum"].as_array().into_iter().flatten();
            listed.chain(option.get("const"))
        });
        Some(texts.filter_map(Value::as_str).collect())
    }

    /// What belongs under `key` of a mapping.
    pub(super) fn member(self, key: &str) -> Option<Self> {
        if let Some(known) = self.here["properties"].get(key) {
            return Some(self.go(known));
        }
        match self.here.get("additionalProperties") {
            Some(Value::Bool(false)) => None,
            Some(schema) => Some(self.go(schema)),
            None if self.is_any() => Some(self),
            None => None,
        }
    }

    pub(super) fn item(self) -> Self {
        self.go(self.here.get("items").unwrap_or(&ANY))
    }

    fn known(self) -> Vec<String> {
        self.here["properties"].as_object().map(|p| p.keys().cloned().collect()).unwrap_or_default()
    }

    fn required(self) -> impl Iterator<Item = &'a str> {
        self.here["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// What can stand here, in words.
    fn expected(self) -> String {
        let words = [
            ("string", "text"),
            ("integer", "a whole number"),
            ("number", "a number"),
            ("boolean", "true or false"),
            ("array", "a list"),
            ("object", "a mapping"),
        ];
        let kinds: Vec<_> =
            words.iter().filter(|(kind, _)| self.takes(kind)).map(|(_, word)| *word).collect();
        let least = if self.here["minimum"].as_f64() == Some(0.0) { " of at least 0" } else { "" };
        format!("{}{least}", kinds.join(" or "))
    }
}

/// Checks a tree and puts it in its typed form.
pub(super) struct Checker {
    /// Text with `${…}` fits everywhere: variables have not been replaced.
    pub(super) uninterpolated: bool,
    pub(super) findings: Vec<Finding>,
}

impl Checker {
    /// Checks `node`. What does not fit is reported and taken out, so that the rest can be checked further; the
    /// answer is whether `node` itself may stay.
    pub(super) fn check(&mut self, node: &mut Node, schema: Cursor<'_>, path: &ConfigPath) -> bool {
        if schema.is_any() {
            return true;
        }
        if let Some(choices) = schema.choices() {
            return self.check_choice(node, &choices, path);
        }
        match &mut node.kind {
            Kind::Map(members) if schema.takes("object") => {
                // `key:` with nothing behind it means the same as no such key.
                members.retain(|member| member.node.kind != Kind::Null);
                members.retain_mut(|member| self.check_member(member, schema, path));
                let missing = schema.required().find(|key| !members.iter().any(|m| m.key == **key));
                let Some(key) = missing else { return true };
                let error =
                    Error::Invalid { reason: format!("{key} is missing"), fix: format!("Add {key}.") };
                self.findings.push(Finding::error(error, path).at(node.at));
                false
            }
            Kind::List(items) if schema.takes("array") => {
                let mut index = 0;
                items.retain_mut(|item| {
                    let keep = self.check(item, schema.item(), &path.join(index.to_string()));
                    index += 1;
                    keep
                });
                true
            }
            Kind::Text(text) if self.uninterpolated && text.contains("${") => true,
            _ => match scalar(node, schema) {
                Some(kind) => {
                    node.kind = kind;
                    true
                }
                None => {
                    let found = node.kind_name().to_owned();
                    let error = Error::WrongType { expected: schema.expected(), found };
                    self.findings.push(Finding::error(error, path).at(node.at));
                    false
                }
            },
        }
    }

    fn check_member(&mut self, member: &mut Member, schema: Cursor<'_>, path: &ConfigPath) -> bool {
        let path = path.join(&member.key);
        if let Some(inner) = schema.member(&member.key) {
            return self.check(&mut member.node, inner, &path);
        }
        let known = schema.known();
        let near = nearest(&member.key, known.iter().map(String::as_str)).map(str::to_owned);
        let error = Error::UnknownField { name: member.key.clone(), nearest: near, known };
        self.findings.push(Finding::error(error, &path).at(member.at));
        false
    }

    fn check_choice(&mut self, node: &Node, choices: &[&str], path: &ConfigPath) -> bool {
        let expected = format!("one of {}", choices.join(", "));
        let found = match &node.kind {
            Kind::Text(text) if choices.contains(&text.as_str()) => return true,
            Kind::Text(text) if self.uninterpolated && text.contains("${") => return true,
            Kind::Text(text) => match nearest(text, choices.iter().copied()) {
                Some(near) => format!("other text (did you mean {near}?)"),
                None => "other text".to_owned(),
            },
            _ => node.kind_name().to_owned(),
        };
        self.findings.push(Finding::error(Error::WrongType { expected, found }, path).at(node.at));
        false
    }
}

/// A scalar in the type that belongs there.
fn scalar(node: &Node, schema: Cursor<'_>) -> Option<Kind> {
    match &node.kind {
        Kind::Text(text) => {
            if schema.takes("string") {
                return Some(Kind::Text(text.clone()));
            }
            if !node.loose {
                return None;
            }
            let text = text.trim();
            if schema.takes("boolean") && matches!(text, "true" | "false") {
                return Some(Kind::Bool(text == "true"));
            }
            let number: Number = text.parse().ok()?;
            scalar(&Node::new(Kind::Number(number), None), schema)
        }
        Kind::Number(number) => {
            let whole = number.is_i64() || number.is_u64();
            let negative = number.as_i64().is_some_and(|n| n < 0);
            let fits_integer = whole && !(negative && schema.here["minimum"].as_f64() == Some(0.0));
            if schema.takes("number") || (schema.takes("integer") && fits_integer) {
                Some(Kind::Number(number.clone()))
            } else if schema.takes("string") && whole {
                // `PORT: 8080` under `env` is meant as text.
                Some(Kind::Text(number.to_string()))
            } else {
                None
            }
        }
        Kind::Bool(value) if schema.takes("boolean") => Some(Kind::Bool(*value)),
        Kind::Bool(value) if schema.takes("string") => Some(Kind::Text(value.to_string())),
        _ => None,
    }
}
