//! What is kept of which tool and for how long, and what makes it out of date.
//!
//! Everything that can make answers out of date is a *topic* with a counter: a service as a whole, its resources, a rule
//! of what a write touches. An answer carries the sum of the counters that it depends on from the moment at which it was
//! asked for. Counters only grow, so it is right as long as the sum is the same; and an answer that was on its way while
//! something changed is out of date when it comes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use trunkline_model::{Glob, Operation, ServiceId};

use super::config::{CacheRule, Scope, ServiceCache};

/// The most tools and resources whose policies are remembered.
const MOST: usize = 10_000;

/// What is kept, of all services.
#[derive(Default)]
pub(super) struct Policies {
    config: HashMap<ServiceId, ServiceCache>,
    services: HashMap<ServiceId, OfService>,
    topics: Vec<Topic>,
    /// Remembered, by operation and `service/name`.
    known: RwLock<Known>,
}

type Known = HashMap<(Operation, Arc<str>), Option<Arc<Policy>>>;

struct OfService {
    rules: Vec<(Glob, CacheRule)>,
    writes: Vec<(Glob, usize)>,
    everything: Counter,
    resources: Counter,
}

/// What a rule of writes makes out of date.
struct Topic {
    /// `service/tool`.
    touches: Vec<Glob>,
    tags: Vec<String>,
    counter: Counter,
}

type Counter = Arc<AtomicU64>;

/// What is kept of a tool or resource.
pub(crate) struct Policy {
    pub(super) ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) scope: Scope,
    pub(super) stale_while_revalidate: Duration,
    pub(super) stale_if_error: Duration,
    topics: Vec<Counter>,
    /// Its answers turned out not to be kept.
    pub(super) passes: AtomicBool,
}

impl Policy {
    /// What the answers of now depend on.
    pub(super) fn stamp(&self) -> u64 {
        self.topics.iter().fold(0, |sum, counter| sum.wrapping_add(counter.load(Ordering::Acquire)))
    }
}

/// Makes answers out of date, when it is dropped: a call that may change something has ended, in whatever way.
pub(crate) struct Touch(Counter);

impl Drop for Touch {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Policies {
    pub(super) fn new(config: HashMap<ServiceId, ServiceCache>) -> Self {
        let mut topics = Vec::new();
        let mut services = HashMap::new();
        for (id, cache) in &config {
            let mut writes = Vec::new();
            for write in &cache.writes {
                let label = |pattern: &String| {
                    let whole = pattern.contains('/') && !pattern.contains("://");
                    Glob::new(&if whole { pattern.clone() } else { format!("{id}/{pattern}") })
                };
                writes.push((Glob::new(&write.tool), topics.len()));
                topics.push(Topic {
                    touches: write.touches.iter().map(label).collect(),
                    tags: write.tags.clone(),
                    counter: Counter::default(),
                });
            }
            let rules = cache.rules.iter().map(|rule| (Glob::new(&rule.tool), rule.clone())).collect();
            let of =
                OfService { rules, writes, everything: Counter::default(), resources: Counter::default() };
            services.insert(id.clone(), of);
        }
        Self { config, services, topics, known: RwLock::default() }
    }

    pub(super) fn config(&self) -> &HashMap<ServiceId, ServiceCache> {
        &self.config
    }

    /// What is kept of a tool or resource; none where nothing is.
    pub(super) fn of(
        &self,
        operation: Operation,
        service: &ServiceId,
        own: &str,
        label: &Arc<str>,
    ) -> Option<Arc<Policy>> {
        if self.services.is_empty() {
            return None;
        }
        let key = (operation, label.clone());
        if let Some(known) = self.known.read().get(&key) {
            return known.clone();
        }
        let policy = self.make(operation, service, own, label).map(Arc::new);
        let mut known = self.known.write();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, policy.clone());
        policy
    }

