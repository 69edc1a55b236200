//! The parts of a workflow that its reader can't know: tools and their arguments, expressions, what is never reached,
//! and what can't be taken back.
//!
//! It walks the document and not the definition, so that it goes on where the reader gave up.

use serde_json::{Map, Value};

use crate::workflow::node::{Log, escape};
use crate::workflow::{CALL_KINDS, SAGA};

use super::tools::{self, Tools};
use super::{Finding, jq, saga};

/// Notes what is wrong with a workflow beyond what its reader notes.
pub(super) fn check(source: &Value, tools: &dyn Tools, log: &Log) {
    let mut walk =
        Walk { source, tools, log, variables: jq::VARIABLES.map(str::to_owned).to_vec(), pivot: None };
    for (place, name) in [("input", "from"), ("output", "as")] {
        walk.slot(&source[place], name, &format!("/{place}"));
    }
    walk.list(&source["do"], "/do", true);
    // Functions and extensions belong to no place in the order.
    for (name, function) in source["use"]["functions"].as_object().into_iter().flatten() {
        walk.pivot = None;
        walk.task(function, &format!("/use/functions/{}", escape(name)));
    }
    for (index, item) in source["use"]["extensions"].as_array().into_iter().flatten().enumerate() {
        for (name, extension) in item.as_object().into_iter().flatten() {
            let path = format!("/use/extensions/{index}/{}", escape(name));
            walk.slot(extension, "when", &path);
            for place in ["before", "after"] {
                walk.pivot = None;
                walk.list(&extension[place], &format!("{path}/{place}"), true);
            }
        }
    }
}

struct Walk<'w> {
    source: &'w Value,
    tools: &'w dyn Tools,
    log: &'w Log,
    variables: Vec<String>,
    /// Where the pivot is, once it was passed.
    pivot: Option<String>,
}

impl Walk<'_> {
    /// A list of tasks; `row` where they are done one after the other.
    fn list(&mut self, tasks: &Value, path: &str, row: bool) {
        let before = self.pivot.clone();
        let mut after = before.clone();
        for (index, item) in tasks.as_array().into_iter().flatten().enumerate() {
            for (name, task) in item.as_object().into_iter().flatten() {
                if !row {
                    self.pivot.clone_from(&before);
                }
                self.task(task, &format!("{path}/{index}/{}", escape(name)));
                after = after.or_else(|| self.pivot.clone());
            }
        }
        self.pivot = after;
        if row {
            unreachable(tasks, path, self.log);
        }
    }

    fn task(&mut self, task: &Value, path: &str) {
        let Value::Object(members) = task else { return };
        self.saga(task, path);
        self.slot(task, "if", path);
        for (place, name) in [("input", "from"), ("output", "as"), ("export", "as")] {
            self.slot(&task[place], name, &format!("{path}/{place}"));
        }
        self.with(task, path);
        for place in ["set", "emit", "raise", "run", "wait", "timeout"] {
            self.template(&task[place], &format!("{path}/{place}"));
        }
        if members.get("set").is_some_and(Value::is_string) {
            self.slot(task, "set", path);
        }
        self.call(task, path);
        self.control(task, path);
        self.events(task, path);
    }

    fn control(&mut self, task: &Value, path: &str) {
        self.list(&task["fork"]["branches"], &format!("{path}/fork/branches"), false);
        self.list(&task["try"], &format!("{path}/try"), true);
        for (index, item) in task["switch"].as_array().into_iter().flatten().enumerate() {
            for (name, case) in item.as_object().into_iter().flatten() {
                self.slot(case, "when", &format!("{path}/switch/{index}/{}", escape(name)));
            }
        }
        let known = self.variables.len();
        if let Some(each) = task.get("for") {
            self.slot(each, "in", &format!("{path}/for"));
            self.variables.push(each["each"].as_str().unwrap_or("item").to_owned());
            self.variables.push(each["at"].as_str().unwrap_or("index").to_owned());
            self.slot(task, "while", path);
        }
        self.list(&task["do"], &format!("{path}/do"), true);
        self.variables.truncate(known);
        if let Some(catch) = task.get("catch") {
            let path = format!("{path}/catch");
            self.variables.push(catch["as"].as_str().unwrap_or("error").to_owned());
            for (value, path) in [(catch, path.clone()), (&catch["retry"], format!("{path}/retry"))] {
                self.slot(value, "when", &path);
                self.slot(value, "exceptWhen", &path);
            }
            self.list(&catch["do"], &format!("{path}/do"), true);
            self.variables.truncate(known);
        }
    }

    fn events(&mut self, task: &Value, path: &str) {
        if let Some(to) = task["listen"].get("to") {
            let path = format!("{path}/listen/to");
            self.slot(to, "until", &path);
            self.template(to, &path);
        }
        self.each(task, path);
        if task["call"] == "asyncapi" {
            self.each(&task["with"]["subscription"], &format!("{path}/with/subscription"));
        }
    }

    /// What is done with each event or message.
    fn each(&mut self, consumer: &Value, path: &str) {
        let Some(each) = consumer.get("foreach") else { return };
        let path = format!("{path}/foreach");
        let known = self.variables.len();
        self.variables.push(each["item"].as_str().unwrap_or("item").to_owned());
        self.variables.push(each["at"].as_str().unwrap_or("index").to_owned());
        self.list(&each["do"], &format!("{path}/do"), true);
        for place in ["output", "export"] {
            self.slot(&each[place], "as", &format!("{path}/{place}"));
        }
        self.variables.truncate(known);
    }

    /// The members of a call's arguments, but for tasks within them.
    fn with(&self, task: &Value, path: &str) {
        for (name, value) in task["with"].as_object().into_iter().flatten() {
            let path = format!("{path}/with/{}", escape(name));
            match value.as_object().filter(|_| name == "subscription" && task["call"] == "asyncapi") {
                Some(subscription) => {
                    for (name, value) in subscription.iter().filter(|(name, _)| *name != "foreach") {
                        self.template(value, &format!("{path}/{}", escape(name)));
                    }
                }
                None => self.template(value, &path),
            }
        }
    }

    /// A member that is an expression, with or without marks, or a template.
    fn slot(&self, value: &Value, name: &str, path: &str) {
        match value.get(name) {
            Some(Value::String(text)) => {
                jq::expression(text, &format!("{path}/{name}"), &self.names(), self.log);
            }
            Some(template) => self.template(template, &format!("{path}/{name}")),
            None => {}
        }
    }

    fn template(&self, value: &Value, path: &str) {
        jq::template(value, path, &self.names(), self.log);
    }

    fn names(&self) -> Vec<&str> {
        self.variables.iter().map(String::as_str).collect()
    }

    /// Whether a call's name is that of a tool: not of a kind of call, a function of the workflow, or a catalogue's.
    fn tool<'t>(&self, task: &'t Value) -> Option<&'t str> {
        let name = task.get("call")?.as_str()?;
        let elsewhere = CALL_KINDS.contains(&name)
            || name.contains('@')
            || name.contains("://")
            || self.source["use"]["functions"].get(name).is_some();
        (!elsewhere).then_some(name)
    }

    fn call(&self, task: &Value, path: &str) {
        let Some(name) = self.tool(task) else { return };
        let named = format!("{path}/call");
        let Some(spec) = tools::find(name, &named, self.tools, self.log) else { return };
        let with = task.get("with").and_then(Value::as_object);
        if task.get("with").is_none() || with.is_some() {
            tools::arguments(&spec, with, &format!("{path}/with"), self.log);
        }
        let own = saga_of(task).is_some_and(|saga| saga.get("pivot") == Some(&Value::Bool(true)));
        if self.pivot.is_some() && !own && !saga::repeatable(&spec) {
            self.log.note(|| saga::not_repeatable(&spec, &named));
        }
    }

    fn saga(&mut self, task: &Value, path: &str) {
        let Some(saga) = saga_of(task) else { return };
        let path = format!("{path}/metadata/{}", escape(SAGA));
        if saga.get("pivot") == Some(&Value::Bool(true)) {
            match &self.pivot {
                Some(first) => {
                    self.log.note(|| saga::second_pivot(&format!("{path}/pivot"), first));
                }
                None => self.pivot = Some(path.clone()),
            }
        }
        let Some(undo) = saga.get("undo").filter(|undo| undo.is_object()) else { return };
        let path = format!("{path}/undo");
        self.template(&undo["args"], &format!("{path}/args"));
        let Some(tool) = undo["tool"].as_str() else { return };
        if let Some(spec) = tools::find(tool, &format!("{path}/tool"), self.tools, self.log) {
            saga::unsafe_undo(&spec, &format!("{path}/tool"), self.log);
            tools::arguments(&spec, undo["args"].as_object(), &format!("{path}/args"), self.log);
        }
    }
}

