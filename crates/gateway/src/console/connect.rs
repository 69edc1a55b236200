//! How agents and programs come in: set-up to copy.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};

use super::Page;
use super::html::{Html, html};
use crate::Gateway;

pub(super) async fn page(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Page {
    // The door has checked it.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1:7400");
    let base = gateway.console.config().base(host);
    let server =
        serde_json::json!({"mcpServers": {"trunkline": {"type": "http", "url": format!("{base}/mcp")}}});
    let server = serde_json::to_string_pretty(&server).unwrap_or_default();
    let mut body = html("<p>Off this machine, each needs an API key: the header ")
        .raw("<code>Authorization: Bearer KEY</code>.</p>");
    for (title, text) in [
        ("Claude Code", format!("claude mcp add --transport http trunkline {base}/mcp")),
        ("Other MCP clients", server),
        ("curl: the tools", format!("curl {base}/v1/tools")),
        (
            "curl: a call",
            format!("curl -X POST {base}/v1/tools/NAME:call -H 'content-type: application/json' -d '{{}}'"),
        ),
        ("The endpoints", format!("curl {base}/openapi.json")),
    ] {
        body = body.push(&block(title, &text));
    }
    Page::new("/console/connect", "Connect", body)
}

fn block(title: &'static str, text: &str) -> Html {
    // The script puts a button there.
    html("<h2>").raw(title).raw("</h2><pre data-copy>").text(text).raw("</pre>")
}
