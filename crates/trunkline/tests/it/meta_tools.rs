//! The tools that agents find and call the others with, on the real binary in front of the shop and of servers with many tools.

use serde_json::{Value, json};

use super::support::client::{Legacy, Modern};
use super::support::eventually;
use super::support::process::Gateway;
use super::support::shop::Shop;

fn text(response: &Value) -> String {
    response["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{response}")).to_owned()
}

const SEARCH: &str = "doors: { listing: { show: search } }\n";

#[tokio::test]
async fn a_tool_is_found_read_about_and_called_by_clients_of_both_eras() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&format!("{}{SEARCH}", shop.config(""))).await;
    let modern = Modern::new(gateway.address);
    assert_eq!(modern.tools().await, ["run_plan", "search_tools", "describe_tool", "call_tool", "ask"]);

    let found = text(&modern.call("search_tools", json!({"query": "which item is that"})).await);
    assert!(found.contains("shop-stock__getItem(sku: string") && found.contains("[read-only]"), "{found}");
    let told = text(&modern.call("describe_tool", json!({"name": "shop-stock__getItem"})).await);
    assert!(told.contains("\"sku\"") && told.contains("Arguments: {"), "{told}");
    let overview = text(&modern.call("describe_tool", json!({})).await);
    assert!(overview.contains("shop-stock: ") && overview.contains("flows: "), "{overview}");

    let carried = json!({"name": "shop-stock__getItem", "arguments": {"sku": "cosy-wool"}});
    let direct = modern.call("shop-stock__getItem", json!({"sku": "cosy-wool"})).await;
    let through = modern.call("call_tool", carried.clone()).await;
    assert_eq!(through["result"]["content"], direct["result"]["content"]);
    let legacy = Legacy::connect(gateway.address).await;
    let by_legacy = legacy.call("call_tool", carried.clone()).await;
    assert_eq!(text(&by_legacy), text(&through));
    let reply = gateway.call("call_tool", &carried, &[]).await;
    assert_eq!(reply.status, 200);
    let as_text = json!({"name": "shop-stock__getItem", "arguments": "{\"sku\": \"cosy-wool\"}"});
    assert_eq!(text(&modern.call("call_tool", as_text).await), text(&through));

    // The record names the tool that was meant.
    eventually("the call is in the record", async || {
        let audit: Value = gateway.get("/v1/audit").await.json().await;
        audit.to_string().contains("shop-stock/getItem").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_call_tool_carries_is_held_to_the_rules_of_the_tool_that_is_meant() {
    let shop = Shop::start().await;
    let deny = "policy: { rules: [{ effect: deny, service: shop-payments, tool: \"*\" }] }\n";
    let gateway = Gateway::start(&format!("{}{SEARCH}{deny}", shop.config(""))).await;
    let client = Modern::new(gateway.address);
    let call = async |arguments: Value| client.call("call_tool", arguments).await.to_string();
    let denied = call(json!({"name": "shop-payments__refundPayment", "arguments": {}})).await;
    assert!(denied.contains("Not allowed"), "{denied}");
    let unfit = call(json!({"name": "shop-stock__getItem", "arguments": {}})).await;
    assert!(unfit.contains("TL1006") && unfit.contains("sku"), "{unfit}");
    let unknown = call(json!({"name": "shop-stock__getItm", "arguments": {}})).await;
    assert!(unknown.contains("shop-stock__getItem"), "{unknown}");
    for bad in [
        json!({}),
        json!({"name": "call_tool", "arguments": {}}),
        json!({"name": "shop-stock__getItem", "arguments": [1]}),
        json!({"name": "shop-stock__getItem", "arguments": "{"}),
        json!({"name": "shop-stock__getItem", "argument": {}}),
    ] {
        let refused = call(bad.clone()).await;
        assert!(refused.contains("call_tool takes"), "{bad}: {refused}");
    }
    let found = text(&client.call("search_tools", json!({"query": "refund a payment"})).await);
    assert!(!found.contains("refundPayment"), "{found}");
    // Who may not use it gets nowhere by it.
    let deny = "policy: { rules: [{ effect: deny, service: catalog, tool: call_tool }] }\n";
    let gateway = Gateway::start(&format!("{}{SEARCH}{deny}", shop.config(""))).await;
    let client = Modern::new(gateway.address);
    let carried = json!({"name": "shop-stock__getItem", "arguments": {"sku": "cosy-wool"}});
    let refused = client.call("call_tool", carried).await.to_string();
    assert!(refused.contains("Not allowed"), "{refused}");
}

#[tokio::test]
async fn few_tools_are_listed_whole_and_many_by_search_as_the_client_wants() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&shop.config("")).await;
    let client = Modern::new(gateway.address);
    let tools = client.tools().await;
    assert!(tools.contains(&"shop-stock__getItem".to_owned()), "{tools:?}");
    assert!(!tools.contains(&"search_tools".to_owned()), "a short list needs no search: {tools:?}");
    let short = "doors: { listing: { most_tokens: 500, clients: { test: all } } }\n";
    gateway.configure(&format!("{}{short}", shop.config("")));
    // The client says its name, `test`, for which all are listed.
    assert!(client.tools().await.contains(&"shop-stock__getItem".to_owned()));
    let short = "doors: { listing: { most_tokens: 500 } }\n";
    gateway.configure(&format!("{}{short}", shop.config("")));
    eventually("the list is short", async || (client.tools().await.len() == 5).then_some(())).await;
    // What is not listed can be called all the same.
    let called = client.call("shop-stock__getItem", json!({"sku": "cosy-wool"})).await;
    assert!(called["result"]["content"].is_array(), "{called}");
}

