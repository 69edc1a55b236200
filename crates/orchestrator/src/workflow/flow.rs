//! How data flows into and out of tasks, and where control goes next.

use std::sync::Arc;

use serde_json::Value;
use trunkline_model::Schema;

use crate::expression::{Expression, ExpressionError, Limits, Template, Variables};

use super::access::{self, ExternalResource};
use super::duration::{self, DurationOf};
use super::node::{Members, Node, marked, strip};

/// A value that is computed: by an expression as a whole, or by a template with expressions in it.
#[derive(Clone, Debug)]
pub enum Transform {
    /// The value of an expression.
    Expression(Expression),
    /// A value with expressions in it; a constant where it has none.
    Template(Template),
}

impl Transform {
    /// Of a value in a place for expressions: text is jq, with or without `${` and `}`.
    #[must_use]
    pub fn in_place_of_expression(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Expression(Expression::new(strip(text))),
            other => Self::Template(Template::new(other.clone())),
        }
    }

    /// Of a value in any place: only text of the form `${ … }` is jq.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        match value.as_str().and_then(marked) {
            Some(text) => Self::Expression(Expression::new(text)),
            None => Self::Template(Template::new(value.clone())),
        }
    }

    /// Its value for `input`.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn evaluate(
        &self,
        input: &Value,
        variables: &Variables,
        limits: Limits,
    ) -> Result<Value, ExpressionError> {
        match self {
            Self::Expression(expression) => expression.evaluate(input, variables, limits),
            Self::Template(template) => template.evaluate(input, variables, limits),
        }
    }
}

/// A schema of `input`, `output` or `export`.
#[derive(Clone, Debug)]
pub enum SchemaRef {
    /// It is written in the workflow.
    Inline(Schema),
    /// It must be fetched.
    External(ExternalResource),
}

/// What a task or the workflow takes in.
#[derive(Clone, Debug, Default)]
pub struct InputFlow {
    /// The schema of the raw input, before `from`.
    pub schema: Option<SchemaRef>,
    /// What becomes of it.
    pub from: Option<Transform>,
}

/// What a task or the workflow gives out.
#[derive(Clone, Debug, Default)]
pub struct OutputFlow {
    /// The schema of the transformed output, after `as`.
    pub schema: Option<SchemaRef>,
    /// What becomes of the raw output.
    pub as_: Option<Transform>,
}

/// What becomes of the workflow's context once a task is done.
#[derive(Clone, Debug, Default)]
pub struct ExportFlow {
    /// The schema of the new context.
    pub schema: Option<SchemaRef>,
    /// The new context, computed from the transformed output.
    pub as_: Option<Transform>,
}

/// Where control goes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directive {
    /// To the next task of the list.
    Continue,
    /// Out of the list.
    Exit,
    /// To the end of the workflow.
    End,
    /// To this task of the same list.
    Goto(Arc<str>),
}

/// A timeout, written where it is used or in `use.timeouts`; [`super::Workflow::timeout_of`] finds it.
#[derive(Clone, Debug)]
pub enum TimeoutRef {
    /// Written here.
    Inline(DurationOf),
    /// An entry of `use.timeouts`.
    Named(Arc<str>),
}

pub(super) fn input(node: Node<'_>) -> Option<InputFlow> {
    let members = node.object()?;
    let (schema, from) = (members.optional("schema", schema), members.optional("from", transform));
    members.finish();
    Some(InputFlow { schema, from })
}

pub(super) fn output(node: Node<'_>) -> Option<OutputFlow> {
    let (schema, as_) = schema_and_as(node)?;
    Some(OutputFlow { schema, as_ })
}

pub(super) fn export(node: Node<'_>) -> Option<ExportFlow> {
    let (schema, as_) = schema_and_as(node)?;
    Some(ExportFlow { schema, as_ })
}

fn schema_and_as(node: Node<'_>) -> Option<(Option<SchemaRef>, Option<Transform>)> {
    let members = node.object()?;
    let both = (members.optional("schema", schema), members.optional("as", transform));
    members.finish();
    Some(both)
}

/// Text that is an expression, or an object with expressions in it.
fn transform(node: Node<'_>) -> Option<Transform> {
    match node.value() {
        Value::String(_) | Value::Object(_) => Some(Transform::in_place_of_expression(node.value())),
        _ => node.unexpected("an expression, or an object with expressions in it"),
    }
}

pub(super) fn schema(node: Node<'_>) -> Option<SchemaRef> {
    let members = node.object()?;
    let format = members.get("format");
    if let Some(format) = format.filter(|format| {
        !format.value().as_str().is_some_and(|format| format == "json" || format.starts_with("json:"))
    }) {
        format.unexpected::<()>("the format json, the only one known here");
    }
    let schema = match members.exactly_one(&["document", "resource"]) {
        Some("document") => members.get("document").map(|document| {
            let schema = Schema::new(document.value().clone());
            if let Some(defect) = schema.defect() {
                document.note(|| {
                    crate::check::Finding::error("", format!("this is no usable JSON Schema: {defect}"))
                        .expected("a JSON Schema (2020-12) that refers to nothing outside itself")
                });
            }
            SchemaRef::Inline(schema)
        }),
        Some(_) => members.optional("resource", access::resource).map(SchemaRef::External),
        None => None,
    };
    members.finish();
    schema
}

pub(super) fn timeout(node: Node<'_>) -> Option<TimeoutRef> {
    if node.value().is_string() {
        return node.component("timeouts").map(TimeoutRef::Named);
    }
    timeout_definition(node).map(TimeoutRef::Inline)
}

pub(super) fn timeout_definition(node: Node<'_>) -> Option<DurationOf> {
    let members = node.object()?;
    let after = members.required("after", "a duration", duration::read);
    members.finish();
    after
}

pub(super) fn directive(node: Node<'_>) -> Option<Directive> {
    let name = node.name()?;
    Some(match &*name {
        "continue" => Directive::Continue,
        "exit" => Directive::Exit,
        "end" => Directive::End,
        _ => {
            node.log().siblings(|siblings| {
                if !siblings.contains(&name) {
                    let names = siblings.iter().map(|name| &**name).chain(["continue", "exit", "end"]);
                    let expected = "continue, exit, end, or the name of a task of the same list";
                    node.unknown_name("task here", &name, names, expected);
                }
            });
            Directive::Goto(name)
        }
    })
}

/// A map from names to texts or expressions, or an expression that gives one.
pub(super) fn map_or_expression(node: Node<'_>) -> Option<Transform> {
    match node.value() {
        Value::Object(_) => Some(Transform::of(node.value())),
        Value::String(text) if marked(text).is_some() => Some(Transform::of(node.value())),
        _ => node.unexpected("an object, or an expression in ${ }"),
    }
}

/// An optional object with expressions in it.
pub(super) fn optional_map(members: &Members<'_>, name: &'static str) -> Option<Template> {
    members.optional(name, |node| node.map()).map(|map| Template::new(Value::Object(map)))
}
