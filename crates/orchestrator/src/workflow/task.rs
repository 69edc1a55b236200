//! Tasks, and lists of them.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::check::Finding;
use crate::expression::{Expression, Template};

use super::call::{self, CallTask};
use super::control::{self, Case, Catch};
use super::duration::{self, DurationOf};
use super::events::{self, ListenTask};
use super::flow::{self, Directive, ExportFlow, InputFlow, OutputFlow, TimeoutRef, Transform};
use super::node::{Members, Node};
use super::problem::{self, ErrorRef};
use super::run::{self, RunTask};
use super::saga::{self, SAGA, Saga};

/// The most tasks that a workflow may have, all lists together.
pub const MAX_TASKS: usize = 10_000;

/// Tasks, in the order in which they are written.
pub type TaskList = Vec<NamedTask>;

/// A task and its name, which is its own within its list.
#[derive(Clone, Debug)]
pub struct NamedTask {
    /// The name.
    pub name: Arc<str>,
    /// The task.
    pub task: Task,
}

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    /// It is done only where this holds (`if`).
    pub condition: Option<Expression>,
    /// What it takes in.
    pub input: Option<InputFlow>,
    /// What it gives out.
    pub output: Option<OutputFlow>,
    /// What becomes of the context.
    pub export: Option<ExportFlow>,
    /// How long it may take.
    pub timeout: Option<TimeoutRef>,
    /// Where control goes next; to the next task unless given.
    pub then: Option<Directive>,
    /// What else is said of it.
    pub metadata: Map<String, Value>,
    /// Its place in a saga, from its metadata.
    pub saga: Option<Box<Saga>>,
    /// What it does.
    pub kind: Kind,
}

/// What a task does.
#[derive(Clone, Debug)]
pub enum Kind {
    /// It calls something.
    Call(Box<CallTask>),
    /// Tasks one after the other.
    Do(TaskList),
    /// Branches at once.
    Fork {
        /// The branches.
        branches: TaskList,
        /// Whether the first that is done wins, and the others are cancelled.
        compete: bool,
    },
    /// Tasks for each item of a list.
    For {
        /// The variable that holds the item.
        each: Arc<str>,
        /// The list.
        collection: Transform,
        /// The variable that holds the item's index.
        at: Arc<str>,
        /// It goes on only while this holds.
        while_: Option<Expression>,
        /// What is done for each.
        tasks: TaskList,
    },
    /// It chooses where control goes next.
    Switch(Vec<Case>),
    /// Tasks whose errors are caught.
    Try {
        /// The tasks.
        tasks: TaskList,
        /// Which errors, and what is done then.
        catch: Box<Catch>,
    },
    /// It waits.
    Wait(DurationOf),
    /// It waits for events.
    Listen(Box<ListenTask>),
    /// It emits an event with these attributes (CloudEvents).
    Emit(Template),
    /// It raises an error.
    Raise(ErrorRef),
    /// It runs a workflow or a process.
    Run(Box<RunTask>),
    /// It makes a value.
    Set(Transform),
}

/// The members that say what a task does; `do` also belongs to `for`.
const KINDS: [&str; 12] =
    ["call", "do", "fork", "for", "switch", "try", "wait", "listen", "emit", "raise", "run", "set"];

pub(super) fn list(node: Node<'_>) -> Option<TaskList> {
    let mut names = HashSet::new();
    for item in node.value().as_array().into_iter().flatten() {
        names.extend(item.as_object().into_iter().flat_map(Map::keys).map(|name| Arc::from(name.as_str())));
    }
    node.log().enter(names);
    let mut seen = HashSet::new();
    let tasks = node.list(|item| {
        item.single("an object with one member: the task's name and the task", |name, node| {
            let shared: Arc<str> = Arc::from(name);
            if !seen.insert(Arc::clone(&shared)) {
                duplicate(&item, name);
            }
            Some(NamedTask { name: shared, task: read(node)? })
        })
    });
    node.log().leave();
    tasks
}

