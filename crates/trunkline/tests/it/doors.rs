//! The HTTP door, API keys and policy, and the names of tools.

use std::collections::HashSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Legacy, Modern, accept, failure, text};
use crate::support::eventually;
use crate::support::http;
use crate::support::process::{Gateway, TRUNKLINE, as_child, fixture, over_http};

async fn gateway() -> Gateway {
    Gateway::start(&format!("services:\n{}", as_child("f", &[]))).await
}

#[tokio::test]
async fn tools_services_and_health() {
    let gateway = gateway().await;
    let all = gateway.get("/v1/tools").await.json().await;
    let tools = all["tools"].as_array().unwrap();
    assert!(tools.len() > 30 && all["next_cursor"].is_null(), "{}", tools.len());
    let add = tools.iter().find(|tool| tool["name"] == "f__add").unwrap();
    assert_eq!((&add["service"], &add["original_name"]), (&json!("f"), &json!("add")));
    assert_eq!(add["effects"]["read_only"], true);
    assert_eq!(add["input_schema"]["required"], json!(["a", "b"]));
    assert_eq!(add["output_schema"]["required"], json!(["sum"]));

    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = gateway.get(&format!("/v1/tools?limit=7{cursor}")).await.json().await;
        paged.extend(page["tools"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(&paged, tools);
    let found = gateway.get("/v1/tools?q=adds%20two&service=f").await.json().await;
    assert_eq!(found["tools"].as_array().unwrap().len(), 1);
    assert_eq!(gateway.get("/v1/tools?service=none").await.json().await["tools"], json!([]));

    let services = gateway.get("/v1/services").await.json().await;
    assert_eq!(
        (&services["services"][0]["id"], &services["services"][0]["state"]),
        (&json!("f"), &json!("up"))
    );
    for path in ["/healthz", "/readyz"] {
        let reply = gateway.get(path).await;
        assert_eq!(
            (reply.status, reply.json().await),
            (200, json!({ "status": "ok", "services_up": 3, "services": 3 }))
        );
    }
    let mut document = gateway.get("/openapi.json").await.json().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    document["info"]["version"] = json!("[version]");
    insta::assert_json_snapshot!("openapi", document);
}

#[tokio::test]
async fn calls_and_their_errors() {
    let gateway = gateway().await;
    let reply = gateway.call("f__add", &json!({ "a": 1, "b": 2 }), &[]).await;
    assert_eq!(reply.status, 200);
    let called = reply.json().await;
    assert_eq!((&called["outcome"], &called["is_error"]), (&json!("complete"), &json!(false)));
    assert_eq!(called["result"]["structuredContent"]["sum"].as_f64(), Some(3.0));
    let failed = gateway.call("f__test_error_handling", &json!({}), &[]).await;
    assert_eq!(failed.status, 200, "a tool's own error is an outcome");
    assert_eq!(failed.json().await["is_error"], true);

    let begun = Instant::now();
    let late = gateway.call("f__slow", &json!({ "ms": 60_000 }), &[("trunkline-timeout-ms", "300")]).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!((late.status, late.header("content-type")), (504, Some("application/problem+json")));
    let problem = late.json().await;
    assert_eq!(problem["code"], "TL1007", "{problem}");
    for member in ["type", "title", "status", "detail", "code", "fault", "retryable", "effect", "next"] {
        assert!(!problem[member].is_null(), "{member}: {problem}");
    }
    assert_eq!(problem["status"], 504);
    // The call's events, all under its id.
    let id = called["call_id"].as_str().unwrap();
    let event = eventually("the call is in the record", async || {
        let events = gateway.events("dev.trunkline.tool_execution.completed").await;
        events.into_iter().find(|event| event["correlationid"] == id || event.to_string().contains(id))
    })
    .await;
    assert_eq!((&event["subject"], &event["source"]), (&json!("f/add"), &json!("/doors/http")), "{event}");
}

#[tokio::test]
async fn a_question_by_http_and_its_continuation() {
    let server = fixture(&["--newest-protocol", "2025-11-25"]).await;
    let mut gateway = Gateway::start(&format!("services:\n{}", over_http("f", &server))).await;
    let reply = gateway.call("f__ask_twice", &json!({}), &[]).await;
    assert_eq!(reply.status, 202);
    let first = reply.json().await;
    assert_eq!(first["outcome"], "input_required", "{first}");
    assert_eq!(first["requests"]["q1"]["params"]["message"], "What is your name?");
    gateway.kill().await;
    gateway.start_again().await;
    let go_on = |responses: Value| json!({ "arguments": {}, "input_responses": responses });
    let state = [("trunkline-request-state", first["request_state"].as_str().unwrap())];
    let body = go_on(json!({ "q1": accept(json!({ "name": "Ada" })) }));
    let second = gateway.call("f__ask_twice", &body, &state).await.json().await;
    assert_eq!(second["requests"]["q2"]["params"]["message"], "Which colour do you like, Ada?", "{second}");
    assert_eq!(second["call_id"], first["call_id"]);
    let state = [("trunkline-request-state", second["request_state"].as_str().unwrap())];
    assert_eq!(gateway.call("f__ask_twice", &json!({ "arguments": {} }), &state).await.status, 400);
    assert_eq!(gateway.call("f__ask_then_sample", &go_on(json!({})), &state).await.status, 400);
    let body = go_on(json!({ "q2": accept(json!({ "colour": "green" })) }));
    let last = gateway.call("f__ask_twice", &body, &state).await.json().await;
    assert_eq!(last["result"]["content"][0]["text"], "Ada likes green", "{last}");
    let answered = gateway.events("dev.trunkline.tool_execution.answered").await;
    assert!(answered.iter().all(|event| event["source"] == "/doors/http"), "{answered:?}");
}

#[tokio::test]
async fn a_repeated_request_has_the_first_answer() {
    let mut gateway = gateway().await;
    let key = [("idempotency-key", "one")];
    let first = gateway.call("f__counter", &json!({}), &key).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (200, None));
    let first = first.json().await;
    let again = gateway.call("f__counter", &json!({}), &key).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
    assert_eq!(again.json().await, first);
    let other = gateway.call("f__counter", &json!({ "x": 1 }), &key).await;
    assert_eq!((other.status, other.json().await["code"].clone()), (422, json!("TL1011")));
    assert_eq!(gateway.call("f__greet", &json!({}), &key).await.status, 422);
    let refused = gateway.call("f__add", &json!({}), &[("idempotency-key", "two")]).await;
    assert_eq!(refused.status, 422);
    let refused_again = gateway.call("f__add", &json!({}), &[("idempotency-key", "two")]).await;
    assert_eq!(refused_again.header("content-type"), Some("application/problem+json"));
    assert_eq!(refused_again.json().await["code"], "TL1006");
    assert_eq!(gateway.call("f__counter", &json!({}), &[("idempotency-key", "")]).await.status, 400);
    let long = "k".repeat(300);
    assert_eq!(gateway.call("f__counter", &json!({}), &[("idempotency-key", &long)]).await.status, 400);

    // A second request while the first is under way, and a first whose caller goes away.
    let (address, slow) = (gateway.address, json!({ "ms": 2000 }));
    let body = slow.to_string();
    let begun = gateway.events("dev.trunkline.service_call.started").await.len();
    let lost = tokio::spawn(async move {
        http::post(address, "/v1/tools/f__slow:call", &[("idempotency-key", "slow")], body).await
    });
    eventually("the first request is under way", async || {
        let begins = gateway.events("dev.trunkline.service_call.started").await.len();
        (begins > begun).then_some(())
    })
    .await;
    let second = gateway.call("f__slow", &slow, &[("idempotency-key", "slow")]).await;
    assert_eq!((second.status, second.json().await["code"].clone()), (409, json!("TL1012")));
    lost.abort();
    let kept = eventually("the answer is there for who comes back", async || {
        let reply = gateway.call("f__slow", &slow, &[("idempotency-key", "slow")]).await;
        (reply.status == 200).then_some(reply)
    })
    .await;
    assert_eq!(kept.header("idempotency-replayed"), Some("true"));

    gateway.kill().await;
    gateway.start_again().await;
    let again = gateway.call("f__counter", &json!({}), &key).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json().await, first);
}

