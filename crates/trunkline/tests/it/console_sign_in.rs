//! Who may see the console and act there: signing in with a key, forms, reading only; on the real binary.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::support::eventually;
use super::support::http::{self, Reply};
use super::support::process::Gateway;

const KEYS: &str = "auth: { api_keys: [
  { id: anna, key: a-key-of-more-than-twenty-characters }, { id: ops, key: the-key-of-the-operators-here, operator: true } ] }\n";

const SERVICES: &str = "services:
  good: { process: { tools: {
    say: { description: Says., argv: [echo, hello], effects: { read_only: true } },
    change: { description: Changes., argv: [echo, changed], effects: { read_only: false, destructive: true } } } } }
";

async fn post(gateway: &Gateway, path: &str, headers: &[(&str, &str)], form: &str) -> Reply {
    let origin = format!("http://{}", gateway.address);
    let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
    if !headers.iter().any(|(name, _)| *name == "origin") {
        all.push(("origin", &origin));
    }
    all.extend(headers);
    http::send(gateway.address, "POST", path, &all, form.to_owned()).await
}

async fn sign_in(gateway: &Gateway, key: &str) -> Reply {
    post(gateway, "/console/sign-in", &[], &format!("key={key}&to=%2Fconsole%2Fcalls")).await
}

/// The cookie of a sign-in, as a browser would send it.
async fn cookie(gateway: &Gateway, key: &str) -> String {
    let reply = sign_in(gateway, key).await;
    assert_eq!(reply.status, 303);
    reply.header("set-cookie").unwrap().split_once(';').unwrap().0.to_owned()
}

async fn get(gateway: &Gateway, path: &str, cookie: &str) -> Reply {
    http::send(gateway.address, "GET", path, &[("cookie", cookie)], "").await
}

/// The token of the form on a page.
async fn token(gateway: &Gateway, path: &str, cookie: &str) -> String {
    let page = get(gateway, path, cookie).await.text().await;
    let (_, rest) = page.split_once("name=\"token\" value=\"").unwrap_or_else(|| panic!("{path}: {page}"));
    rest.split_once('"').unwrap().0.to_owned()
}

const ANNA: &str = "a-key-of-more-than-twenty-characters";
const OPS: &str = "the-key-of-the-operators-here";

