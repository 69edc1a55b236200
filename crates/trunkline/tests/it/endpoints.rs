//! Endpoints that a workflow names itself: what they refuse, what is known of an effect, and MCP servers.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use trunkline::app::endpoints::Endpoints;
use trunkline::config::Flows;
use trunkline_connectors::http_client::HttpClient;
use trunkline_model::EffectState;
use trunkline_orchestrator::Fault;
use trunkline_orchestrator::outside::{EndpointCall, Endpoints as _};

use crate::support::process::{fixture, fixture_binary};
use crate::support::{PATIENCE, within};

fn endpoints(hosts: &[&str], commands: &[&str]) -> Endpoints {
    let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    let config = Flows { allow_hosts: owned(hosts), allow_commands: owned(commands), ..Flows::default() };
    Endpoints::new(&config, HttpClient::new().unwrap(), Path::new("/"))
}

async fn call_until(
    endpoints: &Endpoints,
    kind: &'static str,
    with: Value,
    deadline: Instant,
) -> Result<Value, (Fault, EffectState)> {
    let call =
        EndpointCall { kind, with, credentials: Value::Null, idempotency_key: "run/step".into(), deadline };
    within("an answer", endpoints.call(call)).await
}

async fn call(endpoints: &Endpoints, kind: &'static str, with: Value) -> Result<Value, (Fault, EffectState)> {
    call_until(endpoints, kind, with, Instant::now() + PATIENCE).await
}

/// Answers the first request of every connection with these bytes, and closes it.
async fn server(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            if socket.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                let _ = socket.write_all(&answer).await;
            }
        }
    });
    address.to_string()
}

fn ask(method: &str, host: &str) -> Value {
    json!({"method": method, "uri": format!("http://{host}/")})
}

