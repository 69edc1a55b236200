//! Answers that are kept: of tools and resources that only read, by what was asked, for whom.
//!
//! An answer belongs to its principal unless the operator or its service says that it is public. Equal calls at the same
//! time are one. What makes answers out of date is in [`policy`]; how a call goes through all this, in
//! `pipeline/kept.rs`.

mod canonical;
mod config;
mod kept;
mod policy;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache as Store;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_model::{
    CallContext, Failure, Freshness, Json, Operation, Principal, ServiceId, ToolResult, Validators,
};

pub(crate) use canonical::canonical;
pub use config::{CacheConfig, CacheRule, Scope, ServiceCache, WriteRule};
pub(crate) use kept::Kept;
use kept::Use;
pub(crate) use policy::Touch;
use policy::{Policies, Policy};

/// The size of answers that is reckoned with.
const USUAL: u64 = 4_096;

/// The share of the memory that is for knowing arguments again.
const FOR_ARGUMENTS: u64 = 16;

/// The largest arguments that are known again, in bytes.
const MAX_ARGUMENTS: usize = 64 << 10;

/// The answers that are kept.
pub(crate) struct Cache {
    state: ArcSwap<State>,
    flights: Arc<Mutex<Flights>>,
}

/// What is replaced as a whole with the configuration.
struct State {
    config: CacheConfig,
    policies: Policies,
    answers: Store<Key, Arc<Kept>, Weight>,
    /// Arguments as they came, by tool, and their one form: those only that fit the tool's schema.
    arguments: Store<Asked, Bytes, Weight>,
}

type Flights = HashMap<Key, watch::Receiver<Option<Landed>>>;

/// What an answer answers.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    asked: Asked,
    who: Who,
}

