//! A plan or a workflow, as a model or a person writes it. What is found is not applied without end, and what nothing is
//! found in compiles to a workflow that is the same when it is read again.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use trunkline_model::ToolSpec;
use trunkline_orchestrator::check::{self, Severity};
use trunkline_orchestrator::plan::{Plan, compile};
use trunkline_orchestrator::workflow::Workflow;

/// No tools: what is said of them is a finding that is left aside.
struct NoTools;

impl check::Tools for NoTools {
    fn find(&self, _: &str) -> Option<Arc<ToolSpec>> {
        None
    }

    fn near(&self, name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }
}

fuzz_target!(|text: &str| {
    let findings = check::document(text, &NoTools);
    assert!(findings.len() <= 1100, "there is no end of findings");
    let errors = findings.iter().filter(|finding| finding.severity >= Severity::Error).count();
    assert!(findings.iter().all(|finding| !finding.to_string().is_empty()));
    if let Ok(plan) = Plan::read(text) {
        match compile(&plan) {
            Ok(workflow) => again(&workflow),
            Err(invalid) => assert!(!invalid.findings.is_empty() && errors > 0),
        }
    }
    if let Ok(workflow) = Workflow::read(text) {
        again(&workflow);
    }
});

fn again(workflow: &Workflow) {
    let read = Workflow::read(&workflow.to_yaml()).expect("what was written can be read");
    assert_eq!(read.hash(), workflow.hash());
}
