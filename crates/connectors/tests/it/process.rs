//! Commands as tools: git in a repository of its own, and small scripts that misbehave.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_connectors::process::{Config, Processes, build};
use trunkline_model::{EffectState, Failure, Fault, Service, ServiceId};

use super::{call, context, execute, text, tool};

fn service(folder: &Path, tools: Value) -> std::sync::Arc<Processes> {
    let config: Config = serde_json::from_value(json!({"tools": tools})).unwrap();
    build(config, folder, ServiceId::new("commands")).unwrap()
}

/// A tool that runs a script with parameters as its own arguments.
fn script(text: &str, more: Value) -> Value {
    let mut tool = json!({"argv": ["sh", "-c", text, "sh", "--", "{arg}"],
        "input": {"type": "object", "properties": {"arg": {}, "input": {}}}});
    tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"run": tool})
}

async fn run(tools: Value, arguments: Value) -> Result<trunkline_model::ToolResult, Failure> {
    let folder = tempfile::tempdir().unwrap();
    execute(&*service(folder.path(), tools), "run", arguments).await
}

#[tokio::test]
async fn git_works_in_its_repository() {
    let folder = tempfile::tempdir().unwrap();
    let identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"];
    let mut commit = vec!["git"];
    commit.extend(identity);
    commit.extend(["commit", "--quiet", "--message={message}", "{empty?--allow-empty}"]);
    let git = service(
        folder.path(),
        json!({
            "init": {"argv": ["git", "init", "--quiet"]},
            "write": {"argv": ["tee", "--", "{file}"], "stdin": "text"},
            "add": {"argv": ["git", "add", "--", "{paths}"],
                "input": {"type": "object", "properties": {"paths": {"type": "array"}}}},
            "commit": {"argv": commit},
            "log": {"argv": ["git", "log", "--max-count={count}", "--format={\"subject\": \"%s\"}"],
                "format": "json_lines", "effects": {"read_only": true},
                "input": {"type": "object", "properties": {"count": {"type": "integer", "default": 1}}}},
            "show": {"argv": ["git", "show", "{revision}"]},
        }),
    );
    execute(&*git, "init", json!({})).await.unwrap();
    execute(&*git, "write", json!({"file": "a b.txt", "text": "hello\n"})).await.unwrap();
    execute(&*git, "add", json!({"paths": ["a b.txt"]})).await.unwrap();
    let done =
        execute(&*git, "commit", json!({"message": "First; $(rm -rf /)", "empty": false})).await.unwrap();
    assert!(!done.is_error, "{done:?}");
    let log = execute(&*git, "log", json!({})).await.unwrap();
    assert_eq!(
        log.body.to_value()["structuredContent"],
        json!({"items": [{"subject": "First; $(rm -rf /)"}]})
    );
    let missing = execute(&*git, "show", json!({"revision": "nowhere"})).await.unwrap();
    assert!(missing.is_error);
    assert!(text(&missing).starts_with("exit code 128\n"), "{missing:?}");
    let option = execute(&*git, "show", json!({"revision": "--output=/tmp/x"})).await.unwrap_err();
    assert_eq!((option.code, option.fault, option.effect), ("TL4201", Fault::Caller, EffectState::None));
}

#[tokio::test]
async fn input_reaches_the_command_as_text_or_as_json() {
    let upper = script("tr a-z A-Z", json!({"stdin": "input"}));
    assert_eq!(text(&run(upper, json!({"input": "grüße"})).await.unwrap()), "GRüßE");
    let all = script("cat", json!({"stdin": "*", "format": "json"}));
    let arguments = json!({"arg": "x", "input": [1]});
    let echoed = run(all, arguments.clone()).await.unwrap();
    assert_eq!(echoed.body.to_value()["structuredContent"], arguments);
    // More input than a pipe holds, and a command that does not read it.
    let deaf = script("exit 0", json!({"stdin": "input"}));
    assert!(!run(deaf, json!({"input": "x".repeat(1 << 20)})).await.unwrap().is_error);
}

#[tokio::test]
async fn only_the_allowed_environment_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let config: Config = serde_json::from_value(json!({
        "tools": {"env": {"argv": ["env"]}}, "env": {"OWN": "1"}, "inherit_env": ["CARGO_MANIFEST_DIR"],
    }))
    .unwrap();
    let service = build(config, folder.path(), ServiceId::new("commands")).unwrap();
    let environment = text(&execute(&*service, "env", json!({})).await.unwrap());
    let mut names: Vec<_> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    names.retain(|name| !["PATH", "HOME", "USER", "LANG", "TMPDIR"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["CARGO_MANIFEST_DIR", "OWN"]);
}

