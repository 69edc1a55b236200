//! Which package may depend on which. The same table is in docs/ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::sources::root;

const MODEL: &str = "trunkline-model";
const EVENT_LOG: &str = "trunkline-event-log";

/// The parts that stand beside each other and never know of each other.
const SIDE_BY_SIDE: [&str; 7] = [
    "trunkline-connectors",
    "trunkline-data-engine",
    "trunkline-discovery",
    "trunkline-orchestrator",
    "trunkline-policy",
    "trunkline-resilience",
    "trunkline-telemetry",
];

/// The parts that the gateway must not know: it meets them through traits of the model.
const NOT_FOR_THE_GATEWAY: [&str; 2] = ["trunkline-connectors", "trunkline-data-engine"];

/// What does input and output, and so is nothing for the model.
const INPUT_OUTPUT: [&str; 8] =
    ["axum", "hyper", "hyper-util", "notify", "reqwest", "rmcp", "rusqlite", "tokio"];

/// The stand-in for a Consul agent.
const STAND_IN: &str = "consul-stand-in";

/// What each package of ours may depend on, in tests as well.
fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut table = BTreeMap::from([
        (MODEL, BTreeSet::new()),
        (EVENT_LOG, BTreeSet::from([MODEL])),
        ("xtask", BTreeSet::new()),
        ("mcp-fixture", BTreeSet::new()),
        (STAND_IN, BTreeSet::new()),
        ("shop", BTreeSet::new()),
    ]);
    for part in SIDE_BY_SIDE {
        table.insert(part, BTreeSet::from([MODEL, EVENT_LOG]));
    }
    let every_part: BTreeSet<_> = SIDE_BY_SIDE.into_iter().chain([MODEL, EVENT_LOG]).collect();
    let gateway = every_part.iter().copied().filter(|part| !NOT_FOR_THE_GATEWAY.contains(part)).collect();
    table.insert("trunkline-gateway", gateway);
    let whole = every_part.into_iter().chain(["trunkline-gateway", "shop", STAND_IN]);
    table.insert("trunkline", whole.collect());
    // Tests only: a registry that can be made to misbehave.
    table.entry("trunkline-connectors").or_default().insert(STAND_IN);
    table
}

/// The packages of the workspace, each with the names of what it depends on.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata gives JSON");
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .map(|package| (name(package), list(&package["dependencies"]).iter().map(name).collect()))
        .collect()
}

#[test]
fn every_package_depends_only_downwards() {
    let (packages, allowed) = (packages(), allowed());
    let mut wrong = Vec::new();
    for (package, dependencies) in &packages {
        let Some(allowed) = allowed.get(package.as_str()) else {
            wrong.push(format!("{package} is not in the table of this test"));
            continue;
        };
        let ours = dependencies.iter().filter(|name| packages.contains_key(*name));
        wrong.extend(
            ours.filter(|name| !allowed.contains(name.as_str()))
                .map(|name| format!("{package} must not depend on {name}")),
        );
    }
    for package in allowed.keys().filter(|name| !packages.contains_key(**name)) {
        wrong.push(format!("{package} is in the table of this test and not in the workspace"));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_model_does_no_input_or_output() {
    let packages = packages();
    let wrong: Vec<_> = INPUT_OUTPUT.iter().filter(|name| packages[MODEL].contains(**name)).collect();
    assert!(wrong.is_empty(), "{MODEL} must not depend on {wrong:?}");
}
