//! Why a command ends without success, and the exit code that says so.

use std::process::ExitCode;

use serde::Deserialize;
use trunkline_model::Failure;

use super::output::{plain, say};
use crate::Error;
use crate::config::{Finding, Level};

/// Why a command ends without success. `docs/cli.md` lists the exit codes.
#[derive(Debug)]
pub(super) enum Stop {
    /// The configuration can't be used.
    Findings(Vec<Finding>),
    /// The command can't be carried out.
    Error(Error),
    /// The gateway refused or failed.
    Problem(Box<Problem>),
    /// The tool answered with an error of its own, which is printed already.
    ToolError,
    /// The tool asks for input, which is printed already.
    InputRequired,
    /// Something failed, and is printed already.
    Said,
    /// Anything else.
    Other(anyhow::Error),
}

/// The gateway's error: RFC 9457.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    title: String,
    pub(super) status: u16,
    detail: String,
    code: String,
    retryable: bool,
    next: Option<String>,
    errors: Option<Vec<serde_json::Value>>,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl Stop {
    /// Why, in one line, for a command that goes on.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Error(error) => error.to_string(),
            Self::Problem(problem) => {
                plain(&format!("{} ({}): {}", problem.title, problem.code, problem.detail))
            }
            Self::Other(error) => format!("{error:#}"),
            Self::Findings(_) | Self::ToolError | Self::InputRequired | Self::Said => "it failed".to_owned(),
        }
    }

    /// Prints why, and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        let code = match self {
            Self::Findings(findings) => {
                let errors = findings.iter().filter(|finding| finding.level == Level::Error).count();
                findings.iter().for_each(say);
                say(&format_args!(
                    "{errors} error{} in the configuration",
                    if errors == 1 { "" } else { "s" }
                ));
                3
            }
            Self::Error(error) => {
                let code = exit_code(&error);
                say(&format_args!("error: {}", Failure::from(error).explain()));
                code
            }
            Self::Problem(problem) => problem.report(),
            Self::ToolError => 6,
            Self::InputRequired => 7,
            Self::Said => 1,
            Self::Other(error) => {
                // A reader such as `head` that has seen enough is no failure.
                let broken = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
                if error.downcast_ref().is_some_and(broken) {
                    return ExitCode::SUCCESS;
                }
                match error.downcast_ref::<Failure>() {
                    Some(failure) => say(&format_args!("error: {}", failure.explain())),
                    None => say(&format_args!("error: {error:#}")),
                }
                1
            }
        };
        ExitCode::from(code)
    }
}

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Unreachable { .. } => 4,
        Error::Usage { .. } => 2,
        Error::Answer { .. } | Error::Import { .. } => 1,
        _ => 3,
    }
}

impl Problem {
    fn report(&self) -> u8 {
        let retry = if self.retryable { " Retrying may help." } else { "" };
        let next = self.next.as_deref().map(|next| format!(" {next}")).unwrap_or_default();
        let stop = if self.detail.ends_with(['.', '!', '?']) { "" } else { "." };
        let text = format!("error: {} ({}): {}{stop}{retry}{next}", self.title, self.code, self.detail);
        say(&plain(&text));
        for error in self.errors.iter().flatten() {
            say(&format_args!("  {}", plain(&violation(error))));
        }
        // Refusals are the TL2 codes; a proxy in front may refuse without a code.
        let refused = self.code.starts_with("TL2") || matches!(self.status, 401 | 403);
        if refused { 5 } else { 1 }
    }
}

/// A violation in words, where it has the members for it.
fn violation(error: &serde_json::Value) -> String {
    match (error["path"].as_str(), error["expected"].as_str(), error["found"].as_str()) {
        (Some(path), Some(expected), Some(found)) => {
            format!("{}: expected {expected}, found {found}", if path.is_empty() { "/" } else { path })
        }
        _ => error.to_string(),
    }
}
