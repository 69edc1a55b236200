//! The service map: who was seen to call what, from calls and from spans that were received. Nothing is drawn that was not
//! seen.

mod draw;
mod group;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use trunkline_model::SpanId;

use crate::Telemetry;
use crate::call::{CallRecord, Ending};
use crate::metrics::histogram::as_float;
use crate::metrics::split;
use crate::span::{Span, Status};
pub use draw::mermaid;
pub use group::grouped;

/// The most edges and nodes.
const MAX_EDGES: usize = 4_000;

/// How many spans are remembered, so that their children find them.
const MAX_SPANS: usize = 50_000;

/// For so long after spans were received others are expected, in nanoseconds.
const RECEIVES: u64 = 600_000_000_000;

/// Calls are counted in slots of this many seconds, so many of them.
const SLOT: u64 = 10;
const SLOTS: usize = 30;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Who calls: an agent or program that sends spans of its own.
    Agent,
    /// Who calls: a principal.
    Principal,
    /// A door.
    Door,
    /// What flows call.
    Flows,
    /// A service of this gateway.
    Service,
    /// A service that was seen in spans only, behind one of ours.
    Beyond,
    /// Several that are drawn as one.
    Group,
}

/// A node: what it is, and its name.
pub(crate) type Node = (NodeKind, Arc<str>);

/// What went over an edge lately, and ever.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    slots: [Slot; SLOTS],
    total: u64,
    failed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    number: u64,
    calls: u64,
    failed: u64,
    took_ns: u64,
    longest_ns: u64,
}

/// What went over an edge in the last five minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    /// Calls.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls a second.
    pub rate: f64,
    /// The share that failed, from 0 to 1.
    pub error_share: f64,
    /// How long they took in the mean, in milliseconds.
    pub mean_ms: f64,
    /// How long the longest took, in milliseconds.
    pub max_ms: f64,
    /// Calls since the start.
    pub calls_ever: u64,
    /// Calls that failed since the start.
    pub errors_ever: u64,
}

impl Traffic {
    fn count(&mut self, now: u64, took_ns: u64, failed: bool) {
        let number = now / 1_000_000_000 / SLOT;
        let slot = &mut self.slots[usize::try_from(number).unwrap_or(0) % SLOTS];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.calls += 1;
        slot.failed += u64::from(failed);
        slot.took_ns += took_ns;
        slot.longest_ns = slot.longest_ns.max(took_ns);
        self.total += 1;
        self.failed += u64::from(failed);
    }

    /// What went over it in the last five minutes. `running` is how long there was anything to see, in seconds.
    fn seen(&self, now: u64, running: f64) -> Seen {
        let number = now / 1_000_000_000 / SLOT;
        let mut seen = Seen { calls_ever: self.total, errors_ever: self.failed, ..Seen::default() };
        let mut took = 0;
        let mut longest = 0;
        for slot in self.slots.iter().filter(|slot| slot.number + SLOTS as u64 > number) {
            seen.calls += slot.calls;
            seen.errors += slot.failed;
            took += slot.took_ns;
            longest = longest.max(slot.longest_ns);
        }
        seen.add_times(as_float(took), as_float(longest) / 1e6, running);
        seen
    }
}

impl Seen {
    fn add_times(&mut self, took_ns: f64, longest_ms: f64, running: f64) {
        let calls = as_float(self.calls);
        self.rate = calls / running;
        self.max_ms = longest_ms;
        if self.calls > 0 {
            self.error_share = as_float(self.errors) / calls;
            self.mean_ms = took_ns / 1e6 / calls;
        }
    }

