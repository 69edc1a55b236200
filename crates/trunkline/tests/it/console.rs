//! The console on the real binary: its pages, what hostile names can't do to them, and undoing by the button.

use serde_json::{Value, json};

use super::support::eventually;
use super::support::http::{self, Reply};
use super::support::process::Gateway;
use super::support::shop::Shop;

/// An article of the shop.
const SKU: &str = "cosy-wool";

const PAGES: [&str; 11] = [
    "/",
    "/console/map",
    "/console/services",
    "/console/calls",
    "/console/traces",
    "/console/flows",
    "/console/tools",
    "/console/events",
    "/console/limits",
    "/console/config",
    "/console/connect",
];

async fn page(gateway: &Gateway, path: &str) -> String {
    let reply = gateway.get(path).await;
    assert_eq!(reply.status, 200, "{path}");
    let policy = reply.header("content-security-policy").unwrap_or_else(|| panic!("{path}"));
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    reply.text().await
}

async fn send(gateway: &Gateway, path: &str, origin: Option<&str>, form: &str) -> Reply {
    let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
    headers.extend(origin.map(|origin| ("origin", origin)));
    http::send(gateway.address, "POST", path, &headers, form.to_owned()).await
}

/// What stands between two pieces of a page.
fn between<'a>(page: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = page.split_once(before).unwrap_or_else(|| panic!("{before}: {page}"));
    rest.split_once(after).unwrap().0
}

#[tokio::test]
async fn every_page_is_there_and_says_what_is_so() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&shop.config("")).await;
    let called = gateway.call("shop-orders__getOrder", &json!({"order_id": "none"}), &[]).await;
    drop(called.json().await);
    for path in PAGES {
        let page = page(&gateway, path).await;
        assert!(page.contains(&format!("href=\"{path}\" aria-current=\"page\"")), "{path}: {page}");
        for part in ["<main id=\"main\"", "<nav aria-label=", "<h1>", "lang=\"en\""] {
            assert!(page.contains(part), "{path}: {part}");
        }
        // Nothing inline, and nothing from elsewhere.
        assert!(
            !page.contains("style=\"") && !page.contains("<style") && !page.contains("src=\"http"),
            "{path}"
        );
        assert_eq!(page.matches("<script").count(), 1, "{path}");
    }
    let services: Value = gateway.get("/v1/services").await.json().await;
    let count = services["services"].as_array().unwrap().len();
    assert!(page(&gateway, "/").await.contains(&format!("<dd>{count} of {count}</dd>")));
    let calls = page(&gateway, "/console/calls?principal=&target=shop-orders%2FgetOrder").await;
    assert!(calls.contains("shop-orders/getOrder"), "{calls}");
    let none = page(&gateway, "/console/calls?principal=nobody").await;
    assert!(none.contains("There is nothing to show"), "{none}");
    let tools = page(&gateway, "/console/tools?q=give+the+customer+the+money+back").await;
    assert!(tools.contains("shop-payments__refundPayment"), "{tools}");
    let tool = page(&gateway, "/console/tools/shop-payments__refundPayment").await;
    assert!(tool.contains("payment_id"), "{tool}");
    for (path, kind) in [("style.css", "text/css"), ("script.js", "text/javascript")] {
        let reply = gateway.get(&format!("/console/{path}")).await;
        assert!(reply.header("content-type").unwrap().starts_with(kind));
    }
    for path in ["/console/tools/none", "/console/flows/00000000-0000-7000-8000-000000000000"] {
        let reply = gateway.get(path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.header("content-security-policy").is_some() && reply.text().await.contains("<h1>"));
    }
}

