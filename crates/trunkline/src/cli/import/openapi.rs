//! An HTTP service with an OpenAPI document.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{LeftOut, Proposal, Tool, service_name};
use crate::Error;
use crate::config::is_url;

/// The methods of a path item that are operations.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The service for a document. `folder` is that of the configuration file.
pub(super) fn proposal(
    source: &str,
    document: &Value,
    name: Option<&str>,
    folder: &Path,
) -> Result<Proposal, Error> {
    let fail = |reason: &str| Error::Import { source_name: source.to_owned(), reason: reason.to_owned() };
    let paths = document["paths"].as_object();
    if paths.is_none() && document["webhooks"].as_object().is_none() {
        return Err(fail("the document has no paths"));
    }
    let title = document["info"]["title"].as_str().unwrap_or("api");
    let name = service_name(&name.map_or_else(|| title.to_lowercase(), str::to_owned));
    let (mut tools, mut left_out, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if METHODS.contains(&method.as_str()) && operation.is_object() {
                tools.push(tool(path, method, operation));
            }
        }
    }
    for (webhook, _) in document["webhooks"].as_object().into_iter().flatten() {
        let reason = "webhooks are calls that the service makes, not ones it takes".to_owned();
        left_out.push(LeftOut { what: format!("webhook {webhook}"), reason });
    }
    let schemes = ["components", "securitySchemes"].iter().fold(document, |value, key| &value[*key]);
    let schemes = schemes.as_object().or(document["securityDefinitions"].as_object());
    for scheme in schemes.into_iter().flat_map(Map::keys) {
        remarks.push(format!("credentials for {scheme:?} go under openapi.credentials.{scheme}"));
    }
    let mut openapi = Map::new();
    openapi.insert("document".to_owned(), json!(reference(source, folder)));
    if !is_url(source) && !has_absolute_server(document) {
        remarks.push("the document does not say where the service is: set openapi.base_url".to_owned());
    }
    Ok(Proposal { name, entry: json!({ "openapi": openapi }), tools: Some(tools), left_out, remarks })
}

fn tool(path: &str, method: &str, operation: &Value) -> Tool {
    let name = operation["operationId"].as_str().map_or_else(|| format!("{method} {path}"), str::to_owned);
    let text = ["summary", "description"].iter().find_map(|key| operation[*key].as_str());
    Tool {
        name,
        operation: format!("{} {path}", method.to_uppercase()),
        description: text.unwrap_or_default().to_owned(),
    }
}

fn has_absolute_server(document: &Value) -> bool {
    document["host"].is_string()
        || document["servers"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|server| server["url"].as_str().is_some_and(is_url))
}

/// The document's place for the configuration: a URL, or a path from its folder.
fn reference(source: &str, folder: &Path) -> String {
    if is_url(source) {
        return source.to_owned();
    }
    let file = std::path::absolute(source).unwrap_or_else(|_| source.into());
    // A $ in a path is no variable.
    file.strip_prefix(folder).unwrap_or(&file).display().to_string().replace("${", "$${")
}
