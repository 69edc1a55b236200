//! The catalogue: every tool, prompt and resource of every service under its advertised name.
//!
//! The advertised name is a view. It is made from the service's name and the tool's own name alone, so it stays the
//! same when another service is added; policy, limits and the record use the binding (service, own name).

mod entries;
mod items;
mod near;
mod snapshot;

use std::sync::Arc;

use arc_swap::ArcSwap;
use indexmap::IndexMap;
use parking_lot::RwLock;
use trunkline_model::{Service, ServiceId};

use crate::discover::About;
use crate::search::{Encoded, Hit, Nearness, SearchIndex, told};
pub use entries::{ItemEntry, ToolEntry};
pub use items::ItemKind;
use items::Items;
pub use snapshot::Snapshot;

/// How the tools and prompts of a service are named to callers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// `service__tool`: never clashes.
    #[default]
    Qualified,
    /// The tool's own name. Where two services claim the same name, the one that comes first in the configuration
    /// has it, and the other is found under its qualified name.
    Plain,
}

/// Which lists are no longer as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The tools.
    pub tools: bool,
    /// The prompts.
    pub prompts: bool,
    /// The resources or resource templates.
    pub resources: bool,
}

fn listed(items: &IndexMap<Arc<str>, ItemEntry>) -> impl Iterator<Item = &trunkline_model::Json> {
    items.values().map(|item| &item.listed)
}

/// A service in the catalogue.
#[derive(Clone)]
pub struct Registered {
    /// The service.
    pub service: Arc<dyn Service>,
    /// How its tools are named.
    pub names: Names,
    /// What else is known of it.
    pub about: Arc<About>,
}

/// Tools that have no vector of a stronger encoder yet.
#[derive(Debug)]
pub struct Lacking {
    generation: u64,
    names: Vec<Arc<str>>,
    /// What each says of itself.
    pub texts: Vec<String>,
}

/// The catalogue. Readers take a snapshot and never wait.
pub struct Catalog {
    services: ArcSwap<IndexMap<ServiceId, Registered>>,
    snapshot: ArcSwap<Snapshot>,
    rebuild: parking_lot::Mutex<u64>,
    search: RwLock<SearchIndex>,
    items: RwLock<Items>,
}

impl Catalog {
    /// An empty catalogue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            services: ArcSwap::default(),
            snapshot: ArcSwap::default(),
            rebuild: parking_lot::Mutex::new(0),
            search: RwLock::default(),
            items: RwLock::default(),
        }
    }

    /// Replaces the set of services, in the order of the configuration.
    pub fn set_services(&self, services: IndexMap<ServiceId, Registered>) -> Changes {
        self.services.store(Arc::new(services));
        self.refresh()
    }

    /// The services, in the order of the configuration.
    #[must_use]
    pub fn services(&self) -> Arc<IndexMap<ServiceId, Registered>> {
        self.services.load_full()
    }

    /// Reads the contents of every service again. Returns what is no longer as it was.
    pub fn refresh(&self) -> Changes {
        let mut generation = self.rebuild.lock();
        *generation += 1;
        let new = Arc::new(Snapshot::build(&self.services.load(), *generation));
        let old = self.snapshot.swap(new.clone());
        self.find_again(&old, &new);
        self.items.write().update(&old, &new);
        Changes {
            tools: !old.tools.values().map(|t| &t.listed).eq(new.tools.values().map(|t| &t.listed)),
            prompts: !listed(&old.prompts).eq(listed(&new.prompts)),
            resources: !listed(&old.resources).eq(listed(&new.resources))
                || !listed(&old.templates).eq(listed(&new.templates)),
        }
    }

    /// Brings the search up to date.
    fn find_again(&self, old: &Snapshot, new: &Snapshot) {
        let mut search = self.search.write();
        for name in old.tools.keys().filter(|name| !new.tools.contains_key(*name)) {
            search.remove(name);
        }
        for (name, entry) in &new.tools {
            let as_before =
                |known: &ToolEntry| known.listed == entry.listed && known.about.told == entry.about.told;
            if !old.tools.get(name).is_some_and(as_before) {
                entry.be_found(|document| search.insert(name, &document));
            }
        }
    }

    /// The tools that fit a request in plain words, the best first, of those that `may` be told of; each with how well it
    /// fits beside the best, from 0 to 1. `encoded` has vectors of a stronger encoder, where there is one ([`Encoded::texts`]).
    #[must_use]
    pub fn search(
        &self,
        request: &str,
        encoded: &Encoded,
        limit: usize,
        may: impl Fn(&ToolEntry) -> bool,
    ) -> Vec<(ToolEntry, f32)> {
        let snapshot = self.snapshot();
        let may = |name: &str| snapshot.tools.get(name).is_some_and(&may);
        let hits = self.search.read().search_encoded(request, encoded, limit, may);
        let entry = |hit: Hit| Some((snapshot.tools.get(&hit.key)?.clone(), hit.score));
        hits.into_iter().filter_map(entry).collect()
    }

    /// The prompts, resources and templates that are near to a request in plain words, of those that `may` be told of.
    #[must_use]
    pub fn search_items(
        &self,
        request: &str,
        most: usize,
        may: impl Fn(ItemKind, &ItemEntry) -> bool,
    ) -> Vec<(ItemKind, ItemEntry)> {
        let snapshot = self.snapshot();
        self.items.read().find(&snapshot, request, most, may)
    }

    /// Tools that have no vector of a stronger encoder, at most so many.
    #[must_use]
    pub fn lacking(&self, most: usize) -> Lacking {
        let snapshot = self.snapshot();
        let (mut names, mut texts) = (Vec::new(), Vec::new());
        let search = self.search.read();
        for (name, entry) in snapshot.tools.iter().filter(|(name, _)| search.lacks_vector(name)).take(most) {
            entry.be_found(|document| texts.push(told(&document)));
            names.push(name.clone());
        }
        Lacking { generation: snapshot.generation, names, texts }
    }

    /// Gives tools the vectors that they lacked, in their order. What has changed meanwhile may say something else by now: then none is
    /// taken.
    pub fn encoded(&self, lacking: &Lacking, vectors: &[Box<[f32]>]) {
        let mut search = self.search.write();
        if self.snapshot().generation == lacking.generation {
            for (name, vector) in lacking.names.iter().zip(vectors) {
                search.set_vector(name, vector);
            }
        }
    }

    /// How near a request is to each of these tools, whatever else there is.
    #[must_use]
    pub fn nearness<'a>(&self, request: &str, tools: impl Iterator<Item = &'a ToolEntry>) -> Vec<Nearness> {
        let tools: Vec<(&str, &str)> = tools.map(|tool| (&*tool.name, &*tool.tool.spec().name)).collect();
        self.search.read().nearness(request, &tools)
    }

    /// A request with its misspelt words put right, as far as some tool has them.
    #[must_use]
    pub fn spelled(&self, request: &str) -> String {
        self.search.read().spelled(request)
    }

    /// Learns that a tool has met a request in plain words.
    pub fn learn(&self, request: &str, tool: &str) {
        self.search.write().learn(request, tool);
    }

    /// What can be called now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}
