//! Where an operation's requests go: `servers` of OpenAPI 3 at three levels, `host` and `basePath` of Swagger 2.0.

use std::borrow::Cow;

use url::Url;

use super::document::Document;
use super::reference::Node;

/// The base URL of an operation, without a slash at its end; `None` where nothing absolute is named.
///
/// The operation's servers count before those of its path, those before the document's; of several the first.
pub(super) fn base(document: &Document, path_item: Node<'_>, operation: Node<'_>) -> Option<Url> {
    let top = document.top();
    if top.get("swagger").is_some() {
        return swagger2(document, operation);
    }
    let stated = [operation, path_item, top].into_iter().find_map(|level| {
        let server = level.get("servers")?.items().next()?;
        server.text("url").map(|url| (server, url))
    });
    let (node, url) = match stated {
        Some((server, url)) => (server, substituted(server, url)),
        // Without `servers` the document's own address counts (OpenAPI 3.1, section 4.8.1).
        None => (top, Cow::Borrowed("/")),
    };
    absolute(document.url(node.part), &url)
}

/// `url` with each `{variable}` replaced by its default.
fn substituted<'a>(server: Node<'_>, url: &'a str) -> Cow<'a, str> {
    let mut out = Cow::Borrowed(url);
    for (name, variable) in server.get("variables").into_iter().flat_map(Node::members) {
        // YAML authors leave ports unquoted.
        let default = variable.get("default").map(|default| match default.value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        if let Some(default) = default {
            out = Cow::Owned(out.replace(&format!("{{{name}}}"), &default));
        }
    }
    out
}

/// `url` against the address of the document. A file has no host that could be asked.
fn absolute(document: &Url, url: &str) -> Option<Url> {
    let base = document.join(url).ok()?;
    (matches!(base.scheme(), "http" | "https") && base.has_host()).then_some(base)
}

fn swagger2(document: &Document, operation: Node<'_>) -> Option<Url> {
    let top = document.top();
    let own = document.url(0);
    let schemes = operation.get("schemes").or_else(|| top.get("schemes"));
    let stated: Vec<_> =
        schemes.into_iter().flat_map(Node::items).filter_map(|scheme| scheme.value.as_str()).collect();
    let scheme = match own.scheme() {
        _ if stated.contains(&"https") => "https",
        _ if stated.contains(&"http") => "http",
        "file" => "https",
        own => own,
    };
    let path = top.text("basePath").unwrap_or("/");
    match top.text("host") {
        Some(host) => Url::parse(&format!("{scheme}://{host}{path}")).ok(),
        None => absolute(own, path),
    }
}

/// The base as text that paths are appended to.
pub(super) fn prefix(base: &Url) -> String {
    let mut base = base.clone();
    base.set_query(None);
    base.set_fragment(None);
    base.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn base_of(url: &str, root: &Value) -> Option<String> {
        let document = Document::parse(root.to_string().as_bytes(), Url::parse(url).unwrap()).unwrap();
        let item = document.top().get("paths")?.get("/a")?;
        base(&document, item, item.get("get")?).map(|base| prefix(&base))
    }

    #[test]
    fn the_nearest_server_counts_and_relative_ones_start_at_the_document() {
        let server = |url: &str| json!([{"url": url}]);
        let mut root = json!({"openapi": "3.1.0", "paths": {"/a": {"get": {}}}});
        let web = "https://h.example/docs/openapi.yaml";
        assert_eq!(base_of(web, &root).as_deref(), Some("https://h.example"));
        root["servers"] = server("../v1/");
        assert_eq!(base_of(web, &root).as_deref(), Some("https://h.example/v1"));
        assert_eq!(base_of("file:///x/openapi.yaml", &root), None);
        root["paths"]["/a"]["servers"] = server("https://path.example");
        assert_eq!(base_of(web, &root).as_deref(), Some("https://path.example"));
        root["paths"]["/a"]["get"]["servers"] = json!([{"url": "http://{host}:{port}/x", "variables": {"host": {"default": "op"}, "port": {"default": 81}}}]);
        assert_eq!(base_of(web, &root).as_deref(), Some("http://op:81/x"));
    }

    #[test]
    fn swagger_names_host_and_base_path() {
        let mut root = json!({"swagger": "2.0", "paths": {"/a": {"get": {}}}, "basePath": "/api"});
        assert_eq!(base_of("http://h.example/s.json", &root).as_deref(), Some("http://h.example/api"));
        assert_eq!(base_of("file:///s.json", &root), None);
        root["host"] = "x.example".into();
        assert_eq!(base_of("file:///s.json", &root).as_deref(), Some("https://x.example/api"));
        root["schemes"] = json!(["http"]);
        assert_eq!(base_of("file:///s.json", &root).as_deref(), Some("http://x.example/api"));
    }
}
