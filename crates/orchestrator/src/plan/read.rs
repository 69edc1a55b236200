//! Reading plans: their form, with every fault noted and, as far as can be, put right by a patch.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::check::Finding;
use crate::expression::Expression;
use crate::workflow::components::is_label;
use crate::workflow::node::{CALL_SYNONYMS, Log, Node, marked, strip};
use crate::workflow::{DurationOf, Undo, control, duration, saga};

use super::{MAX_STEPS, Plan, Step, reference};

/// What models write for the members of a step.
const STEP_SYNONYMS: [(&str, &str); 22] = {
    let [a, b, c, d, e, f, g, h] = CALL_SYNONYMS;
    [
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        ("name", "id"),
        ("dependson", "after"),
        ("depends", "after"),
        ("dependencies", "after"),
        ("needs", "after"),
        ("requires", "after"),
        ("compensate", "undo"),
        ("compensation", "undo"),
        ("rollback", "undo"),
        ("if", "when"),
        ("condition", "when"),
        ("loop", "forEach"),
        ("each", "forEach"),
        ("retries", "retry"),
    ]
};

const PLAN_SYNONYMS: [(&str, &str); 7] = [
    ("tasks", "steps"),
    ("do", "steps"),
    ("inputs", "input"),
    ("result", "output"),
    ("return", "output"),
    ("parallelism", "concurrency"),
    ("id", "name"),
];

/// What can be read of a plan; what is wrong with its form is noted. Steps that can't be read whole are there with what
/// could be read of them.
pub(crate) fn read_noting(source: &Value, log: &Log) -> Option<Plan> {
    read(Node::root(source, log))
}

fn read(node: Node<'_>) -> Option<Plan> {
    let members = node.object()?;
    members.synonyms(&PLAN_SYNONYMS);
    let name = members.optional("name", name);
    let title = members.optional("title", Node::text).map(str::to_owned);
    let input = members.get("input").map_or_else(|| json!({}), |input| input.value().clone());
    let timeout = members.optional("timeout", timeout);
    let concurrency = members.optional("concurrency", |node| match node.whole_number()? {
        0 => node.unexpected("how many steps may run at once: at least 1"),
        count => Some(count),
    });
    let steps = members.required("steps", "the list of steps", steps);
    let output = members.optional("output", jq);
    members.finish();
    Some(Plan { name, title, input, timeout, concurrency, steps: steps?, output })
}

fn name(node: Node<'_>) -> Option<Arc<str>> {
    let name = node.name()?;
    if !is_label(&name) {
        let label: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        let label: String = label.trim_matches('-').chars().take(63).collect();
        let label = label.trim_end_matches('-');
        node.note(|| {
            let finding = Finding::error("", "this can't be a plan's name")
                .expected("at most 63 letters, digits and inner hyphens")
                .found(node.value());
            if is_label(label) { finding.patch(replace(&node, json!(label))) } else { finding }
        });
    }
    Some(name)
}

fn replace(node: &Node<'_>, value: Value) -> Value {
    json!([{"op": "replace", "path": node.pointer(), "value": value}])
}

/// A duration that is known, as it was written.
fn timeout(node: Node<'_>) -> Option<Value> {
    let known = match (node.value(), duration::read_quietly(node.value())) {
        (_, Some(DurationOf::Fixed(_))) => return Some(node.value().clone()),
        // Models write seconds, and short forms.
        (Value::Number(seconds), _) => seconds.as_u64().map(|seconds| format!("PT{seconds}S")),
        (Value::String(text), _) => duration::guess(text),
        _ => None,
    };
    node.note(|| {
        let finding = Finding::error("", "this is no duration")
            .expected("ISO 8601 such as PT30S or PT1H, or an object such as {\"seconds\": 30}")
            .found(node.value());
        match known {
            Some(known) => finding.patch(replace(&node, json!(known))),
            None => finding,
        }
    });
    None
}

/// An expression. Where a template stands instead, the patch is the same as jq.
fn jq(node: Node<'_>) -> Option<Expression> {
    match node.value() {
        Value::String(text) => Some(Expression::new(strip(text))),
        Value::Object(_) | Value::Array(_) => {
            node.note(|| {
                Finding::error("", "this is not an expression")
                    .expected("jq, as text")
                    .found(node.value())
                    .patch(replace(&node, json!(as_jq(node.value()))))
            });
            None
        }
        _ => node.unexpected("jq, as text"),
    }
}

