//! Whether a plan can be taken back: pivots, undos, and what comes after the point of no return.

use std::sync::Arc;

use serde_json::{Value, json};
use trunkline_model::ToolSpec;

use crate::plan::{Order, Plan, Step};
use crate::workflow::Undo;
use crate::workflow::node::Log;

use super::Finding;
use super::tools::honours_key;

/// Whether a call can be repeated without doing its work twice.
pub(super) fn repeatable(spec: &ToolSpec) -> bool {
    spec.effects.repeatable() || honours_key(spec)
}

/// Notes that an undo can't be repeated. `path` is where its tool is named.
pub(super) fn unsafe_undo(spec: &ToolSpec, path: &str, log: &Log) {
    if !repeatable(spec) {
        log.note(|| {
            Finding::error(
                path,
                format!("{} is no safe undo: an undo is repeated until it is done", spec.name),
            )
            .expected("a tool that is idempotent or read-only, or takes an idempotency key")
            .found(&Value::from(&*spec.name))
        });
    }
}

/// Notes what can't be retried although it comes after the pivot. `path` is where its tool is named.
pub(super) fn not_repeatable(spec: &ToolSpec, path: &str) -> Finding {
    Finding::error(
        path,
        format!("{} comes after the pivot, where failed calls are retried until they are done", spec.name),
    )
    .expected(
        "a tool that is idempotent or read-only, or takes an idempotency key; or a pivot that comes later",
    )
    .found(&Value::from(&*spec.name))
}

/// Notes a second pivot.
pub(super) fn second_pivot(path: &str, first: &str) -> Finding {
    Finding::error(path, format!("there is already a pivot: {first}"))
        .expected("one point of no return at most")
        .patch(json!([{"op": "remove", "path": path}]))
}

/// Checks a plan, whose tools are known where `specs` has them, by step; the order, as far as there is one, and whether
/// it is whole.
pub(super) fn check(
    plan: &Plan,
    order: Option<&Order>,
    whole: bool,
    specs: &[Option<Arc<ToolSpec>>],
    log: &Log,
) {
    let mut pivots = plan.steps.iter().enumerate().filter(|(_, step)| step.pivot).map(|(index, _)| index);
    let pivot = pivots.next();
    for second in pivots {
        let first = pivot.map_or("", |first| &plan.steps[first].id);
        log.note(|| second_pivot(&format!("/steps/{}/pivot", plan.steps[second].index), first));
    }
    let Some(order) = order else { return };
    match pivot {
        Some(pivot) => {
            let (before, after) = (order.all_before(&[pivot]), order.all_after(&[pivot]));
            after_the_pivot(plan, pivot, &after, specs, log);
            if whole {
                beside_the_pivot(plan, order, pivot, specs, log);
            }
            for (index, step) in plan.steps.iter().enumerate().filter(|(index, _)| before[*index]) {
                without_undo(step, specs[index].as_deref(), log);
            }
        }
        None if plan.steps.iter().any(|step| matches!(step.undo, Undo::Call(_))) => {
            let mut followed = vec![false; plan.steps.len()];
            for earlier in order.before.iter().flatten() {
                followed[*earlier] = true;
            }
            for (index, step) in plan.steps.iter().enumerate().filter(|(index, _)| followed[*index]) {
                without_undo(step, specs[index].as_deref(), log);
            }
        }
        None => {}
    }
}

