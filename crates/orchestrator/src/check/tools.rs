//! Whether tools are there, and arguments fit them as far as they are known before they are computed.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use trunkline_model::{Json, ToolSpec, Violation};

use crate::workflow::node::{Log, escape, marked};

use super::finding::{Finding, nearest};

/// The tools that a plan or a workflow may call.
pub trait Tools {
    /// What a tool says of itself.
    fn find(&self, name: &str) -> Option<Arc<ToolSpec>>;

    /// The names of tools that are near to one that is not there, nearest first.
    fn near(&self, name: &str) -> Vec<String>;
}

/// What the model's schema says where a member is missing; the member's name follows, as JSON.
const REQUIRED: &str = "the required property ";

/// What the model's schema says where a member must not be.
const UNKNOWN: &str = "no property named ";

/// The tool of this name; notes that it is not there.
pub(super) fn find(name: &str, path: &str, tools: &dyn Tools, log: &Log) -> Option<Arc<ToolSpec>> {
    let found = tools.find(name);
    if found.is_none() {
        log.note(|| {
            let near = tools.near(name);
            let patch = near.first().map(|near| json!([{"op": "replace", "path": path, "value": near}]));
            Finding {
                nearest: near,
                patch,
                ..Finding::error(path, format!("there is no tool {name:?}"))
                    .expected("the name of a tool")
                    .found(&Value::from(name))
            }
        });
    }
    found
}

/// Whether a tool takes a key by which it knows a call that it has already done.
#[must_use]
pub fn honours_key(spec: &ToolSpec) -> bool {
    let plain = |name: &str| name.to_lowercase().replace(['_', '-'], "");
    properties(spec).is_some_and(|all| all.keys().any(|name| plain(name) == "idempotencykey"))
}

fn properties(spec: &ToolSpec) -> Option<&Map<String, Value>> {
    spec.input.document().get("properties")?.as_object()
}

/// Notes where arguments do not fit a tool. `path` is where they are, or, where there are none, would be.
pub(super) fn arguments(spec: &ToolSpec, args: Option<&Map<String, Value>>, path: &str, log: &Log) {
    let given = args.cloned().unwrap_or_default();
    let value = Value::Object(given);
    let Err(violations) = spec.input.validate(&Json::from(value.clone())) else {
        return nearly(spec, &value, path, log);
    };
    let mut missing = Vec::new();
    let mut unknown = false;
    for violation in &violations {
        let at = value.pointer(&violation.path);
        if violation.path.is_empty() && violation.expected.starts_with(UNKNOWN) {
            unknown = true;
        } else if let Some(name) = required(violation).filter(|_| violation.path.is_empty()) {
            missing.push(name);
        } else if !at.is_some_and(|at| computed(at, violation)) {
            log.note(|| misfit(violation, at, path));
        }
    }
    if args.is_none() && !missing.is_empty() {
        return log.note(|| all_missing(spec, &missing, path));
    }
    let mut taken = Vec::new();
    for name in missing {
        log.note(|| one_missing(spec, &name, &value, path, &mut taken));
    }
    for name in strange(spec, &value).filter(|name| unknown && !taken.iter().any(|taken| taken == name)) {
        log.note(|| {
            let finding = strange_finding(spec, name, &value, path);
            if finding.patch.is_some() {
                return finding;
            }
            finding.patch(json!([{"op": "remove", "path": format!("{path}/{}", escape(name))}]))
        });
    }
}

/// Notes arguments that the schema lets pass, although they look like slips of the pen.
fn nearly(spec: &ToolSpec, value: &Value, path: &str, log: &Log) {
    for name in strange(spec, value) {
        let finding = strange_finding(spec, name, value, path);
        if !finding.nearest.is_empty() {
            log.note(|| Finding { severity: super::Severity::Warning, ..finding });
        }
    }
}

/// The arguments that the tool's schema does not name.
fn strange<'v>(spec: &'v ToolSpec, value: &'v Value) -> impl Iterator<Item = &'v str> {
    let open = spec.input.document().get("patternProperties").is_some();
    let known = properties(spec).filter(|_| !open);
    value
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .filter(move |name| known.is_some_and(|known| !known.is_empty() && !known.contains_key(*name)))
}

fn strange_finding(spec: &ToolSpec, name: &str, value: &Value, path: &str) -> Finding {
    let free = properties(spec)
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .filter(|other| value.get(*other).is_none());
    let from = format!("{path}/{}", escape(name));
    let finding = Finding::error(&*from, format!("{} has no argument {name:?}", spec.name))
        .expected(format!("one of {}", names(spec)))
        .found(&Value::from(name))
        .near(name, free);
    let patch = finding
        .nearest
        .first()
        .map(|near| json!([{"op": "move", "from": from, "path": format!("{path}/{}", escape(near))}]));
    Finding { patch, ..finding }
}

fn names(spec: &ToolSpec) -> String {
    let all: Vec<&str> =
        properties(spec).into_iter().flat_map(Map::keys).map(String::as_str).take(20).collect();
    all.join(", ")
}

fn required(violation: &Violation) -> Option<String> {
    serde_json::from_str(violation.expected.strip_prefix(REQUIRED)?).ok()
}

