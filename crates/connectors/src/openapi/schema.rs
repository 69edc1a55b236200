//! Schemas of OpenAPI to JSON Schema 2020-12.
//!
//! A reference becomes a definition in the tool's own `$defs`, each once, so that schemas which refer to themselves
//! stay finite. A schema of more than [`MAX_SCHEMAS`] nodes is cut there: what is cut off takes any value.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value, json};

use super::document::Document;
use super::reference::{Key, Node};

/// The most schema nodes in one tool: more than a model can read, and a bound for hostile documents.
const MAX_SCHEMAS: usize = 3000;

/// The longest text kept of a description within a schema, in bytes.
const MAX_TEXT: usize = 4096;

/// Which rules a document's schemas follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Swagger 2.0.
    Swagger2,
    /// OpenAPI 3.0: an extended subset of JSON Schema draft 5.
    V30,
    /// OpenAPI 3.1 and later: JSON Schema 2020-12.
    V31,
}

/// Which way a value goes: members that only the service may set are left out of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// Lowers the schemas of one tool and collects the definitions that they share.
pub(super) struct Lowering<'a> {
    document: &'a Document,
    dialect: Dialect,
    direction: Direction,
    names: HashMap<Key, String>,
    taken: HashSet<String>,
    queue: VecDeque<(String, Node<'a>)>,
    nodes: usize,
    /// References that lead nowhere.
    pub(super) dangling: Vec<String>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(document: &'a Document, dialect: Dialect, direction: Direction) -> Self {
        Self {
            document,
            dialect,
            direction,
            names: HashMap::new(),
            taken: HashSet::new(),
            queue: VecDeque::new(),
            nodes: 0,
            dangling: Vec::new(),
        }
    }

    /// Whether something was cut off because it was too large.
    pub(super) fn was_cut(&self) -> bool {
        self.nodes > MAX_SCHEMAS
    }

    /// How many nodes were made.
    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    /// One schema. References in it point to definitions that [`definitions`](Self::definitions) gives.
    pub(super) fn schema(&mut self, node: Node<'a>) -> Value {
        self.nodes += 1;
        if self.was_cut() {
            return Value::Object(Map::new());
        }
        let Some(members) = node.value.as_object() else {
            // `true` and `false` are schemas in 3.1; anything else is a mistake and takes any value.
            return if node.value.is_boolean() { node.value.clone() } else { json!({}) };
        };
        let mut out = Map::new();
        let siblings = match node.reference() {
            Some(reference) => {
                self.reference(node.part, reference, &mut out);
                self.dialect == Dialect::V31
            }
            None => true,
        };
        for name in members.keys() {
            if let Some(member) = node.get(name)
                && (siblings || name == "description")
            {
                self.keyword(name, member, &mut out);
            }
        }
        if siblings {
            self.discriminate(node, &mut out);
        }
        if self.dialect != Dialect::V31 && siblings {
            return older(node, out);
        }
        Value::Object(out)
    }

    fn reference(&mut self, part: usize, reference: &str, out: &mut Map<String, Value>) {
        match self.definition(part, reference) {
            Ok(name) => {
                out.insert("$ref".to_owned(), format!("#/$defs/{name}").into());
            }
            Err(cause) => self.dangling.push(cause),
        }
    }

    /// The name of the definition that `reference` means.
    fn definition(&mut self, part: usize, reference: &str) -> Result<String, String> {
        let (key, node) = self.document.target(part, reference)?;
        if let Some(name) = self.names.get(&key) {
            return Ok(name.clone());
        }
        let file = self.document.url(key.part).path();
        let last = if key.pointer.is_empty() {
            let stem = file.rsplit('/').next().unwrap_or_default();
            stem.rsplit_once('.').map_or(stem, |(stem, _)| stem)
        } else {
            key.pointer.rsplit('/').next().unwrap_or_default()
        };
        let mut base: String = last
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' })
            .collect();
        base.truncate(80);
        let mut name = base.clone();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        self.names.insert(key, name.clone());
        self.queue.push_back((name.clone(), node));
        Ok(name)
    }

    /// The definitions that the schemas made so far refer to, directly or through others.
    pub(super) fn definitions(&mut self) -> Map<String, Value> {
        let mut out = Map::new();
        while let Some((name, node)) = self.queue.pop_front() {
            let schema = self.schema(node);
            out.insert(name, schema);
        }
        out
    }

    fn keyword(&mut self, name: &str, member: Node<'a>, out: &mut Map<String, Value>) {
        let value = member.value;
        let kept = match name {
            "title" | "description" | "$comment" | "format" | "pattern" | "contentEncoding"
            | "contentMediaType" => value.as_str().map(|text| shortened(text, MAX_TEXT).into()),
            "default" | "const" => self.copied(value),
            "enum" => value.as_array().filter(|list| !list.is_empty()).and_then(|_| self.copied(value)),
            "example" if !value.is_null() => self.copied(&json!([value])).and_then(|list| {
                out.entry("examples").or_insert(list);
                None
            }),
            "examples" => value.as_array().and_then(|_| self.copied(value)),
            "multipleOf" => value.as_f64().filter(|n| *n > 0.0).map(|_| value.clone()),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                value.is_number().then(|| value.clone())
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
            | "minContains" | "maxContains" => value.as_u64().map(Value::from),
            "uniqueItems" | "deprecated" | "readOnly" | "writeOnly" => value.as_bool().map(Value::from),
            "type" => types(value),
            "required" => self.required(value),
            "dependentRequired" => value.as_object().and_then(|_| self.copied(value)),
            "properties" => value.is_object().then(|| self.properties(member)),
            "patternProperties" | "dependentSchemas" => value.is_object().then(|| self.map(member.members())),
            "items" if value.is_array() => {
                let items = self.list(member);
                out.entry("prefixItems").or_insert(items);
                None
            }
            "items"
            | "additionalProperties"
            | "not"
            | "propertyNames"
            | "contains"
            | "unevaluatedItems"
            | "unevaluatedProperties"
            | "if"
            | "then"
            | "else"
            | "contentSchema" => (value.is_object() || value.is_boolean()).then(|| self.schema(member)),
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                value.as_array().filter(|list| !list.is_empty()).map(|_| self.list(member))
            }
            "$dynamicRef" => {
                if let Some(reference) = value.as_str() {
                    self.reference(member.part, reference, out);
                }
                None
            }
            _ => None,
        };
        if let Some(kept) = kept {
            out.insert(name.to_owned(), kept);
        }
    }

    /// A value that is data, not schema. It counts towards the bound.
    fn copied(&mut self, value: &Value) -> Option<Value> {
        self.nodes += weight(value);
        (!self.was_cut()).then(|| value.clone())
    }

    fn map(&mut self, members: impl Iterator<Item = (&'a str, Node<'a>)>) -> Value {
        Value::Object(members.map(|(name, member)| (name.to_owned(), self.schema(member))).collect())
    }

    fn list(&mut self, node: Node<'a>) -> Value {
        Value::Array(node.items().map(|item| self.schema(item)).collect())
    }

    fn properties(&mut self, node: Node<'a>) -> Value {
        let members: Vec<_> = node.members().filter(|(_, member)| !self.other_way(*member)).collect();
        self.map(members.into_iter())
    }

    /// Whether a property is only for the other direction.
    fn other_way(&self, property: Node<'a>) -> bool {
        let mark = match self.direction {
            Direction::Request => "readOnly",
            Direction::Response => "writeOnly",
        };
        property.is_true(mark) || self.document.follow(property).is_ok_and(|property| property.is_true(mark))
    }

    fn required(&self, value: &Value) -> Option<Value> {
        let mut seen = HashSet::new();
        let names: Vec<_> = value
            .as_array()?
            .iter()
            .filter(|name| name.is_string() && seen.insert(name.as_str()))
            .cloned()
            .collect();
        (!names.is_empty()).then_some(Value::Array(names))
    }

    /// Alternatives that an explicit `discriminator.mapping` names get the mapped value as a condition, so that a
    /// model sees which value goes with which alternative, and a wrong pair is refused with its path.
    fn discriminate(&mut self, node: Node<'a>, out: &mut Map<String, Value>) {
        let Some(discriminator) = node.get("discriminator") else { return };
        let (Some(property), Some(mapping)) =
            (discriminator.text("propertyName"), discriminator.get("mapping"))
        else {
            return;
        };
        let mut values: HashMap<String, Vec<Value>> = HashMap::new();
        for (value, target) in mapping.members() {
            let Some(target) = target.value.as_str() else { continue };
            // A bare name is that of a schema of the document.
            let by_name = format!("#/components/schemas/{target}");
            let bare = !target.contains(['/', '#', '.']);
            let reference = if bare { &by_name } else { target };
            // Only alternatives count; the definition must exist already.
            if let Ok((key, _)) = self.document.target(discriminator.part, reference)
                && let Some(name) = self.names.get(&key)
            {
                values.entry(format!("#/$defs/{name}")).or_default().push(value.into());
            }
        }
        for keyword in ["oneOf", "anyOf"] {
            let Some(Value::Array(alternatives)) = out.get_mut(keyword) else { continue };
            for alternative in alternatives {
                let Some(reference) = alternative.get("$ref").and_then(Value::as_str) else { continue };
                if let Some(values) = values.get(reference) {
                    alternative["properties"] = json!({ property: {"enum": values} });
                    alternative["required"] = json!([property]);
                }
            }
        }
    }
}