fn after_the_pivot(plan: &Plan, pivot: usize, after: &[bool], specs: &[Option<Arc<ToolSpec>>], log: &Log) {
    let steps = || plan.steps.iter().enumerate().filter(|(index, _)| after[*index] && *index != pivot);
    let fragile: Vec<(usize, &ToolSpec)> = steps()
        .filter_map(|(index, _)| Some((index, specs[index].as_deref()?)))
        .filter(|(_, spec)| !repeatable(spec))
        .collect();
    for (index, spec) in &fragile {
        log.note(|| {
            let here = format!("/steps/{}", plan.steps[*index].index);
            let finding = not_repeatable(spec, &format!("{here}/tool"));
            // Where it is the only one, it may be the pivot itself.
            if fragile.len() > 1 {
                return finding;
            }
            finding.patch(json!([
                {"op": "remove", "path": format!("/steps/{}/pivot", plan.steps[pivot].index)},
                {"op": "add", "path": format!("{here}/pivot"), "value": true},
            ]))
        });
    }
    for (_, step) in steps().filter(|(_, step)| matches!(step.undo, Undo::Call(_))) {
        log.note(|| {
            let path = format!("/steps/{}/undo", step.index);
            Finding::warning(&*path, "this comes after the pivot, where nothing is undone any more")
                .expected("no undo")
                .patch(json!([{"op": "remove", "path": path}]))
        });
    }
}

/// A step that may still fail when the pivot is done can't be taken back then.
fn beside_the_pivot(plan: &Plan, order: &Order, pivot: usize, specs: &[Option<Arc<ToolSpec>>], log: &Log) {
    let (before, after) = (order.all_before(&[pivot]), order.all_after(&[pivot]));
    let beside: Vec<usize> = (0..plan.steps.len())
        .filter(|&index| !before[index] && !after[index] && index != pivot)
        .filter(|&index| specs[index].as_ref().is_some_and(|spec| !spec.effects.read_only))
        .collect();
    if !beside.is_empty() {
        log.note(|| {
            let ids: Vec<&str> = beside.iter().map(|&index| &*plan.steps[index].id).collect();
            let path = format!("/steps/{}/pivot", plan.steps[pivot].index);
            Finding::warning(path, format!("{} may still run or fail when the pivot is done", ids.join(", ")))
                .expected("each step with effects before the pivot or after it")
                .patch(placed(plan, order, pivot, &beside, specs))
        });
    }
}

/// A patch that puts each of these steps after the pivot where it can be retried, and before it otherwise.
fn placed(
    plan: &Plan,
    order: &Order,
    pivot: usize,
    beside: &[usize],
    specs: &[Option<Arc<ToolSpec>>],
) -> Value {
    let retried = |&index: &usize| {
        specs[index].as_deref().is_some_and(repeatable) && !matches!(plan.steps[index].undo, Undo::Call(_))
    };
    // What comes before a step that must be before the pivot is before it too.
    let once: Vec<usize> = beside.iter().copied().filter(|index| !retried(index)).collect();
    let mut early = order.all_before(&once);
    for index in once {
        early[index] = true;
    }
    let added = |step: &Step, more: Vec<&str>| {
        let all: Vec<&str> = step.after.iter().map(|name| &**name).chain(more).collect();
        json!({"op": "add", "path": format!("/steps/{}/after", step.index), "value": all})
    };
    let first: Vec<&str> =
        beside.iter().filter(|&&index| early[index]).map(|&index| &*plan.steps[index].id).collect();
    let mut patch = Vec::new();
    if !first.is_empty() {
        patch.push(added(&plan.steps[pivot], first));
    }
    let late = beside.iter().filter(|&&index| !early[index]);
    patch.extend(late.map(|&index| added(&plan.steps[index], vec![&*plan.steps[pivot].id])));
    Value::Array(patch)
}

fn without_undo(step: &Step, spec: Option<&ToolSpec>, log: &Log) {
    let effects = spec.is_some_and(|spec| !spec.effects.read_only);
    if effects && matches!(step.undo, Undo::Unsaid) && !step.pivot {
        log.note(|| {
            Finding::warning(
                format!("/steps/{}", step.index),
                format!(
                    "{:?} has effects, and nothing says how they are taken back if a later step fails",
                    &*step.id
                ),
            )
            .expected(
                "undo: an object with a tool and its args, false, or \"safe: why nothing must be undone\"",
            )
        });
    }
}
