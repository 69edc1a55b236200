//! What is wrong with a plan or a workflow: all findings in one pass, each with its place and, where it can be known, a
//! patch that is ready to apply.
//!
//! A patch never makes up a value and never drops what its author may have meant, but for what is certainly too much (a
//! second pivot, one edge of a circle, an argument that a closed schema does not know).

mod finding;
mod jq;
mod order;
mod saga;
mod tools;
mod workflow;

use std::sync::Arc;

use serde_json::Value;
use trunkline_model::ToolSpec;

use crate::plan::{self, Plan, Step};
use crate::workflow::node::Log;
use crate::workflow::{Undo, text};

pub use finding::{Finding, Severity};
pub use tools::{Tools, honours_key};

/// Checks the text of a plan (it has `steps`) or of a workflow, in JSON or YAML.
#[must_use]
pub fn document(source: &str, tools: &dyn Tools) -> Vec<Finding> {
    match text::parse(source) {
        Err(finding) => vec![*finding],
        Ok(source) if source.get("steps").is_some() || source.get("do").is_none() => plan(&source, tools),
        Ok(source) => workflow(&source, tools),
    }
}

/// Checks a plan. Findings come errors first, in the order of the document.
#[must_use]
pub fn plan(source: &Value, tools: &dyn Tools) -> Vec<Finding> {
    if let Some(finding) = text::unfit(source) {
        return vec![finding];
    }
    let log = Log::new(0);
    if let Some(plan) = plan::read_noting(source, &log) {
        let order = order::check(&plan, &log);
        // Until every step is read and every name is known, steps may seem to stand beside each other that do not.
        let whole = log.count() == 0;
        let mut specs = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            specs.push(step_tool(step, tools, &log));
            step_undo(step, tools, &log);
            step_expressions(step, &log);
        }
        saga::check(&plan, order.as_ref(), whole, &specs, &log);
        if let Some(output) = &plan.output {
            jq::expression(output.text(), "/output", &jq::VARIABLES, &log);
        }
    }
    sorted(log.into_findings())
}

/// Checks a workflow. Findings come errors first, in the order of the document.
#[must_use]
pub fn workflow(source: &Value, tools: &dyn Tools) -> Vec<Finding> {
    if let Some(finding) = text::unfit(source) {
        return vec![finding];
    }
    let log = Log::new(crate::workflow::MAX_TASKS);
    crate::workflow::read_noting(source, &log);
    workflow::check(source, tools, &log);
    sorted(log.into_findings())
}

/// What keeps a plan from having an order.
pub(crate) fn order(plan: &Plan) -> Vec<Finding> {
    let log = Log::new(0);
    order::check(plan, &log);
    let mut findings = log.into_findings();
    findings.retain(|finding| finding.severity == Severity::Error);
    findings
}

fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn step_tool(step: &Step, tools: &dyn Tools, log: &Log) -> Option<Arc<ToolSpec>> {
    if step.tool.is_empty() {
        return None;
    }
    let here = format!("/steps/{}", step.index);
    let spec = tools::find(&step.tool, &format!("{here}/tool"), tools, log)?;
    if crate::workflow::CALL_KINDS.contains(&&*step.tool) {
        log.note(|| {
            Finding::error(
                format!("{here}/tool"),
                "a plan can't call a tool of this name: it is a kind of call",
            )
            .expected("a tool with a name of its own")
            .found(&Value::from(&*step.tool))
        });
    }
    if !step.malformed {
        tools::arguments(&spec, step.has_args.then_some(&step.args), &format!("{here}/args"), log);
    }
    Some(spec)
}

fn step_undo(step: &Step, tools: &dyn Tools, log: &Log) {
    let Undo::Call(undo) = &step.undo else { return };
    let here = format!("/steps/{}/undo", step.index);
    let Some(spec) = tools::find(&undo.tool, &format!("{here}/tool"), tools, log) else { return };
    saga::unsafe_undo(&spec, &format!("{here}/tool"), log);
    let args = step.undo_source.as_ref().and_then(|undo| undo.get("args")).and_then(Value::as_object);
    if !step.malformed {
        tools::arguments(&spec, args, &format!("{here}/args"), log);
    }
}

fn step_expressions(step: &Step, log: &Log) {
    let here = format!("/steps/{}", step.index);
    let mut variables = jq::VARIABLES.to_vec();
    for (expression, name) in [(&step.when, "when"), (&step.for_each, "forEach")] {
        if let Some(expression) = expression {
            jq::expression(expression.text(), &format!("{here}/{name}"), &variables, log);
        }
    }
    if step.for_each.is_some() {
        variables.extend(["item", "index"]);
    }
    for (name, value) in &step.args {
        let path = format!("{here}/args/{}", crate::workflow::node::escape(name));
        jq::template(value, &path, &variables, log);
    }
    if let Undo::Call(undo) = &step.undo {
        jq::template(undo.args.source(), &format!("{here}/undo/args"), &variables, log);
    }
}

#[cfg(test)]
mod tests;
