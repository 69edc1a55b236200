//! The console's map, traces, limits, configuration and events on the real binary.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::support::eventually;
use super::support::http;
use super::support::process::Gateway;

async fn page(gateway: &Gateway, path: &str) -> String {
    let reply = gateway.get(path).await;
    let (status, page) = (reply.status, reply.text().await);
    assert_eq!(status, 200, "{path}: {page}");
    page
}

const SERVICES: &str = "services:
  good: { process: { tools: { say: { description: Says., argv: [echo, hello], effects: { read_only: true } } } } }
  bad: { process: { tools: { fail: { description: Fails., argv: [/nowhere/program], effects: { read_only: true } } } } }
";

#[tokio::test]
async fn the_map_shows_who_calls_whom_and_what_fails_and_why() {
    let gateway = Gateway::start(SERVICES).await;
    drop(gateway.call("good__say", &json!({}), &[]).await.json().await);
    drop(gateway.call("bad__fail", &json!({}), &[]).await.json().await);
    let map = eventually("both are on the map", async || {
        let map = page(&gateway, "/console/map").await;
        (map.contains("node bad\" href=\"/console/services#bad\"")
            && map.contains("node good\" href=\"/console/services#good\""))
        .then_some(map)
    })
    .await;
    assert!(map.contains("1 of 1 calls failed") && map.contains("service · failing"), "{map}");
    assert!(map.contains("caller · good") && map.contains("<path class=\"edge failed\""), "{map}");
    let overview = page(&gateway, "/").await;
    assert!(overview.contains("1 of 1 calls failed"), "{overview}");
    let calls = page(&gateway, "/console/calls?service=bad&outcome=failed").await;
    assert!(calls.contains("/nowhere/program") && !calls.contains(">good/say<"), "{calls}");
    // Its trace is a click away.
    let trace = calls.split_once("/console/traces/").unwrap().1;
    let trace = trace.split_once('"').unwrap().0;
    let shown = page(&gateway, &format!("/console/traces/{trace}")).await;
    assert!(shown.contains("bad/fail") && shown.contains("class=\"failed\""), "{shown}");
    let odd = gateway.get("/console/map?group=odd").await;
    assert_eq!(odd.status, 400);
}

#[tokio::test]
async fn a_map_of_many_nodes_is_grouped_and_opened_by_its_address() {
    let mut config = "services:\n".to_owned();
    for number in 0..80 {
        let kind = if number % 2 == 0 { "left" } else { "right" };
        writeln!(config, "  {kind}-{number:02}: {{ process: {{ tools: {{ say: {{ description: Says., argv: [echo], effects: {{ read_only: true }} }} }} }} }}").unwrap();
    }
    let gateway = Gateway::start(&config).await;
    let map = page(&gateway, "/console/map").await;
    assert!(map.contains("40 of them") && !map.contains("left-04"), "{map}");
    let at = map.split_once("/console/map?open=group%3Aservices%3Aleft").unwrap().1;
    let at = at.split_once('"').unwrap().0;
    let open = page(&gateway, &format!("/console/map?open=group%3Aservices%3Aleft{at}")).await;
    assert!(open.contains("left-04") && !open.contains("right-05"), "{open}");
    let all = page(&gateway, "/console/map?group=none").await;
    assert!(all.contains("left-04") && all.contains("right-05"), "{all}");
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A trace of a root, ten spans below it, and many below each, one of which failed late.
fn spans(count: u64) -> String {
    let start = u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap() - 60_000_000_000;
    let span = |number: u64| {
        let parent = match number {
            0 => String::new(),
            1..=10 => format!("{:016x}", 1),
            _ => format!("{:016x}", 2 + number % 10),
        };
        let failed = number == count - 1;
        let begin = start + number * 1_000_000;
        json!({
            "traceId": TRACE, "spanId": format!("{:016x}", number + 1), "parentSpanId": parent, "name": format!("span {number}"),
            "kind": 1, "startTimeUnixNano": begin.to_string(),
            "endTimeUnixNano": (if number < 11 { start + count * 1_000_000 } else { begin + 500_000 }).to_string(),
            "status": {"code": if failed { 2 } else { 0 }, "message": if failed { "the one that failed" } else { "" }},
        })
    };
    let spans: Vec<Value> = (0..count).map(span).collect();
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "agent"}}]});
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": spans}]}]})
        .to_string()
}

#[tokio::test]
async fn a_trace_of_many_spans_is_folded_and_each_span_can_be_reached() {
    let gateway = Gateway::start("services: {}\n").await;
    let headers = [("content-type", "application/json")];
    let taken = http::post(gateway.address, "/v1/traces", &headers, spans(2_000)).await;
    assert_eq!(taken.status, 200);
    drop(taken.text().await);
    let at = format!("/console/traces/{TRACE}");
    let shown = eventually("the trace is kept", async || {
        let reply = gateway.get(&at).await;
        match reply.status {
            200 => Some(reply.text().await),
            _ => None,
        }
    })
    .await;
    let rows = |page: &str| page.matches("<svg class=\"bar\"").count();
    assert_eq!(rows(&shown), 300, "what is drawn is bounded");
    // What failed is there, wherever it stands.
    assert!(shown.contains("the one that failed") && shown.contains(">span 0<"), "{shown}");
    assert!(shown.contains("more below</a>"), "{shown}");
    let below = page(&gateway, &format!("{at}?span=0000000000000003")).await;
    assert!(rows(&below) == 200 && !below.contains("more below"), "{}", rows(&below));
    let mut seen = 0;
    let mut next = Some(format!("{at}?from=0"));
    while let Some(path) = next {
        let page = page(&gateway, &path).await;
        seen += rows(&page);
        next = page
            .split_once("\">After</a>")
            .map(|(before, _)| before.rsplit_once("href=\"").unwrap().1.replace("&amp;", "&"));
    }
    assert_eq!(seen, 2_000);
    let traces = page(&gateway, "/console/traces?status=error").await;
    assert!(traces.contains(&at), "{traces}");
    assert_eq!(gateway.get(&format!("{at}?span=00000000000000ff0")).await.status, 400);
    assert_eq!(gateway.get("/console/traces/nothing").await.status, 404);
}