#[tokio::test]
async fn a_search_learns_from_what_is_called_after_it_and_remembers_it() {
    let shop = Shop::start().await;
    let mut gateway = Gateway::start(&format!("{}{SEARCH}", shop.config(""))).await;
    let words = "do the quarterly thing";
    let first = async |gateway: &Gateway| {
        let client = Legacy::connect(gateway.address).await;
        let found = text(&client.call("search_tools", json!({"query": words, "limit": 25})).await);
        found.lines().next().unwrap_or_default().to_owned()
    };
    assert!(!first(&gateway).await.starts_with("shop-stock__getItem("));
    let client = Legacy::connect(gateway.address).await;
    client.call("search_tools", json!({"query": words})).await;
    let all = json!({"query": "how many items of a kind are in stock", "limit": 25});
    client.call("search_tools", all).await;
    client.call("call_tool", json!({"name": "shop-stock__getItem", "arguments": {"sku": "cosy-wool"}})).await;
    assert!(first(&gateway).await.starts_with("shop-stock__getItem("));
    gateway.terminate().await;
    gateway.start_again().await;
    gateway.ready().await;
    assert!(first(&gateway).await.starts_with("shop-stock__getItem("));
}

/// A service of commands: one writes a long list, one a long text.
const LONG: &str = r#"
services:
  long:
    process:
      tools:
        list:
          description: Lists many orders.
          effects: { read_only: true }
          format: json
          argv: [sh, -c, 'printf "["; i=0; while [ $i -lt 3000 ]; do [ $i -gt 0 ] && printf ,; printf "{\"id\":%d,\"name\":\"order %d\",\"state\":\"open\"}" $i $i; i=$((i+1)); done; printf "]"']
        text:
          description: Writes a long text.
          effects: { read_only: true }
          argv: [sh, -c, 'i=0; while [ $i -lt 5000 ]; do echo "line $i"; i=$((i+1)); done']
doors: { answers: { most_tokens: 1000 } }
"#;

/// The handle that an answer names.
fn handle(text: &str) -> String {
    let start = text.find("\"handle\": \"").unwrap_or_else(|| panic!("{text}")) + 11;
    text[start..].split('"').next().unwrap().to_owned()
}

