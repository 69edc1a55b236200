//! Limits as they are looked at: what is used by whom, and who was refused.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;
use trunkline_model::{CallContext, ServiceId};
use trunkline_resilience::rate::Rate;
use utoipa::ToSchema;

use super::config::Each;
use super::{Limits, Rule};

/// How many of those who used most are shown of one limit.
const SHOWN: usize = 100;

/// How many refusals are remembered of one limit.
const REMEMBERED: usize = 20;

/// A limit and what was counted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Counted {
    /// Its name.
    name: String,
    /// For which principals it holds.
    principal: String,
    /// For which services.
    service: String,
    /// For which tools.
    tool: String,
    /// What has a count of its own: `principal`, `service`, `tool`, `conversation`; one count for all where empty.
    #[schema(value_type = Vec<String>)]
    each: Vec<Each>,
    /// What is counted: `requests`, `content-bytes`, `tokens`, `money-micros`.
    unit: &'static str,
    /// Units in the while.
    limit: u64,
    /// The while, in milliseconds.
    window_ms: u64,
    /// Units that can be used at once.
    burst: u64,
    /// Those who used some that are not back yet, the most used first: 100 at most.
    used_by: Vec<Used>,
    /// How many more there are.
    left_out: usize,
    /// Calls it refused since it is in force.
    refused: u64,
    /// The last of them, the newest first.
    last_refused: Vec<Refusal>,
}

/// What one has used of a limit.
#[derive(Debug, Serialize, ToSchema)]
struct Used {
    /// Who or what, in the order of `each`.
    key: Vec<String>,
    /// Units used; more than the burst where a call cost more than was known before it.
    used: u64,
    /// Units left.
    left: u64,
    /// When there is room for one unit, in milliseconds.
    free_ms: u64,
    /// When all are back, in milliseconds.
    full_ms: u64,
}

/// A call that was refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Refusal {
    /// How long ago, in milliseconds.
    ago_ms: u64,
    /// Who called.
    principal: String,
    /// What: `service/tool`.
    target: String,
}

/// The refusals of one limit.
#[derive(Default)]
pub(super) struct Refusals {
    count: AtomicU64,
    last: Mutex<VecDeque<(Instant, Arc<str>, String)>>,
}

impl Refusals {
    pub(super) fn note(&self, context: &CallContext, service: &ServiceId, own: &str, now: Instant) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock();
        last.truncate(REMEMBERED - 1);
        last.push_front((now, context.principal.id.clone(), format!("{service}/{own}")));
    }

    fn last(&self, own: Option<&str>, now: Instant) -> Vec<Refusal> {
        let last = self.last.lock();
        let shown = last.iter().filter(|(_, principal, _)| own.is_none_or(|own| own == &**principal));
        let refusal = |(at, principal, target): &(Instant, Arc<str>, String)| Refusal {
            ago_ms: millis(now.saturating_duration_since(*at)),
            principal: principal.to_string(),
            target: target.clone(),
        };
        shown.map(refusal).collect()
    }
}

impl Limits {
    /// Every limit with what is used of it: by all, or by the principal `own` alone.
    pub(crate) fn counted(&self, own: Option<&str>, now: Instant) -> Vec<Counted> {
        self.rules
            .iter()
            .zip(&self.config)
            .map(|(rule, limit)| {
                let Rate { units, every, burst } = rule.buckets.rate();
                let (used_by, left_out) = used(rule, own, now);
                Counted {
                    name: rule.name.to_string(),
                    principal: limit.principal.clone(),
                    service: limit.service.clone(),
                    tool: limit.tool.clone(),
                    each: rule.each.clone(),
                    unit: rule.measure.unit(),
                    limit: units,
                    window_ms: millis(every),
                    burst,
                    used_by,
                    left_out,
                    refused: if own.is_none() { rule.refusals.count.load(Ordering::Relaxed) } else { 0 },
                    last_refused: rule.refusals.last(own, now),
                }
            })
            .collect()
    }
}

fn used(rule: &Rule, own: Option<&str>, now: Instant) -> (Vec<Used>, usize) {
    let at = rule.each.iter().position(|each| *each == Each::Principal);
    let mine = |key: &str| match (own, at) {
        (Some(own), Some(at)) => key.split('\n').nth(at) == Some(own),
        // What counts for nobody in particular is told to every caller in its headers.
        _ => true,
    };
    let (used, all) = rule.buckets.used(SHOWN, now, mine);
    let shown = used.into_iter().map(|used| Used {
        key: used.key.lines().map(str::to_owned).collect(),
        used: used.used,
        left: used.left,
        free_ms: millis(used.free),
        full_ms: millis(used.full),
    });
    let shown: Vec<Used> = shown.collect();
    let left_out = all - shown.len();
    (shown, left_out)
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
