//! From a plan to a workflow; [`super`] says what becomes of what.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::check::Finding;
use crate::workflow::{Invalid, MAX_DEPTH, SAGA, Workflow};

use super::order::{Block, Order};
use super::{Plan, Step};

/// The namespace of workflows that are compiled from plans.
pub const NAMESPACE: &str = "plans";

/// The member of a workflow's metadata that says how many of its tasks may run at once.
pub const CONCURRENCY: &str = "trunkline.dev/concurrency";

/// What expressions of a plan see as `.`.
const SCOPE: &str = "{input: $workflow.input, steps: ($context.steps // {})}";

/// How deep branches nest at most.
const MAX_NESTING: usize = 6;

/// How many levels of the document one level of branches takes: a list, its item, the task and its `fork`, the list of
/// branches, its item, the task with its `do`.
const LEVELS_OF_A_FORK: usize = 7;

/// How many levels the rest of the document takes, without the arguments: down to `do`, and a loop's task.
const LEVELS_AROUND: usize = 12;

/// Makes the workflow that a plan means.
///
/// # Errors
/// [`Invalid`] where steps wait for each other in a circle, or for one that is not there; [`crate::check::plan`] says so
/// with patches, and finds more.
pub fn compile(plan: &Plan) -> Result<Workflow, Invalid> {
    let findings = crate::check::order(plan);
    if !findings.is_empty() {
        return Err(Invalid { findings });
    }
    let args_depth = plan.steps.iter().map(|step| depth(&step.args)).max().unwrap_or(0);
    let nesting = MAX_DEPTH.saturating_sub(LEVELS_AROUND + args_depth) / LEVELS_OF_A_FORK;
    if nesting == 0 {
        let finding = Finding::error("", "the arguments of a step nest too deep")
            .expected(format!("at most {} levels", MAX_DEPTH - LEVELS_AROUND - LEVELS_OF_A_FORK));
        return Err(Invalid { findings: vec![finding] });
    }
    let blocks = Order::of(plan).blocks(nesting.min(MAX_NESTING));
    let mut document = Map::new();
    let name = plan.name.as_deref().unwrap_or("plan");
    let mut head = json!({"dsl": "1.0.3", "namespace": NAMESPACE, "name": name, "version": "0.1.0"});
    if let Some(title) = &plan.title {
        head["title"] = json!(title);
    }
    if let Some(concurrency) = plan.concurrency {
        head["metadata"] = json!({CONCURRENCY: concurrency});
    }
    document.insert("document".to_owned(), head);
    document.insert("do".to_owned(), sequence(plan, &blocks));
    if let Some(timeout) = &plan.timeout {
        document.insert("timeout".to_owned(), json!({"after": timeout}));
    }
    let output = plan.output.as_ref().map_or(".steps", |output| output.text());
    document.insert("output".to_owned(), json!({"as": scoped(output)}));
    Workflow::from_source(Arc::new(Value::Object(document)))
}

/// An expression of a plan as one that may stand anywhere in a workflow. It may end in a comment.
fn scoped(expression: &str) -> String {
    format!("${{ {SCOPE} | ({expression}\n) }}")
}

fn sequence(plan: &Plan, blocks: &[Block]) -> Value {
    Value::Array(blocks.iter().map(|block| named(plan, block)).collect())
}

fn named(plan: &Plan, block: &Block) -> Value {
    match block {
        Block::Step(index) => {
            let step = &plan.steps[*index];
            json!({&*step.id: task(step)})
        }
        Block::Parallel(branches) => {
            let branches: Vec<Value> = branches
                .iter()
                .map(|branch| match &branch[..] {
                    [one] => named(plan, one),
                    several => json!({group("do", plan, several): {"do": sequence(plan, several)}}),
                })
                .collect();
            json!({group("fork", plan, std::slice::from_ref(block)): {"fork": {"branches": branches}}})
        }
    }
}

/// A name for several steps. Ids of steps have no hyphens, and the first step is in one group of a kind at a level only.
fn group(kind: &str, plan: &Plan, blocks: &[Block]) -> String {
    fn first(block: &Block) -> Option<usize> {
        match block {
            Block::Step(index) => Some(*index),
            Block::Parallel(branches) => branches.iter().flatten().find_map(first),
        }
    }
    let id = blocks.iter().find_map(first).map_or("none", |index| &plan.steps[index].id);
    format!("{kind}-{id}")
}

