//! An HTTP service with an OpenAPI document.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::openapi::{Config, Document, location, preview};

use super::{LeftOut, Proposal, service_name};
use crate::Error;
use crate::config::is_url;

/// The service for a document. `folder` is that of the configuration file.
pub(super) async fn proposal(source: &str, name: Option<&str>, folder: &Path) -> Result<Proposal, Error> {
    let fail = |reason: String| Error::Import { source_name: source.to_owned(), reason };
    let here = std::env::current_dir().map_err(|error| fail(error.to_string()))?;
    let place = location(source, &here).map_err(|error| fail(error.to_string()))?;
    let http = HttpClient::new().map_err(|error| fail(error.to_string()))?;
    let config = Config { document: source.to_owned(), ..Config::default() };
    let document = Document::load(&place, config.max_document_bytes, &http).await;
    let preview = preview(&document.map_err(|error| fail(error.to_string()))?, &config);
    if preview.tools.is_empty() && preview.left_out.is_empty() {
        return Err(fail("the document has no operations".to_owned()));
    }
    let mut remarks = preview.warnings;
    if preview.tools.iter().any(|tool| tool.server.is_none()) {
        remarks.push("the document does not say where the service is: set openapi.base_url".to_owned());
    }
    let schemes: BTreeSet<_> = preview.tools.iter().flat_map(|tool| tool.security.iter().flatten()).collect();
    for scheme in schemes {
        remarks.push(format!("if it asks for {scheme:?}, set openapi.credentials.{scheme}"));
    }
    remarks.dedup();
    let left_out = preview.left_out.into_iter();
    Ok(Proposal {
        name: service_name(&name.map_or_else(|| preview.title.to_lowercase(), str::to_owned)),
        entry: json!({ "openapi": { "document": reference(source, folder) } }),
        tools: Some(preview.tools),
        left_out: left_out.map(|left| LeftOut { what: left.operation, reason: left.reason }).collect(),
        remarks,
    })
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
