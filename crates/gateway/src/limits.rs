//! Limits on callers: so many calls, tokens, bytes or so much money in a while, for each principal, service, tool or
//! conversation.
//!
//! What a call costs is known in part before it (its arguments, its price) and in part after it (its result): the one is
//! taken, the other debited. A call that was refused by one limit is given back to the others.

mod config;
mod counted;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_model::{CallContext, Glob, Json, Quota, ServiceId};
use trunkline_resilience::rate::{Limits as Buckets, Rate, Verdict};

use crate::Error;

pub use config::{Each, Limit, Price};
use config::{MILLIONTHS, Measure};
pub(crate) use counted::Counted;

/// The most callers, tools and so on that one limit tells apart at a time.
const MAX_KEYS: usize = 100_000;

/// Bytes of JSON text that are taken for a token: a common rule of thumb. The real count is the model's own.
const BYTES_A_TOKEN: usize = 4;

/// The limits in force.
#[derive(Default)]
pub(crate) struct Limits {
    config: Vec<Limit>,
    prices: Vec<Price>,
    rules: Vec<Rule>,
    priced: Vec<Priced>,
}

struct Rule {
    principal: Glob,
    service: Glob,
    tool: Glob,
    each: Vec<Each>,
    name: Arc<str>,
    measure: Measure,
    buckets: Buckets,
    refusals: counted::Refusals,
}

struct Priced {
    service: Glob,
    tool: Glob,
    /// In millionths.
    call: u64,
    thousand_tokens: u64,
}

/// A call that limits have let through, and what it has been charged so far.
#[derive(Default)]
pub(crate) struct Ticket(Option<Box<Charged>>);

struct Charged {
    limits: Arc<Limits>,
    /// By number of the limit: whom it counts for, and what was taken.
    taken: Vec<(usize, String, u64)>,
    price: Option<usize>,
}

impl Limits {
    /// Limits that have counted nothing yet.
    pub(crate) fn new(limits: &[Limit], prices: &[Price]) -> Self {
        let rule = |(index, limit): (usize, &Limit)| {
            let (measure, units) = limit.measure();
            let (every, burst) = (Duration::from_millis(limit.every_ms), limit.burst_units(units));
            Rule {
                principal: Glob::new(&limit.principal),
                service: Glob::new(&limit.service),
                tool: Glob::new(&limit.tool),
                each: limit.each.clone(),
                name: limit.policy(index).into(),
                measure,
                buckets: Buckets::new(Rate { units, every, burst }, MAX_KEYS, Instant::now()),
                refusals: counted::Refusals::default(),
            }
        };
        let priced = |price: &Price| Priced {
            service: Glob::new(&price.service),
            tool: Glob::new(&price.tool),
            call: config::millionths(price.call),
            thousand_tokens: config::millionths(price.thousand_tokens),
        };
        Self {
            config: limits.to_vec(),
            prices: prices.to_vec(),
            rules: limits.iter().enumerate().map(rule).collect(),
            priced: prices.iter().map(priced).collect(),
        }
    }

    /// Whether this is what is configured.
    pub(crate) fn are(&self, limits: &[Limit], prices: &[Price]) -> bool {
        self.config == limits && self.prices == prices
    }

    /// Takes a call into account, and tells the caller what is left.
    ///
    /// # Errors
    /// [`Error::OverLimit`] with the time after which there is room.
    pub(crate) fn take(
        self: &Arc<Self>,
        context: &CallContext,
        service: &ServiceId,
        own: &str,
        arguments: &Json,
    ) -> Result<Ticket, Error> {
        if self.rules.is_empty() {
            return Ok(Ticket::default());
        }
        let holds = |rule: &Rule| {
            rule.principal.matches(&context.principal.id)
                && rule.service.matches(service.as_str())
                && rule.tool.matches(own)
        };
        let price = self.priced_at(service, own);
        let mut charged = Charged { limits: self.clone(), taken: Vec::new(), price };
        let (now, mut quotas) = (Instant::now(), Vec::new());
        for (index, rule) in self.rules.iter().enumerate().filter(|(_, rule)| holds(rule)) {
            let key = key(&rule.each, context, service, own);
            let cost = match rule.measure {
                Measure::Calls => 1,
                Measure::Tokens => tokens(arguments.len()),
                Measure::Bytes => count(arguments.len()),
                Measure::Money => self.price(price, arguments.len(), true),
            };
            let refused = match rule.buckets.take(&key, cost, now) {
                Verdict::Taken { left, reset } => {
                    quotas.push(rule.quota(left, reset));
                    charged.taken.push((index, key, cost));
                    continue;
                }
                Verdict::Denied { after } => Some(after),
                Verdict::Never => None,
            };
            charged.give_back(|_| true);
            rule.refusals.note(context, service, own, now);
            let quota = rule.quota(0, refused.unwrap_or_default());
            context.client.quotas(std::slice::from_ref(&quota));
            return Err(Error::OverLimit { quota, after: refused });
        }
        if !quotas.is_empty() {
            context.client.quotas(&quotas);
        }
        Ok(Ticket((!charged.taken.is_empty()).then(|| Box::new(charged))))
    }

