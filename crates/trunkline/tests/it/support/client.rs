//! MCP clients of both eras over HTTP.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::http::{self, Events, Reply};

const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");

/// A client of revision 2026-07-28.
pub(crate) struct Modern {
    address: SocketAddr,
    pub(crate) capabilities: Value,
    key: Option<String>,
}

/// The `_meta` of a modern request.
pub(crate) fn meta(capabilities: &Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    })
}

impl Modern {
    /// A client that can be asked everything.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let capabilities = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
        Self { address, capabilities, key: None }
    }

    /// A client that can be asked nothing.
    pub(crate) fn without_questions(mut self) -> Self {
        self.capabilities = json!({});
        self
    }

    pub(crate) fn with_key(mut self, key: &str) -> Self {
        self.key = Some(format!("Bearer {key}"));
        self
    }

    /// Sends a request. `_meta` is added.
    pub(crate) async fn send(&self, method: &str, mut params: Value) -> Reply {
        let mut meta = meta(&self.capabilities);
        if let Some(more) = params["_meta"].as_object() {
            meta.as_object_mut().unwrap().extend(more.clone());
        }
        params["_meta"] = meta;
        let name = ["name", "uri", "taskId"].into_iter().find_map(|member| params[member].as_str());
        let name = name.unwrap_or_default().to_owned();
        let mut headers = vec![ACCEPT, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        if !name.is_empty() {
            headers.push(("mcp-name", &name));
        }
        if let Some(key) = &self.key {
            headers.push(("authorization", key));
        }
        let message = json!({ "jsonrpc": "2.0", "id": "m1", "method": method, "params": params });
        http::post(self.address, "/mcp", &headers, message.to_string()).await
    }

    /// Sends a request and returns its JSON-RPC response.
    pub(crate) async fn request(&self, method: &str, params: Value) -> Value {
        let response = self.send(method, params).await.response().await;
        assert_eq!(response["id"], "m1", "{response}");
        response
    }

    /// Calls a tool. Returns the JSON-RPC response.
    pub(crate) async fn call(&self, name: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({ "name": name, "arguments": arguments })).await
    }

    /// Sends a call again with answers. Returns the JSON-RPC response.
    pub(crate) async fn go_on(&self, name: &str, state: &Value, answers: Value) -> Value {
        let params =
            json!({ "name": name, "arguments": {}, "inputResponses": answers, "requestState": state });
        self.request("tools/call", params).await
    }

    /// The names of the tools.
    pub(crate) async fn tools(&self) -> Vec<String> {
        names(&self.request("tools/list", json!({})).await)
    }
}

/// A client of revision 2025-11-25, in a session.
pub(crate) struct Legacy {
    address: SocketAddr,
    pub(crate) session: String,
    key: Option<String>,
    next: AtomicU64,
}

impl Legacy {
    /// A client that can be asked for forms, samples and roots.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_as(address, None, json!({ "elicitation": {}, "sampling": {}, "roots": {} })).await
    }

    pub(crate) async fn connect_as(address: SocketAddr, key: Option<&str>, capabilities: Value) -> Self {
        let key = key.map(|key| format!("Bearer {key}"));
        let mut client = Self { address, session: String::new(), key, next: AtomicU64::new(1) };
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": { "name": "test", "version": "1" },
        });
        let reply = client.send("initialize", params).await;
        assert_eq!(reply.status, 200);
        client.session = reply.header("mcp-session-id").unwrap().to_owned();
        assert_eq!(reply.response().await["result"]["protocolVersion"], "2025-11-25");
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(client.post(&initialized).await.status, 202);
        client
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers = vec![ACCEPT];
        if !self.session.is_empty() {
            headers.push(("mcp-session-id", &self.session));
            headers.push(("mcp-protocol-version", "2025-11-25"));
        }
        if let Some(key) = &self.key {
            headers.push(("authorization", key));
        }
        headers
    }

    /// Posts a message.
    pub(crate) async fn post(&self, message: &Value) -> Reply {
        http::post(self.address, "/mcp", &self.headers(), message.to_string()).await
    }

    /// Posts a request with an id of its own.
    pub(crate) async fn send(&self, method: &str, params: Value) -> Reply {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.post(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await
    }

    /// Posts a request and returns its JSON-RPC response.
    pub(crate) async fn request(&self, method: &str, params: Value) -> Value {
        self.send(method, params).await.response().await
    }

    /// Calls a tool. Returns the JSON-RPC response.
    pub(crate) async fn call(&self, name: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({ "name": name, "arguments": arguments })).await
    }

    /// Calls a tool that has something to say before its end.
    pub(crate) async fn begin(&self, name: &str, params: Value) -> Events {
        let mut all = json!({ "name": name, "arguments": {} });
        all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        self.send("tools/call", all).await.events()
    }

    /// Answers a question of the gateway.
    pub(crate) async fn answer(&self, question: &Value, result: Value) {
        let id = &question["id"];
        let reply = self.post(&json!({ "jsonrpc": "2.0", "id": id, "result": result })).await;
        assert_eq!(reply.status, 202, "the answer to {id}");
    }

    /// Opens the GET stream, or the rest of a call's after the event `last`.
    pub(crate) async fn listen(&self, last: Option<&str>) -> Events {
        let mut headers = self.headers();
        if let Some(last) = last {
            headers.push(("last-event-id", last));
        }
        http::send(self.address, "GET", "/mcp", &headers, "").await.events()
    }

    /// Ends the session.
    pub(crate) async fn delete(&self) -> Reply {
        http::send(self.address, "DELETE", "/mcp", &self.headers(), "").await
    }

    /// The names of the tools.
    pub(crate) async fn tools(&self) -> Vec<String> {
        names(&self.request("tools/list", json!({})).await)
    }
}

fn names(listed: &Value) -> Vec<String> {
    let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// The text of a tool's result.
pub(crate) fn text(response: &Value) -> &str {
    response["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{response}"))
}

/// The failure that a call came to, told as a result or as an error.
pub(crate) fn failure(response: &Value) -> &Value {
    match &response["error"] {
        Value::Null => &response["result"]["_meta"]["dev.trunkline/failure"],
        error => &error["data"],
    }
}

/// An accepted form.
pub(crate) fn accept(content: Value) -> Value {
    json!({ "action": "accept", "content": content })
}

/// A sampled message.
pub(crate) fn sampled(text: &str) -> Value {
    json!({ "role": "assistant", "model": "test", "content": { "type": "text", "text": text } })
}
