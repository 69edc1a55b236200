//! Flows that mean harm, on the real binary: expressions that never end or fill the memory wherever one may stand, plans
//! with many faults, without end or too deep, and an undo that fails for ever.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::http;
use crate::support::process::Gateway;

/// Never ends.
const ENDLESS: &str = "reduce range(1e15) as $x (0; . + 1)";

/// Fills the memory.
const LARGE: &str = "[range(1e15)]";

/// More than the gateway may ever need for all of this, in KiB.
const MEMORY: u64 = 600 << 10;

/// A tool that writes a word into a book, unless a file forbids it.
fn config(folder: &Path, flows: &str) -> String {
    let act = r#"test ! -e "$0/no-$1" && echo "$1" >> "$0/book" && echo "{\"word\":\"$1\"}""#;
    let tool = json!({
        "description": "Writes a word.", "argv": ["sh", "-c", act, folder, "{word}"],
        "input": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"],
                  "additionalProperties": false},
        "effects": {"read_only": false, "idempotent": true, "destructive": true, "open_world": false},
    });
    format!("services: {{ book: {{ process: {{ tools: {{ write: {tool} }} }} }} }}\n{flows}")
}

async fn post(gateway: &Gateway, body: &Value, wait_ms: u32) -> Value {
    let wait = wait_ms.to_string();
    let headers = [("x-api-key", gateway.key), ("trunkline-timeout-ms", &wait)];
    http::post(gateway.address, "/v1/instances", &headers, body.to_string()).await.json().await
}

async fn shown(gateway: &Gateway, id: &str) -> Value {
    gateway.get(&format!("/v1/instances/{id}")).await.json().await
}

fn write(id: &str) -> Value {
    json!({"id": id, "tool": "book__write", "args": {"word": id}, "undo": false})
}

/// Plans with a hostile expression wherever a plan may have one.
fn plans(expression: &str) -> Vec<(&'static str, Value)> {
    let of = |name: &str, value: Value| {
        let mut step = write("a");
        step[name] = value;
        json!({"steps": [step]})
    };
    let marked = format!("${{ {expression} }}");
    let undone = json!({"tool": "book__write", "args": {"word": marked}});
    let mut undo = of("undo", undone);
    let mut last = write("forbidden");
    last["after"] = json!(["a"]);
    undo["steps"].as_array_mut().unwrap().push(last);
    let retry = json!({"when": marked, "limit": {"attempt": {"count": 3}}});
    let mut retried = json!({"steps": [write("forbidden")]});
    retried["steps"][0]["retry"] = retry;
    vec![
        ("args", of("args", json!({"word": marked}))),
        ("when", of("when", json!(expression))),
        ("forEach", of("forEach", json!(expression))),
        ("output", json!({"steps": [write("a")], "output": expression})),
        ("undo", undo),
        ("retry", retried),
    ]
}

/// Tasks with a hostile expression wherever a workflow may have one.
fn tasks(expression: &str) -> Vec<(&'static str, Value)> {
    let e = format!("${{ {expression} }}");
    let set = json!({"set": {"a": 1}});
    let with = |name: &str, value: Value| {
        let mut task = set.clone();
        task[name] = value;
        task
    };
    let body = json!([{"x": set}]);
    let fails = json!([{"x": {"raise": {"error": {"type": "https://example.com/e", "status": 400}}}}]);
    let tried = |catch: Value| json!({"try": fails, "catch": catch});
    vec![
        ("input-from", with("input", json!({"from": e}))),
        ("output-as", with("output", json!({"as": e}))),
        ("export-as", with("export", json!({"as": e}))),
        ("if", with("if", json!(e))),
        ("set", json!({"set": {"a": e}})),
        ("switch", json!({"switch": [{"one": {"when": e, "then": "end"}}]})),
        ("for-in", json!({"for": {"each": "i", "in": e}, "do": body})),
        ("for-while", json!({"for": {"each": "i", "in": "${ [1] }"}, "while": e, "do": body})),
        ("wait", json!({"wait": e})),
        ("timeout", with("timeout", json!({"after": e}))),
        ("raise", json!({"raise": {"error": {"type": "https://example.com/e", "status": 400, "detail": e}}})),
        ("catch-when", tried(json!({"when": e}))),
        ("retry-when", tried(json!({"retry": {"when": e, "limit": {"attempt": {"count": 2}}}}))),
        (
            "emit",
            json!({"emit": {"event": {"with": {"type": "t", "source": "https://example.com", "data": {"a": e}}}}}),
        ),
        ("call", json!({"call": "book__write", "with": {"word": e}})),
        ("listen", json!({"listen": {"to": {"one": {"with": {"type": "t", "data": e}}}}})),
        ("listen-until", json!({"listen": {"to": {"any": [{"with": {"type": "t"}}], "until": e}}})),
        (
            "correlate",
            json!({"listen": {"to": {"one": {"with": {"type": "t"}, "correlate": {"c": {"from": e}}}}}}),
        ),
    ]
}

