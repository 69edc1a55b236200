//! What is done about calls that fail, by what went wrong, on the real binary; and that no change is ever sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::support::client::{Legacy, Modern, accept, failure, text};
use super::support::eventually;
use super::support::mcp::{Came, Says, Scripted};
use super::support::process::Gateway;
use super::support::upstream::Upstream;

const TOLD: &str = "dev.trunkline/recovery";

fn done(text: &str) -> Says {
    Says::Result(json!({"content": [{"type": "text", "text": text}]}))
}

fn tool(name: &str, read_only: bool, schema: &Value) -> Value {
    json!({"name": name, "inputSchema": schema, "annotations": {"readOnlyHint": read_only}})
}

fn schema(required: &[&str], properties: &[&str]) -> Value {
    let properties: serde_json::Map<_, _> =
        properties.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

/// A server that changes its tools without a word: `look` takes one thing more, `book` and `peek` need another one, and `lost` is
/// gone. What comes from the list that was is refused, as long as nobody has read the new one.
async fn changing() -> (Scripted, Arc<AtomicUsize>) {
    let version = Arc::new(AtomicUsize::new(1));
    let (now, mut read) = (version.clone(), 0);
    let server = Scripted::start(move |came: &Came<'_>| {
        let version = now.load(Ordering::SeqCst);
        match came.body["method"].as_str() {
            Some("tools/list") => {
                read = version;
                let old = schema(&["city"], &["city"]);
                let more = schema(&["city"], &["city", "unit"]);
                let other = schema(&["place"], &["place"]);
                Says::Result(json!({"tools": if version == 1 {
                    json!([tool("look", true, &old), tool("book", false, &old), tool("peek", true, &old),
                        tool("lost", true, &old)])
                } else {
                    json!([tool("look", true, &more), tool("book", false, &more), tool("peek", true, &other)])
                }}))
            }
            Some("tools/call") if read < version => match came.body["params"]["name"].as_str() {
                Some("peek") => Says::Result(json!({"isError": true, "content": [
                    {"type": "text", "text": "MCP error -32602: Invalid arguments for tool peek"}]})),
                _ => Says::Error(-32_602, "the session knows other tools"),
            },
            Some("tools/call") if came.body["params"]["name"] == "never" => Says::Error(-32_602, "no"),
            Some("tools/call") => done("sunny"),
            _ => Says::Result(json!({})),
        }
    })
    .await;
    (server, version)
}

async fn before(server: &Scripted) -> Gateway {
    Gateway::start(&format!(
        "loops: {{ calls: 0 }}\nrecovery: {{ ask: true }}\nservices:\n{}",
        server.service("up", "", "")
    ))
    .await
}

#[tokio::test]
async fn tools_that_changed_are_read_anew_and_a_read_is_made_once_more() {
    let (server, version) = changing().await;
    let gateway = before(&server).await;
    let client = Legacy::connect_as(gateway.address, None, json!({})).await;
    assert_eq!(text(&client.call("up__look", json!({"city": "oslo"})).await), "sunny");
    version.store(2, Ordering::SeqCst);
    let answer = client.call("up__look", json!({"city": "oslo"})).await;
    assert_eq!(text(&answer), "sunny");
    let told = &answer["result"]["_meta"][TOLD];
    assert_eq!(told["changed"]["takes_now"], json!(["unit"]), "{answer}");
    assert_eq!(told["tried"][0]["recovery"], "rediscovered");
    assert_eq!(told["tried"][0]["why"], "the session knows other tools");
    assert_eq!((server.called("look"), server.heard("tools/list")), (3, 2));
    let event = eventually("it is an event", async || {
        let events = gateway.events("dev.trunkline.service_call.changed").await;
        events.into_iter().find(|event| event["data"]["action"] == "recovery")
    })
    .await;
    let context = &event["data"]["context"];
    assert_eq!((&context["recovery"], &context["helped"]), (&json!("rediscovered"), &json!(true)), "{event}");
}

#[tokio::test]
async fn a_change_that_is_refused_is_not_sent_again_and_its_caller_is_told_what_is_different() {
    for (tool, arguments) in [
        ("book", json!({"city": "oslo"})),
        ("peek", json!({"city": "oslo"})),
        ("lost", json!({"city": "oslo"})),
    ] {
        let (server, version) = changing().await;
        let gateway = before(&server).await;
        let client = Legacy::connect_as(gateway.address, None, json!({})).await;
        version.store(2, Ordering::SeqCst);
        let answer = client.call(&format!("up__{tool}"), arguments).await;
        let told = failure(&answer);
        assert_eq!(told["code"], "TL8043", "{answer}");
        assert_eq!(server.called(tool), 1, "{tool}");
        let changed = &told["data"]["recovery"]["changed"];
        match tool {
            // It may change something: whether it fits or not.
            "book" => assert_eq!(changed["takes_now"], json!(["unit"]), "{answer}"),
            // It only reads, and no longer fits.
            "peek" => {
                assert_eq!(changed["needs"], json!(["place"]), "{answer}");
                assert_eq!(changed["input_schema"]["required"], json!(["place"]), "{answer}");
                assert!(text(&answer).contains("it needs place"), "{answer}");
            }
            _ => assert_eq!(changed["gone"], true, "{answer}"),
        }
    }
}

