//! Follows the instances of a service by blocking queries, by the rules of Consul's documentation: the index starts at 0 and is
//! at least 1 after an answer, one that goes back is forgotten, and there is a pace.

use trunkline_model::{BoxFuture, Failure, Instance, InstanceSource};

use super::client::{Client, Reply};
use super::config::Lookup;
use super::entry::instances;
use crate::source::{Chance, Error, Pace};

/// The instances of a service, as a Consul agent tells them.
pub struct ConsulSource {
    client: Client,
    lookup: Lookup,
    service: String,
    url: String,
    pace: Pace,
    index: u64,
    told: Option<Vec<Instance>>,
}

impl ConsulSource {
    /// Follows a service: by the name in `lookup`, else by `service`. `url` is the template of its instances' URLs.
    #[must_use]
    pub fn new(client: Client, lookup: Lookup, service: &str, url: &str, chance: Chance) -> Self {
        let service = lookup.service.clone().unwrap_or_else(|| service.to_owned());
        let url = lookup.url.clone().unwrap_or_else(|| url.to_owned());
        Self { client, lookup, service, url, pace: Pace::new(chance), index: 0, told: None }
    }

    async fn follow(&mut self) -> Result<Vec<Instance>, Error> {
        loop {
            self.pace.turn().await;
            let Reply { index, body } =
                self.client.health(&self.service, &self.lookup.tags, self.index).await?;
            if index < self.index {
                // The servers were restored or replaced: ask for all that there is, at once.
                tracing::warn!(source = %self.client.name(), from = self.index, to = index, "the index went back");
                self.index = 0;
                continue;
            }
            let found = instances(&body, &self.lookup, &self.url, &self.client.name())?;
            // An index of 0 would not wait.
            self.index = index.max(1);
            let back = self.pace.is_failing();
            self.pace.succeeded();
            if back || self.told.as_ref() != Some(&found) {
                self.told = Some(found.clone());
                return Ok(found);
            }
        }
    }
}

impl InstanceSource for ConsulSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Instance>, Failure>> {
        Box::pin(async move {
            self.follow().await.map_err(|error| {
                self.pace.failed();
                // Who answers next may be another agent.
                self.index = 0;
                error.into()
            })
        })
    }
}