fn task(step: &Step) -> Value {
    let mut call = Map::new();
    call.insert("call".to_owned(), json!(step.tool));
    call.insert("with".to_owned(), Value::Object(step.args.clone()));
    let mut saga = Map::new();
    saga.insert("step".to_owned(), json!(step.id));
    for (name, value) in [("undo", &step.undo_source), ("retry", &step.retry_source)] {
        if let Some(value) = value {
            saga.insert(name.to_owned(), value.clone());
        }
    }
    if step.pivot {
        saga.insert("pivot".to_owned(), json!(true));
    }
    call.insert("metadata".to_owned(), json!({SAGA: saga}));
    let mut task = match &step.for_each {
        None => {
            call.insert("input".to_owned(), json!({"from": format!("${{ {SCOPE} }}")}));
            call
        }
        Some(items) => {
            // `.` of the loop's task is the list of the results so far: it is handed on beside what expressions see.
            let from = format!("${{ {SCOPE} + {{done: .}} }}");
            call.insert("input".to_owned(), json!({"from": from}));
            call.insert("output".to_owned(), json!({"as": "${ $input.done + [.] }"}));
            let mut task = Map::new();
            task.insert("for".to_owned(), json!({"each": "item", "in": scoped(items.text()), "at": "index"}));
            task.insert("do".to_owned(), json!([{&*step.id: call}]));
            task.insert("input".to_owned(), json!({"from": "${ [] }"}));
            task
        }
    };
    if let Some(when) = &step.when {
        task.insert("if".to_owned(), json!(scoped(when.text())));
    }
    if let Some(timeout) = &step.timeout {
        task.insert("timeout".to_owned(), json!({"after": timeout}));
    }
    let export = format!("${{ $context + {{steps: ($context.steps + {{{}: .}})}} }}", json!(&*step.id));
    task.insert("export".to_owned(), json!({"as": export}));
    Value::Object(task)
}

