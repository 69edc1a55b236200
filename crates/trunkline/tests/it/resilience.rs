//! What stands between calls and services that fail, on the real binary in front of the shop.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::support::client::{Legacy, failure};
use super::support::process::Gateway;
use super::support::shop::Shop;
use super::support::upstream::Upstream;
use super::support::{eventually, http};

async fn chaos(shop: &Shop, service: &str, settings: Value) {
    let address: SocketAddr = shop.url(service).trim_start_matches("http://").parse().unwrap();
    let reply = http::post(address, "/_chaos", &[], settings.to_string()).await;
    assert!(reply.status < 300, "{}", reply.text().await);
}

/// The breaker of a tool, as `/v1/services` shows it.
async fn breaker(gateway: &Gateway, service: &str, tool: &str) -> Value {
    let services = http::get(gateway.address, "/v1/services").await.json().await;
    let services = services["services"].as_array().unwrap();
    let service = services.iter().find(|found| found["id"] == service).unwrap();
    let tools = service["tools_guarded"].as_array().unwrap();
    tools.iter().find(|found| found["tool"] == tool).unwrap()["guard"]["breaker"].clone()
}

#[tokio::test]
async fn a_service_that_fails_is_left_alone_until_it_is_back() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&format!("loops: {{ calls: 0 }}\n{}", shop.config(""))).await;
    let client = Legacy::connect(gateway.address).await;
    let read = async || client.call("shop-stock__listItems", json!({})).await;
    assert!(failure(&read().await).is_null());

    chaos(&shop, "stock", json!({"fail_share": 1.0})).await;
    eventually("the breaker opens", async || (failure(&read().await)["code"] == "TL8001").then_some(()))
        .await;
    assert_eq!(breaker(&gateway, "shop-stock", "listItems").await, "open");
    // Other tools are not touched by it.
    assert!(failure(&client.call("shop-orders__listOrders", json!({})).await).is_null());
    let refused =
        http::post(gateway.address, "/v1/tools/shop-stock__listItems:call", &[], "{}".to_owned()).await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());

    chaos(&shop, "stock", json!({})).await;
    eventually("it is back", async || failure(&read().await).is_null().then_some(())).await;
    assert_eq!(breaker(&gateway, "shop-stock", "listItems").await, "closed");
}

#[tokio::test]
async fn a_read_that_fails_is_made_again_and_a_change_is_made_once() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&shop.config("")).await;
    let client = Legacy::connect(gateway.address).await;
    // Every second request fails, after it was done.
    chaos(&shop, "orders", json!({"fail_share": 0.5, "when": "after"})).await;
    for _ in 0..4 {
        assert!(failure(&client.call("shop-orders__listOrders", json!({})).await).is_null());
    }
    chaos(&shop, "orders", json!({})).await;
    let orders = async || shop.get("orders", "/orders?limit=100").await;
    let count = |orders: Value| {
        let list = orders.get("orders").or_else(|| orders.get("items")).cloned().unwrap_or(orders);
        list.as_array().unwrap().len()
    };
    let before = count(orders().await);
    chaos(&shop, "orders", json!({"fail_share": 1.0, "when": "after"})).await;
    let order = json!({"body": {"customer": "ada", "items": [{"sku": "cosy-wool", "quantity": 1, "unit_price_cents": 1850}]}});
    let lost = client.call("shop-orders__createOrder", order).await;
    chaos(&shop, "orders", json!({})).await;
    assert!(!failure(&lost).is_null() || lost["result"]["isError"] == true, "{lost}");
    assert_eq!(count(orders().await), before + 1, "it was sent once");
}

/// What `/v1/services` shows of a service.
async fn shown(gateway: &Gateway, service: &str) -> Value {
    let services = http::get(gateway.address, "/v1/services").await.json().await;
    let services = services["services"].as_array().unwrap();
    services.iter().find(|found| found["id"] == service).unwrap().clone()
}

