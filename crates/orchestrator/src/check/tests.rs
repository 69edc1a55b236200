//! Faulty plans and workflows, and what is found in them.

use std::collections::BTreeMap;

use proptest::proptest;
use serde_json::json;
use trunkline_model::{Effects, Schema, ServiceId};

use super::finding::nearest;
use super::*;

/// Tools of a shop.
struct Shop(BTreeMap<&'static str, Arc<ToolSpec>>);

impl Tools for Shop {
    fn find(&self, name: &str) -> Option<Arc<ToolSpec>> {
        self.0.get(name).cloned()
    }

    fn near(&self, name: &str) -> Vec<String> {
        nearest(name, self.0.keys().copied())
    }
}

fn shop() -> Shop {
    let read = Effects::READ_ONLY;
    let once = Effects { idempotent: false, read_only: false, destructive: false, open_world: true };
    let again = Effects { idempotent: true, ..once };
    let text = json!({"type": "string"});
    let tools = [
        ("stock_look", read, json!({"sku": text}), json!(["sku"])),
        (
            "stock_reserve",
            once,
            json!({"sku": text, "count": {"type": "integer", "minimum": 1}}),
            json!(["sku", "count"]),
        ),
        ("stock_release", again, json!({"reservation": text}), json!(["reservation"])),
        (
            "card_charge",
            once,
            json!({"amount": {"type": "number"}, "currency": {"enum": ["EUR", "USD"]}}),
            json!(["amount"]),
        ),
        ("card_refund", once, json!({"charge": text}), json!(["charge"])),
        ("card_refund_by_key", once, json!({"charge": text, "idempotency_key": text}), json!(["charge"])),
        ("parcel_send", again, json!({"to": text}), json!(["to"])),
        ("mail_send", once, json!({"to": text}), json!(["to"])),
    ];
    let tool = |(name, effects, properties, required): (&'static str, Effects, Value, Value)| {
        let input = json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        });
        let spec = ToolSpec {
            service: ServiceId::new("shop"),
            name: name.into(),
            version: "1".into(),
            title: None,
            description: String::new(),
            capabilities: Vec::new(),
            dependencies: Vec::new(),
            input: Schema::new(input),
            output: None,
            effects,
            raw: None,
        };
        (name, Arc::new(spec))
    };
    Shop(tools.into_iter().map(tool).collect())
}

fn good() -> Value {
    json!({
        "name": "order", "input": {"sku": "a", "to": "here"}, "timeout": "PT1H",
        "steps": [
            {"id": "look", "tool": "stock_look", "args": {"sku": "${ .input.sku }"}},
            {"id": "reserve", "tool": "stock_reserve", "args": {"sku": "${ .steps.look.sku }", "count": 1},
             "undo": {"tool": "stock_release", "args": {"reservation": "${ .steps.reserve.id }"}}},
            {"id": "charge", "tool": "card_charge", "args": {"amount": "${ .steps.reserve.price }"}, "pivot": true},
            {"id": "send", "tool": "parcel_send", "args": {"to": "${ .input.to }"}, "after": ["charge"]},
        ],
        "output": ".steps.send",
    })
}

/// Applies a JSON Patch (RFC 6902) of the operations that findings use.
fn apply(document: &mut Value, patch: &Value) {
    fn split(path: &str) -> (&str, String) {
        let at = path.rfind('/').unwrap();
        (&path[..at], path[at + 1..].replace("~1", "/").replace("~0", "~"))
    }
    fn remove(document: &mut Value, path: &str) -> Value {
        let (parent, name) = split(path);
        match document.pointer_mut(parent).unwrap() {
            Value::Object(members) => members.shift_remove(&name).unwrap(),
            Value::Array(items) => items.remove(name.parse().unwrap()),
            _ => panic!("nothing at {path}"),
        }
    }
    fn add(document: &mut Value, path: &str, value: Value) {
        let (parent, name) = split(path);
        match document.pointer_mut(parent).unwrap() {
            Value::Object(members) => drop(members.insert(name, value)),
            Value::Array(items) => items.insert(name.parse().unwrap_or(items.len()), value),
            _ => panic!("nothing at {parent}"),
        }
    }
    for operation in patch.as_array().unwrap() {
        let path = operation["path"].as_str().unwrap();
        match operation["op"].as_str().unwrap() {
            "add" => add(document, path, operation["value"].clone()),
            "replace" => *document.pointer_mut(path).unwrap() = operation["value"].clone(),
            "remove" => drop(remove(document, path)),
            "move" => {
                let value = remove(document, operation["from"].as_str().unwrap());
                add(document, path, value);
            }
            other => panic!("unknown operation {other}"),
        }
    }
}

