//! Events on the real binary: subscriptions in front of the shop, `kill -9` in the middle, webhooks both ways, dead
//! letters by the command line, and the calls that `docs/choreography.md` maps the specification to.

use std::process::{Command, Stdio};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::support::process::{Gateway, TRUNKLINE};
use super::support::shop::Shop;
use super::support::{eventually, http, within};

/// A flow that charges what was ordered and tells so, and one that waits until it was shipped.
fn definitions(folder: &std::path::Path) {
    let charge = json!({
        "document": {"dsl": "1.0.3", "namespace": "shop", "name": "charge", "version": "1.0.0"},
        "do": [
            {"pay": {"call": "shop-payments__chargePayment", "with": {"body": {
                "order_id": "${ $workflow.input.data.order_id }", "amount_cents": 1850, "card": "card-ada"}}}},
            {"tell": {"emit": {"event": {"with": {
                "type": "shop.order.paid", "data": {"order_id": "${ $workflow.input.data.order_id }"}}}}}},
        ],
    });
    let follow = json!({
        "document": {"dsl": "1.0.3", "namespace": "shop", "name": "follow", "version": "1.0.0"},
        "input": {"schema": {"document": {"type": "object", "properties": {"order_id": {"type": "string"}}}}},
        "do": [{"wait": {"listen": {"to": {"one": {"with": {
            "type": "shop.order.shipped", "data": "${ .order_id == $workflow.input.order_id }"}}}}}}],
    });
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("charge.json"), charge.to_string()).unwrap();
    std::fs::write(folder.join("follow.json"), follow.to_string()).unwrap();
}

fn chain(folder: &std::path::Path) -> String {
    format!(
        r#"  definitions: ["{}"]
  subscriptions:
    charge: {{ types: [shop.order.placed], flow: shop/charge }}
    ship:
      types: ["shop.order.p*id"]
      tool: shop-shipping__createShipment
      backoff_ms: 50
      args:
        body:
          order_id: "$${{ .data.order_id }}"
          address: {{ name: Ada, street: "1", city: b, postal_code: "1", country: DE }}
      emit: shop.order.shipped
"#,
        folder.display()
    )
}

async fn publish(gateway: &Gateway, event: &Value) -> Value {
    let reply = http::post(gateway.address, "/v1/events", &[], event.to_string()).await;
    assert_eq!(reply.status, 200);
    reply.json().await
}

#[tokio::test]
async fn a_chain_of_events_goes_on_after_kill_9_and_nothing_is_done_twice() {
    const ORDERS: usize = 12;
    let shop = Shop::start().await;
    let folder = tempfile::tempdir().unwrap();
    definitions(folder.path());
    let mut gateway = Gateway::start(&shop.config(&chain(folder.path()))).await;
    // Orders that do not exist in the shop need none of its stock.
    let orders: Vec<String> = (0..ORDERS).map(|n| format!("ord-chain-{n}")).collect();
    let mut waiting = Vec::new();
    for order in &orders {
        let body = json!({"flow": "follow", "input": {"order_id": order}}).to_string();
        let headers = [("trunkline-timeout-ms", "300")];
        let reply = http::post(gateway.address, "/v1/instances", &headers, body).await.json().await;
        let started = &reply["result"]["structuredContent"];
        assert_eq!(started["status"], "running", "{reply}");
        waiting.push(started["instance"].as_str().unwrap().to_owned());
    }
    let placed = |order: &str| json!({"specversion": "1.0", "type": "shop.order.placed", "source": "/web", "id": order, "data": {"order_id": order}});
    for (n, order) in orders.iter().enumerate() {
        assert_eq!(publish(&gateway, &placed(order)).await["duplicate"], false);
        if n % 4 == 3 {
            gateway.kill().await;
            gateway.start_again().await;
        }
    }
    // Whoever has had no answer publishes again.
    for order in &orders {
        assert_eq!(publish(&gateway, &placed(order)).await["duplicate"], true);
    }
    for instance in &waiting {
        eventually("the flow hears that it was shipped", async || {
            let shown = gateway.get(&format!("/v1/instances/{instance}")).await.json().await;
            (shown["status"] == "completed").then_some(())
        })
        .await;
    }
    let subscriptions = eventually("all is delivered", async || {
        let shown = gateway.get("/v1/subscriptions").await.json().await;
        let all = shown["subscriptions"].as_array().unwrap();
        all.iter().all(|one| one["under_way"] == 0).then(|| shown.clone())
    })
    .await;
    let dead = gateway.get("/v1/dead-letters").await.json().await;
    assert_eq!(dead["dead_letters"], json!([]), "{subscriptions}");
    for order in &orders {
        let payments = shop.get("payments", &format!("/payments?order_id={order}")).await;
        let payments = payments["payments"].as_array().or_else(|| payments.as_array()).unwrap().clone();
        let of: Vec<_> = payments.iter().filter(|payment| payment["order_id"] == **order).collect();
        assert_eq!(of.len(), 1, "{of:?}");
    }
    // Each event names what led to it.
    let paid = gateway.events("shop.order.paid").await;
    assert_eq!(paid.len(), ORDERS);
    assert!(paid.iter().all(|event| event["causationid"].is_string()), "{paid:?}");
    let shipments = gateway.events("dev.trunkline.flow.started").await;
    let ship = shipments.iter().filter(|event| event["subject"] == "subscriptions/ship").count();
    assert_eq!(ship, ORDERS);
}

