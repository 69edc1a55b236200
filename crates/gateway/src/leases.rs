//! Instances that register themselves, and stay as long as they say so again.
//!
//! A registration is a lease: it ends when it is not renewed in time. Every change of the set is an event, which holds the whole
//! set, so that a restart goes on with it; what was there then has its time once more.

use std::borrow::Cow;
use std::collections::HashMap;
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
use trunkline_model::{Capability, EventData, Failure, Glob, Instance, Json, Phase, Principal, ServiceId};
use utoipa::ToSchema;

use crate::{Error, Gateway};

/// The shortest lease.
const SHORTEST: Duration = Duration::from_millis(500);

/// The longest address, zone, or other text of an instance, in bytes.
const LONGEST_TEXT: usize = 1_000;

/// The most things that are known of an instance.
const MOST_METADATA: usize = 50;

/// Who may register instances of a service, and where these may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseConfig {
    /// Patterns of addresses that an instance may have; `*` stands for any text. None where left out: what is behind an
    /// address is called with the credentials of the service.
    pub allow: Vec<String>,
    /// Patterns of principals that may register; `local` is who calls from this machine without a key.
    pub principals: Vec<String>,
    /// How long a lease lasts that does not say it, in milliseconds, and the longest.
    pub ttl_ms: u64,
    /// The most instances.
    pub most: usize,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self { allow: Vec::new(), principals: vec!["local".to_owned()], ttl_ms: 30_000, most: 100 }
    }
}

/// An instance that registers itself, or says that it is still there.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    /// Where it is.
    url: String,
    /// The zone that it runs in.
    #[serde(default)]
    zone: Option<String>,
    /// The version that it runs.
    #[serde(default)]
    version: Option<String>,
    /// How much of the calls it takes beside the others; 1 where left out.
    #[serde(default)]
    weight: Option<u32>,
    /// What it can do, as dotted terms, beside what all of its service can.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    capabilities: Vec<Capability>,
    /// What else is known of it.
    #[serde(default)]
    metadata: std::collections::BTreeMap<String, String>,
    /// How long it stays without saying so again, in milliseconds.
    #[serde(default)]
    ttl_ms: Option<u64>,
}

/// A lease, as it was given.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Lease {
    /// The address.
    url: String,
    /// Registering it again within this time renews it, in milliseconds.
    ttl_ms: u64,
    /// It was not there before.
    new: bool,
}

/// The leases of all services.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashMap<ServiceId, Arc<Leased>>>);

struct Leased {
    config: Mutex<LeaseConfig>,
    held: Mutex<IndexMap<String, Held>>,
    changed: watch::Sender<Vec<Instance>>,
    /// Changes go to the record one after the other.
    writing: tokio::sync::Mutex<()>,
}

struct Held {
    instance: Instance,
    until: Instant,
}

impl Gateway {
    /// Opens a service for registration, and gives its instances as they come and go. What an earlier process knew is there
    /// again.
    ///
    /// # Errors
    /// Where the record can't be read.
    pub async fn lease(
        &self,
        service: &ServiceId,
        config: LeaseConfig,
    ) -> Result<watch::Receiver<Vec<Instance>>, trunkline_event_log::Error> {
        if let Some(leased) = self.leases.0.lock().get(service) {
            *leased.config.lock() = config;
            return Ok(leased.changed.subscribe());
        }
        let until = Instant::now() + Duration::from_millis(config.ttl_ms).max(SHORTEST);
        let mut held = IndexMap::new();
        for instance in self.recorder.newest_lease(&stream(service)).await? {
            held.insert(instance.url.clone(), Held { instance, until });
        }
        let instances = held.values().map(|held| held.instance.clone()).collect();
        let leased = Leased {
            config: Mutex::new(config),
            held: Mutex::new(held),
            changed: watch::Sender::new(instances),
            writing: tokio::sync::Mutex::default(),
        };
        let mut all = self.leases.0.lock();
        Ok(all.entry(service.clone()).or_insert_with(|| Arc::new(leased)).changed.subscribe())
    }

    /// When the next lease of a service ends, where it has any.
    #[must_use]
    pub fn next_lapse(&self, service: &ServiceId) -> Option<Instant> {
        let leased = self.leases.0.lock().get(service).cloned()?;
        let held = leased.held.lock();
        held.values().map(|held| held.until).min()
    }

    /// Ends the leases of a service whose time is over.
    pub async fn lapse(&self, service: &ServiceId) {
        let Ok(leased) = self.leased(service) else { return };
        let _writing = leased.writing.lock().await;
        let now = Instant::now();
        let gone: Vec<String> = {
            let held = leased.held.lock();
            held.iter().filter(|(_, held)| held.until <= now).map(|(url, _)| url.clone()).collect()
        };
        if gone.is_empty() {
            return;
        }
        leased.held.lock().retain(|url, _| !gone.contains(url));
        let about = json!({"lapsed": gone});
        if let Err(error) = self.write_leases(service, &leased, about, Arc::new(Principal::system())).await {
            tracing::error!(%service, %error, "the end of a lease is not in the record");
        }
        leased.tell();
    }

