//! Bad input to the doors: a clear error each time, and a gateway that goes on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{Legacy, Modern, failure, meta, text};
use crate::support::http::{self, Reply};
use crate::support::process::{Gateway, as_child};
use crate::support::within;

async fn gateway() -> Gateway {
    Gateway::start(&format!("services:\n{}", as_child("f", &[]))).await
}

async fn still_answers(gateway: &Gateway) {
    let response = Modern::new(gateway.address).call("f__greet", json!({ "name": "Ada" })).await;
    assert!(text(&response).contains("Ada"), "{response}");
}

async fn post(gateway: &Gateway, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Reply {
    http::post(gateway.address, "/mcp", headers, body).await
}

/// A modern request with these headers and `_meta`, as it should be otherwise.
async fn modern(gateway: &Gateway, headers: &[(&str, &str)], method: &str, params: Value) -> (u16, Value) {
    let message = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
    let reply = post(gateway, headers, message.to_string()).await;
    (reply.status, reply.response().await)
}

#[tokio::test]
async fn messages_that_are_none() {
    let gateway = gateway().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let (parse, invalid) = (-32700, -32600);
    for (body, code) in [
        ("", parse),
        ("{", parse),
        ("nonsense", parse),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"", parse),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"} more", parse),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\\ud800\"}", invalid),
        ("1", invalid),
        ("null", invalid),
        ("{}", invalid),
        ("[]", invalid),
        ("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}", invalid),
        ("{\"id\":1,\"method\":\"ping\"}", invalid),
        ("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":7}", invalid),
        ("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}", invalid),
        ("{\"jsonrpc\":\"2.0\",\"id\":[1],\"method\":\"ping\"}", invalid),
        ("{\"jsonrpc\":\"2.0\",\"id\":true,\"method\":\"ping\"}", invalid),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}", invalid),
        ("{\"jsonrpc\":\"2.0\",\"id\":1}", invalid),
    ] {
        let reply = post(&gateway, &[], body.to_owned()).await;
        let status = reply.status;
        let answer = reply.json().await;
        assert_eq!(
            (status, &answer["id"], &answer["error"]["code"]),
            (400, &Value::Null, &json!(code)),
            "{body}: {answer}"
        );
        assert_eq!(answer["error"]["data"]["code"], "TL1001", "{answer}");
    }
    assert_eq!(post(&gateway, &[], deep).await.status, 400);
    assert_eq!(post(&gateway, &[], &b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\xfe\"}"[..]).await.status, 400);
    still_answers(&gateway).await;
}

#[tokio::test]
async fn headers_and_body_that_disagree() {
    let gateway = gateway().await;
    let version = ("mcp-protocol-version", "2026-07-28");
    let full = json!({ "_meta": meta(&json!({})), "name": "f__greet", "arguments": { "name": "Ada" } });
    let call = "tools/call";
    for (headers, params, status, code) in [
        (vec![version, ("mcp-method", call), ("mcp-name", "f__greet")], full.clone(), 200, Value::Null),
        (vec![version, ("Mcp-Method", call), ("MCP-NAME", "  f__greet ")], full.clone(), 200, Value::Null),
        (
            vec![version, ("mcp-method", call), ("mcp-name", "=?base64?Zl9fZ3JlZXQ=?=")],
            full.clone(),
            200,
            Value::Null,
        ),
        (
            vec![version, ("mcp-method", call), ("mcp-name", "=?base64?Zl9fZ3JlZXQ?=")],
            full.clone(),
            400,
            json!(-32020),
        ),
        (vec![version, ("mcp-method", call), ("mcp-name", "f__add")], full.clone(), 400, json!(-32020)),
        (vec![version, ("mcp-method", call)], full.clone(), 400, json!(-32020)),
        (
            vec![version, ("mcp-method", "tools/list"), ("mcp-name", "f__greet")],
            full.clone(),
            400,
            json!(-32020),
        ),
        (
            vec![version, ("mcp-method", "TOOLS/CALL"), ("mcp-name", "f__greet")],
            full.clone(),
            400,
            json!(-32020),
        ),
        (vec![version, ("mcp-name", "f__greet")], full.clone(), 400, json!(-32020)),
        (vec![("mcp-method", call), ("mcp-name", "f__greet")], full.clone(), 400, json!(-32020)),
        (
            vec![("mcp-protocol-version", "2025-11-25"), ("mcp-method", call), ("mcp-name", "f__greet")],
            full.clone(),
            400,
            json!(-32020),
        ),
        (
            vec![version, ("mcp-method", call), ("mcp-name", "f__greet")],
            json!({ "name": "f__greet" }),
            400,
            json!(-32602),
        ),
    ] {
        let (got, answer) = modern(&gateway, &headers, call, params).await;
        assert_eq!((got, &answer["error"]["code"]), (status, &code), "{headers:?}: {answer}");
        assert_eq!(answer["id"], 7);
    }
    let mut other = full.clone();
    other["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("v999");
    let headers = [("mcp-protocol-version", "v999"), ("mcp-method", call), ("mcp-name", "f__greet")];
    let (status, answer) = modern(&gateway, &headers, call, other).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32022)), "{answer}");
    assert_eq!(answer["error"]["data"]["supported"][0], "2026-07-28");
    for params in [json!([]), json!("text"), json!({ "_meta": 7 }), json!({ "_meta": meta(&json!([])) })] {
        let (status, answer) =
            modern(&gateway, &[version, ("mcp-method", "tools/list")], "tools/list", params).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32602)), "{answer}");
    }
    still_answers(&gateway).await;
}

