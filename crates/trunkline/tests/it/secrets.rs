//! Secrets of workflows on the real binary: they go to the hosts they are for, and nowhere else.

use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::process::{Gateway, TRUNKLINE};

/// The password, as it must be found in the requests of the host it is for alone.
const PASSWORD: &str = "tide-and-time-4711";

/// An authority and a service in one: tokens at `/oauth2/token`, and everything else for who proves to be somebody.
struct Guarded {
    host: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Guarded {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (heard, own) = (requests.clone(), host.clone());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (mut text, mut buffer) = (String::new(), [0; 4096]);
                while let Ok(count @ 1..) = socket.read(&mut buffer).await {
                    text += &String::from_utf8_lossy(&buffer[..count]);
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| {
                        line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
                    });
                    if body.len() >= length.unwrap_or_default() {
                        break;
                    }
                }
                let (status, body) = answer(&text, &own);
                heard.lock().push(text);
                let body = body.to_string();
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self { host, requests }
    }

    fn heard(&self, word: &str) -> usize {
        self.requests.lock().iter().filter(|request| request.contains(word)).count()
    }
}

fn answer(request: &str, own: &str) -> (u16, Value) {
    if request.starts_with("GET /.well-known/openid-configuration ") {
        let issuer = format!("http://{own}");
        return (200, json!({"issuer": issuer, "token_endpoint": format!("{issuer}/oauth2/token")}));
    }
    if request.starts_with("POST /oauth2/token ") {
        let known = request.contains("grant_type=client_credentials")
            && request.contains("client_id=trunk")
            && request.contains(&format!("client_secret={PASSWORD}"));
        return if known {
            (200, json!({"access_token": "token-1", "token_type": "Bearer", "expires_in": 600}))
        } else {
            (401, json!({"error": "invalid_client"}))
        };
    }
    let login = STANDARD.encode(format!("trunk:{PASSWORD}"));
    let proven = [format!("Basic {login}"), "Bearer token-1".to_owned()];
    let proven = proven.iter().any(|proof| request.contains(proof));
    if proven { (200, json!({"seen": true})) } else { (401, json!({"error": "who are you?"})) }
}

/// A workflow that asks `host` and proves by `authentication` who asks.
fn flow(folder: &std::path::Path, name: &str, host: &str, authentication: &Value) -> String {
    let task = json!({"ask": {"call": "http", "with": {
        "method": "get", "endpoint": {"uri": format!("http://{host}/things"), "authentication": authentication},
    }}});
    let workflow = json!({
        "document": {"dsl": "1.0.3", "namespace": "secret", "name": name, "version": "1.0.0"},
        "use": {"secrets": ["login", "client"]},
        "do": [task],
    });
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, workflow.to_string()).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn a_secret_goes_to_the_hosts_it_is_for_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let (trusted, other) = (Guarded::start().await, Guarded::start().await);
    let host = &*trusted.host;
    let client = json!({"oauth2": {"use": "client"}});
    let files: Vec<String> = [
        ("basic", host, json!({"basic": {"use": "login"}})),
        ("token", host, client.clone()),
        ("oidc", host, json!({"oidc": {"use": "client"}})),
        ("elsewhere", &*other.host, json!({"basic": {"use": "login"}})),
        ("token-elsewhere", &*other.host, client),
    ]
    .iter()
    .map(|(name, host, authentication)| flow(folder.path(), name, host, authentication))
    .collect();
    let flows = json!({
        "definitions": files,
        "allow_hosts": ["127.0.0.1"],
        "secrets": {
            "login": {"hosts": [host], "values": {"username": "trunk", "password": PASSWORD}},
            "client": {"hosts": [host], "values": {
                "authority": format!("http://{host}"), "client.id": "trunk", "client.secret": PASSWORD,
            }},
        },
    });
    let gateway = Gateway::begin(&format!("flows: {flows}\n")).await;
    for (name, works) in [
        ("basic", true),
        ("token", true),
        ("token", true),
        ("oidc", true),
        ("elsewhere", false),
        ("token-elsewhere", false),
    ] {
        let answer = gateway.call(name, &json!({}), &[]).await.json().await;
        let text = answer.to_string();
        assert_eq!(text.contains("\"seen\":true"), works, "{name}: {text}");
        if !works {
            let setting =
                if name == "elsewhere" { "flows.secrets.login.hosts" } else { "flows.secrets.client.hosts" };
            assert!(text.contains(setting), "{name}: {text}");
        }
        assert!(!text.contains(PASSWORD), "{name}: {text}");
    }
    assert_eq!(trusted.heard("POST /oauth2/token"), 2, "one for each policy: a token is kept");
    assert_eq!(other.requests.lock().len(), 0);
    // Neither the record, nor the log, nor the configuration as it is shown has it.
    let events = gateway.get("/v1/events?limit=1000").await.text().await;
    assert!(events.contains("flow") && !events.contains(PASSWORD) && !events.contains("token-1"), "{events}");
    let journals = std::fs::read(gateway.folder.path().join("data").join("events.db")).unwrap_or_default();
    assert!(!journals.windows(PASSWORD.len()).any(|bytes| bytes == PASSWORD.as_bytes()));
    assert!(!gateway.log().contains(PASSWORD));
    let mut command = Command::new(TRUNKLINE);
    let shown = command.args(["config", "show"]).current_dir(gateway.folder.path()).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("secrets") && !shown.contains(PASSWORD), "{shown}");
}
