//! Limits on what callers use, loops, priorities, and what callers are told of all that, on the real binary.

use serde_json::{Value, json};

use super::support::client::{Legacy, Modern, failure};
use super::support::eventually;
use super::support::http::Reply;
use super::support::process::Gateway;
use super::support::upstream::{Answer, Upstream};

const YEAR: u64 = 31_536_000;

const KEYS: &str =
    "auth: { api_keys: [{ id: ada, key: the-key-of-ada-01 }, { id: bob, key: the-key-of-bob-01 }] }\n";

fn of_size(bytes: usize) -> Answer {
    (200, Vec::new(), json!({"text": "x".repeat(bytes)}).to_string())
}

/// The gateway in front of an upstream. `more` is more of the configuration.
async fn gateway(upstream: &Upstream, folder: &tempfile::TempDir, more: &str) -> Gateway {
    let service = upstream.service("up", folder.path(), "");
    let mut gateway = Gateway::begin(&format!("{more}services:\n{service}")).await;
    gateway.key = "the-key-of-ada-01";
    gateway.ready().await;
    gateway
}

/// A parameter of a member of a structured field: `r` of `"name";r=5;t=7`.
fn parameter(field: &str, policy: &str, name: &str) -> Option<u64> {
    let member = field.split(", ").find(|member| member.starts_with(&format!("{policy:?};")))?;
    member.split(';').find_map(|part| part.strip_prefix(&format!("{name}=")))?.parse().ok()
}

fn told(reply: &Reply, policy: &str) -> (u64, u64, u64) {
    let (policies, left) = (reply.header("ratelimit-policy").unwrap(), reply.header("ratelimit").unwrap());
    let of = |field, name| parameter(field, policy, name).unwrap_or_else(|| panic!("{policies} / {left}"));
    (of(policies, "q"), of(left, "r"), of(left, "t"))
}

/// Waits until so many calls run and wait at the upstream.
async fn load(gateway: &Gateway, running: u64, waiting: u64) {
    eventually("the calls run and wait", async || {
        let services = gateway.get("/v1/services").await.json().await;
        let load = &services["services"][0]["load"];
        (load["running"] == running && load["waiting"] == waiting).then_some(())
    })
    .await;
}

#[tokio::test]
async fn callers_say_how_much_a_call_matters_by_a_header_and_by_meta() {
    let (upstream, folder) = (Upstream::start(|_| of_size(10)).await, tempfile::tempdir().unwrap());
    let guard = "resilience: { bulkhead: { concurrent: 1, queued: 1 }, adaptive: { enabled: false } }\n";
    let more = format!("loops: {{ calls: 0 }}\npriorities: {{ may_raise: [ada] }}\n{KEYS}{guard}");
    let gateway = std::sync::Arc::new(gateway(&upstream, &folder, &more).await);
    upstream.let_through(0);
    let by_header = |class: &'static str| {
        let gateway = gateway.clone();
        tokio::spawn(async move {
            let reply = gateway.call("up__read", &json!({}), &[("trunkline-priority", class)]).await;
            (reply.status, reply.json().await)
        })
    };
    let by_meta = |class: &'static str| {
        let client = Modern::new(gateway.address).with_key("the-key-of-ada-01");
        let params = json!({"name": "up__read", "arguments": {}, "_meta": {"dev.trunkline/priority": class}});
        tokio::spawn(async move { client.request("tools/call", params).await })
    };
    let first = by_header("normal");
    load(&gateway, 1, 0).await;
    let low = by_header("low");
    load(&gateway, 1, 1).await;
    // What matters less than what waits is refused; what matters more takes its place.
    assert_eq!(failure(&by_meta("background").await.unwrap())["code"], "TL8002");
    let high = by_meta("high");
    let (status, told) = low.await.unwrap();
    assert_eq!((status, &told["code"]), (503, &json!("TL8031")), "{told}");
    let critical = by_header("critical");
    assert_eq!(failure(&high.await.unwrap())["code"], "TL8031");
    upstream.let_through(1_000);
    assert_eq!((first.await.unwrap().0, critical.await.unwrap().0), (200, 200));
    // Who may not raise a call's priority is no more than it was.
    let bob = Modern::new(gateway.address).with_key("the-key-of-bob-01");
    upstream.let_through(0);
    let first = by_header("normal");
    load(&gateway, 1, 0).await;
    let waits = by_header("normal");
    load(&gateway, 1, 1).await;
    let params =
        json!({"name": "up__read", "arguments": {}, "_meta": {"dev.trunkline/priority": "critical"}});
    assert!(!failure(&bob.request("tools/call", params).await).is_null());
    upstream.let_through(1_000);
    assert_eq!((first.await.unwrap().0, waits.await.unwrap().0), (200, 200));
}