/// What Swagger 2.0 and OpenAPI 3.0 write differently.
fn older(node: Node<'_>, mut out: Map<String, Value>) -> Value {
    for (flag, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if node.is_true(flag)
            && let Some(limit) = out.remove(bound)
        {
            out.insert(flag.to_owned(), limit);
        }
    }
    if node.text("type") == Some("file") {
        out.insert("type".to_owned(), "string".into());
    }
    if !node.is_true("nullable") && !node.is_true("x-nullable") {
        return Value::Object(out);
    }
    if let Some(Value::Array(values)) = out.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    if let Some(kind) = out.get_mut("type") {
        if kind.is_string() {
            *kind = json!([kind.take(), "null"]);
        }
    } else if !out.is_empty() {
        return json!({"anyOf": [out, {"type": "null"}]});
    }
    Value::Object(out)
}

/// `type`, where it names types that there are.
fn types(value: &Value) -> Option<Value> {
    const KNOWN: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];
    let known = |value: &&Value| value.as_str().is_some_and(|name| KNOWN.contains(&name));
    match value {
        Value::Array(list) => {
            let mut seen = HashSet::new();
            let list: Vec<_> =
                list.iter().filter(known).filter(|name| seen.insert(name.as_str())).cloned().collect();
            (!list.is_empty()).then_some(Value::Array(list))
        }
        other => Some(other).filter(known).cloned(),
    }
}

