//! What types can't say: exactly one connector, no open listener without keys, names, addresses, files that exist.

mod intents;
mod sources;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use trunkline_connectors::http_client::HttpClient;
use trunkline_policy::{Authenticator, Glob};

use super::choreography::loops as event_loops;
use super::finding::{Finding, Level};
use super::model::{Child, Config, Service};
use super::node::{ConfigPath, Node};
use super::paths::is_url;
use crate::Error;

/// The shortest key that is not remarked on, in characters.
const SHORT_KEY: usize = 16;

/// The longest name of a service or child, in characters.
const MAX_NAME: usize = 64;

/// Checks a typed configuration and collects every finding.
pub(super) struct Validator<'a> {
    pub(super) config: &'a Config,
    pub(super) tree: &'a Node,
    pub(super) findings: Vec<Finding>,
}

impl Validator<'_> {
    /// Checks everything and returns the addresses to listen on.
    pub(super) fn run(&mut self) -> Vec<SocketAddr> {
        let config = self.config;
        let listen = self.listeners();
        self.keys();
        self.rules();
        self.limits();
        if let Some(url) = &self.config.console.public_url {
            self.url(url, &ConfigPath::new(["console", "public_url"]));
        }
        self.events();
        self.registry();
        self.intents();
        self.model();
        self.embeddings();
        for (name, service) in &config.services {
            let path = ConfigPath::new(["services", name]);
            self.name(name, &path);
            if service.is_enabled() {
                self.service(name, service, &path);
            }
        }
        for (name, child) in &config.children {
            let path = ConfigPath::new(["children", name]);
            self.name(name, &path);
            self.child(child, &path);
        }
        listen
    }

    fn error(&mut self, error: Error, path: &ConfigPath) {
        self.findings.push(Finding::error(error, path).at(self.tree.position(path)));
    }

    fn invalid(&mut self, reason: impl Into<String>, fix: &str, path: &ConfigPath) {
        self.error(Error::Invalid { reason: reason.into(), fix: fix.to_owned() }, path);
    }

    fn warn(&mut self, message: String, fix: &str, path: &ConfigPath) {
        let warning = Finding::remark(Level::Warning, message, fix, path);
        self.findings.push(warning.at(self.tree.position(path)));
    }

    fn listeners(&mut self) -> Vec<SocketAddr> {
        let path = ConfigPath::new(["listen"]);
        let mut addresses = Vec::new();
        if self.config.listen.0.is_empty() {
            self.invalid("there is no address", "Write 127.0.0.1:7400.", &path);
        }
        for (index, text) in self.config.listen.0.iter().enumerate() {
            match address(text) {
                None => self.invalid(
                    format!("address {} is not an IP address with a port", index + 1),
                    "Write 127.0.0.1:7400 or [::1]:7400.",
                    &path,
                ),
                Some(address) if address.port() != 0 && addresses.contains(&address) => {
                    self.invalid(format!("{address} is there twice"), "Keep one of them.", &path);
                }
                Some(address) => {
                    if !address.ip().is_loopback() && self.config.auth.api_keys.is_empty() {
                        self.error(Error::OpenListener(address.to_string()), &path);
                    }
                    addresses.push(address);
                }
            }
        }
        addresses
    }

    fn keys(&mut self) {
        let path = ConfigPath::new(["auth", "api_keys"]);
        if let Err(errors) = Authenticator::new(&self.config.auth) {
            for error in errors {
                self.invalid(error.to_string(), "Give each key its own id and one of key and sha256.", &path);
            }
        }
        for (index, entry) in self.config.auth.api_keys.iter().enumerate() {
            let length = entry.key.as_ref().map_or(SHORT_KEY, |key| key.expose().trim().chars().count());
            if (1..SHORT_KEY).contains(&length) {
                let message = format!("the key is shorter than {SHORT_KEY} characters and can be guessed");
                self.warn(message, "Make one with `openssl rand -hex 32`", &path.join(index.to_string()));
            }
        }
    }

    fn model(&mut self) {
        let Some(model) = &self.config.model else { return };
        let path = ConfigPath::new(["model"]);
        let Ok(http) = HttpClient::new() else { return };
        if let Err(error) = model.chat(&http) {
            let fix = "Write one endpoint: { openai: { url: \"http://127.0.0.1:8080/v1\", model: NAME } }.";
            self.invalid(error.to_string(), fix, &path);
        }
        if model.timeout_ms == 0 {
            let fix = "Write a number above 0.";
            self.invalid("0 would leave the model no time", fix, &path.join("timeout_ms"));
        }
        if model.max_tokens == 0 {
            let fix = "Write a number above 0.";
            self.invalid("0 would leave the model no room", fix, &path.join("max_tokens"));
        }
    }

    fn embeddings(&mut self) {
        let Some(embeddings) = &self.config.search.embeddings else { return };
        let path = ConfigPath::new(["search", "embeddings"]);
        if self.config.search.encoder.is_some() {
            let fix = "Take one of them out.";
            self.invalid("encoder and embeddings can't be had both", fix, &path);
        }
        let Ok(http) = HttpClient::new() else { return };
        if let Err(error) = embeddings.embedder(&http) {
            let fix = "Write { url: \"http://127.0.0.1:8080/v1\", model: NAME }.";
            self.invalid(error.to_string(), fix, &path);
        }
        if embeddings.timeout_ms == 0 {
            let fix = "Write a number above 0.";
            self.invalid("0 would leave the model no time", fix, &path.join("timeout_ms"));
        }
    }

    fn rules(&mut self) {
        for (index, rule) in self.config.policy.rules.iter().enumerate() {
            let pattern = Glob::new(&rule.service);
            if !self.config.services.is_empty()
                && !self.config.services.keys().any(|name| pattern.matches(name))
            {
                let path = ConfigPath::new(["policy", "rules"]).join(index.to_string());
                self.warn(format!("no service fits the pattern {:?}", rule.service), "", &path);
            }
        }
    }

    fn limits(&mut self) {
        self.measures();
        let doors = &self.config.doors;
        let sizes = [
            ("max_request_bytes", doors.max_request_bytes as u64),
            ("call_timeout_ms", doors.call_timeout_ms),
            ("question_timeout_ms", doors.question_timeout_ms),
            ("session_idle_ms", doors.session_idle_ms),
            ("max_sessions", doors.max_sessions as u64),
        ];
        for (name, _) in sizes.iter().filter(|(_, value)| *value == 0) {
            self.invalid(
                "0 would refuse every call",
                "Write a number above 0.",
                &ConfigPath::new(["doors", name]),
            );
        }
        if self.config.service_timeout_ms == Some(0) {
            let path = ConfigPath::new(["service_timeout_ms"]);
            self.invalid("0 would fail every call", "Write a number above 0.", &path);
        }
    }

    fn measures(&mut self) {
        for (index, limit) in self.config.limits.iter().enumerate() {
            let path = ConfigPath::new(["limits"]).join(index.to_string());
            if limit.measures() != 1 {
                let fix = "Give exactly one of calls, tokens, bytes and money.";
                self.invalid(format!("the limit counts {} things", limit.measures()), fix, &path);
            }
            if limit.every_ms == 0 {
                let fix = "Write a number above 0.";
                self.invalid("0 is no while", fix, &path.join("every_ms"));
            }
        }
    }

    fn events(&mut self) {
        let flows = &self.config.flows;
        let mut faults = Vec::new();
        for (name, subscription) in &flows.subscriptions {
            faults.extend(subscription.ready(name).err().map(|fault| ("subscriptions", name, fault)));
        }
        for (name, webhook) in &flows.webhooks {
            faults.extend(webhook.ready(name).err().map(|fault| ("webhooks", name, fault)));
        }
        for (kind, name, (member, why, fix)) in faults {
            let path = ConfigPath::new(["flows", kind, name]);
            let path = if member.is_empty() { path } else { path.join(member) };
            self.invalid(why, fix, &path);
        }
        for name in flows.webhooks.keys() {
            self.name(name, &ConfigPath::new(["flows", "webhooks", name]));
        }
        let definitions = crate::app::definitions(flows).unwrap_or_else(|error| {
            let fix = "`trunkline flow check FILE` says everything that is wrong with a workflow.";
            self.invalid(format!("{error:#}"), fix, &ConfigPath::new(["flows", "definitions"]));
            Vec::new()
        });
        for path in event_loops(flows, &definitions) {
            let fix = "Break it with a filter, or see that it ends: flows.loops stops it later";
            self.warn(
                format!("events may go round: {path}"),
                fix,
                &ConfigPath::new(["flows", "subscriptions"]),
            );
        }
    }

    fn name(&mut self, name: &str, path: &ConfigPath) {
        let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.len() <= MAX_NAME;
        if !fits {
            let fix = "Use up to 64 letters, digits, - and _, and begin with a letter or digit.";
            self.invalid("this name can't be used", fix, path);
        } else if name.contains("__") {
            let fix = "Use one _: two of them part the service from the tool in advertised names.";
            self.invalid("the name has __ in it", fix, path);
        }
    }

    fn service(&mut self, name: &str, service: &Service, path: &ConfigPath) {
        let connectors = [
            ("mcp", service.mcp.is_some()),
            ("openapi", service.openapi.is_some()),
            ("process", service.process.is_some()),
        ];
        let given: Vec<_> =
            connectors.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
        if given.len() != 1 {
            self.error(Error::Connector { service: name.to_owned(), given }, path);
        }
        self.instances(service, path);
        if let Some(mcp) = &service.mcp {
            let path = path.join("mcp");
            match (mcp.command.first(), &mcp.url) {
                (None, None) if service.is_pooled() => {}
                (None, None) => self.invalid(
                    "neither command nor url is given",
                    "Write command: [program, argument] or url: https://host/mcp.",
                    &path,
                ),
                (Some(_), Some(_)) => {
                    self.invalid("both command and url are given", "Keep one of them.", &path);
                }
                (None, Some(url)) => self.url(url, &path.join("url")),
                (Some(_), None) => self.command(&mcp.command, mcp.cwd.as_ref(), &path, "command"),
            }
        }
        if let Some(openapi) = &service.openapi {
            let path = path.join("openapi");
            let document = path.join("document");
            if openapi.document.is_empty() {
                self.invalid("document is missing", "Name the OpenAPI document: a path or a URL.", &path);
            } else if is_url(&openapi.document) {
                self.url(&openapi.document, &document);
            } else if !Path::new(&openapi.document).is_file() {
                let file = PathBuf::from(&openapi.document);
                self.error(Error::Missing { what: "the OpenAPI document", file }, &document);
            }
            if let Some(url) = &openapi.base_url {
                self.url(url, &path.join("base_url"));
            }
        }
        if let Some(process) = &service.process {
            let path = path.join("process");
            if process.tools.is_empty() {
                self.invalid("there are no tools", "Add a tool with its argv under tools.", &path);
            }
            self.folder(process.cwd.as_ref(), &path.join("cwd"));
            for (tool, settings) in &process.tools {
                let path = path.join("tools").join(tool);
                self.command(&settings.argv, None, &path, "argv");
            }
        }
    }

    fn instances(&mut self, service: &Service, path: &ConfigPath) {
        let at = path.join("instances");
        for (index, instance) in service.instances.iter().enumerate() {
            self.url(&instance.url, &at.join(index.to_string()).join("url"));
            if service.instances[..index].iter().any(|other| other.url == instance.url) {
                self.invalid("this address is there twice", "Keep one of them.", &at.join(index.to_string()));
            }
        }
        let alone =
            service.process.is_some() || service.mcp.as_ref().is_some_and(|mcp| !mcp.command.is_empty());
        if service.is_pooled() && alone {
            let fix = "Give instances to services that are reached over HTTP only.";
            self.invalid("a command has no instances", fix, &at);
        }
        if let Some(discover) = &service.discover {
            self.discover(service, discover, &path.join("discover"));
        }
        if let Some(health) = &service.health {
            let given = [health.http.is_some(), health.tcp, health.mcp, !health.command.is_empty()];
            if given.into_iter().filter(|given| *given).count() != 1 {
                let fix = "Write http: /healthz, tcp: true, mcp: true, or command: [program, argument].";
                self.invalid("exactly one kind of check is needed", fix, &path.join("health"));
            }
            if health.mcp && service.mcp.is_none() {
                let fix = "Write http: /healthz or tcp: true.";
                self.invalid("this is no MCP server", fix, &path.join("health").join("mcp"));
            }
        }
    }

    fn child(&mut self, child: &Child, path: &ConfigPath) {
        self.command(&child.command, child.cwd.as_ref(), path, "command");
        if let Some(url) = &child.ready_url {
            self.url(url, &path.join("ready_url"));
        }
    }

    fn command(&mut self, command: &[String], cwd: Option<&PathBuf>, path: &ConfigPath, field: &str) {
        if command.first().is_none_or(|program| program.trim().is_empty()) {
            let fix = format!("Write {field}: [program, argument].");
            self.invalid(format!("{field} names no program"), &fix, path);
        }
        self.folder(cwd, &path.join("cwd"));
    }

    fn folder(&mut self, cwd: Option<&PathBuf>, path: &ConfigPath) {
        if let Some(cwd) = cwd.filter(|cwd| !cwd.is_dir()) {
            self.error(Error::Missing { what: "the working directory", file: cwd.clone() }, path);
        }
    }

    fn url(&mut self, text: &str, path: &ConfigPath) {
        let usable =
            url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !usable {
            self.invalid("this is not an http or https URL", "Write https://host/path.", path);
        }
    }
}

/// An IP address with a port, or `localhost` with one.
fn address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?));
    }
    text.trim().parse().ok()
}
