//! Questions between clients and services of different eras, and what a restart in between does to them: nothing.

use serde_json::{Value, json};

use crate::support::client::{Legacy, Modern, accept, failure, sampled, text};
use crate::support::eventually;
use crate::support::process::{Gateway, Listening, fixture, over_http};

const OLD: [&str; 2] = ["--newest-protocol", "2025-11-25"];
const NEW: [&str; 2] = ["--oldest-protocol", "2026-07-28"];

/// How the gateway ends between a question and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Kill,
    Terminate,
    None,
}

async fn before(arguments: &[&str]) -> (Listening, Gateway) {
    let server = fixture(arguments).await;
    let gateway = Gateway::start(&format!("services:\n{}", over_http("f", &server))).await;
    (server, gateway)
}

async fn restart(gateway: &mut Gateway, end: End) {
    match end {
        End::Kill => gateway.kill().await,
        End::Terminate => assert!(gateway.terminate().await.success()),
        End::None => return,
    }
    gateway.start_again().await;
}

/// The one question of a result, and its key.
fn question(response: &Value) -> (&str, &Value) {
    let result = &response["result"];
    assert_eq!(result["resultType"], "input_required", "{response}");
    let requests = result["inputRequests"].as_object().unwrap();
    assert_eq!(requests.len(), 1, "{response}");
    let (key, question) = requests.iter().next().unwrap();
    (key, question)
}

async fn modern_asks_twice(server: &[&str], ends: [End; 2]) {
    let (_server, mut gateway) = before(server).await;
    let client = Modern::new(gateway.address);
    let first = client.call("f__ask_twice", json!({})).await;
    let (key, asked) = question(&first);
    assert_eq!(asked["method"], "elicitation/create");
    assert_eq!(asked["params"]["message"], "What is your name?");
    let first_state = &first["result"]["requestState"];
    restart(&mut gateway, ends[0]).await;

    let answer = json!({ key: accept(json!({ "name": "Ada" })) });
    let second = client.go_on("f__ask_twice", first_state, answer).await;
    let (key, asked) = question(&second);
    assert_eq!(asked["params"]["message"], "Which colour do you like, Ada?");
    let second_state = &second["result"]["requestState"];
    assert_ne!(first_state, second_state);
    restart(&mut gateway, ends[1]).await;

    let answer = json!({ key: accept(json!({ "colour": "green" })) });
    let last = client.go_on("f__ask_twice", second_state, answer).await;
    assert_eq!(text(&last), "Ada likes green", "{last}");
    assert_eq!(last["result"]["resultType"], "complete");
}

#[tokio::test]
async fn a_modern_client_before_a_legacy_service_goes_on_after_a_crash() {
    modern_asks_twice(&OLD, [End::Kill, End::Kill]).await;
}

#[tokio::test]
async fn a_modern_client_before_a_legacy_service_goes_on_after_a_restart() {
    modern_asks_twice(&OLD, [End::Terminate, End::None]).await;
}

#[tokio::test]
async fn a_modern_client_before_a_modern_service_goes_on_after_a_crash() {
    modern_asks_twice(&NEW, [End::None, End::Kill]).await;
}

#[tokio::test]
async fn sampling_survives_a_crash() {
    let (_server, mut gateway) = before(&OLD).await;
    let client = Modern::new(gateway.address);
    let first = client.call("f__ask_then_sample", json!({})).await;
    let answer = json!({ question(&first).0: accept(json!({ "topic": "rain" })) });
    let second = client.go_on("f__ask_then_sample", &first["result"]["requestState"], answer).await;
    let (key, asked) = question(&second);
    assert_eq!(asked["method"], "sampling/createMessage", "{asked}");
    assert_eq!(asked["params"]["maxTokens"], 200);
    restart(&mut gateway, End::Kill).await;
    let answer = json!({ key: sampled("drip") });
    let last = client.go_on("f__ask_then_sample", &second["result"]["requestState"], answer).await;
    assert_eq!(text(&last), "On rain: drip");
}

/// A legacy client loses the gateway while it is asked. `back` comes back to the rest of its call.
async fn legacy_asks_twice(server: &[&str], end: End, listens_first: bool) {
    let (_server, mut gateway) = before(server).await;
    let client = Legacy::connect(gateway.address).await;
    let mut stream = client.begin("f__ask_twice", json!({})).await;
    let event = stream.next().await.unwrap();
    let asked = event.json();
    assert_eq!(asked["method"], "elicitation/create");
    assert_eq!(asked["params"]["message"], "What is your name?");
    let last = event.id.clone().unwrap();
    restart(&mut gateway, end).await;

    let mut stream = if listens_first {
        let mut stream = client.listen(Some(&last)).await;
        assert_eq!(stream.message().await, asked, "the question comes again");
        client.answer(&asked, accept(json!({ "name": "Ada" }))).await;
        stream
    } else {
        client.answer(&asked, accept(json!({ "name": "Ada" }))).await;
        // What comes after the answer is there, however long the client takes to listen.
        eventually("the second question is in the record", async || {
            (gateway.events("dev.trunkline.tool_execution.asked").await.len() > 1).then_some(())
        })
        .await;
        client.listen(Some(&last)).await
    };
    let asked = stream.message().await;
    assert_eq!(asked["params"]["message"], "Which colour do you like, Ada?");
    client.answer(&asked, accept(json!({ "colour": "green" }))).await;
    let response = stream.message().await;
    assert_eq!(text(&response), "Ada likes green", "{response}");
    assert_eq!(response["id"], 2, "the id of the request before the restart");
    assert_eq!(stream.next().await, None, "the stream ends with the response");
}

