//! What workflows may reach. Only the operator says so, in `flows` of the configuration; where nothing is said, it is
//! nothing.

use std::collections::HashMap;

use indexmap::IndexMap;
use trunkline_model::Secret;
use trunkline_orchestrator::Fault;
use trunkline_policy::Glob;
use url::Url;

use super::{Failed, refused};
use crate::config::{FlowSecret, Flows};

/// What workflows may reach.
pub(super) struct Access {
    hosts: Vec<Glob>,
    commands: Vec<Glob>,
    secrets: HashMap<String, Held>,
}

/// A secret, and to whom it may be shown.
struct Held {
    hosts: Vec<Glob>,
    values: IndexMap<String, Secret>,
}

impl Access {
    pub(super) fn new(config: &Flows) -> Self {
        let globs = |patterns: &[String]| patterns.iter().map(|pattern| Glob::new(pattern)).collect();
        let hosts =
            |hosts: &[String]| hosts.iter().map(|host| Glob::new(&host.to_ascii_lowercase())).collect();
        let held = |secret: &FlowSecret| Held { hosts: hosts(&secret.hosts), values: secret.values.clone() };
        let secrets = config.secrets.iter().map(|(name, secret)| (name.clone(), held(secret)));
        Self {
            hosts: hosts(&config.allow_hosts),
            commands: globs(&config.allow_commands),
            secrets: secrets.collect(),
        }
    }

    /// Whether `url` may be asked. A pattern is of a host, or of a host and its port.
    pub(super) fn url(&self, url: &Url) -> Result<(), Failed> {
        let refuse = |what: String| Err(refused(Fault::configuration(what)));
        if !matches!(url.scheme(), "http" | "https") {
            return refuse(format!("{}: an http or https URL is expected", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("the URL has credentials in it: give them in `authentication`".to_owned());
        }
        if among(&self.hosts, url) {
            Ok(())
        } else {
            Err(denied("host", &with_port(url), "flows.allow_hosts"))
        }
    }

    /// What a secret holds. It may be shown to `url`, or this fails.
    pub(super) fn secret(&self, name: &str, url: &Url) -> Result<&IndexMap<String, Secret>, Failed> {
        let held = self.secrets.get(name).ok_or_else(|| denied("secret", name, "flows.secrets"))?;
        if among(&held.hosts, url) {
            return Ok(&held.values);
        }
        let setting = format!("flows.secrets.{name}.hosts");
        Err(denied("secret for the host", &with_port(url), &setting))
    }

    /// Whether `program` may be run.
    pub(super) fn command(&self, program: &str) -> Result<(), Failed> {
        let allowed = self.commands.iter().any(|glob| glob.matches(program));
        if allowed { Ok(()) } else { Err(denied("command", program, "flows.allow_commands")) }
    }
}

fn with_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    format!("{host}:{}", url.port_or_known_default().unwrap_or_default())
}

fn among(hosts: &[Glob], url: &Url) -> bool {
    let (host, with_port) = (url.host_str().unwrap_or_default(), with_port(url));
    hosts.iter().any(|glob| glob.matches(host) || glob.matches(&with_port))
}

fn denied(what: &str, name: &str, setting: &str) -> Failed {
    let name: String = name.chars().take(200).collect();
    let detail = format!(
        "workflows may not use the {what} {name:?}: `{setting}` of the configuration does not name it. Call a \
         configured tool instead, or ask the operator."
    );
    refused(Fault::standard("authorization", 403, "Not allowed", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(hosts: &[&str], commands: &[&str]) -> Access {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Access::new(&Flows { allow_hosts: owned(hosts), allow_commands: owned(commands), ..Flows::default() })
    }

    #[test]
    fn nothing_is_allowed_unless_the_operator_says_so() {
        let url = Url::parse("https://api.example/x").unwrap();
        let (fault, _) = access(&[], &[]).url(&url).unwrap_err();
        assert!(fault.words().contains("flows.allow_hosts"), "{fault}");
        let (fault, _) = access(&[], &[]).command("sh").unwrap_err();
        assert!(fault.words().contains("flows.allow_commands"), "{fault}");
    }

    #[test]
    fn a_host_is_the_one_that_is_asked() {
        let may = |pattern: &str, url: &str| access(&[pattern], &[]).url(&Url::parse(url).unwrap()).is_ok();
        assert!(may("API.example", "https://api.EXAMPLE/x"));
        assert!(may("*.example", "https://api.example/x"));
        assert!(may("127.0.0.1:8080", "http://127.0.0.1:8080/"));
        assert!(may("api.example:443", "https://api.example/"));
        assert!(may("[::1]", "http://[::1]:99/"));
        // A number in another form is the same host.
        assert!(may("127.0.0.1", "http://0x7f.1/"));
        for url in [
            "https://api.example.evil.test/",
            "https://evil.test/api.example",
            "https://evil.test?api.example",
            "https://evil.test#api.example",
            "https://api.example:8443/",
            "https://user@api.example/",
            "https://api.example@evil.test/",
            "https://api.example./",
        ] {
            assert!(!may("api.example:443", url), "{url}");
        }
        assert!(!may("*", "file:///etc/passwd"));
        assert!(!may("127.0.0.1:8080", "http://127.0.0.1:8081/"));
    }

    #[test]
    fn a_command_is_named_in_full() {
        let access = access(&[], &["git", "/opt/tools/*"]);
        assert!(access.command("git").is_ok() && access.command("/opt/tools/x").is_ok());
        assert!(access.command("/tmp/git").is_err() && access.command("git2").is_err());
    }
}
