//! What operators see, on the real binary: metrics, traces, the map.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::support::client::{Legacy, Modern};
use super::support::eventually;
use super::support::http;
use super::support::process::{Gateway, as_child};
use super::support::shop::Shop;
use super::support::upstream::Upstream;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// An upstream that fails where it is told to, and the gateway in front of it.
struct Stage {
    /// What came to the upstream as `traceparent`.
    parents: Arc<Mutex<Vec<String>>>,
    upstream: Upstream,
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn new(more: &str) -> Self {
        let parents = Arc::new(Mutex::new(Vec::new()));
        let seen = parents.clone();
        let upstream = Upstream::start(move |request| {
            let parent = request.headers().get("traceparent").map(|value| value.to_str().unwrap().to_owned());
            seen.lock().push(parent.unwrap_or_default());
            let fails = request.uri().query().is_some_and(|query| query.contains("break"));
            (if fails { 503 } else { 200 }, Vec::new(), json!({"ok": true}).to_string())
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let service = upstream.service("up", folder.path(), "");
        let gateway = Gateway::start(&format!("services:\n{service}{more}")).await;
        Self { parents, upstream, gateway, _folder: folder }
    }

    /// The rows of a trace, once there are at least so many.
    async fn rows(&self, trace: &str, least: usize) -> Vec<Value> {
        eventually("the trace is kept", async || {
            let seen = self.gateway.get(&format!("/v1/traces/{trace}")).await;
            if seen.status != 200 {
                return None;
            }
            let rows = seen.json().await["rows"].as_array().unwrap().clone();
            (rows.len() >= least).then_some(rows)
        })
        .await
    }
}

/// The value of a sample whose line begins so.
fn sample(text: &str, start: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(start))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn a_call_is_counted_by_tool_service_and_door_and_names_can_not_break_lines() {
    let stage = Stage::new(&as_child("fix", &[])).await;
    stage.gateway.call("up__read", &json!({"a": 1}), &[]).await.json().await;
    Modern::new(stage.gateway.address).call("fix__add", json!({"a": 1, "b": 2})).await;
    for hostile in ["a\"b\\n", "{}", "x\ny 1"] {
        Modern::new(stage.gateway.address).call(&hostile.replace('\n', "%0A"), json!({})).await;
    }
    assert_eq!(Legacy::connect(stage.gateway.address).await.delete().await.status, 204);
    let text = stage.gateway.get("/metrics").await.text().await;
    assert_eq!(sample(&text, "mcp_server_session_duration_seconds_count "), Some(1.0));
    let calls = "trunkline_calls_total{door=\"http\",service=\"up\",tool=\"read\",outcome=\"done\"}";
    assert_eq!(sample(&text, calls), Some(1.0), "{text}");
    let unknown =
        "trunkline_calls_total{door=\"mcp\",service=\"unknown\",tool=\"unknown\",outcome=\"refused\"}";
    assert_eq!(sample(&text, unknown), Some(3.0), "{text}");
    assert!(sample(&text, "mcp_server_operation_duration_seconds_count{").is_some());
    let client = "mcp_client_operation_duration_seconds_count{mcp_method_name=\"tools/call\"";
    assert_eq!(sample(&text, client), Some(1.0));
    assert_eq!(sample(&text, "trunkline_service_up{service=\"up\"}"), Some(1.0));
    let open = stage.gateway.get_accepting("/metrics", "application/openmetrics-text").await;
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(open.text().await.ends_with("# EOF\n"));
    let kpis = stage.gateway.get("/v1/kpis").await.json().await;
    let kpis = kpis["kpis"].as_array().unwrap();
    let names: Vec<&str> = kpis.iter().map(|kpi| kpi["name"].as_str().unwrap()).collect();
    let expected = [
        "tool_coordination",
        "gateway_response",
        "service_discovery",
        "data_transformation",
        "event_processing",
    ];
    assert_eq!(names, expected);
    assert!(kpis[0]["recent"]["count"].as_u64().unwrap() >= 2, "{kpis:?}");
    assert_eq!(kpis[1]["met"], true, "{kpis:?}");
}

#[tokio::test]
async fn a_trace_goes_from_the_caller_through_the_call_to_the_service() {
    let stage = Stage::new("").await;
    stage.gateway.call("up__read", &json!({"a": 1}), &[("traceparent", PARENT)]).await.json().await;
    let rows = stage.rows(TRACE, 8).await;
    let row = |name: &str| {
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {rows:?}"))
    };
    let call = row("tools/call up/read");
    assert_eq!((&call["parent_id"], &call["kind"]), (&json!("b7ad6b7169203331"), &json!("server")));
    for phase in ["resolve", "authorize", "plan", "limit", "execute", "shape", "record"] {
        assert_eq!(row(phase)["parent_id"], call["span_id"], "{phase}");
    }
    let attempt = row("execute_tool read");
    assert_eq!((&attempt["parent_id"], &attempt["kind"]), (&row("execute")["span_id"], &json!("client")));
    // What went out names the attempt as the parent.
    let sent = stage.parents.lock().last().unwrap().clone();
    assert_eq!(sent, format!("00-{TRACE}-{}-01", attempt["span_id"].as_str().unwrap()));
    // Arguments are in no span unless they are asked for.
    assert!(!serde_json::to_string(&rows).unwrap().contains("gen_ai.tool.call.arguments"));
    let map = stage.gateway.get("/v1/map").await.json().await;
    let edge = |from: &str, to: &str| {
        map["edges"].as_array().unwrap().iter().any(|edge| edge["from"] == from && edge["to"] == to)
    };
    assert!(edge("principal:local", "door:http") && edge("door:http", "service:up"), "{map}");
    let mermaid = stage.gateway.get("/v1/map?format=mermaid").await.text().await;
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains("\"up\""), "{mermaid}");
}

#[tokio::test]
async fn a_failed_call_is_kept_with_its_attempts_and_its_packet_says_why() {
    let stage = Stage::new("telemetry: { traces: { per_second: 0, arguments: true } }\n").await;
    stage.gateway.call("up__read", &json!({"a": 1}), &[]).await.json().await;
    let failed = json!({"b": "Bearer hunter2 break"});
    stage.gateway.call("up__read", &failed, &[("traceparent", PARENT)]).await.json().await;
    let rows = stage.rows(TRACE, 8).await;
    assert!(rows.iter().any(|row| row["status"] == "error"), "{rows:?}");
    let listed = stage.gateway.get("/v1/traces").await.json().await;
    let listed = listed["traces"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "ordinary traces beyond the rate are not kept: {listed:?}");
    assert_eq!((&listed[0]["trace_id"], &listed[0]["status"]), (&json!(TRACE), &json!("error")));
    let packet = stage.gateway.get(&format!("/v1/traces/{TRACE}/packet")).await.text().await;
    for part in ["# Trace", "## Failures", "up/read", "## Services now", "- up: up"] {
        assert!(packet.contains(part), "{part}: {packet}");
    }
    let whole = serde_json::to_string(&rows).unwrap();
    assert!(!whole.contains("hunter2") && !packet.contains("hunter2") && whole.contains("***"), "{whole}");
    let unknown = stage.gateway.get("/v1/traces/00000000000000000000000000000001").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json().await["code"], "TL9101");
}

