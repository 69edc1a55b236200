//! Real documents: every operation becomes a tool that can be called, or is left out with its reason.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use trunkline_model::{Json, Schema};

use crate::http_client::HttpClient;

use super::lower::lower;
use super::{Config, Document, Preview, location, preview};

fn corpus() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/openapi");
    if root.is_dir() {
        return Some(root);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "../shared/data/openapi is missing");
    println!("skipped: ../shared/data/openapi is not there");
    None
}

fn documents(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            documents(&path, out);
        } else if matches!(path.extension().and_then(|e| e.to_str()), Some("json" | "yaml" | "yml")) {
            let text = std::fs::read_to_string(&path).unwrap();
            // A whole document names its version near its top; Slack's is sorted, so the name comes late.
            let marks = ["openapi:", "swagger:", "\"openapi\":", "\"swagger\":"];
            let indented =
                |mark: &str| text.lines().any(|line| line.trim_start().starts_with(mark) && line.len() < 40);
            if marks.iter().any(|mark| indented(mark)) {
                out.push(path);
            }
        }
    }
}

async fn load(path: &Path) -> Document {
    let config = Config::default();
    let location = location(path.to_str().unwrap(), Path::new("/")).unwrap();
    let http = HttpClient::new().unwrap();
    Document::load(&location, config.max_document_bytes, &http)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A value that fits a schema, as well as a test can make one.
fn sample(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > 12 {
        return Value::Null;
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return root.pointer(&reference[1..]).map_or(Value::Null, |target| sample(target, root, depth + 1));
    }
    for list in ["examples", "enum"] {
        if let Some(first) = schema.get(list).and_then(Value::as_array).and_then(|values| values.first()) {
            return first.clone();
        }
    }
    if let Some(known) = schema.get("default").or(schema.get("const")) {
        return known.clone();
    }
    for list in ["oneOf", "anyOf"] {
        if let Some(first) = schema.get(list).and_then(Value::as_array).and_then(|values| values.first()) {
            return sample(first, root, depth + 1);
        }
    }
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        let samples: Vec<_> = parts.iter().map(|part| sample(part, root, depth + 1)).collect();
        let mut merged = Map::new();
        for part in &samples {
            merged.extend(part.as_object().cloned().unwrap_or_default());
        }
        return samples.into_iter().find(|one| !one.is_object()).unwrap_or(Value::Object(merged));
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|k| *k != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    };
    match kind {
        "object" => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let members = properties
                .into_iter()
                .flatten()
                .map(|(name, inner)| (name.clone(), sample(inner, root, depth + 1)));
            Value::Object(members.filter(|(_, value)| !value.is_null()).collect())
        }
        "array" => json!([schema.get("items").map_or(json!("x"), |items| sample(items, root, depth + 1))]),
        "integer" => schema.get("minimum").filter(|n| n.is_i64()).cloned().unwrap_or(json!(1)),
        "number" => json!(1.5),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ if schema.get("contentEncoding") == Some(&json!("base64")) => json!("aGk="),
        _ => json!("text"),
    }
}

/// Checks what a document has become, and prints a line on it.
fn check(name: &str, document: &Document, totals: &mut (usize, usize)) {
    let config = Config { base_url: Some("http://127.0.0.1:1".to_owned()), ..Config::default() };
    let made = preview(document, &config);
    let all = made.tools.len() + made.left_out.len();
    totals.0 += all;
    totals.1 += made.tools.len();
    println!(
        "{name}: {} in {} files, {all} operations, {} tools",
        made.protocol,
        document.files(),
        made.tools.len()
    );
    for one in &made.left_out {
        println!("    left out: {}: {}", one.operation, one.reason);
    }
    let mut names = std::collections::HashSet::new();
    for tool in &made.tools {
        let label = format!("{name}: {}", tool.name);
        assert!(names.insert(&tool.name), "{label} is there twice");
        assert!(tool.name.len() <= 64, "{label}");
        assert!(tool.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)), "{label}");
        for schema in [Some(&tool.input), tool.output.as_ref()].into_iter().flatten() {
            assert_eq!(schema["type"], "object", "{label}");
            for keyword in ["anyOf", "oneOf", "allOf", "$ref"] {
                assert!(schema.get(keyword).is_none(), "{label} has {keyword} at its root");
            }
            assert_eq!(Schema::new(schema.clone()).defect(), None, "{label}");
        }
    }
    for operation in lower(document, &config).operations {
        let arguments = Json::from(sample(&operation.input, &operation.input, 0));
        let prepared = operation.template.prepare(&arguments);
        let prepared = prepared.unwrap_or_else(|error| panic!("{name}: {}: {error}", operation.name));
        let url = format!("http://127.0.0.1:1{}", prepared.target);
        assert!(http::Uri::try_from(&url).is_ok(), "{name}: {}: {url}", operation.name);
    }
}

#[tokio::test]
async fn every_operation_of_real_documents_is_callable_or_left_out_with_a_reason() {
    let Some(root) = corpus() else { return };
    let mut paths = Vec::new();
    documents(&root.join("learn"), &mut paths);
    paths.push(root.join("slack/slack_web_openapi_v2.json"));
    paths.push(root.join("digitalocean/specification/DigitalOcean-public.v2.yaml"));
    let mut totals = (0, 0);
    for path in &paths {
        let document = load(path).await;
        check(&path.strip_prefix(&root).unwrap().display().to_string(), &document, &mut totals);
    }
    let (all, tools) = totals;
    println!(
        "{} documents, {all} operations, {tools} callable: {:.1} %",
        paths.len(),
        100.0 * tools as f64 / all as f64
    );
    assert!(tools * 100 >= all * 99);
}

/// What a model sees of a document.
fn listed(made: &Preview) -> Value {
    let tools: Vec<_> = made
        .tools
        .iter()
        .map(|tool| {
            json!({"name": tool.name, "operation": tool.operation, "description": tool.description,
                "input": tool.input, "output": tool.output, "effects": tool.effects, "security": tool.security})
        })
        .collect();
    json!({"protocol": made.protocol, "tools": tools, "left_out": made.left_out, "warnings": made.warnings})
}

#[tokio::test]
async fn the_tools_of_two_documents_are_as_reviewed() {
    let Some(root) = corpus() else { return };
    for name in ["v3.0/petstore.yaml", "v3.1/tictactoe.yaml"] {
        let document = load(&root.join("learn/examples").join(name)).await;
        let stem = name.replace(['/', '.'], "_");
        insta::assert_yaml_snapshot!(
            format!("openapi_{stem}"),
            listed(&preview(&document, &Config::default()))
        );
    }
}