/// How much a piece of data counts towards the bound of a schema.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => 1 + text.len() / 256,
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>() / 4,
        Value::Object(members) => 1 + members.values().map(weight).sum::<usize>(),
        _ => 1,
    }
}

/// Text cut to at most `limit` bytes, at a character.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    let text = text.trim();
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit.saturating_sub(3)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Takes from the schema of an answer what real answers are likely to break: every value may be null or absent, an
/// enumeration becomes examples, exactly one alternative becomes any. What stays tells programs the shape.
pub(super) fn loosen(schema: &mut Value) {
    let Value::Object(members) = schema else {
        *schema = json!({});
        return;
    };
    if let Some(values) =
        members.remove("enum").or_else(|| members.remove("const").map(|value| json!([value])))
    {
        members.insert("examples".to_owned(), values);
    }
    if let Some(alternatives) = members.remove("oneOf") {
        members.entry("anyOf").or_insert(alternatives);
    }
    members.retain(|keyword, _| {
        matches!(
            keyword.as_str(),
            "title"
                | "description"
                | "examples"
                | "type"
                | "properties"
                | "items"
                | "anyOf"
                | "allOf"
                | "$ref"
                | "additionalProperties"
                | "deprecated"
                | "$defs"
        )
    });
    match members.get_mut("type") {
        Some(kind) if kind.is_string() && kind != "null" => *kind = json!([kind.take(), "null"]),
        Some(Value::Array(kinds)) if !kinds.contains(&"null".into()) => kinds.push("null".into()),
        _ => {}
    }
    for (keyword, member) in members.iter_mut() {
        match (keyword.as_str(), member) {
            ("additionalProperties", Value::Bool(allowed)) => *allowed = true,
            ("items" | "additionalProperties", inner) => loosen(inner),
            ("properties" | "$defs", Value::Object(inner)) => inner.values_mut().for_each(loosen),
            ("anyOf" | "allOf", Value::Array(inner)) => {
                inner.iter_mut().for_each(loosen);
                if keyword == "anyOf" {
                    inner.push(json!({"type": "null"}));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowered(dialect: Dialect, schema: &Value, schemas: Value) -> Value {
        let document = Document::of_value(json!({"components": {"schemas": schemas}, "it": schema}));
        let mut lowering = Lowering::new(&document, dialect, Direction::Request);
        let (_, node) = document.target(0, "#/it").unwrap();
        let mut schema = lowering.schema(node);
        let definitions = lowering.definitions();
        if !definitions.is_empty() {
            schema["$defs"] = Value::Object(definitions);
        }
        schema
    }

    #[test]
    fn what_30_writes_differently_becomes_2020_12() {
        let schema = json!({
            "type": "object", "x-own": 1, "xml": {}, "externalDocs": {},
            "properties": {
                "a": {"type": "integer", "minimum": 1, "exclusiveMinimum": true, "example": 4, "nullable": true},
                "b": {"type": "string", "enum": ["x"], "nullable": true, "exclusiveMaximum": false},
                "c": {"allOf": [{"type": "string"}], "nullable": true},
                "example": {"type": "string"},
                "id": {"type": "string", "readOnly": true},
            },
            "required": ["a", "a", 3],
        });
        assert_eq!(
            lowered(Dialect::V30, &schema, json!({})),
            json!({
                "type": "object",
                "properties": {
                    "a": {"type": ["integer", "null"], "exclusiveMinimum": 1, "examples": [4]},
                    "b": {"type": ["string", "null"], "enum": ["x", null]},
                    "c": {"anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}]},
                    "example": {"type": "string"},
                },
                "required": ["a"],
            })
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_stays_finite() {
        let schemas = json!({
            "Node": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}},
            "Loop": {"$ref": "#/components/schemas/Loop"},
        });
        let schema =
            json!({"anyOf": [{"$ref": "#/components/schemas/Node"}, {"$ref": "#/components/schemas/Loop"}]});
        let schema = lowered(Dialect::V31, &schema, schemas);
        assert_eq!(schema["$defs"]["Node"]["properties"]["next"], json!({"$ref": "#/$defs/Node"}));
        assert_eq!(schema["$defs"]["Loop"], json!({"$ref": "#/$defs/Loop"}));
        // A reference that leads only to itself must not hang or crash whoever checks a value.
        let schema = trunkline_model::Schema::new(schema);
        assert!(schema.validate(&trunkline_model::Json::from(json!({"next": {"next": 1}}))).is_ok());
    }

    #[test]
    fn a_discriminator_with_a_mapping_ties_values_to_alternatives() {
        let schemas = json!({"Cat": {"type": "object"}, "Dog": {"type": "object"}});
        let schema = json!({
            "oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}],
            "discriminator": {"propertyName": "kind", "mapping": {"cat": "Cat", "tom": "#/components/schemas/Cat"}},
        });
        let schema = lowered(Dialect::V30, &schema, schemas);
        assert_eq!(
            schema["oneOf"],
            json!([
                {"$ref": "#/$defs/Cat", "properties": {"kind": {"enum": ["cat", "tom"]}}, "required": ["kind"]},
                {"$ref": "#/$defs/Dog"},
            ])
        );
    }

    #[test]
    fn a_huge_schema_is_cut_and_says_so() {
        let mut schemas = Map::new();
        for n in 0..10_000 {
            schemas.insert(format!("S{n}"), json!({"$ref": format!("#/components/schemas/S{}", n + 1)}));
        }
        let document = Document::of_value(json!({"components": {"schemas": schemas}}));
        let mut lowering = Lowering::new(&document, Dialect::V31, Direction::Request);
        let (_, node) = document.target(0, "#/components/schemas/S0").unwrap();
        lowering.schema(node);
        assert!(lowering.definitions().len() <= MAX_SCHEMAS + 1);
        assert!(lowering.was_cut());
    }

    #[test]
    fn a_loosened_schema_takes_what_services_really_send() {
        let mut schema = json!({
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": {"a": {"type": "string", "enum": ["x"], "format": "date"}, "b": {"oneOf": [{"type": "number"}]}},
        });
        loosen(&mut schema);
        let schema = trunkline_model::Schema::new(schema);
        assert_eq!(schema.defect(), None);
        let real = json!({"a": null, "b": null, "new": [1]});
        assert_eq!(schema.validate(&trunkline_model::Json::from(real)), Ok(()));
    }
}
