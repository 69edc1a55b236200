//! Whole services that register themselves, and stay as long as they say so again.
//!
//! As with the [leases](crate::leases) of instances, every change of the set is an event that holds the whole set, so that a
//! restart goes on with it; what was there then has its time once more. Nothing of the gateway's credentials goes to them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_event_log::Expected;
use trunkline_model::{Capability, EventData, Failure, Glob, Json, Phase, Principal};
use utoipa::ToSchema;

use crate::{Error, Gateway};

/// The stream of changes.
pub(crate) const STREAM: &str = "registry/services";

/// The shortest lease.
const SHORTEST: Duration = Duration::from_millis(500);

/// The longest name, in bytes: as in the configuration.
const LONGEST_NAME: usize = 64;

/// The longest address, zone, or other text, in bytes.
const LONGEST_TEXT: usize = 1_000;

/// The most capabilities, and the most things that are known besides.
const MOST_OF_A_KIND: usize = 50;

/// Who may register whole services, under which names, and where these may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrationsConfig {
    /// Patterns of addresses (of services and of their documents); `*` stands for any text. None where left out.
    pub allow: Vec<String>,
    /// Patterns of names that a service may register under. Names of configured services are never open.
    pub names: Vec<String>,
    /// Patterns of principals that may register; `local` is who calls from this machine without a key.
    pub principals: Vec<String>,
    /// How long a lease lasts that does not say it, in milliseconds, and the longest.
    pub ttl_ms: u64,
    /// The most services.
    pub most: usize,
}

impl Default for RegistrationsConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            names: vec!["*".to_owned()],
            principals: vec!["local".to_owned()],
            ttl_ms: 30_000,
            most: 100,
        }
    }
}

/// What a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// MCP over Streamable HTTP.
    Mcp,
    /// HTTP, described by an OpenAPI document.
    Openapi,
}

/// A service that registers itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisteredService {
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub kind: Kind,
    /// Where it is: the endpoint of MCP, or the base of the paths of its document.
    pub url: String,
    /// Where its OpenAPI document is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// What it is for, for people and models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What all of its tools can do, as dotted terms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub capabilities: Vec<Capability>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The zone that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What else is known of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How long it stays without saying so again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// A lease of a service, as it was given.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceLease {
    /// The service.
    name: String,
    /// A heartbeat within this time renews it, in milliseconds.
    ttl_ms: u64,
    /// It was not there before.
    pub(crate) new: bool,
}

/// A service that has registered itself, and for how long.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Standing {
    /// What it said of itself.
    service: RegisteredService,
    /// The principal that registered it.
    by: String,
    /// How long its lease goes on, in milliseconds.
    left_ms: u64,
}

/// The services that have registered themselves.
pub(crate) struct Registrations {
    config: Mutex<RegistrationsConfig>,
    /// The names of services that are there without registering.
    taken: Mutex<HashSet<String>>,
    held: Mutex<IndexMap<String, Held>>,
    changed: watch::Sender<()>,
    /// Changes go to the record one after the other. True when the record was read.
    writing: tokio::sync::Mutex<bool>,
}

impl Default for Registrations {
    fn default() -> Self {
        Self {
            config: Mutex::default(),
            taken: Mutex::default(),
            held: Mutex::default(),
            changed: watch::Sender::new(()),
            writing: tokio::sync::Mutex::new(false),
        }
    }
}

#[derive(Clone)]
struct Held {
    service: RegisteredService,
    by: String,
    until: Instant,
}

/// A registration in the record.
#[derive(Serialize, Deserialize)]
pub(crate) struct Recorded {
    by: String,
    service: RegisteredService,
}

impl Gateway {
    /// Says who may register services from now on, under which names not (`taken`), and takes those away that no longer may be there. The first time, what an
    /// earlier process knew is there again. What comes back tells when [`Gateway::registered_services`] has changed.
    ///
    /// # Errors
    /// Where the record can't be read or written.
    pub async fn open_registrations(
        &self,
        config: RegistrationsConfig,
        taken: HashSet<String>,
    ) -> Result<watch::Receiver<()>, trunkline_event_log::Error> {
        let all = &self.registrations;
        let changed = all.changed.subscribe();
        let mut read = all.writing.lock().await;
        if !*read {
            let known = self.recorder.newest_registrations().await?;
            let now = Instant::now();
            let mut held = all.held.lock();
            for Recorded { by, service } in known {
                let until = now + lease_of(&config, &service);
                held.insert(service.name.clone(), Held { service, by, until });
            }
            *read = true;
        }
        let stays = |held: &Held| {
            admits(&config, &held.service, &held.by).is_ok() && !taken.contains(&held.service.name)
        };
        let gone: Vec<String> = {
            let held = all.held.lock();
            held.iter().filter(|(_, held)| !stays(held)).map(|(name, _)| name.clone()).collect()
        };
        *all.config.lock() = config;
        *all.taken.lock() = taken;
        if !gone.is_empty() {
            all.held.lock().retain(|name, _| !gone.contains(name));
            self.write_registrations(json!({"no_longer_allowed": gone}), Arc::new(Principal::system()))
                .await?;
            all.changed.send_replace(());
        }
        Ok(changed)
    }