    /// With what went over another edge that is drawn as the same.
    pub(crate) fn add(&mut self, other: &Self) {
        let calls = as_float(self.calls + other.calls);
        if calls > 0.0 {
            self.mean_ms =
                (self.mean_ms * as_float(self.calls) + other.mean_ms * as_float(other.calls)) / calls;
            self.error_share = as_float(self.errors + other.errors) / calls;
        }
        self.calls += other.calls;
        self.errors += other.errors;
        self.rate += other.rate;
        self.max_ms = self.max_ms.max(other.max_ms);
        self.calls_ever += other.calls_ever;
        self.errors_ever += other.errors_ever;
    }
}

/// What was seen.
#[derive(Default)]
pub struct Map {
    edges: HashMap<(Node, Node), Traffic>,
    /// The node that a span belongs to.
    spans: HashMap<SpanId, Node>,
    order: VecDeque<SpanId>,
    /// Spans whose parents have not been seen: by the parent.
    orphans: HashMap<SpanId, Vec<Orphan>>,
    orphaned: VecDeque<SpanId>,
    /// The services that a name in spans was seen to be.
    names: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    began: u64,
    now: u64,
    /// When spans were last received.
    received: u64,
}

#[derive(Clone)]
struct Orphan {
    node: Node,
    time: u64,
    took: u64,
    failed: bool,
}

impl Map {
    pub(crate) fn tick(&mut self, now: u64) {
        if self.began == 0 {
            self.began = now;
        }
        self.now = self.now.max(now);
    }

    /// A call was made. Its spans are remembered where it is kept, or where others send theirs.
    pub(crate) fn called_at(&mut self, record: &CallRecord, now: u64, kept: bool) {
        self.tick(now);
        let remembers = kept || (self.received > 0 && now - self.received.min(now) < RECEIVES);
        // A tool's own error, and what a caller is refused, are no failures of anyone on the way.
        let failed = record.ending == Ending::Failed;
        let door = match record.door {
            "flow" => (NodeKind::Flows, Arc::from("flows")),
            "" => return,
            door => (NodeKind::Door, Arc::from(door)),
        };
        if door.0 == NodeKind::Door {
            let who = (NodeKind::Principal, record.principal.id.clone());
            self.count(who.clone(), door.clone(), now, record.took, failed);
            if let Some(parent) = record.parent.filter(|_| remembers) {
                self.child(parent, Orphan { node: who, time: now, took: record.took, failed });
            }
        }
        if !record.known {
            return;
        }
        let (service, _) = split(&record.target);
        let service: Node = match service {
            "flows" => (NodeKind::Flows, Arc::from("flows")),
            service => (NodeKind::Service, Arc::from(service)),
        };
        if door.0 != NodeKind::Flows || service.0 != NodeKind::Flows {
            self.count(door, service.clone(), now, record.took, failed);
        }
        if !remembers {
            return;
        }
        let attempts = record.attempts.lock();
        for attempt in attempts.iter() {
            self.remember(attempt.span, service.clone());
        }
    }

    pub(crate) fn received_at(&mut self, spans: &[Span], now: u64) {
        self.tick(now);
        self.received = now;
        for span in spans {
            let node = (NodeKind::Beyond, span.service.clone());
            let failed = span.status == Status::Error;
            if let Some(parent) = span.parent {
                let orphan = Orphan { node: node.clone(), time: now, took: span.took(), failed };
                self.child(parent, orphan);
            }
            if let Some(database) = span.text("db.system").or_else(|| span.text("db.system.name")) {
                let database = (NodeKind::Beyond, Arc::from(database));
                self.count(node.clone(), database, now, span.took(), failed);
            }
            self.remember(span.id, node);
        }
    }

    /// Something happened on behalf of a span, which may not have been seen yet.
    fn child(&mut self, parent: SpanId, orphan: Orphan) {
        if let Some(above) = self.spans.get(&parent).cloned() {
            self.join(above, orphan);
            return;
        }
        let waiting = self.orphans.entry(parent).or_default();
        if waiting.is_empty() {
            self.orphaned.push_back(parent);
        }
        if waiting.len() < 64 {
            waiting.push(orphan);
        }
        if self.orphaned.len() > MAX_SPANS
            && let Some(oldest) = self.orphaned.pop_front()
        {
            self.orphans.remove(&oldest);
        }
    }