/// Whether a violation may be due to what is not computed yet: it is an expression, or one is somewhere within and the
/// violation is not about which members there are.
fn computed(value: &Value, violation: &Violation) -> bool {
    fn expression_within(value: &Value) -> bool {
        match value {
            Value::String(text) => marked(text).is_some(),
            Value::Array(items) => items.iter().any(expression_within),
            Value::Object(members) => members.values().any(expression_within),
            _ => false,
        }
    }
    let of_members = violation.expected.starts_with(REQUIRED)
        || violation.expected.starts_with(UNKNOWN)
        || violation.expected.starts_with("type ");
    if value.is_string() { expression_within(value) } else { !of_members && expression_within(value) }
}

fn misfit(violation: &Violation, at: Option<&Value>, path: &str) -> Finding {
    let path = format!("{path}{}", violation.path);
    let finding =
        Finding::error(&*path, "this does not fit the tool's schema").expected(&*violation.expected);
    let finding = match at {
        Some(at) => finding.found(at),
        None => Finding { found: Some(violation.found.clone()), ..finding },
    };
    match at.and_then(|at| fitting(at, &violation.expected)) {
        Some(value) => finding.patch(json!([{"op": "replace", "path": path, "value": value}])),
        None => finding,
    }
}

/// The value that was meant, where it is the same in another type or nearly one of the words that there are.
fn fitting(value: &Value, expected: &str) -> Option<Value> {
    if let Some(words) = expected.strip_prefix("one of [").and_then(|rest| rest.strip_suffix(']')) {
        let words: Vec<Value> = serde_json::from_str(&format!("[{words}]")).ok()?;
        let near = nearest(value.as_str()?, words.iter().filter_map(Value::as_str));
        return near.first().map(|word| json!(word));
    }
    match (expected.strip_prefix("type ")?.trim_matches('"'), value) {
        ("integer", Value::String(text)) => text.trim().parse::<i64>().ok().map(Value::from),
        ("number", Value::String(text)) => {
            serde_json::from_str::<Value>(text.trim()).ok().filter(Value::is_number)
        }
        ("boolean", Value::String(text)) => text.trim().to_lowercase().parse::<bool>().ok().map(Value::from),
        ("string", Value::Number(_) | Value::Bool(_)) => Some(json!(value.to_string())),
        ("array", one) => Some(json!([one])),
        _ => None,
    }
}

fn all_missing(spec: &ToolSpec, missing: &[String], path: &str) -> Finding {
    let value: Map<String, Value> = missing.iter().map(|name| (name.clone(), stand_in(spec, name))).collect();
    let wanted: Vec<String> = missing.iter().map(|name| wanted(spec, name)).collect();
    Finding::error(path, format!("{} can't be called without arguments", spec.name))
        .expected(format!("an object with {}", wanted.join("; ")))
        .patch(json!([{"op": "add", "path": path, "value": value}]))
}

fn one_missing(spec: &ToolSpec, name: &str, value: &Value, path: &str, taken: &mut Vec<String>) -> Finding {
    let finding = Finding::error(path, format!("{} needs the argument {name:?}", spec.name))
        .expected(wanted(spec, name))
        .found(value);
    let candidates = strange(spec, value).filter(|other| !taken.iter().any(|taken| taken == other));
    let misnamed = nearest(name, candidates).into_iter().next();
    let to = format!("{path}/{}", escape(name));
    match misnamed {
        Some(misnamed) => {
            let from = format!("{path}/{}", escape(&misnamed));
            let finding = Finding {
                path: from.clone(),
                message: format!("{} has no argument {misnamed:?}, and needs {name:?}", spec.name),
                nearest: vec![name.to_owned()],
                ..finding
            };
            taken.push(misnamed);
            finding.patch(json!([{"op": "move", "from": from, "path": to}]))
        }
        None => finding.patch(json!([{"op": "add", "path": to, "value": stand_in(spec, name)}])),
    }
}

fn property<'s>(spec: &'s ToolSpec, name: &str) -> Option<&'s Value> {
    properties(spec)?.get(name)
}

/// What an argument is, with an example.
fn wanted(spec: &ToolSpec, name: &str) -> String {
    let Some(schema) = property(spec, name) else { return name.to_owned() };
    let kind = match &schema["type"] {
        Value::String(kind) => format!(" ({kind})"),
        _ => String::new(),
    };
    format!("{name}{kind}, such as {}", example(schema))
}

fn example(schema: &Value) -> Value {
    if let Some(known) = known_value(schema) {
        return known;
    }
    if let Some(first) = schema["examples"].get(0).or_else(|| schema["enum"].get(0)) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("integer") => schema["minimum"].as_i64().unwrap_or(1).into(),
        Some("number") => json!(1.5),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        Some("string") => match schema["format"].as_str() {
            Some("date") => json!("2026-01-31"),
            Some("date-time") => json!("2026-01-31T12:00:00Z"),
            Some("email") => json!("someone@example.com"),
            Some("uri") => json!("https://example.com/"),
            Some("uuid") => json!("0190b2c8-0000-7000-8000-000000000000"),
            _ => json!("text"),
        },
        _ => Value::Null,
    }
}

/// The only value, or the one that is taken unless another is given.
fn known_value(schema: &Value) -> Option<Value> {
    let only = schema["enum"].as_array().filter(|all| all.len() == 1).map(|all| &all[0]);
    schema.get("const").or_else(|| schema.get("default")).or(only).cloned()
}

/// What a patch writes for a missing argument: the only value there is, or else the plan's input of that name. It makes
/// nothing up.
fn stand_in(spec: &ToolSpec, name: &str) -> Value {
    property(spec, name)
        .and_then(known_value)
        .unwrap_or_else(|| json!(format!("${{ .input[{}] }}", Value::from(name))))
}
