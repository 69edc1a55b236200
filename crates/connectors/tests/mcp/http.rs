//! Servers behind HTTP that do what a test says, down to the byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use trunkline_connectors::mcp::Config;
use trunkline_model::{EffectState, Service, ServiceState};

use super::setup::{Person, Running, context, simple, text_of};

/// What the server says to a request, and whether it closes the connection then.
struct Said {
    text: String,
    close: bool,
}

impl Said {
    fn json(status: &str, headers: &str, body: &Value) -> Self {
        let body = body.to_string();
        let text = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { text, close: false }
    }

    fn events(events: &str) -> Self {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        Self { text: format!("{head}{events}"), close: true }
    }

    fn status(status: &str) -> Self {
        Self { text: format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"), close: false }
    }
}

struct Heard {
    verb: String,
    headers: String,
    body: Value,
}

async fn hear(stream: &mut BufReader<TcpStream>) -> Option<Heard> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let headers = head.to_ascii_lowercase();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    let verb = head.split(' ').next()?.to_owned();
    Some(Heard { verb, headers, body: serde_json::from_slice(&body).unwrap_or_default() })
}

/// Serves an old server with one tool, `t`, whose calls `answer` answers.
async fn serve(answer: impl Fn(&Heard) -> Option<Said> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some(heard) = hear(&mut stream).await {
                    let Some(said) = answer(&heard).or_else(|| usual(&heard)) else {
                        return std::future::pending().await;
                    };
                    stream.get_mut().write_all(said.text.as_bytes()).await.unwrap();
                    if said.close {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// What an old server says to everything but calls.
fn usual(heard: &Heard) -> Option<Said> {
    let id = &heard.body["id"];
    let result = |result: Value| {
        Some(Said::json("200 OK", "", &json!({"jsonrpc": "2.0", "id": id, "result": result})))
    };
    match heard.body["method"].as_str() {
        Some("initialize") => {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}});
            let message = json!({"jsonrpc": "2.0", "id": id, "result": result});
            Some(Said::json("200 OK", "mcp-session-id: one\r\n", &message))
        }
        Some("tools/list") => {
            let tool = json!({"name": "t", "inputSchema": {"type": "object"}});
            let again = json!({"name": "again", "inputSchema": {}, "annotations": {"idempotentHint": true}});
            result(json!({"tools": [tool, again]}))
        }
        Some("ping") => result(json!({})),
        Some("tools/call") => None,
        Some(method) if method.starts_with("notifications/") => Some(Said::status("202 Accepted")),
        None if heard.verb == "POST" => Some(Said::status("202 Accepted")),
        _ if heard.verb == "DELETE" => Some(Said::status("200 OK")),
        _ => Some(Said::status("405 Method Not Allowed")),
    }
}

fn is_call(heard: &Heard) -> bool {
    heard.body["method"] == "tools/call"
}

