//! Services that run in several places, on the real binary: instances that die, come, go and move while they are called.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::support::process::Gateway;
use super::support::{eventually, http};

const DOCUMENT: &str = "openapi: 3.1.0
info: {title: names, version: 1.4.0}
paths:
  /name:
    get:
      operationId: getName
      responses: {'200': {description: its name, content: {application/json: {schema: {type: object, properties: {name: {type: string}}}}}}}
";

/// A service that says its name, and answers `/healthz`.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    calls: Arc<AtomicUsize>,
    sick: Arc<AtomicBool>,
    /// Dropping it closes the listener and all connections.
    tasks: Option<tokio::task::JoinHandle<()>>,
}

impl Stub {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), name).await
    }

    pub(crate) async fn start_at(address: SocketAddr, name: &'static str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, sick) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, state) = (calls.clone(), sick.clone());
        let tasks = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let (count, state) = (count.clone(), state.clone());
                connections.spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                        let check = buffer[..read].starts_with(b"GET /healthz ");
                        count.fetch_add(usize::from(!check), Ordering::Relaxed);
                        let status = if check && state.load(Ordering::Relaxed) { "503 Sick" } else { "200 OK" };
                        let body = json!({"name": name}).to_string();
                        let answer = format!(
                            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        if socket.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, calls, sick, tasks: Some(tasks) }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Ends it as a killed process ends: its connections are reset or closed in the middle of whatever they do.
    pub(crate) async fn kill(&mut self) {
        let tasks = self.tasks.take().unwrap();
        tasks.abort();
        let _ = tasks.await;
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls since this was last asked.
    fn calls_since(&self) -> usize {
        self.calls.swap(0, Ordering::Relaxed)
    }
}

pub(crate) fn config(folder: &Path, more: &str) -> String {
    let document = folder.join("names.yaml");
    std::fs::write(&document, DOCUMENT).unwrap();
    let tools = "tools: { getName: { capabilities: [names.read] } }";
    format!("services: {{ names: {{ openapi: {{ document: {}, {tools} }}, {more} }} }}\n", document.display())
}

fn instances(stubs: &[&Stub]) -> String {
    let list: Vec<String> = stubs.iter().map(|stub| format!("{{ url: \"{}\" }}", stub.url())).collect();
    let health = "health: { tcp: true, interval_ms: 50, healthy_after: 1, unhealthy_after: 2 }";
    format!("instances: [{}], {health}", list.join(", "))
}

/// Calls without end until told to stop; gives how often, and what failed.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    callers: JoinSet<(usize, Vec<Value>)>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for _ in 0..4 {
            let stop = stop.clone();
            callers.spawn(async move {
                let (mut calls, mut failed) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let reply = http::post(address, "/v1/tools/names__getName:call", &[], "{}").await;
                    let status = reply.status;
                    let answer = reply.json().await;
                    calls += 1;
                    if status != 200 || answer["is_error"] != false {
                        failed.push(answer);
                    }
                }
                (calls, failed)
            });
        }
        Self { stop, callers }
    }

    pub(crate) async fn none_failed(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut calls = 0;
        while let Some(done) = self.callers.join_next().await {
            let (made, failed) = done.unwrap();
            assert!(failed.is_empty(), "{} of {made}: {:?}", failed.len(), failed.first());
            calls += made;
        }
        assert!(calls > 100, "{calls}");
    }
}

pub(crate) async fn shown(gateway: &Gateway) -> Vec<Value> {
    let services = gateway.get("/v1/services").await.json().await;
    services["services"][0]["instances"].as_array().unwrap().clone()
}

