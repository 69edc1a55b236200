//! `trunkline chaos` between the gateway and real services: what breaks there is not seen by callers who only read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::client::Modern;
use crate::support::process::{Gateway, Listening, TRUNKLINE, chaos, fixture};
use crate::support::shop::Shop;
use crate::support::{eventually, http, within};

/// How many callers there are at a time.
const CALLERS: u64 = 8;

/// The stock services at these addresses as one service, with more of its settings.
fn stock(urls: &[&str], more: &str) -> String {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/openapi/stock.yaml");
    let instances: Vec<String> = urls.iter().map(|url| format!("{{ url: \"{url}\" }}")).collect();
    format!(
        "services:\n  stock:\n    openapi: {{ document: \"{document}\" }}\n    instances: [{}]\n{more}",
        instances.join(", ")
    )
}

fn url(server: &Listening) -> String {
    format!("http://{}", server.address)
}

/// Reads so often, several at a time. Gives what failed.
async fn read(gateway: &Gateway, calls: u64) -> Vec<Value> {
    let (address, left) = (gateway.address, Arc::new(AtomicU64::new(calls)));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let left = left.clone();
        callers.spawn(async move {
            let mut failed = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                let reply = http::post(address, "/v1/tools/stock__listItems:call", &[], "{}").await;
                let status = reply.status;
                let answer = reply.json().await;
                if status != 200 || answer["is_error"] != false {
                    failed.push(answer);
                }
            }
            failed
        });
    }
    within("the calls", callers.join_all()).await.concat()
}

#[tokio::test]
async fn reads_go_well_though_one_instance_resets_truncates_and_errs() {
    let shops = [Shop::start().await, Shop::start().await];
    let script = "seed: 11\nsteps:\n- faults:\n  - { kind: reset, share: 0.3, after_bytes: 20 }\n  \
                  - { kind: truncate, share: 0.3, after_bytes: 100 }\n  - { kind: error, share: 0.3, status: 500 }\n";
    let broken = chaos(shops[0].url("stock"), script).await;
    let gateway = Gateway::start(&stock(&[&url(&broken), shops[1].url("stock")], "")).await;
    let failed = read(&gateway, 1_000).await;
    assert!(failed.is_empty(), "{} calls failed: {}", failed.len(), failed[0]);
}

#[tokio::test]
async fn a_check_that_is_never_answered_has_failed() {
    let shops = [Shop::start().await, Shop::start().await];
    let mute = chaos(shops[0].url("stock"), "steps: [{ faults: [{ kind: half_open }] }]").await;
    let health = "    health: { http: /healthz, interval_ms: 100, timeout_ms: 200, unhealthy_after: 2 }\n";
    let gateway = Gateway::begin(&stock(&[&url(&mute), shops[1].url("stock")], health)).await;
    let cause = eventually("one is out and the other is not", async || {
        let services = gateway.get("/v1/services").await.json().await;
        let instances = &services["services"][0]["instances"];
        let out = instances[0]["healthy"] == false && instances[1]["healthy"] == true;
        out.then(|| instances[0]["cause"].clone())
    })
    .await;
    assert!(cause.as_str().is_some_and(|cause| !cause.is_empty()), "{cause}");
    assert_eq!(read(&gateway, 50).await, Vec::<Value>::new());

    // People see it as well.
    let run = async |command: &str| {
        let mut program = tokio::process::Command::new(TRUNKLINE);
        program.arg(command).current_dir(gateway.folder.path());
        program.env("TRUNKLINE_LISTEN", gateway.address.to_string());
        program.env("TRUNKLINE_SERVER", format!("http://{}", gateway.address));
        String::from_utf8(program.output().await.unwrap().stdout).unwrap()
    };
    let (doctor, services) = (run("doctor").await, run("services").await);
    let told = format!("up, but no calls go to its instance {}", url(&mute));
    assert!(doctor.contains(&told), "{doctor}");
    let line = services.lines().find(|line| line.contains(&url(&mute))).unwrap_or_default();
    assert!(line.contains(" out "), "{services}");
}

#[tokio::test]
async fn an_mcp_server_that_no_longer_answers_is_found_by_its_check() {
    let servers = [fixture(&[]).await, fixture(&[]).await];
    // All is well at first; then nothing passes any more, on connections that are open as well.
    let script = "steps: [{ for_ms: 1500 }, { faults: [{ kind: half_open }] }]";
    let mute = chaos(&url(&servers[0]), script).await;
    let config = format!(
        "services:\n  f:\n    mcp: {{}}\n    instances: [{{ url: \"{}/mcp\" }}, {{ url: \"{}/mcp\" }}]\n    \
         health: {{ mcp: true, interval_ms: 100, timeout_ms: 300, healthy_after: 1, unhealthy_after: 2 }}\n",
        url(&mute),
        url(&servers[1])
    );
    let gateway = Gateway::start(&config).await;
    // Before it has been reached for the first time it is out as well.
    eventually("one is out by its check and the other is not", async || {
        let services = gateway.get("/v1/services").await.json().await;
        let instances = &services["services"][0]["instances"];
        let by_check = instances[0]["cause"].as_str().is_some_and(|cause| cause.contains("its check"));
        (by_check && instances[0]["healthy"] == false && instances[1]["healthy"] == true).then_some(())
    })
    .await;
    let client = Modern::new(gateway.address);
    for _ in 0..10 {
        let answer = client.call("f__test_simple_text", json!({})).await;
        assert_eq!(answer["result"]["isError"], false, "{answer}");
    }
    // A question is answered to the instance that asked it.
    let mut said = client.call("f__ask_twice", json!({})).await;
    for answer in [json!({ "name": "Ada" }), json!({ "colour": "green" })] {
        let asked = said["result"]["inputRequests"].as_object().unwrap_or_else(|| panic!("{said}"));
        let answers = json!({ asked.keys().next().unwrap(): { "action": "accept", "content": answer } });
        said = client.go_on("f__ask_twice", &said["result"]["requestState"], answers).await;
    }
    assert!(said["result"]["content"].is_array(), "{said}");
}

#[tokio::test]
async fn a_service_alone_is_read_from_though_its_connections_break_now_and_then() {
    let shop = Shop::start().await;
    let script = "seed: 5\nsteps:\n- faults:\n  - { kind: latency, ms: 1, jitter_ms: 3 }\n  \
                  - { kind: reset, share: 0.02 }\n  - { kind: truncate, share: 0.02, after_bytes: 30 }\n";
    let broken = chaos(shop.url("stock"), script).await;
    let config = stock(&[], "").replace("    instances: []\n", "");
    let config =
        config.replace("stock.yaml\" }", &format!("stock.yaml\", base_url: \"{}\" }}", url(&broken)));
    let gateway = Gateway::start(&config).await;
    let failed = read(&gateway, 500).await;
    // Three attempts: all of them are hit once in some ten thousand calls. Attempts are few where calls are.
    let usual = json!(["TL4122", "TL4121"]);
    for failure in &failed {
        assert!(usual.as_array().is_some_and(|codes| codes.contains(&failure["code"])), "{failure}");
    }
    assert!(failed.len() <= 5, "{} of 500 calls failed: {}", failed.len(), failed[0]);
}
