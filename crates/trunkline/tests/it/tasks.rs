//! Runs of flows as MCP tasks on the real binary: followed over a crash, cancelled, answered, and seen by nobody else.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::client::{Legacy, Modern, accept};
use super::support::process::{Gateway, fixture, over_http};
use super::support::{eventually, within};

const ADA: &str = "ada-0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef";

/// A gateway with tools that wait for a file, leave a file, take it away, and never answer.
struct Steps {
    folder: TempDir,
    gateway: Gateway,
}

impl Steps {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        // Bounded: a command that outlives the test ends by itself.
        let wait =
            format!("n=0; while [ ! -e {} ] && [ $n -lt 3000 ]; do n=$((n+1)); sleep 0.02; done", at("go"));
        let config = format!(
            "auth: {{ api_keys: [{{ id: ada, key: {ADA} }}, {{ id: bob, key: {BOB} }}] }}
flows: {{ tools: {{ note: {{ undo: {{ tool: erase }} }} }} }}
services:
  steps:
    names: plain
    process:
      tools:
        wait: {{ description: Waits., argv: [sh, -c, {wait:?}], effects: {{ idempotent: true }}, timeout_ms: 60000 }}
        note: {{ description: Notes., argv: [touch, {:?}] }}
        erase: {{ description: Erases., argv: [rm, -f, {:?}], effects: {{ idempotent: true }} }}
        hang: {{ description: Hangs., argv: [sleep, '5'], timeout_ms: 100 }}
",
            at("note"),
            at("note"),
        );
        let gateway = Gateway::start(&config).await;
        Self { folder, gateway }
    }

    fn has(&self, name: &str) -> bool {
        self.folder.path().join(name).exists()
    }

    fn go(&self) {
        std::fs::write(self.folder.path().join("go"), "").unwrap();
    }

    fn client(&self, key: &str) -> Modern {
        let mut client = Modern::new(self.gateway.address).with_key(key);
        client.capabilities["extensions"] = json!({ "io.modelcontextprotocol/tasks": {} });
        client
    }
}

fn plan(steps: &[(&str, &str)]) -> Value {
    let mut before: Option<&str> = None;
    let steps: Vec<Value> = steps
        .iter()
        .map(|(id, tool)| {
            let after: Vec<&str> = before.replace(id).into_iter().collect();
            json!({ "id": id, "tool": tool, "after": after })
        })
        .collect();
    json!({ "plan": { "steps": steps } })
}

/// Starts a run that becomes a task. Gives its identity.
async fn begin(client: &Modern, steps: &[(&str, &str)]) -> String {
    let begun = client.call("run_plan", plan(steps)).await;
    let task = &begun["result"];
    assert_eq!(task["resultType"], "task", "{begun}");
    assert_eq!(task["ttlMs"], Value::Null);
    assert!(task["pollIntervalMs"].is_u64() && task["createdAt"].is_string(), "{begun}");
    assert!(task.get("result").is_none() && task.get("requestState").is_none(), "{begun}");
    task["taskId"].as_str().unwrap().to_owned()
}

async fn ask(client: &Modern, method: &str, id: &str) -> Value {
    client.request(method, json!({ "taskId": id })).await
}

/// Looks at a task until it is as it should be.
async fn until(client: &Modern, id: &str, status: &str) -> Value {
    eventually(&format!("the task is {status}"), async || {
        let seen = ask(client, "tasks/get", id).await;
        assert_eq!(seen["result"]["resultType"], "complete", "{seen}");
        (seen["result"]["status"] == status).then(|| seen["result"].clone())
    })
    .await
}

