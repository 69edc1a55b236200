//! Tools found in plain words, on the real binary in front of the shop.

use serde_json::Value;

use super::support::eventually;
use super::support::process::Gateway;
use super::support::shop::Shop;

async fn found(gateway: &Gateway, words: &str) -> Vec<String> {
    let path = format!("/v1/search?q={}&limit=3", words.replace(' ', "%20"));
    let found: Value = gateway.get(&path).await.json().await;
    let tools = found["tools"].as_array().unwrap_or_else(|| panic!("{found}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn tools_are_found_in_plain_words_as_far_as_the_caller_may_and_can_call_them() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&shop.config("")).await;
    for (words, tool) in [
        ("give the customer the money back", "shop-payments__refundPayment"),
        ("place a new order", "shop-orders__createOrder"),
        ("ship the parcel to an address", "shop-shipping__createShipment"),
        ("release reserved items", "shop-stock__releaseStock"),
    ] {
        let found = found(&gateway, words).await;
        assert!(found.iter().any(|name| name == tool), "{words}: {found:?}");
    }
    let deny = "policy: { rules: [{ effect: deny, service: shop-payments, tool: \"*\" }] }\n";
    gateway.configure(&format!("{}{deny}", shop.config("")));
    eventually("what may not be called is not found", async || {
        let found = found(&gateway, "refund a payment").await;
        found.iter().all(|name| !name.starts_with("shop-payments")).then_some(())
    })
    .await;
    assert!(found(&gateway, "\u{1f600} zzz").await.is_empty());
    assert_eq!(gateway.get("/v1/search").await.status, 400);
}
