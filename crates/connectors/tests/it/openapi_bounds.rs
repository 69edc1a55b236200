//! Documents that are none, or that are made to exhaust memory or time, in a child process whose memory is measured.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use trunkline_connectors::Error;
use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::openapi::{Config, Document, location, preview};
use trunkline_model::{Failure, Fault};

/// The most memory that any of these documents may take, in KiB. A 30 MB document that is in order takes about as much.
const MAX_PEAK_KIB: u64 = 600 << 10;

/// The variable that makes the child test load a document and tell how it went.
const CHILD: &str = "TRUNKLINE_TEST_DOCUMENT";

/// Peak memory of this process.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Not a test of its own: what the child does.
#[tokio::test]
async fn child_loads_a_document() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let location = location(&path, Path::new("/")).unwrap();
    let config = Config::default();
    let outcome =
        match Document::load(&location, config.max_document_bytes, &HttpClient::new().unwrap()).await {
            Ok(document) => {
                let made = preview(&document, &config);
                let first = made.left_out.first().map(|one| one.reason.clone()).unwrap_or_default();
                format!("{} tools, {} left out: {first}", made.tools.len(), made.left_out.len())
            }
            Err(error) => {
                let text = error.to_string();
                format!("{} {text}", Failure::from(error).code)
            }
        };
    println!("outcome: {outcome}\npeak: {}", peak_kib());
}

/// What became of a document in a child process.
fn in_child(name: &str, text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["openapi_bounds::child_loads_a_document", "--exact", "--nocapture"])
        .env(CHILD, &path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name}: {told} {}", String::from_utf8_lossy(&output.stderr));
    let after = |mark: &str| told.split_once(mark).unwrap().1.lines().next().unwrap().to_owned();
    let (outcome, peak) = (after("outcome: "), after("peak: "));
    println!(
        "{name}: {} MB: {outcome} [peak {} MiB]",
        text.len() / 1_000_000,
        peak.parse::<u64>().unwrap() / 1024
    );
    assert!(peak.parse::<u64>().unwrap() < MAX_PEAK_KIB, "{name}: {peak} KiB");
    outcome
}

const SIZE: usize = 20_000_000;

