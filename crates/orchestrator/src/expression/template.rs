//! JSON values with expressions in them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::budget::{Budget, MAX_DEPTH};
use super::{Expression, ExpressionError, Limits, Variables};

/// The jq inside `${ … }`; `None` where `text` is a literal, as it is if `${` stands only in its middle.
#[must_use]
pub fn expression_in(text: &str) -> Option<&str> {
    Some(text.trim().strip_prefix("${")?.strip_suffix('}')?.trim())
}

/// A JSON value in which strings of the form `${ … }` stand for the values of expressions.
#[derive(Clone, Debug)]
pub struct Template(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    source: Value,
    /// `None` where there is no expression in it.
    node: Option<Node>,
}

/// A part of a template that has an expression in it.
#[derive(Debug)]
enum Node {
    Expression(Expression),
    Array(Vec<(usize, Node)>),
    Object(Vec<(String, Node)>),
}

impl Node {
    fn of(value: &Value, depth: usize) -> Option<Self> {
        if depth > MAX_DEPTH {
            // Nothing as deep is read from outside; as text it does no harm.
            return None;
        }
        match value {
            Value::String(text) => expression_in(text).map(|text| Self::Expression(Expression::new(text))),
            Value::Array(items) => {
                let inner = |(at, item)| Some((at, Self::of(item, depth + 1)?));
                let nodes: Vec<_> = items.iter().enumerate().filter_map(inner).collect();
                (!nodes.is_empty()).then_some(Self::Array(nodes))
            }
            Value::Object(map) => {
                let inner = |(key, value): (&String, _)| Some((key.clone(), Self::of(value, depth + 1)?));
                let nodes: Vec<_> = map.iter().filter_map(inner).collect();
                (!nodes.is_empty()).then_some(Self::Object(nodes))
            }
            _ => None,
        }
    }

    fn expressions<'n>(&'n self, path: &str, found: &mut Vec<(String, &'n Expression)>) {
        match self {
            Self::Expression(expression) => found.push((path.to_owned(), expression)),
            Self::Array(nodes) => {
                nodes.iter().for_each(|(at, node)| node.expressions(&format!("{path}/{at}"), found));
            }
            Self::Object(nodes) => {
                for (key, node) in nodes {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    node.expressions(&format!("{path}/{key}"), found);
                }
            }
        }
    }

    fn evaluate(
        &self,
        source: &Value,
        input: &Value,
        variables: &Variables,
        budget: &Budget,
    ) -> Result<Value, ExpressionError> {
        match (self, source) {
            (Self::Expression(expression), _) => expression.evaluate_within(input, variables, budget),
            (Self::Array(nodes), Value::Array(items)) => {
                let mut nodes = nodes.iter().peekable();
                let items = items.iter().enumerate().map(|(at, item)| {
                    match nodes.next_if(|(place, _)| *place == at) {
                        Some((_, node)) => node.evaluate(item, input, variables, budget),
                        None => Ok(item.clone()),
                    }
                });
                Ok(Value::Array(items.collect::<Result<_, _>>()?))
            }
            (Self::Object(nodes), Value::Object(map)) => {
                let mut nodes = nodes.iter().peekable();
                let mut result = Map::with_capacity(map.len());
                for (key, value) in map {
                    let value = match nodes.next_if(|(place, _)| place == key) {
                        Some((_, node)) => node.evaluate(value, input, variables, budget)?,
                        None => value.clone(),
                    };
                    result.insert(key.clone(), value);
                }
                Ok(Value::Object(result))
            }
            (_, source) => Ok(source.clone()),
        }
    }
}

impl Template {
    /// The template that `value` is.
    #[must_use]
    pub fn new(value: Value) -> Self {
        let node = Node::of(&value, 0);
        Self(Arc::new(Parts { source: value, node }))
    }

    /// As it is written.
    #[must_use]
    pub fn source(&self) -> &Value {
        &self.0.source
    }

    /// Its expressions, each with the JSON pointer to where it stands.
    #[must_use]
    pub fn expressions(&self) -> Vec<(String, &Expression)> {
        let mut found = Vec::new();
        if let Some(node) = &self.0.node {
            node.expressions("", &mut found);
        }
        found
    }

    /// The value with every expression in it replaced. All of them together have these limits.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn evaluate(
        &self,
        input: &Value,
        variables: &Variables,
        limits: Limits,
    ) -> Result<Value, ExpressionError> {
        match &self.0.node {
            Some(node) => node.evaluate(&self.0.source, input, variables, &Budget::new(limits)),
            None => Ok(self.0.source.clone()),
        }
    }
}
