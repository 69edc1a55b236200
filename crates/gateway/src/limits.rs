//! Limits on callers: so many calls in a while, for each principal, service, tool or conversation.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_model::{CallContext, Glob, ServiceId};
use trunkline_resilience::rate::{Limits as Buckets, Rate, Verdict};

use crate::Error;

/// The most callers, tools and so on that one limit tells apart at a time.
const MAX_KEYS: usize = 100_000;

/// What a limit counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Each {
    /// Who calls.
    Principal,
    /// The service.
    Service,
    /// The tool, with its service.
    Tool,
    /// The conversation; all calls without one count together.
    Conversation,
}

/// So many calls in a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Principals that it holds for, with `*` for any part. All where left out.
    #[serde(default = "any", skip_serializing_if = "is_any")]
    pub principal: String,
    /// Services that it holds for, with `*` for any part. All where left out.
    #[serde(default = "any", skip_serializing_if = "is_any")]
    pub service: String,
    /// The services' own names of tools that it holds for, with `*` for any part. All where left out.
    #[serde(default = "any", skip_serializing_if = "is_any")]
    pub tool: String,
    /// What is counted apart; all calls together where left out.
    #[serde(default)]
    pub each: Vec<Each>,
    /// Calls in the while.
    pub calls: u32,
    /// The while, in milliseconds.
    #[serde(default = "second")]
    pub every_ms: u64,
    /// Calls that may come at once after a time without any; as many as `calls` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

fn any() -> String {
    "*".to_owned()
}

fn is_any(pattern: &String) -> bool {
    pattern == "*"
}

fn second() -> u64 {
    1_000
}

/// The limits in force.
#[derive(Default)]
pub(crate) struct Limits(Vec<Rule>);

struct Rule {
    limit: Limit,
    principal: Glob,
    service: Glob,
    tool: Glob,
    buckets: Buckets,
}

impl Limits {
    /// Limits that have counted nothing yet.
    pub(crate) fn new(limits: &[Limit]) -> Self {
        let rule = |limit: &Limit| {
            let every = Duration::from_millis(limit.every_ms);
            let rate = Rate { units: limit.calls, every, burst: limit.burst.unwrap_or(limit.calls) };
            Rule {
                principal: Glob::new(&limit.principal),
                service: Glob::new(&limit.service),
                tool: Glob::new(&limit.tool),
                buckets: Buckets::new(rate, MAX_KEYS, Instant::now()),
                limit: limit.clone(),
            }
        };
        Self(limits.iter().map(rule).collect())
    }

    /// What is configured.
    pub(crate) fn config(&self) -> Vec<Limit> {
        self.0.iter().map(|rule| rule.limit.clone()).collect()
    }

    /// Takes a call into account.
    ///
    /// # Errors
    /// [`Error::OverLimit`] with the time after which there is room.
    pub(crate) fn take(&self, context: &CallContext, service: &ServiceId, own: &str) -> Result<(), Error> {
        for rule in &self.0 {
            let holds = rule.principal.matches(&context.principal.id)
                && rule.service.matches(service.as_str())
                && rule.tool.matches(own);
            if !holds {
                continue;
            }
            let key = key(&rule.limit.each, context, service, own);
            let after = match rule.buckets.take(&key, 1, Instant::now()) {
                Verdict::Taken { .. } => continue,
                Verdict::Denied { after } => after,
                Verdict::Never => Duration::from_millis(rule.limit.every_ms),
            };
            let every = Duration::from_millis(rule.limit.every_ms);
            return Err(Error::OverLimit { calls: rule.limit.calls, every, after });
        }
        Ok(())
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
