//! Services that die, hang, babble and never stop, and callers that go away.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::client::{Legacy, Modern, failure, text};
use crate::support::process::{Gateway, as_child, fixture, fixture_at, over_http, signal};
use crate::support::{eventually, within};

/// How soon a service has to be back.
const BACK: Duration = Duration::from_secs(2);

/// What `counter` of the service says.
async fn counter(client: &Modern, service: &str) -> Value {
    let response = client.call(&format!("{service}__counter"), json!({})).await;
    response["result"]["structuredContent"].clone()
}

const OLD: [&str; 2] = ["--newest-protocol", "2025-11-25"];

/// Begins a call of `f` that may change something, and kills its service in the midst of it: it has asked a question.
/// Returns what the call came to.
async fn disturbed(gateway: &Gateway, kill: impl Future<Output = ()>) -> Value {
    let client = Legacy::connect(gateway.address).await;
    let mut stream = client.begin("f__confirm_delete", json!({ "arguments": { "filename": "a" } })).await;
    assert_eq!(stream.message().await["method"], "elicitation/create");
    kill.await;
    stream.message().await
}

/// The dead service of `gateway` failed a call with what is known; its tools and all others are there, and it is
/// back soon, for clients that were connected before.
async fn recovers(gateway: &Gateway, client: &Modern, tools: &[String], response: &Value, back: Instant) {
    assert_eq!(response["result"]["isError"], true, "{response}");
    let known = failure(response);
    assert_eq!(
        (&known["code"], &known["fault"], &known["effect"]),
        (&json!("TL4002"), &json!("service"), &json!("unknown")),
        "{known}"
    );
    assert_eq!(client.tools().await, tools);
    assert_eq!(text(&client.call("other__test_simple_text", json!({})).await).len(), 43);
    let answered = client.call("f__counter", json!({})).await;
    assert_eq!(answered["result"]["structuredContent"]["process"], 1, "{answered}");
    assert!(back.elapsed() < BACK, "it took {:?}", back.elapsed());
    let service = eventually("the service is up", async || {
        let services = gateway.get("/v1/services").await.json().await;
        let service = services["services"][0].clone();
        (service["state"] == "up").then_some(service)
    })
    .await;
    assert!(service["restarts"].as_u64() > Some(0), "{service}");
    let failed = gateway.events("dev.trunkline.tool_execution.failed").await;
    let recorded = failed.iter().find(|event| event["subject"] == "f/confirm_delete").unwrap();
    assert_eq!(recorded["data"]["context"]["effect"], "unknown", "{recorded}");
}

#[tokio::test]
async fn a_child_that_is_killed_comes_back() {
    let services = as_child("f", &OLD) + &as_child("other", &[]);
    let gateway = Gateway::start(&format!("services:\n{services}")).await;
    let client = Modern::new(gateway.address);
    let tools = client.tools().await;
    let pid = u32::try_from(counter(&client, "f").await["pid"].as_u64().unwrap()).unwrap();
    let response = disturbed(&gateway, async { signal(pid, Signal::KILL) }).await;
    recovers(&gateway, &client, &tools, &response, Instant::now()).await;
    let crashed = client.call("f__crash", json!({})).await;
    assert_eq!(failure(&crashed)["effect"], "unknown", "{crashed}");
}

#[tokio::test]
async fn a_server_that_is_killed_comes_back() {
    let mut server = fixture(&OLD).await;
    let address = server.address;
    let services = over_http("f", &server) + &as_child("other", &[]);
    let gateway = Gateway::start(&format!("services:\n{services}")).await;
    let client = Modern::new(gateway.address);
    let tools = client.tools().await;
    let response = disturbed(&gateway, server.kill()).await;
    // While it is away, its tools are listed, and others answer.
    assert_eq!(client.tools().await, tools);
    assert_eq!(text(&client.call("other__test_simple_text", json!({})).await).len(), 43);
    let _server = fixture_at(address, &OLD).await;
    recovers(&gateway, &client, &tools, &response, Instant::now()).await;
}

#[tokio::test]
async fn a_call_that_only_reads_is_made_again() {
    let gateway = Gateway::start(&format!("services:\n{}", as_child("f", &[]))).await;
    let client = Modern::new(gateway.address);
    let pid = u32::try_from(counter(&client, "f").await["pid"].as_u64().unwrap()).unwrap();
    let params = json!({ "name": "f__slow", "arguments": { "ms": 1000 }, "_meta": { "progressToken": 1 } });
    let mut stream = client.send("tools/call", params).await.events();
    stream.message().await;
    signal(pid, Signal::KILL);
    let response = loop {
        let message = stream.message().await;
        if message.get("id").is_some() {
            break message;
        }
    };
    assert!(text(&response).starts_with("Slept"), "{response}");
    assert_ne!(counter(&client, "f").await["pid"], pid);
}

/// What a bad server does with a connection.
#[derive(Clone, Copy)]
enum Bad {
    Silent,
    Garbage,
    EndlessBody,
    EndlessStream,
}