#[tokio::test]
async fn a_trace_is_seen_by_its_own_principal_and_nobody_else() {
    let keys =
        "auth: { api_keys: [{ id: ada, key: the-key-of-ada-01 }, { id: bob, key: the-key-of-bob-01 }] }\n";
    let mut stage = Stage::new(keys).await;
    stage.gateway.key = "the-key-of-ada-01";
    stage.gateway.call("up__read", &json!({}), &[("traceparent", PARENT)]).await.json().await;
    stage.rows(TRACE, 8).await;
    let bob = [("x-api-key", "the-key-of-bob-01")];
    let seen = http::send(stage.gateway.address, "GET", &format!("/v1/traces/{TRACE}"), &bob, "").await;
    assert_eq!(seen.status, 404);
    let listed = http::send(stage.gateway.address, "GET", "/v1/traces", &bob, "").await.json().await;
    assert_eq!(listed["traces"], json!([]));
    let map = http::send(stage.gateway.address, "GET", "/v1/map", &bob, "").await.text().await;
    assert!(!map.contains("ada"), "{map}");
}

#[tokio::test]
async fn nothing_is_seen_where_telemetry_is_off() {
    let stage = Stage::new("telemetry: { enabled: false }\n").await;
    stage.gateway.call("up__read", &json!({}), &[("traceparent", PARENT)]).await.json().await;
    assert_eq!(stage.gateway.get("/metrics").await.status, 404);
    assert_eq!(stage.parents.lock().last().unwrap(), PARENT);
}

