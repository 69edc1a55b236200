//! Arguments that a tool wants mirrored in headers (`x-mcp-header`, 2026-07-28), and how values are written in headers.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use trunkline_model::Json;

const KEY: &str = "x-mcp-header";

/// The largest integers that every JSON reader keeps exactly: 2^53 - 1.
const MAX_INTEGER: i64 = (1 << 53) - 1;

/// How deep annotations are looked for.
const MAX_DEPTH: usize = 64;

/// One argument that is mirrored in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParamHeader {
    /// Where the argument is: the property names from the root on.
    path: Vec<String>,
    header: HeaderName,
}

/// A header's value: as it is where that is safe, otherwise in the base64 form.
pub(super) fn header_value(text: &str) -> Option<HeaderValue> {
    let safe = text.bytes().all(|b| matches!(b, 0x20..=0x7e | b'\t'))
        && text.trim_matches([' ', '\t']).len() == text.len();
    let looks_encoded = text.starts_with("=?base64?") && text.ends_with("?=");
    if safe && !looks_encoded {
        HeaderValue::from_str(text).ok()
    } else {
        HeaderValue::from_str(&format!("=?base64?{}?=", STANDARD.encode(text))).ok()
    }
}

/// The mirrored arguments of a tool with this input schema.
///
/// # Errors
/// Why the annotations, and with them the tool, are not valid.
pub(super) fn param_headers(schema: &Value) -> Result<Vec<ParamHeader>, String> {
    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), &mut found)?;
    // An annotation that was not reached through `properties` alone makes the tool invalid.
    if count(schema, 0, false) != found.len() {
        return Err(format!("{KEY} stands where it can't be reached by `properties` alone"));
    }
    let mut names = HashSet::new();
    match found.iter().find(|param| !names.insert(&param.header)) {
        Some(twice) => Err(format!("{KEY} {:?} occurs twice", twice.header.as_str())),
        None => Ok(found),
    }
}

/// The headers for a call with `arguments`.
pub(super) fn mirror(params: &[ParamHeader], arguments: &Json) -> Vec<(HeaderName, HeaderValue)> {
    if params.is_empty() {
        return Vec::new();
    }
    let arguments = arguments.to_value();
    let value_of = |param: &ParamHeader| {
        let value = param.path.iter().try_fold(&arguments, |value, name| value.get(name))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => integer(number)?,
            _ => return None,
        };
        Some((param.header.clone(), header_value(&text)?))
    };
    params.iter().filter_map(value_of).collect()
}

fn integer(number: &serde_json::Number) -> Option<String> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range is checked below; a fraction fails the next test"
    )]
    let whole = number.as_i64().or_else(|| number.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64))?;
    (-MAX_INTEGER..=MAX_INTEGER).contains(&whole).then(|| whole.to_string())
}

fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<ParamHeader>) -> Result<(), String> {
    if path.len() > MAX_DEPTH {
        return Err("the schema nests too deep".to_owned());
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    for (name, property) in properties {
        path.push(name.clone());
        if let Some(annotation) = property.get(KEY) {
            let text = annotation.as_str().filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| format!("{KEY} of {name:?} is no text"))?;
            let header = HeaderName::from_bytes(format!("mcp-param-{text}").as_bytes())
                .map_err(|_| format!("{KEY} {text:?} is no header name"))?;
            if !matches!(property["type"].as_str(), Some("string" | "integer" | "boolean")) {
                return Err(format!("{KEY} {text:?} is on a property that is no string, integer or boolean"));
            }
            found.push(ParamHeader { path: path.clone(), header });
        }
        collect(property, path, found)?;
        path.pop();
    }
    Ok(())
}

/// How many annotations there are anywhere. A property may be named like the annotation.
fn count(value: &Value, depth: usize, names: bool) -> usize {
    if depth > 2 * MAX_DEPTH {
        return 0;
    }
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let literal = !names && matches!(key.as_str(), "default" | "const" | "enum" | "examples");
                let own = usize::from(!names && key == KEY);
                let inner = if literal { 0 } else { count(value, depth + 1, !names && key == "properties") };
                own + inner
            })
            .sum(),
        Value::Array(list) => list.iter().map(|value| count(value, depth + 1, false)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_as_the_specification_shows() {
        for (text, header) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(header_value(text).unwrap(), header);
        }
    }

    #[test]
    fn arguments_are_mirrored() {
        let schema = json!({"type": "object", "properties": {
            "x-mcp-header": {"type": "string"},
            "region": {"type": "string", "x-mcp-header": "Region"},
            "o": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "b": {"type": "boolean", "x-mcp-header": "B"},
        }});
        let params = param_headers(&schema).unwrap();
        let headers = mirror(&params, &Json::from(json!({"region": "eu", "o": {"n": 42.0}, "b": null})));
        let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(headers, [("mcp-param-region", "eu"), ("mcp-param-n", "42")]);
    }

    #[test]
    fn annotations_that_break_the_rules_are_refused() {
        for bad in [
            json!({"properties": {"a": {"type": "number", "x-mcp-header": "A"}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": ""}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": "a b"}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": 7}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}}}),
            json!({"properties": {"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}}}),
            json!({"anyOf": [{"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}]}),
        ] {
            assert!(param_headers(&bad).is_err(), "{bad}");
        }
    }
}
