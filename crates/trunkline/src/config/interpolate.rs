//! Replaces `${NAME}`, `${NAME:-default}` and `${file:/path}` in text values. `$${` stands for a literal `${`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::node::{ConfigPath, Kind, Node};
use crate::Error;

/// The largest file that `${file:…}` reads, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// What stands for the names.
pub(super) struct Interpolator<'a> {
    /// Reads an environment variable.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// The folder at which relative paths start.
    pub(super) base: &'a Path,
    pub(super) findings: Vec<Finding>,
    /// The files that were read.
    pub(super) files: Vec<PathBuf>,
}

impl Interpolator<'_> {
    /// Replaces in every text of the tree. Services that are switched off are left as they are.
    pub(super) fn run(&mut self, node: &mut Node, path: &ConfigPath) {
        match &mut node.kind {
            Kind::Text(text) if text.contains("${") => {
                let (replaced, errors) = self.replace(text);
                let template = std::mem::replace(text, replaced);
                node.loose = true;
                let at = node.at;
                node.template = Some(template);
                self.findings.extend(errors.into_iter().map(|error| Finding::error(error, path).at(at)));
            }
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.run(item, &path.join(index.to_string()));
                }
            }
            Kind::Map(members) => {
                let is_service = matches!(path.parts(), [section, _] if section == "services");
                let is_off = members.iter().any(|m| m.key == "enabled" && is_false(&m.node));
                if !(is_service && is_off) {
                    for member in members {
                        self.run(&mut member.node, &path.join(&member.key));
                    }
                }
            }
            _ => {}
        }
    }

    fn replace(&mut self, text: &str) -> (String, Vec<Error>) {
        let (mut out, mut errors) = (String::with_capacity(text.len()), Vec::new());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if let Some(literal) = rest[..start].strip_suffix('$') {
                out.push_str(literal);
                out.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            out.push_str(&rest[..start]);
            let inner = &rest[start + 2..];
            let Some(end) = inner.find('}') else {
                errors.push(Error::Interpolation("${ has no closing }".to_owned()));
                return (out, errors);
            };
            match self.value(&inner[..end]) {
                Ok(value) => out.push_str(&value),
                Err(error) => errors.push(error),
            }
            rest = &inner[end + 1..];
        }
        out.push_str(rest);
        (out, errors)
    }

    fn value(&mut self, reference: &str) -> Result<String, Error> {
        if let Some(path) = reference.strip_prefix("file:") {
            let file = self.base.join(path);
            self.files.push(file.clone());
            return read_secret(&file);
        }
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let first_fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first_fits || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(Error::Interpolation(format!("${{{reference}}} names no variable")));
        }
        match name {
            "config_dir" => return Ok(self.base.display().to_string()),
            "exe_dir" => {
                let program = std::env::current_exe().ok();
                let folder = program.as_deref().and_then(Path::parent);
                return folder.map(|dir| dir.display().to_string()).ok_or_else(|| {
                    Error::Interpolation("the folder of this program is not known".to_owned())
                });
            }
            _ => {}
        }
        // As in a shell, the default also stands for a variable that is set and empty.
        match ((self.env)(name), default) {
            (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
            (Some(value), _) => Ok(value),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Error::Unset(name.to_owned())),
        }
    }
}

/// Whether a value is false, as XML also writes it.
fn is_false(node: &Node) -> bool {
    match &node.kind {
        Kind::Bool(value) => !value,
        Kind::Text(text) => node.loose && text.trim() == "false",
        _ => false,
    }
}

/// The text of a small file without its last line break.
fn read_secret(file: &Path) -> Result<String, Error> {
    let fail = |reason: String| Error::Interpolation(format!("{} can't be read: {reason}", file.display()));
    let mut text = String::new();
    let open = File::open(file).map_err(|error| fail(error.to_string()))?;
    if !open.metadata().map_err(|error| fail(error.to_string()))?.is_file() {
        return Err(fail("it is not a file".to_owned()));
    }
    open.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| fail(error.to_string()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(fail(format!("it is larger than {MAX_FILE} bytes")));
    }
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> (String, Vec<String>) {
        let env = |name: &str| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut interpolator =
            Interpolator { env: &env, base: Path::new("/nowhere"), findings: Vec::new(), files: Vec::new() };
        let (text, errors) = interpolator.replace(text);
        (text, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn references_are_replaced() {
        for (text, replaced) in [
            ("a${SET}b${SET}", "avaluebvalue"),
            ("${UNSET:-d}${EMPTY:-e}${EMPTY}", "de"),
            ("${UNSET:-}", ""),
            ("$${SET} $5 {x}", "${SET} $5 {x}"),
            ("${config_dir}/x", "/nowhere/x"),
        ] {
            assert_eq!(run(text), (replaced.to_owned(), Vec::new()), "{text}");
        }
    }

    #[test]
    fn every_mistake_is_named() {
        let (_, errors) = run("${A} ${B} ${} ${1X} ${file:none} ${open");
        assert_eq!(errors.len(), 6, "{errors:?}");
        assert_eq!(errors[0], "the environment variable A is not set");
        assert!(errors[4].starts_with("/nowhere/none can't be read"), "{}", errors[4]);
    }
}