    /// What a call of a thousand tokens costs, in millionths.
    pub(crate) fn price_of(&self, service: &ServiceId, own: &str) -> u64 {
        let price = self.priced.get(self.priced_at(service, own).unwrap_or(usize::MAX));
        price.map_or(0, |price| price.call.saturating_add(price.thousand_tokens))
    }

    fn priced_at(&self, service: &ServiceId, own: &str) -> Option<usize> {
        self.priced.iter().position(|p| p.service.matches(service.as_str()) && p.tool.matches(own))
    }

    /// What a call costs for so many bytes of it, in millionths.
    fn price(&self, price: Option<usize>, bytes: usize, itself: bool) -> u64 {
        let Some(price) = price.and_then(|price| self.priced.get(price)) else { return 0 };
        let tokens = tokens(bytes).saturating_mul(price.thousand_tokens).div_ceil(1_000);
        tokens.saturating_add(if itself { price.call } else { 0 })
    }
}

impl Rule {
    fn quota(&self, left: u64, reset: Duration) -> Quota {
        let Rate { units, every, .. } = self.buckets.rate();
        Quota {
            policy: self.name.clone(),
            unit: self.measure.unit(),
            limit: units,
            window: every,
            left,
            reset,
        }
    }
}

impl Ticket {
    /// The call has been answered with so many bytes; by its service where `asked`.
    pub(crate) fn answered(self, bytes: usize, asked: bool) {
        let Some(charged) = self.0 else { return };
        let now = Instant::now();
        let limits = &charged.limits;
        for (index, key, _) in &charged.taken {
            let Some(rule) = limits.rules.get(*index) else { continue };
            let cost = match rule.measure {
                Measure::Calls => 0,
                Measure::Tokens => tokens(bytes),
                Measure::Bytes => count(bytes),
                Measure::Money if asked => limits.price(charged.price, bytes, false),
                Measure::Money => 0,
            };
            if cost > 0 {
                rule.buckets.debit(key, cost, now);
            }
        }
        if !asked {
            charged.give_back(|measure| measure == Measure::Money);
        }
    }
}

impl Charged {
    /// Gives back what was taken of some measures.
    fn give_back(&self, of: impl Fn(Measure) -> bool) {
        let now = Instant::now();
        for (index, key, cost) in &self.taken {
            if let Some(rule) = self.limits.rules.get(*index).filter(|rule| of(rule.measure)) {
                rule.buckets.give_back(key, *cost, now);
            }
        }
    }
}

