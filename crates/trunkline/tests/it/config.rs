//! Configurations read from real files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline::config::{self, Config, Finding, Flags, Format, Level, Loaded, Watcher};

/// A value that no output may show.
const MARKER: &str = "s3cr3t-marker-value";

fn env(name: &str) -> Option<String> {
    match name {
        "CI_KEY" => Some(MARKER.to_owned()),
        "PORT" => Some("9100".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn folder(name: &str, text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), text).unwrap();
    folder
}

fn load(name: &str, text: &str) -> Result<Loaded, Vec<Finding>> {
    let folder = folder(name, text);
    config::load(folder.path(), &env, &Flags::default())
}

fn errors(text: &str) -> Vec<String> {
    load("trunkline.yaml", text).unwrap_err().iter().map(line).collect()
}

/// A finding without its file.
fn line(finding: &Finding) -> String {
    let place = match (finding.line, finding.column) {
        (Some(line), Some(column)) => format!("{line}:{column} "),
        _ => String::new(),
    };
    format!("{place}{} {}: {}", finding.code.unwrap_or("-"), finding.path, finding.message)
}

const FULL: &str = r#"
# A configuration with something of everything.
listen: [127.0.0.1:7400, "[::1]:7400"]
data_dir: state
log: { level: debug, format: json }
auth:
  api_keys:
    - { id: ci, key: "${CI_KEY}" }
    - { id: ops, sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad }
policy:
  default: allow
  rules:
    - { effect: deny, service: "shop-*", tool: "delete_*", operation: call_tool }
doors: { call_timeout_ms: 5000, record: { results: true } }
events: { retention_days: 7 }
service_timeout_ms: 4000
services:
  git:
    names: plain
    description: "The repository's <history> & more"
    process:
      env: { PORT: 8080, DEBUG: true }
      tools:
        log:
          description: "Shows\n  commits\t"
          argv: [git, log, "--max-count={count}"]
          input: { type: object, properties: { count: { type: [integer, "null"], default: null } } }
          effects: { read_only: true }
          ok_exit_codes: [0, 1]
        "odd name/1": { argv: [./tool] }
  files:
    enabled: false
    mcp: { command: [npx, -y, server, "${UNSET_VARIABLE}"], timeout_ms: 1000 }
  shop-orders:
    openapi: { document: "https://example.com/openapi.json", credentials: { key: { token: "${CI_KEY}" } } }
children:
  shop: { command: ["${exe_dir}/shop", serve], ready_url: "http://127.0.0.1:1/healthz" }
"#;

/// FULL without the null that TOML can't hold.
fn full() -> String {
    FULL.replace("[integer, \"null\"], default: null", "integer")
}

#[test]
fn a_full_configuration_is_read() {
    let loaded = load("trunkline.yaml", FULL).unwrap();
    assert_eq!(loaded.remarks, []);
    assert_eq!(loaded.listen.len(), 2);
    let config = &loaded.config;
    assert_eq!(config.data_dir, loaded.base.join("state"));
    assert_eq!(config.services.keys().collect::<Vec<_>>(), ["git", "files", "shop-orders"]);
    let git = config.services["git"].process.as_ref().unwrap();
    assert_eq!(git.env["PORT"].expose(), "8080");
    assert_eq!(git.tools["log"].timeout_ms, 4000);
    assert_eq!(git.tools["odd name/1"].argv, [loaded.base.join("./tool").display().to_string()]);
    assert_eq!(git.cwd.as_deref(), Some(&*loaded.base));
    assert_eq!(config.services["files"].mcp.as_ref().unwrap().timeout_ms, 1000);
    assert_eq!(config.services["shop-orders"].openapi.as_ref().unwrap().timeout_ms, 4000);
    assert_eq!(config.auth.api_keys[0].key.as_ref().unwrap().expose(), MARKER);
}

#[test]
fn nothing_shown_holds_a_secret() {
    let text = FULL.replace("[git, log,", "[git, \"--token=${CI_KEY}\",");
    let loaded = load("trunkline.yaml", &text).unwrap();
    let shown = format!("{}{:?}{:?}", loaded.show(), loaded.settings(), loaded);
    assert!(!shown.contains(MARKER), "{shown}");
    assert!(shown.contains("--token=${CI_KEY}") && shown.contains("***"), "{shown}");
    // Wrong types and unknown names where secrets stand do not show them either.
    let wrong = format!(
        "auth: {{ api_keys: [{{ id: 1.5, key: [{MARKER}] }}], {{}}: 1 }}\nlisten: {MARKER}\ndoors: ${{CI_KEY}}\nlog: {{format: {MARKER}}}\n"
    );
    let wrong = format!("{:?}", load("trunkline.yaml", &wrong).unwrap_err());
    assert!(!wrong.contains(MARKER), "{wrong}");
    for (name, text) in [
        ("trunkline.json", format!("{{\"listen\": \"{MARKER}\n")),
        ("trunkline.toml", format!("listen = \"{MARKER}\nx")),
        ("trunkline.xml", format!("<trunkline><listen>{MARKER}</liste></trunkline>")),
        ("trunkline.yaml", format!("listen: \"{MARKER}\nx: [")),
        ("trunkline.yaml", format!("a: {MARKER}\na: {MARKER}\nb: *{MARKER}")),
    ] {
        let found = format!("{:?}", load(name, &text).unwrap_err());
        assert!(!found.contains(MARKER), "{name}: {found}");
    }
}

#[test]
fn origins_are_told() {
    let folder = folder("trunkline.yaml", FULL);
    let env = |name: &str| match name {
        "TRUNKLINE_LOG" => Some("warn".to_owned()),
        "TRUNKLINE_LISTEN" => Some("127.0.0.1:1".to_owned()),
        other => env(other),
    };
    let flags = Flags { listen: vec!["127.0.0.1:2".to_owned()], ..Flags::default() };
    let loaded = config::load(folder.path(), &env, &flags).unwrap();
    let of = |path: &str| {
        let setting = loaded.settings().into_iter().find(|setting| setting.path == path).unwrap();
        format!("{} {}", setting.value, setting.origin)
    };
    assert_eq!(of("listen"), "[\"127.0.0.1:2\"] flag --listen");
    assert_eq!(of("log.level"), "\"warn\" env TRUNKLINE_LOG");
    assert_eq!(of("doors.call_timeout_ms"), "5000 file:14");
    assert_eq!(of("doors.list_ttl_ms"), "60000 default");
    assert_eq!(of("auth.api_keys[0].key"), "\"***\" file:8");
}

#[test]
fn every_mistake_is_found_in_one_pass() {
    let found = errors(
        "lisetn: 127.0.0.1:1
data_dir: [a]
log: { format: jsn }
auth: { api_keys: [{ id: a, key: '${NOT_SET}' }] }
policy: { rules: [{ service: x }] }
doors: { call_timeout_ms: -1, max_sessions: many, max_request_bytes: 0 }
services:
  a__b: { process: { tools: { t: { argv: [] } } } }
  none: {}
  two: { mcp: { command: [x], url: 'ftp://x' }, openapi: { document: /none/missing.yaml } }
  typo: { opneapi: { document: x } }
",
    );
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn an_open_listener_needs_a_key() {
    let found = errors("listen: 0.0.0.0:7400\n");
    assert_eq!(
        found,
        ["1:9 TL6008 listen: 0.0.0.0:7400 can be reached by other machines, and no API key is configured"]
    );
    let key = "auth: { api_keys: [{ id: a, key: 0123456789abcdef }] }\nlisten: 0.0.0.0:7400\n";
    assert_eq!(load("trunkline.yaml", key).unwrap().remarks, []);
}

#[test]
fn numbers_may_come_from_variables_and_lists_may_be_one_text() {
    let text = "listen: 127.0.0.1:${PORT}\ndoors: { call_timeout_ms: \"${PORT}\" }\nevents:\n";
    let loaded = load("trunkline.yaml", text).unwrap();
    assert_eq!(loaded.listen[0].port(), 9100);
    assert_eq!(loaded.config.doors.call_timeout_ms, 9100);
    assert_eq!(loaded.show()["listen"], json!(["127.0.0.1:${PORT}"]));
    let found = errors("doors: { call_timeout_ms: \"9100\" }\n");
    assert_eq!(
        found,
        ["1:27 TL6004 doors.call_timeout_ms: expected a whole number of at least 0, found text"]
    );
}

#[test]
fn places_are_known_in_every_language() {
    for (name, text, at) in [
        ("trunkline.yaml", "doors:\n  x: 1\n", (2, 3)),
        ("trunkline.toml", "[doors]\nx = 1\n", (2, 1)),
        ("trunkline.json", "{\"doors\":\n  {\"x\": 1}}\n", (2, 4)),
        ("trunkline.xml", "<trunkline>\n  <doors><x>1</x></doors></trunkline>", (2, 10)),
    ] {
        let found = load(name, text).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].line, found[0].column), (Some(at.0), Some(at.1)), "{name}");
        assert_eq!(found[0].code, Some("TL6003"));
    }
}