fn depth(members: &Map<String, Value>) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(of).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(of).max().unwrap_or(0),
            _ => 0,
        }
    }
    1 + members.values().map(of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use crate::expression::Limits;
    use crate::workflow::{CallTask, Kind, Transform, Undo};

    use super::*;

    fn compiled(plan: Value) -> Workflow {
        compile(&Plan::from_source(&plan).unwrap()).unwrap()
    }

    #[test]
    fn a_plan_becomes_a_workflow() {
        let plan = json!({
            "name": "trip", "title": "A trip", "timeout": "PT1H", "concurrency": 4, "output": ".steps.pay.receipt",
            "input": {"city": "Rome"},
            "steps": [
                {"id": "book", "tool": "hotel_book", "args": {"city": "${ .input.city }"},
                 "undo": {"tool": "hotel_cancel", "args": {"id": "${ .steps.book.id }"}}},
                {"id": "fly", "tool": "flight_book", "args": {}, "undo": false},
                {"id": "pay", "tool": "card_charge", "args": {"sum": "${ .steps.book.price + .steps.fly.price }"},
                 "pivot": true, "when": ".steps.book.price > 0", "timeout": {"seconds": 5}},
            ],
        });
        let workflow = compiled(plan.clone());
        let source = workflow.source();
        assert_eq!(source["do"][0]["fork-book"]["fork"]["branches"][0]["book"]["call"], "hotel_book");
        let pay = &source["do"][1]["pay"];
        assert_eq!(
            pay["if"],
            "${ {input: $workflow.input, steps: ($context.steps // {})} | (.steps.book.price > 0\n) }"
        );
        assert_eq!(pay["export"]["as"], "${ $context + {steps: ($context.steps + {\"pay\": .})} }");
        assert_eq!(source["document"]["metadata"][CONCURRENCY], 4);
        let task = &workflow.tasks[1].task;
        assert!(task.saga.as_ref().is_some_and(|saga| saga.pivot && saga.step.as_deref() == Some("pay")));
        assert!(matches!(&task.kind, Kind::Call(call) if matches!(&**call, CallTask::Function { .. })));
        let Kind::Fork { branches, .. } = &workflow.tasks[0].task.kind else { panic!("no fork") };
        let undo = &branches[0].task.saga.as_ref().unwrap().undo;
        assert!(matches!(undo, Undo::Call(call) if &*call.tool == "hotel_cancel"));
        assert!(matches!(branches[1].task.saga.as_ref().unwrap().undo, Undo::Nothing));

        let again = Workflow::read(&workflow.to_yaml()).unwrap();
        assert_eq!(again.hash(), workflow.hash());
        let mut other_input = plan;
        other_input["input"] = json!({"city": "Oslo"});
        assert_eq!(compiled(other_input).hash(), workflow.hash());
    }

    #[test]
    fn a_loop_collects_its_results() {
        let workflow = compiled(json!({"steps": [
            {"id": "list", "tool": "orders_list"},
            {"id": "each", "tool": "order_get", "forEach": ".steps.list.items", "args": {"id": "${ $item.id }"}},
        ]}));
        let each = &workflow.source()["do"][1]["each"];
        assert_eq!(each["do"][0]["each"]["output"]["as"], "${ $input.done + [.] }");
        assert!(
            matches!(&workflow.tasks[1].task.kind, Kind::For { tasks, .. } if tasks[0].task.saga.is_some())
        );
    }

    /// The value of an expression of the workflow, where steps have left this context.
    fn value(text: &Value, input: &Value, context: &Value, more: &[(&str, Value)]) -> Value {
        let workflow = json!({"input": {"n": 7}});
        let own = [("workflow", workflow), ("context", context.clone())];
        let all = own.iter().chain(more);
        let variables: Vec<(Arc<str>, Arc<Value>)> =
            all.map(|(name, value)| (Arc::from(*name), Arc::new(value.clone()))).collect();
        Transform::in_place_of_expression(text).evaluate(input, &variables, Limits::default()).unwrap()
    }

    #[test]
    fn what_is_compiled_computes_what_was_meant() {
        let workflow = compiled(json!({"steps": [
            {"id": "a", "tool": "t", "when": ".input.n > 3 # enough"},
            {"id": "b", "tool": "t", "forEach": "[.steps.a, 2]", "args": {"x": "${ [$item, .input.n] }"}},
        ]}));
        let (a, b) = (&workflow.source()["do"][0]["a"], &workflow.source()["do"][1]["b"]);
        let none = Value::Null;
        assert_eq!(value(&a["if"], &none, &none, &[]), true);
        assert_eq!(value(&a["input"]["from"], &none, &none, &[]), json!({"input": {"n": 7}, "steps": {}}));
        let context = value(&a["export"]["as"], &json!(1), &none, &[]);
        assert_eq!(context, json!({"steps": {"a": 1}}));
        assert_eq!(value(&b["for"]["in"], &none, &context, &[]), json!([1, 2]));
        let call = &b["do"][0]["b"];
        let before = value(&call["input"]["from"], &json!(["first"]), &context, &[]);
        assert_eq!(value(&call["with"]["x"], &before, &context, &[("item", json!(2))]), json!([2, 7]));
        assert_eq!(
            value(&call["output"]["as"], &json!("second"), &context, &[("input", before)]),
            json!(["first", "second"])
        );
        let context = value(&b["export"]["as"], &json!([3]), &context, &[]);
        let output = &workflow.source()["output"]["as"];
        assert_eq!(value(output, &none, &context, &[]), json!({"a": 1, "b": [3]}));
    }

    #[test]
    fn what_cannot_be_ordered_is_refused() {
        let plan = json!({"steps": [{"id": "a", "tool": "t", "after": ["b"]}, {"id": "b", "tool": "t", "after": ["a"]}]});
        assert!(compile(&Plan::from_source(&plan).unwrap()).is_err());
    }

    #[test]
    fn the_largest_and_deepest_plans_compile() {
        let steps: Vec<Value> = (0..super::super::MAX_STEPS)
            .map(|n| {
                let after: Vec<String> =
                    [1, 7].iter().filter_map(|d| n.checked_sub(n % 5 + d)).map(|n| format!("s{n}")).collect();
                json!({"id": format!("s{n}"), "tool": "t", "after": after, "forEach": ".input"})
            })
            .collect();
        assert!(!compiled(json!({ "steps": steps })).tasks.is_empty());
        let deep = (0..75).fold(json!(1), |inner, _| json!([inner]));
        let plan = json!({"steps": [
            {"id": "a", "tool": "t", "args": {"x": deep}, "forEach": ".input"}, {"id": "b", "tool": "t"},
        ]});
        compiled(plan);
        let deep = (0..90).fold(json!(1), |inner, _| json!([inner]));
        let plan = json!({"steps": [{"id": "a", "tool": "t", "args": {"x": deep}}]});
        assert!(compile(&Plan::from_source(&plan).unwrap()).is_err());
    }
}
