//! What can be done here and by which of several services, on the real binary: capabilities that were said and such that are
//! guessed.

use std::process::Command;

use serde_json::{Value, json};

use super::instances::Stub;
use super::support::client::{Legacy, Modern};
use super::support::process::{Gateway, TRUNKLINE, as_child};
use super::support::shop::Shop;
use super::support::{eventually, http};

/// Two services of items: of one it is said what it can do, of the other only the names tell.
const ITEMS: &str = r#"
services:
  depot:
    capabilities: [item.get]
    process:
      tools:
        lookup: { description: Looks one up., effects: { read_only: true }, argv: [echo, depot] }
  stock:
    process:
      tools:
        getItem: { description: One of them., effects: { read_only: true }, argv: [echo, stock] }
        addItem: { description: Puts one there., argv: [echo, added] }
"#;

async fn discover(gateway: &Gateway, query: Value) -> Vec<(String, Value)> {
    let found = http::post(gateway.address, "/v1/discover", &[], query.to_string()).await.json().await;
    let tools = found["tools"].as_array().unwrap_or_else(|| panic!("{found}"));
    tools.iter().map(|tool| (tool["tool"].as_str().unwrap().to_owned(), tool["inferred"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_let_guess_is_found_marked_as_that_and_left_out_where_it_is_not_wanted() {
    let gateway = Gateway::start(ITEMS).await;
    let found = discover(&gateway, json!({"capability": "item.get"})).await;
    assert_eq!(
        found,
        [("depot__lookup".to_owned(), json!(false)), ("stock__getItem".to_owned(), json!(true))]
    );
    let found = discover(&gateway, json!({"capability": "item", "configured": true})).await;
    assert_eq!(found, [("depot__lookup".to_owned(), json!(false))]);
    let run = |more: &[&str]| {
        let server = format!("http://{}", gateway.address);
        let mut command = Command::new(TRUNKLINE);
        command.args(["tools", "--server", &server, "--capability", "item"]).args(more);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let all = run(&[]);
    assert!(
        all.contains("stock__addItem") && all.contains("item.create") && all.contains("inferred"),
        "{all}"
    );
    let said = run(&["--configured"]);
    assert!(said.contains("depot__lookup") && !said.contains("stock__"), "{said}");
    // `create` is in no name and no description: it is what `add` is taken for.
    let found = gateway.get("/v1/search?q=create").await.json().await;
    assert_eq!(found["tools"][0]["name"], "stock__addItem", "{found}");
}

/// Three services that tell of the same things, and a tool that changes one.
const SHOPS: &str = r#"
services:
  north:
    process:
      tools:
        prices:
          description: What things cost.
          effects: { read_only: true }
          format: json
          argv: [echo, '{"items": [{"sku": "wool", "price": 5, "left": 3}, {"sku": "felt", "price": 2}], "currency": "EUR"}']
  south:
    process:
      tools:
        prices:
          description: What things cost.
          effects: { read_only: true }
          format: json
          argv: [echo, '[{"sku": "wool", "price": 6, "left": 3}]']
        sell: { description: Sells one., argv: [echo, sold] }
  west:
    process:
      tools:
        prices: { description: What things cost., effects: { read_only: true }, argv: [sh, -c, 'echo no luck >&2; exit 3'] }
"#;

#[tokio::test]
async fn one_question_to_several_services_has_one_answer_with_sources_conflicts_and_failures() {
    let gateway = Gateway::start(SHOPS).await;
    let client = Modern::new(gateway.address);
    let names = json!(["south__prices", "north__prices", "west__prices", "nowhere__prices"]);
    let answer = client.call("call_tool", json!({"names": names, "arguments": {}})).await;
    let told = &answer["result"]["structuredContent"];
    assert_eq!(told["answered"], json!(["north__prices", "south__prices"]), "{answer}");
    assert_eq!((&told["key"], &told["disagree"]), (&json!("sku"), &json!(1)), "{answer}");
    let (felt, wool) = (&told["records"][0], &told["records"][1]);
    assert_eq!((&felt["values"]["price"], &felt["sources"]), (&json!(2), &json!(["north__prices"])));
    assert_eq!(wool["values"], json!({"sku": "wool", "left": 3}));
    assert_eq!(
        wool["conflicts"]["price"],
        json!([{"value": 5, "sources": ["north__prices"]}, {"value": 6, "sources": ["south__prices"]}])
    );
    assert_eq!(told["beside"]["north__prices"]["currency"], "EUR");
    let failed = told["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 2, "{answer}");
    assert_eq!(
        (&failed[0]["tool"], &failed[0]["code"]),
        (&json!("nowhere__prices"), &json!("TL1003")),
        "{answer}"
    );
    assert!(failed[1]["why"].as_str().unwrap().contains("no luck"), "{answer}");
    // The whole of each answer is there.
    let whole = told["whole"].as_str().unwrap();
    let handle = whole.split('"').find(|part| part.starts_with("r-")).unwrap();
    let read = json!({"handle": handle, "select": ".south__prices.content[0].text"});
    let read = client.call("read_result", read).await;
    assert!(read["result"]["content"][0]["text"].as_str().unwrap().contains("\"wool\""), "{read}");
    // Nobody else can read it, a tool that changes something is not called, and the same is answered by HTTP.
    let refused =
        client.call("call_tool", json!({"names": ["north__prices", "south__sell"]})).await.to_string();
    assert!(refused.contains("south__sell may change something"), "{refused}");
    let one = client.call("call_tool", json!({"names": ["north__prices"]})).await.to_string();
    assert!(one.contains("2 to 8"), "{one}");
    let both = client.call("call_tool", json!({"name": "north__prices", "names": names})).await.to_string();
    assert!(both.contains("call_tool takes"), "{both}");
    let by_http = gateway.call("call_tool", &json!({"names": names, "key": "price"}), &[]).await.json().await;
    assert_eq!(by_http["result"]["structuredContent"]["records"].as_array().unwrap().len(), 3, "{by_http}");
    // Each call is in the record by itself.
    let audit = gateway.get("/v1/audit?limit=50").await.text().await;
    assert!(audit.contains("north/prices") && audit.contains("west/prices"), "{audit}");
}

#[tokio::test]
async fn what_was_shown_is_done_or_forgotten_by_who_it_was_shown_to_and_once() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&shop.config("")).await;
    let status = async |order: &str| shop.get("orders", &format!("/orders/{order}")).await["status"].clone();
    let (ann, bob) = (Legacy::connect(gateway.address).await, Legacy::connect(gateway.address).await);
    let ask = async |client: &Legacy, request: &str| {
        client.call("ask", json!({"request": request})).await["result"].to_string()
    };
    let shown = ask(&ann, "cancel order ord-1004").await;
    assert!(shown.contains("Nothing was done yet") && shown.contains("do it"), "{shown}");
    // Not to another conversation, nor to a call that has none.
    for none in
        [ask(&bob, "do it").await, gateway.call("ask", &json!({"request": "do it"}), &[]).await.text().await]
    {
        assert!(none.contains("Nothing was shown"), "{none}");
    }
    assert_ne!(status("ord-1004").await, "cancelled");
    let done = ask(&ann, "Yes, do it!").await;
    assert_eq!(status("ord-1004").await, "cancelled", "{done}");
    assert!(ask(&ann, "do it").await.contains("Nothing was shown"), "it is done once");
    // What was refused, or followed by something else, is not done.
    ask(&ann, "cancel order ord-1005").await;
    assert!(ask(&ann, "no").await.contains("forgotten"));
    assert!(ask(&ann, "do it").await.contains("Nothing was shown"));
    ask(&ann, "cancel order ord-1005").await;
    ask(&ann, "list all orders").await;
    assert!(ask(&ann, "do it").await.contains("Nothing was shown"));
    assert_ne!(status("ord-1005").await, "cancelled");
    // By HTTP a conversation is named.
    let headers = [("trunkline-conversation", "c-1")];
    gateway.call("ask", &json!({"request": "cancel order ord-1005"}), &headers).await;
    gateway.call("ask", &json!({"request": "go ahead"}), &headers).await;
    assert_eq!(status("ord-1005").await, "cancelled");
}

#[tokio::test]
async fn prompts_and_resources_are_found_beside_tools_by_who_may_get_them() {
    let services = format!("services:\n{}", as_child("notes", &[]));
    let gateway = Gateway::start(&services).await;
    let client = Modern::new(gateway.address);
    let find = async |query: &str| {
        let found = client.call("search_tools", json!({"query": query})).await;
        found["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{found}")).to_owned()
    };
    let prompt = find("a prompt with two arguments").await;
    assert!(prompt.contains("prompt notes__test_prompt_with_arguments [prompts/get]"), "{prompt}");
    let resource = find("a text that never changes").await;
    assert!(resource.contains("resource test://static-text [resources/read]"), "{resource}");
    let template = find("the data for an id").await;
    assert!(template.contains("template test://template/{id}/data [resources/read]"), "{template}");
    // Tools stand first, and what is near to nothing is not told of.
    assert!(!prompt.starts_with("prompt "), "{prompt}");
    let none = find("refund the payment of yesterday").await;
    assert!(!none.contains("[prompts/get]") && !none.contains("[resources/read]"), "{none}");
    let by_http = gateway.get("/v1/search?q=a+text+that+never+changes").await.json().await;
    let item = &by_http["items"][0];
    assert_eq!(
        (&item["kind"], &item["name"]),
        (&json!("resource"), &json!("test://static-text")),
        "{by_http}"
    );
    // What one may not get is not there.
    let deny = "policy: { rules: [{ effect: deny, service: notes, tool: \"*static*\" }] }\n";
    gateway.configure(&format!("{services}{deny}"));
    eventually("it is not told of", async || {
        (!find("a text that never changes").await.contains("test://static-text")).then_some(())
    })
    .await;
    assert!(find("a prompt with two arguments").await.contains("[prompts/get]"));
    // What goes is no longer found.
    gateway.configure("services: { other: { process: { tools: { hello: { description: Says hello., argv: [echo] } } } } }\n");
    eventually("they are gone", async || {
        (!find("a prompt with two arguments").await.contains("[prompts/get]")).then_some(())
    })
    .await;
}

/// Two services that tell the same.
const SHIPS: &str = "openapi: 3.1.0
info: {title: ships, version: 1.0.0}
paths:
  /name:
    get:
      operationId: getName
      summary: Tells the name of the ship in the harbour.
      responses: {'200': {description: its name, content: {application/json: {schema: {type: object}}}}}
";

#[tokio::test(flavor = "multi_thread")]
async fn of_several_services_the_one_is_asked_that_costs_less_and_is_well_and_the_reason_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("ships.yaml");
    std::fs::write(&document, SHIPS).unwrap();
    let (one, mut two) = (Stub::start("one").await, Stub::start("two").await);
    let service = |name: &str, stub: &Stub| {
        let (document, address) = (document.display(), stub.address);
        format!(
            "  {name}: {{ capabilities: [ship.name], openapi: {{ document: {document}, base_url: \"http://{address}/\" }} }}\n"
        )
    };
    let gateway = Gateway::start(&format!(
        "services:\n{}{}prices: [{{ service: first, call: 0.05 }}, {{ service: second, call: 0.01 }}]\n",
        service("first", &one),
        service("second", &two)
    ))
    .await;
    let ask = async || {
        let request = json!({"request": "what is the name of the ship in the harbour"});
        let answer = gateway.call("ask", &request, &[]).await.json().await;
        let result = &answer["result"];
        let route = &result["_meta"]["trunkline.dev/ask"]["wishes"][0]["route"];
        (result["structuredContent"]["name"].clone(), route.clone(), answer.clone())
    };
    let (name, route, answer) = ask().await;
    assert_eq!(name, "two", "{answer}");
    assert_eq!(
        route,
        json!({"capability": "ship.name", "others": [{"tool": "first__getName", "why_not": "costs 0.05 a call and not 0.01"}]})
    );
    // Where that one fails, it is left alone until it is back.
    two.kill().await;
    for _ in 0..6 {
        assert_ne!(gateway.call("second__getName", &json!({}), &[]).await.status, 200);
    }
    let (name, route, answer) = ask().await;
    assert_eq!(name, "one", "{answer}");
    assert_eq!(route["others"][0]["tool"], "second__getName", "{answer}");
    let why = route["others"][0]["why_not"].as_str().unwrap();
    assert!(why.contains("is left alone") || why.contains("not there"), "{why}");
}
