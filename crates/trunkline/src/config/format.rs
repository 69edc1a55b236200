//! The languages a configuration is written in.

mod json;
mod toml;
mod xml;
mod yaml;

use std::path::Path;

use clap::ValueEnum;

use super::finding::Finding;
use super::node::{ConfigPath, Node, Position};
use crate::Error;

pub(super) use xml::Element;

/// A language for configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// YAML 1.2.
    Yaml,
    /// TOML 1.1.
    Toml,
    /// JSON.
    Json,
    /// XML: an element for each name.
    Xml,
}

/// A configuration as it is written.
pub(super) struct Document {
    pub(super) root: Node,
    /// Notes and errors that came up while reading it; what they are about is left out of `root`.
    pub(super) findings: Vec<Finding>,
}

impl Format {
    /// The language that a file name stands for.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            "xml" => Some(Self::Xml),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Yaml => "YAML",
            Self::Toml => "TOML",
            Self::Json => "JSON",
            Self::Xml => "XML",
        }
    }

    /// Reads a configuration.
    pub(super) fn parse(self, text: &str) -> Result<Document, Vec<Finding>> {
        let parsed = match self {
            Self::Yaml => yaml::parse(text).map(Document::clean),
            Self::Toml => toml::parse(text).map(Document::clean),
            Self::Json => json::parse(text).map(Document::clean),
            Self::Xml => xml::parse(text),
        };
        parsed.map_err(|SyntaxError { reason, at }| {
            let error = Error::Syntax { format: self.name(), reason };
            vec![Finding::error(error, &ConfigPath::default()).at(at)]
        })
    }

    /// Writes a configuration.
    pub(super) fn write(self, root: &Node) -> Result<String, Error> {
        let value = root.to_json();
        let written = match self {
            Self::Yaml => serde_saphyr::to_string(&value).map_err(|error| error.to_string()),
            Self::Toml => ::toml::to_string_pretty(&value).map_err(|error| error.to_string()),
            Self::Json => {
                serde_json::to_string_pretty(&value).map(|text| text + "\n").map_err(|e| e.to_string())
            }
            Self::Xml => xml::write(&value),
        };
        written.map_err(|reason| Error::Invalid {
            reason: format!("{} can't hold this configuration: {reason}", self.name()),
            fix: "Convert it to another language.".to_owned(),
        })
    }
}

impl Document {
    fn clean(root: Node) -> Self {
        Self { root, findings: Vec::new() }
    }
}

/// What a parser says.
struct SyntaxError {
    reason: String,
    at: Option<Position>,
}
