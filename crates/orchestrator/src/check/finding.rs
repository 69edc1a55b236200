//! One thing that is wrong: where, what was expected, what is there, and how to put it right.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// The longest excerpt of an offending value, in characters.
const MAX_EXCERPT: usize = 80;

/// How many near names one finding carries.
const MAX_NEAREST: usize = 3;

/// The longest name that is compared with others, in bytes: longer ones are no slips of the pen, and comparing is
/// quadratic.
const MAX_COMPARED: usize = 64;

/// How many names are compared with one.
const MAX_CANDIDATES: usize = 1000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It runs, but perhaps not as it was meant.
    Warning,
    /// It can't be run.
    Error,
}

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Where, as a JSON Pointer (RFC 6901) into the document as its author wrote it; empty for the whole document.
    pub path: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What was expected there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there, shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Names that exist and are near to the one that was written, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<String>,
    /// A JSON Patch (RFC 6902) that puts it right, where that can be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Value>,
    /// How bad it is.
    pub severity: Severity,
}

impl Finding {
    /// An error.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            expected: None,
            found: None,
            nearest: Vec::new(),
            patch: None,
            severity: Severity::Error,
        }
    }

    /// A warning.
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, message) }
    }

    /// With what was expected.
    #[must_use]
    pub fn expected(self, expected: impl Into<String>) -> Self {
        Self { expected: Some(expected.into()), ..self }
    }

    /// With what is there.
    #[must_use]
    pub fn found(self, value: &Value) -> Self {
        Self { found: Some(excerpt(value)), ..self }
    }

    /// With the names of `names` that are near to `wanted`.
    #[must_use]
    pub fn near<'a>(self, wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { nearest: nearest(wanted, names), ..self }
    }

    /// With a patch.
    #[must_use]
    pub fn patch(self, patch: Value) -> Self {
        Self { patch: Some(patch), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "(the whole document)" } else { &self.path };
        write!(f, "{path}: {}", self.message)?;
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        if let Some(found) = &self.found {
            write!(f, ", found {found}")?;
        }
        if let Some(nearest) = self.nearest.first() {
            write!(f, "; did you mean {nearest}?")?;
        }
        Ok(())
    }
}

/// A value in a few words.
pub(crate) fn excerpt(value: &Value) -> String {
    match value {
        Value::Null => "nothing (null)".to_owned(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(members) => {
            let names: Vec<&str> = members.keys().map(String::as_str).take(5).collect();
            let more = if members.len() > names.len() { ", …" } else { "" };
            shorten(&format!("an object with {}{more}", names.join(", ")))
        }
        other => shorten(&other.to_string()),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Up to three of `names` that are nearest to `wanted`, nearest first: the same but for case and punctuation, one
/// within the other, or an edit distance (Damerau-Levenshtein) of at most a third of the longer.
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    if wanted.len() > MAX_COMPARED {
        return Vec::new();
    }
    let plain = |name: &str| -> String {
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let wanted = plain(wanted);
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .filter(|name| name.len() <= MAX_COMPARED)
        .take(MAX_CANDIDATES)
        .filter_map(|name| {
            let other = plain(name);
            let longest = other.chars().count().max(wanted.chars().count());
            if wanted.len() >= 3 && other.len() >= 3 && (other.contains(&wanted) || wanted.contains(&other)) {
                return Some((longest - other.len().min(wanted.len()).min(longest), name));
            }
            let distance = strsim::damerau_levenshtein(&wanted, &other);
            (distance * 3 <= longest).then_some((distance, name))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MAX_NEAREST).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["orders_create", "orders_cancel", "payments_charge"];
        assert_eq!(nearest("order_create", names)[0], "orders_create");
        assert_eq!(nearest("ordersCreate", names)[0], "orders_create");
        assert_eq!(nearest("charge", names), ["payments_charge"]);
        assert!(nearest("weather", names).is_empty());
    }

    #[test]
    fn a_finding_reads_as_a_sentence() {
        let finding =
            Finding::error("/a", "this is no text").expected("text").found(&json!(5)).near("nam", ["name"]);
        assert_eq!(finding.to_string(), "/a: this is no text; expected text, found 5; did you mean name?");
    }
}
