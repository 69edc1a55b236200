//! Every command that the README and the user documentation show is run: as it stands, in a folder of its own, with a
//! gateway that serves what the commands speak of.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What a user would have in the folder.
const CONFIG: &str = "\
listen: 127.0.0.1:0
services:
  git:
    process:
      tools:
        log: { description: Lists commits., argv: [git, --version], effects: { read_only: true },
               input: { type: object, properties: { count: { type: integer } } } }
";

const OPENAPI: &str = "\
openapi: 3.1.0
info: { title: Weather, version: '1' }
servers: [{ url: 'http://127.0.0.1:9' }]
paths:
  /now: { get: { operationId: now, responses: { '200': { description: ok } } } }
";

const CHAOS: &str = "seed: 7\nsteps: [{ faults: [{ kind: latency, ms: 5 }] }]\n";

const MCP_JSON: &str = r#"{"mcpServers": {"files": {"command": "true"}}}"#;

const SERVER_JSON: &str = r#"{"name": "com.example/search", "version": "1.0.0", "remotes": [{"type": "streamable-http", "url": "http://127.0.0.1:9/mcp"}]}"#;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The commands that stand in backticks or indented in a page: those that begin with `trunkline` and hold no
/// placeholder (a word in capitals, a choice, an ellipsis).
fn commands_of(page: &str) -> BTreeSet<String> {
    let spans = page.split('`').skip(1).step_by(2);
    let lines = page.lines().filter_map(|line| line.strip_prefix("    "));
    spans
        .chain(lines)
        .map(|text| text.trim().replace('\n', " "))
        .filter(|text| text.starts_with("trunkline "))
        .filter(|text| {
            let placeholder = |word: &str| {
                word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || "[]<>".contains(c))
            };
            !text.contains('|') && !text.contains('…') && !text.split([' ', '[', '=']).any(placeholder)
        })
        .collect()
}

fn commands() -> BTreeSet<String> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = docs.filter(|page| page.extension().is_some_and(|kind| kind == "md")).collect();
    pages.push(root().join("README.md"));
    pages.iter().flat_map(|page| commands_of(&fs::read_to_string(page).unwrap())).collect()
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".mcp.json"), MCP_JSON).unwrap();
    fs::write(folder.path().join("openapi.yaml"), OPENAPI).unwrap();
    fs::write(folder.path().join("server.json"), SERVER_JSON).unwrap();
    fs::write(folder.path().join("chaos.yaml"), CHAOS).unwrap();
    folder
}

fn trunkline(folder: &Path, server: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.current_dir(folder).env("TRUNKLINE_SERVER", server).env("TRUNKLINE_LISTEN", "127.0.0.1:0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn gateway(folder: &Path) -> (Running, String) {
    fs::write(folder.join("trunkline.yaml"), CONFIG).unwrap();
    let mut child = Running(trunkline(folder, "").arg("up").stderr(Stdio::null()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let server = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    (child, server)
}

/// Commands that run until they are stopped: they have worked when they have said something and go on.
fn runs_on(words: &[&str]) -> bool {
    matches!(words, ["up", ..] | ["chaos", _, ..]) || words.contains(&"--follow")
}

/// Whether these are the words of a command that is spoken of without its arguments.
fn is_named(folder: &Path, words: &[&str]) -> bool {
    let plain = words.iter().all(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
    plain && trunkline(folder, "").args(words).arg("--help").output().unwrap().status.success()
}

#[test]
fn every_command_in_the_documentation_works() {
    let served = folder();
    let (_gateway, server) = gateway(served.path());
    let commands = commands();
    assert!(commands.len() > 8, "the pages are read wrongly: {commands:?}");
    for command in &commands {
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let own = folder();
        if words[0] != "init" && words[0] != "import" {
            fs::write(own.path().join("trunkline.yaml"), CONFIG).unwrap();
        }
        let mut child = Running(trunkline(own.path(), &server).args(&words).spawn().unwrap());
        if runs_on(&words) {
            assert!(goes_on(&mut child.0, words[0] != "events"), "`{command}` ended");
            continue;
        }
        let (code, said) = ends(&mut child.0);
        // `doctor` may find that nothing runs where this folder's gateway would be; that is its work.
        let fine =
            code == 0 || (words[0] == "doctor" && code == 1) || (code == 2 && is_named(own.path(), &words));
        assert!(fine, "`{command}` ended with {code}: {said}");
    }
}

/// Whether it is still there after its first line, or where it has none to say, after a moment.
fn goes_on(child: &mut Child, speaks: bool) -> bool {
    if speaks {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        return line.starts_with("listening on");
    }
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

fn ends(child: &mut Child) -> (i32, String) {
    let error = child.stderr.take().unwrap();
    let said = std::thread::spawn(move || std::io::read_to_string(error).unwrap_or_default());
    let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap_or_default();
    let code = child.wait().unwrap().code().unwrap_or(-1);
    (code, out + &said.join().unwrap())
}
