//! Loads a configuration: file, environment and flags become one typed, checked whole.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Level};
use super::format::{Document, Format};
use super::interpolate::Interpolator;
use super::model::{Config, Listen};
use super::node::{ConfigPath, Node};
use super::paths;
use super::schema::{Checker, Cursor};
use super::show::{Origin, Override};
use super::validate::Validator;
use crate::Error;

/// The largest configuration file, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The most findings that one reading tells.
const MAX_FINDINGS: usize = 200;

/// The names of a configuration file within a folder.
const NAMES: [&str; 5] =
    ["trunkline.yaml", "trunkline.yml", "trunkline.toml", "trunkline.json", "trunkline.xml"];

/// What the command line says over the file and the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Where to listen.
    pub listen: Vec<String>,
    /// Where state is kept; relative to the working directory.
    pub data_dir: Option<PathBuf>,
    /// What is logged.
    pub log: Option<String>,
}

/// A configuration that was read and checked.
pub struct Loaded {
    /// The configuration, with variables replaced and paths made absolute.
    pub config: Config,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// The file; none where there is none.
    pub file: Option<PathBuf>,
    /// The folder at which relative paths start.
    pub base: PathBuf,
    /// Warnings and notes.
    pub remarks: Vec<Finding>,
    /// The file and what `${file:…}` read.
    pub(super) sources: Vec<PathBuf>,
    /// The file as it is written, for [`show`](Self::show).
    pub(super) tree: Node,
    pub(super) overrides: Vec<Override>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the values: they may hold what variables brought.
        f.debug_struct("Loaded")
            .field("file", &self.file)
            .field("remarks", &self.remarks)
            .finish_non_exhaustive()
    }
}

/// The configuration file that `path` names: itself, or the one within the folder.
///
/// # Errors
/// Where there is none, or there are several.
pub fn find(path: &Path) -> Result<PathBuf, Vec<Finding>> {
    let fail = |reason: String| {
        Err(vec![Finding::error(
            Error::Unreadable { file: path.to_path_buf(), reason },
            &ConfigPath::default(),
        )])
    };
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let mut found = NAMES.iter().map(|name| path.join(name)).filter(|file| file.is_file());
    match (found.next(), found.next()) {
        (Some(file), None) => Ok(file),
        (Some(one), Some(other)) => {
            fail(format!("there are two configurations: {} and {}", one.display(), other.display()))
        }
        (None, _) => fail("the folder has no trunkline.yaml".to_owned()),
    }
}

/// Loads the configuration that `path` names: a file, or a folder with a `trunkline.yaml`, `.yml`, `.toml`, `.json` or
/// `.xml`.
///
/// # Errors
/// Everything that is wrong with it, in one pass, warnings included.
pub fn load(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    flags: &Flags,
) -> Result<Loaded, Vec<Finding>> {
    let file = find(path)?;
    let base = std::path::absolute(&file)
        .ok()
        .and_then(|file| file.parent().map(Path::to_path_buf))
        .unwrap_or_default();
    let document = read(&file)?;
    assemble(document, Some(file), base, env, flags)
}

/// Reads a configuration from its text. Relative paths start at `base`.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    text: &str,
    format: Format,
    base: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    flags: &Flags,
) -> Result<Loaded, Vec<Finding>> {
    assemble(format.parse(text)?, None, base.to_path_buf(), env, flags)
}

/// Loads the configuration that `path` names; without a path that of the folder `here`, where there is one.
///
/// # Errors
/// As [`load`].
pub fn load_or_default(
    path: Option<&Path>,
    here: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    flags: &Flags,
) -> Result<Loaded, Vec<Finding>> {
    match path {
        Some(path) => load(path, env, flags),
        None if NAMES.iter().any(|name| here.join(name).is_file()) => load(here, env, flags),
        None => {
            let empty = Document { root: Node::empty_map(), findings: Vec::new() };
            assemble(empty, None, here.to_path_buf(), env, flags)
        }
    }
}

/// Writes the configuration that `path` names in another language. Variables stay as they are written.
///
/// # Errors
/// What is wrong with it. On success the findings are what the other form does not hold.
pub fn convert(path: &Path, to: Format) -> Result<(String, Vec<Finding>), Vec<Finding>> {
    let file = find(path)?;
    let mut document = read(&file)?;
    let mut checker = Checker { uninterpolated: true, findings: document.findings };
    checker.check(&mut document.root, Cursor::new(Config::json_schema()), &ConfigPath::default());
    let findings: Vec<_> = checker.findings.into_iter().map(|finding| finding.in_file(Some(&file))).collect();
    if findings.iter().any(|finding| finding.level == Level::Error) {
        return Err(findings);
    }
    match to.write(&document.root) {
        Ok(text) => Ok((text, findings)),
        Err(error) => Err(vec![Finding::error(error, &ConfigPath::default()).in_file(Some(&file))]),
    }
}

fn read(file: &Path) -> Result<Document, Vec<Finding>> {
    let text = read_text(file).map_err(|reason| {
        vec![Finding::error(Error::Unreadable { file: file.to_path_buf(), reason }, &ConfigPath::default())]
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    // A file of another name, such as a pipe, tells its language by how it begins.
    let format = Format::of(file).unwrap_or_else(|| match text.trim_start().as_bytes().first() {
        Some(b'<') => Format::Xml,
        Some(b'{') => Format::Json,
        _ => Format::Yaml,
    });
    let locate =
        |findings: Vec<Finding>| findings.into_iter().map(|finding| finding.in_file(Some(file))).collect();
    format.parse(text).map_err(locate)
}

fn read_text(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let open = File::open(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    })?;
    open.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {} MiB", MAX_FILE >> 20));
    }
    Ok(text)
}