fn messages(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

/// The one finding of the good plan after this change.
fn one(change: impl FnOnce(&mut Value)) -> Finding {
    let mut source = good();
    change(&mut source);
    let mut findings = plan(&source, &shop());
    assert_eq!(findings.len(), 1, "{}", messages(&findings));
    findings.remove(0)
}

/// The same; the patch puts it right.
fn mended(change: impl FnOnce(&mut Value)) -> Finding {
    let mut source = good();
    change(&mut source);
    let finding = one(|plan| plan.clone_from(&source));
    apply(&mut source, finding.patch.as_ref().unwrap_or_else(|| panic!("no patch: {finding}")));
    let left = plan(&source, &shop());
    assert!(left.is_empty(), "{}", messages(&left));
    finding
}

#[test]
fn a_good_plan_has_no_findings() {
    assert_eq!(messages(&plan(&good(), &shop())), "");
    assert_eq!(messages(&document(&good().to_string(), &shop())), "");
}

#[test]
fn a_good_plan_compiles_to_a_good_workflow() {
    let compiled = crate::plan::compile(&Plan::from_source(&good()).unwrap()).unwrap();
    assert_eq!(messages(&workflow(compiled.source(), &shop())), "");
}

#[test]
fn ten_faults_are_ten_findings_with_patches() {
    let mut source = json!({
        "name": "My order!",
        "timeout": "5 minutes",
        "steps": [
            {"id": "look", "tool": "stock_lok", "args": {"sku": "a"}},
            {"id": "reserve", "tool": "stock_reserve", "args": {"sku": "a", "count": "2"},
             "undo": {"tool": "stock_release", "args": {"reservation": "${ .steps.resrve.id }"}}},
            {"id": "charge", "tool": "card_charge", "args": {"amuont": 5}, "dependsOn": ["reserve"], "pivot": true},
            {"id": "charge", "tool": "card_charge", "args": {"amount": 5, "currency": "EURO"}, "pivot": true,
             "undo": false, "after": ["charge", "resrve"]},
            {"id": "send", "tool": "parcel_send", "args": {"to": "${ .steps.charge.to }"}, "after": "charge"},
        ],
    });
    let mut findings = plan(&source, &shop());
    let faults = [
        "/name",
        "/timeout",
        "/steps/0/tool",
        "/steps/1/args/count",
        "/steps/1/undo/args/reservation",
        "/steps/2/dependsOn",
        "/steps/3/args/currency",
        "/steps/3/id",
        "/steps/3/after/1",
        "/steps/3/pivot",
        "/steps/4/after",
    ];
    for fault in faults {
        let found = findings.iter().any(|finding| finding.path == fault && finding.patch.is_some());
        assert!(found, "{fault} is not in\n{}", messages(&findings));
    }
    // What hides behind a malformed step comes to light once that is mended.
    let mut last = findings.len();
    for _ in 0..4 {
        for finding in &findings {
            if let Some(patch) = &finding.patch {
                apply(&mut source, patch);
            }
        }
        findings = plan(&source, &shop());
        assert!(findings.len() < last, "{}", messages(&findings));
        last = findings.len();
        if findings.iter().all(|finding| finding.patch.is_none()) {
            break;
        }
    }
    assert!(findings.iter().all(|finding| finding.severity == Severity::Warning), "{}", messages(&findings));
}

#[test]
fn unknown_members_steps_and_tools_are_mended() {
    let finding = mended(|plan| {
        let args = plan["steps"][0].as_object_mut().unwrap().shift_remove("args").unwrap();
        plan["steps"][0]["arguments"] = args;
    });
    assert_eq!(finding.nearest, ["args"]);
    let finding = mended(|plan| plan["steps"][3]["after"] = json!(["chrage"]));
    assert_eq!((finding.path.as_str(), finding.nearest[0].as_str()), ("/steps/3/after/0", "charge"));
    let finding = mended(|plan| plan["steps"][1]["undo"]["tool"] = json!("stock-release"));
    assert_eq!(finding.path, "/steps/1/undo/tool");
    let finding = mended(|plan| plan["steps"][1]["args"]["sku"] = json!("${ .steps.lok.sku }"));
    assert_eq!(finding.path, "/steps/1/args/sku");
    mended(|plan| plan["output"] = json!(".steps.sendd.x"));
    mended(|plan| plan["output"] = json!({"parcel": "${ .steps.send.id }", "n": [1]}));
    mended(|plan| drop(plan["steps"][0].as_object_mut().unwrap().shift_remove("args")));
    assert!(one(|plan| plan["steps"][0]["tool"] = json!("weather")).patch.is_none());
}

#[test]
fn a_missing_id_is_made_up() {
    let mut source = good();
    source["steps"][3].as_object_mut().unwrap().shift_remove("id");
    source["output"] = json!(".steps.charge");
    let findings = plan(&source, &shop());
    assert_eq!(findings[0].patch, Some(json!([{"op": "add", "path": "/steps/3/id", "value": "step4"}])));
}

#[test]
fn ids_that_expressions_cannot_name_are_mended_everywhere() {
    let mut source = good();
    source["steps"][2]["id"] = json!("charge-card");
    source["steps"][3]["after"] = json!(["charge-card"]);
    let findings = plan(&source, &shop());
    assert_eq!(findings.len(), 1, "{}", messages(&findings));
    apply(&mut source, findings[0].patch.as_ref().unwrap());
    assert_eq!(source["steps"][3]["after"][0], "charge_card");
    assert_eq!(messages(&plan(&source, &shop())), "");
}

#[test]
fn arguments_are_checked_as_far_as_they_are_known() {
    let finding = mended(|plan| plan["steps"][1]["args"]["count"] = json!("3"));
    assert_eq!(finding.expected.as_deref(), Some("type integer"));
    let finding = one(|plan| plan["steps"][1]["args"]["count"] = json!(0));
    assert_eq!(finding.path, "/steps/1/args/count");
    let finding = mended(|plan| {
        plan["steps"][0]["args"] = json!({});
    });
    assert!(finding.expected.as_deref().unwrap().contains("such as \"text\""), "{finding}");
    assert_eq!(finding.patch.as_ref().unwrap()[0]["value"], "${ .input[\"sku\"] }");
    let finding = mended(|plan| plan["steps"][2]["args"] = json!({"amuont": "${ .steps.reserve.price }"}));
    assert_eq!(finding.nearest, ["amount"]);
    let finding = mended(|plan| plan["steps"][2]["args"]["colour"] = json!("red"));
    assert_eq!(finding.path, "/steps/2/args/colour");
    // A computed value is taken to fit.
    let mut source = good();
    source["steps"][1]["args"]["count"] = json!("${ .input.count }");
    assert_eq!(messages(&plan(&source, &shop())), "");
}

#[test]
fn circles_are_named_whole_and_cut_where_they_were_declared() {
    let finding = mended(|plan| plan["steps"][0]["after"] = json!(["charge"]));
    assert!(finding.message.contains("look after charge after reserve after look"), "{finding}");
    assert_eq!(finding.path, "/steps/0/after/0");
    let finding = one(|plan| plan["steps"][0]["args"]["sku"] = json!("${ .steps.look.sku }"));
    assert!(finding.message.contains("look after look"), "{finding}");
}

#[test]
fn sagas_that_cannot_be_taken_back_are_refused() {
    let finding = mended(|plan| plan["steps"][3]["pivot"] = json!(true));
    assert!(finding.message.contains("already a pivot"), "{finding}");
    let finding = one(|plan| {
        plan["steps"][1]["undo"] = json!({"tool": "card_refund", "args": {"charge": "x"}});
    });
    assert!(finding.message.contains("no safe undo"), "{finding}");
    let mut source = good();
    source["steps"][1]["undo"] = json!({"tool": "card_refund_by_key", "args": {"charge": "x"}});
    assert_eq!(messages(&plan(&source, &shop())), "");
    let finding = one(|plan| drop(plan["steps"][1].as_object_mut().unwrap().shift_remove("undo")));
    assert_eq!((finding.severity, finding.path.as_str()), (Severity::Warning, "/steps/1"));
    let finding = one(|plan| plan["steps"][3]["tool"] = json!("mail_send"));
    assert!(finding.message.contains("comes after the pivot"), "{finding}");
    assert_eq!(finding.patch.as_ref().unwrap()[1]["path"], "/steps/3/pivot");
    let finding = mended(|plan| drop(plan["steps"][3].as_object_mut().unwrap().shift_remove("after")));
    assert!(finding.message.contains("send may still run"), "{finding}");
    for undo in [json!(false), json!("safe: it expires by itself")] {
        let mut source = good();
        source["steps"][1]["undo"] = undo;
        assert_eq!(messages(&plan(&source, &shop())), "");
    }
}

#[test]
fn expressions_within_text_are_mended() {
    let finding = mended(|plan| plan["steps"][3]["args"]["to"] = json!("c/o ${ .input.to }"));
    assert_eq!(finding.patch.as_ref().unwrap()[0]["value"], "${ \"c/o \\(.input.to)\" }");
}

#[test]
fn expressions_that_do_not_compile_are_found() {
    for (path, change) in [
        ("/steps/0/args/sku", json!({"sku": "${ .input. + }"})),
        ("/steps/0/args/sku", json!({"sku": "${ $item }"})),
    ] {
        let finding = one(|plan| plan["steps"][0]["args"] = change);
        assert_eq!(finding.path, path);
        assert!(finding.message.contains("no jq"), "{finding}");
    }
    one(|plan| plan["steps"][3]["when"] = json!("(.input"));
    one(|plan| plan["output"] = json!(".steps.send |"));
    let mut source = good();
    source["steps"][3]["forEach"] = json!("[.input.to]");
    source["steps"][3]["args"] = json!({"to": "${ $item + ($index | tostring) }"});
    assert_eq!(messages(&plan(&source, &shop())), "");
}

proptest! {
    #[test]
    fn whatever_is_wrong_patches_apply(
        changes in proptest::collection::vec((0..200_usize, 0..9_usize), 1..5),
    ) {
        let mut source = good();
        for (place, kind) in changes {
            let mut places = Vec::new();
            all_places(&source, String::new(), &mut places);
            let place = &places[place % places.len()];
            let value = [
                json!(null), json!(5), json!("${ .steps.rserve.x }"), json!("charge"), json!([]), json!({"id": 1}),
                json!(true), json!("x ${ .input } y"), json!(["send", "look"]),
            ][kind].clone();
            *source.pointer_mut(place).unwrap() = value;
        }
        for finding in plan(&source, &shop()) {
            if let Some(patch) = &finding.patch {
                apply(&mut source.clone(), patch);
            }
        }
    }
}

/// The places of all values in a document.
fn all_places(value: &Value, path: String, places: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                all_places(item, format!("{path}/{index}"), places);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                all_places(member, format!("{path}/{name}"), places);
            }
        }
        _ => {}
    }
    places.push(path);
}