#[tokio::test]
async fn arguments_that_do_not_fit() {
    let gateway = gateway().await;
    let (client, old) = (Modern::new(gateway.address), Legacy::connect(gateway.address).await);
    let check = |violations: &Value| {
        let violations = violations.as_array().unwrap_or_else(|| panic!("{violations}"));
        let of = |path: &str| {
            let found = violations.iter().find(|violation| violation["path"] == path);
            found.unwrap_or_else(|| panic!("{path}: {violations:?}")).to_string()
        };
        assert_eq!(violations.len(), 2, "{violations:?}");
        assert!(of("/a").contains("number"), "{violations:?}");
        assert!(of("/b").contains("number"), "{violations:?}");
    };
    let wrong = json!({ "a": "one", "b": [2] });
    for response in [client.call("f__add", wrong.clone()).await, old.call("f__add", wrong.clone()).await] {
        assert_eq!(response["result"]["isError"], true, "{response}");
        assert!(text(&response).contains("/a") && text(&response).contains("/b"), "{response}");
        let known = failure(&response);
        assert_eq!(known["code"], "TL1006");
        check(&known["data"]["violations"]);
    }
    let reply = gateway.call("f__add", &wrong, &[]).await;
    assert_eq!((reply.status, reply.header("content-type")), (422, Some("application/problem+json")));
    let problem = reply.json().await;
    check(&problem["violations"]);
    let missing = gateway.call("f__add", &json!({}), &[]).await.json().await;
    assert!(missing["detail"].as_str().unwrap().contains('a'), "{missing}");
    for arguments in [json!([1, 2]), json!("a"), json!(7)] {
        let response = client.call("f__add", arguments.clone()).await;
        assert_eq!(response["error"]["code"], -32602, "{response}");
        assert_eq!(gateway.call("f__add", &arguments, &[]).await.status, 400);
    }
    assert_eq!(text(&client.call("f__test_simple_text", Value::Null).await).len(), 43);
    for body in ["{", "{\"a\":1} x", "\u{0}"] {
        let reply = http::post(gateway.address, "/v1/tools/f__add:call", &[], body.to_owned()).await;
        assert_eq!((reply.status, reply.json().await["code"].clone()), (400, json!("TL1017")), "{body}");
    }
    // The service must not see another value than the one that was checked.
    let body = r#"{"a":{"evil":true},"a":1,"b":2}"#;
    let reply = http::post(gateway.address, "/v1/tools/f__add:call", &[], body).await;
    assert_eq!(reply.status, 422, "{}", reply.status);
    let deep = format!("{}{}", "{\"x\":".repeat(5_000) + "1", "}".repeat(5_000));
    let reply = http::post(
        gateway.address,
        "/v1/tools/f__greet:call",
        &[],
        format!("{{\"name\":\"a\",\"b\":{deep}}}"),
    )
    .await;
    assert!((400..500).contains(&reply.status), "{}", reply.status);
    still_answers(&gateway).await;
}

