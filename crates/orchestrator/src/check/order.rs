//! Whether the steps of a plan have names of their own, refer to steps that are there, and come after each other.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use crate::plan::{Order, Part, Plan, Reference, Step, references};
use crate::workflow::node::Log;

use super::{Finding, Severity};

/// Notes what is wrong with the order of a plan's steps. `None` for the order where there is none.
pub(super) fn check(plan: &Plan, log: &Log) -> Option<Order> {
    let names: HashSet<&str> = plan.steps.iter().map(|step| &*step.id).filter(|id| !id.is_empty()).collect();
    duplicates(plan, &names, log);
    for step in &plan.steps {
        let here = format!("/steps/{}", step.index);
        let absent = |name: &str| !name.is_empty() && !names.contains(name);
        for (place, name) in step.after.iter().enumerate().filter(|(_, name)| absent(name)) {
            log.note(|| {
                let path = format!("{here}/after/{place}");
                let finding = unknown(&path, name, &step.id, &names);
                let patch = finding
                    .nearest
                    .first()
                    .map(|nearest| json!([{"op": "replace", "path": path, "value": nearest}]));
                Finding { patch, ..finding }
            });
        }
        for reference in &step.references {
            referred(reference, Some(step), &names, log, || {
                let (path, text) = step.locate(reference);
                (here.clone() + &path, text)
            });
        }
    }
    if let Some(output) = &plan.output {
        for reference in references(output.text(), Part::Output, 0) {
            referred(&reference, None, &names, log, || ("/output".to_owned(), output.text().to_owned()));
        }
    }
    let order = Order::of(plan);
    let cycles = order.cycles();
    for cycle in &cycles {
        log.note(|| in_circle(plan, cycle));
    }
    cycles.is_empty().then_some(order)
}

fn unknown(path: &str, name: &str, own: &str, names: &HashSet<&str>) -> Finding {
    let others = names.iter().copied().filter(|other| *other != own);
    Finding::error(path, format!("there is no step {name:?}"))
        .expected("the id of a step of this plan")
        .found(&Value::from(name))
        .near(name, others)
}

fn duplicates(plan: &Plan, names: &HashSet<&str>, log: &Log) {
    let mut seen = HashMap::new();
    for step in plan.steps.iter().filter(|step| !step.id.is_empty()) {
        if let Some(first) = seen.insert(&*step.id, step.index) {
            log.note(|| {
                let path = format!("/steps/{}/id", step.index);
                let free = (2..).map(|n| format!("{}{n}", step.id)).find(|free| !names.contains(&**free));
                Finding::error(&*path, format!("step {first} already has the id {:?}", step.id))
                    .expected("a name that no other step has")
                    .found(&Value::from(&*step.id))
                    .patch(json!([{"op": "replace", "path": path, "value": free}]))
            });
        }
    }
}

/// Notes a reference to a step that is not there, or to nobody knows which. `locate` gives its place and text.
fn referred(
    reference: &Reference,
    step: Option<&Step>,
    names: &HashSet<&str>,
    log: &Log,
    locate: impl FnOnce() -> (String, String),
) {
    let Some(name) = &reference.step else {
        if step.is_some_and(|step| step.after.is_empty()) {
            log.note(|| {
                let message = "which steps this refers to can't be told, so it may run before them";
                Finding::warning(locate().0, message)
                    .expected(".steps.id for each step, or their ids in after")
            });
        }
        return;
    };
    if names.contains(&**name) {
        return;
    }
    log.note(|| {
        let (path, text) = locate();
        // An undo may refer to its own step.
        let own = step.filter(|_| reference.part != Part::Undo).map_or("", |step| &step.id);
        let finding = unknown(&path, name, own, names);
        if !reference.certain {
            let message = format!("{}, if . is the whole here and not what is piped in", finding.message);
            return Finding { severity: Severity::Warning, message, ..finding };
        }
        let patch = finding
            .nearest
            .first()
            .map(|nearest| json!([{"op": "replace", "path": path, "value": renamed(&text, name, nearest)}]));
        Finding { patch, ..finding }
    });
}

/// An expression with one step's name in place of another's.
fn renamed(text: &str, old: &str, new: &str) -> String {
    let dotted = format!(".steps.{old}");
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&dotted) {
        let end = at + dotted.len();
        let whole = !rest[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        out.push_str(&rest[..at]);
        out.push_str(if whole { ".steps." } else { &dotted });
        out.push_str(if whole { new } else { "" });
        rest = &rest[end..];
    }
    out.push_str(rest);
    out.replace(&format!("[{old:?}]"), &format!("[{new:?}]"))
}

fn in_circle(plan: &Plan, cycle: &[usize]) -> Finding {
    let id = |index: usize| &*plan.steps[index].id;
    // Each step of a cycle comes after the next one. What was declared can be taken back; what is referred to can't.
    let pairs = || cycle.iter().copied().zip(cycle.iter().copied().cycle().skip(1));
    let declared = |(later, earlier): (usize, usize)| {
        let place = plan.steps[later].after.iter().position(|name| **name == *id(earlier))?;
        let referred = plan.steps[later].references.iter().any(|r| r.step.as_deref() == Some(id(earlier)));
        (!referred).then_some((later, earlier, place))
    };
    // A step that comes after one that is written below it is the likeliest slip.
    let slip = pairs()
        .filter_map(declared)
        .max_by_key(|(later, earlier, _)| (earlier > later, earlier.abs_diff(*later)));
    let names: Vec<&str> = cycle.iter().chain(cycle.first()).map(|&index| id(index)).collect();
    let message = format!("these steps wait for each other: {}", names.join(" after "));
    let index = |step: usize| plan.steps[step].index;
    match slip {
        Some((later, _, place)) => {
            let path = format!("/steps/{}/after/{place}", index(later));
            Finding::error(&*path, message)
                .expected("an order in which each step comes after those that it needs")
                .patch(json!([{"op": "remove", "path": path}]))
        }
        None => Finding::error(format!("/steps/{}", cycle.first().map_or(0, |&step| index(step))), message)
            .expected("an order in which each step comes after those that it refers to"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_whole() {
        assert_eq!(renamed(".steps.bok.id + .steps.bok2", "bok", "book"), ".steps.book.id + .steps.bok2");
        assert_eq!(renamed(".steps[\"bok\"]", "bok", "book"), ".steps[\"book\"]");
    }
}