#[tokio::test]
async fn both_doors_say_what_is_left_and_when_to_come_back() {
    let (upstream, folder) = (Upstream::start(|_| of_size(10)).await, tempfile::tempdir().unwrap());
    let limits = "limits: [{ name: hourly, each: [principal], calls: 3, every_ms: 3600000 }]\n";
    let gateway = gateway(&upstream, &folder, &format!("{KEYS}{limits}")).await;
    let reply = gateway.call("up__read", &json!({}), &[]).await;
    let (quota, left, reset) = told(&reply, "hourly");
    assert_eq!((quota, left, reset), (3, 2, 1_200));
    assert_eq!(parameter(reply.header("ratelimit-policy").unwrap(), "hourly", "w"), Some(3_600));

    let modern = Modern::new(gateway.address).with_key("the-key-of-ada-01");
    let call = json!({"name": "up__read", "arguments": {}});
    assert_eq!(told(&modern.send("tools/call", call.clone()).await, "hourly").1, 1);
    let legacy = Legacy::connect_as(gateway.address, Some("the-key-of-ada-01"), json!({})).await;
    assert_eq!(told(&legacy.send("tools/call", call.clone()).await, "hourly").1, 0);

    for reply in [
        gateway.call("up__read", &json!({}), &[]).await,
        modern.send("tools/call", call.clone()).await,
        legacy.send("tools/call", call.clone()).await,
    ] {
        let (_, left, reset) = told(&reply, "hourly");
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert_eq!((left, reset), (0, wait));
        assert!((1..=1_200).contains(&wait), "{wait}");
        let said: Value = reply.json().await;
        assert!(said.to_string().contains("TL1027"), "{said}");
    }
    let refused = modern.call("up__read", json!({})).await;
    let words = refused["result"]["content"][0]["text"].as_str().unwrap();
    assert!(words.contains("3 calls") && words.contains("Retry after"), "{words}");
    assert_eq!(failure(&refused)["data"]["violated-policies"], json!(["hourly"]));
    let bob = Modern::new(gateway.address).with_key("the-key-of-bob-01");
    assert!(failure(&bob.call("up__read", json!({})).await).is_null());
    assert_eq!(upstream.asked(), 4);
}

