//! What goes wrong in the configuration and on the command line.

use std::path::PathBuf;

use trunkline_model::{Failure, Fault, Retry};

/// A configuration that can't be used, or a command that can't be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration can't be read.
    #[error("{} can't be read: {reason}", file.display())]
    Unreadable {
        /// The file or folder.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The configuration is not valid YAML, TOML, JSON or XML.
    #[error("not valid {format}: {reason}")]
    Syntax {
        /// The language.
        format: &'static str,
        /// What the parser says. Never text of the file, which may hold secrets.
        reason: String,
    },
    /// A name that the configuration does not have.
    #[error("unknown name {name:?}{}", nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    UnknownField {
        /// The name.
        name: String,
        /// The nearest name that is known there.
        nearest: Option<String>,
        /// All names that are known there.
        known: Vec<String>,
    },
    /// A value of the wrong type, or not one of those possible.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What can stand there.
        expected: String,
        /// The kind of what stands there, never the value.
        found: String,
    },
    /// A variable that is not set and has no default.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// A `${…}` that can't be read, or a file named by `${file:…}` that can't.
    #[error("{0}")]
    Interpolation(String),
    /// Not exactly one connector.
    #[error("the service {service:?} has {}", if given.is_empty() { "no connector".to_owned() } else { format!("several connectors: {}", given.join(", ")) })]
    Connector {
        /// The service.
        service: String,
        /// The connectors that are given.
        given: Vec<&'static str>,
    },
    /// A listener that other machines can reach, and no keys.
    #[error("{0} can be reached by other machines, and no API key is configured")]
    OpenListener(String),
    /// A value that has the right type and can't be used.
    #[error("{reason}")]
    Invalid {
        /// Why.
        reason: String,
        /// What to write.
        fix: String,
    },
    /// A file or folder that the configuration names is not there.
    #[error("{what} {} does not exist", file.display())]
    Missing {
        /// What it is for.
        what: &'static str,
        /// Where it was looked for.
        file: PathBuf,
    },
    /// The running gateway can't be reached.
    #[error("no gateway answers at {server}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        server: String,
        /// Why.
        reason: String,
    },
    /// The answer of the gateway can't be understood.
    #[error("the answer of {server} can't be read: {reason}")]
    Answer {
        /// Who answered.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing can be imported from there.
    #[error("{source_name} can't be imported: {reason}")]
    Import {
        /// The file or URL.
        source_name: String,
        /// Why.
        reason: String,
    },
    /// A command's argument that can't be used.
    #[error("{reason}")]
    Usage {
        /// Why.
        reason: String,
        /// What to write.
        fix: String,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = format!("{error}.");
        let (code, title, next): (_, _, String) = match error {
            Error::Unreadable { .. } => {
                ("TL6001", "Configuration not readable", "Give the path of a configuration file, or of a folder with a trunkline.yaml; `trunkline init` writes one.".into())
            }
            Error::Syntax { format, .. } => {
                ("TL6002", "Configuration not well-formed", format!("Correct the {format} at the place named."))
            }
            Error::UnknownField { known, .. } if known.is_empty() => {
                ("TL6003", "Unknown name in the configuration", "Remove it.".into())
            }
            Error::UnknownField { known, .. } => {
                ("TL6003", "Unknown name in the configuration", format!("Possible here: {}.", known.join(", ")))
            }
            Error::WrongType { expected, .. } => {
                ("TL6004", "Wrong type in the configuration", format!("Write {expected}."))
            }
            Error::Unset(name) => {
                ("TL6005", "Variable not set", format!("Set {name}, or give a default: ${{{name}:-default}}."))
            }
            Error::Interpolation(_) => (
                "TL6006",
                "Value not readable",
                "Write ${NAME}, ${NAME:-default} or ${file:/path}; $${ stands for a literal ${.".into(),
            ),
            Error::Connector { .. } => {
                ("TL6007", "Not exactly one connector", "Give the service exactly one of mcp, openapi and process.".into())
            }
            Error::OpenListener(_) => (
                "TL6008",
                "Open listener without authentication",
                "Add a key under auth.api_keys, or listen on 127.0.0.1.".into(),
            ),
            Error::Invalid { fix, .. } => ("TL6009", "Value can't be used", fix),
            Error::Missing { .. } => {
                ("TL6010", "File not found", "Correct the path. Relative paths start at the configuration file's folder.".into())
            }
            Error::Unreachable { .. } => (
                "TL6011",
                "Gateway not reachable",
                "Start it with `trunkline up`, or name another with --server URL.".into(),
            ),
            Error::Answer { .. } => {
                ("TL6012", "Answer not readable", "Check that --server names a Trunkline gateway of the same version.".into())
            }
            Error::Import { .. } => (
                "TL6013",
                "Nothing to import",
                "Give an .mcp.json (or any JSON with mcpServers), or an OpenAPI document as file or URL.".into(),
            ),
            Error::Usage { fix, .. } => ("TL6014", "Argument can't be used", fix),
        };
        let failure = Self::caller(code, title, detail, next).fault(Fault::Operator);
        match code {
            "TL6011" => failure.retry(Retry::Soon),
            "TL6014" => failure.fault(Fault::Caller),
            _ => failure,
        }
    }
}
