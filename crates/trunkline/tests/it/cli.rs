//! The real binary, for all that needs no gateway, and against a small HTTP server where it does.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A value that no output may show.
const MARKER: &str = "s3cr3t-marker-value";

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn trunkline(folder: &Path, args: &[&str]) -> Run {
    trunkline_with(folder, args, &[])
}

fn trunkline_with(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(env.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let run = Run {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    };
    for text in [&run.out, &run.err] {
        assert!(!text.contains(MARKER), "{args:?} shows a secret: {text}");
        assert!(!text.contains("panicked"), "{args:?}: {text}");
    }
    run
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const CONFIG: &str = "\
listen: 127.0.0.1:1
auth: { api_keys: [{ id: ci, key: \"${CI_KEY}\" }] }
services:
  # The files.
  files: { mcp: { url: \"http://127.0.0.1:1/mcp\", bearer: \"${CI_KEY}\" } }
";

#[test]
fn config_check_tells_good_from_bad() {
    let here = folder(&[("trunkline.yaml", CONFIG)]);
    let good = trunkline_with(here.path(), &["config", "check"], &[("CI_KEY", MARKER)]);
    assert_eq!((good.code, good.err.as_str()), (0, ""), "{}", good.out);
    assert!(good.out.contains("is good: 1 service\n"), "{}", good.out);
    let unset = trunkline(here.path(), &["config", "check"]);
    assert_eq!(unset.code, 3);
    assert!(unset.err.contains("trunkline.yaml:2:35: error TL6005: auth.api_keys[0].key: the environment variable CI_KEY is not set. Set CI_KEY"), "{}", unset.err);
    assert!(unset.err.ends_with("2 errors in the configuration\n"), "{}", unset.err);
    let json = trunkline(here.path(), &["config", "check", "-o", "json"]);
    let report: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&report["ok"], report["findings"].as_array().unwrap().len()), (&json!(false), 2));
    assert_eq!(trunkline(here.path(), &["config", "check", "nowhere.yaml"]).code, 3);
    assert_eq!(trunkline(here.path(), &["config", "chekc"]).code, 2);
}

#[test]
fn config_show_hides_secrets_and_tells_origins() {
    let here = folder(&[("trunkline.yaml", CONFIG)]);
    let env = [("CI_KEY", MARKER), ("TRUNKLINE_LOG", "debug")];
    let shown = trunkline_with(here.path(), &["config", "show"], &env);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("***"), "{}", shown.out);
    let origins = trunkline_with(here.path(), &["config", "show", "--origin", "-o", "table"], &env);
    let line = |path: &str| {
        let line = origins.out.lines().find(|line| line.starts_with(path)).unwrap_or_default();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("log.level"), "log.level debug env TRUNKLINE_LOG");
    assert_eq!(line("services.files.mcp.bearer"), "services.files.mcp.bearer *** file:5");
    assert_eq!(line("data_dir").split(' ').next_back(), Some("default"));
}

#[test]
fn config_schema_and_convert_print_what_can_be_read_back() {
    let here = folder(&[("trunkline.yaml", CONFIG)]);
    let schema: Value = serde_json::from_str(&trunkline(here.path(), &["config", "schema"]).out).unwrap();
    assert!(schema["properties"]["services"].is_object());
    for to in ["toml", "json", "xml", "yaml"] {
        let converted = trunkline(here.path(), &["config", "convert", "--to", to]);
        assert_eq!(converted.code, 0, "{}", converted.err);
        assert!(converted.out.contains("${CI_KEY}"), "{}", converted.out);
        let there = folder(&[(&format!("trunkline.{to}"), &converted.out)]);
        let check = trunkline_with(there.path(), &["config", "check"], &[("CI_KEY", MARKER)]);
        assert_eq!(check.code, 0, "{to}: {}\n{}", check.err, converted.out);
    }
}

#[test]
fn init_writes_a_good_configuration_and_overwrites_nothing() {
    let here = folder(&[(".mcp.json", "{\"mcpServers\": {\"other\": {\"command\": \"x\"}}}")]);
    let first = trunkline(here.path(), &["init", "--claude-code"]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert_eq!(trunkline(here.path(), &["config", "check"]).code, 0);
    assert!(here.path().join(".trunkline/config.schema.json").is_file());
    let list: Value =
        serde_json::from_str(&fs::read_to_string(here.path().join(".mcp.json")).unwrap()).unwrap();
    let expected =
        json!({"other": {"command": "x"}, "trunkline": {"type": "http", "url": "http://127.0.0.1:7400/mcp"}});
    assert_eq!(list["mcpServers"], expected);
    let again = trunkline(here.path(), &["init"]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("is there already"), "{}", again.err);
}

const SERVERS: &str = r#"{"mcpServers": {
    "files": {"command": "npx", "args": ["-y", "server", "--token=s3cr3t-marker-value"], "env": {"KEY": "s3cr3t-marker-value"}},
    "web": {"type": "http", "url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${WEB_TOKEN}"}},
    "old": {"type": "sse", "url": "https://example.com/sse"}
}}"#;

#[test]
fn import_adds_mcp_servers_and_says_what_it_left_out() {
    let here = folder(&[("trunkline.yaml", CONFIG), ("mcp.json", SERVERS)]);
    let dry = trunkline(here.path(), &["import", "mcp.json", "--dry-run", "-o", "json"]);
    assert_eq!(dry.code, 0, "{}", dry.err);
    let report: Value = serde_json::from_str(&dry.out).unwrap();
    assert_eq!(report["services"][0]["name"], "web");
    let left: Vec<_> = report["left_out"].as_array().unwrap().iter().map(|l| l["what"].as_str()).collect();
    assert_eq!(left, [Some("old"), Some("files")]);
    assert_eq!(fs::read_to_string(here.path().join("trunkline.yaml")).unwrap(), CONFIG);

    let done = trunkline(here.path(), &["import", "mcp.json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let text = fs::read_to_string(here.path().join("trunkline.yaml")).unwrap();
    assert!(text.starts_with(CONFIG) && text.contains("  web:\n"), "{text}");
    let fresh = folder(&[("mcp.json", SERVERS)]);
    assert_eq!(trunkline(fresh.path(), &["import", "mcp.json", "-o", "yaml"]).code, 0);
    let check = trunkline_with(fresh.path(), &["config", "check"], &[("WEB_TOKEN", MARKER)]);
    assert_eq!(check.code, 0, "{}", check.err);
}

#[test]
fn import_adds_openapi_documents_and_refuses_other_things() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/openapi/orders.yaml");
    let here = folder(&[("other.json", "{\"a\": 1}"), ("bad.yaml", "a: [s3cr3t-marker-value")]);
    fs::copy(shop, here.path().join("orders.yaml")).unwrap();
    let run = trunkline(here.path(), &["import", "orders.yaml", "--name", "orders", "-o", "json"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let report: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(report["services"][0]["service"], json!({"openapi": {"document": "orders.yaml"}}));
    assert!(report["services"][0]["tools"].as_array().unwrap().len() >= 4);
    assert_eq!(trunkline(here.path(), &["config", "check"]).code, 0);
    for source in ["other.json", "bad.yaml", "nowhere.json", "http://127.0.0.1:1/openapi.json"] {
        let run = trunkline(here.path(), &["import", source, "--dry-run"]);
        assert_eq!(run.code, 1, "{source}: {}", run.err);
        assert!(run.err.contains("TL6013"), "{}", run.err);
    }
}

#[test]
fn the_shop_of_the_repository_is_good() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let check = trunkline(&shop, &["config", "check"]);
    assert_eq!((check.code, check.err.as_str()), (0, ""));
    assert!(check.out.contains("5 services"), "{}", check.out);
}

#[test]
fn the_specification_is_accepted_with_its_notes() {
    let xml = "<integration_config><tool_coordination><timeout>30000</timeout></tool_coordination>\
               <service_discovery><registry_type>consul</registry_type></service_discovery></integration_config>";
    let here = folder(&[("integration-config.xml", xml)]);
    let check = trunkline(here.path(), &["config", "check", "integration-config.xml"]);
    assert_eq!(check.code, 0);
    assert!(
        check.err.contains("note: service_discovery.registry_type: consul: has no effect yet"),
        "{}",
        check.err
    );
    let yaml = trunkline(here.path(), &["config", "convert", "integration-config.xml", "--to", "yaml"]);
    assert_eq!(yaml.out, "doors:\n  call_timeout_ms: 30000\n");
}

#[test]
fn completions_are_printed_for_every_shell() {
    let here = folder(&[]);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = trunkline(here.path(), &["completions", shell]);
        assert!(run.code == 0 && run.out.contains("trunkline"), "{shell}");
    }
}

#[test]
fn the_doctor_names_each_failure_with_its_fix() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "listen: {}\ndata_dir: /dev/null/state\nservices:\n  a: {{ mcp: {{ command: [no-such-program-here] }} }}\n  b: {{ process: {{ tools: {{ t: {{ argv: [git] }} }} }} }}\n",
        taken.local_addr().unwrap()
    );
    let here = folder(&[("trunkline.yaml", &config), (".mcp.json", "{")]);
    // The port's owner answers nothing that a gateway would.
    let server = thread::spawn(move || {
        let (mut peer, _) = taken.accept().unwrap();
        let _ = peer.write_all(b"220 mail\r\n");
    });
    let run = trunkline(here.path(), &["doctor", "-o", "json"]);
    server.join().unwrap();
    assert_eq!(run.code, 1, "{}", run.out);
    let report: Value = serde_json::from_str(&run.out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check["verdict"] == "failed").collect();
    assert_eq!(failed.len(), 4, "{}", run.out);
    assert!(failed.iter().all(|check| !check["fix"].as_str().unwrap_or_default().is_empty()));
    let bad = folder(&[("trunkline.yaml", "services: { a: {} }\n")]);
    let run = trunkline(bad.path(), &["doctor"]);
    assert!(
        run.code == 1
            && run.out.contains("FAIL  configuration")
            && run.out.contains("fix: Give the service exactly one"),
        "{}",
        run.out
    );
}

#[test]
fn no_gateway_is_exit_code_4() {
    let here = folder(&[]);
    for args in [&["tools"][..], &["services"], &["events"], &["call", "x"]] {
        let run = trunkline_with(here.path(), args, &[("TRUNKLINE_SERVER", "http://127.0.0.1:1")]);
        assert_eq!(run.code, 4, "{args:?}: {}", run.err);
        assert!(
            run.err.contains("TL6011") && run.err.contains("trunkline up") && run.out.is_empty(),
            "{}",
            run.err
        );
    }
}

/// A server that gives one answer to each connection; returns what was asked.
fn door(answers: Vec<String>) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut peer, _) = listener.accept().unwrap();
            asked.push(request(&mut peer));
            peer.write_all(answer.as_bytes()).unwrap();
        }
        asked
    };
    (url, thread::spawn(serve))
}