#[test]
fn large_and_deep_plans_are_bounded() {
    let steps = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|n| json!({"id": format!("s{n}"), "tool": "nope", "after": [format!("x{n}")]}))
            .collect()
    };
    let findings = plan(&json!({"steps": steps(10_001)}), &shop());
    assert_eq!(findings.len(), 101);
    assert!(messages(&findings).contains("too many steps"));
    let deep = (0..101).fold(json!(1), |inner, _| json!([inner]));
    assert!(
        plan(&json!({"steps": [{"id": "a", "tool": "t", "args": {"x": deep}}]}), &shop())[0]
            .message
            .contains("too deep")
    );
    assert_eq!(document(&"[".repeat(200), &shop()).len(), 1);
}

#[test]
fn workflows_are_checked_whole() {
    let source = "
document: {dsl: 1.0.3, namespace: t, name: t, version: 0.1.0}
do:
- a: {call: stock_lok, with: {sku: x}}
- b: {call: card_charge, with: {amount: '5'}, metadata: {trunkline.dev/saga: {pivot: true, undo: {tool: card_refund, args: {charge: x}}}}}
- c: {set: {x: 'a ${ .b }'}, then: e}
- d: {wait: PT1S}
- e: {call: mail_send, with: {to: x}, tehn: exit}
- f: {call: parcel_send, with: {to: x}, then: nope}
- g: {fork: {branches: [{h: {call: mail_send, with: {to: x}}}]}}
- j: {call: own, with: {anything: 1}, metadata: {trunkline.dev/saga: {pivot: true}}}
use: {functions: {own: {set: {x: 1}}}}
";
    let findings = document(source, &shop());
    let paths: Vec<&str> = findings.iter().map(|finding| finding.path.as_str()).collect();
    for expected in [
        "/do/0/a/call",
        "/do/1/b/with/amount",
        "/do/1/b/metadata/trunkline.dev~1saga/undo/tool",
        "/do/2/c/set/x",
        "/do/3/d",
        "/do/4/e/call",
        "/do/4/e/tehn",
        "/do/5/f/then",
        "/do/6/g/fork/branches/0/h/call",
        "/do/7/j/metadata/trunkline.dev~1saga/pivot",
    ] {
        assert!(paths.contains(&expected), "{expected} is not in\n{}", messages(&findings));
    }
}

#[test]
fn the_official_examples_have_no_faults_of_their_own() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/open-workflow");
    let alternative = std::path::PathBuf::from("/work/shared/data/open-workflow");
    let Some(root) = [root, alternative].into_iter().find(|root| root.is_dir()) else {
        assert!(std::env::var_os("CI").is_none(), "../shared/data/open-workflow is missing");
        println!("skipped: ../shared/data/open-workflow is not there");
        return;
    };
    for entry in std::fs::read_dir(root.join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let findings = document(&std::fs::read_to_string(&path).unwrap(), &shop());
            assert!(findings.is_empty(), "{}: {}", path.display(), messages(&findings));
        }
    }
}
