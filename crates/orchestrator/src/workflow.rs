//! Workflows of the Open Workflow Specification 1.0.3 (CNCF Serverless Workflow until June 2026), as typed definitions.
//!
//! [`Workflow::read`] takes YAML or JSON text and gives a definition, or everything that is wrong with the text. What
//! the language does not know is refused: a member that is silently ignored is a workflow that does something else than
//! its author meant. Expressions are kept as they are written; whether they compile is for [`crate::check`].
//!
//! Left out: `evaluate.mode: loose`, languages other than jq, and schemas other than JSON Schema. They are refused.

mod access;
pub(crate) mod call;
pub(crate) mod components;
pub(crate) mod control;
pub(crate) mod duration;
mod events;
mod flow;
pub(crate) mod node;
mod problem;
mod run;
pub(crate) mod saga;
mod task;
pub(crate) mod text;

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use trunkline_model::Json;

use crate::check::{Finding, Severity};

pub use access::{
    Authentication, AuthenticationRef, Credentials, Endpoint, ExternalResource, Login, OAuth2, Sensitive, Uri,
};
pub use call::{
    A2aCall, AsyncApiCall, AsyncApiExchange, CALL_KINDS, CallTask, Consume, GrpcCall, HttpCall, HttpOutput,
    McpCall, McpTransport, OpenApiCall,
};
pub use components::{Document, Extension, Schedule, Use};
pub use control::{Backoff, Case, Catch, RetryPolicy, RetryRef};
pub use duration::{DurationOf, parse as parse_duration, parse_iso8601};
pub use events::{Consumption, Correlation, EventFilter, ForEach, ListenTask, ReadAs, Until};
pub use flow::{Directive, ExportFlow, InputFlow, OutputFlow, SchemaRef, TimeoutRef, Transform};
pub use problem::{ErrorDefinition, ErrorFilter, ErrorRef, normal_type, same_type};
pub use run::{Cleanup, Container, ProcessInput, ProcessReturn, Run, RunTask, ScriptSource};
pub use saga::{SAGA, Saga, Undo, UndoCall};
pub use task::{Kind, MAX_TASKS, NamedTask, Task, TaskList};
pub use text::{MAX_DEPTH, MAX_TEXT};

use node::{Log, Node};

/// A workflow.
#[derive(Clone)]
pub struct Workflow {
    /// What it is.
    pub document: Document,
    /// What it takes in.
    pub input: Option<InputFlow>,
    /// What its tasks refer to by name (`use`).
    pub definitions: Use,
    /// What it does.
    pub tasks: TaskList,
    /// How long it may take.
    pub timeout: Option<TimeoutRef>,
    /// What it gives out.
    pub output: Option<OutputFlow>,
    /// When it starts by itself.
    pub schedule: Option<Schedule>,
    source: Arc<Value>,
    hash: OnceLock<Arc<str>>,
    text: OnceLock<Json>,
}

/// A text is no workflow.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{} {}{}", self.findings.len(), if self.findings.len() == 1 { "fault: " } else { "faults, first: " }, self.findings.first().map(ToString::to_string).unwrap_or_default())]
pub struct Invalid {
    /// Everything that is wrong with it.
    pub findings: Vec<Finding>,
}

impl Workflow {
    /// Reads YAML or JSON text of at most [`MAX_TEXT`] bytes and [`MAX_DEPTH`] levels.
    ///
    /// # Errors
    /// [`Invalid`], with all findings.
    pub fn read(text: &str) -> Result<Self, Invalid> {
        let source = text::parse(text).map_err(|finding| Invalid { findings: vec![*finding] })?;
        Self::whole(Arc::new(source), MAX_TASKS)
    }

    /// Of a document that is parsed already, such as one that is stored or was compiled. It may be longer than what
    /// [`Workflow::read`] takes, and have four times as many tasks: a step of a plan makes up to four.
    ///
    /// # Errors
    /// [`Invalid`], with all findings.
    pub fn from_source(source: Arc<Value>) -> Result<Self, Invalid> {
        Self::whole(source, 4 * MAX_TASKS)
    }

    fn whole(source: Arc<Value>, max_tasks: usize) -> Result<Self, Invalid> {
        let (workflow, findings) = Self::read_with_findings(source, max_tasks);
        workflow.filter(|_| findings.iter().all(|f| f.severity < Severity::Error)).ok_or(Invalid { findings })
    }

    /// What can be read of a document, and everything that can't.
    pub(crate) fn read_with_findings(source: Arc<Value>, max_tasks: usize) -> (Option<Self>, Vec<Finding>) {
        if let Some(finding) = text::unfit(&source) {
            return (None, vec![finding]);
        }
        let log = Log::new(max_tasks);
        let workflow = read(Node::root(&source, &log), Arc::clone(&source));
        (workflow, log.into_findings())
    }

