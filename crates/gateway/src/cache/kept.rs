//! An answer that is kept, ready to be given again without being read.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::value::RawValue;
use tokio::time::Instant;
use trunkline_model::{Freshness, Json, Operation, Served, ServedState, ToolResult, Validators};

use super::policy::Policy;

/// Where a result says that it was kept.
const MARK: &str = "dev.trunkline/cache";

/// An answer that is kept.
pub(crate) struct Kept {
    operation: Operation,
    /// What follows the mark within `_meta`, and the rest of the result.
    rest: Vec<u8>,
    public: bool,
    pub(super) validators: Option<Arc<Validators>>,
    /// What it depended on when it was asked for.
    pub(super) stamp: u64,
    stored: Instant,
    fresh: Duration,
    stale_while_revalidate: Duration,
    stale_if_error: Duration,
}

/// How an answer that is kept may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// As it is.
    Fresh,
    /// As it is, while a new one is fetched.
    Refresh,
    /// Where no new one can be had, or it has not changed.
    Ask,
}

impl Kept {
    /// Makes an answer ready to be kept. None where it may not be, or where there would be no use in it.
    pub(super) fn new(
        policy: &Policy,
        operation: Operation,
        result: &ToolResult,
        stamp: u64,
        now: Instant,
    ) -> Option<Self> {
        let said = result.freshness.as_deref().cloned().unwrap_or_default();
        if result.is_error || said.no_store || !result.body.is_object() {
            return None;
        }
        let timed = Self {
            operation,
            rest: Vec::new(),
            public: said.public,
            validators: said.validators.clone(),
            stamp,
            stored: now,
            fresh: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
        }
        .timed(policy, &said, now);
        let useful = timed.fresh > Duration::ZERO || timed.validators.is_some();
        if !useful {
            return None;
        }
        Some(Self { rest: rest(&result.body)?, ..timed })
    }

    /// The same answer, which the service says has not changed.
    pub(super) fn again(&self, policy: &Policy, said: &Freshness, stamp: u64, now: Instant) -> Self {
        Self {
            operation: self.operation,
            rest: self.rest.clone(),
            public: self.public,
            validators: said.validators.clone().or_else(|| self.validators.clone()),
            stamp,
            stored: now,
            ..*self
        }
        .timed(policy, said, now)
    }

    fn timed(mut self, policy: &Policy, said: &Freshness, now: Instant) -> Self {
        self.stored = now;
        self.fresh = said.fresh_for.unwrap_or(policy.ttl).min(policy.max_ttl);
        let stale = |said: Option<Duration>, usual: Duration| said.unwrap_or(usual).min(policy.max_ttl);
        self.stale_while_revalidate = stale(said.stale_while_revalidate, policy.stale_while_revalidate);
        self.stale_if_error = stale(said.stale_if_error, policy.stale_if_error);
        self
    }

    /// Whether the service says that everybody may have it.
    pub(super) fn is_public(&self) -> bool {
        self.public
    }

    /// The memory that it takes, about.
    pub(super) fn weight(&self) -> usize {
        self.rest.len() + 256
    }

    pub(super) fn usable(&self, now: Instant) -> Use {
        let age = now.saturating_duration_since(self.stored);
        if age < self.fresh {
            Use::Fresh
        } else if age < self.fresh + self.stale_while_revalidate {
            Use::Refresh
        } else {
            Use::Ask
        }
    }

    /// Whether it may be given where no new one can be had.
    pub(super) fn if_error(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.stored) < self.fresh + self.stale_if_error
    }

    /// The answer, which says of itself that it was kept. Nothing of it is read for that.
    pub(crate) fn result(&self, state: ServedState, now: Instant) -> ToolResult {
        let age = now.saturating_duration_since(self.stored);
        let fresh_for = self.fresh.saturating_sub(age);
        let mut body = Vec::with_capacity(self.rest.len() + 192);
        body.extend_from_slice(br#"{"resultType":"complete","#);
        // Writing to a Vec can't fail.
        if self.operation == Operation::ReadResource {
            let scope = if self.public { "public" } else { "private" };
            let _ = write!(body, r#""ttlMs":{},"cacheScope":"{scope}","#, fresh_for.as_millis());
        }
        let (name, age_ms) = (state.name(), age.as_millis());
        let _ = write!(body, r#""_meta":{{"{MARK}":{{"state":"{name}","ageMs":{age_ms}}}"#);
        body.extend_from_slice(&self.rest);
        let served = Served { state, age, fresh_for };
        ToolResult::raw(Json::joined(body), false)
            .fresh(Freshness { served: Some(served), ..Freshness::default() })
    }
}

/// What follows the mark: `,"other":…},"content":…}`. What is written anew is left out.
fn rest(body: &Json) -> Option<Vec<u8>> {
    let bytes = body.bytes();
    let members: IndexMap<String, &RawValue> = serde_json::from_slice(&bytes).ok()?;
    let meta: IndexMap<String, &RawValue> = match members.get("_meta") {
        Some(meta) => serde_json::from_str(meta.get()).ok()?,
        None => IndexMap::new(),
    };
    let mut out = Vec::with_capacity(body.len() + 8);
    let mut put = |name: &str, value: &RawValue| {
        out.push(b',');
        serde_json::to_writer(&mut out, name).ok()?;
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
        Some(())
    };
    for (name, value) in meta.iter().filter(|(name, _)| *name != MARK) {
        put(name, value)?;
    }
    let mut after = Vec::with_capacity(body.len() + 8);
    after.push(b'}');
    for (name, value) in &members {
        if !matches!(name.as_str(), "_meta" | "resultType" | "ttlMs" | "cacheScope") {
            after.push(b',');
            serde_json::to_writer(&mut after, name).ok()?;
            after.push(b':');
            after.extend_from_slice(value.get().as_bytes());
        }
    }
    after.push(b'}');
    out.extend_from_slice(&after);
    Some(out)
}
