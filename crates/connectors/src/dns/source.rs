//! The instances that a name server tells: asked again when the answer is old.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use trunkline_model::{BoxFuture, Failure, Instance, InstanceSource};

use super::client::{Answer, Client, Srv};
use super::config::Lookup;
use crate::source::{Chance, Error, MAX_INSTANCES, Pace, place};

/// How often an answer without records has to come before it is believed: a name server that is being set up has none, either.
const EMPTY_TIMES: u32 = 2;

/// By how much of it a wait is longer, by chance.
const SPREAD: f64 = 0.1;

/// The instances of a service, as a name server tells them.
pub struct DnsSource {
    client: Client,
    lookup: Lookup,
    url: String,
    pace: Pace,
    due: Instant,
    empty: u32,
    told: Option<Vec<Instance>>,
}

impl DnsSource {
    /// Follows a name. `url` is the template of the instances' URLs where `lookup` has none.
    ///
    /// # Errors
    /// [`Error::Config`] where not exactly one of `name` and `srv` is given.
    pub fn new(client: Client, lookup: Lookup, url: &str, chance: Chance) -> Result<Self, Error> {
        if lookup.name.is_some() == lookup.srv.is_some() {
            let cause = "exactly one of name and srv is needed".to_owned();
            return Err(Error::Config { source_name: "discover.dns".to_owned(), cause });
        }
        let url = lookup.url.clone().unwrap_or_else(|| url.to_owned());
        let (pace, due) = (Pace::new(chance), Instant::now());
        Ok(Self { client, lookup, url, pace, due, empty: 0, told: None })
    }

    async fn follow(&mut self) -> Result<Vec<Instance>, Error> {
        loop {
            sleep_until(self.due).await;
            self.pace.turn().await;
            let (found, ttl) = self.ask().await?;
            self.due = Instant::now()
                + self.pace.spread(ttl.clamp(self.client.min_ttl, self.client.max_ttl), SPREAD);
            let back = self.pace.is_failing();
            self.pace.succeeded();
            if found.is_empty() && self.told.as_ref().is_some_and(|told| !told.is_empty()) {
                self.empty += 1;
                if self.empty < EMPTY_TIMES {
                    continue;
                }
            } else {
                self.empty = 0;
            }
            if back || self.told.as_ref() != Some(&found) {
                self.told = Some(found.clone());
                return Ok(found);
            }
        }
    }

    async fn ask(&self) -> Result<(Vec<Instance>, Duration), Error> {
        let (places, ttl) = match (&self.lookup.name, &self.lookup.srv) {
            (Some(name), _) => {
                let Answer { records, ttl } = self.client.addresses(name).await?;
                let port = self.lookup.port.unwrap_or_default();
                let places = records.into_iter().map(|ip| (ip.to_string(), port, 1, None));
                (places.collect::<Vec<_>>(), ttl)
            }
            (_, Some(name)) => self.services(name).await?,
            _ => (Vec::new(), self.client.max_ttl),
        };
        let mut instances = BTreeMap::new();
        for (host, port, weight, target) in places.into_iter().take(MAX_INSTANCES) {
            let url = place(&self.url, &host, port)
                .map_err(|cause| Error::Unusable { source_name: self.client.name(), cause })?;
            let metadata = target.map(|target: String| ("host".to_owned(), target)).into_iter().collect();
            let instance = Instance {
                url: url.clone(),
                zone: None,
                version: None,
                weight,
                capabilities: Vec::new(),
                metadata,
            };
            instances.entry(url).or_insert(instance);
        }
        Ok((instances.into_values().collect(), ttl))
    }

    /// Each address of the targets of the SRV records that come first.
    async fn services(
        &self,
        name: &str,
    ) -> Result<(Vec<(String, u16, u32, Option<String>)>, Duration), Error> {
        let Answer { records, mut ttl } = self.client.srv(name).await?;
        // The target `.` says that the service is decidedly not there (RFC 2782).
        let first = records.iter().map(|srv| srv.priority).min();
        let first: Vec<&Srv> =
            records.iter().filter(|srv| Some(srv.priority) == first && srv.target != ".").collect();
        // Where nobody says a weight, all have the same.
        let weighted = first.iter().any(|srv| srv.weight > 0);
        let mut places = Vec::new();
        for srv in first {
            let target = srv.target.trim_end_matches('.');
            let addresses = self.client.addresses(target).await?;
            ttl = ttl.min(addresses.ttl);
            // RFC 2782: a weight of 0 beside others is to have a very small chance, not none.
            let weight = if weighted { u32::from(srv.weight).max(1) } else { 1 };
            let each = addresses.records.into_iter();
            places.extend(each.map(|ip| (ip.to_string(), srv.port, weight, Some(target.to_owned()))));
        }
        Ok((places, ttl))
    }
}

impl InstanceSource for DnsSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Instance>, Failure>> {
        Box::pin(async move {
            self.follow().await.map_err(|error| {
                self.pace.failed();
                error.into()
            })
        })
    }
}