#[tokio::test]
async fn names_that_nothing_has() {
    let gateway = gateway().await;
    let client = Modern::new(gateway.address);
    let response = client.call("f__gret", json!({})).await;
    assert_eq!(response["error"]["code"], -32602, "{response}");
    assert!(response["error"]["message"].as_str().unwrap().contains("f__greet"), "{response}");
    assert!(failure(&response)["near"].as_array().unwrap().contains(&json!("f__greet")), "{response}");
    let reply = gateway.call("f__gret", &json!({}), &[]).await;
    assert_eq!(reply.status, 404);
    let problem = reply.json().await;
    assert!(problem["near"].as_array().unwrap().contains(&json!("f__greet")), "{problem}");
    let old = Legacy::connect(gateway.address).await;
    for (method, params) in [
        ("no/such", json!({})),
        ("prompts/get", json!({ "name": "none" })),
        ("tools/call", json!({ "name": 7 })),
        ("tools/call", json!({})),
        ("tools/list", json!({ "cursor": "x" })),
        ("logging/setLevel", json!({ "level": "loud" })),
        ("resources/subscribe", json!({})),
        ("initialize", json!({ "protocolVersion": "2025-11-25" })),
        ("completion/complete", json!({})),
    ] {
        for response in
            [client.request(method, params.clone()).await, old.request(method, params.clone()).await]
        {
            let code = response["error"]["code"].as_i64().unwrap_or_default();
            assert!([-32601, -32602].contains(&code), "{method}: {response}");
        }
    }
    let missing = client.request("resources/read", json!({ "uri": "test://none" })).await;
    assert_eq!(missing["error"]["code"], -32602, "{missing}");
    still_answers(&gateway).await;
}

#[tokio::test]
async fn ids_of_every_kind_come_back_as_they_were() {
    let gateway = gateway().await;
    let old = Legacy::connect(gateway.address).await;
    let session = [("mcp-session-id", old.session.as_str())];
    let long = format!("\"{}\"", "x".repeat(100_000));
    for id in ["0", "-7", "1.5", "1e400", "123456789012345678901234567890", "\"\\u00e9\\\"\"", &long] {
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}");
        let answer = post(&gateway, &session, body).await.text().await;
        assert_eq!(answer, format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}"));
    }
    still_answers(&gateway).await;
}

#[tokio::test]
async fn batches_within_reason() {
    let gateway = gateway().await;
    let old = Legacy::connect(gateway.address).await;
    let session = [("mcp-session-id", old.session.as_str()), ("mcp-protocol-version", "2025-03-26")];
    let ping = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "ping" });
    let batch: Vec<Value> =
        vec![ping(1), json!({ "jsonrpc": "2.0", "method": "notifications/x" }), json!(7), ping(2)];
    let answers = post(&gateway, &session, json!(batch).to_string()).await.json().await;
    let codes: Vec<_> =
        answers.as_array().unwrap().iter().map(|a| (a["id"].clone(), a["error"]["code"].clone())).collect();
    assert_eq!(codes, [(json!(1), Value::Null), (Value::Null, json!(-32600)), (json!(2), Value::Null)]);
    let many: Vec<Value> = (0..10_000).map(ping).collect();
    assert_eq!(post(&gateway, &session, json!(many).to_string()).await.status, 400);
    let nested = json!([[ping(1)]]);
    let answers = post(&gateway, &session, nested.to_string()).await.json().await;
    assert_eq!(answers[0]["error"]["code"], -32600, "{answers}");
    assert_eq!(post(&gateway, &[], json!([ping(1)]).to_string()).await.status, 400);
    still_answers(&gateway).await;
}

