//! `trunkline top`: once as text and JSON, and live on a real terminal.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::support::process::{Gateway, TRUNKLINE};
use super::support::shop::Shop;
use super::support::{eventually, within};

async fn stage() -> (Shop, Gateway) {
    let shop = Shop::start().await;
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/openapi/stock.yaml");
    let url = shop.url("stock");
    let config = format!(
        "services:\n  stock:\n    openapi: {{ document: \"{document}\", base_url: \"{url}\" }}\n  \
         gone:\n    mcp: {{ url: \"http://127.0.0.1:9/mcp\" }}\n"
    );
    let gateway = Gateway::begin(&config).await;
    eventually("the shop is up", async || {
        let tools = gateway.get("/v1/tools").await.text().await;
        tools.contains("stock__listItems").then_some(())
    })
    .await;
    for tool in ["stock__listItems", "stock__getItem"] {
        gateway.call(tool, &json!({"sku": "TEA-1"}), &[]).await.json().await;
    }
    (shop, gateway)
}

fn top(gateway: &Gateway) -> String {
    format!("{TRUNKLINE} top --interval 100 --server http://{}", gateway.address)
}

#[tokio::test]
async fn where_nobody_looks_it_is_told_once() {
    let (_shop, gateway) = stage().await;
    let run = async |more: &[&str]| {
        let mut program = Command::new(TRUNKLINE);
        let server = format!("http://{}", gateway.address);
        program.args(["top", "--interval", "100", "--server", &server]).args(more);
        String::from_utf8(program.output().await.unwrap().stdout).unwrap()
    };
    let text = run(&[]).await;
    assert!(text.lines().next().unwrap().contains("calls 2 "), "{text}");
    let service =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(service("stock ").contains(" up "), "{text}");
    assert!(!service("gone ").contains(" up "), "{text}");
    assert!(!service("stock/getItem ").is_empty(), "{text}");
    let view: Value = serde_json::from_str(&run(&["-o", "json"]).await).unwrap();
    assert_eq!(
        (&view["all"]["calls"], &view["tools"][0]["traffic"]["calls"]),
        (&json!(2), &json!(1)),
        "{view}"
    );
}

#[tokio::test]
async fn on_a_terminal_it_is_live_until_a_key_ends_it() {
    let (_shop, gateway) = stage().await;
    // script(1) of util-linux gives it a terminal.
    let mut program = Command::new("script");
    program.args(["-qfec", &format!("stty rows 40 cols 120; {}", top(&gateway)), "/dev/null"]);
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).env("TERM", "xterm").kill_on_drop(true);
    let mut child = program.spawn().unwrap();
    let (mut keys, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = String::new();
    let mut until = async |what: &str| {
        let mut bytes = [0; 8192];
        while !seen.contains(what) {
            let read = within(what, out.read(&mut bytes)).await.unwrap();
            assert!(read > 0, "it ended before {what}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    };
    until("stock/listItems").await;
    // What is called while somebody looks shows by itself.
    gateway.call("stock__getReservation", &json!({"reservation_id": "r"}), &[]).await.json().await;
    until("stock/getReservation").await;
    keys.write_all(b"p").await.unwrap();
    until("paused").await;
    keys.write_all(b"q").await.unwrap();
    assert!(within("its end", child.wait()).await.unwrap().success());
}
