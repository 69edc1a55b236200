//! Reading a tree into types, with every fault noted at its place: a reader that fails notes why and goes on, so that
//! one reading finds all faults.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::check::Finding;
use crate::expression::Expression;

/// The most findings that one reading notes.
const MAX_FINDINGS: usize = 100;

/// What a reading notes, and what it must know from elsewhere in the document.
pub(crate) struct Log {
    findings: RefCell<Vec<Finding>>,
    unnoted: Cell<usize>,
    tasks: Cell<usize>,
    max_tasks: usize,
    /// The names of the list of tasks that is being read, innermost last.
    siblings: RefCell<Vec<HashSet<Arc<str>>>>,
}

impl Log {
    pub(crate) fn new(max_tasks: usize) -> Self {
        Self {
            findings: RefCell::default(),
            unnoted: Cell::new(0),
            tasks: Cell::new(0),
            max_tasks,
            siblings: RefCell::default(),
        }
    }

    /// The findings; the last one says how many more there are, where there are too many.
    pub(crate) fn into_findings(self) -> Vec<Finding> {
        let mut findings = self.findings.into_inner();
        if self.unnoted.get() > 0 {
            findings.push(Finding::error("", format!("there are {} more findings", self.unnoted.get())));
        }
        findings
    }

    /// Notes what `finding` makes, where there is still room for it.
    pub(crate) fn note(&self, finding: impl FnOnce() -> Finding) {
        if self.findings.borrow().len() < MAX_FINDINGS {
            let finding = finding();
            self.findings.borrow_mut().push(finding);
        } else {
            self.unnoted.set(self.unnoted.get() + 1);
        }
    }

    /// How many findings there are so far.
    pub(crate) fn count(&self) -> usize {
        self.findings.borrow().len() + self.unnoted.get()
    }

    /// Counts one more task: how many there are beyond those that there may be.
    pub(super) fn count_task(&self) -> usize {
        self.tasks.set(self.tasks.get() + 1);
        self.tasks.get().saturating_sub(self.max_tasks)
    }

    pub(super) fn max_tasks(&self) -> usize {
        self.max_tasks
    }

    pub(super) fn enter(&self, names: HashSet<Arc<str>>) {
        self.siblings.borrow_mut().push(names);
    }

    pub(super) fn leave(&self) {
        self.siblings.borrow_mut().pop();
    }

    /// What `read` makes of the names of the innermost list of tasks.
    pub(super) fn siblings<T>(&self, read: impl FnOnce(&HashSet<Arc<str>>) -> T) -> T {
        let lists = self.siblings.borrow();
        let none = HashSet::new();
        read(lists.last().unwrap_or(&none))
    }
}

#[derive(Clone, Copy)]
enum Step<'n> {
    Root,
    Member(&'n str),
    Item(usize),
}

/// A value of the document, and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Node<'n> {
    value: &'n Value,
    step: Step<'n>,
    parent: Option<&'n Node<'n>>,
    root: &'n Value,
    log: &'n Log,
}

impl<'n> Node<'n> {
    pub(crate) fn root(value: &'n Value, log: &'n Log) -> Self {
        Self { value, step: Step::Root, parent: None, root: value, log }
    }