#[tokio::test]
async fn events_by_page_and_as_they_come() {
    let mut gateway = gateway().await;
    for _ in 0..5 {
        gateway.call("f__counter", &json!({}), &[]).await;
    }
    let sequence = |event: &Value| event["sequence"].as_str().unwrap().parse::<u64>().unwrap();
    let mut paged = Vec::new();
    let mut from = 1;
    loop {
        let page = gateway.get(&format!("/v1/events?from={from}&limit=3")).await.json().await;
        paged.extend(page["events"].as_array().unwrap().iter().map(sequence));
        from = page["next"].as_u64().unwrap();
        if page["end"] == true {
            break;
        }
    }
    assert!(paged.len() >= 11, "{paged:?}");
    assert!(paged.windows(2).all(|two| two[0] < two[1]), "{paged:?}");

    let follow = async |gateway: &Gateway, last: &str| {
        let headers = [("accept", "text/event-stream"), ("last-event-id", last)];
        http::send(gateway.address, "GET", "/v1/events", &headers, "").await.events()
    };
    let mut seen = Vec::new();
    let mut last = "0".to_owned();
    for round in 0..4 {
        let mut stream = follow(&gateway, &last).await;
        gateway.call("f__counter", &json!({}), &[]).await;
        let newest = gateway.get("/v1/events").await.json().await;
        let newest = newest["events"].as_array().unwrap().last().map(sequence).unwrap();
        while seen.last() != Some(&newest) {
            let event = stream.next().await.unwrap();
            assert_eq!(event.kind.as_deref(), event.json()["type"].as_str());
            last = event.id.clone().unwrap();
            assert_eq!(sequence(&event.json()).to_string(), last);
            seen.push(last.parse::<u64>().unwrap());
        }
        if round == 2 {
            gateway.kill().await;
            gateway.start_again().await;
        }
    }
    assert_eq!(seen, (1..=*seen.last().unwrap()).collect::<Vec<_>>(), "no gap, nothing twice");
}