#[tokio::test]
async fn what_is_hostile_is_shown_and_nothing_more() {
    let hostile = "</td></script><script>alert(1)</script><img src=x onerror='alert(2)'>\" onload=\"alert(3)";
    let tool = json!({
        "description": hostile, "argv": ["sh", "-c", "echo \"$0\" >&2; exit 3", "{word}"],
        "input": {"type": "object", "title": hostile, "properties": {"word": {"type": "string"}}},
        "effects": {"read_only": false, "idempotent": false, "destructive": true, "open_world": false},
    });
    let config = format!(
        "doors: {{ record: {{ arguments: true, results: true }} }}\nservices:\n  bad:\n    process: {{ tools: {{ say: {tool} }} }}\n"
    );
    let gateway = Gateway::start(&config).await;
    drop(gateway.call("bad__say", &json!({"word": hostile}), &[]).await.json().await);
    let plan = json!({"plan": {"steps": [{"id": "a", "tool": "bad__say", "args": {"word": hostile}, "undo": false}]}});
    let started = http::post(gateway.address, "/v1/instances", &[], plan.to_string()).await;
    drop(started.json().await);
    let instances: Value = gateway.get("/v1/instances").await.json().await;
    let instance = format!("/console/flows/{}", instances["instances"][0]["id"].as_str().unwrap());
    let query = "%3C%2Ftd%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%20onload%3D%22alert(3)";
    let asked = ["calls?target=", "events?target=", "flows?flow=", "tools?q="]
        .map(|page| format!("/console/{page}{query}"));
    let more = [instance, "/console/tools/bad__say".to_owned()].into_iter().chain(asked);
    let mut shown = 0;
    for path in PAGES.map(str::to_owned).into_iter().chain(more) {
        let page = page(&gateway, &path).await;
        assert_eq!(page.matches("<script").count(), 1, "{path}: {page}");
        assert!(!page.contains("<img") && !page.contains("\" onload="), "{path}: {page}");
        shown += usize::from(page.contains("&lt;script&gt;alert(1)"));
    }
    // The tool in two pages, the events, the instance, and four filters.
    assert!(shown >= 7, "{shown} pages have shown it");
}

#[tokio::test]
async fn the_button_undoes_and_no_one_else_presses_it() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&shop.config("")).await;
    let before = shop.reserved(SKU).await;
    let plan = json!({"plan": {"steps": [
        {"id": "r", "tool": "shop-stock__reserveStock", "args": {"body": {"order_id": "o-1", "lines": [{"sku": SKU, "quantity": 2}]}}},
    ]}});
    let started = http::post(gateway.address, "/v1/instances", &[], plan.to_string()).await.json().await;
    let id =
        started["result"]["structuredContent"]["instance"].as_str().unwrap_or_else(|| panic!("{started}"));
    assert_eq!(shop.reserved(SKU).await, before + 2);
    let path = format!("/console/flows/{id}");
    assert!(page(&gateway, &path).await.contains(&format!("href=\"{path}/undo\"")));
    let (undo, cancel) = (format!("{path}/undo"), format!("{path}/cancel"));
    let (form, other) = (page(&gateway, &undo).await, page(&gateway, &cancel).await);
    let token = between(&form, "name=\"token\" value=\"", "\"").to_owned();
    let other = between(&other, "name=\"token\" value=\"", "\"").to_owned();
    let own = format!("http://{}", gateway.address);
    let good = format!("token={token}&reason=not+wanted");
    for (origin, form) in [
        (Some(&*own), "reason=x".to_owned()),
        (Some(&*own), format!("token={token}x")),
        (Some(&*own), format!("token={other}")),
        (Some("http://evil.example"), good.clone()),
        (Some("http://127.0.0.1:1"), good.clone()),
        (None, good.clone()),
    ] {
        let refused = send(&gateway, &undo, origin, &form).await;
        assert_eq!(refused.status, 403, "{origin:?} {form}");
    }
    assert_eq!(shop.reserved(SKU).await, before + 2);
    let done = send(&gateway, &undo, Some(&own), &good).await;
    assert_eq!((done.status, done.header("location")), (303, Some(&*path)));
    eventually("it is undone", async || {
        page(&gateway, &path).await.contains("<span class=\"state\">undone</span>").then_some(())
    })
    .await;
    assert_eq!(shop.reserved(SKU).await, before);
    let calls = page(&gateway, "/console/calls?action=flow.undo").await;
    assert!(calls.contains(">not wanted</td>"), "{calls}");
}

#[tokio::test]
async fn a_failing_service_is_named_with_its_cause() {
    let config = "services:\n  gone: { mcp: { url: \"http://127.0.0.1:9/mcp\" } }\n";
    let gateway = Gateway::begin(config).await;
    for path in ["/", "/console/services"] {
        eventually("the cause is shown", async || {
            let page = page(&gateway, path).await;
            (page.contains("gone") && page.contains("<span class=\"state bad\">down</span>")).then_some(())
        })
        .await;
    }
}
