//! Run tasks: another workflow, a script, a command, a container.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::expression::Template;

use super::access::{self, ExternalResource};
use super::duration::{self, DurationOf};
use super::flow::{Transform, optional_map};
use super::node::{Members, Node};

/// Something that is run.
#[derive(Clone, Debug)]
pub struct RunTask {
    /// What.
    pub what: Run,
    /// Whether its end is awaited.
    pub await_: bool,
    /// What of it becomes the output. Not for workflows.
    pub return_: ProcessReturn,
}

/// What is run.
#[derive(Clone, Debug)]
pub enum Run {
    /// Another workflow.
    Workflow {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Its version, or `latest`.
        version: Arc<str>,
        /// Its input; the task's input unless given.
        input: Option<Template>,
    },
    /// A script.
    Script {
        /// Its language.
        language: Arc<str>,
        /// Its text.
        source: ScriptSource,
        /// What it is run with.
        process: ProcessInput,
    },
    /// A command of the shell.
    Shell {
        /// The command.
        command: Transform,
        /// What it is run with.
        process: ProcessInput,
    },
    /// A container.
    Container(Box<Container>),
}

/// The text of a script.
#[derive(Clone, Debug)]
pub enum ScriptSource {
    /// Written here.
    Code(Arc<str>),
    /// Elsewhere.
    External(Box<ExternalResource>),
}

/// What a process is run with.
#[derive(Clone, Debug, Default)]
pub struct ProcessInput {
    /// What it reads.
    pub stdin: Option<Transform>,
    /// Its arguments.
    pub arguments: Vec<Transform>,
    /// Its environment.
    pub environment: Option<Template>,
}

/// A container.
#[derive(Clone, Debug)]
pub struct Container {
    /// The image.
    pub image: Transform,
    /// Its name.
    pub name: Option<Transform>,
    /// The command; the image's own unless given.
    pub command: Option<Transform>,
    /// Its ports, as written.
    pub ports: Map<String, Value>,
    /// Its volumes, as written.
    pub volumes: Map<String, Value>,
    /// What the command is run with.
    pub process: ProcessInput,
    /// When it is removed.
    pub cleanup: Cleanup,
    /// When the image is pulled: `ifNotPresent`, `always` or `never`.
    pub pull_policy: Option<Arc<str>>,
}

/// When a container is removed.
#[derive(Clone, Debug, Default)]
pub enum Cleanup {
    /// Once it ends.
    Always,
    /// Not at all.
    #[default]
    Never,
    /// This long after it ends.
    After(DurationOf),
}

/// What of a process becomes the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessReturn {
    /// What it wrote to its standard output.
    #[default]
    Stdout,
    /// What it wrote to its standard error.
    Stderr,
    /// Its exit code.
    Code,
    /// All three, as an object of `code`, `stdout` and `stderr`.
    All,
    /// Nothing.
    None,
}

const RETURNS: [(&str, ProcessReturn); 5] = [
    ("stdout", ProcessReturn::Stdout),
    ("stderr", ProcessReturn::Stderr),
    ("code", ProcessReturn::Code),
    ("all", ProcessReturn::All),
    ("none", ProcessReturn::None),
];

pub(super) fn read(node: Node<'_>) -> Option<RunTask> {
    let members = node.object()?;
    let await_ = members.optional("await", Node::boolean).unwrap_or(true);
    let return_ = members.optional("return", |node| node.one_of(&RETURNS)).unwrap_or_default();
    let what = match members.exactly_one(&["workflow", "script", "shell", "container"]) {
        Some("workflow") => members.optional("workflow", workflow),
        Some("script") => members.optional("script", script),
        Some("shell") => members.optional("shell", shell),
        Some(_) => members.optional("container", container),
        None => None,
    };
    members.finish();
    Some(RunTask { what: what?, await_, return_ })
}

fn workflow(node: Node<'_>) -> Option<Run> {
    let members = node.object()?;
    let namespace = members.required("namespace", "the workflow's namespace", Node::name);
    let name = members.required("name", "the workflow's name", Node::name);
    let version = members.required("version", "the workflow's version, or latest", Node::name);
    let input = optional_map(&members, "input");
    members.finish();
    Some(Run::Workflow { namespace: namespace?, name: name?, version: version?, input })
}

fn script(node: Node<'_>) -> Option<Run> {
    let members = node.object()?;
    let language = members.required("language", "the script's language", Node::name);
    let source = match members.exactly_one(&["code", "source"]) {
        Some("code") => members.optional("code", Node::text).map(|code| ScriptSource::Code(Arc::from(code))),
        Some(_) => members
            .optional("source", access::resource)
            .map(|resource| ScriptSource::External(Box::new(resource))),
        None => None,
    };
    let process = process(&members);
    members.finish();
    Some(Run::Script { language: language?, source: source?, process })
}

fn shell(node: Node<'_>) -> Option<Run> {
    let members = node.object()?;
    let command = members.required("command", "the command", access::text);
    let process = process(&members);
    members.finish();
    Some(Run::Shell { command: command?, process })
}

fn process(members: &Members<'_>) -> ProcessInput {
    ProcessInput {
        stdin: members.optional("stdin", access::text),
        arguments: members.optional("arguments", |node| node.list(access::text)).unwrap_or_default(),
        environment: optional_map(members, "environment"),
    }
}

const PULL: [(&str, &str); 3] = [("ifNotPresent", "ifNotPresent"), ("always", "always"), ("never", "never")];

fn container(node: Node<'_>) -> Option<Run> {
    let members = node.object()?;
    let image = members.required("image", "the image's name", access::text);
    let name = members.optional("name", access::text);
    let command = members.optional("command", access::text);
    let ports = members.optional("ports", |node| node.map()).unwrap_or_default();
    let volumes = members.optional("volumes", |node| node.map()).unwrap_or_default();
    let process = process(&members);
    let cleanup = members.optional("lifetime", lifetime).unwrap_or_default();
    let pull_policy = members.optional("pullPolicy", |node| node.one_of(&PULL)).map(Arc::from);
    members.finish();
    Some(Run::Container(Box::new(Container {
        image: image?,
        name,
        command,
        ports,
        volumes,
        process,
        cleanup,
        pull_policy,
    })))
}

fn lifetime(node: Node<'_>) -> Option<Cleanup> {
    let members = node.object()?;
    let words = [("always", "always"), ("never", "never"), ("eventually", "eventually")];
    let cleanup = members.required("cleanup", "always, never or eventually", |node| node.one_of(&words));
    let cleanup = match cleanup {
        Some("eventually") => members.required("after", "a duration", duration::read).map(Cleanup::After),
        Some("always") => Some(Cleanup::Always),
        Some(_) => Some(Cleanup::Never),
        None => {
            let _ = members.get("after");
            None
        }
    };
    members.finish();
    cleanup
}
