//! `trunkline import --propose`: what a service can do, what there is already, and the configuration that would follow.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use super::support::process::{Gateway, TRUNKLINE, fixture};

const DOCUMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/openapi");

/// What the command prints, and on standard error.
async fn propose(folder: &Path, source: &str, more: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(TRUNKLINE);
    command.args(["import", source, "--propose"]).args(more).current_dir(folder);
    // Nobody listens there.
    if !more.contains(&"--server") {
        command.args(["--server", "http://127.0.0.1:9"]);
    }
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_document_is_told_in_words_and_written_when_it_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("trunkline.yaml");
    let before = "# mine\nlisten: 127.0.0.1:7400 # here\nservices: {}\n";
    std::fs::write(&config, before).unwrap();
    let source = format!("{DOCUMENTS}/orders.yaml");
    let more = ["--name", "shop-orders"];
    let (done, out, err) = propose(folder.path(), &source, &more).await;
    assert!(done, "{out}{err}");
    for told in [
        "createOrder (order.create; changes something)",
        "getOrder (order.get; reads)",
        "undo: shop-orders__createOrder by shop-orders__cancelOrder",
        "+   shop-orders:",
        "+     shop-orders__createOrder:",
        "Nothing was written.",
    ] {
        assert!(out.contains(told), "{told:?} is missing:\n{out}");
    }
    assert_eq!(std::fs::read_to_string(&config).unwrap(), before);

    let (done, out, err) = propose(folder.path(), &source, &["--name", "shop-orders", "--accept"]).await;
    assert!(done && err.contains("written to"), "{out}{err}");
    let after = std::fs::read_to_string(&config).unwrap();
    assert!(after.starts_with("# mine\nlisten: 127.0.0.1:7400 # here\n"), "{after}");
    let check =
        Command::new(TRUNKLINE).args(["config", "check"]).current_dir(folder.path()).output().await.unwrap();
    assert!(check.status.success(), "{after}\n{}", String::from_utf8_lossy(&check.stdout));

    // The same again under another name is told to be there already: the configuration's documents are compared with.
    let (done, out, _) = propose(folder.path(), &source, &["--name", "orders-too", "-o", "json"]).await;
    assert!(done, "{out}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let same = report["services"][0]["duplicates"].as_array().unwrap();
    let of = same.iter().find(|one| one["tool"] == "createOrder").unwrap_or_else(|| panic!("{out}"));
    assert_eq!(of["of"], "shop-orders__createOrder");
    // Something else is not.
    let (_, out, _) = propose(folder.path(), &format!("{DOCUMENTS}/shipping.yaml"), &["-o", "json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["services"][0]["duplicates"].as_array().unwrap().len(), 0, "{out}");
}

#[tokio::test]
async fn a_server_is_asked_for_its_tools_and_compared_with_the_running_gateway() {
    let server = fixture(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}/mcp", server.address);
    let (done, out, err) = propose(folder.path(), &url, &["--name", "fixture", "-o", "json"]).await;
    assert!(done, "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let can = report["services"][0]["can"].as_array().unwrap();
    assert!(can.iter().any(|one| one["tool"] == "ask_twice"), "{out}");
    assert!(report["diff"].as_str().unwrap().contains(&url), "{out}");
    assert!(!folder.path().join("trunkline.yaml").exists());

    let gateway = Gateway::start(&format!("services:\n  f: {{ mcp: {{ url: \"{url}\" }} }}\n")).await;
    let running = format!("http://{}", gateway.address);
    let more = ["--name", "again", "--server", &running, "-o", "json"];
    let (done, out, err) = propose(folder.path(), &url, &more).await;
    assert!(done, "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let same = report["services"][0]["duplicates"].as_array().unwrap();
    assert!(same.iter().any(|one| one["tool"] == "ask_twice" && one["of"] == "f__ask_twice"), "{out}");

    // What is no server is told to be none.
    let (done, _, err) = propose(folder.path(), "http://127.0.0.1:9/mcp", &["--name", "gone"]).await;
    assert!(!done && err.contains("TL"), "{err}");
}
