//! Events: what is listened for, how what comes is read, and what is emitted.

use std::sync::Arc;

use serde_json::Value;

use crate::expression::{Expression, Template};

use super::flow::{self, ExportFlow, OutputFlow, Transform};
use super::node::{Members, Node};
use super::task::{self, TaskList};

/// A task that waits for events.
#[derive(Clone, Debug)]
pub struct ListenTask {
    /// Which events.
    pub to: Consumption,
    /// What of them becomes the output.
    pub read: ReadAs,
    /// What is done with each, as it comes.
    pub foreach: Option<ForEach>,
}

/// Which events are consumed.
#[derive(Clone, Debug)]
pub enum Consumption {
    /// One that fits each filter.
    All(Vec<EventFilter>),
    /// One that fits any filter, or, with an end, all that fit any. Without filters, any event.
    Any {
        /// The filters.
        filters: Vec<EventFilter>,
        /// When to stop listening.
        until: Option<Until>,
    },
    /// One that fits.
    One(EventFilter),
}

/// When to stop listening.
#[derive(Clone, Debug)]
pub enum Until {
    /// When this holds of the list of what was consumed so far.
    Condition(Expression),
    /// When these events come.
    Consumed(Box<Consumption>),
}

/// A condition on an event.
#[derive(Clone, Debug)]
pub struct EventFilter {
    /// What its attributes must be: equal to a template's value, or such that an expression, evaluated with the
    /// attribute as input, gives true.
    pub with: Vec<(Arc<str>, Transform)>,
    /// What ties it to this instance or to other events.
    pub correlate: Vec<Correlation>,
}

/// A value of an event that must be the same as in others.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is in an event.
    pub from: Expression,
    /// What it must be; what the first event has unless given.
    pub expect: Option<Transform>,
}

/// What of an event becomes data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadAs {
    /// Its data.
    #[default]
    Data,
    /// The whole event, as CloudEvents JSON.
    Envelope,
    /// Its data, as it came.
    Raw,
}

/// What is done with each event or message, as it comes.
#[derive(Clone, Debug)]
pub struct ForEach {
    /// The variable that holds it.
    pub item: Arc<str>,
    /// The variable that holds its index.
    pub at: Arc<str>,
    /// What is done.
    pub tasks: TaskList,
    /// What it adds to the output.
    pub output: Option<OutputFlow>,
    /// What becomes of the context.
    pub export: Option<ExportFlow>,
}

const READ: [(&str, ReadAs); 3] =
    [("data", ReadAs::Data), ("envelope", ReadAs::Envelope), ("raw", ReadAs::Raw)];

pub(super) fn listen(members: &Members<'_>) -> Option<ListenTask> {
    let listen = members.optional("listen", |node| {
        let listen = node.object()?;
        let to = listen.required("to", "the events to listen for", consumption);
        let read = listen.optional("read", read_as).unwrap_or_default();
        listen.finish();
        Some((to?, read))
    });
    let foreach = members.optional("foreach", iterator);
    let (to, read) = listen?;
    Some(ListenTask { to, read, foreach })
}

pub(super) fn read_as(node: Node<'_>) -> Option<ReadAs> {
    node.one_of(&READ)
}

pub(super) fn consumption(node: Node<'_>) -> Option<Consumption> {
    let members = node.object()?;
    let found = match members.exactly_one(&["all", "any", "one"]) {
        Some("all") => members.optional("all", |node| node.list(filter)).map(Consumption::All),
        Some("any") => {
            let until = members.optional("until", until);
            members
                .optional("any", |node| node.list(filter))
                .map(|filters| Consumption::Any { filters, until })
        }
        Some(_) => members.optional("one", filter).map(Consumption::One),
        None => None,
    };
    members.finish();
    found
}

fn until(node: Node<'_>) -> Option<Until> {
    if node.value().is_string() {
        return node.expression().map(Until::Condition);
    }
    if node.value().get("until").is_some() {
        return node.unexpected("an expression, or all, any or one without an until of its own");
    }
    consumption(node).map(|consumption| Until::Consumed(Box::new(consumption)))
}

fn filter(node: Node<'_>) -> Option<EventFilter> {
    let members = node.object()?;
    let with = members.required("with", "the attributes of the event", |node| match node.value() {
        Value::Object(map) if !map.is_empty() => {
            node.named(|name, value| Some((Arc::from(name), Transform::of(value.value()))))
        }
        _ => node.unexpected("an object with at least one attribute, such as type"),
    });
    let correlate = members.optional("correlate", |node| node.named(correlation)).unwrap_or_default();
    members.finish();
    Some(EventFilter { with: with?, correlate })
}

fn correlation(name: &str, node: Node<'_>) -> Option<Correlation> {
    let members = node.object()?;
    let from = members.required("from", "an expression", Node::expression);
    let expect = members.get("expect").map(|expect| Transform::of(expect.value()));
    members.finish();
    Some(Correlation { name: Arc::from(name), from: from?, expect })
}

pub(super) fn iterator(node: Node<'_>) -> Option<ForEach> {
    let members = node.object()?;
    let variable =
        |name, default: &str| members.optional(name, task::variable).unwrap_or_else(|| Arc::from(default));
    let (item, at) = (variable("item", "item"), variable("at", "index"));
    let tasks = members.optional("do", task::list).unwrap_or_default();
    let output = members.optional("output", flow::output);
    let export = members.optional("export", flow::export);
    members.finish();
    Some(ForEach { item, at, tasks, output, export })
}

/// The attributes of the event that an `emit` task emits.
pub(super) fn emit(node: Node<'_>) -> Option<Template> {
    let emit = node.object()?;
    let event = emit.required("event", "an object with the event's attributes in with", |node| {
        let event = node.object()?;
        let with = event.required("with", "the event's attributes", |node| {
            if node.value().get("type").is_none_or(|kind| !kind.is_string()) {
                return node.unexpected("an object with the event's type");
            }
            node.map()
        });
        event.finish();
        with
    });
    emit.finish();
    event.map(|attributes| Template::new(Value::Object(attributes)))
}
