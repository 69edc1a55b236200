//! What expressions may name.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::expression::{Expression, ExpressionError};
use crate::fault::Fault;
use crate::run::Run;
use crate::workflow::Transform;

/// The variables that are in sight. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Scope(Option<Arc<Bound>>);

struct Bound {
    name: Arc<str>,
    value: Value,
    outer: Scope,
}

impl Scope {
    /// What every task of a run may name.
    pub(super) fn root(run: &Run) -> Self {
        let document = &run.workflow.document;
        let runtime = json!({"name": "trunkline", "version": env!("CARGO_PKG_VERSION"), "metadata": {}});
        let workflow = json!({
            "id": run.journal.instance,
            "definition": **run.workflow.source(),
            "input": run.input,
            "startedAt": run.journal.time().to_string(),
            "name": &*document.name,
        });
        Self(None)
            .with("runtime", runtime)
            .with("workflow", workflow)
            .with("secrets", json!({}))
            .with("authorization", Value::Null)
            .with("output", Value::Null)
            .with("input", run.input.clone())
            .with("task", Value::Null)
    }

    /// With one more variable.
    pub(super) fn with(&self, name: &str, value: Value) -> Self {
        Self(Some(Arc::new(Bound { name: Arc::from(name), value, outer: self.clone() })))
    }

    /// The variables that may be named; the innermost of a name counts.
    fn variables(&self, run: &Run) -> Vec<(Arc<str>, Value)> {
        let mut found: Vec<(Arc<str>, Value)> = vec![(Arc::from("context"), run.context())];
        let mut scope = self;
        while let Some(bound) = &scope.0 {
            if !found.iter().any(|(name, _)| *name == bound.name) {
                found.push((bound.name.clone(), bound.value.clone()));
            }
            scope = &bound.outer;
        }
        found
    }

    /// The value of an expression or a template.
    pub(super) fn evaluate(&self, run: &Run, transform: &Transform, input: &Value) -> Result<Value, Fault> {
        let value = transform.evaluate(input, &self.variables(run), run.bounds.expression);
        value.map_err(|error| match transform {
            Transform::Expression(expression) => fault(expression.text(), &error),
            Transform::Template(template) => fault(&template.source().to_string(), &error),
        })
    }

    /// Whether a condition holds.
    pub(super) fn holds(&self, run: &Run, condition: &Expression, input: &Value) -> Result<bool, Fault> {
        let value = condition.evaluate(input, &self.variables(run), run.bounds.expression);
        let value = value.map_err(|error| fault(condition.text(), &error))?;
        Ok(!matches!(value, Value::Null | Value::Bool(false)))
    }
}

fn fault(text: &str, error: &ExpressionError) -> Fault {
    Fault::expression(text, error)
}