/// Writes a flow of one task for each, and gives their names.
fn define(folder: &Path, kind: &str, expression: &str) -> Vec<String> {
    let one = |(name, task): (&str, Value)| {
        let name = format!("{kind}-{name}");
        let document = json!({"dsl": "1.0.3", "namespace": "hostile", "name": name, "version": "1.0.0"});
        let flow = json!({"document": document, "do": [{"task": task}]});
        std::fs::write(folder.join(format!("{name}.json")), flow.to_string()).unwrap();
        name
    };
    tasks(expression).into_iter().map(one).collect()
}

#[tokio::test]
async fn expressions_without_end_are_stopped_wherever_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let flows = folder.path().join("flows");
    std::fs::create_dir(&flows).unwrap();
    std::fs::write(folder.path().join("no-forbidden"), "").unwrap();
    let mut names = define(&flows, "endless", ENDLESS);
    names.extend(define(&flows, "large", LARGE));
    let more = format!("flows: {{ definitions: [{}] }}\n", flows.display());
    let gateway = Gateway::start(&config(folder.path(), &more)).await;
    for expression in [ENDLESS, LARGE] {
        for (place, plan) in plans(expression) {
            let answer = post(&gateway, &json!({"plan": plan}), 20_000).await.to_string();
            assert!(answer.contains("the expression was stopped"), "{place}: {answer}");
        }
    }
    let mut listening = Vec::new();
    for name in names {
        let listens = ["listen", "correlate"].iter().any(|word| name.contains(word));
        let answer = post(&gateway, &json!({"flow": name}), if listens { 300 } else { 20_000 }).await;
        if listens {
            let started = &answer["result"]["structuredContent"];
            listening
                .push((name, started["instance"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()));
        } else {
            assert!(answer.to_string().contains("the expression was stopped"), "{name}: {answer}");
        }
    }
    let event = json!({"specversion": "1.0", "type": "t", "source": "/test", "id": "1", "data": {"x": 1}});
    assert_eq!(http::post(gateway.address, "/v1/events", &[], event.to_string()).await.status, 200);
    for (name, id) in listening {
        // What an event is asked of is the business of who listens; whoever publishes must not end them.
        if name.ends_with("until") {
            let ended = eventually("it is stopped", async || {
                let row = shown(&gateway, &id).await;
                (row["status"] == "faulted").then(|| row.to_string())
            });
            assert!(ended.await.contains("the expression was stopped"), "{name}");
        } else {
            let path = format!("/v1/instances/{id}:cancel");
            http::post(gateway.address, &path, &[("x-api-key", gateway.key)], "{}").await;
            eventually("it is cancelled", async || {
                (shown(&gateway, &id).await["status"] == "cancelled").then_some(())
            })
            .await;
        }
    }
    assert_eq!(gateway.get("/healthz").await.status, 200);
    assert!(gateway.memory("VmHWM") < MEMORY, "{} KiB", gateway.memory("VmHWM"));
}

/// Applies a JSON Patch (RFC 6902) of the operations that findings use.
fn apply(document: &mut Value, patch: &Value) {
    for operation in patch.as_array().unwrap() {
        let path = operation["path"].as_str().unwrap();
        let (parent, name) = path.split_at(path.rfind('/').unwrap());
        let name = name[1..].replace("~1", "/").replace("~0", "~");
        let (from, value) = (operation["from"].as_str(), operation.get("value").cloned());
        let value = match from {
            Some(from) => {
                let (parent, name) = from.split_at(from.rfind('/').unwrap());
                document.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(&name[1..])
            }
            None => value,
        };
        match (document.pointer_mut(parent).unwrap(), operation["op"].as_str().unwrap()) {
            (Value::Object(members), "remove") => drop(members.remove(&name)),
            (Value::Object(members), _) => drop(members.insert(name, value.unwrap())),
            (Value::Array(items), "remove") => drop(items.remove(name.parse().unwrap())),
            (Value::Array(items), "replace") => items[name.parse::<usize>().unwrap()] = value.unwrap(),
            (Value::Array(items), _) if name == "-" => items.push(value.unwrap()),
            (Value::Array(items), _) => items.insert(name.parse().unwrap(), value.unwrap()),
            _ => panic!("nothing at {path}"),
        }
    }
}

