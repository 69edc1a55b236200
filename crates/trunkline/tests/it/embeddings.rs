//! An endpoint that makes vectors, for the search and for intents, on the real binary. It is a scripted one of ours that stands in for a
//! model: its vectors say whether a text is about money, and nothing else.

use serde_json::{Value, json};

use super::support::process::{Gateway, TRUNKLINE};
use super::support::scripted_model::{ScriptedModel, Seen, plainly};
use super::support::shop::Shop;
use super::support::upstream::Answer;
use super::support::{eventually, within};

/// What no word and no table of embeddings knows, and the stand-in takes for a refund.
const STRANGE: &str = "blick florp";

const REFUND: &str = "shop-payments__refundPayment";

/// Vectors of so many numbers.
fn vectors(seen: &Seen, numbers: usize) -> Answer {
    let about_money = |text: &str| text.contains(STRANGE) || text.to_lowercase().starts_with("refund");
    let vector = |text: &Value| {
        let mut vector = vec![0.0; numbers];
        vector[usize::from(about_money(text.as_str().unwrap()))] = 2.0;
        vector
    };
    let texts = seen.body["input"].as_array().unwrap();
    let row = |(at, text)| json!({"index": at, "object": "embedding", "embedding": vector(text)});
    let rows: Vec<Value> = texts.iter().enumerate().map(row).collect();
    plainly(200, json!({"object": "list", "data": rows, "model": "scripted-stand-in"}).to_string())
}

fn config(shop: &Shop, model: &ScriptedModel) -> String {
    let url = model.url();
    let endpoint =
        format!("{{ url: \"{url}\", model: scripted-stand-in, key: sk-vectors, timeout_ms: 400 }}");
    format!("{}search: {{ embeddings: {endpoint} }}\n", shop.config(""))
}

async fn search(gateway: &Gateway, words: &str) -> Value {
    gateway.get(&format!("/v1/search?q={}&limit=3", words.replace(' ', "%20"))).await.json().await
}

async fn encoded(gateway: &Gateway) {
    eventually("tools have their vectors", async || {
        (search(gateway, STRANGE).await["tools"][0]["name"] == REFUND).then_some(())
    })
    .await;
}

#[tokio::test]
async fn tools_are_found_by_the_vectors_of_an_endpoint_each_of_which_is_asked_for_once() {
    let shop = Shop::start().await;
    let model = ScriptedModel::start(|seen| vectors(seen, 4)).await;
    let gateway = Gateway::start(&config(&shop, &model)).await;
    encoded(&gateway).await;
    let health: Value = gateway.get("/readyz").await.json().await;
    assert_eq!(health["encoder_failing"], Value::Null, "{health}");
    let seen = model.seen();
    assert_eq!((&*seen[0].path, &seen[0].body["model"]), ("/v1/embeddings", &json!("scripted-stand-in")));
    assert_eq!(seen[0].headers["authorization"], "Bearer sk-vectors");
    let texts: Vec<&str> = seen
        .iter()
        .flat_map(|seen| seen.body["input"].as_array().unwrap())
        .map(|text| text.as_str().unwrap())
        .filter(|text| *text != STRANGE)
        .collect();
    let once: std::collections::HashSet<&&str> = texts.iter().collect();
    assert!(seen.iter().all(|seen| seen.body["input"].as_array().unwrap().len() <= 16));
    assert_eq!(once.len(), texts.len(), "{texts:?}");
    // A request and its clauses are one question.
    let asked = model.upstream.asked();
    search(&gateway, "refund a payment and cancel an order, then track the shipment").await;
    assert_eq!(model.upstream.asked(), asked + 1);
    assert!(!gateway.log().contains("sk-vectors"));
}

#[tokio::test]
async fn without_the_endpoint_tools_are_found_as_before_which_is_told_and_it_is_left_alone() {
    let shop = Shop::start().await;
    let model = ScriptedModel::start(|seen| vectors(seen, 4)).await;
    let gateway = Gateway::start(&config(&shop, &model)).await;
    encoded(&gateway).await;
    let without = async |why: &str| {
        let found = search(&gateway, "refund a payment").await;
        assert_eq!(found["tools"][0]["name"], REFUND, "{found}");
        assert!(found["without_encoder"].as_str().unwrap().contains(why), "{why}: {found}");
    };
    model.answers(|_| plainly(500, "no"));
    without("HTTP 500: no (TL8112)").await;
    model.answers(|seen| vectors(seen, 3));
    without("3 numbers, where they had 4 (TL8113)").await;
    model.upstream.let_through(0);
    let asked = model.upstream.asked();
    without("in time").await;
    // Now it is left alone.
    without("asked again in").await;
    let reply = gateway.call("search_tools", &json!({"query": "refund a payment"}), &[]).await;
    let told: Value = reply.json().await;
    let told = told["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(told.contains(REFUND) && told.contains("Searched without the encoder: "), "{told}");
    assert_eq!(model.upstream.asked(), asked + 1);
    let health: Value = gateway.get("/readyz").await.json().await;
    assert!(health["status"] == "ok" && health["encoder_failing"].is_string(), "{health}");
    let mut doctor = tokio::process::Command::new(TRUNKLINE);
    doctor.arg("doctor").arg(gateway.folder.path()).env("TRUNKLINE_LISTEN", gateway.address.to_string());
    let told = within("its end", doctor.output()).await.unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("search.embeddings and its endpoint"), "{told}");
    model.upstream.let_through(1 << 20);
    model.answers(|seen| vectors(seen, 4));
    encoded(&gateway).await;
    let health: Value = gateway.get("/readyz").await.json().await;
    assert_eq!(health["encoder_failing"], Value::Null, "{health}");
}

const INTENTS: &str = "\
intents:
  money-back:
    about: refund
    examples: [refund it, refund what was paid]
    tool: shop-payments__refundPayment
  shelves:
    examples: [walk me through the shelves, what have we got on the shelves]
    tool: shop-stock__listItems
";

#[tokio::test]
async fn intents_are_told_by_the_endpoint_as_well_and_without_it_by_the_words() {
    let shop = Shop::start().await;
    let model = ScriptedModel::start(|seen| vectors(seen, 4)).await;
    let gateway = Gateway::start(&(config(&shop, &model) + INTENTS)).await;
    let intent = async |words: &str| {
        let answer: Value = gateway.call("ask", &json!({"request": words}), &[]).await.json().await;
        let result = &answer["result"];
        let shown = &result["structuredContent"]["wishes"][0]["intent"];
        let done = &result["_meta"]["trunkline.dev/ask"]["wishes"][0]["intent"];
        shown.as_str().or(done.as_str()).map(str::to_owned)
    };
    eventually("what only the endpoint understands", async || {
        (intent(STRANGE).await.as_deref() == Some("money-back")).then_some(())
    })
    .await;
    model.answers(|_| plainly(500, "no"));
    assert_eq!(intent(STRANGE).await, None);
    let told = gateway.call("ask", &json!({"request": "cancel order ord-1004"}), &[]).await.text().await;
    assert!(told.contains("Understood without the encoder: ") && told.contains("ord-1004"), "{told}");
    assert_eq!(intent("walk me through our shelves").await.as_deref(), Some("shelves"));
}
