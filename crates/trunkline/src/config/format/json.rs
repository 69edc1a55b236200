//! JSON.

use serde_json::Value;

use super::{SyntaxError, yaml};
use crate::config::node::{Node, Position};

pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let reason = error.to_string();
        let end = reason.rfind(" at line ").unwrap_or(reason.len());
        let one = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let at = Position { line: one(error.line()), column: one(error.column()) };
        SyntaxError { reason: reason[..end].to_owned(), at: Some(at) }
    })?;
    // JSON is all but a part of YAML, and the YAML reader knows places. Where it reads something else, places are
    // not known.
    match yaml::parse(text) {
        Ok(node) if node.to_json() == value => Ok(node),
        _ => Ok(Node::from_json(&value)),
    }
}
