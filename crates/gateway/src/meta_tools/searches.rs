//! What was searched for before a tool was called: what the search learns from.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use trunkline_model::{CallContext, Outcome};

/// How long after a search a call is taken for what was searched.
const SOON: Duration = Duration::from_secs(600);

/// The most searches of one caller that are remembered.
const MOST_OF_CALLER: usize = 4;

/// The most callers that are remembered.
const MOST_CALLERS: usize = 4_096;

/// The longest request that is learned from, in bytes: what is longer is no request but a document.
const LONGEST: usize = 1_024;

/// The searches that no call has followed yet, by caller.
#[derive(Default)]
pub(crate) struct Searches {
    /// How many callers there are, so that a call without a search before it takes no lock.
    callers: AtomicUsize,
    asked: Mutex<HashMap<Arc<str>, VecDeque<Asked>>>,
}

struct Asked {
    request: Arc<str>,
    found: Vec<Arc<str>>,
    at: Instant,
}

impl Searches {
    /// A caller has searched, and was told of these tools.
    pub(crate) fn asked(&self, context: &CallContext, request: &str, found: impl Iterator<Item = Arc<str>>) {
        let request = request.trim();
        if request.is_empty() || request.len() > LONGEST {
            return;
        }
        let now = Instant::now();
        let new = Asked { request: Arc::from(request), found: found.collect(), at: now };
        let mut asked = self.asked.lock();
        if asked.len() >= MOST_CALLERS {
            asked.retain(|_, of_caller| of_caller.back().is_some_and(|last| now - last.at < SOON));
        }
        if asked.len() >= MOST_CALLERS {
            asked.clear();
        }
        let of_caller = asked.entry(caller(context)).or_default();
        of_caller.retain(|before| now - before.at < SOON && before.request != new.request);
        of_caller.truncate(MOST_OF_CALLER - 1);
        of_caller.push_front(new);
        self.callers.store(asked.len(), Ordering::Relaxed);
    }

    /// A tool has done what it was called for. Gives the requests that it has met: the latest search that told of it, and those
    /// before that found nothing that was called.
    pub(crate) fn met(&self, context: &CallContext, tool: &str, outcome: &Outcome) -> Vec<Arc<str>> {
        if self.callers.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        if !matches!(outcome, Outcome::Complete(result) if !result.is_error) {
            return Vec::new();
        }
        let now = Instant::now();
        let mut asked = self.asked.lock();
        let caller = caller(context);
        let Some(of_caller) = asked.get_mut(&caller) else { return Vec::new() };
        let told = |one: &Asked| one.found.iter().any(|found| **found == *tool);
        let Some(latest) = of_caller.iter().position(told) else { return Vec::new() };
        let met = of_caller.drain(latest..).filter(|one| now - one.at < SOON);
        let met = met.map(|one| one.request).collect();
        if of_caller.is_empty() {
            asked.remove(&caller);
        }
        self.callers.store(asked.len(), Ordering::Relaxed);
        met
    }
}

/// Who asks: a conversation, or who has none the principal.
fn caller(context: &CallContext) -> Arc<str> {
    context.conversation.clone().unwrap_or_else(|| context.principal.id.clone())
}
