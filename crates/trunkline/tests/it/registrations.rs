//! Services that register themselves whole, on the real binary.

use std::process::Command;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::support::process::{Gateway, TRUNKLINE, fixture};
use super::support::{eventually, http};

const CONFIG: &str = "registry: { services: { allow: [\"http://127.0.0.1:*\"], names: [\"team-*\"], most: 2 } }\n\
     services: { mine: { process: { tools: { hello: { description: Says hello., argv: [echo, hello] } } } } }\n";

const DOCUMENT: &str = r#"{"openapi": "3.1.0", "info": {"title": "names", "version": "2.4.0"}, "servers": [{"url": "http://127.0.0.1:1/"}],
    "paths": {"/name": {"get": {"operationId": "getName", "responses": {"200": {"description": "its name"}}}}}}"#;

/// An HTTP service that has its document at `/openapi.json`; gives its URL.
async fn described() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                    let document = buffer[..read].starts_with(b"GET /openapi.json ");
                    let body = if document { DOCUMENT } else { r#"{"name":"one"}"# };
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
                    let answer = format!("{head} {}\r\n\r\n{body}", body.len());
                    if socket.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

async fn register(gateway: &Gateway, service: &Value) -> (u16, Value) {
    let reply = http::post(gateway.address, "/v1/registry/services", &[], service.to_string()).await;
    (reply.status, reply.json().await)
}

async fn callable(gateway: &Gateway, tool: &str) {
    eventually("its tool can be called", async || {
        (gateway.call(tool, &json!({}), &[]).await.status == 200).then_some(())
    })
    .await;
}

async fn gone(gateway: &Gateway, tool: &str) {
    eventually("its tool is gone", async || {
        (gateway.call(tool, &json!({}), &[]).await.status == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_whole_service_comes_stays_over_a_crash_and_goes() {
    let url = described().await;
    let mut gateway = Gateway::start(CONFIG).await;
    let service = json!({
        "name": "team-names", "kind": "openapi", "url": url, "document": format!("{url}/openapi.json"),
        "capabilities": ["names.read"], "version": "2.1.0", "zone": "north", "metadata": {"team": "a"},
    });
    let (status, lease) = register(&gateway, &service).await;
    assert_eq!((status, &lease["new"]), (201, &json!(true)), "{lease}");
    callable(&gateway, "team-names__getName").await;
    let (status, lease) = register(&gateway, &service).await;
    assert_eq!((status, &lease["new"]), (200, &json!(false)), "{lease}");
    // It is found by what it said of itself.
    let query =
        json!({"capability": "names.read", "version": "^2", "zone": "north", "metadata": {"team": "a"}});
    let found = http::post(gateway.address, "/v1/discover", &[], query.to_string()).await.json().await;
    assert_eq!(found["tools"][0]["tool"], "team-names__getName", "{found}");
    // A changed configuration leaves it alone; a crash, too.
    gateway.configure(&format!("{CONFIG}service_timeout_ms: 5000\n"));
    eventually("the configuration is in force", async || gateway.log().contains("is in force").then_some(()))
        .await;
    callable(&gateway, "team-names__getName").await;
    gateway.kill().await;
    gateway.start_again().await;
    callable(&gateway, "team-names__getName").await;
    let path = "/v1/registry/services/team-names";
    let beat = http::post(gateway.address, &format!("{path}/heartbeat"), &[], "").await;
    assert_eq!(beat.status, 200);
    assert_eq!(http::send(gateway.address, "DELETE", path, &[], "").await.status, 204);
    gone(&gateway, "team-names__getName").await;
    assert_eq!(http::send(gateway.address, "DELETE", path, &[], "").await.status, 404);
    let beat = http::post(gateway.address, &format!("{path}/heartbeat"), &[], "").await;
    assert_eq!((beat.status, &beat.json().await["code"]), (404, &json!("TL8041")));
    let events: Value = gateway.get("/v1/events?from=1&limit=1000").await.json().await;
    let told: Vec<&Value> = events["events"].as_array().unwrap().iter().collect();
    let about = |what: &str| told.iter().any(|event| event.to_string().contains(what));
    assert!(about("\"registered\":\"team-names\"") && about("\"deregistered\":\"team-names\""), "{events}");
}

#[tokio::test]
async fn an_mcp_server_registers_by_the_command_line_and_lapses() {
    let server = fixture(&[]).await;
    let gateway = Gateway::start(CONFIG).await;
    let run = |args: &[&str]| {
        let mut command = Command::new(TRUNKLINE);
        command.env("TRUNKLINE_SERVER", format!("http://{}", gateway.address)).arg("registry").args(args);
        let output = command.current_dir(gateway.folder.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    let url = format!("http://{}/mcp", server.address);
    let (good, said) = run(&["register", "team-mcp", "--kind", "mcp", "--url", &url, "--ttl-ms", "20000"]);
    assert!(good && said.contains("within 20000 ms"), "{said}");
    let tools = async || gateway.get("/v1/tools").await.text().await.contains("team-mcp__");
    eventually("it has tools", async || tools().await.then_some(())).await;
    let (good, said) = run(&["list"]);
    assert!(good && said.contains("team-mcp") && said.contains(&url), "{said}");
    assert!(run(&["heartbeat", "team-mcp"]).0);
    // It says that it is there for half a second, and does not say so again.
    assert!(run(&["register", "team-mcp", "--kind", "mcp", "--url", &url, "--ttl-ms", "500"]).0);
    eventually("it has lapsed", async || (!tools().await).then_some(())).await;
    let (good, said) = run(&["deregister", "team-mcp"]);
    assert!(!good && said.contains("TL8041"), "{said}");
}

#[tokio::test]
async fn what_is_not_open_is_refused() {
    let url = described().await;
    let gateway = Gateway::start(CONFIG).await;
    let mcp = |name: &str, url: &str| json!({"name": name, "kind": "mcp", "url": url});
    let document =
        |document: &str| json!({"name": "team-a", "kind": "openapi", "url": url, "document": document});
    for service in [
        mcp("team-a", "http://169.254.169.254/"),
        mcp("team-a", "http://127.0.0.1:1@evil.example/"),
        mcp("mine", &url),
        mcp("team-a__b", &url),
        document("/etc/passwd"),
        document("file:///etc/passwd"),
        document("http://evil.example/openapi.json"),
    ] {
        let (status, problem) = register(&gateway, &service).await;
        assert_eq!((status, &problem["code"]), (403, &json!("TL8040")), "{service}: {problem}");
    }
    let command = json!({"name": "team-a", "kind": "mcp", "url": url, "command": ["sh"]});
    assert_eq!(register(&gateway, &command).await.0, 400);
    assert_eq!(register(&gateway, &mcp("team-a", &url)).await.0, 201);
    assert_eq!(register(&gateway, &mcp("team-b", &url)).await.0, 201);
    assert_eq!(register(&gateway, &mcp("team-c", &url)).await.0, 403);
    // Nothing is open that the configuration does not open, and what was there goes.
    let services = &CONFIG[CONFIG.find("services: { mine").unwrap()..];
    gateway.configure(services);
    eventually("they are gone", async || {
        let all = gateway.get("/v1/services").await.text().await;
        (!all.contains("team-")).then_some(())
    })
    .await;
    assert_eq!(register(&gateway, &mcp("team-a", &url)).await.0, 403);
    let left = gateway.get("/v1/registry/services").await.json().await;
    assert_eq!(left, json!({"services": []}));
}