    fn make(&self, operation: Operation, service: &ServiceId, own: &str, label: &str) -> Option<Policy> {
        let (config, of) = (self.config.get(service)?, self.services.get(service)?);
        let rule = of.rules.iter().find(|(tool, _)| tool.matches(own)).map(|(_, rule)| rule);
        if rule.is_some_and(|rule| rule.never) {
            return None;
        }
        let tags = rule.map(|rule| &*rule.tags).unwrap_or_default();
        let touched = |topic: &&Topic| {
            topic.touches.iter().any(|pattern| pattern.matches(label))
                || topic.tags.iter().any(|tag| tags.contains(tag))
        };
        let mut topics: Vec<Counter> =
            self.topics.iter().filter(touched).map(|topic| topic.counter.clone()).collect();
        topics.push(of.everything.clone());
        if operation == Operation::ReadResource {
            topics.push(of.resources.clone());
        }
        Some(Policy {
            ttl: Duration::from_millis(rule.and_then(|rule| rule.ttl_ms).unwrap_or(config.ttl_ms)),
            max_ttl: Duration::from_millis(config.max_ttl_ms),
            scope: rule.and_then(|rule| rule.scope).unwrap_or(config.scope),
            stale_while_revalidate: Duration::from_millis(config.stale_while_revalidate_ms),
            stale_if_error: Duration::from_millis(config.stale_if_error_ms),
            topics,
            passes: AtomicBool::new(false),
        })
    }

    /// What a call that may change something makes out of date once it has ended.
    pub(super) fn touched(&self, service: &ServiceId, own: &str) -> Option<Touch> {
        let of = self.services.get(service)?;
        let rule = of.writes.iter().find(|(tool, _)| tool.matches(own));
        let topic = rule.and_then(|(_, topic)| self.topics.get(*topic));
        Some(Touch(topic.map_or(&of.everything, |topic| &topic.counter).clone()))
    }

    /// The lists of a service have changed.
    pub(super) fn contents_changed(&self, service: &ServiceId) {
        self.services.get(service).map(|of| Touch(of.everything.clone()));
    }

    /// A resource of a service has changed.
    pub(super) fn resource_updated(&self, service: &ServiceId) {
        self.services.get(service).map(|of| Touch(of.resources.clone()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policies() -> Policies {
        let config = json!({
            "stock": {
                "ttl_ms": 1000,
                "rules": [
                    {"tool": "price*", "tags": ["prices"], "ttl_ms": 5},
                    {"tool": "secret", "never": true},
                ],
                "writes": [
                    {"tool": "reserve", "touches": ["item*"]},
                    {"tool": "ping"},
                ],
            },
            "shop": { "writes": [{"tool": "reprice", "tags": ["prices"], "touches": ["stock/list"]}] },
        });
        let config: HashMap<String, ServiceCache> = serde_json::from_value(config).unwrap();
        Policies::new(config.into_iter().map(|(id, cache)| (ServiceId::new(&id), cache)).collect())
    }

    #[test]
    fn a_write_makes_out_of_date_what_it_touches_and_where_it_does_not_say_everything() {
        let policies = policies();
        let stock = ServiceId::new("stock");
        let of = |own: &str| {
            let label = Arc::from(format!("stock/{own}"));
            policies.of(Operation::CallTool, &stock, own, &label)
        };
        assert!(of("secret").is_none());
        assert_eq!(of("price").unwrap().ttl, Duration::from_millis(5));
        let stamps = || ["item", "list", "price"].map(|own| of(own).unwrap().stamp());
        for (service, write, changed) in [
            ("stock", "reserve", [true, false, false]),
            ("stock", "ping", [false, false, false]),
            ("stock", "other", [true, true, true]),
            ("shop", "reprice", [false, true, true]),
            ("shop", "other", [false, false, false]),
            ("elsewhere", "other", [false, false, false]),
        ] {
            let before = stamps();
            let touch = policies.touched(&ServiceId::new(service), write);
            assert_eq!(stamps(), before, "it has not ended yet");
            drop(touch);
            let after = stamps();
            let differs: Vec<bool> = before.iter().zip(after).map(|(a, b)| *a != b).collect();
            assert_eq!(differs, changed, "{service}/{write}");
        }
    }
}