#[tokio::test]
async fn limits_show_what_is_used_and_left_and_whom_they_refused() {
    let limits = "limits: [{ name: few, each: [principal], calls: 2, every_ms: 3600000 }]\n";
    let gateway = Gateway::start(&format!("{limits}{SERVICES}")).await;
    for _ in 0..3 {
        drop(gateway.call("good__say", &json!({}), &[]).await.json().await);
    }
    let all: Value = gateway.get("/v1/limits").await.json().await;
    let limit = &all["limits"][0];
    let used = &limit["used_by"][0];
    assert_eq!(
        (&used["key"], &used["used"], &used["left"]),
        (&json!(["local"]), &json!(2), &json!(0)),
        "{all}"
    );
    assert!((1_700_000..=1_800_000).contains(&used["free_ms"].as_u64().unwrap()), "{all}");
    assert_eq!(
        (&limit["refused"], &limit["last_refused"][0]["target"]),
        (&json!(1), &json!("good/say")),
        "{all}"
    );
    let shown = page(&gateway, "/console/limits").await;
    assert!(
        shown.contains("<h2>few</h2>") && shown.contains("0 calls") && shown.contains("good/say"),
        "{shown}"
    );
}

#[tokio::test]
async fn the_configuration_says_where_it_comes_from_and_hides_secrets() {
    let keys = "auth: { api_keys: [{ id: anna, key: a-key-of-more-than-twenty-characters }] }\n";
    let gateway = Gateway::start(&format!("{keys}{SERVICES}")).await;
    let headers = [("authorization", "Bearer a-key-of-more-than-twenty-characters")];
    let refused = http::send(gateway.address, "GET", "/v1/config", &headers, "").await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json().await["code"], "TL9107");
    let open = Gateway::begin(&format!(
        "{SERVICES}  far: {{ mcp: {{ url: \"http://127.0.0.1:1/mcp\", bearer: so-very-secret }} }}\n"
    ))
    .await;
    let all: Value = open.get("/v1/config").await.json().await;
    let of = |path: &str| {
        let found = all["settings"].as_array().unwrap().iter().find(|setting| setting["path"] == path);
        found.unwrap_or_else(|| panic!("{path}: {all}"))
    };
    assert_eq!(of("services.far.mcp.bearer")["value"], "***");
    assert!(of("services.far.mcp.bearer")["origin"].as_str().unwrap().starts_with("file:"));
    assert_eq!(of("doors.call_timeout_ms")["origin"], "default");
    let shown = page(&open, "/console/config?path=far").await;
    assert!(shown.contains("services.far.mcp.bearer") && shown.contains("***"), "{shown}");
    assert!(!shown.contains("so-very-secret") && !shown.contains("call_timeout_ms"), "{shown}");
}

#[tokio::test]
async fn turning_pages_of_events_keeps_what_is_asked_for() {
    let gateway = Gateway::start(SERVICES).await;
    for _ in 0..5 {
        drop(gateway.call("good__say", &json!({}), &[]).await.json().await);
        drop(gateway.call("bad__fail", &json!({}), &[]).await.json().await);
    }
    let of = "type=dev.trunkline.tool_execution&target=good%2Fsay&limit=2";
    // Calls that only read are recorded a moment after their answers.
    eventually("all are recorded", async || {
        let all: Value = gateway.get(&format!("/v1/events?{of}0&from=1")).await.json().await;
        (all["events"].as_array().unwrap().len() == 5).then_some(())
    })
    .await;
    // The newest of these, wherever they stand.
    let newest: Value = gateway.get(&format!("/v1/events?{of}")).await.json().await;
    assert_eq!(newest["events"].as_array().unwrap().len(), 2, "{newest}");
    let mut path = format!("/console/events?{of}");
    let mut seen = 0;
    loop {
        let shown = page(&gateway, &path).await;
        assert!(!shown.contains("bad/fail"), "{shown}");
        seen += shown.matches("data-head=\"Position\"").count();
        let Some((before, _)) = shown.split_once("\">Older</a>") else { break };
        path = before.rsplit_once("href=\"").unwrap().1.replace("&amp;", "&");
        assert!(path.contains("target=good%2Fsay") && path.contains("limit=2"), "{path}");
    }
    assert_eq!(seen, 5);
    let first = page(&gateway, &format!("/console/events?{of}&from=1")).await;
    let newer = first.split_once("\">Newer</a>").unwrap().0.rsplit_once("href=\"").unwrap().1;
    assert!(newer.contains("target=good%2Fsay"), "{newer}");
}