fn duplicate(item: &Node<'_>, name: &str) {
    item.note(|| {
        let free = item.log().siblings(|siblings| {
            (2..).map(|n| format!("{name}{n}")).find(|free| !siblings.contains(free.as_str()))
        });
        let here = item.pointer();
        let finding = Finding::error("", format!("there is already a task {name:?} in this list"))
            .expected("a name that no other task of the list has")
            .found(&Value::from(name));
        match free {
            Some(free) => finding.patch(json!([{
                "op": "move",
                "from": format!("{here}/{}", super::node::escape(name)),
                "path": format!("{here}/{}", super::node::escape(&free)),
            }])),
            None => finding,
        }
    });
}

pub(super) fn read(node: Node<'_>) -> Option<Task> {
    let excess = node.log().count_task();
    if excess > 0 {
        if excess == 1 {
            let most = format!("at most {} tasks", node.log().max_tasks());
            node.note(|| Finding::error("", "there are too many tasks").expected(most));
        }
        return None;
    }
    let members = node.object()?;
    let condition = members.optional("if", Node::expression);
    let input = members.optional("input", flow::input);
    let output = members.optional("output", flow::output);
    let export = members.optional("export", flow::export);
    let timeout = members.optional("timeout", flow::timeout);
    let then = members.optional("then", flow::directive);
    let saga = members.get("metadata").and_then(|node| node.only_member(SAGA, saga::read)).map(Box::new);
    let metadata = members.optional("metadata", |node| node.map()).unwrap_or_default();
    let kind = kind(&members);
    members.finish();
    Some(Task { condition, input, output, export, timeout, then, metadata, saga, kind: kind? })
}

fn kind(members: &Members<'_>) -> Option<Kind> {
    let names: &[&str] = if members.has("for") { &FOR_KINDS } else { &KINDS };
    let Some(kind) = members.exactly_one(names) else {
        // They belong to kinds: that the kind is missing is said once.
        for companion in ["with", "catch", "while", "foreach"] {
            let _ = members.get(companion);
        }
        return None;
    };
    match kind {
        "call" => call::read(members).map(|call| Kind::Call(Box::new(call))),
        "do" => members.optional("do", list).map(Kind::Do),
        "fork" => members.optional("fork", control::fork),
        "for" => control::for_each(members),
        "switch" => members.optional("switch", control::switch).map(Kind::Switch),
        "try" => control::try_catch(members),
        "wait" => members.optional("wait", duration::read).map(Kind::Wait),
        "listen" => events::listen(members).map(|listen| Kind::Listen(Box::new(listen))),
        "emit" => members.optional("emit", events::emit).map(Kind::Emit),
        "raise" => members.optional("raise", raise).map(Kind::Raise),
        "run" => members.optional("run", run::read).map(|run| Kind::Run(Box::new(run))),
        _ => members.optional("set", set).map(Kind::Set),
    }
}

/// The kinds among which a task with `for` must choose: its `do` is no kind of its own.
const FOR_KINDS: [&str; 11] =
    ["call", "fork", "for", "switch", "try", "wait", "listen", "emit", "raise", "run", "set"];

fn set(node: Node<'_>) -> Option<Transform> {
    match node.value() {
        Value::Object(map) if !map.is_empty() => Some(Transform::of(node.value())),
        Value::String(_) => Some(Transform::in_place_of_expression(node.value())),
        _ => node.unexpected("an object with at least one member, or an expression"),
    }
}

fn raise(node: Node<'_>) -> Option<ErrorRef> {
    let members = node.object()?;
    let error = members.required("error", "an error, or the name of one of use.errors", problem::reference);
    members.finish();
    error
}

/// The name of a variable.
pub(super) fn variable(node: Node<'_>) -> Option<Arc<str>> {
    let name = node.name()?;
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit()) {
        return Some(name);
    }
    node.unexpected("the name of a variable: letters, digits and _")
}
