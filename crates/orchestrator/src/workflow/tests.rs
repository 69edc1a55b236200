//! What is read, what is refused, and what is said of it.

use std::path::Path;

use serde_json::json;

use super::*;

const HEAD: &str = "document: {dsl: '1.0.3', namespace: t, name: t, version: 0.1.0}\n";

fn findings(body: &str) -> Vec<Finding> {
    Workflow::read(&format!("{HEAD}{body}")).unwrap_err().findings
}

fn workflow(body: &str) -> Workflow {
    Workflow::read(&format!("{HEAD}{body}")).unwrap()
}

fn specification() -> Option<std::path::PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/open-workflow");
    let alternative = Path::new("/work/shared/data/open-workflow").to_path_buf();
    let found = [root, alternative].into_iter().find(|root| root.is_dir());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "../shared/data/open-workflow is missing");
        println!("skipped: ../shared/data/open-workflow is not there");
    }
    found
}

#[test]
fn the_official_examples_are_read() {
    let Some(root) = specification() else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(root.join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let workflow = Workflow::read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let again =
            Workflow::read(&workflow.to_yaml()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(workflow.source(), again.source(), "{}", path.display());
        assert_eq!(workflow.hash(), again.hash());
        count += 1;
    }
    assert!(count >= 60, "only {count} examples");
}

#[test]
fn the_kits_workflows_are_read() {
    let Some(root) = specification() else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(root.join("ctk/features")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for part in text.split("definition:").skip(1) {
            let block = part.split("\"\"\"").nth(1).unwrap().trim_start_matches("yaml");
            Workflow::read(block).unwrap_or_else(|error| panic!("{}: {error}\n{block}", path.display()));
            count += 1;
        }
    }
    assert!(count >= 21, "only {count} definitions");
}

#[test]
fn every_fault_is_found_with_its_place() {
    let body = "do:
- a: {cal: http, with: {method: get, endpoint: 'http://x'}}
- b: {wait: soon}
- c: {set: {x: 1}, then: pakc}
- d: {call: http, with: {metod: get, endpoint: 'http://x'}}
- a: {raise: {error: nope}}
- pack: {set: {y: 1}, tiemout: {after: PT1S}}
use: {errors: {nop: {type: 'http://e', status: 1}}}
";
    let mut found: Vec<_> =
        findings(body).into_iter().map(|f| (f.path, f.nearest.first().cloned(), f.patch.is_some())).collect();
    found.sort();
    let near = |name: &str| Some(name.to_owned());
    assert_eq!(
        found,
        [
            ("/do/0/a/cal".to_owned(), near("call"), true),
            ("/do/1/b/wait".to_owned(), None, false),
            ("/do/2/c/then".to_owned(), near("pack"), true),
            ("/do/3/d/with/metod".to_owned(), near("method"), true),
            ("/do/4".to_owned(), None, true),
            ("/do/4/a/raise/error".to_owned(), near("nop"), true),
            ("/do/5/pack/tiemout".to_owned(), near("timeout"), true),
        ]
    );
}

#[test]
fn what_is_said_of_a_fault_is_exact() {
    let finding = &findings("do: [{a: {set: {x: 1}, tiemout: {after: PT1S}}}]")[0];
    assert_eq!(finding.path, "/do/0/a/tiemout");
    assert_eq!(finding.nearest, ["timeout"]);
    assert_eq!(
        finding.patch,
        Some(json!([{"op": "move", "from": "/do/0/a/tiemout", "path": "/do/0/a/timeout"}]))
    );
    let finding = &findings("do: [{a: {wait: 30}}]")[0];
    assert_eq!((finding.path.as_str(), finding.found.as_deref()), ("/do/0/a/wait", Some("30")));
    assert!(finding.expected.as_deref().unwrap().contains("ISO 8601"));
}

#[test]
fn secrets_never_show_in_findings_or_debug_output() {
    let body = "do: [{a: {call: http, with: {method: get, endpoint: {uri: 'http://x', authentication: {bearer: {token: PASS}}}}}}]";
    assert!(!format!("{:?}", workflow(&body.replace("PASS", "hunter2"))).contains("hunter2"));
    let refused = findings(&body.replace("PASS", "[hunter2]"));
    assert!(!format!("{refused:?}").contains("hunter2"));
}

#[test]
fn names_of_components_must_exist() {
    for body in [
        "do: [{a: {set: {x: 1}, timeout: nope}}]",
        "do: [{a: {try: [], catch: {retry: nope}}}]",
        "do: [{a: {call: http, with: {method: get, endpoint: {uri: 'http://x', authentication: {use: nope}}}}}]",
    ] {
        assert!(findings(body)[0].message.contains("nope"), "{body}");
    }
    let workflow = workflow("use: {timeouts: {t: {after: PT1S}}}\ndo: []\ntimeout: t\n");
    let timeout = workflow.timeout_of(workflow.timeout.as_ref().unwrap());
    assert!(matches!(timeout, Some(DurationOf::Fixed(after)) if after.as_secs() == 1));
}

#[test]
fn a_jump_goes_only_to_the_same_list() {
    assert!(
        findings("do: [{a: {do: [{inner: {set: {x: 1}}}]}}, {b: {set: {x: 1}, then: inner}}]").len() == 1
    );
    workflow("do: [{a: {do: [{inner: {set: {x: 1}, then: other}}, {other: {set: {x: 1}}}]}}]");
}

#[test]
fn the_hash_is_that_of_what_is_said() {
    let one = Workflow::read(&format!("{HEAD}do:\n- a:\n    set: {{x: 1, y: 2}}\n")).unwrap();
    let other = Workflow::read(
        r#"{"do":[{"a":{"set":{"y":2,"x":1}}}],"document":{"version":"0.1.0","name":"t","namespace":"t","dsl":"1.0.3"}}"#,
    )
    .unwrap();
    assert_eq!(one.hash(), other.hash());
    assert_eq!(one.hash().len(), 64);
    assert_ne!(one.hash(), workflow("do: [{a: {set: {x: 2}}}]").hash());
}

#[test]
fn tasks_findings_and_depth_are_bounded() {
    let tasks: Vec<_> = (0..=MAX_TASKS).map(|n| json!({format!("t{n}"): {"set": {"x": 1}}})).collect();
    let document = json!({"dsl": "1.0.3", "namespace": "t", "name": "t", "version": "0.1.0"});
    let whole = |tasks: &[Value]| Arc::new(json!({"document": document, "do": tasks}));
    assert!(Workflow::read(&whole(&tasks[..MAX_TASKS]).to_string()).is_ok());
    let refused = Workflow::read(&whole(&tasks).to_string()).unwrap_err();
    assert!(refused.findings[0].message.contains("too many tasks"));
    assert!(Workflow::from_source(whole(&tasks)).is_ok());
    let bad: Vec<_> =
        (0..5000).map(|n| json!({format!("t{n}"): {"set": {"x": 1}, "then": format!("u{n}")}})).collect();
    let findings = Workflow::from_source(whole(&bad)).unwrap_err().findings;
    assert_eq!(findings.len(), 101);
    assert!(findings[100].message.contains("4900 more"));
    let deep = (0..60).fold(json!([{"t": {"set": {"x": 1}}}]), |inner, _| json!([{"t": {"do": inner}}]));
    assert!(Workflow::from_source(whole(deep.as_array().unwrap())).is_err());
}

#[test]
fn defaults_are_filled_in() {
    let workflow = workflow(
        "do:
- loop: {for: {in: .items}, while: '${ true }', do: [{x: {set: '${ $item }'}}]}
- hear: {listen: {to: {any: [], until: '( . | length ) > 3'}}, foreach: {item: event, do: []}}
- tried: {try: [], catch: {}}
- ran: {run: {shell: {command: ls}}}
- tool: {call: orders_create, with: {id: 1}}
",
    );
    let kind = |index: usize| &workflow.tasks[index].task.kind;
    assert!(
        matches!(kind(0), Kind::For { each, at, while_: Some(condition), .. } if &**each == "item" && &**at == "index" && condition.text() == "true")
    );
    assert!(
        matches!(kind(1), Kind::Listen(listen) if matches!(&listen.to, Consumption::Any { until: Some(Until::Condition(_)), .. }) && listen.read == ReadAs::Data)
    );
    assert!(matches!(kind(2), Kind::Try { catch, .. } if &*catch.as_ == "error"));
    assert!(matches!(kind(3), Kind::Run(run) if run.await_ && run.return_ == ProcessReturn::Stdout));
    assert!(
        matches!(kind(4), Kind::Call(call) if matches!(&**call, CallTask::Function { name, .. } if &**name == "orders_create"))
    );
}