#[test]
fn a_folder_has_one_configuration() {
    let folder = folder("trunkline.yaml", "");
    fs::write(folder.path().join("trunkline.toml"), "").unwrap();
    let found = config::load(folder.path(), &env, &Flags::default()).unwrap_err();
    assert!(found[0].message.contains("two configurations"), "{found:?}");
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(config::load(empty.path(), &env, &Flags::default()).unwrap_err()[0].code, Some("TL6001"));
    let default = config::load_or_default(None, empty.path(), &env, &Flags::default()).unwrap();
    assert_eq!(default.config.services.len(), 0);
}

/// The file's text in another language, and its values.
fn converted(path: &Path, to: Format) -> String {
    config::convert(path, to).unwrap().0
}

fn extension(format: Format) -> &'static str {
    match format {
        Format::Yaml => "yaml",
        Format::Toml => "toml",
        Format::Json => "json",
        Format::Xml => "xml",
    }
}

const FORMATS: [Format; 4] = [Format::Yaml, Format::Toml, Format::Json, Format::Xml];

#[test]
fn every_conversion_comes_back_the_same() {
    for (text, formats) in
        [(full(), &FORMATS[..]), (FULL.to_owned(), &[Format::Yaml, Format::Json, Format::Xml][..])]
    {
        let start = folder("trunkline.yaml", &text);
        let original: Value =
            serde_json::from_str(&converted(&start.path().join("trunkline.yaml"), Format::Json)).unwrap();
        for from in formats {
            for to in formats {
                let first = folder(
                    &format!("trunkline.{}", extension(*from)),
                    &converted(&start.path().join("trunkline.yaml"), *from),
                );
                let second = folder(
                    &format!("trunkline.{}", extension(*to)),
                    &converted(&config::find(first.path()).unwrap(), *to),
                );
                let file = config::find(second.path()).unwrap();
                let back: Value = serde_json::from_str(&converted(&file, Format::Json)).unwrap();
                assert_eq!(back, original, "{from:?} to {to:?}:\n{}", fs::read_to_string(&file).unwrap());
                let loaded = config::load(&file, &env, &Flags::default()).unwrap();
                assert_eq!(loaded.config.services.len(), 3);
            }
        }
    }
}

