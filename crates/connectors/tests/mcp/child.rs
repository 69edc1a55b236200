//! Servers that are child processes. The child is this test program itself, told by its environment to be a server; what
//! the test harness writes before is what a connector has to pass over.

use std::io::{BufRead, Write};
use std::sync::Arc;

use serde_json::{Value, json};
use trunkline_connectors::mcp::{Config, Session};
use trunkline_model::{Secret, Service, ServiceState};

use super::setup::{Person, Running, context, simple, text_of};

const ROLE: &str = "TRUNKLINE_TEST_MCP_CHILD";

fn config() -> Config {
    let program = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let arguments = ["child::serve", "--exact", "--nocapture", "--test-threads=1"];
    Config {
        command: std::iter::once(program).chain(arguments.map(str::to_owned)).collect(),
        env: [(ROLE.to_owned(), Secret::new("1"))].into_iter().collect(),
        ..Config::default()
    }
}

fn say(message: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}").unwrap();
    out.flush().unwrap();
}

fn tell(id: &Value, text: &str) {
    say(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}}));
}

/// Not a test: the server, where the environment says so.
#[test]
fn serve() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    println!();
    let mut asking = None;
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line.unwrap()) else { continue };
        let id = &message["id"];
        match message["method"].as_str() {
            Some("initialize") => say(&json!({"jsonrpc": "2.0", "id": id, "result": {
                "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "c", "version": "1"},
            }})),
            Some("tools/list") => {
                let tools = ["echo", "ask", "die", "hang", "endless", "environment", "pid"];
                let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
                say(&json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools.map(tool)}}));
            }
            Some("tools/call") => act(&message, &mut asking),
            Some("notifications/cancelled") => eprintln!("cancelled {}", message["params"]["requestId"]),
            Some(_) if !id.is_null() => {
                say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "unknown"}}));
            }
            Some(_) => {}
            None => {
                let answer = message.get("result").or(message.get("error")).cloned().unwrap_or_default();
                tell(&asking.take().unwrap(), &answer.to_string());
            }
        }
    }
    std::process::exit(0);
}

fn act(message: &Value, asking: &mut Option<Value>) {
    let id = &message["id"];
    match message["params"]["name"].as_str().unwrap() {
        "echo" => {
            println!("this is no message");
            tell(id, message["params"]["arguments"]["text"].as_str().unwrap_or_default());
        }
        "ask" => {
            *asking = Some(id.clone());
            let params = json!({"message": "who?", "requestedSchema": {"type": "object", "properties": {}}});
            say(&json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": params}));
        }
        "die" => {
            eprintln!("something terrible happened");
            std::process::exit(3);
        }
        "endless" => {
            let mut out = std::io::stdout().lock();
            let _ = write!(out, r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":""#);
            for _ in 0..100 {
                let _ = out.write_all(&[b'x'; 1000]);
            }
            let _ = out.write_all(b"\n");
        }
        "environment" => {
            let mut names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
            names.sort();
            tell(id, &names.join(","));
        }
        "pid" => tell(id, &std::process::id().to_string()),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_no_messages_are_passed_over() {
    let mut running = Running::start(config());
    let echo = running.tool("echo").await;
    assert_eq!(simple(&*echo, json!({"text": "hällo"})).await.unwrap(), "hällo");
    let shown = running.service.status().stderr.join("\n");
    assert!(shown.contains("this is no message"), "{shown}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_reaches_the_caller_and_its_answer_the_server() {
    let mut running = Running::start(config());
    let ask = running.tool("ask").await;
    let answer = text_of(&*ask, json!({}), &context(Arc::new(Person("Ada")), None)).await.unwrap();
    assert!(answer.contains("Ada"), "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_may_be_anybodys_is_refused() {
    let mut running = Running::start(config());
    let (hang, ask) = (running.tool("hang").await, running.tool("ask").await);
    let other = context(Arc::new(Person("Eve")), Some("theirs"));
    let mine = context(Arc::new(Person("Ada")), Some("mine"));
    let answer = tokio::select! {
        biased;
        _ = text_of(&*hang, json!({}), &other) => panic!("it never answers"),
        answer = text_of(&*ask, json!({}), &mine) => answer.unwrap(),
    };
    assert!(answer.contains("per_conversation"), "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_fails_its_call_alone_and_the_server_is_back() {
    let mut running = Running::start(config());
    let (die, echo) = (running.tool("die").await, running.tool("echo").await);
    let failure = simple(&*die, json!({})).await.unwrap_err();
    assert_eq!(failure.code, "TL4002");
    assert!(failure.detail.contains("exited with code 3"), "{failure}");
    assert!(failure.detail.contains("something terrible happened"), "{failure}");
    assert!(!running.service.contents().tools.is_empty());
    assert_eq!(simple(&*echo, json!({"text": "again"})).await.unwrap(), "again");
    assert_eq!(running.service.status().restarts, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_call_is_told_as_what_it_is() {
    let mut running = Running::start(config());
    let (pid, hang) = (running.tool("pid").await, running.tool("hang").await);
    let id: i32 = simple(&*pid, json!({})).await.unwrap().parse().unwrap();
    let killing = async {
        tokio::task::yield_now().await;
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    };
    let (failure, ()) = tokio::join!(simple(&*hang, json!({})), killing);
    let failure = failure.unwrap_err();
    assert!(failure.detail.contains("killed by signal 9"), "{failure}");
    assert_ne!(simple(&*pid, json!({})).await.unwrap(), id.to_string());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_is_told_that_nobody_waits() {
    let mut running = Running::start(Config { timeout_ms: 300, ..config() });
    let (hang, echo) = (running.tool("hang").await, running.tool("echo").await);
    assert_eq!(simple(&*hang, json!({})).await.unwrap_err().code, "TL4003");
    // The child works in order: when it has answered this, it has seen the cancellation.
    while !running.service.status().stderr.iter().any(|line| line.starts_with("cancelled ")) {
        simple(&*echo, json!({})).await.unwrap();
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_fails_its_call_in_bounded_memory() {
    let mut running = Running::start(Config { max_response_bytes: 10_000, ..config() });
    let (endless, echo) = (running.tool("endless").await, running.tool("echo").await);
    assert_eq!(simple(&*endless, json!({})).await.unwrap_err().code, "TL4004");
    assert_eq!(simple(&*echo, json!({"text": "x"})).await.unwrap(), "x");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_sees_only_the_environment_that_it_is_given() {
    let mut running = Running::start(Config { inherit_env: vec!["CARGO_PKG_NAME".to_owned()], ..config() });
    let names = simple(&*running.tool("environment").await, json!({})).await.unwrap();
    let allowed = ["PATH", "HOME", "USER", "LANG", "TMPDIR", "CARGO_PKG_NAME", ROLE];
    assert!(names.split(',').all(|name| allowed.contains(&name)), "{names}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_conversation_may_have_a_child_of_its_own() {
    let mut running = Running::start(Config { session: Session::PerConversation, ..config() });
    let pid = running.tool("pid").await;
    let of = async |conversation| {
        text_of(&*pid, json!({}), &context(Arc::new(Person("x")), conversation)).await.unwrap()
    };
    let (a, b, shared) = (of(Some("a")).await, of(Some("b")).await, of(None).await);
    assert!(a != b && a != shared && b != shared);
    assert_eq!(of(Some("a")).await, a);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_named() {
    let mut running =
        Running::start(Config { command: vec!["/nowhere/at/all".to_owned()], ..Config::default() });
    running.until(|service| service.status().state == ServiceState::Down).await;
    assert!(running.service.status().cause.unwrap().contains("/nowhere/at/all"));
    running.stop().await;
}