/// Spans of an agent, in the JSON form of OTLP.
fn of_agent(trace: &str, span: &str) -> Value {
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "claude-code"}}]},
        "scopeSpans": [{"spans": [{
            "traceId": trace, "spanId": span, "name": "prompt", "kind": 1,
            "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000001000000000",
        }]}],
    }]})
}

#[tokio::test]
async fn spans_of_agents_and_services_join_those_of_the_call() {
    let stage = Stage::new("").await;
    stage.gateway.call("up__read", &json!({"a": 1}), &[("traceparent", PARENT)]).await.json().await;
    let rows = stage.rows(TRACE, 8).await;
    let attempt = rows.iter().find(|row| row["name"] == "execute_tool read").unwrap();
    let attempt = attempt["span_id"].as_str().unwrap();
    let mut body = of_agent(TRACE, "b7ad6b7169203331");
    let mut service = of_agent(TRACE, "00000000000000aa")["resourceSpans"][0].clone();
    service["resource"]["attributes"][0]["value"]["stringValue"] = json!("upstream-service");
    service["scopeSpans"][0]["spans"][0]["parentSpanId"] = json!(attempt);
    service["scopeSpans"][0]["spans"][0]["name"] = json!("handle");
    let mut beyond = service.clone();
    beyond["resource"]["attributes"][0]["value"]["stringValue"] = json!("ledger");
    beyond["scopeSpans"][0]["spans"][0]["spanId"] = json!("00000000000000bb");
    beyond["scopeSpans"][0]["spans"][0]["parentSpanId"] = json!("00000000000000aa");
    body["resourceSpans"].as_array_mut().unwrap().extend([service, beyond]);
    let address = stage.gateway.address;
    let taken = http::post(address, "/v1/otlp/v1/traces", &[], body.to_string()).await;
    assert_eq!((taken.status, taken.json().await), (200, json!({})));
    let rows = stage.rows(TRACE, 12).await;
    let depth = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap()["depth"].as_u64().unwrap();
    assert_eq!((depth("prompt"), depth("tools/call up/read"), depth("handle")), (0, 1, 4));
    let map = stage.gateway.get("/v1/map").await.json().await;
    let edges: Vec<(&str, &str)> = map["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| (edge["from"].as_str().unwrap(), edge["to"].as_str().unwrap()))
        .collect();
    for edge in [
        ("agent:claude-code", "principal:local"),
        ("principal:local", "door:http"),
        ("door:http", "service:up"),
        ("service:up", "beyond:ledger"),
    ] {
        assert!(edges.contains(&edge), "{edge:?}: {edges:?}");
    }
    assert_eq!(edges.len(), 4, "the service is known by both its names: {edges:?}");
    let refused = http::post(address, "/v1/traces", &[], "[]").await;
    assert_eq!((refused.status, refused.json().await["code"].clone()), (400, json!("TL9102")));
}

#[tokio::test]
async fn a_flow_is_one_trace_from_its_caller_to_the_undo_of_its_steps() {
    let shop = Shop::start().await;
    let gateway = Gateway::start(&shop.config("")).await;
    let pay = |id: &str, after: &[&str], card: &str| {
        json!({"id": id, "tool": "shop-payments__chargePayment", "after": after,
            "args": {"body": {"order_id": "ord-saga", "amount_cents": 100, "card": card}}})
    };
    let steps = [pay("good", &[], "card-ada"), pay("bad", &["good"], "card-declined")];
    let plan = json!({"plan": {"steps": steps}});
    let ended = gateway.call("run_plan", &plan, &[("traceparent", PARENT)]).await.json().await;
    let instance =
        ended["result"]["structuredContent"]["instance"].as_str().unwrap_or_else(|| panic!("{ended}"));
    let rows = eventually("the flow's trace", async || {
        let seen = gateway.get(&format!("/v1/traces/{TRACE}")).await;
        let rows = seen.json().await["rows"].as_array()?.clone();
        rows.iter().any(|row| row["name"].as_str().unwrap().starts_with("flow ")).then_some(rows)
    })
    .await;
    let parent = |row: &Value| rows.iter().find(|above| above["span_id"] == row["parent_id"]).cloned();
    let undo = rows.iter().find(|row| row["name"].as_str().unwrap().starts_with("undo ")).unwrap();
    let flow = parent(undo).unwrap();
    assert_eq!(flow["attributes"]["trunkline.flow.status"], "undone", "{flow}");
    assert_eq!(parent(&flow).unwrap()["name"], "execute_tool run_plan");
    let cancel = rows.iter().find(|row| row["name"] == "tools/call shop-payments/refundPayment").unwrap();
    assert_eq!(parent(cancel).unwrap()["span_id"], undo["span_id"]);
    let listed = gateway.get(&format!("/v1/traces?instance={instance}")).await.json().await;
    assert_eq!(listed["traces"][0]["trace_id"], TRACE);
    let text = gateway.get("/metrics").await.text().await;
    assert!(text.contains("trunkline_flow_steps_total{kind=\"undo\",outcome=\"done\"} 1"), "{text}");
}

#[tokio::test]
async fn a_failing_service_fires_an_alert_that_is_told_and_resolved() {
    let told = Arc::new(Mutex::new(Vec::<(String, Value)>::new()));
    let seen = told.clone();
    let receiver = Receiver::start(move |path, body| seen.lock().push((path.to_owned(), body))).await;
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yaml");
    let rule = "groups: [{name: own, rules: [{alert: Failing, for: 200ms, labels: {severity: page},
        expr: 'sum by (service) (increase(trunkline_calls_total{outcome=\"failed\"}[2s])) > 0',
        annotations: {summary: 'calls of {{ $labels.service }} fail'}}]}]";
    std::fs::write(&rules, rule).unwrap();
    let url = format!("http://{}", receiver.address);
    let stage = Stage::new(&format!(
        "telemetry: {{ alerts: {{ interval_ms: 100, rules: [\"{}\"], alertmanagers: [\"{url}\"], webhooks: [\"{url}/hook\"] }} }}\n",
        rules.display()
    ))
    .await;
    // A counter that was not there before has grown by nothing.
    let fail = async || drop(stage.gateway.call("up__read", &json!({"b": "break"}), &[]).await.bytes().await);
    let alert = eventually("the alert fires", async || {
        fail().await;
        let board = stage.gateway.get("/v1/alerts").await.json().await;
        let alerts = board["alerts"].as_array().unwrap().clone();
        alerts.into_iter().find(|alert| alert["name"] == "Failing" && alert["state"] == "firing")
    })
    .await;
    assert_eq!(alert["labels"], json!({"alertname": "Failing", "service": "up", "severity": "page"}));
    eventually("it is resolved", async || {
        let board = stage.gateway.get("/v1/alerts").await.json().await;
        let is = |alert: &Value| alert["name"] == "Failing" && alert["state"] == "resolved";
        board["alerts"].as_array().unwrap().iter().any(is).then_some(())
    })
    .await;
    let hook = |status: &str| {
        let told = told.lock();
        let alerts = told.iter().filter(|(path, body)| path == "/hook" && body["version"] == "4");
        alerts
            .flat_map(|(_, body)| body["alerts"].as_array().unwrap().clone())
            .find(|alert| alert["status"] == status)
    };
    eventually("the webhook is told of both", async || hook("firing").and(hook("resolved"))).await;
    assert_eq!(hook("firing").unwrap()["annotations"]["summary"], "calls of up fail");
    let managed = told.lock().iter().any(|(path, body)| {
        path == "/api/v2/alerts"
            && body[0]["labels"]["alertname"] == "Failing"
            && body[0]["endsAt"].is_string()
    });
    assert!(managed);
    let events = eventually("both are in the record", async || {
        let events = stage.gateway.events("dev.trunkline.service_call.changed.v1").await;
        let of: Vec<Value> = events.into_iter().filter(|event| event["data"]["action"] == "alert").collect();
        (of.len() >= 2).then_some(of)
    })
    .await;
    assert_eq!(events[0]["data"]["context"]["name"], "Failing");
}