/// Reads a request with its body.
fn request(peer: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if read.len() >= end + 4 + length {
                return text;
            }
        }
        let count = peer.read(&mut chunk).unwrap();
        assert!(count > 0, "the request ends early: {text}");
        read.extend_from_slice(&chunk[..count]);
    }
}

fn answer(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn json_answer(status: &str, body: &Value) -> String {
    answer(status, "application/json", &body.to_string())
}

#[test]
fn tools_are_listed_over_all_pages_and_searched() {
    let tool = |name: &str| json!({"name": name, "service": "git", "description": "Does\nthings", "effects": {"read_only": true}});
    let (url, asked) = door(vec![
        json_answer("200 OK", &json!({"tools": [tool("git__log")], "next_cursor": "a b"})),
        json_answer("200 OK", &json!({"tools": [tool("git__show")], "next_cursor": null})),
        json_answer("200 OK", &json!({"tools": [tool("git__show")]})),
    ]);
    let here = folder(&[]);
    let run = |words: &[&str]| {
        let arguments = [&["tools"], words, &["--server", &url]].concat();
        trunkline_with(here.path(), &arguments, &[("TRUNKLINE_API_KEY", MARKER)])
    };
    let all = run(&[]);
    assert_eq!(all.code, 0, "{}", all.err);
    assert!(all.out.contains("git__log") && all.out.contains("git__show"), "{}", all.out);
    let some = run(&["what", "was done"]);
    assert_eq!(some.out, "NAME       SERVICE  EFFECTS  DESCRIPTION\ngit__show  git      reads    Does\n");
    let asked = asked.join().unwrap();
    assert!(asked[0].contains(&format!("authorization: Bearer {MARKER}")), "{}", asked[0]);
    assert!(asked[1].starts_with("GET /v1/tools?cursor=a+b HTTP/1.1"), "{}", asked[1]);
    assert!(asked[2].starts_with("GET /v1/search?q=what+was+done&limit=20 HTTP/1.1"), "{}", asked[2]);
}

#[test]
fn the_outcome_of_a_call_is_its_exit_code() {
    let here = folder(&[("args.json", "{\"a\": 1}")]);
    let result = |is_error: bool| {
        json!({"call_id": "c", "outcome": "complete", "is_error": is_error,
               "result": {"content": [{"type": "text", "text": "done \u{1b}[2J"}], "isError": is_error}})
    };
    let question =
        json!({"call_id": "c", "outcome": "input_required", "requests": {"q": {}}, "request_state": "s"});
    let refused = json!({"type": "x", "title": "Not allowed", "status": 403, "detail": "No.", "code": "TL2003", "fault": "caller", "retryable": false, "next": "Ask."});
    let invalid = json!({"type": "x", "title": "Wrong arguments", "status": 422, "detail": "No.", "code": "TL4001", "retryable": false,
                         "errors": [{"path": "/a", "expected": "type string", "found": "1"}]});
    for (response, code, said) in [
        (json_answer("200 OK", &result(false)), 0, ""),
        (json_answer("200 OK", &result(true)), 6, ""),
        (json_answer("202 Accepted", &question), 7, "asks for input"),
        (
            answer("403 Forbidden", "application/problem+json", &refused.to_string()),
            5,
            "error: Not allowed (TL2003): No. Ask.",
        ),
        (
            answer("422 Unprocessable", "application/problem+json", &invalid.to_string()),
            1,
            "/a: expected type string, found 1",
        ),
        (answer("200 OK", "text/html", "<html>"), 1, "TL6012"),
    ] {
        let (url, asked) = door(vec![response]);
        let run = trunkline(here.path(), &["call", "a/b", "@args.json", "--arg", "b=x", "--server", &url]);
        assert_eq!(run.code, code, "{}{}", run.out, run.err);
        assert!(run.err.contains(said), "{}", run.err);
        if matches!(code, 0 | 6) {
            assert_eq!(run.out, "done  [2J\n");
        }
        let asked = asked.join().unwrap().remove(0);
        assert!(asked.starts_with("POST /v1/tools/a%2Fb:call HTTP/1.1"), "{asked}");
        assert!(asked.ends_with("{\"a\":1,\"b\":\"x\"}"), "{asked}");
    }
    for bad in [
        &["call", "t", "[1]"][..],
        &["call", "t", "{"],
        &["call", "t", "@none"],
        &["call", "t", "--arg", "x"],
    ] {
        assert_eq!(trunkline(here.path(), bad).code, 2, "{bad:?}");
    }
}

#[test]
fn events_are_read_page_by_page() {
    let event = |position: &str| {
        json!({"specversion": "1.0", "type": "dev.trunkline.tool_execution.started.v1", "time": "2026-01-01T00:00:00Z",
               "subject": "git/log", "authid": "ci", "sequence": position})
    };
    let page = |position: &str, next: u64, end: bool| {
        json_answer("200 OK", &json!({"events": [event(position)], "next": next, "end": end}))
    };
    let here = folder(&[]);
    let (url, asked) = door(vec![page("3", 4, false), page("4", 5, true)]);
    let run =
        trunkline(here.path(), &["events", "--from", "3", "--type", "dev.trunkline.", "--server", &url]);
    assert_eq!(run.code, 0, "{}", run.err);
    let first = run.out.lines().next().unwrap_or_default();
    assert_eq!(
        first.split_whitespace().collect::<Vec<_>>(),
        ["3", "2026-01-01T00:00:00Z", "tool_execution.started", "ci", "git/log"]
    );
    let asked = asked.join().unwrap();
    assert!(
        asked[0].starts_with("GET /v1/events?from=3&type=dev.trunkline.&limit=1000 HTTP"),
        "{}",
        asked[0]
    );
    assert!(asked[1].starts_with("GET /v1/events?from=4&"), "{}", asked[1]);
    let (url, asked) = door(vec![page("9", 10, true)]);
    let run = trunkline(here.path(), &["events", "-o", "json", "--server", &url]);
    let events: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events, [event("9")]);
    assert!(asked.join().unwrap()[0].starts_with("GET /v1/events HTTP"));
}

#[test]
fn a_stream_of_events_is_taken_up_where_it_ended() {
    let stream = |id: u64| {
        answer("200 OK", "text/event-stream", &format!("id: {id}\ndata: {{\"sequence\":\"{id}\"}}\n\n"))
    };
    let refused = json!({"title": "Not authenticated", "status": 401, "detail": "No.", "code": "TL2001"});
    let here = folder(&[]);
    let (url, asked) = door(vec![
        stream(7),
        stream(8),
        answer("401 Unauthorized", "application/problem+json", &refused.to_string()),
    ]);
    let run = trunkline(here.path(), &["events", "--follow", "-o", "json", "--server", &url]);
    assert_eq!((run.code, run.out.lines().count()), (5, 2), "{}", run.err);
    let asked = asked.join().unwrap();
    assert!(asked[0].starts_with("GET /v1/events HTTP"), "{}", asked[0]);
    assert!(asked[1].starts_with("GET /v1/events?from=8 HTTP"), "{}", asked[1]);
}
