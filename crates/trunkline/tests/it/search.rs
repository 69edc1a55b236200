//! Tools found in plain words, on the real binary in front of the shop.

use serde_json::Value;

use super::support::process::{Gateway, TRUNKLINE};
use super::support::shop::Shop;
use super::support::{eventually, within};

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

/// The encoder of the tests: as small as can be, its weights by chance. It shows the way that vectors go, not how good they are.
const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../discovery/src/embed/minilm/fixture/small.bin");

#[tokio::test]
async fn with_an_encoder_tools_are_found_as_well_and_one_that_is_broken_is_told() {
    let shop = Shop::start().await;
    let config = |file: &str| format!("{}search: {{ encoder: \"{file}\" }}\n", shop.config(""));
    let gateway = Gateway::start(&config(SMALL)).await;
    eventually("the tool that is named comes first", async || {
        found(&gateway, "refund payment")
            .await
            .first()
            .filter(|name| *name == "shop-payments__refundPayment")
            .map(drop)
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.bin");
    std::fs::write(&cut, &std::fs::read(SMALL).unwrap()[..1000]).unwrap();
    std::fs::write(folder.path().join("trunkline.yaml"), config("cut.bin")).unwrap();
    let mut program = tokio::process::Command::new(TRUNKLINE);
    program.args(["up", "--listen", "127.0.0.1:0"]).arg(folder.path());
    let output = within("its end", program.output()).await.unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("TL8100") && said.contains("not whole"), "{said}");
}
