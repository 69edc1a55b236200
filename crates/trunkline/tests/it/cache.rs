//! Answers that are kept, on the real binary: for whom, for how long, and what makes them out of date.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::support::client::{Legacy, Modern, failure};
use super::support::eventually;
use super::support::http::Reply;
use super::support::mcp::{Came, Says, Scripted};
use super::support::process::{Gateway, fixture};
use super::support::upstream::Upstream;

const ADA: &str = "the-key-of-ada-01";
const BOB: &str = "the-key-of-bob-01";
const KEYS: &str =
    "auth: { api_keys: [{ id: ada, key: the-key-of-ada-01 }, { id: bob, key: the-key-of-bob-01 }] }\n";

/// An upstream that numbers its answers, with these headers.
async fn numbered(headers: &'static [(&'static str, &'static str)]) -> Upstream {
    let number = AtomicU64::new(0);
    Upstream::start(move |_| {
        let number = number.fetch_add(1, Ordering::SeqCst) + 1;
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        (200, headers, json!({"number": number}).to_string())
    })
    .await
}

struct Stage {
    upstream: Upstream,
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// The gateway in front of the upstream, with this YAML as its section `cache`.
    async fn new(upstream: Upstream, cache: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = upstream.service("up", folder.path(), &format!("    cache: {cache}\n"));
        let mut gateway = Gateway::begin(&format!("{KEYS}services:\n{service}")).await;
        gateway.key = ADA;
        gateway.ready().await;
        Self { upstream, gateway, _folder: folder }
    }

    async fn as_of(&self, key: &str, tool: &str, arguments: &str) -> Reply {
        let path = format!("/v1/tools/up__{tool}:call");
        super::support::http::post(self.gateway.address, &path, &[("x-api-key", key)], arguments.to_owned())
            .await
    }

    /// The number of the answer.
    async fn number(&self, key: &str, tool: &str, arguments: &str) -> u64 {
        let reply = self.as_of(key, tool, arguments).await;
        assert_eq!(reply.status, 200);
        number(&reply.json().await["result"])
    }

    /// What the record says of the last so many calls.
    async fn recorded(&self, count: usize) -> Vec<String> {
        eventually("the calls are in the record", async || {
            let events = self.gateway.events("dev.trunkline.tool_execution.completed.v1").await;
            let state =
                |event: &Value| event["data"]["context"]["cache"].as_str().unwrap_or("asked").to_owned();
            (events.len() == count).then(|| events.iter().map(state).collect())
        })
        .await
    }
}

fn number(result: &Value) -> u64 {
    result["structuredContent"]["number"].as_u64().unwrap_or_else(|| panic!("{result}"))
}