#[tokio::test]
async fn exit_codes_signals_and_bad_output_are_told_apart() {
    let grep = script("echo out; echo err >&2; exit 3", json!({}));
    let failed = run(grep, json!({})).await.unwrap();
    assert!(failed.is_error);
    assert_eq!(text(&failed), "exit code 3\nout\nerr");
    let fine = script("exit 1", json!({"ok_exit_codes": [0, 1]}));
    assert!(!run(fine, json!({})).await.unwrap().is_error);
    let killed = run(script("echo why >&2; kill -9 $$", json!({})), json!({})).await.unwrap_err();
    assert_eq!((killed.code, killed.effect), ("TL4205", EffectState::Unknown));
    assert!(killed.detail.contains("signal 9: why"), "{killed}");
    let garbage = run(script("echo '{'", json!({"format": "json"})), json!({})).await.unwrap_err();
    assert_eq!(garbage.code, "TL4204");
    let halves =
        run(script("printf '[1\\n2]'", json!({"format": "json_lines"})), json!({})).await.unwrap_err();
    assert_eq!(halves.code, "TL4204");
    let absent = json!({"run": {"argv": ["trunkline-no-such-program"]}});
    let absent = run(absent, json!({})).await.unwrap_err();
    assert_eq!((absent.code, absent.fault, absent.effect), ("TL4202", Fault::Operator, EffectState::None));
}

#[tokio::test]
async fn output_is_bounded_and_says_what_was_cut() {
    let flood =
        |more: Value| script("head -c 3000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero >&2", more);
    let result = run(flood(json!({"max_output_bytes": 1000})), json!({})).await.unwrap();
    assert_eq!(text(&result), format!("{}\n[cut off here: 2999000 more bytes]", "x".repeat(1000)));
    let json = run(flood(json!({"max_output_bytes": 1000, "format": "json"})), json!({})).await.unwrap_err();
    assert!(json.detail.contains("max_output_bytes"), "{json}");
}

/// Whether a process of this number is there and not a zombie.
fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn gone(pid: &str) {
    while alive(pid) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The numbers that a script has written to a file, once it has.
async fn written(file: &Path) -> String {
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn a_command_that_takes_too_long_dies_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let hang = script("sleep 600 & echo $! > child; echo stuck >&2; sleep 600", json!({"timeout_ms": 300}));
    let service = service(folder.path(), hang);
    let late = execute(&*service, "run", json!({})).await.unwrap_err();
    assert_eq!((late.code, late.effect), ("TL4203", EffectState::Unknown));
    assert!(late.detail.contains("stuck"), "{late}");
    gone(&written(&folder.path().join("child")).await).await;
    // The caller's own deadline counts where it is nearer.
    let mut soon = context();
    soon.deadline = Instant::now() + Duration::from_millis(50);
    let hang = script("sleep 600", json!({}));
    let service = self::service(folder.path(), hang);
    let late = tool(&*service, "run").execute(&call("run", json!({})), &soon).await.unwrap_err();
    assert_eq!(late.code, "TL4203");
}

#[tokio::test]
async fn a_cancelled_call_kills_its_command() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), script("sleep 600 & echo $$ $! > pids; wait", json!({})));
    let running = tokio::spawn(async move { execute(&*service, "run", json!({})).await });
    let pids = written(&folder.path().join("pids")).await;
    running.abort();
    for pid in pids.split_whitespace() {
        gone(pid).await;
    }
}

#[tokio::test]
async fn what_a_command_leaves_running_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), script("sleep 600 & echo $!", json!({})));
    let result = execute(&*service, "run", json!({})).await.unwrap();
    gone(&text(&result)).await;
}

#[test]
fn a_configuration_that_can_not_work_is_refused() {
    for (tool, cause) in [
        (json!({"argv": []}), "empty"),
        (json!({"argv": ["{program}"]}), "program"),
        (json!({"argv": ["x", "{a}"], "input": {"type": "object", "properties": {"b": {}}}}), "`a`"),
        (json!({"argv": ["x"], "input": {"type": "string"}}), "type: object"),
        (json!({"argv": ["x"], "output": {"type": "object", "required": 1}}), "JSON Schema"),
    ] {
        let config: Config = serde_json::from_value(json!({"tools": {"t": tool}})).unwrap();
        let error = build(config, Path::new("/"), ServiceId::new("commands")).err().unwrap();
        assert!(error.to_string().contains(cause), "{error}");
        assert_eq!(Failure::from(error).code, "TL4200");
    }
}

#[test]
fn the_tools_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let service =
        service(folder.path(), json!({"t": {"argv": ["cat", "{file}"], "effects": {"read_only": true}}}));
    let spec = tool(&*service, "t").spec().clone();
    assert_eq!(spec.description, "cat {file}");
    assert!(spec.effects.read_only);
    assert_eq!(spec.input.document()["required"], json!(["file"]));
    assert_eq!(service.status().protocol, "process");
}