    fn join(&mut self, above: Node, orphan: Orphan) {
        let Orphan { node, time, took, failed } = orphan;
        match (above.0, node.0) {
            // What answers an attempt at a service of ours is that service, by the name it gives itself.
            (NodeKind::Service, NodeKind::Beyond) if self.names.len() < MAX_EDGES => {
                self.names.entry(node.1).or_default().insert(above.1);
            }
            (NodeKind::Service, NodeKind::Beyond) => {}
            (NodeKind::Beyond, NodeKind::Principal) => {
                self.count((NodeKind::Agent, above.1), node, time, took, failed);
            }
            _ if above != node => self.count(above, node, time, took, failed),
            _ => {}
        }
    }

    fn remember(&mut self, span: SpanId, node: Node) {
        if self.spans.insert(span, node.clone()).is_none() {
            self.order.push_back(span);
        }
        if self.order.len() > MAX_SPANS
            && let Some(oldest) = self.order.pop_front()
        {
            self.spans.remove(&oldest);
        }
        if let Some(orphans) = self.orphans.remove(&span) {
            orphans.into_iter().for_each(|orphan| self.join(node.clone(), orphan));
        }
    }

    fn count(&mut self, from: Node, to: Node, now: u64, took: u64, failed: bool) {
        let full = self.edges.len() >= MAX_EDGES;
        let key = (from, to);
        if !full || self.edges.contains_key(&key) {
            self.edges.entry(key).or_default().count(now, took, failed);
        }
    }

    /// The node that is drawn for one that was seen.
    fn drawn(&self, node: &Node) -> Node {
        if node.0 == NodeKind::Beyond
            && let Some(services) = self.names.get(&node.1)
            && let (Some(service), 1) = (services.first(), services.len())
        {
            return (NodeKind::Service, service.clone());
        }
        node.clone()
    }

    fn edges(&self) -> BTreeMap<(Node, Node), Seen> {
        let running = as_float(self.now.saturating_sub(self.began)) / 1e9;
        let running = running.clamp(1.0, as_float(SLOT * SLOTS as u64));
        let mut edges: BTreeMap<(Node, Node), Seen> = BTreeMap::new();
        for ((from, to), traffic) in &self.edges {
            let key = (self.drawn(from), self.drawn(to));
            if key.0 != key.1 {
                edges.entry(key).or_default().add(&traffic.seen(self.now, running));
            }
        }
        edges
    }
}

/// A node as it is drawn.
#[derive(Clone, Debug, Serialize)]
pub struct Drawn {
    /// Its identity: the same as long as it is the same.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// Its name.
    pub name: String,
    /// In which column it stands: callers in 0, doors in 1, flows in 2, services in 3, what is beyond in 4.
    pub column: usize,
    /// `up`, `starting` or `down`, where it is a service of ours.
    pub state: Option<String>,
    /// What is wrong with it.
    pub cause: Option<String>,
    /// Its tools whose breakers are not closed.
    pub breakers: Vec<(String, String)>,
    /// What it speaks.
    pub protocol: Option<String>,
    /// What it calls itself in its own spans.
    pub also: Vec<String>,
    /// How it is: `good`, `bad` or `idle`.
    pub health: &'static str,
    /// What was asked of it.
    pub seen: Seen,
    /// Those that it stands for, where it is a group.
    pub members: Vec<String>,
}

/// An edge as it is drawn.
#[derive(Clone, Debug, Serialize)]
pub struct Edge {
    /// The identity of the node that calls.
    pub from: String,
    /// The identity of the node that is called.
    pub to: String,
    /// What went over it.
    #[serde(flatten)]
    pub seen: Seen,
}