/// The tokens of so many bytes of text, about.
fn tokens(bytes: usize) -> u64 {
    count(bytes.div_ceil(BYTES_A_TOKEN))
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What is limited, in words.
pub(crate) fn in_words(quota: &Quota) -> String {
    let every = quota.window;
    match quota.unit {
        "money-micros" => {
            let money = format!("{}.{:06}", quota.limit / MILLIONTHS, quota.limit % MILLIONTHS);
            format!("a cost of {} in {every:?}", money.trim_end_matches('0').trim_end_matches('.'))
        }
        "tokens" => format!("{} tokens in {every:?} (estimated: {BYTES_A_TOKEN} bytes each)", quota.limit),
        "content-bytes" => format!("{} bytes in {every:?}", quota.limit),
        _ => format!("{} calls in {every:?}", quota.limit),
    }
}

/// What a call counts for.
fn key(each: &[Each], context: &CallContext, service: &ServiceId, own: &str) -> String {
    let mut key = String::new();
    for each in each {
        // Writing to a String can't fail.
        let _ = match each {
            Each::Principal => writeln!(key, "{}", context.principal.id),
            Each::Service => writeln!(key, "{service}"),
            Each::Tool => writeln!(key, "{service}/{own}"),
            Each::Conversation => writeln!(key, "{}", context.conversation.as_deref().unwrap_or_default()),
        };
    }
    key
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use trunkline_model::{AskError, BoxFuture, Client, ClientFeatures, Principal, Question};

    use super::*;

    /// Remembers what it is told of limits.
    #[derive(Default)]
    struct Told(Mutex<Vec<Quota>>);

    impl Client for Told {
        fn features(&self) -> ClientFeatures {
            ClientFeatures::default()
        }

        fn quotas(&self, quotas: &[Quota]) {
            *self.0.lock() = quotas.to_vec();
        }

        fn ask<'a>(&'a self, question: Question) -> BoxFuture<'a, Result<Json, AskError>> {
            Box::pin(async move { Err(AskError::Unsupported(question.method)) })
        }
    }

    fn context(principal: &str) -> (CallContext, Arc<Told>) {
        let told = Arc::new(Told::default());
        let context = CallContext::unattended(Arc::new(Principal::api_key(principal)), Instant::now());
        (CallContext { client: told.clone(), ..context }, told)
    }

    fn limits(limits: serde_json::Value, prices: serde_json::Value) -> Arc<Limits> {
        let limits: Vec<Limit> = serde_json::from_value(limits).unwrap();
        Arc::new(Limits::new(&limits, &serde_json::from_value::<Vec<Price>>(prices).unwrap()))
    }

    fn arguments(bytes: usize) -> Json {
        Json::parse(format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8))).unwrap()
    }

    #[test]
    fn what_comes_back_is_debited_and_counts_for_the_next_call() {
        let limits = limits(
            serde_json::json!([{"name": "t", "each": ["principal"], "tokens": 100, "every_ms": 100_000}]),
            serde_json::json!([]),
        );
        let ((ada, told), (bob, _)) = (context("ada"), context("bob"));
        let take =
            |context: &CallContext, bytes| limits.take(context, &ServiceId::new("s"), "t", &arguments(bytes));
        take(&ada, 40).unwrap().answered(440, true);
        let refused = take(&ada, 40).err().map(|error| error.to_string());
        // 10 and 110 tokens of 100 are taken, and 10 more are wanted; one is earned a second.
        let refused = refused.unwrap();
        assert!(
            refused.contains("100 tokens") && refused.contains("29") || refused.contains("30"),
            "{refused}"
        );
        let quota = told.0.lock()[0].clone();
        assert_eq!((&*quota.policy, quota.unit, quota.limit, quota.left), ("t", "tokens", 100, 0));
        assert!(take(&bob, 40).is_ok());
        let never = take(&bob, 401).err();
        assert!(matches!(never, Some(Error::OverLimit { after: None, .. })));
    }

    #[test]
    fn what_one_limit_refuses_is_given_back_to_the_others() {
        let limits = limits(
            serde_json::json!([{"calls": 3, "every_ms": 3_600_000}, {"bytes": 100, "every_ms": 3_600_000}]),
            serde_json::json!([]),
        );
        let (ada, told) = context("ada");
        let take = |bytes| limits.take(&ada, &ServiceId::new("s"), "t", &arguments(bytes));
        for _ in 0..10 {
            assert!(take(101).is_err());
        }
        assert!(take(10).is_ok());
        let left: Vec<u64> = told.0.lock().iter().map(|quota| quota.left).collect();
        assert_eq!(left, [2, 90]);
    }

    #[test]
    fn money_is_what_the_tool_costs_and_not_what_was_kept() {
        let limits = limits(
            serde_json::json!([{"money": 1.0, "every_ms": 3_600_000}]),
            serde_json::json!([{"tool": "dear", "call": 0.4, "thousand_tokens": 1.0}]),
        );
        let (ada, told) = context("ada");
        let take = |tool| limits.take(&ada, &ServiceId::new("s"), tool, &Json::empty_object());
        // Kept answers cost nothing.
        for _ in 0..10 {
            take("dear").unwrap().answered(1_000, false);
        }
        take("cheap").unwrap().answered(1_000_000, true);
        take("dear").unwrap().answered(400, true);
        assert!(take("dear").is_ok());
        let error = take("dear").err().unwrap().to_string();
        assert!(error.contains("a cost of 1 in"), "{error}");
        assert_eq!(told.0.lock()[0].unit, "money-micros");
        // 0.4, 0.001 and 0.1 for the one, 0.4 and 0.001 for the other: too little is left for a third.
    }
}
