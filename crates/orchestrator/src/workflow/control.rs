//! Control: fork, for, switch, try with its catch, and how is retried.

use std::sync::Arc;

use serde_json::Value;

use crate::expression::Expression;

use super::duration::{self, DurationOf};
use super::flow::{self, Directive, Transform};
use super::node::{Members, Node};
use super::problem::{self, ErrorFilter};
use super::task::{self, Kind, TaskList};

/// A case of a switch.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: Arc<str>,
    /// It is taken where this holds; always unless given.
    pub when: Option<Expression>,
    /// Where control goes.
    pub then: Directive,
}

/// Which errors are caught, and what is done then.
#[derive(Clone, Debug)]
pub struct Catch {
    /// Errors that fit; all unless given.
    pub errors: Option<ErrorFilter>,
    /// The variable that holds the error.
    pub as_: Arc<str>,
    /// Only where this holds.
    pub when: Option<Expression>,
    /// Only where this does not hold.
    pub except_when: Option<Expression>,
    /// How is retried.
    pub retry: Option<RetryRef>,
    /// What is done once nothing is retried any more.
    pub tasks: Option<TaskList>,
    /// Where control goes then; as the task itself says unless given.
    pub then: Option<Directive>,
}

/// A retry policy, written where it is used or in `use.retries`; [`super::Workflow::retry_of`] finds it.
#[derive(Clone, Debug)]
pub enum RetryRef {
    /// Written here.
    Inline(Arc<RetryPolicy>),
    /// An entry of `use.retries`.
    Named(Arc<str>),
}

/// How is retried.
#[derive(Clone, Debug, Default)]
pub struct RetryPolicy {
    /// Only where this holds.
    pub when: Option<Expression>,
    /// Only where this does not hold.
    pub except_when: Option<Expression>,
    /// The time before the first retry.
    pub delay: Option<DurationOf>,
    /// How that time grows.
    pub backoff: Backoff,
    /// How many retries there are at most.
    pub attempts: Option<u64>,
    /// How long one attempt may take.
    pub attempt_duration: Option<DurationOf>,
    /// How long all attempts together may take.
    pub duration: Option<DurationOf>,
    /// What is added to each delay at random: from, to.
    pub jitter: Option<(DurationOf, DurationOf)>,
}

/// How the time between retries grows.
#[derive(Clone, Debug, Default)]
pub enum Backoff {
    /// It stays.
    #[default]
    Constant,
    /// It grows by this each time; by the delay itself unless given.
    Linear(Option<DurationOf>),
    /// It doubles each time.
    Exponential,
}

pub(super) fn fork(node: Node<'_>) -> Option<Kind> {
    let members = node.object()?;
    let branches = members.required("branches", "a list of tasks", task::list);
    let compete = members.optional("compete", Node::boolean).unwrap_or(false);
    members.finish();
    Some(Kind::Fork { branches: branches?, compete })
}

pub(super) fn for_each(members: &Members<'_>) -> Option<Kind> {
    let head = members.optional("for", |node| {
        let head = node.object()?;
        let variable =
            |name, default: &str| head.optional(name, task::variable).unwrap_or_else(|| Arc::from(default));
        let (each, at) = (variable("each", "item"), variable("at", "index"));
        let collection =
            head.required("in", "an expression that gives a list, or a list", |node| match node.value() {
                Value::String(_) | Value::Array(_) => Some(Transform::in_place_of_expression(node.value())),
                _ => node.unexpected("an expression that gives a list, or a list"),
            });
        head.finish();
        Some((each, at, collection?))
    });
    let while_ = members.optional("while", Node::expression);
    let tasks = members.required("do", "the tasks for each item", task::list);
    let (each, at, collection) = head?;
    Some(Kind::For { each, collection, at, while_, tasks: tasks? })
}

pub(super) fn switch(node: Node<'_>) -> Option<Vec<Case>> {
    let cases = node.list(|item| {
        item.single("an object with one member: the case's name and the case", |name, node| {
            let members = node.object()?;
            let when = members.optional("when", Node::expression);
            let then = members.required("then", "continue, exit, end, or a task's name", flow::directive);
            members.finish();
            Some(Case { name: Arc::from(name), when, then: then? })
        })
    })?;
    if node.value().as_array().is_some_and(Vec::is_empty) {
        return node.unexpected("at least one case");
    }
    Some(cases)
}

pub(super) fn try_catch(members: &Members<'_>) -> Option<Kind> {
    let tasks = members.optional("try", task::list);
    let catch = members.required("catch", "which errors are caught, and what is done then", catch);
    Some(Kind::Try { tasks: tasks?, catch: Box::new(catch?) })
}

fn catch(node: Node<'_>) -> Option<Catch> {
    let members = node.object()?;
    let errors = members
        .optional("errors", |node| {
            let errors = node.object()?;
            let filter = errors.optional("with", problem::filter);
            errors.finish();
            Some(filter)
        })
        .flatten();
    let as_ = members.optional("as", task::variable).unwrap_or_else(|| Arc::from("error"));
    let when = members.optional("when", Node::expression);
    let except_when = members.optional("exceptWhen", Node::expression);
    let retry = members.optional("retry", |node| {
        if node.value().is_string() {
            return node.component("retries").map(RetryRef::Named);
        }
        retry(node).map(|policy| RetryRef::Inline(Arc::new(policy)))
    });
    let tasks = members.optional("do", task::list);
    let then = members.optional("then", flow::directive);
    members.finish();
    Some(Catch { errors, as_, when, except_when, retry, tasks, then })
}

pub(crate) fn retry(node: Node<'_>) -> Option<RetryPolicy> {
    let members = node.object()?;
    let when = members.optional("when", Node::expression);
    let except_when = members.optional("exceptWhen", Node::expression);
    let delay = members.optional("delay", duration::read);
    let backoff = members.optional("backoff", backoff).unwrap_or_default();
    let (mut attempts, mut attempt_duration, mut whole_duration) = (None, None, None);
    if let Some(limit) = members.optional("limit", Node::object) {
        whole_duration = limit.optional("duration", duration::read);
        if let Some(attempt) = limit.optional("attempt", Node::object) {
            attempts = attempt.optional("count", Node::whole_number);
            attempt_duration = attempt.optional("duration", duration::read);
            attempt.finish();
        }
        limit.finish();
    }
    let jitter = members.optional("jitter", |node| {
        let jitter = node.object()?;
        let from = jitter.required("from", "the shortest duration", duration::read);
        let to = jitter.required("to", "the longest duration", duration::read);
        jitter.finish();
        from.zip(to)
    });
    members.finish();
    Some(RetryPolicy {
        when,
        except_when,
        delay,
        backoff,
        attempts,
        attempt_duration,
        duration: whole_duration,
        jitter,
    })
}

fn backoff(node: Node<'_>) -> Option<Backoff> {
    let members = node.object()?;
    let backoff = match members.exactly_one(&["constant", "linear", "exponential"]) {
        Some("constant") => members.optional("constant", Node::object).map(|constant| {
            constant.finish();
            Backoff::Constant
        }),
        Some("linear") => members.optional("linear", Node::object).map(|linear| {
            let increment = linear.optional("increment", duration::read);
            linear.finish();
            Backoff::Linear(increment)
        }),
        Some(_) => members.optional("exponential", Node::object).map(|exponential| {
            exponential.finish();
            Backoff::Exponential
        }),
        None => None,
    };
    members.finish();
    backoff
}