#[tokio::test]
async fn people_sign_in_with_a_key_and_out() {
    let gateway = Gateway::start(&format!("{KEYS}{SERVICES}")).await;
    let asked = gateway.get("/console/calls?outcome=done").await;
    let to = "/console/sign-in?to=%2Fconsole%2Fcalls%3Foutcome%3Ddone";
    assert_eq!((asked.status, asked.header("location")), (303, Some(to)));
    // Programs are told as ever.
    assert_eq!(gateway.get("/v1/services").await.status, 401);
    let page = gateway.get("/console/sign-in?to=https%3A%2F%2Fevil.example%2F").await;
    assert_eq!(page.status, 200);
    assert!(page.text().await.contains("name=\"to\" value=\"/\""));
    let wrong = sign_in(&gateway, "not-a-key").await;
    assert!(wrong.status == 401 && wrong.header("set-cookie").is_none());
    let good = sign_in(&gateway, ANNA).await;
    assert_eq!((good.status, good.header("location")), (303, Some("/console/calls")));
    let set = good.header("set-cookie").unwrap().to_owned();
    for part in ["trunkline-session=", "; Path=/", "; HttpOnly", "; SameSite=Strict", "; Max-Age=43200"] {
        assert!(set.contains(part), "{part}: {set}");
    }
    assert!(!set.contains("Secure") && !set.contains(ANNA), "{set}");
    let cookie = set.split_once(';').unwrap().0.to_owned();
    eventually("who signed in is in the record", async || {
        let page = get(&gateway, "/console/calls", &cookie).await.text().await;
        assert!(page.contains("Signed in as anna"), "{page}");
        page.contains("console.sign_in").then_some(())
    })
    .await;
    assert_eq!(get(&gateway, "/v1/services", &cookie).await.status, 200);
    // A cookie reads. It calls nothing, and it is no key of the MCP door.
    let called = post(&gateway, "/v1/tools/good__say:call", &[("cookie", &cookie)], "{}").await;
    assert_eq!(called.status, 401);
    assert_eq!(post(&gateway, "/mcp", &[("cookie", &cookie)], "{}").await.status, 401);
    let foreign =
        post(&gateway, "/console/sign-out", &[("cookie", &cookie), ("origin", "http://127.0.0.1:1")], "")
            .await;
    assert_eq!(foreign.status, 403);
    let left = post(&gateway, "/console/sign-out", &[("cookie", &cookie)], "").await;
    assert!(left.status == 303 && left.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(get(&gateway, "/console/calls", &cookie).await.status, 303, "it has ended");
}

#[tokio::test]
async fn guessing_is_bounded() {
    let gateway = Gateway::start(&format!("{KEYS}{SERVICES}")).await;
    for _ in 0..10 {
        assert_eq!(sign_in(&gateway, "not-a-key").await.status, 401);
    }
    let refused = sign_in(&gateway, ANNA).await;
    assert!(refused.status == 429 && refused.header("retry-after").is_some(), "{}", refused.status);
    assert!(refused.text().await.contains("TL9109"));
}

#[tokio::test]
async fn holders_see_their_own_and_operators_see_all() {
    let gateway = Gateway::start(&format!("{KEYS}{SERVICES}")).await;
    let (anna, ops) = (cookie(&gateway, ANNA).await, cookie(&gateway, OPS).await);
    let headers = [("authorization", "Bearer a-key-of-more-than-twenty-characters")];
    drop(gateway.call("good__say", &json!({}), &headers).await.json().await);
    eventually("the operator sees it", async || {
        let page = get(&gateway, "/console/calls?principal=anna&action=call", &ops).await.text().await;
        page.contains(">good/say<").then_some(())
    })
    .await;
    let page = get(&gateway, "/console/calls?principal=ops", &anna).await.text().await;
    assert!(!page.contains("console.sign_in"), "{page}");
    assert_eq!(get(&gateway, "/console/config", &anna).await.status, 403);
    let config = get(&gateway, "/console/config?path=api_keys", &ops).await;
    assert_eq!(config.status, 200);
    let config = config.text().await;
    assert!(config.contains("auth.api_keys") && !config.contains(ANNA), "{config}");
}

#[tokio::test]
async fn a_key_that_is_taken_away_ends_its_sign_ins() {
    let gateway = Gateway::start(&format!("{KEYS}{SERVICES}")).await;
    let anna = cookie(&gateway, ANNA).await;
    assert_eq!(get(&gateway, "/console/calls", &anna).await.status, 200);
    let keys = KEYS.replace(ANNA, "another-key-that-anna-has-now");
    gateway.configure(&format!("{keys}{SERVICES}"));
    eventually("the sign-in has ended", async || {
        (get(&gateway, "/console/calls", &anna).await.status == 303).then_some(())
    })
    .await;
}

#[tokio::test]
async fn behind_tls_the_cookie_goes_by_tls_alone() {
    let console = "console: { public_url: \"https://tools.example.com\", max_sessions: 1 }\n";
    let gateway = Gateway::start(&format!("{console}{KEYS}{SERVICES}")).await;
    let public = [("origin", "https://tools.example.com"), ("host", "tools.example.com")];
    let good = post(&gateway, "/console/sign-in", &public, &format!("key={ANNA}")).await;
    assert_eq!(good.status, 303);
    let set = good.header("set-cookie").unwrap().to_owned();
    assert!(set.starts_with("__Host-trunkline-session=") && set.ends_with("; Secure"), "{set}");
    let anna = set.split_once(';').unwrap().0.to_owned();
    let page = get(&gateway, "/console/connect", &anna).await.text().await;
    assert!(page.contains("https://tools.example.com/mcp") && !page.contains("http://"), "{page}");
    // One more than there may be: the longest unused one ends.
    let good = post(&gateway, "/console/sign-in", &public, &format!("key={OPS}")).await;
    assert_eq!(good.status, 303);
    assert_eq!(get(&gateway, "/console/connect", &anna).await.status, 303);
}

#[tokio::test]
async fn a_tool_is_tried_once_for_each_form_and_as_the_one_who_signed_in() {
    let gateway = Gateway::start(&format!("{KEYS}{SERVICES}")).await;
    let (anna, ops) = (cookie(&gateway, ANNA).await, cookie(&gateway, OPS).await);
    let again = cookie(&gateway, ANNA).await;
    let path = "/console/tools/good__change/try";
    let token = token(&gateway, path, &anna).await;
    let good = format!("token={token}&arguments=%7B%7D&sure=yes");
    for (cookie, form) in [
        (&anna, "arguments=%7B%7D&sure=yes".to_owned()),
        (&anna, format!("token={token}&arguments=%7B%7D")),
        // Of somebody else, and of the same person's other sign-in.
        (&ops, good.clone()),
        (&again, good.clone()),
    ] {
        let refused = post(&gateway, path, &[("cookie", cookie)], &form).await;
        assert_eq!(refused.status, 403, "{form}");
    }
    assert_eq!(post(&gateway, "/console/tools/good__say/try", &[("cookie", &anna)], &good).await.status, 403);
    for _ in 0..2 {
        let done = post(&gateway, path, &[("cookie", &anna)], &good).await;
        assert_eq!(done.status, 200);
        assert!(done.text().await.contains("changed"));
    }
    let headers = [("authorization", "Bearer the-key-of-the-operators-here")];
    let made = http::send(gateway.address, "GET", "/v1/audit?target=good%2Fchange", &headers, "").await;
    let made: Value = made.json().await;
    let made = made["deeds"].as_array().unwrap();
    assert!(made.len() == 1 && made[0]["who"] == "anna", "{made:?}");
    let wrong = format!("token={}&arguments=nonsense&sure=yes", self::token(&gateway, path, &anna).await);
    let wrong = post(&gateway, path, &[("cookie", &anna)], &wrong).await.text().await;
    assert!(wrong.contains("class=\"bad\"") && wrong.contains(">nonsense</textarea>"), "{wrong}");
}

#[tokio::test]
async fn a_console_that_only_shows_does_nothing() {
    let gateway = Gateway::start(SERVICES).await;
    let path = "/console/tools/good__change/try";
    let good = format!("token={}&arguments=%7B%7D&sure=yes", token(&gateway, path, "").await);
    gateway.configure(&format!("console: {{ read_only: true }}\n{SERVICES}"));
    let tool = eventually("it only shows", async || {
        let page = gateway.get("/console/tools/good__change").await.text().await;
        page.contains("Read-only").then_some(page)
    })
    .await;
    assert!(!tool.contains("Try it"), "{tool}");
    for (method, path) in
        [("GET", path), ("GET", "/console/flows/x/undo"), ("POST", path), ("POST", "/console/flows/x/cancel")]
    {
        let origin = format!("http://{}", gateway.address);
        let headers = [("origin", &*origin)];
        let reply = http::send(gateway.address, method, path, &headers, good.clone()).await;
        assert_eq!(reply.status, 403, "{method} {path}");
        assert!(reply.text().await.contains("TL9108"));
    }
}

#[tokio::test]
async fn a_flow_that_failed_is_begun_anew_from_a_step_by_the_button() {
    let gateway = Gateway::start(SERVICES).await;
    let file = gateway.folder.path().join("there");
    let mut config = SERVICES.to_owned();
    writeln!(
        config,
        "  file: {{ process: {{ tools: {{ read: {{ description: Reads., argv: [cat, {:?}], effects: {{ read_only: true, idempotent: true }} }} }} }} }}",
        file
    )
    .unwrap();
    gateway.configure(&config);
    eventually("the tool is there", async || {
        (gateway.get("/console/tools/file__read").await.status == 200).then_some(())
    })
    .await;
    let plan = json!({"plan": {"steps": [
        {"id": "first", "tool": "good__say", "args": {}},
        {"id": "second", "tool": "file__read", "args": {}, "after": ["first"]},
    ]}});
    drop(http::post(gateway.address, "/v1/instances", &[], plan.to_string()).await.json().await);
    let all: Value = gateway.get("/v1/instances").await.json().await;
    let old = all["instances"][0]["id"].as_str().unwrap().to_owned();
    std::fs::write(&file, "now it is there").unwrap();
    let page = gateway.get(&format!("/console/flows/{old}")).await.text().await;
    let rows: Vec<&str> = page.split("<tr>").filter(|row| row.contains("file/read")).collect();
    let (_, at) =
        rows[0].split_once(&format!("/console/flows/{old}/retry?from=")).unwrap_or_else(|| panic!("{page}"));
    let step = at.split_once('"').unwrap().0;
    let path = format!("/console/flows/{old}/retry");
    let token = token(&gateway, &format!("{path}?from={step}"), "").await;
    // It is good for this step alone.
    let other = post(&gateway, &path, &[], &format!("token={token}")).await;
    assert_eq!(other.status, 403);
    let done = post(&gateway, &path, &[], &format!("token={token}&from={step}")).await;
    assert_eq!(done.status, 303);
    let new = done.header("location").unwrap().to_owned();
    assert!(!new.ends_with(&old), "{new}");
    let page = eventually("it completes", async || {
        let page = gateway.get(&new).await.text().await;
        page.contains(">completed<").then_some(page)
    })
    .await;
    assert!(page.contains(&format!("In the place of <a href=\"/console/flows/{old}\"")), "{page}");
}