    pub(crate) fn value(&self) -> &'n Value {
        self.value
    }

    /// The whole document.
    pub(crate) fn root_value(&self) -> &'n Value {
        self.root
    }

    pub(crate) fn log(&self) -> &'n Log {
        self.log
    }

    /// Its place, as a JSON Pointer.
    pub(crate) fn pointer(&self) -> String {
        let mut steps = Vec::new();
        let mut node = Some(self);
        while let Some(Node { step, parent, .. }) = node {
            match step {
                Step::Root => {}
                Step::Member(name) => steps.push(escape(name)),
                Step::Item(index) => steps.push(index.to_string()),
            }
            node = *parent;
        }
        steps.iter().rev().fold(String::new(), |path, step| path + "/" + step)
    }

    /// Notes a finding here.
    pub(crate) fn note(&self, finding: impl FnOnce() -> Finding) {
        self.log.note(|| Finding { path: self.pointer(), ..finding() });
    }

    /// Notes that something else is here than was expected. Always `None`, so that it ends a reader.
    pub(crate) fn unexpected<T>(&self, expected: &str) -> Option<T> {
        self.note(|| {
            Finding::error("", format!("this is not {expected}")).expected(expected).found(self.value)
        });
        None
    }

    /// As an object.
    pub(crate) fn object(self) -> Option<Members<'n>> {
        match self.value {
            Value::Object(map) => Some(Members {
                node: self,
                map,
                known: RefCell::default(),
                missing: RefCell::default(),
                synonyms: Cell::new(&[]),
            }),
            _ => self.unexpected("an object"),
        }
    }

    /// Reads one member of an object that may have any others.
    pub(crate) fn only_member<T>(
        self,
        name: &'static str,
        read: impl FnOnce(Node<'_>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value.get(name)?;
        read(self.child(value, Step::Member(name)))
    }

    /// As an object whose members' names are the author's own.
    pub(crate) fn named<T>(self, mut read: impl FnMut(&'n str, Node<'_>) -> Option<T>) -> Option<Vec<T>> {
        let Value::Object(map) = self.value else { return self.unexpected("an object") };
        let mut all = Vec::with_capacity(map.len());
        for (name, value) in map {
            all.extend(read(name, self.child(value, Step::Member(name))));
        }
        Some(all)
    }

    /// As a list.
    pub(crate) fn list<T>(self, mut read: impl FnMut(Node<'_>) -> Option<T>) -> Option<Vec<T>> {
        let Value::Array(items) = self.value else { return self.unexpected("a list") };
        let mut all = Vec::with_capacity(items.len());
        for (index, value) in items.iter().enumerate() {
            all.extend(read(self.child(value, Step::Item(index))));
        }
        Some(all)
    }

    /// As an object with exactly one member, whose name is the author's own.
    pub(crate) fn single<T>(
        self,
        expected: &str,
        read: impl FnOnce(&'n str, Node<'_>) -> Option<T>,
    ) -> Option<T> {
        match self.value.as_object().filter(|map| map.len() == 1).and_then(|map| map.iter().next()) {
            Some((name, value)) => read(name, self.child(value, Step::Member(name))),
            None => self.unexpected(expected),
        }
    }

    fn child<'c>(&'c self, value: &'c Value, step: Step<'c>) -> Node<'c> {
        Node { value, step, parent: Some(self), root: self.root, log: self.log }
    }

    /// As text.
    pub(crate) fn text(self) -> Option<&'n str> {
        match self.value {
            Value::String(text) => Some(text),
            Value::Number(_) | Value::Bool(_) => {
                self.note(|| {
                    let patch = json!([{
                        "op": "replace", "path": self.pointer(), "value": self.value.to_string(),
                    }]);
                    Finding::error("", "this is not text")
                        .expected("text, in quotes")
                        .found(self.value)
                        .patch(patch)
                });
                None
            }
            _ => self.unexpected("text"),
        }
    }

    /// As text that is shared.
    pub(crate) fn name(self) -> Option<Arc<str>> {
        match self.text()? {
            "" => self.unexpected("a name"),
            text => Some(Arc::from(text)),
        }
    }

    pub(crate) fn boolean(self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.unexpected("true or false"))
    }

    pub(crate) fn whole_number(self) -> Option<u64> {
        self.value.as_u64().or_else(|| self.unexpected("a whole number that is not negative"))
    }

    pub(crate) fn map(self) -> Option<Map<String, Value>> {
        self.value.as_object().cloned().or_else(|| self.unexpected("an object"))
    }

    /// As one of these words.
    pub(crate) fn one_of<T: Copy>(self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, found)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*found);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.unknown_name("value", text, names.iter().copied(), &format!("one of {}", names.join(", ")));
        None
    }

    /// Notes that `name`, which is written here, names nothing; the patch writes the nearest that exists.
    pub(crate) fn unknown_name<'a>(
        &self,
        what: &str,
        name: &str,
        names: impl IntoIterator<Item = &'a str>,
        expected: &str,
    ) {
        self.note(|| {
            let finding = Finding::error("", format!("there is no {what} {name:?}"))
                .expected(expected)
                .found(self.value)
                .near(name, names);
            let patch = finding
                .nearest
                .first()
                .map(|nearest| json!([{"op": "replace", "path": self.pointer(), "value": nearest}]));
            Finding { patch, ..finding }
        });
    }

    /// As a jq expression, with or without `${` and `}`.
    pub(crate) fn expression(self) -> Option<Expression> {
        Some(Expression::new(strip(self.text()?)))
    }

    /// As the name of a component of `use`.
    pub(crate) fn component(self, kind: &str) -> Option<Arc<str>> {
        let name = self.name()?;
        let components = self.root.get("use").and_then(|components| components.get(kind));
        let known = match components {
            Some(Value::Object(map)) => map.contains_key(&*name),
            Some(Value::Array(list)) => list.iter().any(|item| item.as_str() == Some(&name)),
            _ => false,
        };
        if !known {
            let names: Vec<&str> = match components {
                Some(Value::Object(map)) => map.keys().map(String::as_str).collect(),
                Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            };
            self.unknown_name(
                &format!("entry of use.{kind}"),
                &name,
                names,
                &format!("a name of use.{kind}"),
            );
        }
        Some(name)
    }
}

/// The members of an object that has known ones.
pub(crate) struct Members<'n> {
    node: Node<'n>,
    map: &'n Map<String, Value>,
    known: RefCell<Vec<&'static str>>,
    /// What is missing: any of these names, and what was expected. Noted at the end, as a member whose name is nearly
    /// one of them is a slip of the pen, and one finding says it all.
    missing: RefCell<Vec<Missing>>,
    synonyms: Cell<&'static [(&'static str, &'static str)]>,
}

/// What is missing: one of these names.
struct Missing {
    names: Vec<&'static str>,
    expected: String,
    suggestion: Option<Value>,
}

