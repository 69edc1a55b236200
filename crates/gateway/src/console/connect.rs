//! How agents and programs come in: set-up to copy.

use axum::http::{HeaderMap, header};

use super::Page;
use super::html::{Html, html};

pub(super) async fn page(headers: HeaderMap) -> Page {
    // The door has checked it.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1:7400");
    let server = serde_json::json!({"mcpServers": {"trunkline": {"type": "http", "url": format!("http://{host}/mcp")}}});
    let server = serde_json::to_string_pretty(&server).unwrap_or_default();
    let mut body =
        html("<p>Behind TLS, write https for http. Off this machine, each needs an API key: the header ")
            .raw("<code>Authorization: Bearer KEY</code>.</p>");
    for (title, text) in [
        ("Claude Code", format!("claude mcp add --transport http trunkline http://{host}/mcp")),
        ("Other MCP clients", server),
        ("curl: the tools", format!("curl http://{host}/v1/tools")),
        (
            "curl: a call",
            format!(
                "curl -X POST http://{host}/v1/tools/NAME:call -H 'content-type: application/json' -d '{{}}'"
            ),
        ),
        ("The endpoints", format!("curl http://{host}/openapi.json")),
    ] {
        body = body.push(&block(title, &text));
    }
    Page::new("/console/connect", "Connect", body)
}

fn block(title: &'static str, text: &str) -> Html {
    html("<h2>").raw(title).raw("</h2><pre>").text(text).raw("</pre>")
}
