//! Agents' transactions on the real binary, in front of the shop: over MCP, HTTP and the command line.

use std::process::Command;

use serde_json::{Value, json};

use super::support::client::{Legacy, Modern, failure};
use super::support::process::{Gateway, TRUNKLINE};
use super::support::shop::Shop;
use super::support::{eventually, http};

const SKU: &str = "cosy-wool";

fn reservation(order: &str) -> Value {
    json!({"body": {"order_id": order, "lines": [{"sku": SKU, "quantity": 2}]}})
}

fn order() -> Value {
    json!({"body": {"customer": "ada", "items": [{"sku": SKU, "quantity": 2, "unit_price_cents": 1850}]}})
}

fn structured(response: &Value) -> &Value {
    match &response["result"]["structuredContent"] {
        Value::Null => panic!("{response}"),
        content => content,
    }
}

/// Orders and reserves, and gives the order's identity.
async fn buy(client: &Legacy) -> String {
    let ordered = client.call("shop-orders__createOrder", order()).await;
    let id = structured(&ordered)["id"].as_str().unwrap().to_owned();
    structured(&client.call("shop-stock__reserveStock", reservation(&id)).await);
    id
}

#[tokio::test]
async fn the_calls_of_a_session_are_kept_or_taken_back() {
    let shop = Shop::start().await;
    let mut gateway = Gateway::start(&shop.config("")).await;
    let agent = Legacy::connect(gateway.address).await;
    let other = Legacy::connect(gateway.address).await;
    let before = shop.reserved(SKU).await;

    let begun = agent.call("begin", json!({"title": "two for Ada"})).await;
    assert_eq!(structured(&begun)["whole_conversation"], true);
    assert_eq!(failure(&agent.call("begin", json!({})).await)["code"], "TL7011");
    let order = buy(&agent).await;
    assert_eq!(shop.reserved(SKU).await, before + 2);
    // Calls of others are not part of it, and a flow is a saga of its own.
    structured(&other.call("shop-stock__reserveStock", reservation("other")).await);
    assert_eq!(failure(&agent.call("run_plan", json!({"plan": {"steps": []}})).await)["code"], "TL7013");
    // What was done before a crash is undone after it.
    gateway.kill().await;
    gateway.start_again().await;
    let transaction = &structured(&begun)["transaction"];
    let again = Legacy::connect(gateway.address).await;
    let ended = again.call("rollback", json!({"transaction": transaction, "reason": "too dear"})).await;
    let report = structured(&ended);
    assert_eq!(report["status"], "rolled_back", "{report}");
    assert_eq!(report["undone"], json!(["shop-orders__createOrder", "shop-stock__reserveStock"]));
    assert_eq!(shop.reserved(SKU).await, before + 2);
    assert_eq!(shop.get("orders", &format!("/orders/{order}")).await["status"], "cancelled");

    structured(&again.call("begin", json!({})).await);
    let order = buy(&again).await;
    let ended = again.call("commit", json!({})).await;
    assert_eq!(structured(&ended)["status"], "completed");
    assert_ne!(shop.get("orders", &format!("/orders/{order}")).await["status"], "cancelled");
    assert_eq!(failure(&again.call("commit", json!({})).await)["code"], "TL7010");
}

#[tokio::test]
async fn a_stateless_client_names_its_transaction() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&shop.config("")).await;
    let client = Modern::new(gateway.address);
    let before = shop.reserved(SKU).await;
    let begun = client.call("begin", json!({"timeout_s": 600})).await;
    assert_eq!(structured(&begun)["whole_conversation"], false);
    let transaction = structured(&begun)["transaction"].clone();

    let call =
        json!({"transaction": transaction, "tool": "shop-stock__reserveStock", "args": reservation("a")});
    structured(&client.call("transact", call).await);
    let params = json!({
        "name": "shop-stock__reserveStock", "arguments": reservation("b"),
        "_meta": {"dev.trunkline/transaction": transaction},
    });
    structured(&client.request("tools/call", params).await);
    assert_eq!(shop.reserved(SKU).await, before + 4);
    let wrong = json!({
        "name": "shop-stock__reserveStock", "arguments": {}, "_meta": {"dev.trunkline/transaction": transaction},
    });
    assert_eq!(failure(&client.request("tools/call", wrong).await)["code"], "TL1006");
    let path = format!("/v1/instances/{}:rollback", transaction.as_str().unwrap());
    let ended = http::post(gateway.address, &path, &[], "{}".to_owned()).await.json().await;
    assert_eq!(ended["status"], "rolled_back", "{ended}");
    assert_eq!(ended["calls"], 2);
    assert_eq!(shop.reserved(SKU).await, before);
}

#[tokio::test]
async fn a_person_uses_the_command_line_and_a_transaction_left_open_rolls_back() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&shop.config("")).await;
    let before = shop.reserved(SKU).await;
    let run = |arguments: &[&str]| -> Value {
        let mut command = Command::new(TRUNKLINE);
        command.args(arguments).args(["-o", "json", "--server", &format!("http://{}", gateway.address)]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    let begun = run(&["flow", "begin", "--title", "by hand", "--timeout", "2"]);
    let transaction = begun["transaction"].as_str().unwrap();
    let arguments = reservation("c").to_string();
    run(&["call", "shop-stock__reserveStock", &arguments, "--transaction", transaction]);
    assert_eq!(shop.reserved(SKU).await, before + 2);
    eventually("its time is over", async || (shop.reserved(SKU).await == before).then_some(())).await;
    eventually("it is undone", async || {
        (run(&["flow", "show", transaction])["status"] == "undone").then_some(())
    })
    .await;
    let kept = run(&["flow", "begin"]);
    let kept = kept["transaction"].as_str().unwrap();
    run(&["call", "shop-stock__reserveStock", &arguments, "--transaction", kept]);
    assert_eq!(run(&["flow", "commit", kept])["status"], "completed");
    assert_eq!(shop.reserved(SKU).await, before + 2);
}