#[tokio::test]
async fn an_answer_is_given_again_and_says_so_and_never_to_another_principal() {
    let stage = Stage::new(numbered(&[]).await, "{ ttl_ms: 3600000 }").await;
    let first = stage.as_of(ADA, "read", r#"{"a": 1, "b": "x"}"#).await;
    assert!(first.header("age").is_none() && first.header("cache-status").is_none());
    assert_eq!(number(&first.json().await["result"]), 1);
    for arguments in [r#"{"a": 1, "b": "x"}"#, r#"{"b":"\u0078","a":1.0}"#, r#"{"b":"\u0078","a":1.0}"#] {
        let again = stage.as_of(ADA, "read", arguments).await;
        assert_eq!(again.header("age"), Some("0"));
        assert!(again.header("cache-status").unwrap().starts_with("trunkline; hit; ttl=35"));
        let again = again.json().await;
        assert_eq!(number(&again["result"]), 1);
        let mark = &again["result"]["_meta"]["dev.trunkline/cache"];
        assert_eq!(mark["state"], "hit");
        assert!(mark["ageMs"].is_u64());
    }
    assert_eq!(stage.number(ADA, "read", r#"{"a": 2}"#).await, 2);

    // Another principal, by every door.
    assert_eq!(stage.number(BOB, "read", r#"{"a": 1, "b": "x"}"#).await, 3);
    let arguments = || json!({"a": 2});
    let call = || json!({"name": "up__read", "arguments": {"a": 1, "b": "x"}});
    let (ada, bob) =
        (Modern::new(stage.gateway.address).with_key(ADA), Modern::new(stage.gateway.address).with_key(BOB));
    let reply = ada.send("tools/call", call()).await;
    assert_eq!(reply.header("age"), Some("0"));
    let hit = reply.response().await;
    assert_eq!((number(&hit["result"]), &hit["result"]["resultType"]), (1, &json!("complete")));
    assert_eq!(number(&bob.call("up__read", arguments()).await["result"]), 4);
    assert_eq!(number(&ada.call("up__read", arguments()).await["result"]), 2);
    let ada = Legacy::connect_as(stage.gateway.address, Some(ADA), json!({})).await;
    let bob = Legacy::connect_as(stage.gateway.address, Some(BOB), json!({})).await;
    assert_eq!(number(&ada.call("up__read", json!({"a": 2})).await["result"]), 2);
    assert_eq!(number(&bob.call("up__read", json!({"a": 2})).await["result"]), 4);
    assert_eq!(stage.upstream.asked(), 4);
    // Arguments that do not fit are refused, whatever is kept.
    assert_eq!(stage.as_of(ADA, "read", r#"{"a": "1"}"#).await.status, 422);
    // The record shows her own calls to ada.
    let recorded = stage.recorded(8).await;
    assert_eq!(recorded.iter().filter(|state| *state == "hit").count(), 6, "{recorded:?}");
}

#[tokio::test]
async fn what_the_service_says_is_public_is_everybodys_and_what_it_forbids_is_not_kept() {
    let stage = Stage::new(numbered(&[("cache-control", "public, max-age=60")]).await, "{}").await;
    assert_eq!(stage.number(ADA, "read", "{}").await, 1);
    assert_eq!(stage.number(BOB, "read", "{}").await, 1);
    let private = Stage::new(
        numbered(&[("cache-control", "public, max-age=60")]).await,
        "{ scope: private, rules: [{ tool: other, never: true }] }",
    )
    .await;
    assert_eq!(private.number(ADA, "read", "{}").await, 1);
    assert_eq!(private.number(BOB, "read", "{}").await, 2);
    assert_eq!(private.number(ADA, "read", "{}").await, 1);
    assert_eq!(private.number(ADA, "other", "{}").await, 3);
    assert_eq!(private.number(ADA, "other", "{}").await, 4);
    let never = Stage::new(numbered(&[("cache-control", "no-store")]).await, "{ ttl_ms: 60000 }").await;
    assert_eq!(never.number(ADA, "read", "{}").await, 1);
    assert_eq!(never.number(ADA, "read", "{}").await, 2);
}

#[tokio::test]
async fn a_write_makes_out_of_date_what_it_touches() {
    let cache = "{ ttl_ms: 3600000, scope: public, writes: [{ tool: write, touches: [read] }] }";
    let stage = Stage::new(numbered(&[]).await, cache).await;
    assert_eq!(stage.number(ADA, "read", "{}").await, 1);
    assert_eq!(stage.number(ADA, "other", "{}").await, 2);
    assert_eq!(stage.number(BOB, "write", "{}").await, 3);
    assert_eq!(stage.number(ADA, "other", "{}").await, 2);
    assert_eq!(stage.number(ADA, "read", "{}").await, 4);
    assert_eq!(stage.number(ADA, "read", "{}").await, 4);
    // Without a rule, everything of its service.
    let stage = Stage::new(numbered(&[]).await, "{ ttl_ms: 3600000 }").await;
    assert_eq!(stage.number(ADA, "other", "{}").await, 1);
    assert_eq!(stage.number(BOB, "write", "{}").await, 2);
    assert_eq!(stage.number(ADA, "other", "{}").await, 3);
}

#[tokio::test]
async fn a_service_that_knows_its_answer_again_does_not_send_it_again() {
    let sent = Arc::new(AtomicU64::new(0));
    let seen = sent.clone();
    let upstream = Upstream::start(move |request| {
        let headers = vec![("etag", "\"v1\"".to_owned()), ("cache-control", "max-age=0".to_owned())];
        match request.headers().get("if-none-match") {
            Some(etag) if etag == "\"v1\"" => (304, headers, String::new()),
            _ => {
                let number = seen.fetch_add(1, Ordering::SeqCst) + 1;
                (200, headers, json!({"number": number}).to_string())
            }
        }
    })
    .await;
    let stage = Stage::new(upstream, "{}").await;
    assert_eq!(stage.number(ADA, "read", "{}").await, 1);
    let again = stage.as_of(ADA, "read", "{}").await;
    assert!(again.header("cache-status").unwrap().contains("fwd-status=304"));
    assert_eq!(number(&again.json().await["result"]), 1);
    assert_eq!((stage.upstream.asked(), sent.load(Ordering::SeqCst)), (2, 1));
    assert_eq!(stage.recorded(2).await, ["asked", "revalidated"]);
}

#[tokio::test]
async fn equal_calls_at_the_same_time_are_one() {
    let stage = Stage::new(numbered(&[]).await, "{ ttl_ms: 3600000 }").await;
    stage.upstream.let_through(0);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let address = stage.gateway.address;
            tokio::spawn(async move {
                let key = [("x-api-key", ADA)];
                super::support::http::post(address, "/v1/tools/up__read:call", &key, "{}").await.json().await
            })
        })
        .collect();
    eventually("it is asked", async || (stage.upstream.asked() > 0).then_some(())).await;
    // Another principal does not wait for an answer that it may not have.
    let bob = {
        let address = stage.gateway.address;
        tokio::spawn(async move {
            let key = [("x-api-key", BOB)];
            super::support::http::post(address, "/v1/tools/up__read:call", &key, "{}").await.json().await
        })
    };
    eventually("it is asked again", async || (stage.upstream.asked() == 2).then_some(())).await;
    stage.upstream.let_through(1 << 10);
    let mut numbers = Vec::new();
    for call in calls {
        numbers.push(number(&call.await.unwrap()["result"]));
    }
    let bobs = number(&bob.await.unwrap()["result"]);
    assert!(numbers.iter().all(|number| *number == numbers[0] && *number != bobs), "{numbers:?}, {bobs}");
    assert_eq!(stage.upstream.asked(), 2);
}

#[tokio::test]
async fn what_is_old_is_given_while_a_new_answer_is_fetched_and_where_none_can_be_had() {
    let cache = "{ ttl_ms: 1, stale_while_revalidate_ms: 3600000 }";
    let stage = Stage::new(numbered(&[]).await, cache).await;
    assert_eq!(stage.number(ADA, "read", "{}").await, 1);
    let old = stage.as_of(ADA, "read", "{}").await;
    assert!(old.header("cache-status").unwrap().contains("revalidating"));
    assert_eq!(number(&old.json().await["result"]), 1);
    eventually("the new one is there", async || (stage.number(ADA, "read", "{}").await > 1).then_some(()))
        .await;

    let cache = "{ ttl_ms: 1, stale_if_error_ms: 3600000 }";
    let stage = Stage::new(numbered(&[]).await, cache).await;
    assert_eq!(stage.number(ADA, "read", "{}").await, 1);
    stage.upstream.answers(|_| (503, Vec::new(), "{}".to_owned()));
    let old = stage.as_of(ADA, "read", "{}").await;
    assert_eq!(old.status, 200);
    assert!(old.header("cache-status").unwrap().contains("detail=error"));
    assert_eq!(old.json().await["result"]["_meta"]["dev.trunkline/cache"]["state"], "stale_if_error");
    assert!(stage.as_of(BOB, "read", "{}").await.status >= 500, "it is ada's");
    // What was changed since is not given, error or not.
    stage.as_of(ADA, "write", "{}").await;
    assert!(stage.as_of(ADA, "read", "{}").await.status >= 500);
    let modern = Modern::new(stage.gateway.address).with_key(ADA);
    assert!(!failure(&modern.call("up__read", json!({})).await).is_null());
}

#[tokio::test]
async fn what_an_mcp_server_says_of_how_long_and_for_whom_is_honoured() {
    let server = Scripted::start(|came: &Came<'_>| match came.body["method"].as_str() {
        Some("tools/list") => {
            let tool = |name| json!({"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}});
            let tools = ["public", "private", "unsaid", "at_once"].map(tool);
            Says::Result(json!({ "tools": tools }))
        }
        Some("tools/call") => {
            let mut result = json!({"content": [{"type": "text", "text": "kept"}]});
            match came.body["params"]["name"].as_str() {
                Some("public") => result.as_object_mut().unwrap().extend([
                    ("ttlMs".to_owned(), json!(3_600_000)),
                    ("cacheScope".to_owned(), json!("public")),
                ]),
                Some("private") => result["ttlMs"] = json!(3_600_000),
                Some("at_once") => result["ttlMs"] = json!(0),
                _ => {}
            }
            Says::Result(result)
        }
        _ => Says::Result(json!({})),
    })
    .await;
    let services = server.service("up", "", ", cache: {}");
    let mut gateway = Gateway::begin(&format!("{KEYS}loops: {{ calls: 0 }}\nservices:\n{services}")).await;
    gateway.key = ADA;
    gateway.ready().await;
    for (tool, asked) in [("public", 1), ("private", 2), ("unsaid", 4), ("at_once", 4)] {
        for key in [ADA, ADA, BOB, BOB] {
            let client = Modern::new(gateway.address).with_key(key);
            let answer = client.call(&format!("up__{tool}"), json!({})).await;
            assert_eq!(answer["result"]["content"][0]["text"], "kept", "{answer}");
        }
        assert_eq!(server.called(tool), asked, "{tool}");
    }
}

#[tokio::test]
async fn what_a_server_says_has_changed_is_not_given_again() {
    for revision in [&["--newest-protocol", "2025-11-25"][..], &["--oldest-protocol", "2026-07-28"]] {
        let server = fixture(revision).await;
        let url = format!("http://{}/mcp", server.address);
        let service =
            format!("services: {{ f: {{ mcp: {{ url: \"{url}\" }}, cache: {{ ttl_ms: 3600000 }} }} }}\n");
        let gateway = Gateway::start(&format!("loops: {{ calls: 0 }}\n{service}")).await;
        let client = Legacy::connect(gateway.address).await;
        let uri = "test://watched-resource";
        let read = async || {
            let answer = client.request("resources/read", json!({ "uri": uri })).await;
            assert!(answer["result"]["contents"][0]["text"].is_string(), "{answer}");
            answer["result"]["_meta"]["dev.trunkline/cache"]["state"] == "hit"
        };
        let subscribed = client.request("resources/subscribe", json!({ "uri": uri })).await;
        assert!(subscribed["error"].is_null(), "{subscribed}");
        assert!(!read().await && read().await, "it is kept");
        // Somebody else, past the gateway, changes the resource, and then a list.
        let change = async |tool: &str, arguments: Value| {
            if revision[0] == "--newest-protocol" {
                Legacy::connect(server.address).await.call(tool, arguments).await
            } else {
                Modern::new(server.address).call(tool, arguments).await
            }
        };
        for (tool, arguments) in
            [("touch_resource", json!({ "uri": uri })), ("test_trigger_tool_change", json!({}))]
        {
            eventually(&format!("{tool}: it is asked for anew"), async || {
                let changed = change(tool, arguments.clone()).await;
                assert!(changed["error"].is_null(), "{changed}");
                tokio::task::yield_now().await;
                (!read().await).then_some(())
            })
            .await;
            // What an earlier change told may come after that.
            eventually("it is kept again", async || read().await.then_some(())).await;
        }
    }
}
