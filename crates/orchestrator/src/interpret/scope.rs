//! What expressions may name.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use trunkline_model::Json;

use crate::expression::{Expression, ExpressionError, Template};
use crate::fault::Fault;
use crate::run::Run;
use crate::workflow::Transform;

/// The variables that are in sight. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Scope(Option<Arc<Bound>>);

struct Bound {
    name: Arc<str>,
    value: Arc<Value>,
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
        Self(Some(Arc::new(Bound { name: Arc::from(name), value: Arc::new(value), outer: self.clone() })))
    }

    /// The variables that may be named; the innermost of a name counts.
    fn variables(&self, run: &Run) -> Vec<(Arc<str>, Arc<Value>)> {
        let mut found: Vec<(Arc<str>, Arc<Value>)> = vec![(Arc::from("context"), run.context())];
        let mut scope = self;
        while let Some(bound) = &scope.0 {
            if !found.iter().any(|(name, _)| *name == bound.name) {
                found.push((bound.name.clone(), bound.value.clone()));
            }
            scope = &bound.outer;
        }
        found
    }

    /// The variables that are named in the texts of a template, other than those that every task of a run has. Text that
    /// only looks like it counts, too.
    pub(super) fn named_in(&self, template: &Value) -> Option<Json> {
        let text = template.to_string();
        let mut found = Map::new();
        let mut scope = self;
        while let Some(bound) = &scope.0 {
            let own = !matches!(
                &*bound.name,
                "runtime" | "workflow" | "secrets" | "authorization" | "output" | "task"
            );
            if own && text.contains(&format!("${}", bound.name)) && !found.contains_key(&*bound.name) {
                found.insert(bound.name.to_string(), Value::clone(&bound.value));
            }
            scope = &bound.outer;
        }
        (!found.is_empty()).then(|| Json::from_value(&Value::Object(found)))
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

/// The value of a template of a task whose branch has gone, from what was kept of its variables.
pub(crate) fn again(
    run: &Run,
    template: &Value,
    bound: Option<&Json>,
    output: &Value,
    dot: &Value,
) -> Result<Value, Fault> {
    let mut scope = Scope::root(run);
    if let Some(Value::Object(bound)) = bound.map(Json::to_value) {
        scope = bound.into_iter().fold(scope, |scope, (name, value)| scope.with(&name, value));
    }
    let template = Transform::Template(Template::new(template.clone()));
    scope.with("output", output.clone()).evaluate(run, &template, dot)
}

fn fault(text: &str, error: &ExpressionError) -> Fault {
    Fault::expression(text, error)
}