fn done(heard: &Heard, text: &str) -> Said {
    let result = json!({"content": [{"type": "text", "text": text}]});
    Said::json("200 OK", "", &json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": result}))
}

fn config(url: String) -> Config {
    Config { url: Some(url), timeout_ms: 2_000, max_response_bytes: 10_000, ..Config::default() }
}

/// What a call comes to whose answer is `said`.
async fn failure_of(said: impl Fn(&Heard) -> Option<Said> + Send + Sync + 'static) -> (String, EffectState) {
    let url = serve(move |heard| if is_call(heard) { said(heard) } else { None }).await;
    let mut running = Running::start(Config { timeout_ms: 500, ..config(url) });
    let tool = running.tool("t").await;
    let failure = simple(&*tool, json!({})).await.unwrap_err();
    running.stop().await;
    (failure.code.to_owned(), failure.effect)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_answer_is_a_failure_of_its_own() {
    let unknown = EffectState::Unknown;
    let said = |text: &str| {
        let text = text.to_owned();
        move |_: &Heard| Some(Said { text: text.clone(), close: true })
    };
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    assert_eq!(failure_of(said("nonsense\r\n\r\n")).await, ("TL4005".to_owned(), unknown));
    assert_eq!(failure_of(said(&format!("{json}content-length: 4\r\n\r\n{{]}}"))).await.0, "TL4002");
    assert_eq!(
        failure_of(said(&format!("{json}content-length: 3\r\n\r\n{{]}}"))).await,
        ("TL4005".to_owned(), unknown)
    );
    assert_eq!(
        failure_of(said(&format!("{json}content-length: 99999\r\n\r\n"))).await,
        ("TL4004".to_owned(), unknown)
    );
    assert_eq!(failure_of(said("")).await, ("TL4002".to_owned(), unknown));
    assert_eq!(failure_of(|_| Some(Said::events(""))).await, ("TL4002".to_owned(), unknown));
    let endless = format!("data: {}", "x".repeat(20_000));
    assert_eq!(failure_of(move |_| Some(Said::events(&endless))).await, ("TL4004".to_owned(), unknown));
    assert_eq!(failure_of(|_| None).await, ("TL4003".to_owned(), unknown));
    assert_eq!(
        failure_of(|_| Some(Said::status("403 Forbidden"))).await,
        ("TL4007".to_owned(), EffectState::None)
    );
    assert_eq!(
        failure_of(|_| Some(Said::status("401 Unauthorized"))).await,
        ("TL4008".to_owned(), EffectState::None)
    );
    let error = |heard: &Heard| {
        let error = json!({"code": -32602, "message": "no"});
        Some(Said::json("200 OK", "", &json!({"jsonrpc": "2.0", "id": heard.body["id"], "error": error})))
    };
    assert_eq!(failure_of(error).await, ("TL4006".to_owned(), EffectState::None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_expired_is_made_anew_and_the_call_sent_again() {
    let calls = AtomicUsize::new(0);
    let url = serve(move |heard| match heard.body["method"].as_str() {
        Some("tools/call") if calls.fetch_add(1, Ordering::Relaxed) == 0 => {
            Some(Said::status("404 Not Found"))
        }
        Some("tools/call") => Some(done(heard, "well")),
        _ => None,
    })
    .await;
    let mut running = Running::start(config(url));
    let tool = running.tool("t").await;
    assert_eq!(simple(&*tool, json!({})).await.unwrap(), "well");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_may_have_happened_is_sent_again_only_where_it_may_be() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let url = serve(move |heard| {
        let first = is_call(heard) && count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        match is_call(heard) {
            true if first => Some(Said { text: String::new(), close: true }),
            true => Some(done(heard, "well")),
            false => None,
        }
    })
    .await;
    let mut running = Running::start(config(url));
    let (once, again) = (running.tool("t").await, running.tool("again").await);
    assert_eq!(simple(&*again, json!({})).await.unwrap(), "well");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(simple(&*once, json!({})).await.unwrap_err().code, "TL4002");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_on_a_calls_stream_is_answered_while_the_stream_is_read() {
    let (answers, mut answered) = tokio::sync::mpsc::unbounded_channel();
    let url = serve(move |heard| {
        if is_call(heard) {
            let ask = json!({"jsonrpc": "2.0", "id": 9, "method": "elicitation/create", "params": {"message": "?"}});
            // The stream is cut after the question: the rest is to be fetched.
            return Some(Said::events(&format!(": hello\n\nid: e1\nretry: 1\ndata: {ask}\n\n")));
        }
        if heard.verb == "GET" && heard.headers.contains("last-event-id: e1") {
            let result = json!({"jsonrpc": "2.0", "id": 4, "result": {"content": [{"type": "text", "text": "well"}]}});
            let results = (1..9).map(|id| {
                let mut result = result.clone();
                result["id"] = json!(id);
                format!("data: {result}\n\n")
            });
            return Some(Said::events(&results.collect::<String>()));
        }
        if heard.body["id"] == 9 && heard.verb == "POST" {
            answers.send(heard.body["result"].clone()).unwrap();
        }
        None
    })
    .await;
    let mut running = Running::start(config(url));
    let tool = running.tool("t").await;
    let answer = text_of(&*tool, json!({}), &context(Arc::new(Person("Ada")), None)).await.unwrap();
    assert_eq!(answer, "well");
    assert_eq!(answered.recv().await.unwrap()["content"]["name"], "Ada");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_fails_calls_and_is_found_when_it_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut running = Running::start(config(format!("http://{address}/mcp")));
    running.until(|service| service.status().state == ServiceState::Down).await;
    assert!(running.service.status().cause.unwrap().contains("refused"));
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some(heard) = hear(&mut stream).await {
                    let said = usual(&heard).unwrap_or_else(|| done(&heard, "well"));
                    stream.get_mut().write_all(said.text.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let tool = running.tool("t").await;
    assert_eq!(simple(&*tool, json!({})).await.unwrap(), "well");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_oldest_revision_is_spoken_to_over_its_two_endpoints() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/sse", listener.local_addr().unwrap());
    let (answers, _) = tokio::sync::broadcast::channel::<String>(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answers = answers.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some(heard) = hear(&mut stream).await {
                    if heard.verb == "GET" {
                        let mut listening = answers.subscribe();
                        let head = Said::events("event: endpoint\ndata: /messages?session=1\n\n");
                        stream.get_mut().write_all(head.text.as_bytes()).await.unwrap();
                        while let Ok(answer) = listening.recv().await {
                            let event = format!("event: message\r\ndata: {answer}\r\n\r\n");
                            stream.get_mut().write_all(event.as_bytes()).await.unwrap();
                        }
                    }
                    let known = heard.headers.starts_with("post /messages?session=1 ");
                    let said = if known { Said::status("202 Accepted") } else { Said::status("405 No") };
                    stream.get_mut().write_all(said.text.as_bytes()).await.unwrap();
                    if known {
                        let said = usual(&heard).unwrap_or_else(|| done(&heard, "well"));
                        let (_, body) = said.text.split_once("\r\n\r\n").unwrap();
                        let _ = answers.send(body.to_owned());
                    }
                }
            });
        }
    });
    let mut running = Running::start(config(url));
    let tool = running.tool("t").await;
    assert_eq!(simple(&*tool, json!({})).await.unwrap(), "well");
    running.stop().await;
}
