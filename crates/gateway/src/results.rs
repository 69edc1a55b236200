//! Whole answers of which a caller was given a part: kept for a while, so that nothing is lost by it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use trunkline_model::{Json, Principal};
use uuid::Uuid;

/// How long one is kept.
const KEPT: Duration = Duration::from_secs(3_600);

/// The most bytes of all; the oldest go first.
const MOST_BYTES: usize = 64 << 20;

/// The answers, the oldest first.
#[derive(Default)]
pub(crate) struct Results(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    bytes: usize,
    all: VecDeque<One>,
}

struct One {
    handle: String,
    principal: Arc<str>,
    body: Json,
    since: Instant,
}

impl Results {
    /// Keeps an answer. Gives its handle, that only this principal can use.
    pub(crate) fn keep(&self, id: &Uuid, principal: &Principal, body: &Json) -> String {
        let handle = format!("r-{}", &id.simple().to_string()[..16]);
        let now = Instant::now();
        let mut kept = self.0.lock();
        kept.bytes += body.len();
        let principal = principal.id.clone();
        kept.all.push_back(One { handle: handle.clone(), principal, body: body.clone(), since: now });
        while kept.all.len() > 1
            && (kept.bytes > MOST_BYTES || kept.all.front().is_some_and(|one| now - one.since > KEPT))
        {
            let gone = kept.all.pop_front();
            kept.bytes -= gone.map_or(0, |one| one.body.len());
        }
        handle
    }

    /// The answer of a handle, where it is kept for this principal.
    pub(crate) fn find(&self, handle: &str, principal: &Principal) -> Option<Json> {
        let kept = self.0.lock();
        let one = kept.all.iter().rev().find(|one| one.handle == handle && one.principal == principal.id)?;
        (one.since.elapsed() <= KEPT).then(|| one.body.clone())
    }
}
