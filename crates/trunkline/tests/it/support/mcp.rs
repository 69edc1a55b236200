//! An MCP server of a test that does as the test says, message by message. It ends with the test's runtime.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What came: the path, the headers, and the body, as text where it is no JSON.
pub(crate) struct Came<'a> {
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: Value,
}

/// What is answered to a message.
pub(crate) enum Says {
    /// The result of a request.
    Result(Value),
    /// An error of JSON-RPC.
    Error(i64, &'static str),
    /// An answer of HTTP: status, headers, body.
    Http(u16, Vec<(&'static str, String)>, Value),
}

type Answers = Box<dyn FnMut(&Came<'_>) -> Says + Send>;

/// The server.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Scripted {
    /// Starts it on a free port. It opens sessions by itself; `answer` is asked about everything else that comes by POST, and about
    /// what comes to other paths than `/mcp`.
    pub(crate) async fn start(answer: impl FnMut(&Came<'_>) -> Says + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (all, answer) = (heard.clone(), Arc::new(Mutex::new(Box::new(answer) as Answers)));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (all, answer) = (all.clone(), answer.clone());
                let service =
                    hyper::service::service_fn(move |request| reply(request, all.clone(), answer.clone()));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { address, heard }
    }

    /// How often a method was asked for.
    pub(crate) fn heard(&self, method: &str) -> usize {
        self.heard.lock().iter().filter(|message| message["method"] == method).count()
    }

    /// The calls of a tool that came, by its name.
    pub(crate) fn called(&self, tool: &str) -> usize {
        let heard = self.heard.lock();
        let calls = heard.iter().filter(|message| message["method"] == "tools/call");
        calls.filter(|message| message["params"]["name"] == tool).count()
    }

    /// A service of the configuration. `more` is more YAML of its section `mcp`, `beside` of the service.
    pub(crate) fn service(&self, name: &str, more: &str, beside: &str) -> String {
        let url = format!("http://{}/mcp", self.address);
        format!("  {name}: {{ mcp: {{ url: \"{url}\", protocol: \"2025-11-25\"{more} }}{beside} }}\n")
    }
}

async fn reply(
    request: Request<Incoming>,
    heard: Arc<Mutex<Vec<Value>>>,
    answer: Arc<Mutex<Answers>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let text = || Value::from(String::from_utf8_lossy(&body));
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| text());
    let path = parts.uri.path();
    let nothing = |status: u16| Ok(Response::builder().status(status).body(Full::default()).unwrap());
    if path == "/mcp" && parts.method != "POST" {
        return nothing(405);
    }
    heard.lock().push(body.clone());
    let id = body["id"].clone();
    let said = match body["method"].as_str() {
        Some("notifications/initialized" | "notifications/cancelled") => return nothing(202),
        method => {
            let said = (answer.lock())(&Came { path, headers: &parts.headers, body: body.clone() });
            match (said, method) {
                // Who may not come in does not open a session either.
                (said @ Says::Http(..), _) => said,
                (_, Some("initialize")) => Says::Result(json!({
                    "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "scripted", "version": "1"},
                })),
                (said, _) => said,
            }
        }
    };
    let message = |member: &str, value: Value| json!({"jsonrpc": "2.0", "id": id, member: value});
    let (status, headers, body) = match said {
        Says::Result(result) => (200, Vec::new(), message("result", result)),
        Says::Error(code, text) => {
            (200, Vec::new(), message("error", json!({"code": code, "message": text})))
        }
        Says::Http(status, headers, body) => (status, headers, body),
    };
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::from(body.to_string())).unwrap())
}