#[tokio::test]
async fn a_refusal_of_a_tool_that_is_what_it_was_is_passed_on_and_asks_for_no_lists_again_and_again() {
    let server = Scripted::start(|came: &Came<'_>| match came.body["method"].as_str() {
        Some("tools/list") => Says::Result(json!({"tools": [tool("look", true, &schema(&[], &["city"]))]})),
        Some("tools/call") => Says::Error(-32_602, "no such city"),
        _ => Says::Result(json!({})),
    })
    .await;
    let gateway = before(&server).await;
    let client = Legacy::connect_as(gateway.address, None, json!({})).await;
    for _ in 0..5 {
        let answer = client.call("up__look", json!({"city": "atlantis"})).await;
        assert_eq!(answer["error"]["message"], "no such city", "{answer}");
    }
    assert_eq!(server.called("look"), 5);
    // However slow this machine is: far fewer than there were refusals.
    assert!((2..4).contains(&server.heard("tools/list")), "{}", server.heard("tools/list"));
}

/// A server with a tool that needs a city and a number of days.
async fn needing() -> (Scripted, Gateway) {
    let server = Scripted::start(|came: &Came<'_>| match came.body["method"].as_str() {
        Some("tools/list") => {
            let schema = json!({"type": "object", "required": ["city", "days"], "properties": {
                "city": {"type": "string", "description": "Where"}, "days": {"type": "integer", "minimum": 1}}});
            Says::Result(json!({"tools": [tool("book", false, &schema)]}))
        }
        Some("tools/call") => done(&came.body["params"]["arguments"].to_string()),
        _ => Says::Result(json!({})),
    })
    .await;
    let gateway = before(&server).await;
    (server, gateway)
}

#[tokio::test]
async fn what_is_missing_is_asked_for_once_while_the_call_waits() {
    let (server, gateway) = needing().await;
    let client = Legacy::connect(gateway.address).await;
    for (answer, good) in [
        (accept(json!({"days": 3, "admin": true})), true),
        (accept(json!({"days": 0})), false),
        (json!({"action": "decline"}), false),
    ] {
        let made = server.called("book");
        let mut stream = client.begin("up__book", json!({"arguments": {"city": "oslo"}})).await;
        let asked = stream.message().await;
        assert_eq!(asked["method"], "elicitation/create", "{asked}");
        let form = &asked["params"]["requestedSchema"];
        assert_eq!(form["required"], json!(["days"]), "{asked}");
        assert_eq!(form["properties"], json!({"days": {"type": "integer", "minimum": 1}}));
        client.answer(&asked, answer).await;
        let told = stream.message().await;
        if good {
            let arguments: Value = serde_json::from_str(text(&told)).unwrap();
            assert_eq!(arguments, json!({"city": "oslo", "days": 3}));
            assert_eq!(told["result"]["_meta"][TOLD]["asked_for"], json!(["days"]));
        } else {
            assert_eq!(failure(&told)["code"], "TL1006", "{told}");
            assert!(text(&told).contains("days"), "{told}");
        }
        assert_eq!(server.called("book"), made + usize::from(good), "nothing is called that does not fit");
    }
}

