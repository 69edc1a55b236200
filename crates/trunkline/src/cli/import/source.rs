//! Reads what is imported, from a file or URL.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::Method;
use serde_json::{Map, Value};
use url::Url;

use crate::Error;
use crate::cli::client::Client;
use crate::cli::stop::Stop;
use crate::config::is_url;

/// The largest document, in bytes.
const MAX_DOCUMENT: usize = 32 << 20;

/// How long a download may take.
const DOWNLOAD: Duration = Duration::from_secs(60);

/// What a document is.
pub(super) enum Kind<'a> {
    /// A list of MCP servers by name.
    McpServers(&'a Map<String, Value>),
    /// Servers as the MCP Registry describes them.
    ServerJson(Vec<&'a Value>),
    /// The description of an HTTP service.
    OpenApi,
}

/// What the document is, by the names at its top.
pub(super) fn kind(document: &Value) -> Option<Kind<'_>> {
    if document.get("openapi").is_some() || document.get("swagger").is_some() {
        return Some(Kind::OpenApi);
    }
    if let Some(servers) = super::server_json::servers(document) {
        return Some(Kind::ServerJson(servers));
    }
    let list = ["mcpServers", "servers"].iter().find_map(|key| document[*key].as_object());
    list.or_else(|| document["mcp"]["servers"].as_object()).map(Kind::McpServers)
}

/// Reads a JSON or YAML document.
pub(super) async fn read(source: &str) -> Result<Value, Stop> {
    let fail = |reason: String| Error::Import { source_name: source.to_owned(), reason };
    let bytes = if is_url(source) {
        let url = Url::parse(source).map_err(|error| fail(error.to_string()))?;
        let download = tokio::time::timeout(DOWNLOAD, download(url));
        match download.await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(Stop::Error(error))) => return Err(fail(error.to_string()).into()),
            Ok(Err(Stop::Problem(problem))) => {
                return Err(fail(format!("the server answers HTTP {}", problem.status)).into());
            }
            Ok(Err(other)) => return Err(other),
            Err(_) => return Err(fail(format!("no answer in {} s", DOWNLOAD.as_secs())).into()),
        }
    } else {
        let mut bytes = Vec::new();
        let file = File::open(source).map_err(|error| fail(error.to_string()))?;
        let read = file.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| fail(error.to_string()))?;
        bytes
    };
    if bytes.len() > MAX_DOCUMENT {
        return Err(fail(format!("it is larger than {} MiB", MAX_DOCUMENT >> 20)).into());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| fail("it is not text in UTF-8".to_owned()))?;
    parse(text.strip_prefix('\u{feff}').unwrap_or(text)).map_err(|reason| fail(reason).into())
}

/// The first line of the message only: the rest may quote the document, which may hold secrets.
fn parse(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| format!("it is not valid JSON: {error}"));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map(|at| format!(" at line {}", at.line())).unwrap_or_default();
        format!("it is not valid JSON or YAML{place}")
    })
}

async fn download(url: Url) -> Result<Vec<u8>, Stop> {
    let client = Client::new(url, None);
    let response =
        client.send(Method::GET, &[], &[], None, "application/json, application/yaml, */*").await?;
    let body = Limited::new(response.into_body(), MAX_DOCUMENT + 1).collect().await;
    let body = body.map_err(|error| client.answer(error.to_string()))?;
    Ok(body.to_bytes().to_vec())
}