/// A server that accepts every connection and answers badly.
async fn bad_server(bad: Bad) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let (head, piece): (&str, Vec<u8>) = match bad {
                    Bad::Silent => ("", Vec::new()),
                    Bad::Garbage => ("\u{1}\u{2} not HTTP at all \u{ff}\r\n\r\n", Vec::new()),
                    Bad::EndlessBody => (
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n[",
                        b"1,".repeat(32 << 10),
                    ),
                    Bad::EndlessStream => (
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
                        b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n".repeat(1000),
                    ),
                };
                let _ = stream.write_all(head.as_bytes()).await;
                while !piece.is_empty() && stream.write_all(&piece).await.is_ok() {}
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn servers_that_answer_badly_harm_nobody() {
    let mut services = as_child("good", &[]);
    for (name, bad) in [
        ("silent", Bad::Silent),
        ("garbage", Bad::Garbage),
        ("body", Bad::EndlessBody),
        ("stream", Bad::EndlessStream),
    ] {
        let url = format!("http://{}/mcp", bad_server(bad).await);
        services += &format!(
            "  {name}: {{ mcp: {{ url: \"{url}\", connect_timeout_ms: 1000, max_response_bytes: 1000000 }} }}\n"
        );
    }
    let gateway = Gateway::begin(&format!("services:\n{services}")).await;
    let client = Modern::new(gateway.address);
    let good = eventually("the good service answers", async || {
        let response = client.call("good__test_simple_text", json!({})).await;
        response["result"]["content"][0]["text"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(good.len(), 43);
    let services = eventually("the bad ones are found to be down", async || {
        let services = gateway.get("/v1/services").await.json().await;
        let mut all = services["services"].as_array().unwrap().clone();
        all.retain(|service| service["id"] != "flows" && service["id"] != "catalog");
        all[1..].iter().all(|service| service["state"] == "down").then_some(all)
    })
    .await;
    for service in &services[1..] {
        let cause = service["cause"].as_str().unwrap_or_default();
        assert!(!cause.is_empty() && cause.len() < 1000, "{service}");
    }
    assert_eq!(gateway.get("/readyz").await.status, 200);
    let memory = gateway.memory("VmHWM");
    assert!(memory < 200 << 10, "{memory} KiB");
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_behind_the_gateway() {
    for arguments in [["--newest-protocol", "2025-11-25"], ["--oldest-protocol", "2026-07-28"]] {
        let server = fixture(&arguments).await;
        let gateway = Gateway::start(&format!("services:\n{}", over_http("f", &server))).await;
        let client = Modern::new(gateway.address);
        let cut_short = async |wanted: u64| {
            eventually("the service hears of it", async || {
                (counter(&client, "f").await["cutShort"] == wanted).then_some(())
            })
            .await;
            eventually("the record says so", async || {
                let failed = gateway.events("dev.trunkline.tool_execution.failed").await;
                let cancelled = |event: &&Value| event["data"]["context"]["code"] == "TL1021";
                (failed.iter().filter(cancelled).count() as u64 == wanted).then_some(())
            })
            .await;
        };
        let runs = async || {
            eventually("the call runs", async || (counter(&client, "f").await["running"] == 1).then_some(()))
                .await;
        };
        let progress = json!({ "arguments": { "ms": 60_000 }, "_meta": { "progressToken": 1 } });

        // A legacy client says so, once after and once before it has heard of its call.
        let old = Legacy::connect(gateway.address).await;
        let mut stream = old.begin("f__slow", progress.clone()).await;
        stream.message().await;
        let cancel = |id: u64| json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
        assert_eq!(old.post(&cancel(2)).await.status, 202);
        let rest = async { while stream.next().await.is_some() {} };
        within("the end of the stream", rest).await;
        cut_short(1).await;
        let params = json!({ "name": "f__slow", "arguments": { "ms": 60_000 } });
        let (reply, ()) = tokio::join!(old.send("tools/call", params), async {
            runs().await;
            assert_eq!(old.post(&cancel(3)).await.status, 202);
        });
        assert_eq!(reply.text().await, "", "a cancelled request has no answer");
        cut_short(2).await;

        // A modern client closes the connection, once after and once before it has heard of its call.
        let params =
            json!({ "name": "f__slow", "arguments": { "ms": 60_000 }, "_meta": { "progressToken": 1 } });
        let mut stream = client.send("tools/call", params).await.events();
        stream.message().await;
        drop(stream);
        cut_short(3).await;
        let params = json!({ "name": "f__slow", "arguments": { "ms": 60_000 } });
        tokio::select! {
            reply = client.send("tools/call", params) => panic!("it was not to end: {}", reply.status),
            () = runs() => {}
        }
        cut_short(4).await;
    }
}

#[tokio::test]
async fn a_running_call_ends_before_the_gateway_does() {
    let gateway_services = format!("services:\n{}", as_child("f", &[]));
    let mut gateway = Gateway::start(&gateway_services).await;
    let address = gateway.address;
    let client = Legacy::connect(address).await;
    let params = json!({ "arguments": { "ms": 1500 }, "_meta": { "progressToken": "p" } });
    let mut stream = client.begin("f__slow", params).await;
    stream.message().await;
    // Those that only listen do not hold it up.
    let _listening = client.listen(None).await;
    let _following =
        crate::support::http::send(address, "GET", "/v1/events", &[("accept", "text/event-stream")], "")
            .await;
    let begun = Instant::now();
    let response = async {
        loop {
            let message = stream.message().await;
            if message.get("id").is_some() {
                break message;
            }
        }
    };
    let (response, status) = tokio::join!(response, gateway.terminate());
    assert!(text(&response).starts_with("Slept"), "{response}");
    assert!(status.success());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
