//! Limits, loops, priorities, intents, the model and the cache, put in force as the configuration says.

use std::sync::Arc;

use trunkline_connectors::mcp::Session;
use trunkline_gateway::{Gateway, Scope, ServiceCache};
use trunkline_model::ServiceId;

use crate::config::{self, Config};

/// Puts them in force.
pub(super) fn apply(gateway: &Arc<Gateway>, config: &Config) {
    gateway.limit(&config.limits, &config.prices, &config.loops);
    if let Err(error) = gateway.intend(&config.intents) {
        tracing::error!(%error, "not all intents are known");
    }
    super::assistant::apply(gateway, config);
    gateway.prioritize(&config.priorities);
    let kept = config.services.iter().filter_map(|(name, service)| {
        let cache = service.cache.clone()?;
        Some((ServiceId::new(name), within_conversations(service, cache)))
    });
    gateway.keep(config.cache.clone(), kept.collect());
}

/// A server with a session for each conversation may answer each in its own way.
fn within_conversations(service: &config::Service, mut cache: ServiceCache) -> ServiceCache {
    let apart = service.mcp.as_ref().is_some_and(|mcp| mcp.session == Session::PerConversation);
    if apart {
        cache.scope = Scope::Conversation;
        cache.rules.iter_mut().for_each(|rule| rule.scope = None);
    }
    cache
}
