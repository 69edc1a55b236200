//! Intents of the configuration, commands and what was said before, in `ask` on the real binary.

use serde_json::{Value, json};

use super::support::client::{Legacy, Modern, accept, text};
use super::support::eventually;
use super::support::process::Gateway;
use super::support::shop::Shop;

const FLOW: &str = "\
document: { dsl: '1.0.3', namespace: shop, name: look-around, version: '1.0.0', title: All goods }
do:
  - items: { call: shop-stock__listItems }
";

const INTENTS: &str = r#"
intents:
  changed-mind:
    about: Takes an order back
    examples: ["I changed my mind about ord-1001", "I do not want ord-1002 any more", "she no longer needs ord-1003"]
    tool: shop-orders__cancelOrder
    command: /drop
  small-parcel:
    about: Sends a small parcel to the shop's own address
    examples: ["post the usual small box", "another little box to the shop please"]
    tool: shop-shipping__createShipment
    args: { body: { address: { country: DE } } }
  goods:
    examples: ["walk me through the shelves", "what have we got on the shelves"]
    tool: shop-stock__listItems
    command: /goods
"#;

async fn ask(gateway: &Gateway, request: &str) -> Value {
    let reply = gateway.call("ask", &json!({ "request": request }), &[]).await;
    let answer: Value = reply.json().await;
    answer["result"].clone()
}

#[tokio::test]
async fn an_intent_is_told_with_its_confidence_and_why() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&(shop.config("") + INTENTS)).await;
    let shown = ask(&gateway, "I have changed my mind about ord-1004").await;
    let wish = &shown["structuredContent"]["wishes"][0];
    assert_eq!(wish["intent"], "changed-mind", "{shown}");
    assert_eq!(wish["tool"], "shop-orders__cancelOrder");
    assert!(wish["confidence"].as_f64().unwrap() > 0.5, "{wish}");
    assert!(wish["why"].as_str().unwrap().contains("I changed my mind"), "{wish}");
    assert_eq!(shown["structuredContent"]["calls"][0]["arguments"]["order_id"], "ord-1004");

    // What only reads is done, and says what was understood.
    let done = ask(&gateway, "walk me through our shelves").await;
    assert_eq!(done["_meta"]["trunkline.dev/ask"]["wishes"][0]["intent"], "goods", "{done}");
    let done = ask(&gateway, "show me the order ord-1001").await;
    assert_eq!(done["_meta"]["trunkline.dev/ask"]["wishes"][0]["tool"], "shop-orders__getOrder", "{done}");

    // A command goes to its intent, whatever its words are like.
    let shown = ask(&gateway, "/drop ord-1003").await;
    assert_eq!(shown["structuredContent"]["wishes"][0]["why"], "the command /drop", "{shown}");
    assert_eq!(shown["structuredContent"]["calls"][0]["arguments"]["order_id"], "ord-1003");
    let unknown = ask(&gateway, "/sing a song").await;
    let told = unknown["content"][0]["text"].as_str().unwrap();
    assert!(told.contains("There is no command /sing. There are /drop, /goods."), "{told}");

    // Fixed arguments are there, and what is missing is asked for.
    let shown = ask(&gateway, "post the usual small box").await;
    assert_eq!(
        shown["structuredContent"]["calls"][0]["arguments"]["body"]["address"]["country"], "DE",
        "{shown}"
    );
    assert_eq!(shown["structuredContent"]["asks"], true);

    // Two wishes, in the order in which they are to be done.
    let shown = ask(&gateway, "before she no longer needs ord-1003, refund payment pay-7001").await;
    let wishes = shown["structuredContent"]["wishes"].as_array().unwrap();
    let intents: Vec<&str> = wishes.iter().map(|wish| wish["intent"].as_str().unwrap_or("?")).collect();
    assert_eq!(intents, ["shop-payments__refundPayment", "changed-mind"], "{shown}");

    let none = ask(&gateway, "who won the world cup").await;
    assert_eq!(none["structuredContent"]["wishes"][0]["intent"], Value::Null);
}