fn saga_of(task: &Value) -> Option<&Map<String, Value>> {
    task.get("metadata")?.get(SAGA)?.as_object()
}

/// Notes the tasks of a row that control never reaches.
fn unreachable(tasks: &Value, path: &str, log: &Log) {
    let row: Vec<(&str, &Value)> = tasks
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_object()?.iter().next())
        .map(|(name, task)| (name.as_str(), task))
        .collect();
    let places: std::collections::HashMap<&str, usize> =
        row.iter().enumerate().rev().map(|(index, (name, _))| (*name, index)).collect();
    let mut reached = vec![false; row.len()];
    let mut open = vec![0];
    while let Some(index) = open.pop().filter(|_| !row.is_empty()) {
        let Some((_, task)) = row.get(index) else { continue };
        if std::mem::replace(&mut reached[index], true) {
            continue;
        }
        for directive in directives(task) {
            match directive {
                None | Some("continue") => open.push(index + 1),
                Some("exit" | "end") => {}
                Some(name) => open.extend(places.get(name)),
            }
        }
    }
    for (index, (name, _)) in row.iter().enumerate().filter(|(index, _)| !reached[*index]) {
        log.note(|| {
            Finding::warning(format!("{path}/{index}/{}", escape(name)), format!("{name:?} is never reached"))
                .expected("a task before it that goes on to it, or a then that names it")
        });
    }
}

/// Where control may go after a task; `None` is the next task.
fn directives(task: &Value) -> Vec<Option<&str>> {
    let then = task.get("then").and_then(Value::as_str);
    let mut all = Vec::new();
    // A task that is left out goes on to the next one.
    if task.get("if").is_some() {
        all.push(None);
    }
    if task.get("raise").is_some() {
        return all;
    }
    let cases: Vec<&Value> = task["switch"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_object()?.values().next())
        .collect();
    all.extend(cases.iter().map(|case| case.get("then").and_then(Value::as_str)));
    if !cases.iter().any(|case| case.get("when").is_none()) {
        all.push(then);
    }
    if let Some(caught) = task["catch"].get("then").and_then(Value::as_str) {
        all.push(Some(caught));
    }
    all
}
