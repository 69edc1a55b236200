//! What is found when a configuration is read: errors, warnings, notes, each with its place.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use trunkline_model::Failure;

use super::node::{ConfigPath, Position};
use crate::Error;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The configuration can't be used.
    Error,
    /// It can be used and is probably not meant so.
    Warning,
    /// Something to know.
    Note,
}

/// Something found in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The code of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The file, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column, from 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// Which value it is about: `services.git`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What was found. Never a configured value, which may be a secret.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

impl Finding {
    /// An error at a place of the configuration.
    pub(super) fn error(error: Error, path: &ConfigPath) -> Self {
        let failure = Failure::from(error);
        Self {
            level: Level::Error,
            code: Some(failure.code),
            file: None,
            line: None,
            column: None,
            path: path.to_string(),
            message: failure.detail.trim_end_matches('.').to_owned(),
            fix: failure.next,
        }
    }

    /// A warning or a note.
    pub(super) fn remark(level: Level, message: String, fix: &str, path: &ConfigPath) -> Self {
        Self {
            level,
            code: None,
            file: None,
            line: None,
            column: None,
            path: path.to_string(),
            message,
            fix: fix.to_owned(),
        }
    }

    /// With its place in the file.
    pub(super) fn at(mut self, position: Option<Position>) -> Self {
        if self.line.is_none() {
            self.line = position.map(|p| p.line);
            self.column = position.map(|p| p.column);
        }
        self
    }

    /// With its file.
    pub(super) fn in_file(mut self, file: Option<&Path>) -> Self {
        if self.file.is_none() {
            self.file = file.map(Path::to_path_buf);
        }
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let (Some(line), Some(column)) = (self.line, self.column) {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        })?;
        if let Some(code) = self.code {
            write!(f, " {code}")?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.fix.is_empty() {
            write!(f, ". {}", self.fix)?;
        }
        Ok(())
    }
}
