//! Flows that begin by the clock, on the real binary, over a crash of it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::eventually;
use crate::support::process::Gateway;

/// A flow with a schedule; its file, as the configuration names it.
fn flow(folder: &Path, name: &str, version: &str, schedule: &str) -> String {
    let text = format!(
        "document: {{ dsl: 1.0.3, namespace: clock, name: {name}, version: {version} }}\nschedule: {{ {schedule} }}\n\
         do: [{{ beat: {{ set: {{ beaten: true }} }} }}]\n"
    );
    let file = folder.join(format!("{name}.yaml"));
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn config(files: &[String]) -> String {
    format!("flows: {{ definitions: {} }}\n", serde_json::to_string(files).unwrap())
}

/// The instances of a flow, the oldest first.
async fn instances(gateway: &Gateway, flow: &str) -> Vec<Value> {
    let listed = gateway.get(&format!("/v1/instances?flow={flow}")).await.json().await;
    let mut listed = listed["instances"].as_array().unwrap_or_else(|| panic!("{listed}")).clone();
    listed.reverse();
    listed
}

/// Waits for so many instances of a flow that have completed.
async fn completed(gateway: &Gateway, flow: &str, at_least: usize) -> Vec<Value> {
    eventually("instances that the clock began", async || {
        let listed = instances(gateway, flow).await;
        let done = listed.iter().filter(|one| one["status"] == "completed").count();
        (done >= at_least).then_some(listed)
    })
    .await
}

/// The time that an identity begins with, in milliseconds since 1970.
fn due(instance: &Value) -> u64 {
    let id: uuid::Uuid = instance["id"].as_str().unwrap().parse().unwrap();
    id.as_bytes()[..6].iter().fold(0, |time, byte| time << 8 | u64::from(*byte))
}

#[tokio::test]
async fn a_flow_begins_once_at_each_of_its_times_also_over_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::begin(&config(&[flow(folder.path(), "tick", "1.0.0", "every: PT1S")])).await;
    completed(&gateway, "clock/tick", 2).await;
    gateway.kill().await;
    gateway.start_again().await;
    let listed = completed(&gateway, "clock/tick", 4).await;
    let times: BTreeSet<u64> = listed.iter().map(due).collect();
    assert_eq!(times.len(), listed.len(), "each at a time of its own");
    for instance in &listed {
        assert_eq!(due(instance) % 1000, 0, "{instance}");
        assert!(instance["started_ms"].as_u64().unwrap() >= due(instance), "{instance}");
        assert_eq!(instance["principal"], "schedule:clock/tick", "{instance}");
    }
}

#[tokio::test]
async fn a_flow_begins_again_so_long_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = flow(folder.path(), "pulse", "1.0.0", "after: { seconds: 1 }");
    let mut gateway = Gateway::begin(&config(std::slice::from_ref(&file))).await;
    completed(&gateway, "clock/pulse", 2).await;
    gateway.kill().await;
    gateway.start_again().await;
    completed(&gateway, "clock/pulse", 3).await;
    // Another version takes its place.
    flow(folder.path(), "pulse", "1.1.0", "after: { seconds: 1 }");
    gateway.configure(&config(&[file]));
    let listed = eventually("the new version begins", async || {
        let listed = instances(&gateway, "clock/pulse").await;
        listed.iter().any(|one| one["version"] == "1.1.0").then_some(listed)
    })
    .await;
    for pair in listed.windows(2) {
        let ended = pair[0]["ended_ms"].as_u64().unwrap_or_else(|| panic!("{pair:?}"));
        assert!(pair[1]["started_ms"].as_u64().unwrap() >= ended + 1000, "{pair:?}");
    }
}

#[tokio::test]
async fn a_schedule_that_never_comes_is_a_fault_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = flow(folder.path(), "never", "1.0.0", "cron: '0 0 30 2 *'");
    std::fs::write(folder.path().join("trunkline.yaml"), config(&[file])).unwrap();
    let mut command = std::process::Command::new(crate::support::process::TRUNKLINE);
    let done = command.args(["config", "check"]).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr) + String::from_utf8_lossy(&done.stdout);
    assert!(!done.status.success(), "{said}");
    assert!(said.contains("/schedule/cron"), "{said}");
}
