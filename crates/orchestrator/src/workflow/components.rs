//! What stands beside a workflow's tasks: what it is, what its tasks refer to by name, when it starts by itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::expression::Expression;

use super::access::{self, Authentication, Endpoint};
use super::control::{self, RetryPolicy};
use super::duration::{self, DurationOf};
use super::events::{self, Consumption, ReadAs};
use super::flow;
use super::node::Node;
use super::problem::{self, ErrorDefinition};
use super::task::{self, Task, TaskList};

/// What a workflow is.
#[derive(Clone, Debug)]
pub struct Document {
    /// The version of the language: 1.0.x.
    pub dsl: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name, which is its own within the namespace.
    pub name: Arc<str>,
    /// Its version, as of semantic versioning.
    pub version: Arc<str>,
    /// A title for people.
    pub title: Option<String>,
    /// What it does, in Markdown.
    pub summary: Option<String>,
    /// Tags.
    pub tags: Map<String, Value>,
    /// What else is said of it.
    pub metadata: Map<String, Value>,
}

/// What tasks refer to by name.
#[derive(Clone, Debug, Default)]
pub struct Use {
    /// Functions, for call tasks.
    pub functions: IndexMap<Arc<str>, Arc<Task>>,
    /// Retry policies.
    pub retries: IndexMap<Arc<str>, Arc<RetryPolicy>>,
    /// Errors.
    pub errors: IndexMap<Arc<str>, Arc<ErrorDefinition>>,
    /// Timeouts.
    pub timeouts: IndexMap<Arc<str>, DurationOf>,
    /// Authentication policies.
    pub authentications: IndexMap<Arc<str>, Arc<Authentication>>,
    /// The names of secrets that authentication policies may use. No expression sees what is in them.
    pub secrets: Vec<Arc<str>>,
    /// What is done before and after tasks of a kind.
    pub extensions: Vec<Extension>,
    /// Catalogues of functions.
    pub catalogs: IndexMap<Arc<str>, Endpoint>,
}

/// What is done before and after tasks of a kind.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Its name.
    pub name: Arc<str>,
    /// The kind of task, or `all`.
    pub extend: Arc<str>,
    /// Only where this holds.
    pub when: Option<Expression>,
    /// What is done before.
    pub before: TaskList,
    /// What is done after.
    pub after: TaskList,
}

/// The shortest time from one instance to the next that a schedule may ask for.
const SHORTEST: Duration = Duration::from_secs(1);

/// When a workflow starts by itself.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// At every multiple of this, counted from 1970.
    Every(Duration),
    /// As a cron expression says.
    Cron(Arc<Crontab>),
    /// Each time this long after the last end.
    After(Duration),
    /// When events come; they are its input, as a list.
    On(Consumption, ReadAs),
}

pub(super) fn document(node: Node<'_>) -> Option<Document> {
    let members = node.object()?;
    let dsl = members.required("dsl", "1.0.3", |node| {
        let version = node.name()?;
        if version.strip_prefix("1.0.").is_some_and(|_| is_version(&version)) {
            return Some(version);
        }
        node.note(|| {
            crate::check::Finding::error("", "this version of the language is not known here")
                .expected("1.0.3, or any 1.0.x")
                .found(node.value())
                .patch(serde_json::json!([{"op": "replace", "path": node.pointer(), "value": "1.0.3"}]))
        });
        None
    });
    let namespace = members.required("namespace", "the workflow's namespace", label);
    let name = members.required("name", "the workflow's name", label);
    let version = members.required("version", "the workflow's version, such as 0.1.0", |node| {
        let version = node.name()?;
        if is_version(&version) {
            Some(version)
        } else {
            node.unexpected("a semantic version, such as 0.1.0")
        }
    });
    let title = members.optional("title", Node::text).map(str::to_owned);
    let summary = members.optional("summary", Node::text).map(str::to_owned);
    let tags = members.optional("tags", |node| node.map()).unwrap_or_default();
    let metadata = members.optional("metadata", |node| node.map()).unwrap_or_default();
    members.finish();
    Some(Document {
        dsl: dsl?,
        namespace: namespace?,
        name: name?,
        version: version?,
        title,
        summary,
        tags,
        metadata,
    })
}

/// A label as of DNS: letters, digits and inner hyphens, at most 63.
fn label(node: Node<'_>) -> Option<Arc<str>> {
    let name = node.name()?;
    if is_label(&name) {
        return Some(name);
    }
    node.unexpected("a name of at most 63 letters, digits and inner hyphens")
}

pub(crate) fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Whether this is a version as of semantic versioning 2.0.0.
fn is_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let identifier =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let identifiers = |list: Option<&str>| list.is_none_or(|list| list.split('.').all(identifier));
    core.split('.').count() == 3 && core.split('.').all(number) && identifiers(pre) && identifiers(build)
}