#[tokio::test]
async fn a_task_is_followed_over_a_crash_by_its_owner_alone() {
    let mut steps = Steps::start().await;
    let ada = steps.client(ADA);
    let id = begin(&ada, &[("first", "wait")]).await;
    assert_eq!(ask(&ada, "tasks/get", &id).await["result"]["status"], "working");

    let bob = steps.client(BOB);
    for method in ["tasks/get", "tasks/cancel"] {
        let refused = ask(&bob, method, &id).await;
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["data"]["code"]),
            (&json!(-32602), &json!("TL7041"))
        );
    }
    let mut other = steps.client(ADA);
    other.capabilities = json!({});
    let refused = ask(&other, "tasks/get", &id).await;
    assert_eq!(refused["error"]["code"], -32021);
    let needed = &refused["error"]["data"]["requiredCapabilities"]["extensions"];
    assert!(needed["io.modelcontextprotocol/tasks"].is_object(), "{refused}");

    steps.gateway.kill().await;
    steps.gateway.start_again().await;
    assert_eq!(ask(&ada, "tasks/get", &id).await["result"]["status"], "working");

    // A listener hears how it is, and what comes of it. Of others' tasks nothing is said.
    let listen = json!({ "notifications": { "taskIds": [&id, "0198f000-0000-7000-8000-000000000000"] } });
    let mut heard = ada.send("subscriptions/listen", listen.clone()).await.events();
    let acknowledged = heard.message().await;
    assert_eq!(acknowledged["params"]["notifications"], json!({ "taskIds": [&id] }));
    let first = heard.message().await;
    assert_eq!(
        (&first["method"], &first["params"]["status"]),
        (&json!("notifications/tasks"), &json!("working"))
    );
    let refused = other.request("subscriptions/listen", listen).await;
    assert_eq!(refused["error"]["code"], -32021);
    steps.go();
    let last = within("the end of the task", heard.message()).await;
    assert_eq!(last["params"]["status"], "completed", "{last}");
    assert!(last["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].is_string(), "{last}");

    let done = until(&ada, &id, "completed").await;
    assert_eq!(done["result"], last["params"]["result"]);
    let content = &done["result"]["structuredContent"];
    assert_eq!((&content["instance"], &content["status"]), (&json!(id), &json!("completed")));
    // To be cancelled after the end changes nothing.
    assert_eq!(ask(&ada, "tasks/cancel", &id).await["result"], json!({ "resultType": "complete" }));
    assert_eq!(until(&ada, &id, "completed").await["result"], done["result"]);
}

#[tokio::test]
async fn a_short_run_is_no_task_and_others_wait() {
    let steps = Steps::start().await;
    steps.go();
    let mut ada = steps.client(ADA);
    let ended = ada.call("run_plan", plan(&[("first", "wait")])).await;
    assert_eq!(ended["result"]["structuredContent"]["status"], "completed", "{ended}");
    ada.capabilities = json!({ "tasks": {} });
    let ended = ada.call("run_plan", plan(&[("first", "wait")])).await;
    assert_eq!(ended["result"]["resultType"], "complete", "{ended}");
}

#[tokio::test]
async fn a_cancelled_task_takes_back_what_it_did() {
    let steps = Steps::start().await;
    let ada = steps.client(ADA);
    let id = begin(&ada, &[("first", "note"), ("second", "wait")]).await;
    eventually("the first step is done", async || steps.has("note").then_some(())).await;
    assert_eq!(ask(&ada, "tasks/cancel", &id).await["result"], json!({ "resultType": "complete" }));
    steps.go();
    let cancelled = until(&ada, &id, "cancelled").await;
    assert!(cancelled["statusMessage"].as_str().unwrap().contains("undone"), "{cancelled}");
    assert!(!steps.has("note"));
}

#[tokio::test]
async fn a_stuck_task_asks_its_client_also_after_a_crash() {
    let mut steps = Steps::start().await;
    let ada = steps.client(ADA);
    // Nobody knows whether the step that did not answer has to be undone.
    let step = json!({ "id": "first", "tool": "hang", "undo": { "tool": "erase" } });
    let plan = json!({ "plan": { "steps": [step] } });
    let begun = ada.call("run_plan", plan).await;
    let id = begun["result"]["taskId"].as_str().unwrap_or_else(|| panic!("{begun}")).to_owned();
    let stuck = until(&ada, &id, "input_required").await;
    let (key, asked) = stuck["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(asked["method"], "elicitation/create");
    assert_eq!(asked["params"]["requestedSchema"]["required"], json!(["decision"]));
    // Who can't be asked is told.
    let mut silent = steps.client(ADA);
    silent.capabilities.as_object_mut().unwrap().remove("elicitation");
    let told = until(&silent, &id, "working").await;
    assert!(told["statusMessage"].as_str().unwrap().contains("flow resolve"), "{told}");

    steps.gateway.kill().await;
    steps.gateway.start_again().await;
    let again = until(&ada, &id, "input_required").await;
    assert_eq!(again["inputRequests"], stuck["inputRequests"]);
    let update = async |answers: Value| {
        let params = json!({ "taskId": &id, "inputResponses": answers });
        assert_eq!(ada.request("tasks/update", params).await["result"], json!({ "resultType": "complete" }));
    };
    update(json!({ "unknown": accept(json!({ "decision": "done" })) })).await;
    update(json!({ key: { "action": "decline" } })).await;
    assert_eq!(until(&ada, &id, "input_required").await["inputRequests"], stuck["inputRequests"]);
    update(json!({ key: accept(json!({ "decision": "done" })) })).await;
    let done = until(&ada, &id, "completed").await;
    // A tool's own error is a result.
    assert_eq!((&done["result"]["isError"], &done["error"]), (&json!(true), &Value::Null), "{done}");
    assert_eq!(done["result"]["structuredContent"]["status"], "undone", "{done}");
}

#[tokio::test]
async fn a_client_of_a_session_asks_for_tasks() {
    let mut steps = Steps::start().await;
    let client = Legacy::connect_as(steps.gateway.address, Some(ADA), json!({})).await;
    let listed = client.request("tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let support = |name: &str| {
        tools.iter().find(|tool| tool["name"] == name).unwrap()["execution"]["taskSupport"].clone()
    };
    assert_eq!((support("run_plan"), support("get_run")), (json!("optional"), Value::Null));

    let call = async |client: &Legacy, name: &str, arguments: Value| {
        let params = json!({ "name": name, "arguments": arguments, "task": { "ttl": 60_000 } });
        client.request("tools/call", params).await
    };
    let begun = call(&client, "run_plan", plan(&[("first", "wait")])).await;
    let task = &begun["result"]["task"];
    assert_eq!((&task["status"], &task["ttl"]), (&json!("working"), &Value::Null), "{begun}");
    let id = task["taskId"].as_str().unwrap().to_owned();
    assert_eq!(call(&client, "wait", json!({})).await["error"]["code"], -32601);
    let unfit = call(&client, "run_plan", plan(&[("first", "no such tool")])).await;
    assert_eq!(
        (&unfit["error"]["code"], &unfit["error"]["data"]["code"]),
        (&json!(-32602), &json!("TL7044"))
    );

    steps.gateway.kill().await;
    steps.gateway.start_again().await;
    let seen = client.request("tasks/get", json!({ "taskId": &id })).await;
    assert_eq!(seen["result"]["status"], "working", "{seen}");
    let other = Legacy::connect_as(steps.gateway.address, Some(BOB), json!({})).await;
    assert_eq!(other.request("tasks/get", json!({ "taskId": &id })).await["error"]["code"], -32602);
    assert_eq!(other.request("tasks/list", json!({})).await["result"]["tasks"], json!([]));

    let result = async { client.request("tasks/result", json!({ "taskId": &id })).await };
    let let_go = async { steps.go() };
    let (result, ()) = tokio::join!(within("the result", result), let_go);
    let content = &result["result"]["structuredContent"];
    assert_eq!(content["status"], "completed", "{result}");
    assert_eq!(result["result"]["_meta"]["io.modelcontextprotocol/related-task"]["taskId"], json!(id));
    let listed = client.request("tasks/list", json!({})).await;
    assert_eq!(listed["result"]["tasks"][0]["taskId"], json!(id), "{listed}");
    assert_eq!(listed["result"]["tasks"][0]["status"], "completed");
    let late = client.request("tasks/cancel", json!({ "taskId": &id })).await;
    assert_eq!((&late["error"]["code"], &late["error"]["data"]["code"]), (&json!(-32602), &json!("TL7042")));
}

/// Tasks of a server behind the gateway are passed on; the gateway keeps nothing of them.
#[tokio::test]
async fn a_servers_own_task_is_found_again_after_a_crash() {
    let server = fixture(&["--oldest-protocol", "2026-07-28"]).await;
    let mut gateway = Gateway::start(&format!("services:\n{}", over_http("f", &server))).await;
    let mut client = Modern::new(gateway.address);
    client.capabilities["extensions"] = json!({ "io.modelcontextprotocol/tasks": {} });
    let begun = client.call("f__confirm_delete", json!({ "filename": "a.txt" })).await;
    assert_eq!(begun["result"]["resultType"], "task", "{begun}");
    let id = begun["result"]["taskId"].as_str().unwrap().to_owned();
    gateway.kill().await;
    gateway.start_again().await;
    let asked = until(&client, &id, "input_required").await;
    let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let answers = json!({ key: accept(json!({ "confirm": true })) });
    client.request("tasks/update", json!({ "taskId": &id, "inputResponses": answers })).await;
    until(&client, &id, "completed").await;
    let unknown = ask(&client, "tasks/get", &format!("{id}x")).await;
    assert_eq!(unknown["error"]["code"], -32602);
}