/// What is asked: the tool or resource, and arguments.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Asked {
    operation: Operation,
    label: Arc<str>,
    arguments: Bytes,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Who {
    Anyone,
    Principal(Arc<Principal>),
    Conversation(Arc<Principal>, Option<Arc<str>>),
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Arc<Kept>> for Weight {
    fn weight(&self, key: &Key, kept: &Arc<Kept>) -> u64 {
        u64::try_from(kept.weight() + key.asked.arguments.len()).unwrap_or(u64::MAX)
    }
}

impl Weighter<Asked, Bytes> for Weight {
    fn weight(&self, asked: &Asked, form: &Bytes) -> u64 {
        u64::try_from(asked.arguments.len() + form.len() + 128).unwrap_or(u64::MAX)
    }
}

/// How a call to a tool or resource may be answered from what is kept.
pub(crate) struct Lookup {
    state: Arc<State>,
    policy: Arc<Policy>,
    asked: Asked,
    /// The arguments are known in their one form: they fit the tool's schema.
    known: bool,
}

/// What is kept for a call.
pub(crate) enum Found {
    /// It may be given.
    Fresh(Arc<Kept>),
    /// It may be given, and a new one has to be fetched.
    Refresh(Arc<Kept>),
    /// The service has to be asked; it may say that this one is still right, or there may be nothing else to give.
    Ask(Option<Arc<Kept>>),
}

/// What a flight has come to.
#[derive(Clone)]
pub(crate) enum Landed {
    /// An answer that is kept.
    Kept(Arc<Kept>),
    /// The call failed.
    Failed(Box<Failure>),
    /// Its answer is for its own caller.
    Alone,
}

/// Of equal calls at the same time, one is made.
pub(crate) enum Joined {
    /// This one.
    Lead(Lead),
    /// Another, which is under way.
    Follow(watch::Receiver<Option<Landed>>),
}

/// A call that others wait for. Dropped without having landed, it is another's turn.
pub(crate) struct Lead {
    flights: Arc<Mutex<Flights>>,
    key: Key,
    landed: watch::Sender<Option<Landed>>,
    /// What the answer will depend on.
    stamp: u64,
}

impl State {
    fn new(config: CacheConfig, services: HashMap<ServiceId, ServiceCache>) -> Self {
        let bytes = config.max_mb.clamp(1, 1 << 20) << 20;
        let for_arguments = bytes / FOR_ARGUMENTS;
        let items = |bytes: u64, each: u64| usize::try_from(bytes / each).unwrap_or(usize::MAX);
        let for_answers = bytes - for_arguments;
        Self {
            config,
            policies: Policies::new(services),
            answers: Store::with_weighter(items(for_answers, USUAL), for_answers, Weight),
            arguments: Store::with_weighter(items(for_arguments, USUAL / 8), for_arguments, Weight),
        }
    }
}

impl Cache {
    /// Keeps nothing.
    /// How many answers are kept, and their bytes.
    pub(crate) fn size(&self) -> (usize, u64) {
        let state = self.state.load();
        (state.answers.len(), state.answers.weight())
    }

    pub(crate) fn new() -> Self {
        let state = State::new(CacheConfig { max_mb: 1 }, HashMap::new());
        Self { state: ArcSwap::from_pointee(state), flights: Arc::default() }
    }

    /// Puts another configuration in force. What was kept under the old one is gone.
    pub(crate) fn configure(&self, config: CacheConfig, services: HashMap<ServiceId, ServiceCache>) {
        let state = self.state.load();
        if state.config != config || *state.policies.config() != services {
            self.state.store(Arc::new(State::new(config, services)));
        }
    }

    /// How a call may be answered from what is kept; none where its answer isn't.
    pub(crate) fn look(
        &self,
        operation: Operation,
        service: &ServiceId,
        own: &str,
        label: &Arc<str>,
        arguments: &Json,
    ) -> Option<Lookup> {
        let state = self.state.load();
        let policy = state.policies.of(operation, service, own, label)?;
        let given = match operation {
            Operation::CallTool => arguments.bytes(),
            // The URI is all that is asked.
            _ => Bytes::new(),
        };
        let raw = Asked { operation, label: label.clone(), arguments: given };
        let form = if operation == Operation::CallTool { state.arguments.get(&raw) } else { None };
        let known = form.is_some();
        let asked = Asked { arguments: form.unwrap_or_else(|| raw.arguments.clone()), ..raw };
        Some(Lookup { state: state.clone(), policy, asked, known })
    }

    /// What a call that may change something makes out of date once it has ended.
    pub(crate) fn touched(&self, service: &ServiceId, own: &str) -> Option<Touch> {
        self.state.load().policies.touched(service, own)
    }

    /// The lists of a service have changed.
    pub(crate) fn contents_changed(&self, service: &ServiceId) {
        let state = self.state.load();
        state.policies.contents_changed(service);
        // Another schema may refuse what this one took.
        state.arguments.clear();
    }

    /// A resource of a service has changed.
    pub(crate) fn resource_updated(&self, service: &ServiceId) {
        self.state.load().policies.resource_updated(service);
    }

    /// Leads the calls that equal this one, or follows the one that does.
    pub(crate) fn join(&self, lookup: &Lookup, context: &CallContext) -> Joined {
        let key = lookup.key(context);
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&key) {
            return Joined::Follow(flight.clone());
        }
        let (landed, flight) = watch::channel(None);
        flights.insert(key.clone(), flight);
        Joined::Lead(Lead { flights: self.flights.clone(), key, landed, stamp: lookup.policy.stamp() })
    }
}

impl Lookup {
    /// Whether the arguments are known to fit the tool's schema.
    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    /// The arguments fit the tool's schema: they are known from now on.
    pub(crate) fn fits(&mut self) {
        if self.known || self.asked.operation != Operation::CallTool {
            return;
        }
        let given = self.asked.arguments.clone();
        let form = Json::parse(given.clone()).ok().and_then(|json| canonical(&json));
        // Of its own: what came is a part of a whole request.
        let form = form.map_or_else(|| Bytes::copy_from_slice(&given), Bytes::from);
        if given.len() <= MAX_ARGUMENTS {
            let raw = Asked { arguments: Bytes::copy_from_slice(&given), ..self.asked.clone() };
            self.state.arguments.insert(raw, form.clone());
        }
        self.asked.arguments = form;
        self.known = true;
    }