#[tokio::test]
async fn wrong_ways_to_speak_http() {
    let gateway = gateway().await;
    let old = Legacy::connect(gateway.address).await;
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let session = ("mcp-session-id", old.session.as_str());
    let json_body = ("content-type", "application/json");
    let unknown = ("mcp-session-id", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed");
    for (method, headers, status) in [
        ("POST", vec![session], 415),
        ("POST", vec![session, ("content-type", "text/plain")], 415),
        ("POST", vec![session, ("content-type", "application/jsonx")], 415),
        ("POST", vec![session, json_body, ("accept", "text/html")], 415),
        ("POST", vec![session, ("content-type", "application/json; charset=utf-8"), ("accept", "*/*")], 200),
        ("POST", vec![json_body], 400),
        ("POST", vec![unknown, json_body], 404),
        ("POST", vec![("mcp-session-id", "../../etc"), json_body], 404),
        ("POST", vec![session, json_body, ("mcp-protocol-version", "2020-01-01")], 400),
        ("POST", vec![session, json_body, ("host", "evil.example.com")], 403),
        ("POST", vec![session, json_body, ("host", "127.0.0.1.evil.example.com:80")], 403),
        ("POST", vec![session, json_body, ("origin", "http://evil.example.com")], 403),
        ("POST", vec![session, json_body, ("origin", "null")], 403),
        ("POST", vec![session, json_body, ("origin", "http://localhost:1234")], 200),
        ("POST", vec![session, json_body, ("host", "localhost")], 200),
        ("GET", vec![], 405),
        ("GET", vec![unknown], 404),
        ("DELETE", vec![], 400),
        ("DELETE", vec![unknown], 404),
        ("PUT", vec![session, json_body], 405),
        ("OPTIONS", vec![("origin", "http://evil.example.com")], 403),
    ] {
        let reply = http::send(gateway.address, method, "/mcp", &headers, ping.clone()).await;
        assert_eq!(reply.status, status, "{method} {headers:?}");
        if status == 405 {
            assert!(reply.header("allow").is_some(), "{method}");
        }
    }
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/tools/f__add", 405),
        ("POST", "/v1/tools/f__add", 404),
        ("POST", "/v1/tools/%ff:call", 400),
        ("DELETE", "/v1/tools", 405),
        ("GET", "/v1/events?from=x", 400),
        ("GET", "/v1/events?nonsense=1", 400),
        ("GET", "/v1/tools?cursor=none", 400),
    ] {
        let reply = http::send(gateway.address, method, path, &[], "").await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, Some("application/problem+json")),
            "{method} {path}"
        );
    }
    assert_eq!(old.delete().await.status, 204);
    assert_eq!(old.send("ping", json!({})).await.status, 404);
    still_answers(&gateway).await;
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let gateway = gateway().await;
    still_answers(&gateway).await;
    let size = 100 << 20;
    for path in ["/mcp", "/v1/tools/f__greet:call"] {
        for chunked in [false, true] {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            let length = if chunked {
                "transfer-encoding: chunked".to_owned()
            } else {
                format!("content-length: {size}")
            };
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut read, mut write) = stream.split();
            let begun = Instant::now();
            let sending = async {
                let piece = vec![b' '; 1 << 20];
                for _ in 0..100 {
                    let piece: Vec<u8> = match chunked {
                        true => [b"100000\r\n", &piece[..], b"\r\n"].concat(),
                        false => piece.clone(),
                    };
                    if write.write_all(&piece).await.is_err() {
                        return;
                    }
                }
            };
            let reading = async {
                let mut status = [0; 12];
                read.read_exact(&mut status).await.map(|_| String::from_utf8_lossy(&status).into_owned())
            };
            let status = within("the refusal", async {
                tokio::pin!(reading);
                tokio::select! {
                    status = &mut reading => status,
                    () = sending => reading.await,
                }
            })
            .await;
            assert_eq!(status.unwrap(), "HTTP/1.1 413", "{path} {length}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
    }
    let memory = gateway.memory("VmHWM");
    assert!(memory < 150 << 10, "{memory} KiB");
    still_answers(&gateway).await;
}

#[tokio::test]
async fn connections_that_dawdle() {
    let gateway = gateway().await;
    let mut slow = Vec::new();
    for index in 0..100 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head =
            if index % 2 == 0 { "POST /mcp HT" } else { "POST /mcp HTTP/1.1\r\nhost: localhost\r\nx-slow: " };
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    still_answers(&gateway).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-big: {}\r\n\r\n", "x".repeat(1 << 20));
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = within("the refusal", stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    // Each is closed in the end, whatever it still sends.
    let mut last = slow.pop().unwrap();
    let closed = async {
        let mut rest = Vec::new();
        loop {
            tokio::select! {
                _ = last.read_to_end(&mut rest) => break,
                () = tokio::time::sleep(Duration::from_secs(1)) => { let _ = last.write_all(b"x").await; }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(45), closed).await.expect("the connection is closed");
    still_answers(&gateway).await;
}