pub(super) fn definitions(node: Node<'_>) -> Option<Use> {
    fn all<T>(read: impl Fn(Node<'_>) -> Option<T>) -> impl Fn(Node<'_>) -> Option<IndexMap<Arc<str>, T>> {
        move |node| {
            let entries = node.named(|name, value| Some((Arc::from(name), read(value)?)))?;
            Some(entries.into_iter().collect())
        }
    }
    let members = node.object()?;
    let found = Use {
        functions: members
            .optional("functions", all(|node| function(node).map(Arc::new)))
            .unwrap_or_default(),
        retries: members
            .optional("retries", all(|node| control::retry(node).map(Arc::new)))
            .unwrap_or_default(),
        errors: members
            .optional("errors", all(|node| problem::definition(node).map(Arc::new)))
            .unwrap_or_default(),
        timeouts: members.optional("timeouts", all(flow::timeout_definition)).unwrap_or_default(),
        authentications: members
            .optional("authentications", all(|node| access::authentication(node).map(Arc::new)))
            .unwrap_or_default(),
        secrets: members.optional("secrets", |node| node.list(|name| name.name())).unwrap_or_default(),
        extensions: members.optional("extensions", |node| node.list(extension)).unwrap_or_default(),
        catalogs: members.optional("catalogs", all(catalog)).unwrap_or_default(),
    };
    members.finish();
    Some(found)
}

/// A function is a task that stands alone: it has no neighbours to go to.
fn function(node: Node<'_>) -> Option<Task> {
    node.log().enter(HashSet::new());
    let task = task::read(node);
    node.log().leave();
    task
}

fn catalog(node: Node<'_>) -> Option<Endpoint> {
    let members = node.object()?;
    let endpoint = members.required("endpoint", "the catalogue's URI", access::endpoint);
    members.finish();
    endpoint
}

const EXTENDED: [(&str, &str); 12] = [
    ("call", "call"),
    ("composite", "composite"),
    ("emit", "emit"),
    ("for", "for"),
    ("listen", "listen"),
    ("raise", "raise"),
    ("run", "run"),
    ("set", "set"),
    ("switch", "switch"),
    ("try", "try"),
    ("wait", "wait"),
    ("all", "all"),
];

fn extension(item: Node<'_>) -> Option<Extension> {
    item.single("an object with one member: the extension's name and the extension", |name, node| {
        let members = node.object()?;
        let extend = members.required("extend", "the kind of task, or all", |node| node.one_of(&EXTENDED));
        let when = members.optional("when", Node::expression);
        let before = members.optional("before", task::list).unwrap_or_default();
        let after = members.optional("after", task::list).unwrap_or_default();
        members.finish();
        Some(Extension { name: Arc::from(name), extend: Arc::from(extend?), when, before, after })
    })
}

pub(super) fn schedule(node: Node<'_>) -> Option<Schedule> {
    let members = node.object()?;
    let schedule = match members.exactly_one(&["every", "cron", "after", "on"]) {
        Some("every") => members.optional("every", pause).map(Schedule::Every),
        Some("cron") => members.optional("cron", cron).map(Schedule::Cron),
        Some("after") => members.optional("after", pause).map(Schedule::After),
        Some(_) => {
            let read = members.optional("read", events::read_as).unwrap_or_default();
            members.optional("on", events::consumption).map(|events| Schedule::On(events, read))
        }
        None => None,
    };
    members.finish();
    schedule
}

/// How long it is from one instance to the next: there is no input yet that it could be computed from.
fn pause(node: Node<'_>) -> Option<Duration> {
    match duration::read(node)? {
        DurationOf::Fixed(pause) if pause >= SHORTEST => Some(pause),
        _ => node.unexpected("a duration of a second or more, such as PT15M"),
    }
}

fn cron(node: Node<'_>) -> Option<Arc<Crontab>> {
    let text = node.text()?;
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    let read = cronexpr::parse_crontab_with(text, options);
    // One that names no day that there is (30 February) never comes.
    let read = read
        .and_then(|crontab| crontab.find_next(MakeTimestamp(jiff::Timestamp::UNIX_EPOCH)).map(|_| crontab));
    match read {
        Ok(crontab) => Some(Arc::new(crontab)),
        Err(error) => {
            tracing::debug!(%error, "a cron expression can't be used");
            node.unexpected("a cron expression that comes to pass: minute, hour, day of the month, month, day of the week, and perhaps a time zone, such as 30 6 * * 1-5 Europe/Berlin")
        }
    }
}

/// Only the default is known here.
pub(super) fn evaluate(node: Node<'_>) -> Option<()> {
    let members = node.object()?;
    members.optional("language", |node| node.one_of(&[("jq", ())]));
    members.optional("mode", |node| node.one_of(&[("strict", ())]));
    members.finish();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_labels_are_checked() {
        for version in ["1.0.3", "0.1.0", "1.0.0-rc.1+build.5"] {
            assert!(is_version(version), "{version}");
        }
        for version in ["1.0", "01.0.0", "1.0.0-", "a.b.c", "1.0.0.0", ""] {
            assert!(!is_version(version), "{version}");
        }
        assert!(is_label("a-b") && !is_label("-a") && !is_label("a b") && !is_label(""));
    }
}
