//! A configuration as it is written: a tree of values that know their place in the file.

use std::fmt;

use serde_json::{Map, Number, Value};

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The line.
    pub(crate) line: u32,
    /// The column, in characters.
    pub(crate) column: u32,
}

impl Position {
    /// The position of a byte offset in `text`.
    pub(super) fn of_offset(text: &str, offset: usize) -> Self {
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        let line = before.bytes().filter(|b| *b == b'\n').count();
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count());
        let one_based = |n: usize| u32::try_from(n).unwrap_or(u32::MAX - 1) + 1;
        Self { line: one_based(line), column: one_based(column) }
    }
}

/// Where in the configuration a value stands: `services.git.process`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigPath(Vec<String>);

impl ConfigPath {
    /// A path from its parts.
    pub(super) fn new<const N: usize>(parts: [&str; N]) -> Self {
        Self(parts.map(str::to_owned).to_vec())
    }

    /// The path of a part of what this path names.
    pub(super) fn join(&self, part: impl Into<String>) -> Self {
        let mut parts = self.0.clone();
        parts.push(part.into());
        Self(parts)
    }

    pub(super) fn parts(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            if part.bytes().all(|b| b.is_ascii_digit()) {
                write!(f, "[{part}]")?;
            } else {
                write!(f, "{}{part}", if index == 0 { "" } else { "." })?;
            }
        }
        Ok(())
    }
}

/// A value of the configuration.
#[derive(Clone, PartialEq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Where it stands in the file, where the parser tells.
    pub(super) at: Option<Position>,
    /// The text before its `${…}` were replaced. What replaced them is never shown.
    pub(super) template: Option<String>,
    /// It may be read as a number or truth value though it is text: it comes from XML or from a variable.
    pub(super) loose: bool,
}

#[derive(Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Member>),
}

#[derive(Clone, PartialEq)]
pub(super) struct Member {
    pub(super) key: String,
    pub(super) at: Option<Position>,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn new(kind: Kind, at: Option<Position>) -> Self {
        Self { kind, at, template: None, loose: false }
    }

    pub(super) fn empty_map() -> Self {
        Self::new(Kind::Map(Vec::new()), None)
    }

    /// The member or item that `part` names.
    pub(super) fn get(&self, part: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(members) => members.iter().find(|m| m.key == part).map(|m| &m.node),
            Kind::List(items) => items.get(part.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The value at `path`.
    pub(super) fn find(&self, path: &ConfigPath) -> Option<&Self> {
        path.parts().iter().try_fold(self, |node, part| node.get(part))
    }

    /// The position of what `path` names, or of the nearest thing around it.
    pub(super) fn position(&self, path: &ConfigPath) -> Option<Position> {
        let (mut node, mut best) = (self, self.at);
        for part in path.parts() {
            if let Kind::Map(members) = &node.kind
                && let Some(member) = members.iter().find(|m| m.key == *part)
            {
                best = member.at.or(best);
            }
            let Some(next) = node.get(part) else { break };
            node = next;
            if matches!(node.kind, Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_)) {
                best = node.at.or(best);
            }
        }
        best
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(members) => {
                let members = members.iter().map(|m| (m.key.clone(), m.node.to_json()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }

    pub(super) fn from_json(value: &Value) -> Self {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(value) => Kind::Bool(*value),
            Value::Number(number) => Kind::Number(number.clone()),
            Value::String(text) => Kind::Text(text.clone()),
            Value::Array(items) => Kind::List(items.iter().map(Self::from_json).collect()),
            Value::Object(members) => Kind::Map(
                members
                    .iter()
                    .map(|(key, value)| Member { key: key.clone(), at: None, node: Self::from_json(value) })
                    .collect(),
            ),
        };
        Self::new(kind, None)
    }

    /// What kind of value it is, in words.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a truth value",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}
