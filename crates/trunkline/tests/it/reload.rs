//! A configuration that changes while the gateway runs.

use serde_json::{Value, json};

use crate::support::client::{Legacy, Modern, text};
use crate::support::eventually;
use crate::support::http::Events;
use crate::support::process::{Gateway, as_child};

async fn told(stream: &mut Events, method: &str) -> Value {
    loop {
        let message = stream.message().await;
        if message["method"] == method {
            return message;
        }
    }
}

#[tokio::test]
async fn a_changed_configuration_is_put_in_force() {
    let one = as_child("one", &[]);
    let gateway = Gateway::start(&format!("services:\n{one}")).await;
    let client = Modern::new(gateway.address);
    let old = Legacy::connect(gateway.address).await;
    let mut legacy = old.listen(None).await;
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    let mut modern = client.send("subscriptions/listen", wanted).await.events();
    assert_eq!(modern.message().await["method"], "notifications/subscriptions/acknowledged");
    let params = json!({ "arguments": { "ms": 6_000 }, "_meta": { "progressToken": "p" } });
    let mut running = old.begin("one__slow", params).await;
    running.message().await;

    // A service comes.
    gateway.configure(&format!("services:\n{one}{}", as_child("two", &[])));
    told(&mut legacy, "notifications/tools/list_changed").await;
    let notice = told(&mut modern, "notifications/tools/list_changed").await;
    assert_eq!(notice["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "m1");
    eventually("the new service's tools are there", async || {
        client.tools().await.iter().any(|name| name == "two__greet").then_some(())
    })
    .await;
    let pid = client.call("one__counter", json!({})).await["result"]["structuredContent"]["pid"].clone();

    // A broken file changes nothing, and is reported.
    gateway.configure("services:\n  one: { mcp: { comand: [x] } }\n");
    eventually("the fault is reported", async || {
        let log = gateway.log();
        (log.contains("TL6003") && log.contains("old one stays in force")).then_some(())
    })
    .await;
    assert!(client.tools().await.contains(&"two__greet".to_owned()));

    // Other names, and the other service goes. The first one's process stays.
    gateway.configure(&format!("services:\n{}", one.replace("{ mcp", "{ names: plain, mcp")));
    told(&mut legacy, "notifications/tools/list_changed").await;
    eventually("the tools have their own names", async || {
        let tools = client.tools().await;
        (tools.contains(&"greet".to_owned()) && !tools.iter().any(|name| name.contains("__"))).then_some(())
    })
    .await;
    let response = client.call("counter", json!({})).await;
    assert_eq!(response["result"]["structuredContent"]["pid"], pid);

    let response = loop {
        let message = running.message().await;
        if message.get("id").is_some() {
            break message;
        }
    };
    assert!(text(&response).starts_with("Slept"), "{response}");
}

#[tokio::test]
async fn rules_change_while_the_gateway_runs() {
    let services = format!("services:\n{}", as_child("f", &[]));
    let gateway = Gateway::start(&services).await;
    let client = Modern::new(gateway.address);
    assert_eq!(text(&client.call("f__test_simple_text", json!({})).await).len(), 43);
    let rules = "policy: { rules: [{ effect: deny, tool: \"test_*\" }] }\n";
    gateway.configure(&format!("{rules}{services}"));
    eventually("the tools are gone from the list", async || {
        (!client.tools().await.iter().any(|name| name.contains("test_"))).then_some(())
    })
    .await;
    assert_eq!(gateway.call("f__test_simple_text", &json!({}), &[]).await.status, 403);
}