/// What models write for `tool` and `args`.
pub(crate) const CALL_SYNONYMS: [(&str, &str); 8] = [
    ("call", "tool"),
    ("action", "tool"),
    ("function", "tool"),
    ("arguments", "args"),
    ("parameters", "args"),
    ("params", "args"),
    ("input", "args"),
    ("with", "args"),
];

impl<'n> Members<'n> {
    /// Other words for members that are known, for who wrote those.
    pub(crate) fn synonyms(&self, synonyms: &'static [(&'static str, &'static str)]) {
        self.synonyms.set(synonyms);
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// A member that may be missing.
    pub(crate) fn get<'m>(&'m self, name: &'static str) -> Option<Node<'m>> {
        self.known.borrow_mut().push(name);
        self.map.get(name).map(|value| self.node.child(value, Step::Member(name)))
    }

    /// Reads a member that may be missing.
    pub(crate) fn optional<'m, T>(
        &'m self,
        name: &'static str,
        read: impl FnOnce(Node<'m>) -> Option<T>,
    ) -> Option<T> {
        self.get(name).and_then(read)
    }

    /// Reads a member that must be there.
    pub(crate) fn required<'m, T>(
        &'m self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(Node<'m>) -> Option<T>,
    ) -> Option<T> {
        self.required_or(name, expected, None, read)
    }

    /// Reads a member that must be there; the patch adds the suggestion.
    pub(crate) fn required_or<'m, T>(
        &'m self,
        name: &'static str,
        expected: &str,
        suggestion: Option<Value>,
        read: impl FnOnce(Node<'m>) -> Option<T>,
    ) -> Option<T> {
        match self.get(name) {
            Some(node) => read(node),
            None => {
                let expected = format!("{name}: {expected}");
                self.missing.borrow_mut().push(Missing { names: vec![name], expected, suggestion });
                None
            }
        }
    }

    /// Notes that none, or several, of some members are there of which there must be exactly one. `None` then.
    pub(crate) fn exactly_one(&self, names: &[&'static str]) -> Option<&'static str> {
        let present: Vec<&'static str> = names.iter().copied().filter(|name| self.has(name)).collect();
        if let [one] = present[..] {
            return Some(one);
        }
        self.known.borrow_mut().extend(names);
        let expected = format!("exactly one of {}", names.join(", "));
        if present.is_empty() {
            self.missing.borrow_mut().push(Missing { names: names.to_vec(), expected, suggestion: None });
        } else {
            self.node.note(|| {
                Finding::error("", format!("this has {} at once", present.join(" and ")))
                    .expected(expected)
                    .found(self.node.value)
            });
        }
        None
    }

    /// Notes every member that nobody asked for, and what is missing.
    pub(crate) fn finish(self) {
        let known = self.known.take();
        let mut missing = self.missing.take();
        for (name, _) in self.map.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            self.node.log.note(|| {
                let finding = self.unknown_member(name, &known);
                if let Some(nearest) = finding.nearest.first() {
                    missing.retain(|missing| !missing.names.contains(&nearest.as_str()));
                }
                finding
            });
        }
        for Missing { names, expected, suggestion } in missing {
            self.node.note(|| {
                let message = match names[..] {
                    [name] => format!("{name:?} is missing"),
                    _ => "what this does is missing".to_owned(),
                };
                let patch = suggestion.zip(names.first()).map(|(value, name)| {
                    json!([{"op": "add", "path": format!("{}/{name}", self.node.pointer()), "value": value}])
                });
                Finding { patch, ..Finding::error("", message) }.expected(expected).found(self.node.value)
            });
        }
    }

    fn unknown_member(&self, name: &str, known: &[&'static str]) -> Finding {
        let here = self.node.pointer();
        let path = format!("{here}/{}", escape(name));
        let map = self.map;
        let free = known.iter().copied().filter(move |other| !map.contains_key(*other));
        let finding = Finding::error(&*path, format!("there is no member {name:?} here"))
            .expected(format!("one of {}", known.join(", ")))
            .found(&Value::from(name))
            .near(name, free.clone());
        let plain = name.to_lowercase().replace(['_', '-'], "");
        let meant = self.synonyms.get().iter().find(|(other, _)| *other == plain).map(|(_, meant)| *meant);
        let nearest = match meant.filter(|meant| free.clone().any(|name| name == *meant)) {
            Some(meant) => vec![meant.to_owned()],
            None => finding.nearest.clone(),
        };
        let patch = nearest
            .first()
            .map(|nearest| json!([{"op": "move", "from": path, "path": format!("{here}/{nearest}")}]));
        Finding { patch, nearest, ..finding }
    }
}

/// A name as a step of a JSON Pointer.
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The expression within `${ … }`; the text itself where it has no such marks.
pub(crate) fn strip(text: &str) -> &str {
    marked(text).unwrap_or(text)
}

/// The expression within `${ … }`, where the whole text has that form.
pub(crate) fn marked(text: &str) -> Option<&str> {
    text.trim().strip_prefix("${")?.strip_suffix('}').map(str::trim)
}