    fn leased(&self, service: &ServiceId) -> Result<Arc<Leased>, Error> {
        let leased = self.leases.0.lock().get(service).cloned();
        leased.ok_or_else(|| Error::NotRegistered(format!("{service} takes no registrations")))
    }

    /// Registers an instance, or renews its lease.
    pub(crate) async fn register(
        &self,
        service: &ServiceId,
        registration: Registration,
        principal: &Arc<Principal>,
    ) -> Result<Lease, Failure> {
        let leased = self.leased(service)?;
        let longest = leased.admits(&registration, principal).map_err(Error::NotRegistered)?;
        let Registration { url, zone, version, weight, capabilities, metadata, ttl_ms } = registration;
        let ttl = ttl_ms.map_or(longest, |ms| Duration::from_millis(ms).clamp(SHORTEST, longest));
        let weight = weight.unwrap_or(1);
        let instance = Instance { url: url.clone(), zone, version, weight, capabilities, metadata };
        let _writing = leased.writing.lock().await;
        let until = Instant::now() + ttl;
        let (new, changed) = {
            let mut held = leased.held.lock();
            let most = leased.config.lock().most;
            let known = held.get(&url).map(|held| held.instance == instance);
            if known.is_none() && held.len() >= most {
                return Err(Error::NotRegistered(format!("{service} has {most} instances already")).into());
            }
            held.insert(url.clone(), Held { instance, until });
            (known.is_none(), known != Some(true))
        };
        if changed {
            let about = json!({"registered": url, "ttl_ms": millis(ttl)});
            self.write_leases(service, &leased, about, principal.clone()).await?;
            leased.tell();
        }
        Ok(Lease { url, ttl_ms: millis(ttl), new })
    }

    /// Ends the lease of an instance.
    pub(crate) async fn deregister(
        &self,
        service: &ServiceId,
        url: &str,
        principal: &Arc<Principal>,
    ) -> Result<(), Failure> {
        let leased = self.leased(service)?;
        leased.may(principal).map_err(Error::NotRegistered)?;
        let _writing = leased.writing.lock().await;
        if leased.held.lock().shift_remove(url).is_none() {
            return Err(Error::NotRegistered(format!("{service} has no instance at {url:?}")).into());
        }
        self.write_leases(service, &leased, json!({"deregistered": url}), principal.clone()).await?;
        leased.tell();
        Ok(())
    }

    async fn write_leases(
        &self,
        service: &ServiceId,
        leased: &Leased,
        about: serde_json::Value,
        principal: Arc<Principal>,
    ) -> Result<(), Error> {
        let data = EventData {
            action: Cow::Borrowed("lease"),
            parameters: Json::from(about),
            context: Json::from(json!({"instances": leased.instances()})),
        };
        let stream = stream(service);
        let written = self.recorder.append_to(&stream, Expected::Any, Phase::Changed, principal, data).await;
        written.map(drop).map_err(|error| Error::Log(error.to_string()))
    }
}

impl Leased {
    fn instances(&self) -> Vec<Instance> {
        self.held.lock().values().map(|held| held.instance.clone()).collect()
    }

    fn tell(&self) {
        self.changed.send_replace(self.instances());
    }

    fn may(&self, principal: &Principal) -> Result<(), String> {
        let config = self.config.lock();
        let may = config.principals.iter().any(|pattern| Glob::new(pattern).matches(&principal.id));
        if may { Ok(()) } else { Err(format!("{} may not register instances of it", principal.id)) }
    }

    /// Gives the longest lease that it may have.
    fn admits(&self, wanted: &Registration, principal: &Principal) -> Result<Duration, String> {
        self.may(principal)?;
        let config = self.config.lock();
        let url = &wanted.url;
        let texts = [Some(url), wanted.zone.as_ref(), wanted.version.as_ref()];
        let mut texts = texts.into_iter().flatten().chain(wanted.metadata.iter().flat_map(|(k, v)| [k, v]));
        if texts.any(|text| text.len() > LONGEST_TEXT) || wanted.metadata.len() > MOST_METADATA {
            return Err(format!(
                "an instance is described in texts of at most {LONGEST_TEXT} bytes, and at most {MOST_METADATA} of them"
            ));
        }
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
        Ok(Duration::from_millis(config.ttl_ms).max(SHORTEST))
    }
}

fn stream(service: &ServiceId) -> String {
    format!("lease/{service}")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