#[tokio::test]
async fn a_legacy_client_before_a_legacy_service_answers_after_a_crash() {
    legacy_asks_twice(&OLD, End::Kill, false).await;
}

#[tokio::test]
async fn a_legacy_client_before_a_legacy_service_listens_after_a_crash() {
    legacy_asks_twice(&OLD, End::Kill, true).await;
}

#[tokio::test]
async fn a_legacy_client_before_a_modern_service_answers_after_a_crash() {
    legacy_asks_twice(&NEW, End::Kill, false).await;
}

#[tokio::test]
async fn a_legacy_client_before_a_modern_service_listens_after_a_crash() {
    legacy_asks_twice(&NEW, End::Kill, true).await;
}

#[tokio::test]
async fn a_legacy_client_goes_on_after_a_restart() {
    legacy_asks_twice(&OLD, End::Terminate, false).await;
    legacy_asks_twice(&NEW, End::Terminate, true).await;
}

#[tokio::test]
async fn a_legacy_client_that_answers_twice_does_not_call_twice() {
    let (_server, mut gateway) = before(&OLD).await;
    let client = Legacy::connect(gateway.address).await;
    let mut stream = client.begin("f__ask_twice", json!({})).await;
    let first = stream.message().await;
    client.answer(&first, accept(json!({ "name": "Ada" }))).await;
    let second = stream.message().await;
    client.answer(&first, accept(json!({ "name": "Bob" }))).await;
    client.answer(&second, accept(json!({ "colour": "green" }))).await;
    assert_eq!(text(&stream.message().await), "Ada likes green");
    assert_eq!(gateway.events("dev.trunkline.tool_execution.asked").await.len(), 2);

    // After a crash, too, where everything that the client may do at once is done at once.
    let mut stream = client.begin("f__ask_twice", json!({})).await;
    let event = stream.next().await.unwrap();
    let (asked, last) = (event.json(), event.id.unwrap());
    restart(&mut gateway, End::Kill).await;
    let answer = accept(json!({ "name": "Ada" }));
    let (mut stream, (), (), mut other) = tokio::join!(
        client.listen(Some(&last)),
        client.answer(&asked, answer.clone()),
        client.answer(&asked, answer.clone()),
        client.listen(Some(&last)),
    );
    let second = loop {
        let message = stream.message().await;
        if message["id"] != asked["id"] {
            break message;
        }
    };
    client.answer(&second, accept(json!({ "colour": "red" }))).await;
    assert_eq!(text(&stream.message().await), "Ada likes red");
    while let Some(event) = other.next().await {
        let message = event.json();
        assert!([&asked["id"], &second["id"], &json!(3)].contains(&&message["id"]), "{message}");
    }
    assert_eq!(gateway.events("dev.trunkline.tool_execution.asked").await.len(), 4);
}

#[tokio::test]
async fn a_state_is_for_its_request_only() {
    let (_server, gateway) = before(&OLD).await;
    let client = Modern::new(gateway.address);
    let first = client.call("f__ask_twice", json!({})).await;
    let (key, _) = question(&first);
    let state = first["result"]["requestState"].clone();
    let answer = json!({ key: accept(json!({ "name": "Ada" })) });
    let refused = |response: &Value| {
        assert_eq!(response["error"]["code"], -32602, "{response}");
        assert_eq!(failure(response)["code"], "TL1010");
    };
    let tampered = json!(format!("{}-TAMPERED", state.as_str().unwrap()));
    refused(&client.go_on("f__ask_twice", &tampered, answer.clone()).await);
    refused(&client.go_on("f__ask_then_sample", &state, answer.clone()).await);
    refused(&client.go_on("f__ask_twice", &json!(""), answer.clone()).await);
    let params = json!({ "name": "f__ask_twice", "inputResponses": answer, "requestState": state });
    refused(&client.request("prompts/get", params).await);

    // Answers that miss the question are no answers: it is asked again.
    let again = client.go_on("f__ask_twice", &state, json!({ "other": 1 })).await;
    assert_eq!(question(&again).0, key);
    let state = again["result"]["requestState"].clone();

    let second = client.go_on("f__ask_twice", &state, answer.clone()).await;
    let (key, _) = question(&second);
    let colour = json!({ key: accept(json!({ "colour": "green" })) });
    // A state of an earlier round answers nothing: its caller has missed our answer, so that comes again.
    let again = client.go_on("f__ask_twice", &state, colour.clone()).await;
    assert_eq!(question(&again), question(&second));
    let state = &again["result"]["requestState"];
    assert_eq!(text(&client.go_on("f__ask_twice", state, colour.clone()).await), "Ada likes green");
    refused(&client.go_on("f__ask_twice", state, colour).await);
}