fn specification() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec/integration-config.xml");
    let alternative = Path::new("/work/shared/spec/integration-config.xml").to_path_buf();
    [path, alternative].into_iter().find(|path| path.is_file())
}

const SPECIFICATION: &str = "<integration_config>
  <tool_coordination>
    <pattern>hybrid</pattern>
    <timeout>30000</timeout>
    <retry_strategy>exponential_backoff</retry_strategy>
  </tool_coordination>
  <api_gateway>
    <rate_limiting>adaptive</rate_limiting>
    <request_timeout>10000</request_timeout>
    <response_caching>enabled</response_caching>
  </api_gateway>
  <service_discovery>
    <registry_type>consul</registry_type>
    <health_check_interval>30</health_check_interval>
    <circuit_breaker_threshold>5</circuit_breaker_threshold>
  </service_discovery>
</integration_config>
";

#[test]
fn every_element_of_the_specification_takes_effect_or_says_what_brings_it() {
    let loaded = load("trunkline.xml", SPECIFICATION).unwrap();
    assert_eq!(loaded.config.doors.call_timeout_ms, 30_000);
    assert_eq!(loaded.config.service_timeout_ms, Some(10_000));
    assert!(loaded.remarks.iter().all(|finding| finding.level == Level::Note));
    let notes: Vec<_> = loaded.remarks.iter().map(line).collect();
    insta::assert_snapshot!(notes.join("\n"));
}

#[test]
fn the_specification_may_stand_beside_our_own_elements_and_is_checked() {
    let own = "<services><service name=\"a\"><mcp><url>http://127.0.0.1:1/mcp</url></mcp></service></services>\n</integration_config>";
    let text = SPECIFICATION.replace("</integration_config>", own);
    let loaded = load("trunkline.xml", &text).unwrap();
    assert_eq!(loaded.config.services["a"].mcp.as_ref().unwrap().timeout_ms, 10_000);
    let wrong =
        SPECIFICATION.replace("hybrid", "hybird").replace("30000", "soon").replace("pattern>", "patern>");
    let found = load("trunkline.xml", &wrong).unwrap_err();
    let found: Vec<_> = found.iter().filter(|f| f.level == Level::Error).map(line).collect();
    assert_eq!(
        found,
        [
            "3:5 TL6003 tool_coordination.patern: unknown name \"patern\"; did you mean \"pattern\"?",
            "4:5 TL6004 tool_coordination.timeout: expected a whole number, found other text",
        ]
    );
}