#[tokio::test]
async fn what_may_have_happened_is_unknown_and_what_can_not_have_is_not() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let broken = server(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".to_vec()).await;
    let failing = server(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let refusing = server(b"HTTP/1.1 409 No\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let quiet = silent.local_addr().unwrap().to_string();
    let endpoints = endpoints(&["127.0.0.1"], &[]);
    for (host, status, effect, transient) in [
        (&gone, 503, EffectState::None, true),
        (&broken, 502, EffectState::Unknown, true),
        (&failing, 500, EffectState::Unknown, true),
        (&refusing, 409, EffectState::None, false),
    ] {
        let (fault, state) = call(&endpoints, "http", ask("post", host)).await.unwrap_err();
        assert_eq!((fault.status, state, fault.transient), (status, effect, transient), "{fault}");
        assert!(fault.kind.ends_with("/communication"), "{fault:?}");
    }
    let soon = Instant::now() + Duration::from_millis(50);
    let (fault, state) = call_until(&endpoints, "http", ask("post", &quiet), soon).await.unwrap_err();
    assert_eq!((fault.status, state), (408, EffectState::Unknown), "{fault}");
}

#[tokio::test]
async fn an_answer_is_bounded() {
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.resize(3 << 20, b'x');
    let host = server(endless).await;
    let (fault, _) = call(&endpoints(&["*"], &[]), "http", ask("get", &host)).await.unwrap_err();
    assert!(fault.words().contains("too many") && !fault.transient, "{fault}");
}

#[tokio::test]
async fn nothing_is_reached_that_the_operator_does_not_name() {
    let endpoints = endpoints(&[], &[]);
    let uri = "http://127.0.0.1:1/";
    for (kind, with, setting) in [
        ("http", json!({"method": "get", "uri": uri}), "flows.allow_hosts"),
        ("openapi", json!({"document": uri, "operationId": "x"}), "flows.allow_hosts"),
        ("mcp", json!({"method": "tools/call", "uri": uri}), "flows.allow_hosts"),
        (
            "mcp",
            json!({"method": "tools/call", "command": "sh", "arguments": ["-c", "id"]}),
            "flows.allow_commands",
        ),
        ("shell", json!({"command": "id"}), "flows.allow_commands"),
        ("shell", json!({"command": "id | id"}), "flows.allow_commands"),
        ("script", json!({"language": "python", "code": "1"}), "flows.allow_commands"),
    ] {
        let (fault, state) = call(&endpoints, kind, with.clone()).await.unwrap_err();
        assert_eq!((fault.status, state), (403, EffectState::None), "{kind} {with}: {fault}");
        assert!(fault.words().contains(setting), "{fault}");
    }
}

#[tokio::test]
async fn an_allowed_host_is_no_way_to_another() {
    let elsewhere = server(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret".to_vec()).await;
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
    let host = server(answer.into_bytes()).await;
    // The document is where it may be, and says that the operation is elsewhere.
    let document = json!({
        "openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "servers": [{"url": format!("http://{elsewhere}")}],
        "paths": {"/": {"get": {"operationId": "x"}}},
    })
    .to_string();
    let length = document.len();
    let described =
        server(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{document}").into_bytes()).await;
    let endpoints = endpoints(&[&host, &described], &["printf"]);

    let (fault, _) = call(&endpoints, "http", ask("get", &host)).await.unwrap_err();
    assert_eq!(fault.status, 302);
    let followed = json!({"method": "get", "uri": format!("http://{host}/"), "redirect": true});
    assert_eq!(call(&endpoints, "http", followed).await.unwrap(), Value::Null);
    for header in ["Host", "transfer-encoding", "a b", "x\r\ny"] {
        let with = json!({"method": "get", "uri": format!("http://{host}/"), "headers": {header: "x"}});
        let (fault, _) = call(&endpoints, "http", with).await.unwrap_err();
        assert!(fault.kind.ends_with("/configuration"), "{header}: {fault}");
    }
    for uri in [
        format!("http://{host}@{elsewhere}/"),
        format!("http://{elsewhere}/{host}"),
        "file:///etc/passwd".to_owned(),
    ] {
        assert!(call(&endpoints, "http", json!({"method": "get", "uri": uri})).await.is_err(), "{uri}");
        let with = json!({"document": uri, "operationId": "x"});
        assert!(call(&endpoints, "openapi", with).await.is_err(), "{uri}");
    }
    let with = json!({"document": format!("http://{described}/"), "operationId": "x"});
    let (fault, _) = call(&endpoints, "openapi", with).await.unwrap_err();
    assert_eq!(fault.status, 403, "{fault}");
    let with = json!({"command": "printf x", "environment": {"PATH": "/tmp"}});
    assert!(call(&endpoints, "shell", with).await.is_err());
}

#[tokio::test]
async fn an_mcp_server_is_asked_over_http_and_as_a_child() {
    let server = fixture(&[]).await;
    let child = fixture_binary().to_str().unwrap();
    let endpoints = endpoints(&["127.0.0.1"], &[child]);
    let add = json!({"name": "add", "arguments": {"a": 2, "b": 3}});
    for mut with in [
        json!({"uri": format!("http://{}/mcp", server.address)}),
        json!({"command": child, "arguments": ["--stdio"]}),
    ] {
        with["method"] = json!("tools/call");
        with["parameters"] = add.clone();
        let answer = call(&endpoints, "mcp", with.clone()).await.unwrap();
        assert!(answer.to_string().contains('5'), "{answer}");
        with["parameters"] = json!({"name": "test_error_handling"});
        let (fault, state) = call(&endpoints, "mcp", with.clone()).await.unwrap_err();
        assert_eq!((fault.status, state), (422, EffectState::None), "{fault}");
        with["method"] = json!("tools/list");
        assert!(call(&endpoints, "mcp", with).await.is_err());
    }
    let none = json!({"method": "tools/call", "parameters": add, "uri": "http://127.0.0.1:1/mcp"});
    let (_, state) = call(&endpoints, "mcp", none).await.unwrap_err();
    assert_eq!(state, EffectState::None);
}
