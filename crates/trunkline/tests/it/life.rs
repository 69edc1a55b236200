//! The life of instances on the real binary: undone after they completed, tried again, one or many, and killed meanwhile.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::http;
use crate::support::process::{Gateway, TRUNKLINE};

/// A tool that writes a word into a book, unless a file forbids it.
fn config(folder: &Path, more: &str) -> String {
    let act = r#"test ! -e "$0/no-$1" && echo "$1" >> "$0/book" && echo "{\"word\":\"$1\"}""#;
    let argv = json!(["sh", "-c", act, folder, "{word}"]);
    let tool = |name: &str, idempotent: bool| {
        let effects =
            json!({"read_only": false, "idempotent": idempotent, "destructive": true, "open_world": false});
        let input =
            json!({"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]});
        let tool = json!({"description": "Writes a word.", "argv": argv, "input": input, "effects": effects});
        format!("        {name}: {tool}\n")
    };
    let (write, unwrite) = (tool("write", false), tool("unwrite", true));
    format!("services:\n  book:\n    process:\n      tools:\n{write}{unwrite}{more}")
}

struct Shelf {
    folder: tempfile::TempDir,
    gateway: Gateway,
}

impl Shelf {
    async fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(&config(folder.path(), more)).await;
        Self { folder, gateway }
    }

    fn book(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("book")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether a word may be written.
    fn forbid(&self, word: &str, forbidden: bool) {
        let file = self.folder.path().join(format!("no-{word}"));
        if forbidden { std::fs::write(file, "").unwrap() } else { std::fs::remove_file(file).unwrap() }
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let key = [("x-api-key", self.gateway.key)];
        let reply = http::post(self.gateway.address, path, &key, body.to_string()).await;
        (reply.status, reply.json().await)
    }

    /// Runs a plan to its end and gives the instance.
    async fn run(&self, steps: Value) -> (String, String) {
        let (status, answer) = self.post("/v1/instances", &json!({"plan": {"steps": steps}})).await;
        assert_eq!(status, 200, "{answer}");
        let content = &answer["result"]["structuredContent"];
        let text = |name: &str| content[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        (text("instance"), text("status"))
    }

    async fn until(&self, id: &str, status: &str) -> Value {
        eventually(status, async || {
            let shown = self.gateway.get(&format!("/v1/instances/{id}")).await.json().await;
            (shown["status"] == status).then_some(shown)
        })
        .await
    }

    fn cli(&self, words: &[&str]) -> Output {
        let mut command = Command::new(TRUNKLINE);
        command.args(words).env("TRUNKLINE_SERVER", format!("http://{}", self.gateway.address));
        command.current_dir(self.folder.path()).output().unwrap()
    }
}

fn step(id: &str, undo: bool) -> Value {
    let tool = "book__write";
    let undo = if undo {
        json!({"tool": "book__unwrite", "args": {"word": format!("un{id}")}})
    } else {
        json!(false)
    };
    json!({"id": id, "tool": tool, "args": {"word": id}, "undo": undo})
}

/// A chain: each after the one before.
fn chain(ids: &[&str], undo: bool) -> Value {
    let mut steps: Vec<Value> = ids.iter().map(|id| step(id, undo)).collect();
    for (number, step) in steps.iter_mut().enumerate().skip(1) {
        step["after"] = json!([ids[number - 1]]);
    }
    Value::Array(steps)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn what_completed_is_undone_also_when_the_gateway_is_killed_meanwhile() {
    let mut shelf = Shelf::new("").await;
    let (id, status) = shelf.run(chain(&["a", "b", "c"], true)).await;
    assert_eq!((&*status, shelf.book()), ("completed", ["a", "b", "c"].map(str::to_owned).to_vec()));
    shelf.forbid("unb", true);
    let done = shelf.cli(&["flow", "undo", &id, "--reason", "not wanted"]);
    assert!(done.status.success(), "{}", said(&done));
    shelf.until(&id, "stuck").await;
    for _ in 0..2 {
        shelf.gateway.kill().await;
        shelf.gateway.start_again().await;
        shelf.until(&id, "stuck").await;
    }
    let saga = shelf.until(&id, "stuck").await["saga"].clone();
    let undo = |key: &str| {
        let steps = saga["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["key"].as_str().unwrap().ends_with(key)).unwrap();
        step["undo"].as_str().unwrap().to_owned()
    };
    assert_eq!([undo("/a"), undo("/b"), undo("/c")], ["possible", "stuck", "undone"], "{saga}");
    shelf.forbid("unb", false);
    let stuck = saga["stuck"][0]["key"].as_str().unwrap().to_owned();
    let resolved = shelf.cli(&["flow", "resolve", &id, &stuck, "--retry"]);
    assert!(resolved.status.success(), "{}", said(&resolved));
    shelf.until(&id, "undone").await;
    assert_eq!(shelf.book(), ["a", "b", "c", "unc", "unb", "una"]);
    let again = shelf.cli(&["flow", "undo", &id]);
    assert!(!again.status.success() && said(&again).contains("TL7031"), "{}", said(&again));
    let shown = said(&shelf.cli(&["flow", "show", &id]));
    assert!(shown.contains("to be undone") && shown.contains("undone"), "{shown}");
}

#[tokio::test]
async fn a_failed_instance_is_tried_again_from_a_step_or_its_start() {
    let mut shelf = Shelf::new("").await;
    shelf.forbid("c", true);
    let (failed, status) = shelf.run(chain(&["a", "b", "c", "d"], false)).await;
    assert_eq!(status, "faulted");
    shelf.forbid("c", false);
    shelf.gateway.kill().await;
    shelf.gateway.start_again().await;
    let retried = shelf.cli(&["flow", "retry", &failed, "--from", "c"]);
    assert!(retried.status.success(), "{}", said(&retried));
    let new = String::from_utf8_lossy(&retried.stdout).trim().to_owned();
    let shown = shelf.until(&new, "completed").await;
    assert_eq!(shown["retry_of"], json!(failed));
    assert_eq!(shelf.book(), ["a", "b", "c", "d"]);
    assert_eq!(shelf.until(&failed, "faulted").await["retried_as"], json!(new));
    // Many: what would be done, and then what was.
    shelf.forbid("z", true);
    let mut undone = Vec::new();
    for word in ["x", "y"] {
        let (id, status) = shelf.run(chain(&[word, "z"], true)).await;
        assert_eq!(status, "undone");
        undone.push(id);
    }
    shelf.forbid("z", false);
    let (_, dry) = shelf.post("/v1/instances:retry", &json!({})).await;
    assert_eq!((&dry["dry_run"], dry["instances"].as_array().unwrap().len()), (&json!(true), 3), "{dry}");
    let refused = dry["instances"].as_array().unwrap().iter().find(|one| one["refused"].is_object()).unwrap();
    assert_eq!(
        (refused["instance"].as_str().unwrap(), &refused["refused"]["code"]),
        (&*failed, &json!("TL7032"))
    );
    let all = shelf.cli(&["flow", "retry", "--all", "--status", "undone", "-o", "json"]);
    let all: Value = serde_json::from_slice(&all.stdout).unwrap();
    for asked in all["instances"].as_array().unwrap() {
        shelf.until(asked["retried_as"].as_str().unwrap(), "completed").await;
    }
    let book = shelf.book().split_off(4);
    let count = |word: &str| book.iter().filter(|line| *line == word).count();
    assert_eq!(["x", "unx", "y", "uny", "z"].map(count), [2, 1, 2, 1, 2], "{book:?}");
    let none = shelf.cli(&["flow", "undo", "--all", "--status", "completed", "--limit", "2", "--dry-run"]);
    assert!(said(&none).contains("undoes book/write, book/write"), "{}", said(&none));
}

#[tokio::test]
async fn who_waits_is_seen_and_who_did_what_is_told() {
    let gated = |folder: &Path| {
        let argv = json!(["sh", "-c", r#"while test -e "$0/gate"; do sleep 0.02; done; echo done"#, folder]);
        let tool = json!({"description": "Waits at a gate.", "argv": argv, "effects": {"read_only": false, "idempotent": true, "destructive": false, "open_world": false}});
        format!("        gate: {tool}\nflows:\n  limits:\n    - {{ tool: book__gate, max: 1 }}\n")
    };
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path(), &gated(folder.path()))).await;
    let mut shelf = Shelf { folder, gateway };
    std::fs::write(shelf.folder.path().join("gate"), "").unwrap();
    let plan = json!({"plan": {"steps": [{"id": "g", "tool": "book__gate", "undo": false}]}});
    let mut ids = Vec::new();
    for _ in 0..3 {
        let headers = [("x-api-key", shelf.gateway.key), ("trunkline-timeout-ms", "300")];
        let reply = http::post(shelf.gateway.address, "/v1/instances", &headers, plan.to_string()).await;
        let answer = reply.json().await;
        ids.push(answer["result"]["structuredContent"]["instance"].as_str().unwrap().to_owned());
    }
    let places = async |shelf: &Shelf| -> Vec<(Value, Value)> {
        let queues = shelf.gateway.get("/v1/queues").await.json().await;
        let rows = queues["waiting"].as_array().unwrap().clone();
        rows.iter().map(|row| (row["place"].clone(), row["instance"].clone())).collect()
    };
    let waiting = [(json!(1), json!(ids[1])), (json!(2), json!(ids[2]))];
    assert_eq!(places(&shelf).await, waiting);
    shelf.gateway.kill().await;
    shelf.gateway.start_again().await;
    // The first goes on with its call, and the others stand where they stood. (Its service had to come up first.)
    eventually("the queue is back", async || (places(&shelf).await.len() == 2).then_some(())).await;
    let said = said(&shelf.cli(&["flow", "queues"]));
    assert!(said.contains("tool book__gate") && said.contains("PLACE"), "{said}");
    let rebuilt = shelf.cli(&["events", "rebuild"]);
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    assert_eq!(places(&shelf).await.len(), 2);
    std::fs::remove_file(shelf.folder.path().join("gate")).unwrap();
    for id in &ids {
        shelf.until(id, "completed").await;
    }
    let audit = shelf.gateway.get("/v1/audit?action=flow.end").await.json().await;
    let ends: Vec<&str> =
        audit["deeds"].as_array().unwrap().iter().map(|deed| deed["outcome"].as_str().unwrap()).collect();
    assert_eq!(ends, ["completed"; 3], "{audit}");
    let calls = shelf.cli(&["audit", "--action", "call", "--target", "book/gate"]);
    assert!(String::from_utf8_lossy(&calls.stdout).contains("done"), "{calls:?}");
}

#[tokio::test]
async fn undos_of_the_shop_are_proposed_and_not_used() {
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/openapi");
    let mut services = "services:\n".to_owned();
    for name in ["orders", "stock", "payments", "shipping"] {
        let document = documents.join(format!("{name}.yaml"));
        services.push_str(&format!(
            "  shop-{name}: {{ openapi: {{ document: {}, base_url: \"http://127.0.0.1:9\" }} }}\n",
            document.display()
        ));
    }
    let gateway = Gateway::start(&services).await;
    let proposed = gateway.get("/v1/flows/proposals").await.json().await;
    let mut found: Vec<String> = proposed["proposals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|proposal| proposal["snippet"].as_str().unwrap().to_owned())
        .collect();
    found.sort();
    let example = std::fs::read_to_string(documents.join("../trunkline.yaml")).unwrap();
    let mut accepted: Vec<String> = example
        .lines()
        .filter(|line| line.trim_start().starts_with("shop-") && line.contains("undo:"))
        .map(|line| line.trim().to_owned())
        .collect();
    accepted.sort();
    assert_eq!(found, accepted);
    // What is accepted is proposed no more.
    gateway.configure(&format!("{services}flows:\n  tools:\n    {}\n", accepted[0]));
    eventually("one is accepted", async || {
        let left = gateway.get("/v1/flows/proposals").await.json().await;
        (left["proposals"].as_array().unwrap().len() == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_process_that_nobody_waits_for_begins_once_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    // It writes its word when it may, which is after its run has ended.
    let script = "until [ -e may ]; do sleep 0.05; done; echo done >> out";
    let workflow = json!({
        "document": {"dsl": "1.0.3", "namespace": "alone", "name": "detach", "version": "1.0.0"},
        "do": [
            {"process": {"run": {
                "shell": {"command": "sh", "arguments": ["-c", format!("cd '{}' && {script}", folder.path().display())]},
                "await": false,
            }}},
            {"after": {"set": {"went": "on"}}},
        ],
    });
    let file = folder.path().join("detach.json");
    std::fs::write(&file, workflow.to_string()).unwrap();
    let flows = json!({"definitions": [file], "allow_commands": ["sh"]});
    let gateway = Gateway::begin(&format!("flows: {flows}\n")).await;
    let answer = gateway.call("detach", &json!({}), &[]).await.json().await;
    assert!(answer.to_string().contains("\"went\":\"on\""), "{answer}");
    assert!(!folder.path().join("out").exists());
    std::fs::write(folder.path().join("may"), "").unwrap();
    let out =
        eventually("the process ends", async || std::fs::read_to_string(folder.path().join("out")).ok())
            .await;
    assert_eq!(out, "done\n");
}