#[tokio::test]
async fn ten_faults_are_told_in_one_answer_and_their_patches_mend_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path(), "")).await;
    let mut plan = json!({
        "name": "My plan!",
        "timeout": "5 minutes",
        "steps": [
            {"id": "alpha", "tool": "book__wrte", "args": {"word": "a"}, "undo": false},
            {"id": "b", "tool": "book__write", "args": {"wrod": "b"}, "undo": false},
            {"id": "c", "tool": "book__write", "args": {"word": 3}, "undo": false},
            {"id": "c", "tool": "book__write", "args": {"word": "d"}, "undo": false},
            {"id": "e", "tool": "book__write", "args": {"word": "e"}, "undo": false, "after": "alpha"},
            {"id": "f", "tool": "book__write", "args": {"word": "f"}, "undo": false, "dependsOn": ["e"]},
            {"id": "g", "tool": "book__write", "args": {"word": "${ .steps.alhpa | tostring }"}, "undo": false},
            {"id": "h-h", "tool": "book__write", "args": {"word": "h"}, "undo": false, "timeout": "3s"},
        ],
    });
    let check = async |plan: &Value| {
        let arguments = json!({"plan": plan, "check_only": true});
        let answer = gateway.call("run_plan", &arguments, &[]).await.json().await;
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
        serde_json::from_str::<Value>(text).unwrap()
    };
    let first = check(&plan).await["findings"].as_array().unwrap().clone();
    let with_patches = first.iter().filter(|finding| finding["patch"].is_array()).count();
    assert!(with_patches >= 10, "{with_patches} of {first:#?}");
    for round in 0.. {
        let findings = check(&plan).await["findings"].as_array().unwrap().clone();
        let errors = findings.iter().filter(|finding| finding["severity"] == "error");
        if errors.clone().count() == 0 {
            break;
        }
        assert!(round < 3, "{findings:#?}");
        for finding in errors {
            apply(&mut plan, finding.get("patch").unwrap_or_else(|| panic!("{finding}")));
        }
    }
    let ran = post(&gateway, &json!({"plan": plan}), 30_000).await;
    assert_eq!(ran["result"]["structuredContent"]["status"], "completed", "{ran}");
}

#[tokio::test]
async fn large_and_deep_plans_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path(), "")).await;
    let steps = |count: usize| -> Vec<Value> {
        let step = |n: usize| {
            let mut step = write(&format!("s{n}"));
            step["when"] = json!("false");
            if !n.is_multiple_of(7) {
                step["after"] = json!([format!("s{}", n - 1)]);
            }
            step
        };
        (0..count).map(step).collect()
    };
    let mut many = steps(10_000);
    many[9_999]["when"] = json!("true");
    let ran = post(&gateway, &json!({"plan": {"steps": many}}), 60_000).await;
    assert_eq!(ran["result"]["structuredContent"]["status"], "completed", "{}", ran.to_string().len());
    let over = post(&gateway, &json!({"plan": {"steps": steps(10_001)}}), 60_000).await.to_string();
    assert!(over.contains("there are too many steps"), "{}", over.chars().take(500).collect::<String>());
    let deep = |levels: usize| (0..levels).fold(json!("x"), |inner, _| json!([inner]));
    let mut plan = json!({"steps": [write("a")]});
    plan["steps"][0]["args"]["word"] = deep(100);
    let answer = post(&gateway, &json!({"plan": plan}), 30_000).await;
    assert_ne!(answer["result"]["structuredContent"]["status"], "completed", "{answer}");
    // So deep that it is no JSON to us.
    let answer = post(&gateway, &json!({"plan": deep(500)}), 30_000).await;
    assert_ne!(answer["result"]["structuredContent"]["status"], "completed", "{answer}");
    assert_eq!(gateway.get("/healthz").await.status, 200);
    assert!(gateway.memory("VmHWM") < MEMORY, "{} KiB", gateway.memory("VmHWM"));
}

#[tokio::test]
async fn an_undo_that_fails_for_ever_is_seen_at_once_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for word in ["forbidden", "una"] {
        std::fs::write(folder.path().join(format!("no-{word}")), "").unwrap();
    }
    let mut gateway = Gateway::start(&config(folder.path(), "")).await;
    let mut step = write("a");
    step["undo"] = json!({"tool": "book__write", "args": {"word": "una"}});
    let mut refused = write("forbidden");
    refused["after"] = json!(["a"]);
    let begun = Instant::now();
    let answer = post(&gateway, &json!({"plan": {"steps": [step, refused]}}), 300).await;
    let id = answer["result"]["structuredContent"]["instance"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned();
    let row = eventually("it is stuck", async || {
        let row = shown(&gateway, &id).await;
        (row["status"] == "stuck").then_some(row)
    })
    .await;
    // The promise is a second; this machine may do other things.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(row.to_string().contains("~undo"), "{row}");
    gateway.kill().await;
    gateway.start_again().await;
    eventually("it is stuck again", async || (shown(&gateway, &id).await["status"] == "stuck").then_some(()))
        .await;
    std::fs::remove_file(folder.path().join("no-una")).unwrap();
    let key = row["stuck"][0]["step"].as_str().map_or_else(|| "/do/0/a~undo".to_owned(), str::to_owned);
    let path = format!("/v1/instances/{id}:resolve");
    let answer = json!({"step": key, "resolution": "retry"});
    let reply = http::post(gateway.address, &path, &[("x-api-key", gateway.key)], answer.to_string()).await;
    let (status, said) = (reply.status, reply.text().await);
    assert_eq!(status, 200, "{said}");
    eventually("it is undone", async || (shown(&gateway, &id).await["status"] == "undone").then_some(()))
        .await;
    let book = std::fs::read_to_string(folder.path().join("book")).unwrap();
    assert_eq!(book, "a\nuna\n");
}