#[tokio::test]
async fn a_new_example_counts_when_the_configuration_has_it() {
    let shop = Shop::start().await;
    let config = shop.config("") + INTENTS;
    let gateway = Gateway::start(&config).await;
    let before = ask(&gateway, "bin the thing called ord-1002 forthwith").await;
    assert_ne!(before["structuredContent"]["wishes"][0]["intent"], "changed-mind", "{before}");
    let more = config.replace("[\"I changed", "[\"bin the thing called ord-1001 forthwith\", \"I changed");
    gateway.configure(&more);
    eventually("the new example counts", async || {
        let now = ask(&gateway, "bin the thing called ord-1002 forthwith").await;
        (now["structuredContent"]["wishes"][0]["intent"] == "changed-mind").then_some(())
    })
    .await;
    // An intent that can't be is told of before it is in force.
    let both = config.replace("command: /goods", "flow: look");
    gateway.configure(&both);
    eventually("the fault is told", async || {
        gateway.log().contains("Give exactly one of tool and flow").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_flow_is_meant_by_an_intent_by_its_words_and_as_a_command() {
    let shop = Shop::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("look-around.yaml");
    std::fs::write(&file, FLOW).unwrap();
    let flows = format!("  definitions: [{}]\n", file.display());
    let intents = INTENTS.replace("    tool: shop-stock__listItems\n", "    flow: look-around\n");
    let gateway = Gateway::start(&(shop.config(&flows) + &intents)).await;
    let shown = ask(&gateway, "walk me through the shelves").await;
    let wish = &shown["structuredContent"]["wishes"][0];
    assert_eq!((&wish["intent"], &wish["tool"]), (&json!("goods"), &json!("look-around")), "{shown}");
    let shown = ask(&gateway, "/look-around").await.to_string();
    assert!(shown.contains("the command /look-around"), "{shown}");
}

const KEYS: &str = r#"
auth:
  api_keys:
    - { id: ann, key: "ann-0123456789abcdef" }
    - { id: bob, key: "bob-0123456789abcdef" }
"#;

async fn asked(client: &Modern, request: &str) -> Value {
    client.call("ask", json!({ "request": request })).await
}

#[tokio::test]
async fn that_order_is_the_one_that_was_shown_and_nobody_elses() {
    let shop = Shop::start().await;
    let mut gateway = Gateway::start(&(shop.config("") + KEYS)).await;
    let (ann, bob) = ("ann-0123456789abcdef", "bob-0123456789abcdef");
    gateway.key = ann;
    let of = |gateway: &Gateway, key: &str| Modern::new(gateway.address).with_key(key).without_questions();
    let shown = asked(&of(&gateway, ann), "show order ord-1002").await;
    assert!(text(&shown).contains("ord-1002"), "{shown}");
    let that = asked(&of(&gateway, ann), "cancel that order").await;
    let call = &that["result"]["structuredContent"]["calls"][0];
    assert_eq!(
        (&call["name"], &call["arguments"]["order_id"]),
        (&json!("shop-orders__cancelOrder"), &json!("ord-1002")),
        "{that}"
    );
    let ship = asked(&of(&gateway, ann), "create a shipment of that order to Berlin").await;
    let call = &ship["result"]["structuredContent"]["calls"][0];
    assert_eq!(call["arguments"]["body"]["order_id"], "ord-1002", "{ship}");
    assert!(call["arguments"].to_string().contains("Berlin"), "{ship}");

    let other = asked(&of(&gateway, bob), "cancel that order").await;
    assert_eq!(other["result"]["structuredContent"]["asks"], true, "{other}");
    assert!(!other.to_string().contains("ord-1002"), "{other}");
    // Another session of the same principal has a conversation of its own.
    let session = Legacy::connect_as(gateway.address, Some(ann), json!({})).await;
    let other = session.call("ask", json!({ "request": "cancel that order" })).await;
    assert!(!other.to_string().contains("ord-1002"), "{other}");

    // It is in the record, and outlives the process.
    eventually("what was said is in the record", async || {
        let events = gateway.events("dev.trunkline.service_call.changed").await;
        let said = events.iter().filter(|event| event["subject"] == "conversations");
        said.map(Value::to_string)
            .any(|event| event.contains("called") && event.contains("ord-1002"))
            .then_some(())
    })
    .await;
    gateway.kill().await;
    gateway.start_again().await;
    let again = asked(&of(&gateway, ann), "cancel that order").await;
    let call = &again["result"]["structuredContent"]["calls"][0];
    assert_eq!(call["arguments"]["order_id"], "ord-1002", "{again}");
    let other = asked(&of(&gateway, bob), "cancel that order").await;
    assert!(!other.to_string().contains("ord-1002"), "{other}");

    // One of a list, what is preferred, and that all be forgotten.
    let listed = asked(&of(&gateway, ann), "list all orders").await;
    let second = serde_json::from_str::<Value>(text(&listed)).ok().and_then(|list| {
        list["orders"].as_array().or(list["items"].as_array()).map(|all| all[1]["id"].clone())
    });
    let picked = asked(&of(&gateway, ann), "cancel the second one").await;
    let call = &picked["result"]["structuredContent"]["calls"][0];
    assert_eq!(Some(&call["arguments"]["order_id"]), second.as_ref(), "{picked} {listed}");
    assert!(text(&asked(&of(&gateway, ann), "remember that my currency is EUR").await).contains("Noted"));
    asked(&of(&gateway, ann), "forget everything").await;
    let after = asked(&of(&gateway, ann), "cancel that order").await;
    assert!(!after.to_string().contains("ord-1002"), "{after}");
}

#[tokio::test]
async fn what_is_missing_is_asked_for_in_one_form_and_so_is_the_choice() {
    let shop = Shop::start().await;
    let intents = INTENTS.replace("  goods:", "  alpha:\n    examples: [\"my box is gone for good\"]\n    tool: shop-shipping__trackShipment\n  beta:\n    examples: [\"my box is gone for good\"]\n    tool: shop-shipping__cancelShipment\n  goods:");
    let gateway = Gateway::start(&(shop.config("") + &intents)).await;
    let request = json!({ "arguments": { "request": "post the usual small box" } });

    // A client that answers while its request waits.
    let client = Legacy::connect(gateway.address).await;
    let mut stream = client.begin("ask", request.clone()).await;
    let asked = stream.message().await;
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    let schema = &asked["params"]["requestedSchema"];
    let fields: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let wanted = |name: &str| fields.iter().any(|field| field.as_str() == name);
    assert!(wanted("body.order_id") && wanted("body.address.city"), "{asked}");
    assert!(!wanted("body.address.country"), "what is settled is not asked for: {asked}");
    let content = json!({
        "body.order_id": "ord-1001", "body.address.name": "Ada", "body.address.street": "Weg 1",
        "body.address.postal_code": "10115", "body.address.city": "Berlin",
    });
    client.answer(&asked, accept(content)).await;
    let answer = stream.message().await;
    let call = &answer["result"]["structuredContent"]["calls"][0];
    let body = &call["arguments"]["body"];
    assert_eq!(
        (&body["order_id"], &body["address"]["country"]),
        (&json!("ord-1001"), &json!("DE")),
        "{answer}"
    );
    assert_eq!(answer["result"]["structuredContent"]["asks"], false);

    // One that sends its request again with the answers, and is asked what it means first.
    let client = Modern::new(gateway.address);
    let first = client.call("ask", json!({ "request": "my box is gone for good" })).await;
    let (key, asked) = first["result"]["inputRequests"]
        .as_object()
        .and_then(|all| all.iter().next())
        .unwrap_or_else(|| panic!("{first}"));
    let choices = &asked["params"]["requestedSchema"]["properties"]["meant"]["enum"];
    assert!(choices.to_string().contains("alpha") && choices.to_string().contains("beta"), "{asked}");
    let second = client
        .go_on("ask", &first["result"]["requestState"], json!({ key: accept(json!({ "meant": "alpha" })) }))
        .await;
    let (key, asked) = second["result"]["inputRequests"]
        .as_object()
        .and_then(|all| all.iter().next())
        .unwrap_or_else(|| panic!("{second}"));
    assert!(asked["params"]["requestedSchema"]["properties"]["shipment_id"].is_object(), "{asked}");
    let answer = json!({ key: accept(json!({ "shipment_id": "shp-301" })) });
    let last = client.go_on("ask", &second["result"]["requestState"], answer).await;
    let wish = &last["result"]["_meta"]["trunkline.dev/ask"]["wishes"][0];
    assert_eq!(
        (&wish["tool"], &wish["why"]),
        (&json!("shop-shipping__trackShipment"), &json!("chosen by the caller")),
        "{last}"
    );

    // Who declines is told in the answer, and nothing is done; who can't be asked, too.
    let client = Legacy::connect(gateway.address).await;
    let mut stream = client.begin("ask", request).await;
    let asked = stream.message().await;
    client.answer(&asked, json!({ "action": "decline" })).await;
    let answer = stream.message().await;
    assert!(text(&answer).contains("Nothing was done."), "{answer}");
    let answer = Modern::new(gateway.address)
        .without_questions()
        .call("ask", json!({ "request": "post the usual small box" }))
        .await;
    assert_eq!(answer["result"]["structuredContent"]["asks"], true, "{answer}");
}
