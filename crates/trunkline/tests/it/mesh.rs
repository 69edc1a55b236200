//! Identities of a service mesh, on the real binary: believed from a pinned proxy, and nothing from anyone else.

use serde_json::json;

use super::support::process::Gateway;
use super::support::{eventually, http};

const SERVICES: &str = "services: { mine: { process: { tools: { hello: { description: Says hello., argv: [echo, hello], effects: { read_only: true } } } } } }\n\
     policy: { default: deny, rules: [{ effect: allow, principal: \"mesh:web.*\" }] }\n";

async fn call(gateway: &Gateway, headers: &[(&str, &str)]) -> (u16, String) {
    let reply = http::post(gateway.address, "/v1/tools/mine__hello:call", headers, "{}").await;
    (reply.status, reply.text().await)
}

#[tokio::test]
async fn a_pinned_proxy_says_who_calls() {
    let mesh = "auth: { mesh: { proxies: [127.0.0.1], header: l5d-client-id } }\n";
    let gateway = Gateway::start(&format!("{SERVICES}{mesh}")).await;
    let web = ("l5d-client-id", "web.shop.serviceaccount.identity.linkerd.cluster.local");
    let (status, text) = call(&gateway, &[web]).await;
    assert_eq!(status, 200, "{text}");
    let (status, text) = call(&gateway, &[("l5d-client-id", "db.shop")]).await;
    assert!(status == 403 && text.contains("mesh:db.shop"), "{text}");
    // It sees only what is its own, as the holder of a key does.
    let own = eventually("its own refusal is in the record", async || {
        let db = [("l5d-client-id", "db.shop")];
        let page = http::send(gateway.address, "GET", "/v1/events?from=1&limit=1000", &db, "").await;
        Some(page.text().await).filter(|page| page.contains("mesh:db.shop"))
    })
    .await;
    assert!(!own.contains("mesh:web."), "{own}");
    let traces = http::send(gateway.address, "GET", "/v1/traces", &[("l5d-client-id", "db.shop")], "").await;
    let (status, text) = (traces.status, traces.text().await);
    assert!(status == 200 && !text.contains("mesh:web."), "{status}: {text}");
    // Without an identity, with several, or with another mesh's header nobody is anybody: not this machine's own either.
    let xfcc = ("x-forwarded-client-cert", "URI=web.shop");
    for hostile in [&[][..], &[web, web], &[xfcc], &[("l5d-client-id", "web.a b")], &[("l5d-client-id", "")]]
    {
        let (status, text) = call(&gateway, hostile).await;
        assert!(status == 401 && text.contains("TL8042"), "{hostile:?}: {text}");
    }
    let (status, text) = call(&gateway, &[web, ("x-api-key", "guess")]).await;
    assert_eq!(status, 401, "{text}");
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let accept = ("accept", "application/json, text/event-stream");
    assert_eq!(http::post(gateway.address, "/mcp", &[accept], initialize).await.status, 401);
}

#[tokio::test]
async fn from_anyone_else_the_header_is_nothing() {
    let mesh = "auth: { mesh: { proxies: [10.1.2.3], header: x-forwarded-client-cert } }\n";
    let gateway = Gateway::start(&format!("{SERVICES}{mesh}")).await;
    for header in [("x-forwarded-client-cert", "URI=web.shop"), ("l5d-client-id", "web.shop")] {
        let (status, text) = call(&gateway, &[header]).await;
        assert!(status == 403 && text.contains("local") && !text.contains("mesh:"), "{text}");
    }
}
