//! What Consul says of an instance: the node, the service, its checks.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Deserialize;
use trunkline_model::{Capability, Instance};

use super::config::Lookup;
use crate::source::{Error, MAX_INSTANCES, place};

/// The most that is taken of an instance's metadata, in pairs.
const MAX_META: usize = 64;

/// The most that is taken of what an instance can do, in terms, and the longest of them, in bytes.
const MAX_CAPABILITIES: usize = 64;
const MAX_TERM: usize = 200;

/// The member of the metadata that says what an instance can do, as terms between commas.
const CAPABILITIES: &str = "capabilities";

/// The weight that Consul gives where nothing is said.
const WEIGHT: u32 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default)]
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Option<Vec<Check>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    node: String,
    address: String,
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: i64,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    weights: Option<Weights>,
    #[serde(default)]
    locality: Option<Locality>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
    warning: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Locality {
    zone: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Check {
    name: String,
    status: String,
    output: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Passing,
    Warning,
    Critical,
}

impl Entry {
    /// The worst of its checks. What is not known is not well.
    fn health(&self) -> (Health, Option<&Check>) {
        let of = |check: &Check| match check.status.as_str() {
            "passing" => Health::Passing,
            "warning" => Health::Warning,
            _ => Health::Critical,
        };
        let worst = self.checks.iter().flatten().max_by_key(|check| of(check));
        worst.map_or((Health::Passing, None), |check| (of(check), Some(check)))
    }

    fn instance(&self, template: &str, prefix: &str) -> Result<Instance, String> {
        let Service { tags, address, port, meta, weights, locality, .. } = &self.service;
        let host = if address.is_empty() { &self.node.address } else { address };
        let port = u16::try_from(*port).map_err(|_| format!("its port is {port}"))?;
        let url = place(template, host, port)?;
        let mut metadata: BTreeMap<String, String> =
            meta.iter().flatten().take(MAX_META).map(|(key, value)| (key.clone(), value.clone())).collect();
        let tags: Vec<&str> = tags.iter().flatten().map(String::as_str).collect();
        let capabilities = capabilities(&tags, prefix, metadata.get(CAPABILITIES));
        // Tags of the form key=value say the same as metadata does, which comes first.
        for (key, value) in tags.iter().filter_map(|tag| tag.split_once('=')) {
            if metadata.len() < MAX_META {
                metadata.entry(key.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
        if !tags.is_empty() {
            metadata.insert("tags".to_owned(), tags.join(","));
        }
        let node = self.node.meta.as_ref().and_then(|meta| meta.get("zone"));
        let local = locality.as_ref().map(|locality| &locality.zone).filter(|zone| !zone.is_empty());
        let zone = metadata.get("zone").or(node).or(local).cloned();
        let weight = match (weights, self.health().0) {
            (Some(weights), Health::Warning) => weights.warning,
            (Some(weights), _) => weights.passing,
            (None, _) => WEIGHT,
        };
        let version = metadata.get("version").cloned();
        Ok(Instance { url, zone, version, weight, capabilities, metadata })
    }
}

/// What tags behind their prefix and metadata say that an instance can do, sorted. What is no term is passed over.
fn capabilities(tags: &[&str], prefix: &str, listed: Option<&String>) -> Vec<Capability> {
    let tagged = tags.iter().filter(|_| !prefix.is_empty()).filter_map(|tag| tag.strip_prefix(prefix));
    let listed = listed.into_iter().flat_map(|list| list.split(','));
    let terms: BTreeSet<&str> =
        tagged.chain(listed).map(str::trim).filter(|term| is_term(term)).take(MAX_CAPABILITIES).collect();
    terms.into_iter().map(Capability::new).collect()
}

/// Whether it is a dotted term of letters, digits, `-` and `_`.
fn is_term(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    text.len() <= MAX_TERM && text.split('.').all(plain)
}

/// The instances that an answer tells of, in a fixed order: those that can be called, or, where none can, all: what says so of
/// every one may itself be wrong.
///
/// # Errors
/// [`Error::Unusable`] where it is not the answer of Consul, or no instance of it can be used.
pub(super) fn instances(
    body: &[u8],
    lookup: &Lookup,
    template: &str,
    name: &str,
) -> Result<Vec<Instance>, Error> {
    let unusable = |cause: String| Error::Unusable { source_name: name.to_owned(), cause };
    let entries: Vec<Entry> = serde_json::from_slice(body).map_err(|error| {
        // The message may repeat text of the answer; where it is wrong is enough.
        unusable(format!("it is not a list of instances (line {}, column {})", error.line(), error.column()))
    })?;
    let (mut well, mut unwell, mut wrong) = (Vec::new(), Vec::new(), None);
    let mut seen = HashSet::new();
    for entry in entries.iter().take(MAX_INSTANCES) {
        let instance = match entry.instance(template, &lookup.capability_prefix) {
            Ok(instance) => instance,
            Err(cause) => {
                wrong = Some(format!("{}: {cause}", short(&entry.service.id)));
                continue;
            }
        };
        if !seen.insert(instance.url.clone()) {
            continue;
        }
        match entry.health() {
            (Health::Critical, check) => {
                let check = check.map(|check| (short(&check.name), short(&check.output)));
                tracing::debug!(service = ?lookup.service, url = %instance.url, ?check, "Consul says that it is critical");
                unwell.push(instance);
            }
            _ => well.push(instance),
        }
    }
    if let Some(cause) = wrong {
        if well.is_empty() && unwell.is_empty() {
            return Err(unusable(cause));
        }
        tracing::warn!(source = name, cause, "an instance can't be used and is left out");
    }
    let mut instances = if well.is_empty() { unwell } else { well };
    instances.sort_by(|a, b| a.url.cmp(&b.url));
    Ok(instances)
}

fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(id: &str, address: &str, port: i64, status: &str) -> Value {
        json!({
            "Node": {"Node": "n1", "Address": "10.0.0.9", "Meta": {"zone": "a"}},
            "Service": {"ID": id, "Service": "orders", "Tags": ["v2", "team=shop"], "Address": address, "Port": port,
                "Meta": {"version": "2.1.0"}, "Weights": {"Passing": 4, "Warning": 1}},
            "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"Name": "c", "Status": status, "Output": "no"}],
        })
    }

    fn read(entries: &Value) -> Result<Vec<Instance>, Error> {
        let body = entries.to_string();
        instances(body.as_bytes(), &Lookup::default(), "http://{host}:{port}/", "Consul")
    }

    #[test]
    fn an_instance_is_what_consul_says_of_it() {
        let found =
            read(&json!([entry("o2", "", 81, "warning"), entry("o1", "10.0.0.1", 80, "passing")])).unwrap();
        assert_eq!(found[0].url, "http://10.0.0.1/");
        assert_eq!((found[0].zone.as_deref(), found[0].version.as_deref()), (Some("a"), Some("2.1.0")));
        assert_eq!((found[0].weight, found[1].weight), (4, 1));
        assert_eq!(found[1].url, "http://10.0.0.9:81/");
        assert_eq!(
            (found[0].metadata["team"].as_str(), found[0].metadata["tags"].as_str()),
            ("shop", "v2,team=shop")
        );
    }

    #[test]
    fn tags_behind_the_prefix_and_metadata_are_what_it_can_do() {
        let mut entry = entry("o", "10.0.0.1", 80, "passing");
        entry["Service"]["Tags"] =
            json!(["can/b.c", "can/a", "can/", "can/a..b", "can/*", "capability=x", "can/a"]);
        entry["Service"]["Meta"] = json!({"capabilities": "z.y, a,<b>"});
        let read = |prefix: &str| {
            let lookup = Lookup { capability_prefix: prefix.to_owned(), ..Lookup::default() };
            let body = json!([entry]).to_string();
            let found = instances(body.as_bytes(), &lookup, "http://{host}:{port}/", "Consul").unwrap();
            found[0].capabilities.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(read("can/"), ["a", "b.c", "z.y"]);
        assert_eq!(read("capability="), ["a", "x", "z.y"]);
        assert_eq!(read(""), ["a", "z.y"]);
    }

    #[test]
    fn what_is_critical_is_left_out_unless_everything_is() {
        let (well, ill) = (entry("a", "10.0.0.1", 1, "passing"), entry("b", "10.0.0.2", 1, "critical"));
        assert_eq!(read(&json!([well, ill])).unwrap().len(), 1);
        assert_eq!(read(&json!([ill])).unwrap().len(), 1);
        assert!(read(&json!([])).unwrap().is_empty());
    }

    #[test]
    fn garbage_is_told_and_one_bad_instance_does_not_hide_the_others() {
        for garbage in [json!({}), json!("x"), json!([1]), json!([{"Service": {"Port": "x"}}])] {
            assert!(matches!(read(&garbage), Err(Error::Unusable { .. })), "{garbage}");
        }
        let (well, bad) = (entry("a", "10.0.0.1", 1, "passing"), entry("b", "http://evil/", 1, "passing"));
        assert_eq!(read(&json!([well, bad, entry("c", "h", 70_000, "passing")])).unwrap().len(), 1);
        assert!(matches!(read(&json!([bad])), Err(Error::Unusable { .. })));
    }
}