#[tokio::test]
async fn what_a_result_cost_is_debited_and_the_next_call_waits_for_it() {
    let (upstream, folder) = (Upstream::start(|_| of_size(40_000)).await, tempfile::tempdir().unwrap());
    let limits = "\
prices: [{ tool: read, call: 0.5 }]
limits:
  - { name: context, each: [principal], tokens: 10000, every_ms: 3600000 }
  - { name: spent, money: 1, every_ms: 86400000 }
";
    let gateway = gateway(&upstream, &folder, &format!("{KEYS}{limits}")).await;
    let reply = gateway.call("up__read", &json!({}), &[]).await;
    assert_eq!(reply.status, 200);
    assert_eq!(parameter(reply.header("ratelimit").unwrap(), "spent", "r"), Some(500_000));
    let refused = gateway.call("up__read", &json!({}), &[]).await;
    assert_eq!(refused.status, 429);
    // The answer stands twice in the result, as text and for programs: about 20,000 tokens of 10,000.
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3_500..=3_700).contains(&wait), "{wait}");
    let refused = refused.json().await;
    assert!(refused["detail"].as_str().unwrap().contains("estimated"), "{refused}");
    // Too long for any time of waiting.
    let long = json!({"b": "y".repeat(50_000)});
    let never = gateway.call("up__read", &long, &[]).await;
    assert_eq!((never.status, never.header("retry-after")), (429, None));
    let never = never.json().await;
    assert_eq!((&never["code"], &never["retryable"]), (&json!("TL8032"), &json!(false)));
    let bob = [("x-api-key", "the-key-of-bob-01")];
    let body = super::support::http::post(gateway.address, "/v1/tools/up__read:call", &bob, "{}").await;
    assert_eq!(body.status, 200);
    // Money is everyone's together, and is used up.
    let body = super::support::http::post(gateway.address, "/v1/tools/up__other:call", &bob, "{}").await;
    assert_eq!(body.status, 429, "20,000 tokens were too many for bob, too");
}

#[tokio::test]
async fn a_loop_of_identical_calls_is_stopped_with_words_that_help() {
    let (upstream, folder) = (Upstream::start(|_| of_size(10)).await, tempfile::tempdir().unwrap());
    let gateway = gateway(&upstream, &folder, &format!("{KEYS}loops: {{ calls: 5 }}\n")).await;
    let client = Legacy::connect_as(gateway.address, Some("the-key-of-ada-01"), json!({})).await;
    let read = async |arguments: &str| {
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        client.call("up__read", arguments).await
    };
    for _ in 0..4 {
        assert!(failure(&read(r#"{"a": 1}"#).await).is_null());
    }
    // Something else between: counting starts anew.
    assert!(failure(&read(r#"{"a": 2}"#).await).is_null());
    for arguments in [r#"{"a":1,"b":"x"}"#, r#"{"b":"x","a":1}"#].iter().cycle().take(5) {
        assert!(failure(&read(arguments).await).is_null());
    }
    let asked = upstream.asked();
    let stopped = read(r#"{"a":1,"b":"x"}"#).await;
    assert_eq!(failure(&stopped)["code"], "TL8030");
    let words = stopped["result"]["content"][0]["text"].as_str().unwrap();
    assert!(words.contains("5 times on end") && words.contains("Do not repeat it"), "{words}");
    assert_eq!(upstream.asked(), asked, "it was not made");
    assert!(failure(&read(r#"{"a": 3}"#).await).is_null());
    let other = Legacy::connect_as(gateway.address, Some("the-key-of-ada-01"), json!({})).await;
    let arguments = json!({"a": 1, "b": "x"});
    assert!(failure(&other.call("up__read", arguments).await).is_null(), "another conversation");
    // What changes is no loop.
    let times = std::sync::atomic::AtomicU64::new(0);
    upstream.answers(move |_| {
        let times = times.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        (200, Vec::new(), json!({"progress": times}).to_string())
    });
    for _ in 0..20 {
        assert!(failure(&read(r#"{"a": 9}"#).await).is_null());
    }
}

#[tokio::test]
async fn nobody_is_sent_away_for_a_year() {
    let year = move |_: &_| (429, vec![("retry-after", YEAR.to_string())], "{}".to_owned());
    let (upstream, folder) = (Upstream::start(year).await, tempfile::tempdir().unwrap());
    let gateway = gateway(&upstream, &folder, KEYS).await;
    for _ in 0..8 {
        // So that the gateway does not wait itself to try again.
        let soon = [("trunkline-timeout-ms", "5000")];
        let reply = gateway.call("up__read", &json!({}), &soon).await;
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3_600).contains(&wait), "{wait}");
    }
}