    /// What is kept.
    pub(crate) fn find(&self, context: &CallContext, now: Instant) -> Found {
        let own = self.state.answers.get(&self.key(context));
        let found = own.or_else(|| {
            let shared = self.policy.scope == Scope::Declared;
            shared.then(|| self.state.answers.get(&self.public_key())).flatten()
        });
        let Some(kept) = found else { return Found::Ask(None) };
        if kept.stamp != self.policy.stamp() {
            // Something has changed. The service may say that this has not; it is not given otherwise.
            return Found::Ask(Some(kept).filter(|kept| kept.validators.is_some()));
        }
        match kept.usable(now) {
            Use::Fresh => Found::Fresh(kept),
            Use::Refresh => Found::Refresh(kept),
            Use::Ask => Found::Ask(Some(kept)),
        }
    }

    /// Whether answers of this tool turned out not to be kept: then nobody waits for another's.
    pub(crate) fn passes(&self) -> bool {
        self.policy.passes.load(Ordering::Relaxed)
    }

    /// Whether what is kept may be given where no new answer can be had.
    pub(crate) fn instead(&self, kept: &Kept, failure: &Failure, now: Instant) -> bool {
        let failed = failure.fault != trunkline_model::Fault::Caller && failure.rpc.is_none();
        failed && kept.stamp == self.policy.stamp() && kept.if_error(now)
    }

    /// Keeps an answer, where it may be kept.
    pub(crate) fn keep(&self, lead: &Lead, result: &ToolResult, now: Instant) -> Option<Arc<Kept>> {
        let kept = Kept::new(&self.policy, self.asked.operation, result, lead.stamp, now);
        if !result.is_error {
            self.policy.passes.store(kept.is_none(), Ordering::Relaxed);
        }
        kept.map(|kept| self.put(lead, kept))
    }

    /// Keeps an answer on, which the service says has not changed.
    pub(crate) fn keep_on(&self, lead: &Lead, kept: &Kept, said: &Freshness, now: Instant) -> Arc<Kept> {
        self.put(lead, kept.again(&self.policy, said, lead.stamp, now))
    }

    fn put(&self, lead: &Lead, kept: Kept) -> Arc<Kept> {
        let kept = Arc::new(kept);
        let public = self.policy.scope == Scope::Declared && kept.is_public();
        let key = if public { self.public_key() } else { lead.key.clone() };
        self.state.answers.insert(key, kept.clone());
        kept
    }

    fn key(&self, context: &CallContext) -> Key {
        let principal = || context.principal.clone();
        let who = match self.policy.scope {
            Scope::Public => Who::Anyone,
            Scope::Declared | Scope::Private => Who::Principal(principal()),
            Scope::Conversation => Who::Conversation(principal(), context.conversation.clone()),
        };
        Key { asked: self.asked.clone(), who }
    }

    fn public_key(&self) -> Key {
        Key { asked: self.asked.clone(), who: Who::Anyone }
    }
}

impl Kept {
    /// By what the service knows it again.
    pub(crate) fn known_by(&self) -> Option<Arc<Validators>> {
        self.validators.clone()
    }
}

impl Lead {
    /// The call has ended. Others that wait for it hear what it has come to.
    pub(crate) fn land(self, landed: Landed) {
        self.flights.lock().remove(&self.key);
        self.landed.send_replace(Some(landed));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        // Where it has landed, another may be under way already.
        if flights.get(&self.key).is_some_and(|flight| flight.same_channel(&self.landed.subscribe())) {
            flights.remove(&self.key);
        }
    }
}