    /// The services that have registered themselves, in the order that they came.
    #[must_use]
    pub fn registered_services(&self) -> Vec<RegisteredService> {
        self.registrations.held.lock().values().map(|held| held.service.clone()).collect()
    }

    /// Ends leases of services when their time is over. Goes on without end.
    pub async fn watch_registrations(&self) {
        let mut changed = self.registrations.changed.subscribe();
        loop {
            let next = self.registrations.held.lock().values().map(|held| held.until).min();
            let over = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changed.changed() => {}
                () = over => self.lapse_services().await,
            }
        }
    }

    async fn lapse_services(&self) {
        let _writing = self.registrations.writing.lock().await;
        let now = Instant::now();
        let mut gone = Vec::new();
        self.registrations.held.lock().retain(|name, held| {
            let stays = held.until > now;
            if !stays {
                gone.push(name.clone());
            }
            stays
        });
        if gone.is_empty() {
            return;
        }
        let written = self.write_registrations(json!({"lapsed": gone}), Arc::new(Principal::system())).await;
        if let Err(error) = written {
            tracing::error!(services = ?gone, %error, "the end of a lease is not in the record");
        }
        self.registrations.changed.send_replace(());
    }

    /// Registers a service, or says anew what it is.
    pub(crate) async fn register_service(
        &self,
        service: RegisteredService,
        principal: &Arc<Principal>,
    ) -> Result<ServiceLease, Failure> {
        let name = service.name.clone();
        let ttl = {
            let config = self.registrations.config.lock();
            admits(&config, &service, &principal.id).map_err(Error::ServiceRefused)?;
            lease_of(&config, &service)
        };
        let _writing = self.registrations.writing.lock().await;
        let most = self.registrations.config.lock().most;
        let known = self.registrations.taken.lock().contains(&name);
        let by = principal.id.to_string();
        let held = Held { service: service.clone(), by: by.clone(), until: Instant::now() + ttl };
        let before = {
            let mut all = self.registrations.held.lock();
            match all.get(&name) {
                Some(other) if other.by != by => {
                    return Err(Error::ServiceRefused(format!("{name} is registered by another")).into());
                }
                None if known => {
                    return Err(Error::ServiceRefused(format!("{name} is a service already")).into());
                }
                None if all.len() >= most => {
                    return Err(
                        Error::ServiceRefused(format!("{most} services are registered already")).into()
                    );
                }
                _ => all.insert(name.clone(), held),
            }
        };
        let new = before.is_none();
        if before.as_ref().is_none_or(|before| before.service != service) {
            let about = json!({"registered": name, "url": service.url, "ttl_ms": millis(ttl)});
            if let Err(error) = self.write_registrations(about, principal.clone()).await {
                let mut all = self.registrations.held.lock();
                match before {
                    Some(before) => drop(all.insert(name, before)),
                    None => drop(all.shift_remove(&name)),
                }
                return Err(Error::Log(error.to_string()).into());
            }
            self.registrations.changed.send_replace(());
        }
        Ok(ServiceLease { name, ttl_ms: millis(ttl), new })
    }

    /// Renews the lease of a service.
    pub(crate) fn heartbeat_service(
        &self,
        name: &str,
        principal: &Principal,
    ) -> Result<ServiceLease, Failure> {
        let config = self.registrations.config.lock().clone();
        let mut all = self.registrations.held.lock();
        let held = all.get_mut(name).filter(|held| held.by == *principal.id);
        let held = held.ok_or_else(|| Error::NoRegistration(name.to_owned()))?;
        let ttl = lease_of(&config, &held.service);
        held.until = Instant::now() + ttl;
        Ok(ServiceLease { name: name.to_owned(), ttl_ms: millis(ttl), new: false })
    }

    /// Ends the lease of a service.
    pub(crate) async fn deregister_service(
        &self,
        name: &str,
        principal: &Arc<Principal>,
    ) -> Result<(), Failure> {
        let _writing = self.registrations.writing.lock().await;
        {
            let mut all = self.registrations.held.lock();
            if all.get(name).is_none_or(|held| held.by != *principal.id) {
                return Err(Error::NoRegistration(name.to_owned()).into());
            }
            all.shift_remove(name);
        }
        let written = self.write_registrations(json!({"deregistered": name}), principal.clone()).await;
        self.registrations.changed.send_replace(());
        Ok(written.map_err(|error| Error::Log(error.to_string()))?)
    }

    /// The services that have registered themselves: all of them for who may register, else none.
    pub(crate) fn standing(&self, principal: &Principal) -> Result<Vec<Standing>, Failure> {
        may(&self.registrations.config.lock(), &principal.id).map_err(Error::ServiceRefused)?;
        let now = Instant::now();
        let standing = |held: &Held| Standing {
            service: held.service.clone(),
            by: held.by.clone(),
            left_ms: millis(held.until.saturating_duration_since(now)),
        };
        Ok(self.registrations.held.lock().values().map(standing).collect())
    }

    async fn write_registrations(
        &self,
        about: serde_json::Value,
        principal: Arc<Principal>,
    ) -> trunkline_event_log::Result<()> {
        let recorded = |held: &Held| Recorded { by: held.by.clone(), service: held.service.clone() };
        let services: Vec<Recorded> = self.registrations.held.lock().values().map(recorded).collect();
        let data = EventData {
            action: Cow::Borrowed("registration"),
            parameters: Json::from(about),
            context: Json::from(json!({"services": services})),
        };
        self.recorder.append_to(STREAM, Expected::Any, Phase::Changed, principal, data).await.map(drop)
    }
}