    /// The document, as JSON.
    #[must_use]
    pub fn source(&self) -> &Arc<Value> {
        &self.source
    }

    /// The document as JSON text.
    #[must_use]
    pub fn text(&self) -> &Json {
        self.text.get_or_init(|| Json::from_value(&self.source))
    }

    /// The SHA-256 of the document as canonical JSON (members sorted by name, no white space), in hexadecimal: the same
    /// for two texts that say the same.
    #[must_use]
    pub fn hash(&self) -> &Arc<str> {
        self.hash.get_or_init(|| {
            let digest = ring::digest::digest(&ring::digest::SHA256, canonical(&self.source).as_bytes());
            digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
        })
    }

    /// How many steps may be done at the same time, as its metadata says.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        let said = self.source()["document"]["metadata"][crate::plan::CONCURRENCY].as_u64();
        said.and_then(|said| usize::try_from(said).ok()).map_or(usize::MAX, |said| said.max(1))
    }

    /// `namespace/name`.
    #[must_use]
    pub fn full_name(&self) -> Arc<str> {
        format!("{}/{}", self.document.namespace, self.document.name).into()
    }

    /// The document, as YAML.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        // YAML has a form for every JSON value; JSON itself is YAML too.
        serde_saphyr::to_string(&*self.source).unwrap_or_else(|_| self.source.to_string())
    }

    /// The timeout that is meant.
    #[must_use]
    pub fn timeout_of<'w>(&'w self, timeout: &'w TimeoutRef) -> Option<&'w DurationOf> {
        match timeout {
            TimeoutRef::Inline(after) => Some(after),
            TimeoutRef::Named(name) => self.definitions.timeouts.get(name),
        }
    }

    /// The retry policy that is meant.
    #[must_use]
    pub fn retry_of<'w>(&'w self, retry: &'w RetryRef) -> Option<&'w Arc<RetryPolicy>> {
        match retry {
            RetryRef::Inline(policy) => Some(policy),
            RetryRef::Named(name) => self.definitions.retries.get(name),
        }
    }

    /// The error that is meant.
    #[must_use]
    pub fn error_of<'w>(&'w self, error: &'w ErrorRef) -> Option<&'w Arc<ErrorDefinition>> {
        match error {
            ErrorRef::Inline(error) => Some(error),
            ErrorRef::Named(name) => self.definitions.errors.get(name),
        }
    }

    /// The authentication policy that is meant.
    #[must_use]
    pub fn authentication_of<'w>(&'w self, policy: &'w AuthenticationRef) -> Option<&'w Arc<Authentication>> {
        match policy {
            AuthenticationRef::Inline(policy) => Some(policy),
            AuthenticationRef::Named(name) => self.definitions.authentications.get(name),
        }
    }
}

impl fmt::Debug for Workflow {
    // The source is left out: it may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workflow")
            .field("document", &self.document)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

/// Notes everything that is wrong with a document.
pub(crate) fn read_noting(source: &Value, log: &Log) {
    read(Node::root(source, log), Arc::new(Value::Null));
}

fn read(node: Node<'_>, source: Arc<Value>) -> Option<Workflow> {
    let members = node.object()?;
    let document = members.required("document", "the workflow's name and version", components::document);
    let input = members.optional("input", flow::input);
    let definitions = members.optional("use", components::definitions).unwrap_or_default();
    let tasks = members.required("do", "a list of tasks", task::list);
    let timeout = members.optional("timeout", flow::timeout);
    let output = members.optional("output", flow::output);
    let schedule = members.optional("schedule", components::schedule);
    members.optional("evaluate", components::evaluate);
    members.finish();
    Some(Workflow {
        document: document?,
        input,
        definitions,
        tasks: tasks?,
        timeout,
        output,
        schedule,
        source,
        hash: OnceLock::new(),
        text: OnceLock::new(),
    })
}

/// JSON with the members of every object sorted by name, without white space.
fn canonical(value: &Value) -> String {
    fn write(value: &Value, out: &mut String) {
        match value {
            Value::Object(map) => {
                let mut members: Vec<_> = map.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                out.push('{');
                for (index, (name, value)) in members.into_iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(&Value::from(name.as_str()).to_string());
                    out.push(':');
                    write(value, out);
                }
                out.push('}');
            }
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write(item, out);
                }
                out.push(']');
            }
            other => out.push_str(&other.to_string()),
        }
    }
    let mut out = String::new();
    write(value, &mut out);
    out
}

#[cfg(test)]
mod tests;
