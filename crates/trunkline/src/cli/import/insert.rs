//! Puts services into a configuration file. Comments and order stay; what is there is never changed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::Error;
use crate::config::Format;

/// A configuration file that services are added to.
pub(super) struct Target {
    file: PathBuf,
    format: Format,
    text: String,
    value: Value,
}

impl Target {
    /// Reads the file; one that is not there is empty.
    pub(super) fn read(file: &Path) -> Result<Self, Error> {
        let format = Format::of(file).unwrap_or(Format::Yaml);
        let unreadable = |reason: String| Error::Unreadable { file: file.to_path_buf(), reason };
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match format {
                Format::Json => "{}\n".to_owned(),
                _ => String::new(),
            },
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let value = format.value(&text).ok_or_else(|| {
            unreadable("it is not well-formed; `trunkline config check` says where".to_owned())
        })?;
        Ok(Self { file: file.to_path_buf(), format, text, value })
    }

    /// Whether there is a service of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value["services"].get(name).is_some()
    }

    /// Adds services and writes the file, or changes nothing.
    pub(super) fn add(&self, services: &[(&str, &Value)]) -> Result<(), Error> {
        let fail = |reason: &str| Error::Usage {
            reason: format!("{} can't be added to: {reason}", self.file.display()),
            fix: "Add the services by hand; --dry-run -o yaml prints them.".to_owned(),
        };
        let text = match self.format {
            Format::Yaml => add_yaml(&self.text, services).ok_or_else(|| fail("services is not a block"))?,
            Format::Toml => add_toml(&self.text, services).ok_or_else(|| fail("TOML can't hold them"))?,
            Format::Json => {
                let text = serde_json::to_string_pretty(&added(&self.value, services));
                text.map_err(|error| fail(&error.to_string()))? + "\n"
            }
            Format::Xml => return Err(fail("XML files are not added to")),
        };
        // Whatever was done to the text, the outcome must be the old values with the new services and no others.
        if self.format.value(&text).as_ref() != Some(&added(&self.value, services)) {
            return Err(fail("its form is not understood"));
        }
        self.write(&text).map_err(|error| fail(&error.to_string()))
    }

    /// Replaces the file as a whole: a reader sees the old one or the new one.
    fn write(&self, text: &str) -> std::io::Result<()> {
        // A link stays a link.
        let file = self.file.canonicalize().unwrap_or_else(|_| self.file.clone());
        if !file.exists() {
            return fs::write(&file, text);
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let beside = file.with_file_name(format!(".{name}.{}.new", std::process::id()));
        fs::copy(&file, &beside)?;
        let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &file));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }
}

fn added(value: &Value, services: &[(&str, &Value)]) -> Value {
    let mut value = value.clone();
    if value["services"].is_null() {
        value["services"] = json!({});
    }
    for (name, entry) in services {
        value["services"][*name] = (*entry).clone();
    }
    value
}

fn map(services: &[(&str, &Value)]) -> Map<String, Value> {
    services.iter().map(|(name, entry)| ((*name).to_owned(), (*entry).clone())).collect()
}

/// Adds at the end of the `services:` block, with its indentation; without one, at the end of the file.
fn add_yaml(text: &str, services: &[(&str, &Value)]) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let block = |indent: usize| {
        let yaml = serde_saphyr::to_string(&map(services)).ok()?;
        let pad = " ".repeat(indent);
        Some(
            yaml.lines()
                .map(|line| if line.is_empty() { "\n".into() } else { format!("{pad}{line}\n") })
                .collect::<String>(),
        )
    };
    let is_comment = |line: &str| line.trim_start().starts_with('#');
    let Some(start) = lines.iter().position(|line| line.starts_with("services:")) else {
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Some(format!("{text}{gap}services:\n{}", block(2)?));
    };
    let rest = lines[start]["services:".len()..].split(" #").next().unwrap_or_default().trim();
    if !matches!(rest, "" | "{}" | "~" | "null") {
        return None;
    }
    let body = &lines[start + 1..];
    let end = body
        .iter()
        .position(|line| !line.is_empty() && !line.starts_with([' ', '\t', '#', '\r']))
        .unwrap_or(body.len());
    let last = body[..end].iter().rposition(|line| line.starts_with(' ') && !line.trim().is_empty());
    let indent = body[..end]
        .iter()
        .find(|line| line.starts_with(' ') && !line.trim().is_empty() && !is_comment(line))
        .map_or(2, |line| line.len() - line.trim_start().len());
    let mut out = String::with_capacity(text.len() + 256);
    let after = start + 1 + last.map_or(0, |last| last + 1);
    for (index, line) in lines.iter().enumerate() {
        if index == after {
            out.push_str(&block(indent)?);
        }
        out.push_str(if index == start && !rest.is_empty() { "services:" } else { line });
        out.push('\n');
    }
    if after >= lines.len() {
        out.push_str(&block(indent)?);
    }
    Some(out)
}

/// Adds tables at the end of the file.
fn add_toml(text: &str, services: &[(&str, &Value)]) -> Option<String> {
    let tables = toml::to_string_pretty(&json!({ "services": map(services) })).ok()?;
    // A file that has services.x already may not open [services] again.
    let tables = tables.replacen("[services]\n", "", 1);
    let gap = if text.is_empty() || text.ends_with('\n') { "\n" } else { "\n\n" };
    Some(format!("{text}{gap}{}", tables.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(name: &str, text: &str) -> Result<String, Error> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        let entry = json!({"mcp": {"command": ["npx", "-y", "x: y"]}});
        Target::read(&file)?.add(&[("new", &entry)])?;
        Ok(fs::read_to_string(&file).unwrap())
    }

    #[test]
    fn comments_and_order_stay() {
        let text = "# top\nlisten: 127.0.0.1:1 # here\nservices: # all\n    # one\n    a: { mcp: { url: \"http://x\" } }\n    # after a\n\n# doors\ndoors:\n  max_sessions: 3\n";
        let new = add("trunkline.yaml", text).unwrap();
        let entry = "    new:\n      mcp:\n        command:\n";
        assert!(new.contains(&format!("    # after a\n{entry}")), "{new}");
        assert_eq!(
            new.lines().filter(|line| text.lines().any(|old| old == *line)).count(),
            text.lines().count()
        );
    }

    #[test]
    fn every_form_of_an_empty_list_is_added_to() {
        for text in [
            "",
            "listen: 127.0.0.1:1",
            "services:\n",
            "services: {}\n",
            "services:\n  # none yet\n",
            "services:\ndoors: {}\n",
        ] {
            let new = add("trunkline.yaml", text).unwrap();
            assert!(new.contains("  new:\n"), "{text:?} became {new:?}");
        }
        assert!(add("trunkline.json", "{\"listen\": \"a\"}").unwrap().contains("\"new\""));
        let toml =
            add("trunkline.toml", "# c\nlisten = \"a\"\n[services.old.mcp]\nurl = \"http://x\"\n").unwrap();
        assert!(toml.starts_with("# c\nlisten") && toml.contains("[services.new.mcp]"), "{toml}");
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        for (name, text) in [
            ("trunkline.yaml", "services: { a: { mcp: { url: \"http://x\" } } }\n"),
            ("trunkline.yaml", "? services\n: a: 1\n"),
            ("trunkline.toml", "services = { a = { mcp = { url = \"x\" } } }\n"),
            ("trunkline.xml", "<trunkline/>"),
        ] {
            assert!(add(name, text).is_err(), "{text}");
        }
    }
}