fn all_text(response: &Value) -> String {
    let blocks = response["result"]["content"].as_array().unwrap_or_else(|| panic!("{response}"));
    blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn an_answer_fits_its_caller_and_nothing_of_it_is_lost() {
    let gateway = Gateway::start(LONG).await;
    let client = Modern::new(gateway.address);
    let short = all_text(&client.call("long__list", json!({})).await);
    assert!(short.len() < 4_400 && short.contains("\"columns\":[\"id\",\"name\",\"state\"]"), "{short}");
    assert!(short.contains("of 3000 items"), "{short}");

    // What is selected of it is exact, at once or later by its handle.
    let select = "map(select(.id > 2996)) | map(.name)";
    let carried = json!({"name": "long__list", "arguments": {}, "select": select});
    let now = all_text(&client.call("call_tool", carried).await);
    let later = json!({"handle": handle(&short), "select": select});
    let later = all_text(&client.call("read_result", later).await);
    for text in [&now, &later] {
        assert!(text.starts_with(r#"["order 2997","order 2998","order 2999"]"#), "{text}");
    }
    // All of it, piece by piece.
    let (mut whole, mut offset) = (String::new(), 0);
    loop {
        let part = json!({"handle": handle(&short), "offset": offset, "max_tokens": 9_000});
        let part = client.call("read_result", part).await;
        let blocks = part["result"]["content"].as_array().unwrap_or_else(|| panic!("{part}")).clone();
        whole.push_str(blocks[0]["text"].as_str().unwrap());
        let next = blocks[1]["text"].as_str().unwrap();
        let Some(rest) = next.strip_prefix("next offset ") else { break };
        offset = rest.split(' ').next().unwrap().parse().unwrap();
    }
    let whole: Value = serde_json::from_str(&whole).unwrap();
    let list: Value = serde_json::from_str(whole["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 3_000);

    // Text has its beginning and its end; a wrong selection loses nothing.
    let text = all_text(&client.call("long__text", json!({})).await);
    assert!(text.len() < 4_400 && text.contains("line 0\n") && text.contains("line 4999"), "{text}");
    let wrong = json!({"name": "long__list", "arguments": {}, "select": ".[0].id.x"});
    let wrong = all_text(&client.call("call_tool", wrong).await);
    assert!(wrong.contains("The selection gave nothing") && wrong.contains("read_result"), "{wrong}");
    let unknown = client.call("read_result", json!({"handle": "r-0000000000000000"})).await;
    assert!(unknown.to_string().contains("nothing is kept"), "{unknown}");
    // Programs have the whole, and what they select.
    let reply: Value = gateway.call("long__list", &json!({}), &[]).await.json().await;
    assert!(reply.to_string().contains("order 1500"));
    let reply = gateway.call("long__list", &json!({}), &[("trunkline-select", ".[7].name")]).await;
    let reply: Value = reply.json().await;
    assert_eq!(reply["result"]["content"][0]["text"], "order 7", "{reply}");
}

#[tokio::test]
async fn what_a_tool_can_do_is_inferred_where_nobody_has_said_it() {
    let tools = "list_things: { argv: [echo] }, make_tea: { argv: [echo], capabilities: [kitchen.tea] }";
    let gateway =
        Gateway::start(&format!("services:\n  p: {{ process: {{ tools: {{ {tools} }} }} }}\n")).await;
    let client = Modern::new(gateway.address);
    let told = async |tool: &str| client.call("describe_tool", json!({ "name": tool })).await;
    let inferred = told("p__list_things").await;
    assert!(text(&inferred).contains("Capabilities: thing.list (inferred from its name)"), "{inferred}");
    let stated = told("p__make_tea").await;
    assert!(text(&stated).contains("Capabilities: kitchen.tea\n"), "{stated}");
}