fn may(config: &RegistrationsConfig, principal: &str) -> Result<(), String> {
    let may = config.principals.iter().any(|pattern| Glob::new(pattern).matches(principal));
    if may { Ok(()) } else { Err(format!("{principal} may not register services")) }
}

fn lease_of(config: &RegistrationsConfig, service: &RegisteredService) -> Duration {
    let longest = Duration::from_millis(config.ttl_ms).max(SHORTEST);
    service.ttl_ms.map_or(longest, |ms| Duration::from_millis(ms).clamp(SHORTEST, longest))
}

/// Whether it may be there.
fn admits(config: &RegistrationsConfig, service: &RegisteredService, by: &str) -> Result<(), String> {
    may(config, by)?;
    let RegisteredService {
        name,
        kind,
        url,
        document,
        description,
        capabilities,
        version,
        zone,
        metadata,
        ..
    } = service;
    let fits = name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !name.contains("__");
    if !fits {
        return Err(format!(
            "a name has letters, digits, - and single _, at most {LONGEST_NAME}, a letter or digit first"
        ));
    }
    if !config.names.iter().any(|pattern| Glob::new(pattern).matches(name)) {
        return Err(format!("the name {name:?} fits none of those that are open"));
    }
    let texts = [Some(url), document.as_ref(), description.as_ref(), version.as_ref(), zone.as_ref()];
    let mut texts = texts.into_iter().flatten().chain(metadata.iter().flat_map(|(k, v)| [k, v]));
    if texts.any(|text| text.len() > LONGEST_TEXT)
        || metadata.len() > MOST_OF_A_KIND
        || capabilities.len() > MOST_OF_A_KIND
    {
        return Err(format!(
            "a service is described in texts of at most {LONGEST_TEXT} bytes, {MOST_OF_A_KIND} capabilities and \
             {MOST_OF_A_KIND} entries of metadata"
        ));
    }
    match (kind, document) {
        (Kind::Openapi, None) => return Err("an openapi service needs the URL of its document".to_owned()),
        (Kind::Mcp, Some(_)) => return Err("an mcp service has no document".to_owned()),
        _ => {}
    }
    [Some(url), document.as_ref()].into_iter().flatten().try_for_each(|url| reachable(config, url))
}

/// Whether an address may be asked.
fn reachable(config: &RegistrationsConfig, url: &str) -> Result<(), String> {
    // A name and password in an address would make it look like another host to a pattern.
    let plain = url.parse::<http::Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    });
    if plain.is_none() {
        return Err(format!("{url:?} is not an http or https URL"));
    }
    if !config.allow.iter().any(|pattern| Glob::new(pattern).matches(url)) {
        return Err(format!("the address {url:?} fits none of those that are allowed"));
    }
    Ok(())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_open_is_admitted() {
        let config = RegistrationsConfig {
            allow: vec!["http://10.0.0.*".to_owned()],
            names: vec!["team-*".to_owned()],
            ..RegistrationsConfig::default()
        };
        let service = |name: &str, url: &str| -> RegisteredService {
            serde_json::from_value(json!({"name": name, "kind": "mcp", "url": url})).unwrap()
        };
        let good = service("team-a", "http://10.0.0.1/mcp");
        assert_eq!(admits(&config, &good, "local"), Ok(()));
        assert!(admits(&RegistrationsConfig::default(), &good, "local").is_err());
        assert!(admits(&config, &good, "someone").is_err());
        for (name, url) in [
            ("other", "http://10.0.0.1/mcp"),
            ("team__a", "http://10.0.0.1/mcp"),
            ("team-a/../b", "http://10.0.0.1/mcp"),
            ("team-a", "http://10.0.0.1@evil.example/mcp"),
            ("team-a", "file:///etc/passwd"),
            ("team-a", "http://169.254.169.254/"),
        ] {
            assert!(admits(&config, &service(name, url), "local").is_err(), "{name} {url}");
        }
        let mut openapi = RegisteredService { kind: Kind::Openapi, ..good };
        assert!(admits(&config, &openapi, "local").is_err());
        for (document, fits) in
            [("/etc/passwd", false), ("http://a.example/x", false), ("http://10.0.0.9/x", true)]
        {
            openapi.document = Some(document.to_owned());
            assert_eq!(admits(&config, &openapi, "local").is_ok(), fits, "{document}");
        }
    }
}