#[tokio::test]
async fn a_tool_and_an_instance_have_packets() {
    let stage = Stage::new("").await;
    stage.gateway.call("up__read", &json!({"b": "break"}), &[("traceparent", PARENT)]).await.bytes().await;
    stage.rows(TRACE, 8).await;
    let packet = stage.gateway.get("/v1/tools/up__read/packet").await.text().await;
    for part in ["# Tool up__read", "## Arguments", "- up: up", "- failed: 1", TRACE] {
        assert!(packet.contains(part), "{part}: {packet}");
    }
    assert_eq!(stage.gateway.get("/v1/tools/nothing/packet").await.status, 404);
    let plan = json!({"plan": {"steps": [{"id": "r", "tool": "up__read", "args": {"b": "break"}}]}});
    let ended = stage.gateway.call("run_plan", &plan, &[]).await.json().await;
    let id = ended["result"]["structuredContent"]["instance"]
        .as_str()
        .unwrap_or_else(|| panic!("{ended}"))
        .to_owned();
    let packet = stage.gateway.get(&format!("/v1/instances/{id}/packet")).await.text().await;
    for part in ["# Flow instance", "faulted", "up/read: ", "## What can be taken back"] {
        assert!(packet.contains(part), "{part}: {packet}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_there_keeps_no_call_waiting_and_what_is_lost_is_counted() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let stage = Stage::new(&format!("telemetry: {{ otlp: {{ endpoint: \"http://{gone}\" }} }}\n")).await;
    for _ in 0..50 {
        assert_eq!(stage.gateway.call("up__read", &json!({}), &[]).await.status, 200);
    }
    eventually("the spans are counted as dropped", async || {
        let text = stage.gateway.get("/metrics").await.text().await;
        sample(&text, "trunkline_telemetry_dropped_total{reason=\"export\"}").filter(|count| *count >= 50.0)
    })
    .await;
}

#[tokio::test]
async fn a_flow_goes_on_in_its_trace_after_a_crash() {
    let mut stage = Stage::new("").await;
    stage.upstream.let_through(0);
    let plan =
        json!({"plan": {"steps": [{"id": "r", "tool": "up__read", "args": {"a": 1}}]}, "wait_ms": 100});
    let begun = stage.gateway.call("run_plan", &plan, &[("traceparent", PARENT)]).await.json().await;
    assert_eq!(begun["result"]["structuredContent"]["status"], "running", "{begun}");
    stage.gateway.kill().await;
    stage.upstream.let_through(1 << 10);
    stage.gateway.start_again().await;
    let rows = eventually("the flow's span", async || {
        let seen = stage.gateway.get(&format!("/v1/traces/{TRACE}")).await;
        let rows = seen.json().await["rows"].as_array()?.clone();
        rows.iter().any(|row| row["name"].as_str().unwrap().starts_with("flow ")).then_some(rows)
    })
    .await;
    let row = |start: &str| {
        let is = |row: &&Value| row["name"].as_str().unwrap().starts_with(start);
        rows.iter().find(is).unwrap_or_else(|| panic!("{start}: {rows:?}"))
    };
    assert_eq!(row("step ")["parent_id"], row("flow ")["span_id"]);
    assert_eq!(row("tools/call up/read")["parent_id"], row("step ")["span_id"]);
}

/// A receiver of JSON over HTTP.
struct Receiver {
    address: std::net::SocketAddr,
}

impl Receiver {
    async fn start(take: impl Fn(&str, Value) + Clone + Send + 'static) -> Self {
        use http_body_util::BodyExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let take = take.clone();
                let service =
                    hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                        let take = take.clone();
                        async move {
                            let path = request.uri().path().to_owned();
                            let body = request.into_body().collect().await?.to_bytes();
                            take(&path, serde_json::from_slice(&body).unwrap_or_default());
                            Ok::<_, hyper::Error>(hyper::Response::new(http_body_util::Full::new(
                                bytes::Bytes::new(),
                            )))
                        }
                    });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(hyper_util::rt::TokioIo::new(socket), service));
            }
        });
        Self { address }
    }
}