#[test]
fn the_committed_schema_is_the_one_of_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.schema.json");
    let written = serde_json::to_string_pretty(Config::json_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&file, &written).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == written,
        "docs/config.schema.json is out of date: run this test with UPDATE_SCHEMA=1, or `trunkline config schema > docs/config.schema.json`"
    );
}

#[test]
fn the_specification_of_this_machine_is_the_one_tested() {
    let Some(path) = specification() else {
        assert!(std::env::var_os("CI").is_none(), "the specification is missing");
        return;
    };
    assert_eq!(fs::read_to_string(path).unwrap().trim(), SPECIFICATION.trim());
}

#[tokio::test]
async fn changes_are_seen_and_broken_files_reported() {
    let folder = folder("trunkline.yaml", "events: { retention_days: 1 }\n");
    let file = folder.path().join("trunkline.yaml");
    let loaded = config::load(folder.path(), &env, &Flags::default()).unwrap();
    let mut watcher = Watcher::new(&loaded, Arc::new(env), Flags::default()).unwrap();
    let days = |loaded: Result<Loaded, Vec<Finding>>| loaded.map(|l| l.config.events.retention_days);

    fs::write(&file, "events: { retention_days: 22 }\n").unwrap();
    assert_eq!(days(watcher.next().await), Ok(22));
    fs::write(&file, "events: { retention_days: soon }\n").unwrap();
    assert_eq!(days(watcher.next().await).unwrap_err()[0].code, Some("TL6004"));
    // As editors do: write beside, then rename over.
    fs::write(folder.path().join("new"), "events: { retention_days: 333 }\n").unwrap();
    fs::rename(folder.path().join("new"), &file).unwrap();
    assert_eq!(days(watcher.next().await), Ok(333));
}

#[cfg(unix)]
#[tokio::test]
async fn a_swapped_folder_is_seen() {
    use std::os::unix::fs::symlink;

    // As Kubernetes mounts a ConfigMap: trunkline.yaml -> ..data/trunkline.yaml, ..data -> ..1
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, days) in [("..1", 1), ("..2", 2)] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("trunkline.yaml"), format!("events: {{ retention_days: {days} }}\n"))
            .unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/trunkline.yaml", at("trunkline.yaml")).unwrap();
    let loaded = config::load(folder.path(), &env, &Flags::default()).unwrap();
    assert_eq!(loaded.config.events.retention_days, 1);
    let mut watcher = Watcher::new(&loaded, Arc::new(env), Flags::default()).unwrap();
    symlink("..2", at("..new")).unwrap();
    fs::rename(at("..new"), at("..data")).unwrap();
    assert_eq!(watcher.next().await.unwrap().config.events.retention_days, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\PC|[\n:{}\\[\\]<>/\"'$&*#=-]){0,200}") {
        for format in FORMATS {
            let _ = load(&format!("trunkline.{}", extension(format)), &text);
        }
    }

    #[test]
    fn no_damage_to_a_good_file_makes_the_reader_panic(cut in 0usize..1200, insert in "[\\[{:<>\"&*\n ]{0,3}") {
        for format in FORMATS {
            let start = folder("trunkline.yaml", &full());
            let mut text = converted(&start.path().join("trunkline.yaml"), format);
            let mut at = cut.min(text.len());
            while !text.is_char_boundary(at) { at -= 1; }
            text.truncate(at);
            text.push_str(&insert);
            let _ = load(&format!("trunkline.{}", extension(format)), &text);
        }
    }
}

#[test]
fn hostile_files_are_refused_in_bounded_memory() {
    let deep = "[".repeat(100_000);
    let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
    for (name, text) in [
        ("trunkline.yaml", deep.clone()),
        ("trunkline.json", deep.clone()),
        ("trunkline.toml", format!("a = {deep}")),
        ("trunkline.xml", "<a>".repeat(100_000)),
        ("trunkline.yaml", laughs.to_owned()),
        ("trunkline.xml", "<!DOCTYPE a [<!ENTITY b \"bb\">]><trunkline>&b;</trunkline>".to_owned()),
        ("trunkline.yaml", "#".repeat(5 << 20)),
    ] {
        let found = load(name, &text).unwrap_err();
        assert!(found.len() < 20 && found[0].message.len() < 500, "{name}: {found:?}");
    }
}
