//! The configuration as it is in force, for people: secrets hidden, each value with where it comes from.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::load::Loaded;
use super::node::{ConfigPath, Node};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is the default.
    Default,
    /// The configuration file, at this line where known.
    File(Option<u32>),
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(None) => f.write_str("file"),
            Self::File(Some(line)) => write!(f, "file:{line}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value of the configuration with where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Its place: `doors.call_timeout_ms`.
    pub path: String,
    /// The value; `***` for a secret, the text with its `${…}` where it has some.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// A value that was set over the file.
pub(super) struct Override {
    pub(super) path: &'static [&'static str],
    pub(super) origin: Origin,
}

impl Loaded {
    /// The configuration in force. Secrets are `***`; what variables brought stands as it is written in the file.
    #[must_use]
    pub fn show(&self) -> Value {
        let mut value = serde_json::to_value(&self.config).unwrap_or(Value::Null);
        restore_templates(&mut value, &self.tree);
        if let Some(services) = value["services"].as_object_mut() {
            for service in services.values_mut() {
                mask_urls(service);
            }
        }
        value
    }

    /// Every value in force with where it comes from.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        self.collect(&self.show(), &ConfigPath::default(), &mut settings);
        settings
    }

    fn collect(&self, value: &Value, path: &ConfigPath, settings: &mut Vec<Setting>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (key, value) in members {
                    self.collect(value, &path.join(key), settings);
                }
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                for (index, item) in items.iter().enumerate() {
                    self.collect(item, &path.join(index.to_string()), settings);
                }
            }
            _ => settings.push(Setting {
                path: path.to_string(),
                value: value.clone(),
                origin: self.origin(path),
            }),
        }
    }

    fn origin(&self, path: &ConfigPath) -> Origin {
        if let Some(over) = self.overrides.iter().find(|over| path.parts() == over.path) {
            return over.origin.clone();
        }
        match self.tree.find(path) {
            Some(node) => Origin::File(node.at.or_else(|| self.tree.position(path)).map(|at| at.line)),
            None => Origin::Default,
        }
    }
}

/// Puts the text with its `${…}` back where variables were replaced, unless it is hidden already.
fn restore_templates(value: &mut Value, node: &Node) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                if let Some(node) = node.get(key) {
                    restore_templates(value, node);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                // `listen` may be one text in the file and is a list here.
                let node = node.get(&index.to_string()).or(node.template.is_some().then_some(node));
                if let Some(node) = node {
                    restore_templates(item, node);
                }
            }
        }
        Value::String(text) if text == "***" => {}
        _ => {
            if let Some(template) = &node.template {
                *value = Value::String(template.clone());
            }
        }
    }
}

/// Hides the password in `https://user:password@host/`.
fn mask_urls(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("://") && text.contains('@') => {
            if let Ok(mut url) = url::Url::parse(text)
                && url.password().is_some()
                && url.set_password(Some("***")).is_ok()
            {
                *text = url.to_string();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask_urls),
        Value::Object(members) => members.values_mut().for_each(mask_urls),
        _ => {}
    }
}
