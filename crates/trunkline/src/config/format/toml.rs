//! TOML, with the place of every value.

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::SyntaxError;
use crate::config::node::{Kind, Member, Node, Position};

pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let table = DeTable::parse(text).map_err(|error| SyntaxError {
        reason: error.message().replace('\n', ", "),
        at: error.span().map(|span| Position::of_offset(text, span.start)),
    })?;
    let at = Position::of_offset(text, table.span().start);
    Ok(Node::new(Kind::Map(members(table.get_ref(), text)?), Some(at)))
}

fn members(table: &DeTable<'_>, text: &str) -> Result<Vec<Member>, SyntaxError> {
    let mut members: Vec<_> = table.iter().collect();
    // The parser sorts by name; the file's own order is kept.
    members.sort_by_key(|(key, _)| key.span().start);
    members
        .into_iter()
        .map(|(key, value)| {
            let at = Some(Position::of_offset(text, key.span().start));
            Ok(Member { key: key.get_ref().to_string(), at, node: node(value, text)? })
        })
        .collect()
}

fn node(value: &Spanned<DeValue<'_>>, text: &str) -> Result<Node, SyntaxError> {
    let at = Some(Position::of_offset(text, value.span().start));
    let number = |number: Option<Number>| {
        number.map(Kind::Number).ok_or(SyntaxError { reason: "a number out of range".to_owned(), at })
    };
    let kind = match value.get_ref() {
        DeValue::String(value) => Kind::Text(value.to_string()),
        DeValue::Integer(value) => {
            number(i64::from_str_radix(value.as_str(), value.radix()).ok().map(Number::from))?
        }
        DeValue::Float(value) => number(value.as_str().parse().ok().and_then(Number::from_f64))?,
        DeValue::Boolean(value) => Kind::Bool(*value),
        DeValue::Datetime(value) => Kind::Text(value.to_string()),
        DeValue::Array(items) => {
            Kind::List(items.iter().map(|item| node(item, text)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Kind::Map(members(table, text)?),
    };
    Ok(Node::new(kind, at))
}