#[tokio::test]
async fn a_state_is_for_its_principal_only() {
    let server = fixture(&OLD).await;
    let keys =
        "auth: { api_keys: [{ id: ada, key: key-of-ada-12345678 }, { id: bob, key: key-of-bob-12345678 }] }";
    let config = format!("{keys}\nservices:\n{}", over_http("f", &server));
    let mut gateway = Gateway::start(&config).await;
    gateway.key = "key-of-ada-12345678";
    let (ada, bob) = (Modern::new(gateway.address), Modern::new(gateway.address));
    let (ada, bob) = (ada.with_key("key-of-ada-12345678"), bob.with_key("key-of-bob-12345678"));
    let first = ada.call("f__ask_twice", json!({})).await;
    let state = &first["result"]["requestState"];
    let answer = json!({ question(&first).0: accept(json!({ "name": "Ada" })) });
    let refused = bob.go_on("f__ask_twice", state, answer.clone()).await;
    assert_eq!(failure(&refused)["code"], "TL1010", "{refused}");
    let features = json!({ "elicitation": {} });
    let old_ada = Legacy::connect_as(gateway.address, Some("key-of-ada-12345678"), features.clone()).await;
    let mut old_bob = Legacy::connect_as(gateway.address, Some("key-of-bob-12345678"), features).await;
    let asked = old_ada.begin("f__ask_twice", json!({})).await.message().await;
    restart(&mut gateway, End::Kill).await;
    let refused = bob.go_on("f__ask_twice", state, answer.clone()).await;
    assert_eq!(failure(&refused)["code"], "TL1010", "{refused}");
    question(&ada.go_on("f__ask_twice", state, answer).await);
    // Another session's question can't be answered, nor can another principal's session be used.
    old_bob.answer(&asked, accept(json!({ "name": "Bob" }))).await;
    assert_eq!(gateway.events("dev.trunkline.tool_execution.answered").await.len(), 1);
    old_bob.session = old_ada.session.clone();
    let message = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": accept(json!({ "name": "Bob" })) });
    assert_eq!(old_bob.post(&message).await.status, 404);
    old_ada.answer(&asked, accept(json!({ "name": "Ada" }))).await;
}

#[tokio::test]
async fn a_question_has_its_time() {
    let server = fixture(&OLD).await;
    let config = format!("doors: {{ question_timeout_ms: 1000 }}\nservices:\n{}", over_http("f", &server));
    let gateway = Gateway::start(&config).await;
    let client = Modern::new(gateway.address);
    let first = client.call("f__ask_twice", json!({})).await;
    let state = &first["result"]["requestState"];
    let old = Legacy::connect(gateway.address).await;
    let mut stream = old.begin("f__ask_twice", json!({})).await;
    let asked = stream.message().await;
    let ended = stream.message().await;
    assert!(ended["result"]["isError"].as_bool().unwrap_or(true), "{ended}");
    old.answer(&asked, accept(json!({ "name": "Late" }))).await;
    let answer = json!({ question(&first).0: accept(json!({ "name": "Late" })) });
    eventually("the state is too old", async || {
        let late = client.go_on("f__ask_twice", state, json!({})).await;
        (failure(&late)["code"] == "TL1010").then_some(())
    })
    .await;
    let late = client.go_on("f__ask_twice", state, answer).await;
    assert_eq!(failure(&late)["code"], "TL1010", "{late}");
}

#[tokio::test]
async fn a_client_that_can_not_be_asked_is_told_so() {
    for server in [OLD, NEW] {
        let (_server, gateway) = before(&server).await;
        let mut client = Modern::new(gateway.address);
        client.capabilities = json!({ "sampling": {} });
        let response = client.call("f__ask_twice", json!({})).await;
        assert!(response["result"]["isError"] == true || response["error"]["code"] == -32021, "{response}");
        let old = Legacy::connect_as(gateway.address, None, json!({})).await;
        let response = old.call("f__ask_twice", json!({})).await;
        assert!(response["result"]["isError"] == true || response.get("error").is_some(), "{response}");
        // Nothing is left waiting.
        assert_eq!(
            text(&client.call("f__test_simple_text", json!({})).await),
            text(&old.call("f__test_simple_text", json!({})).await)
        );
    }
}

#[tokio::test]
async fn the_record_of_a_question_names_the_tool_and_the_door() {
    let (_server, gateway) = before(&OLD).await;
    Modern::new(gateway.address).call("f__ask_twice", json!({})).await;
    let asked = &gateway.events("dev.trunkline.tool_execution.asked").await[0];
    assert_eq!(asked["subject"], "f/ask_twice", "{asked}");
    let by_target = gateway.get("/v1/events?from=1&target=f/ask_twice").await.json().await;
    assert_eq!(by_target["events"].as_array().unwrap().len(), 1, "{by_target}");
}