/// A receiver of webhooks that answers what it is told to, in turn, and 200 from then on.
async fn receiver(answers: &'static [u16]) -> (String, mpsc::UnboundedReceiver<(hyper::HeaderMap, Bytes)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, got) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut answers = answers.iter();
        while let Ok((stream, _)) = listener.accept().await {
            let status = answers.next().copied().unwrap_or(200);
            let sender = sender.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let sender = sender.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        sender.send((head.headers, body)).unwrap();
                        let response =
                            Response::builder().status(status).header("location", "http://127.0.0.1:9/");
                        // A connection each, so that every attempt has its own answer.
                        let response = response.header("connection", "close");
                        Ok::<_, hyper::http::Error>(response.body(Full::new(Bytes::new())).unwrap())
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (url, got)
}

/// The HMAC-SHA-256 of a text as another implementation has it: that of Python.
fn python_hmac(key: &str, text: &[u8], form: &str) -> String {
    let code = "import sys,hmac,hashlib,base64\nm=hmac.new(sys.argv[1].encode(),sys.stdin.buffer.read(),hashlib.sha256)\nprint(m.hexdigest() if sys.argv[2]=='hex' else base64.b64encode(m.digest()).decode())";
    let mut child = Command::new("python3")
        .args(["-c", code, key, form])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn webhooks_come_in_and_go_out() {
    const SECRET: &str = "a secret of this test";
    let (url, mut got) = receiver(&[500, 302, 503]).await;
    let config = format!(
        "flows:
  webhooks:
    shop: {{ scheme: standard, secret: {SECRET} }}
  subscriptions:
    out: {{ types: ['webhook.shop*'], webhook: {{ url: '{url}', secret: {SECRET} }}, backoff_ms: 10 }}
"
    );
    let gateway = Gateway::start(&config).await;
    let now = jiff::Timestamp::now().as_second();
    let body = r#"{"type": "order.paid", "order": "7"}"#;
    let send = async |id: &str, time: i64, body: &str, signature: &str| {
        let time = time.to_string();
        let headers = [("webhook-id", id), ("webhook-timestamp", &*time), ("webhook-signature", signature)];
        http::post(gateway.address, "/v1/webhooks/shop", &headers, body.to_owned()).await
    };
    let signed = |id: &str, time: i64| {
        format!("v1,{}", python_hmac(SECRET, format!("{id}.{time}.{body}").as_bytes(), "base64"))
    };
    let signature = signed("msg_1", now);
    assert_eq!(send("msg_1", now, body, &signature).await.status, 202);
    let again = send("msg_1", now, body, &signature).await.json().await;
    assert_eq!(again["duplicate"], true);
    let old = now - 400;
    for (id, time, body, signature) in [
        ("msg_2", now, body, &*signature),
        ("msg_1", now, "{}", &*signature),
        ("msg_1", now, body, "v1,AAAA"),
        ("msg_1", old, body, &*signed("msg_1", old)),
    ] {
        let refused = send(id, time, body, signature).await;
        assert_eq!(refused.status, 401);
        let problem = refused.json().await;
        assert_eq!(problem["code"], "TL7024");
        assert_eq!(problem["detail"], "the request does not prove where it comes from");
    }
    let unknown = http::post(gateway.address, "/v1/webhooks/none", &[], "{}").await;
    assert_eq!(unknown.status, 401);
    let recorded = eventually("the refusal is recorded", async || {
        let refused = gateway.events("dev.trunkline.tool_execution.refused").await;
        refused.into_iter().find(|event| event["subject"] == "webhooks/shop")
    })
    .await;
    assert!(!recorded.to_string().contains("order.paid"), "{recorded}");

    // Out: tried four times with one id, each time signed anew, as another implementation signs.
    let mut ids = Vec::new();
    for _ in 0..4 {
        let (headers, body) = within("an attempt", got.recv()).await.unwrap();
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        let signed =
            [text("webhook-id").as_bytes(), b".", text("webhook-timestamp").as_bytes(), b".", &body].concat();
        assert_eq!(text("webhook-signature"), format!("v1,{}", python_hmac(SECRET, &signed, "base64")));
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&event["type"], &event["data"]["order"]),
            (&json!("webhook.shop.order.paid"), &json!("7"))
        );
        ids.push(text("webhook-id"));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn dead_letters_are_seen_to_by_the_command_line() {
    let shop = Shop::start().await;
    let subscription = r#"  subscriptions:
    pay:
      types: [order.*]
      tool: shop-payments__chargePayment
      args: { body: { order_id: "$${ .data.id }", amount_cents: "$${ .data.cents }", card: "$${ .data.card }" } }
"#;
    let gateway = Gateway::start(&shop.config(subscription)).await;
    let server = format!("http://{}", gateway.address);
    let run = |arguments: &[&str]| -> Value {
        let mut command = Command::new(TRUNKLINE);
        command.arg("events").args(arguments).args(["-o", "json", "--server", &server]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let data = |n: u32| json!({"id": format!("o-{n}"), "cents": 100, "card": "card-declined"}).to_string();
    for n in 0..3 {
        run(&["publish", "order.placed", "--data", &data(n), "--source", "/test", "--id", &n.to_string()]);
    }
    let dead = eventually("they die", async || {
        let dead = run(&["dead-letters"]);
        (dead.as_array().unwrap().len() == 3).then_some(dead)
    })
    .await;
    assert_eq!(dead[0]["subscription"], "pay");
    let id = dead[0]["id"].as_str().unwrap();
    let replayed = run(&["replay", id]);
    assert_eq!(replayed[0]["done"], "replayed");
    eventually("it dies again", async || {
        (run(&["dead-letters"]).as_array().unwrap().len() == 3).then_some(())
    })
    .await;
    let again = &run(&["dead-letters"])[0];
    assert_eq!((&again["id"], again["cause"]["attempt"].as_u64()), (&replayed[0]["replayed_as"], Some(2)));
    let dry = run(&["discard", "--all", "--subscription", "pay", "--dry-run"]);
    assert_eq!(dry.as_array().unwrap().len(), 3);
    run(&["discard", "--all", "--subscription", "pay", "--reason", "no such card"]);
    assert_eq!(run(&["dead-letters"]), json!([]));
    assert_eq!(run(&["dead-letters", "--state", "discarded"])[0]["reason"], "no such card");
    assert_eq!(run(&["subscriptions"])[0]["dead"], 0);
}

#[tokio::test]
async fn what_github_sends_is_published_and_nobody_else_may_use_its_source() {
    let gateway =
        Gateway::start("flows: { webhooks: { code: { scheme: github, secret: of this test } } }\n").await;
    let ping = "ping=1";
    let signature = format!("sha256={}", python_hmac("of this test", ping.as_bytes(), "hex"));
    let headers =
        [("x-hub-signature-256", &*signature), ("x-github-event", "ping"), ("x-github-delivery", "d-1")];
    let reply = http::send(gateway.address, "POST", "/v1/webhooks/code", &headers, ping).await;
    assert_eq!(reply.status, 202);
    assert_eq!(gateway.events("com.github.ping").await.len(), 1);
    // Nobody else may use its source.
    let forged = json!({"type": "com.github.push", "source": "/webhooks/code"});
    let reply = http::post(gateway.address, "/v1/events", &[], forged.to_string()).await;
    assert_eq!(reply.status, 403);
}

#[tokio::test]
async fn a_webhook_needs_no_key_and_all_else_does() {
    let config = "auth: { api_keys: [ { id: ci, key: a-key-that-is-long-enough } ] }
flows: { webhooks: { code: { scheme: github, secret: of this test } } }
";
    let gateway = Gateway::start(config).await;
    let signature = format!("sha256={}", python_hmac("of this test", b"{}", "hex"));
    let headers = [("x-hub-signature-256", &*signature), ("x-github-event", "ping")];
    assert_eq!(http::post(gateway.address, "/v1/webhooks/code", &headers, "{}").await.status, 202);
    for path in ["/v1/events", "/v1/dead-letters", "/v1/webhooks"] {
        assert_eq!(http::post(gateway.address, path, &headers, "{}").await.status, 401, "{path}");
    }
}

/// The table of `docs/choreography.md`: every call of the specification, by what does it here.
#[tokio::test]
async fn the_calls_of_the_specification_are_there() {
    let shop = Shop::start().await;
    let folder = tempfile::tempdir().unwrap();
    definitions(folder.path());
    let gateway = Gateway::start(&shop.config(&chain(folder.path()))).await;
    let call = async |tool: &str, arguments: Value| {
        let reply: Value = gateway.call(tool, &arguments, &[]).await.json().await;
        reply["result"]["structuredContent"].clone()
    };
    // register_tool: what the configuration names is a tool, with its schema.
    let tools = gateway.get("/v1/tools?q=chargePayment").await.json().await;
    assert_eq!(tools["tools"][0]["name"], "shop-payments__chargePayment");
    // coordinate_execution and coordinate_saga: a plan; what it has done is undone where a step fails.
    let pay = |card: &str| {
        json!({"id": card.replace('-', "_"), "tool": "shop-payments__chargePayment", "after": [],
            "args": {"body": {"order_id": "ord-saga", "amount_cents": 100, "card": card}}})
    };
    let done = call("run_plan", json!({"plan": {"steps": [pay("card-ada")]}})).await;
    assert_eq!(done["status"], "completed", "{done}");
    let mut second = pay("card-declined");
    second["after"] = json!(["card_ada"]);
    let undone = call("run_plan", json!({"plan": {"steps": [pay("card-ada"), second]}})).await;
    assert_eq!(undone["status"], "undone", "{undone}");
    // handle_tool_failure: a failure says whose it is and what is next; the run shows it.
    let shown = call("get_run", json!({"instance": undone["instance"]})).await;
    assert!(shown["fault"].as_str().is_some_and(|fault| fault.contains("declined")), "{shown}");
    // publish_event and handle_tool_event: a subscription reacts to what is published.
    let published =
        call("publish_event", json!({"type": "shop.order.paid", "data": {"order_id": "ord-doc"}})).await;
    assert_eq!(published["duplicate"], false);
    eventually("the subscription has reacted", async || {
        (!gateway.events("shop.order.shipped").await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_mode_of_the_http_binding_is_understood() {
    let gateway = Gateway::start("").await;
    let batch = json!([
        {"specversion": "1.0", "type": "a", "id": "1", "source": "/t", "data": 1},
        {"specversion": "1.0", "type": "dev.trunkline.x", "id": "2", "source": "/t"},
    ]);
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let reply =
        http::send(gateway.address, "POST", "/v1/events", &headers, batch.to_string()).await.json().await;
    assert_eq!(reply["events"][0]["id"], "1");
    assert_eq!(reply["events"][1]["problem"]["code"], "TL7020");
    let headers =
        [("content-type", "application/json"), ("ce-type", "b"), ("ce-id", "3"), ("ce-shop", "s%C3%A4")];
    let reply = http::send(gateway.address, "POST", "/v1/events", &headers, "{\"n\":1}").await;
    assert_eq!(reply.status, 200);
    let event = &gateway.events("b").await[0];
    assert_eq!(event["data"]["parameters"]["n"], 1);
    assert_eq!(event["data"]["context"]["attributes"]["shop"], "sä");
    let none = http::post(gateway.address, "/v1/events", &[], "{\"specversion\":\"1.0\"}").await;
    assert_eq!(none.status, 422);
}