#[tokio::test]
async fn a_tool_that_hangs_leaves_room_for_the_others_of_its_service() {
    let shop = Shop::start().await;
    let bulkhead = "resilience: { bulkhead: { tools: { listItems: { concurrent: 1, queued: 1 } } } }\n";
    let gateway = Gateway::start(&format!("loops: {{ calls: 0 }}\n{bulkhead}{}", shop.config(""))).await;
    let (address, call) = (gateway.address, "/v1/tools/shop-stock__listItems:call");
    assert_eq!(http::post(address, call, &[], "{}").await.status, 200);
    let load = shown(&gateway, "shop-stock").await["load"].clone();
    assert_eq!((&load["running"], &load["waiting"]), (&json!(0), &json!(0)));
    assert!(load["limit"].as_u64().unwrap() > 1, "{load}");
    // It hangs from now on.
    chaos(&shop, "stock", json!({"latency_ms": 60_000})).await;
    let hanging: Vec<_> = (0..2)
        .map(|_| tokio::spawn(async move { http::post(address, call, &[], "{}").await.status }))
        .collect();
    let waits = async || {
        let service = shown(&gateway, "shop-stock").await;
        let tools = service["tools_guarded"].as_array().unwrap().clone();
        let load = &tools.iter().find(|found| found["tool"] == "listItems").unwrap()["guard"]["load"];
        (load == &json!({"limit": 1, "running": 1, "waiting": 1}) && service["load"]["running"] == 1)
            .then_some(())
    };
    eventually("one runs and one waits", waits).await;
    let refused = http::post(address, call, &[], "{}").await;
    assert_eq!((refused.status, refused.json().await["code"].clone()), (503, json!("TL8002")));
    // Another tool of the service has its place at once.
    chaos(&shop, "stock", json!({})).await;
    let other =
        http::post(address, "/v1/tools/shop-stock__getItem:call", &[], r#"{"sku": "cosy-wool"}"#).await;
    assert_eq!(other.status, 200);
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn callers_are_limited_each_by_itself() {
    let shop = Shop::start().await;
    let limits =
        "limits: [{ service: shop-stock, each: [conversation, tool], calls: 3, every_ms: 3600000 }]\n";
    let gateway = Gateway::start(&format!("{limits}{}", shop.config(""))).await;
    let (one, other) = (Legacy::connect(gateway.address).await, Legacy::connect(gateway.address).await);
    for client in [&one, &other] {
        for _ in 0..3 {
            assert!(failure(&client.call("shop-stock__listItems", json!({})).await).is_null());
        }
        assert_eq!(failure(&client.call("shop-stock__listItems", json!({})).await)["code"], "TL1027");
        assert!(failure(&client.call("shop-orders__listOrders", json!({})).await).is_null());
    }
    let call = async || {
        http::post(gateway.address, "/v1/tools/shop-stock__listItems:call", &[], "{}".to_owned()).await
    };
    for _ in 0..3 {
        assert_eq!(call().await.status, 200);
    }
    let refused = call().await;
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1_200).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_service_that_fails_is_called_in_another_way_and_the_record_says_why() {
    let shop = Shop::start().await;
    let more = "resilience: { strategy: { adapt: true, interval_ms: 1000, min_calls: 10 }, \
                breaker: { consecutive: 1000, min_calls: 1000 } }\n";
    let gateway = Gateway::start(&format!("{}{more}", shop.config(""))).await;
    chaos(&shop, "stock", json!({"fail_share": 1.0})).await;
    let attempts = async || {
        let services = gateway.get("/v1/services").await.json().await;
        let all = services["services"].as_array().unwrap();
        all.iter().find(|one| one["id"] == "shop-stock").unwrap()["strategy"]["attempts"].clone()
    };
    let turn = async |expected: u32| {
        eventually("it is called in another way", async || {
            for _ in 0..5 {
                http::post(gateway.address, "/v1/tools/shop-stock__listItems:call", &[], "{}").await;
            }
            (attempts().await == expected).then_some(())
        })
        .await;
    };
    turn(1).await;
    chaos(&shop, "stock", json!({})).await;
    turn(3).await;
    eventually("both changes are in the record, with their reasons", async || {
        let changes = gateway.events("dev.trunkline.service_call.changed.v1").await;
        let why = |event: &&Value| event.to_string().contains("of the attempts failed");
        (changes.iter().filter(why).count() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn in_a_total_outage_further_attempts_are_a_fifth_of_the_calls_at_most() {
    const CALLS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_| (503, Vec::new(), "{}".to_owned())).await;
    // Without the breaker, which would leave nothing to be seen.
    let guard = "resilience: { breaker: { consecutive: 1000000, min_calls: 1000000 }, retry: { attempts: 10, base_ms: 1, max_ms: 2 } }\n";
    let services = upstream.service("up", folder.path(), "");
    let gateway = Gateway::begin(&format!("loops: {{ calls: 0 }}\n{guard}services:\n{services}")).await;
    gateway.ready().await;
    let before = upstream.asked();
    for call in 0..CALLS {
        let reply = gateway.call("up__read", &json!({"a": call}), &[]).await;
        assert!(reply.status >= 500, "{}", reply.status);
    }
    let further = upstream.asked() - before - CALLS;
    assert!(further > 3, "some calls are made again: {further}");
    assert!(further * 5 <= CALLS, "{further} further attempts at {CALLS} calls");
}