#[tokio::test]
async fn what_is_missing_is_asked_for_by_ending_the_request_and_else_is_named() {
    let (server, gateway) = needing().await;
    let client = Modern::new(gateway.address);
    let first = client.call("up__book", json!({})).await;
    let requests = first["result"]["inputRequests"].as_object().unwrap_or_else(|| panic!("{first}"));
    let (key, asked) = requests.iter().next().unwrap();
    assert_eq!(asked["params"]["requestedSchema"]["required"], json!(["city", "days"]), "{first}");
    let answer = json!({ key: accept(json!({"city": "oslo", "days": 2})) });
    let last = client.go_on("up__book", &first["result"]["requestState"], answer).await;
    assert_eq!(serde_json::from_str::<Value>(text(&last)).unwrap(), json!({"city": "oslo", "days": 2}));
    assert_eq!(server.called("book"), 1);
    // Who can't be asked is told, and so is who gave more that is wrong than that it is not there.
    let silent = Legacy::connect_as(gateway.address, None, json!({})).await;
    let told = silent.call("up__book", json!({"city": "oslo"})).await;
    assert!(failure(&told)["code"] == "TL1006" && text(&told).contains("days"), "{told}");
    let told = client.call("up__book", json!({"city": 7})).await;
    assert_eq!(failure(&told)["code"], "TL1006", "{told}");
    // Where the operator does not want it, nobody is asked.
    let services = server.service("up", "", "");
    gateway.configure(&format!("services:\n{services}"));
    eventually("nobody is asked", async || {
        (failure(&client.call("up__book", json!({})).await)["code"] == "TL1006").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_was_kept_says_what_it_stands_for() {
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicU64::new(0);
    let upstream = Upstream::start(move |_| {
        let number = number.fetch_add(1, Ordering::SeqCst);
        (200, Vec::new(), json!({"number": number}).to_string())
    })
    .await;
    let cache = "    cache: { ttl_ms: 1, stale_if_error_ms: 3600000 }\n";
    let gateway =
        Gateway::start(&format!("services:\n{}", upstream.service("up", folder.path(), cache))).await;
    let read = async || gateway.call("up__read", &json!({}), &[]).await.json().await["result"].clone();
    assert_eq!(read().await["structuredContent"]["number"], 0);
    upstream.answers(|_| (503, Vec::new(), "{}".to_owned()));
    let old = read().await;
    assert_eq!(old["structuredContent"]["number"], 0, "{old}");
    let told = &old["_meta"][TOLD];
    assert_eq!(
        (&told["answered_by"], &told["tried"][0]["recovery"]),
        (&json!("cache"), &json!("kept")),
        "{old}"
    );
    assert!(told["tried"][0]["why"].as_str().unwrap().contains("503"), "{old}");
}

/// A server whose tokens last for so many requests, and then for as many more as were renewed.
async fn guarded(refreshes: bool) -> (Scripted, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (given, expired) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (tokens, old) = (given.clone(), expired.clone());
    let server = Scripted::start(move |came: &Came<'_>| {
        let host = came.headers["host"].to_str().unwrap();
        let base = format!("http://{host}");
        match came.path {
            "/.well-known/oauth-protected-resource" | "/.well-known/oauth-protected-resource/mcp" => {
                Says::Http(200, Vec::new(), json!({"resource": format!("{base}/mcp"), "authorization_servers": [base]}))
            }
            path if path.starts_with("/.well-known/") => Says::Http(200, Vec::new(), json!({
                "issuer": base, "token_endpoint": format!("{base}/token"),
                "authorization_endpoint": format!("{base}/authorize"), "response_types_supported": ["code"],
                "grant_types_supported": ["client_credentials", "refresh_token"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "code_challenge_methods_supported": ["S256"],
            })),
            "/token" => {
                let number = tokens.fetch_add(1, Ordering::SeqCst) + 1;
                let mut token = json!({"access_token": format!("token-{number}"), "token_type": "Bearer", "expires_in": 3600});
                if refreshes {
                    token["refresh_token"] = json!(format!("refresh-{number}"));
                }
                Says::Http(200, Vec::new(), token)
            }
            _ => {
                let shown = came.headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer token-"));
                let number: usize = shown.and_then(|number| number.parse().ok()).unwrap_or(0);
                if number <= old.load(Ordering::SeqCst) {
                    let challenge = format!(
                        "Bearer error=\"invalid_token\", resource_metadata=\"{base}/.well-known/oauth-protected-resource\"");
                    return Says::Http(401, vec![("www-authenticate", challenge)], json!({"error": "invalid_token"}));
                }
                match came.body["method"].as_str() {
                    Some("tools/list") => Says::Result(json!({"tools": [tool("book", false, &schema(&[], &["city"]))]})),
                    Some("tools/call") => done(&number.to_string()),
                    _ => Says::Result(json!({})),
                }
            }
        }
    })
    .await;
    (server, given, expired)
}

#[tokio::test]
async fn a_token_that_expires_is_renewed_in_the_middle_of_a_call_and_the_change_is_made_once() {
    for refreshes in [false, true] {
        let (server, given, expired) = guarded(refreshes).await;
        let oauth = ", oauth: { grant: client_credentials, client_id: us, client_secret: hidden }";
        let services = server.service("up", oauth, "");
        let gateway = Gateway::start(&format!("loops: {{ calls: 0 }}\nservices:\n{services}")).await;
        let client = Legacy::connect_as(gateway.address, None, json!({})).await;
        for round in 1..6 {
            let had = given.load(Ordering::SeqCst);
            let answer = client.call("up__book", json!({"city": "oslo"})).await;
            assert_eq!(text(&answer), had.to_string(), "{answer}");
            // It expires: the next call is refused by the server, and made with another one.
            expired.store(had, Ordering::SeqCst);
            let answer = client.call("up__book", json!({"city": "oslo"})).await;
            let number = text(&answer).parse::<usize>();
            assert!(number.is_ok_and(|number| number > had), "{refreshes} {round}: {answer}");
        }
        assert!(!gateway.log().contains("hidden") && !gateway.log().contains("token-"));
    }
}
