//! Prompts, resources and resource templates in plain words. They have an index of their own, so that what there is of them changes
//! nothing about which tools are found.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::{ItemEntry, Snapshot};
use crate::search::{Document, SearchIndex};

/// The most that are found by words.
const MOST: usize = 20_000;

/// How near one has to be to be told of beside tools.
const NEAR: f32 = 0.35;

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A prompt.
    Prompt,
    /// A resource.
    Resource,
    /// A template of the URIs of resources.
    Template,
}

impl ItemKind {
    const ALL: [Self; 3] = [Self::Prompt, Self::Resource, Self::Template];

    /// As it is told.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Template => "template",
        }
    }

    /// The method of MCP that gets it.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Prompt => "prompts/get",
            Self::Resource | Self::Template => "resources/read",
        }
    }

    fn all(self, snapshot: &Snapshot) -> &IndexMap<Arc<str>, ItemEntry> {
        match self {
            Self::Prompt => &snapshot.prompts,
            Self::Resource => &snapshot.resources,
            Self::Template => &snapshot.templates,
        }
    }

    /// The key in the index: no two kinds have the same.
    fn key(self, key: &str) -> Arc<str> {
        Arc::from(format!("{} {key}", self.name()))
    }
}

/// The items, by the words that they are told of with.
#[derive(Default)]
pub(super) struct Items {
    index: SearchIndex,
}

impl Items {
    /// Brings them up to date.
    pub(super) fn update(&mut self, old: &Snapshot, new: &Snapshot) {
        for kind in ItemKind::ALL {
            let (old, new) = (kind.all(old), kind.all(new));
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                self.index.remove(&kind.key(key));
            }
            for (key, entry) in new {
                let as_before = old.get(key).is_some_and(|known| known.listed == entry.listed);
                if !as_before && self.index.len() < MOST {
                    insert(&mut self.index, &kind.key(key), entry);
                }
            }
        }
    }

    /// The items that are near to a request, the nearest first, of those that `may` be told of.
    pub(super) fn find(
        &self,
        snapshot: &Snapshot,
        request: &str,
        most: usize,
        may: impl Fn(ItemKind, &ItemEntry) -> bool,
    ) -> Vec<(ItemKind, ItemEntry)> {
        let item = |key: &str| {
            let (name, own) = key.split_once(' ')?;
            let kind = ItemKind::ALL.into_iter().find(|kind| kind.name() == name)?;
            Some((kind, kind.all(snapshot).get(own)?))
        };
        let may = |key: &str| item(key).is_some_and(|(kind, entry)| may(kind, entry));
        let hits = self.index.search(request, most, may);
        let keys: Vec<(&str, &str)> = hits.iter().map(|hit| (&*hit.key, &*hit.key)).collect();
        let near = self.index.nearness(request, &keys);
        let near = hits.iter().zip(near).filter(|(_, near)| near.sure() >= NEAR);
        near.filter_map(|(hit, _)| item(&hit.key)).map(|(kind, entry)| (kind, entry.clone())).collect()
    }
}

/// Puts an item in by what it says of itself.
fn insert(index: &mut SearchIndex, key: &Arc<str>, entry: &ItemEntry) {
    let listed = entry.listed.to_value();
    let text = |value: &Value, member: &str| value[member].as_str().unwrap_or_default().to_owned();
    let (name, title) = (text(&listed, "name"), text(&listed, "title"));
    let (description, media) = (text(&listed, "description"), text(&listed, "mimeType"));
    let arguments = listed["arguments"].as_array().into_iter().flatten();
    let arguments: Vec<(String, String)> =
        arguments.map(|argument| (text(argument, "name"), text(argument, "description"))).collect();
    let document = Document {
        name: &name,
        description: &description,
        parameters: arguments.iter().map(|(name, _)| &**name).collect(),
        about_parameters: arguments.iter().map(|(_, about)| &**about).collect(),
        terms: vec![entry.service.id().as_str(), &title, &media, &entry.own],
        inferred: "",
    };
    index.insert(key, &document);
}