const KEYS: &str = "\
auth:
  api_keys: [{ id: ada, key: key-of-ada-12345678 }, { id: bob, key: key-of-bob-12345678 }]
policy:
  rules:
    - { effect: deny, principal: bob, service: f, tool: \"test_*\" }
    - { effect: deny, principal: bob, tool: counter }
    - { effect: deny, principal: bob, operation: read_resource }
";

#[tokio::test]
async fn keys_and_rules() {
    let mut gateway = Gateway::start(&format!("{KEYS}services:\n{}", as_child("f", &[]))).await;
    for (method, path) in [
        ("GET", "/v1/tools"),
        ("GET", "/v1/events"),
        ("GET", "/v1/services"),
        ("POST", "/mcp"),
        ("GET", "/openapi.json"),
    ] {
        for key in ["", "Bearer wrong", "Basic key-of-ada-12345678"] {
            let reply = http::send(gateway.address, method, path, &[("authorization", key)], "{}").await;
            assert_eq!(
                (reply.status, reply.header("www-authenticate")),
                (401, Some("Bearer")),
                "{path} {key}"
            );
            assert!(!reply.text().await.contains("key-of"), "{path}");
        }
    }
    assert_eq!(http::get(gateway.address, "/healthz").await.status, 200);
    let ada = Modern::new(gateway.address).with_key("key-of-ada-12345678");
    let bob = Modern::new(gateway.address).with_key("key-of-bob-12345678");
    let old_bob = Legacy::connect_as(gateway.address, Some("key-of-bob-12345678"), json!({})).await;
    let all: HashSet<String> = ada.tools().await.into_iter().collect();
    for listed in [bob.tools().await, old_bob.tools().await] {
        let listed: HashSet<String> = listed.into_iter().collect();
        assert!(listed.is_subset(&all) && listed.contains("f__greet"));
        assert!(!listed.iter().any(|name| name.contains("test_") || name.contains("counter")), "{listed:?}");
    }
    let denied = |response: &Value| assert_eq!(failure(response)["code"], "TL2003", "{response}");
    denied(&bob.call("f__counter", json!({})).await);
    denied(&old_bob.call("f__test_simple_text", json!({})).await);
    denied(&bob.request("resources/read", json!({ "uri": "test://static-text" })).await);
    denied(&old_bob.request("resources/subscribe", json!({ "uri": "test://static-text" })).await);
    assert_eq!(bob.request("resources/list", json!({})).await["result"]["resources"], json!([]));
    assert_eq!(text(&ada.call("f__test_simple_text", json!({})).await).len(), 43);
    let unknown = bob.call("f__test_simple_txt", json!({})).await;
    assert!(!unknown.to_string().contains("f__test_simple_text"), "a near name that is denied: {unknown}");
    gateway.key = "key-of-bob-12345678";
    assert_eq!(gateway.call("f__counter", &json!({}), &[]).await.status, 403);
    gateway.call("f__greet", &json!({ "name": "Bob" }), &[]).await;
    let events = eventually("bob's call is in the record", async || {
        let events = gateway.events("").await;
        events.iter().any(|event| event["subject"] == "f/greet").then_some(events)
    })
    .await;
    assert!(events.iter().all(|event| !event.to_string().contains("\"ada\"")), "{events:?}");
    assert!(!gateway.log().contains("key-of"));
}

#[tokio::test]
async fn an_open_listener_needs_keys() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("trunkline.yaml"), "listen: 0.0.0.0:0\n").unwrap();
    let output = Command::new(TRUNKLINE).arg("up").arg(folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("TL6008"), "{said}");
    std::fs::write(folder.path().join("trunkline.yaml"), "{}\n").unwrap();
    let output =
        Command::new(TRUNKLINE).args(["up", "--listen", "0.0.0.0:0"]).arg(folder.path()).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
}

#[tokio::test]
async fn names_stay_when_a_service_comes() {
    let first = as_child("one", &[]);
    let alone = Gateway::start(&format!("services:\n{first}")).await;
    let before = Modern::new(alone.address).tools().await;
    let both = Gateway::start(&format!("services:\n{}{first}", as_child("two", &[]))).await;
    let client = Modern::new(both.address);
    let after = client.tools().await;
    assert!(before.iter().all(|name| after.contains(name)));
    // The tools of flows are there once, whatever comes.
    let flows = before.iter().filter(|name| !name.contains("__")).count();
    assert_eq!(after.len(), 2 * before.len() - flows);
    assert_eq!(after.iter().collect::<HashSet<_>>().len(), after.len());
    let mut processes = HashSet::new();
    for name in ["one__counter", "two__counter"] {
        let response = client.call(name, json!({})).await;
        processes.insert(response["result"]["structuredContent"]["pid"].as_u64().unwrap());
    }
    assert_eq!(processes.len(), 2);
}
