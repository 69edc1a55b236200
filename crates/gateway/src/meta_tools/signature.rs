//! A tool in a line: its name, its parameters with their types, and what it does to the world.

use serde_json::Value;
use trunkline_discovery::ToolEntry;
use trunkline_model::Effects;

/// The most characters of the parameters.
const MOST: usize = 400;

/// The most values of an enumeration that are shown.
const MOST_VALUES: usize = 6;

/// How deep objects within objects are shown.
const DEPTH: usize = 2;

/// The first sentence of a tool's description, cut to so many characters.
pub(super) fn summary(text: &str, most: usize) -> String {
    let line = text.trim().split(['\n', '\r']).next().unwrap_or_default();
    let end = line.find(". ").map_or(line.len(), |end| end + 1);
    cut(&line[..end], most)
}

/// At most so many characters, with a sign where something is left out.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
    }
}

/// `name(id: string, days?: integer)`.
pub(super) fn signature(entry: &ToolEntry) -> String {
    let mut out = String::new();
    parameters(entry.tool.spec().input.document(), DEPTH, &mut out);
    format!("{}({})", entry.name, cut(&out, MOST))
}

/// What is to be known of the effects before a call.
pub(super) fn effects(effects: Effects) -> &'static str {
    match effects {
        Effects { read_only: true, .. } => "read-only",
        Effects { destructive: true, idempotent: true, .. } => "may delete or overwrite; repeatable",
        Effects { destructive: true, .. } => "may delete or overwrite",
        Effects { idempotent: true, .. } => "changes things; repeatable",
        _ => "changes things",
    }
}

/// The parameters of an object schema, those first that have to be given.
fn parameters(schema: &Value, depth: usize, out: &mut String) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let required = |name: &str| {
        let all = schema.get("required").and_then(Value::as_array);
        all.into_iter().flatten().any(|one| one.as_str() == Some(name))
    };
    let (needed, rest): (Vec<_>, Vec<_>) = properties.iter().partition(|(name, _)| required(name));
    let optional = rest.into_iter().map(|parameter| (parameter, "?"));
    let mut parted = "";
    for ((name, schema), mark) in needed.into_iter().map(|parameter| (parameter, "")).chain(optional) {
        if out.len() > 4 * MOST {
            return;
        }
        out.push_str(parted);
        out.push_str(&cut(name, 64));
        out.push_str(mark);
        out.push_str(": ");
        kind(schema, depth, out);
        parted = ", ";
    }
}

fn kind(schema: &Value, depth: usize, out: &mut String) {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        for (number, value) in values.iter().take(MOST_VALUES).enumerate() {
            if number > 0 {
                out.push('|');
            }
            out.push_str(&cut(&value.to_string(), 40));
        }
        if values.len() > MOST_VALUES {
            out.push_str("|…");
        }
        return;
    }
    let name = match schema.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("any")
        }
        _ if schema.get("properties").is_some() => "object",
        _ => "any",
    };
    match name {
        "array" => {
            kind(schema.get("items").unwrap_or(&Value::Null), depth, out);
            out.push_str("[]");
        }
        "object" if depth > 0 && schema.get("properties").is_some() => {
            out.push('{');
            parameters(schema, depth - 1, out);
            out.push('}');
        }
        other => out.push_str(&cut(other, 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_are_told_in_a_line() {
        let schema = json!({
            "properties": {
                "days": {"type": "integer"},
                "city": {"type": "string"},
                "unit": {"enum": ["c", "f"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "to": {"type": "object", "properties": {"zip": {"type": ["null", "string"]}}, "required": ["zip"]},
            },
            "required": ["city"],
        });
        let mut out = String::new();
        parameters(&schema, DEPTH, &mut out);
        assert_eq!(
            out,
            "city: string, days?: integer, unit?: \"c\"|\"f\", tags?: string[], to?: {zip: string}"
        );
        assert_eq!(summary("Ships it. At once.\nMore", 100), "Ships it.");
        assert_eq!(summary("Ships it", 4), "Ship…");
    }
}
