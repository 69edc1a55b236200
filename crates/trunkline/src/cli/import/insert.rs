//! Puts services into a configuration file. Comments and order stay; what is there is never changed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::Error;
use crate::config::Format;

/// Undos by the tools that they are for: entries of `flows.tools`.
pub(super) type Undos = Map<String, Value>;

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
        self.write_with(services, &Undos::new())
    }

    /// The file as it is.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether undos can be added, too.
    pub(super) fn takes(&self, services: &[(&str, &Value)], undos: &Undos) -> bool {
        undos.is_empty() || self.with(services, undos).is_ok()
    }

    /// Adds services and undos and writes the file, or changes nothing.
    pub(super) fn write_with(&self, services: &[(&str, &Value)], undos: &Undos) -> Result<(), Error> {
        let text = self.with(services, undos)?;
        self.write(&text).map_err(|error| self.unfit(&error.to_string()))
    }

    fn unfit(&self, reason: &str) -> Error {
        Error::Usage {
            reason: format!("{} can't be added to: {reason}", self.file.display()),
            fix: "Add the services by hand; --dry-run -o yaml prints them.".to_owned(),
        }
    }

    /// The text of the file with services and undos.
    pub(super) fn with(&self, services: &[(&str, &Value)], undos: &Undos) -> Result<String, Error> {
        let fail = |reason: &str| self.unfit(reason);
        if services.is_empty() {
            return Ok(self.text.clone());
        }
        let wanted = added(&self.value, services, undos);
        let text = match self.format {
            Format::Yaml => {
                let text = add_yaml(&self.text, services).ok_or_else(|| fail("services is not a block"))?;
                undos_yaml(&text, undos).ok_or_else(|| fail("flows.tools is not a block"))?
            }
            Format::Toml => {
                let text = add_toml(&self.text, services).ok_or_else(|| fail("TOML can't hold them"))?;
                undos_toml(&text, undos).ok_or_else(|| fail("TOML can't hold the undos"))?
            }
            Format::Json => {
                let text = serde_json::to_string_pretty(&wanted);
                text.map_err(|error| fail(&error.to_string()))? + "\n"
            }
            Format::Xml => return Err(fail("XML files are not added to")),
        };
        // Whatever was done to the text, the outcome must be the old values with the new ones and no others.
        if self.format.value(&text).as_ref() != Some(&wanted) {
            return Err(fail("its form is not understood"));
        }
        Ok(text)
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

fn added(value: &Value, services: &[(&str, &Value)], undos: &Undos) -> Value {
    let mut value = value.clone();
    if value["services"].is_null() {
        value["services"] = json!({});
    }
    for (name, entry) in services {
        value["services"][*name] = (*entry).clone();
    }
    for (name, undo) in undos {
        if value["flows"].is_null() {
            value["flows"] = json!({});
        }
        value["flows"]["tools"][name] = undo.clone();
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

/// Adds undos to the block `tools:` of the block `flows:`; where there is none, one is made.
fn undos_yaml(text: &str, undos: &Undos) -> Option<String> {
    if undos.is_empty() {
        return Some(text.to_owned());
    }
    let yaml = serde_saphyr::to_string(undos).ok()?;
    let block = |indent: usize| -> String {
        let pad = " ".repeat(indent);
        yaml.lines().map(|line| format!("{pad}{line}\n")).collect()
    };
    let lines: Vec<&str> = text.lines().collect();
    let Some(flows) = lines.iter().position(|line| line.starts_with("flows:")) else {
        return Some(format!("{text}flows:\n  tools:\n{}", block(4)));
    };
    let is_open = |line: &str, name: &str| {
        let rest = line.trim_start().strip_prefix(name)?.split(" #").next()?.trim();
        rest.is_empty().then_some(())
    };
    is_open(lines[flows], "flows:")?;
    let depth = |line: &str| line.len() - line.trim_start().len();
    let told = |line: &&&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let body = lines[flows + 1..].iter().take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
    let body: Vec<&&str> = body.collect();
    let own = body.iter().copied().filter(|line| told(line)).map(|line| depth(line)).next().unwrap_or(2);
    let tools = body.iter().position(|line| depth(line) == own && line.trim_start().starts_with("tools:"));
    let (after, new) = match tools {
        None => (flows + 1, format!("{}tools:\n{}", " ".repeat(own), block(own + 2))),
        Some(at) => {
            is_open(body[at], "tools:")?;
            let next = body[at + 1..].iter().copied().find(|line| told(line)).map(|line| depth(line));
            (flows + 2 + at, block(next.filter(|depth| *depth > own).unwrap_or(own + 2)))
        }
    };
    let mut out = String::with_capacity(text.len() + new.len());
    for (at, line) in lines.iter().enumerate() {
        if at == after {
            out.push_str(&new);
        }
        out.push_str(line);
        out.push('\n');
    }
    if after >= lines.len() {
        out.push_str(&new);
    }
    Some(out)
}

/// Adds undos as tables at the end of the file.
fn undos_toml(text: &str, undos: &Undos) -> Option<String> {
    if undos.is_empty() {
        return Some(text.to_owned());
    }
    let tables = toml::to_string_pretty(&json!({ "flows": { "tools": undos } })).ok()?;
    let tables = tables.replacen("[flows]\n", "", 1).replacen("[flows.tools]\n", "", 1);
    Some(format!("{text}\n{}", tables.trim_start()))
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
    fn undos_go_where_undos_are() {
        let entry = json!({"mcp": {"url": "http://x"}});
        let undos = Undos::from_iter([(
            "new__make".to_owned(),
            json!({"undo": {"tool": "new__drop", "args": {"id": "$${ .result.id }"}}}),
        )]);
        let with = |name: &str, text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            Target::read(&file).unwrap().with(&[("new", &entry)], &undos)
        };
        for text in [
            "",
            "services:\n  a: { mcp: { url: \"http://a\" } }\n",
            "flows:\n  # none\n  allow_hosts: [a]\nservices: {}\n",
            "flows:\n    tools: # of flows\n        # first\n        old__make: { keyed: true }\n\nlisten: 127.0.0.1:1\n",
            "flows:\n  tools:\nlisten: 127.0.0.1:1\n",
        ] {
            let new = with("trunkline.yaml", text).unwrap();
            assert!(
                new.contains("new__make:")
                    && text.lines().all(|line| new.contains(line.trim_end_matches("{}").trim_end())),
                "{new}"
            );
        }
        assert!(with("trunkline.yaml", "flows: { tools: {} }\n").is_err());
        assert!(with("trunkline.toml", "listen = \"a\"\n").unwrap().contains("[flows.tools.new__make"));
        assert!(with("trunkline.json", "{}").unwrap().contains("new__make"));
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