/// The map.
#[derive(Clone, Debug, Serialize)]
pub struct Picture {
    /// The nodes, column by column, in the order of their names.
    pub nodes: Vec<Drawn>,
    /// The edges.
    pub edges: Vec<Edge>,
    /// Over how many seconds `calls`, `rate` and times are.
    pub window_s: u64,
    /// Whether several nodes are drawn as one.
    pub grouped: bool,
}

impl Picture {
    /// The map without other callers than this principal.
    #[must_use]
    pub fn without_callers(mut self, but: &str) -> Self {
        let hidden =
            |node: &Drawn| node.column == 0 && !(node.kind == NodeKind::Principal && node.name == but);
        let ids: BTreeSet<String> =
            self.nodes.iter().filter(|node| hidden(node)).map(|node| node.id.clone()).collect();
        self.nodes.retain(|node| !ids.contains(&node.id));
        self.edges.retain(|edge| !ids.contains(&edge.from) && !ids.contains(&edge.to));
        self
    }
}

/// The identity of a node.
pub(crate) fn id_of(node: &Node) -> String {
    let kind = match node.0 {
        NodeKind::Agent => "agent",
        NodeKind::Principal => "principal",
        NodeKind::Door => "door",
        NodeKind::Flows => "flows",
        NodeKind::Service => "service",
        NodeKind::Beyond => "beyond",
        NodeKind::Group => "group",
    };
    format!("{kind}:{}", node.1)
}

/// The map as it is now, every node by itself.
#[must_use]
pub fn picture(telemetry: &Telemetry) -> Picture {
    let facts = telemetry.services();
    let now = telemetry.clock().now();
    let (edges, names) = {
        let mut map = telemetry.map().lock();
        map.tick(now);
        (map.edges(), map.names.clone())
    };
    let mut asked: BTreeMap<Node, Seen> = BTreeMap::new();
    for ((from, to), seen) in &edges {
        asked.entry(from.clone()).or_default();
        asked.entry(to.clone()).or_default().add(seen);
    }
    for fact in &facts {
        asked.entry((NodeKind::Service, Arc::from(&*fact.id))).or_default();
    }
    let mut nodes: Vec<Drawn> = Vec::with_capacity(asked.len());
    for (node, seen) in asked {
        let fact = facts.iter().find(|fact| node.0 == NodeKind::Service && *fact.id == *node.1);
        let also = names.iter().filter(|(_, services)| services.contains(&node.1) && services.len() == 1);
        let bad = fact.is_some_and(|fact| fact.state == "down" || !fact.breakers.is_empty())
            || (seen.calls > 0 && seen.error_share >= 0.05);
        nodes.push(Drawn {
            id: id_of(&node),
            column: column(node.0),
            kind: node.0,
            name: node.1.to_string(),
            state: fact.map(|fact| fact.state.clone()),
            cause: fact.and_then(|fact| fact.cause.clone()),
            breakers: fact.map(|fact| fact.breakers.clone()).unwrap_or_default(),
            protocol: fact.map(|fact| fact.protocol.clone()),
            also: also.filter(|_| node.0 == NodeKind::Service).map(|(name, _)| name.to_string()).collect(),
            health: match (bad, seen.calls) {
                (true, _) => "bad",
                (false, 0) => "idle",
                _ => "good",
            },
            seen,
            members: Vec::new(),
        });
    }
    nodes.sort_by(|a, b| (a.column, &a.name).cmp(&(b.column, &b.name)));
    let edges = edges.into_iter().map(|((from, to), seen)| Edge { from: id_of(&from), to: id_of(&to), seen });
    Picture { nodes, edges: edges.collect(), window_s: SLOT * SLOTS as u64, grouped: false }
}

fn column(kind: NodeKind) -> usize {
    match kind {
        NodeKind::Agent | NodeKind::Principal => 0,
        NodeKind::Door => 1,
        NodeKind::Flows => 2,
        NodeKind::Service | NodeKind::Group => 3,
        NodeKind::Beyond => 4,
    }
}