async fn healthy(gateway: &Gateway, expected: &[bool]) {
    eventually("the instances are as they are expected to be", async || {
        let found: Vec<bool> =
            shown(gateway).await.iter().map(|one| one["healthy"].as_bool().unwrap()).collect();
        (found == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn instances_die_come_and_move_under_load_and_no_call_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (Stub::start("one").await, Stub::start("two").await);
    let three = Stub::start("three").await;
    let gateway = Gateway::start(&config(folder.path(), &instances(&[&one, &two]))).await;
    healthy(&gateway, &[true, true]).await;
    let load = Load::start(gateway.address);
    eventually("both are called", async || (one.calls() > 20 && two.calls() > 20).then_some(())).await;
    // Killed, and back.
    one.kill().await;
    healthy(&gateway, &[false, true]).await;
    let back = Stub::start_at(one.address, "one again").await;
    healthy(&gateway, &[true, true]).await;
    eventually("it is called again", async || (back.calls() > 0).then_some(())).await;
    // Another one is added, and one is taken away.
    gateway.configure(&config(folder.path(), &instances(&[&back, &three])));
    eventually("the new one is called", async || (three.calls() > 20).then_some(())).await;
    eventually("the old one is left alone", async || (two.calls_since() == 0).then_some(())).await;
    two.kill().await;
    load.none_failed().await;
    eventually("each change is an event", async || {
        let events = gateway.events("dev.trunkline.service_call.changed").await;
        let told = events.iter().filter(|event| event.to_string().contains("\"instance\"")).count();
        (told >= 5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_fails_its_checks_gets_no_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Stub::start("one").await, Stub::start("two").await);
    let more = instances(&[&one, &two]).replace("tcp: true", "http: /healthz");
    let gateway = Gateway::start(&config(folder.path(), &more)).await;
    two.sick.store(true, Ordering::Relaxed);
    healthy(&gateway, &[true, false]).await;
    let cause = shown(&gateway).await[1]["cause"].clone();
    assert_eq!(cause, "it answers its check with 503 Service Unavailable");
    one.calls_since();
    two.calls_since();
    for _ in 0..20 {
        assert_eq!(gateway.call("names__getName", &json!({}), &[]).await.status, 200);
    }
    assert_eq!((one.calls(), two.calls()), (20, 0));
    two.sick.store(false, Ordering::Relaxed);
    healthy(&gateway, &[true, true]).await;
}

async fn register(gateway: &Gateway, stub: &Stub, ttl_ms: u64) -> (u16, Value) {
    let body = json!({"url": stub.url(), "zone": "a", "ttl_ms": ttl_ms}).to_string();
    let headers = [("content-type", "application/json")];
    let path = "/v1/services/names/instances";
    let reply = http::send(gateway.address, "PUT", path, &headers, body).await;
    (reply.status, reply.json().await)
}

#[tokio::test]
async fn instances_register_themselves_and_lapse_and_no_call_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two, three) = (Stub::start("one").await, Stub::start("two").await, Stub::start("three").await);
    let lease = "discover: { lease: { allow: [\"http://127.0.0.1:*\"], ttl_ms: 60000 } }";
    let mut gateway = Gateway::begin(&config(folder.path(), lease)).await;
    assert_eq!(gateway.call("names__getName", &json!({}), &[]).await.status, 404);
    assert_eq!(register(&gateway, &one, 60_000).await.1["new"], true);
    eventually("its tool is there", async || {
        (gateway.call("names__getName", &json!({}), &[]).await.status == 200).then_some(())
    })
    .await;
    let load = Load::start(gateway.address);
    assert_eq!(register(&gateway, &two, 60_000).await.0, 200);
    eventually("the second is called", async || (two.calls() > 20).then_some(())).await;
    // The third says that it is there for half a second, and does not say so again.
    assert_eq!(register(&gateway, &three, 500).await.0, 200);
    eventually("the third is called", async || (three.calls() > 0).then_some(())).await;
    eventually("it has lapsed", async || (shown(&gateway).await.len() == 2).then_some(())).await;
    let gone = format!("/v1/services/names/instances?url={}", two.url());
    assert_eq!(http::send(gateway.address, "DELETE", &gone, &[], "").await.status, 204);
    assert_eq!(http::send(gateway.address, "DELETE", &gone, &[], "").await.status, 403);
    eventually("the first is left", async || (shown(&gateway).await.len() == 1).then_some(())).await;
    load.none_failed().await;
    // It is there after a crash, too.
    gateway.kill().await;
    gateway.start_again().await;
    eventually("it is there again", async || {
        (gateway.call("names__getName", &json!({}), &[]).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_may_not_register_is_refused_and_what_is_asked_for_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let one = Stub::start("one").await;
    let lease = "discover: { lease: { allow: [\"http://127.0.0.1:*\"], most: 1 } }";
    let gateway = Gateway::begin(&config(folder.path(), lease)).await;
    let put = async |service: &str, url: &str| {
        let (path, body) = (format!("/v1/services/{service}/instances"), json!({"url": url}).to_string());
        let reply = http::send(gateway.address, "PUT", &path, &[], body).await;
        (reply.status, reply.json().await["detail"].clone())
    };
    for url in ["http://169.254.169.254/", "http://127.0.0.1:1@evil.example/", "file:///etc/passwd", "x"] {
        let (status, detail) = put("names", url).await;
        assert_eq!(status, 403, "{url}: {detail}");
    }
    assert_eq!(put("other", &one.url()).await.0, 403);
    assert_eq!(put("names", &one.url()).await.0, 200);
    let (status, detail) = put("names", "http://127.0.0.1:9/").await;
    assert_eq!((status, detail.as_str().unwrap().ends_with("names has 1 instances already")), (403, true));
    let ask = async |query: Value| {
        let reply = http::post(gateway.address, "/v1/discover", &[], query.to_string()).await;
        (reply.status, reply.json().await)
    };
    let query = json!({"capability": "names", "version": "^1.4", "needs": ["name"], "gives": []});
    let found = eventually("it is found", async || {
        let (_, found) = ask(query.clone()).await;
        (found["tools"][0]["tool"] == "names__getName").then_some(found)
    })
    .await;
    assert_eq!(found["tools"][0]["instances"], 1, "{found}");
    let (_, none) = ask(json!({"capability": "names", "version": "^2"})).await;
    assert_eq!(none["left_out"][0]["why"], "its version is 1.4.0", "{none}");
    assert_eq!(ask(json!({"capabilty": "names"})).await.0, 400);
}

#[tokio::test]
async fn another_service_of_the_same_capability_stands_in_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (Stub::start("one").await, Stub::start("two").await);
    let document = folder.path().join("names.yaml");
    std::fs::write(&document, DOCUMENT).unwrap();
    let service = |name: &str, stub: &Stub| {
        let (document, url) = (document.display(), stub.url());
        format!(
            "  {name}: {{ capabilities: [names.read], openapi: {{ document: {document}, base_url: \"{url}\" }} }}\n"
        )
    };
    let services = [service("first", &one), service("second", &two)].concat();
    let config = |more: &str| format!("services:\n{services}recovery: {{ fail_over: [names] }}\n{more}");
    let gateway = Gateway::start(&config("")).await;
    let call = async || gateway.call("first__getName", &json!({}), &[]).await.json().await;
    assert_eq!(call().await["result"]["structuredContent"]["name"], "one");
    one.kill().await;
    let answer = call().await;
    assert_eq!(answer["result"]["structuredContent"]["name"], "two", "{answer}");
    let told = &answer["result"]["_meta"]["dev.trunkline/recovery"];
    assert_eq!(
        (&told["answered_by"], &told["tried"][0]["tool"]),
        (&json!("second__getName"), &json!("first__getName"))
    );
    // All three calls are in the record.
    eventually("the calls are in the record", async || {
        let ended = ["completed", "failed"].map(|end| format!("dev.trunkline.tool_execution.{end}.v1"));
        let (good, bad) = (gateway.events(&ended[0]).await.len(), gateway.events(&ended[1]).await.len());
        ((good, bad) == (2, 1)).then_some(())
    })
    .await;
    // Where nobody can stand in, it is said who was asked.
    two.kill().await;
    let refused = call().await;
    assert!(refused["detail"].as_str().is_some(), "{refused}");
    // What the caller may not call does not stand in.
    let two = Stub::start_at(two.address, "two").await;
    gateway.configure(&config("policy: { rules: [{ effect: deny, service: second, tool: \"*\" }] }\n"));
    eventually("it is denied", async || {
        (gateway.call("second__getName", &json!({}), &[]).await.status == 403).then_some(())
    })
    .await;
    two.calls_since();
    assert!(call().await["result"].is_null());
    assert_eq!(two.calls_since(), 0);
}
