//! What can be done here and by which of several services, on the real binary: capabilities that were said and such that are
//! guessed.

use std::process::Command;

use serde_json::{Value, json};

use super::support::http;
use super::support::process::{Gateway, TRUNKLINE};

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
    assert!(all.contains("stock__addItem") && all.contains("item.create") && all.contains("inferred"), "{all}");
    let said = run(&["--configured"]);
    assert!(said.contains("depot__lookup") && !said.contains("stock__"), "{said}");
    // `create` is in no name and no description: it is what `add` is taken for.
    let found = gateway.get("/v1/search?q=create").await.json().await;
    assert_eq!(found["tools"][0]["name"], "stock__addItem", "{found}");
}