#[test]
fn twenty_megabytes_of_nested_references_are_a_clear_error() {
    let head = r##"{"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": {"/x": {"post": {"requestBody": {"content":
        {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}}}}}, "components": {"schemas": {"##;
    let mut chain = head.to_owned();
    let mut number = 0;
    while chain.len() < SIZE {
        number += 1;
        write!(chain, r##""S{}":{{"$ref":"#/components/schemas/S{number}"}},"##, number - 1).unwrap();
    }
    write!(chain, r#""S{number}":{{}}}}}}}}"#).unwrap();
    // Either it is refused as a whole, or what it refers to is cut.
    let outcome = in_child("chain.json", &chain);
    assert!(outcome.starts_with("1 tools") || outcome.starts_with("TL4102"), "{outcome}");

    let mut nested = head.to_owned();
    nested.push_str("\"S0\":");
    nested.push_str(&r#"{"$ref":"#.repeat(SIZE / 8));
    assert!(in_child("nested.json", &nested).starts_with("TL4102"));

    let mut list = head.to_owned();
    list.push_str("\"S0\":{\"allOf\":[");
    while list.len() < SIZE {
        list.push_str(r##"{"$ref":"#/paths"},"##);
    }
    list.push_str("{}]}}}}");
    assert!(in_child("list.json", &list).starts_with("TL4102"));

    let mut doubled = head.to_owned();
    for level in 0..200 {
        let next = level + 1;
        write!(doubled, r##""S{level}":{{"allOf":[{{"$ref":"#/components/schemas/S{next}"}},{{"$ref":"#/components/schemas/S{next}"}}]}},"##).unwrap();
    }
    doubled.push_str("\"S200\":{}}}}");
    assert!(in_child("doubled.json", &doubled).starts_with("1 tools"));
}

#[test]
fn one_large_schema_in_many_operations_is_bounded() {
    let mut text =
        r#"{"openapi": "3.0.0", "info": {"title": "x", "version": "1"}, "components": {"schemas": {"#
            .to_owned();
    for number in 0..2900 {
        write!(text, r##""S{number}":{{"type":"object","properties":{{"a":{{"$ref":"#/components/schemas/S{}"}}}}}},"##, number + 1).unwrap();
    }
    text.push_str(r#""S2900":{}}}, "paths": {"#);
    for number in 0..20_000 {
        write!(text, r##""/{number}":{{"post":{{"requestBody":{{"content":{{"application/json":{{"schema":{{"$ref":"#/components/schemas/S0"}}}}}}}}}}}},"##).unwrap();
    }
    text.push_str(r#""/x": {}}}"#);
    let outcome = in_child("many.json", &text);
    assert!(outcome.contains("too large together"), "{outcome}");
}

#[test]
fn an_alias_bomb_in_yaml_is_a_clear_error() {
    let mut text = "openapi: 3.1.0\na0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let inner = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "a{level}: &a{level} [{inner}]").unwrap();
    }
    let outcome = in_child("bomb.yaml", &text);
    assert!(outcome.starts_with("TL4102"), "{outcome}");
    let deep = format!("openapi: 3.1.0\nx: {}", "[".repeat(1_000_000));
    assert!(in_child("deep.yaml", &deep).starts_with("TL4102"));
}

#[tokio::test]
async fn what_is_no_openapi_document_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let http = HttpClient::new().unwrap();
    for (text, code, cause) in [
        ("", "TL4101", "not an object"),
        ("hello", "TL4101", "not an object"),
        ("{\"a\": 1}", "TL4101", "neither"),
        ("{\"a\": ", "TL4101", "JSON"),
        ("openapi: 4.0.0", "TL4101", "4.0.0"),
        ("swagger: '1.2'", "TL4101", "1.2"),
        ("\u{0}\u{1}\u{2}", "TL4101", "YAML"),
    ] {
        let path = folder.path().join("document");
        std::fs::write(&path, text).unwrap();
        let location = location("document", folder.path()).unwrap();
        let error = Document::load(&location, 1000, &http).await.unwrap_err();
        assert!(error.to_string().contains(cause), "{text:?}: {error}");
        let failure = Failure::from(error);
        assert_eq!((failure.code, failure.fault), (code, Fault::Operator), "{text:?}");
    }
    std::fs::write(folder.path().join("document"), " ".repeat(2000)).unwrap();
    let large = Document::load(&location("document", folder.path()).unwrap(), 1000, &http).await;
    assert!(matches!(large, Err(Error::DocumentTooLarge { .. })), "{large:?}");
    for unreadable in ["absent.yaml", "/dev/zero", "."] {
        let error = Document::load(&location(unreadable, folder.path()).unwrap(), 1000, &http).await;
        assert!(matches!(error, Err(Error::DocumentUnreadable { .. })), "{unreadable}: {error:?}");
    }
    assert!(Document::load(&location("swagger.yaml", Path::new("/")).unwrap(), 1000, &http).await.is_err());
}

#[tokio::test]
async fn a_document_in_many_files_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "api/api.yaml",
        "openapi: 3.1.0\ninfo: {title: x, version: '1'}\npaths:\n  /pets/{id}: {$ref: ../paths/pet.yaml}\n  /lost: {$ref: ../paths/lost.yaml}\n",
    );
    write(
        "paths/pet.yaml",
        "put:\n  operationId: putPet\n  parameters: [{$ref: 'shared.json#/id'}]\n  requestBody: {content: {application/json: {schema: {$ref: '../schemas/Pet.yaml'}}}}\n",
    );
    write(
        "paths/shared.json",
        r#"{"id": {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}}"#,
    );
    write(
        "schemas/Pet.yaml",
        "type: object\nproperties:\n  friend: {$ref: Pet.yaml}\n  example: {$ref: 'Name.yaml'}\n",
    );
    write("schemas/Name.yaml", "type: string\n");
    let location = location("api/api.yaml", folder.path()).unwrap();
    let document = Document::load(&location, 10_000, &HttpClient::new().unwrap()).await.unwrap();
    let made = preview(&document, &Config::default());
    assert_eq!(document.files(), 5);
    assert_eq!(made.left_out[0].operation, "* /lost");
    assert!(made.left_out[0].reason.contains("lost.yaml"), "{:?}", made.left_out);
    let input = &made.tools[0].input;
    assert_eq!(input["properties"]["body"]["$ref"], "#/$defs/Pet");
    assert_eq!(input["$defs"]["Pet"]["properties"]["friend"]["$ref"], "#/$defs/Pet");
    assert_eq!(input["$defs"]["Name"]["type"], "string");
    assert_eq!(input["properties"]["id"]["type"], "integer");
}