fn assemble(
    document: Document,
    file: Option<PathBuf>,
    base: PathBuf,
    env: &dyn Fn(&str) -> Option<String>,
    flags: &Flags,
) -> Result<Loaded, Vec<Finding>> {
    let Document { root: mut tree, mut findings } = document;
    let mut interpolator = Interpolator { env, base: &base, findings: Vec::new(), files: Vec::new() };
    interpolator.run(&mut tree, &ConfigPath::default());
    findings.append(&mut interpolator.findings);
    let mut sources = interpolator.files;
    sources.extend(file.clone());
    let mut checker = Checker { uninterpolated: false, findings };
    checker.check(&mut tree, Cursor::new(Config::json_schema()), &ConfigPath::default());
    let mut findings = checker.findings;

    let mut config = typed(&tree, &mut findings);
    let overrides = override_with(&mut config, env, flags);
    paths::resolve(&mut config, &base);
    service_timeout(&mut config, &tree);
    let mut validator = Validator { config: &config, tree: &tree, findings: Vec::new() };
    let listen = validator.run();
    for finding in validator.findings {
        // What follows from a mistake that is already reported is not reported again.
        let follows = findings.iter().any(|known| {
            known.level == Level::Error && !finding.path.is_empty() && known.path.starts_with(&finding.path)
        });
        if !follows {
            findings.push(finding);
        }
    }
    let mut findings: Vec<_> = findings.into_iter().map(|finding| finding.in_file(file.as_deref())).collect();
    findings.sort_by_key(|finding| (finding.line, finding.column));
    let failed = findings.iter().any(|finding| finding.level == Level::Error);
    findings.truncate(MAX_FINDINGS);
    if failed {
        return Err(findings);
    }
    Ok(Loaded { config, listen, file, base, remarks: findings, sources, tree, overrides })
}

/// The tree as the typed configuration. What the schema can't say comes up here: numbers out of range.
fn typed(tree: &Node, findings: &mut Vec<Finding>) -> Config {
    match serde_json::from_value(tree.to_json()) {
        Ok(config) => config,
        Err(error) => {
            let text = error.to_string();
            // Only numbers are repeated from the message: text may be a secret.
            let reason = if text.starts_with("invalid value: integer") {
                text
            } else {
                "a value can't be read".to_owned()
            };
            let error = Error::Invalid { reason, fix: "Compare with `trunkline config schema`.".to_owned() };
            findings.push(Finding::error(error, &ConfigPath::default()));
            Config::default()
        }
    }
}

fn override_with(config: &mut Config, env: &dyn Fn(&str) -> Option<String>, flags: &Flags) -> Vec<Override> {
    let mut overrides = Vec::new();
    let mut pick = |path: &'static [&'static str], variable: &'static str, flag: Option<String>| {
        let of_env = || {
            let value = env(variable).filter(|value| !value.trim().is_empty())?;
            Some((value, Origin::Env(variable.to_owned())))
        };
        let flag_name = format!("--{}", path[0].replace('_', "-"));
        let (value, origin) = flag.map(|value| (value, Origin::Flag(flag_name))).or_else(of_env)?;
        overrides.push(Override { path, origin });
        Some(value)
    };
    let listen = (!flags.listen.is_empty()).then(|| flags.listen.join(","));
    if let Some(value) = pick(&["listen"], "TRUNKLINE_LISTEN", listen) {
        config.listen = Listen(value.split(',').map(|address| address.trim().to_owned()).collect());
    }
    let data_dir = flags.data_dir.as_ref().map(|dir| dir.display().to_string());
    if let Some(value) = pick(&["data_dir"], "TRUNKLINE_DATA_DIR", data_dir) {
        config.data_dir = std::path::absolute(&value).unwrap_or_else(|_| PathBuf::from(&value));
    }
    if let Some(value) = pick(&["log", "level"], "TRUNKLINE_LOG", flags.log.clone()) {
        config.log.level = value;
    }
    overrides
}

/// Services without a timeout of their own get the one for all services.
fn service_timeout(config: &mut Config, tree: &Node) {
    let Some(timeout) = config.service_timeout_ms else { return };
    for (name, service) in &mut config.services {
        let own = |parts: &[&str]| {
            let path = parts.iter().fold(ConfigPath::new(["services", name]), |path, part| path.join(*part));
            tree.find(&path).is_some()
        };
        if let Some(mcp) = service.mcp.as_mut().filter(|_| !own(&["mcp", "timeout_ms"])) {
            mcp.timeout_ms = timeout;
        }
        if let Some(openapi) = service.openapi.as_mut().filter(|_| !own(&["openapi", "timeout_ms"])) {
            openapi.timeout_ms = timeout;
        }
        for (tool, process) in service.process.iter_mut().flat_map(|process| &mut process.tools) {
            if !own(&["process", "tools", tool, "timeout_ms"]) {
                process.timeout_ms = timeout;
            }
        }
    }
}
