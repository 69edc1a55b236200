//! The MCP door over standard input and output.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::client::{accept, meta, text};
use crate::support::process::{Gateway, TRUNKLINE, as_child};
use crate::support::{eventually, within};

/// `trunkline stdio`, and who talks to it.
struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(TRUNKLINE);
        command.arg("stdio").arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    async fn say(&mut self, message: &Value) {
        self.line(&message.to_string()).await;
    }

    async fn line(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        let line = within("the next line", self.output.next_line()).await.unwrap();
        serde_json::from_str(&line.expect("the output goes on")).unwrap()
    }

    /// The next message that is not about changed lists.
    async fn hear(&mut self) -> Value {
        loop {
            let message = self.next().await;
            if !message["method"].as_str().is_some_and(|method| method.ends_with("list_changed")) {
                return message;
            }
        }
    }

    async fn initialize(&mut self) {
        let params = json!({
            "protocolVersion": "2025-06-18", "capabilities": { "elicitation": {} },
            "clientInfo": { "name": "test", "version": "1" },
        });
        self.say(&request(0, "initialize", params)).await;
        assert_eq!(self.hear().await["result"]["protocolVersion"], "2025-06-18");
        self.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    }

    /// Asks until the service behind is there.
    async fn up(&mut self, ask: Value) {
        eventually("the tools are there", async || {
            self.say(&ask).await;
            let listed = self.hear().await;
            (!listed["result"]["tools"].as_array().unwrap().is_empty()).then_some(())
        })
        .await;
    }
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A request of revision 2026-07-28.
fn modern(id: u64, method: &str, mut params: Value) -> Value {
    let mut all = meta(&json!({ "elicitation": {} }));
    if let Some(more) = params["_meta"].as_object() {
        all.as_object_mut().unwrap().extend(more.clone());
    }
    params["_meta"] = all;
    request(id, method, params)
}

fn folder(services: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("data_dir: {}/data\nservices:\n{services}", folder.path().display());
    std::fs::write(folder.path().join("trunkline.yaml"), text).unwrap();
    folder
}

#[tokio::test]
async fn a_legacy_client() {
    let folder = folder(&as_child("f", &[]));
    let mut peer = Peer::start(folder.path());
    peer.say(&request(9, "tools/list", json!({}))).await;
    assert!(peer.hear().await["error"]["code"].is_i64(), "initialize first");
    peer.initialize().await;
    peer.up(request(1, "tools/list", json!({}))).await;
    peer.say(&request(2, "tools/call", json!({ "name": "f__greet", "arguments": { "name": "Ada" } }))).await;
    let response = peer.hear().await;
    assert!(text(&response).contains("Ada") && response["id"] == 2, "{response}");

    peer.say(&request(3, "tools/call", json!({ "name": "f__ask_twice" }))).await;
    for (member, value) in [("name", "Ada"), ("colour", "green")] {
        let asked = peer.hear().await;
        assert_eq!(asked["method"], "elicitation/create", "{asked}");
        let answer = accept(json!({ member: value }));
        peer.say(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": answer })).await;
    }
    assert_eq!(text(&peer.hear().await), "Ada likes green");

    let slow = json!({ "name": "f__slow", "arguments": { "ms": 60_000 }, "_meta": { "progressToken": 1 } });
    peer.say(&request(4, "tools/call", slow)).await;
    assert_eq!(peer.hear().await["method"], "notifications/progress");
    peer.say(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 4 } }))
        .await;
    cut_short(&mut peer, |id| request(id, "tools/call", json!({ "name": "f__counter" }))).await;

    for (bad, code) in [("{", -32700), ("{}", -32600), ("[]", -32600)] {
        peer.line(bad).await;
        assert_eq!(peer.hear().await["error"]["code"], code, "{bad}");
    }
    peer.line("").await;
    peer.line(&"x".repeat(9 << 20)).await;
    assert_eq!(peer.hear().await["error"]["data"]["code"], "TL1002");
    peer.say(&request(6, "ping", json!({}))).await;
    assert_eq!(peer.hear().await, json!({ "jsonrpc": "2.0", "id": 6, "result": {} }));
    peer.input = None;
    let status = within("the end", peer.child.wait()).await.unwrap();
    assert!(status.success());
}

/// The cancelled call has no answer, and its service has heard of it.
async fn cut_short(peer: &mut Peer, count: impl Fn(u64) -> Value) {
    let mut id = 100;
    eventually("the service hears of it", async || {
        id += 1;
        peer.say(&count(id)).await;
        let response = loop {
            let message = peer.hear().await;
            if message["method"] != "notifications/progress" {
                break message;
            }
        };
        assert_eq!(response["id"], id, "a cancelled request has no answer: {response}");
        (response["result"]["structuredContent"]["cutShort"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_modern_client() {
    let folder = folder(&as_child("f", &["--newest-protocol", "2025-11-25"]));
    let mut peer = Peer::start(folder.path());
    peer.say(&modern(1, "server/discover", json!({}))).await;
    assert_eq!(peer.hear().await["result"]["supportedVersions"][0], "2026-07-28");
    peer.up(modern(2, "tools/list", json!({}))).await;
    peer.say(&modern(3, "tools/call", json!({ "name": "f__ask_twice" }))).await;
    let mut asked = peer.hear().await;
    for (key, member, value) in [("q1", "name", "Ada"), ("q2", "colour", "green")] {
        assert_eq!(asked["result"]["inputRequests"][key]["method"], "elicitation/create", "{asked}");
        let state = &asked["result"]["requestState"];
        let answers = json!({ key: accept(json!({ member: value })) });
        let params = json!({ "name": "f__ask_twice", "inputResponses": answers, "requestState": state });
        peer.say(&modern(4, "tools/call", params)).await;
        asked = peer.hear().await;
    }
    assert_eq!(text(&asked), "Ada likes green");

    let slow = json!({ "name": "f__slow", "arguments": { "ms": 60_000 }, "_meta": { "progressToken": 1 } });
    peer.say(&modern(5, "tools/call", slow)).await;
    assert_eq!(peer.hear().await["method"], "notifications/progress");
    peer.say(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 5 } }))
        .await;
    cut_short(&mut peer, |id| modern(id, "tools/call", json!({ "name": "f__counter" }))).await;

    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    peer.say(&modern(6, "subscriptions/listen", wanted)).await;
    assert_eq!(peer.next().await["method"], "notifications/subscriptions/acknowledged");
    peer.say(&modern(7, "tools/call", json!({ "name": "f__test_trigger_tool_change" }))).await;
    let (one, other) = (peer.next().await, peer.next().await);
    let notice = [one, other].into_iter().find(|message| message["id"].is_null()).unwrap();
    assert_eq!(notice["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 6, "{notice}");
}

#[tokio::test]
async fn two_of_them_beside_a_running_gateway() {
    let gateway = Gateway::start(&format!("services:\n{}", as_child("f", &[]))).await;
    let (mut one, mut two) = (Peer::start(gateway.folder.path()), Peer::start(gateway.folder.path()));
    for peer in [&mut one, &mut two] {
        peer.initialize().await;
        peer.up(request(1, "tools/list", json!({}))).await;
        peer.say(&request(2, "tools/call", json!({ "name": "f__greet", "arguments": { "name": "Ada" } })))
            .await;
        assert!(text(&peer.hear().await).contains("Ada"));
    }
    assert_eq!(gateway.call("f__greet", &json!({ "name": "Ada" }), &[]).await.status, 200);
}