/// A template as a jq expression.
fn as_jq(value: &Value) -> String {
    match value {
        Value::String(text) => match marked(text) {
            Some(expression) => format!("({expression})"),
            None => value.to_string(),
        },
        Value::Array(items) => format!("[{}]", items.iter().map(as_jq).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), as_jq(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        other => other.to_string(),
    }
}

fn steps(node: Node<'_>) -> Option<Vec<Step>> {
    let mut index = 0;
    let steps = node.list(|item| {
        index += 1;
        match index {
            ..=MAX_STEPS => Some(step(item, index - 1)),
            _ => None,
        }
    })?;
    if index > MAX_STEPS {
        node.note(|| {
            Finding::error("", "there are too many steps")
                .expected(format!("at most {MAX_STEPS} steps"))
                .found(node.value())
        });
    }
    if steps.is_empty() {
        node.note(|| Finding::error("", "there are no steps").expected("at least one step"));
    }
    Some(steps)
}

fn step(node: Node<'_>, index: usize) -> Step {
    let noted = node.log().count();
    let mut step = Step {
        id: Arc::from(""),
        tool: Arc::from(""),
        args: serde_json::Map::new(),
        after: Vec::new(),
        undo: Undo::Unsaid,
        pivot: false,
        when: None,
        for_each: None,
        retry: None,
        timeout: None,
        index,
        malformed: false,
        has_args: node.value().get("args").is_some(),
        undo_source: node.value().get("undo").cloned(),
        retry_source: node.value().get("retry").cloned(),
        references: Vec::new(),
    };
    if let Some(members) = node.object() {
        members.synonyms(&STEP_SYNONYMS);
        let suggestion = json!(format!("step{}", index + 1));
        let id = members.required_or("id", "a name that no other step has", Some(suggestion), id);
        let tool = members.required("tool", "the name of the tool to call", Node::name);
        step.args = members.optional("args", |node| node.map()).unwrap_or_default();
        step.after = members.optional("after", after).unwrap_or_default();
        step.undo = members.optional("undo", saga::undo).unwrap_or_default();
        step.pivot = members.optional("pivot", Node::boolean).unwrap_or(false);
        step.when = members.optional("when", jq);
        step.for_each = members.optional("forEach", jq);
        step.retry = members.optional("retry", control::retry).map(Arc::new);
        step.timeout = members.optional("timeout", timeout);
        members.finish();
        step.id = id.unwrap_or(step.id);
        step.tool = tool.unwrap_or(step.tool);
    }
    step.malformed = node.log().count() > noted;
    reference::of_step(&mut step);
    step
}

/// A list of ids; models write a single one as text.
fn after(node: Node<'_>) -> Option<Vec<Arc<str>>> {
    if let Value::String(one) = node.value() {
        node.note(|| {
            Finding::error("", "this is not a list")
                .expected("a list of ids of steps")
                .found(node.value())
                .patch(replace(&node, json!([one])))
        });
        return None;
    }
    // What can't be read keeps its place, so that the others keep theirs.
    node.list(|item| Some(item.name().unwrap_or_default()))
}

fn id(node: Node<'_>) -> Option<Arc<str>> {
    let id = node.name()?;
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if id.starts_with(first) && id.chars().all(|c| first(c) || c.is_ascii_digit()) && id.len() <= 63 {
        return Some(id);
    }
    node.note(|| {
        let mut plain: String =
            id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(60).collect();
        if !plain.starts_with(first) {
            plain.insert(0, '_');
        }
        let mut patch = vec![json!({"op": "replace", "path": node.pointer(), "value": plain})];
        // Whoever comes after it must know it by its new name.
        for (index, step) in node.root_value()["steps"].as_array().into_iter().flatten().enumerate() {
            for (place, other) in step["after"].as_array().into_iter().flatten().enumerate() {
                if other.as_str() == Some(&id) {
                    let path = format!("/steps/{index}/after/{place}");
                    patch.push(json!({"op": "replace", "path": path, "value": plain}));
                }
            }
        }
        Finding::error("", "expressions can't name this id as .steps.id")
            .expected("at most 63 letters, digits and _, not starting with a digit")
            .found(node.value())
            .patch(Value::Array(patch))
    });
    Some(id)
}
