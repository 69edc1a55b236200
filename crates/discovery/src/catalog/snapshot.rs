//! The catalogue at one moment.

use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;
use trunkline_model::{Contents, Item, Service, ServiceId};

use super::entries::{ItemEntry, ToolEntry};
use super::near::nearest;
use super::{Names, Registered};
use crate::discover::{About, Index};

/// The most near names that an answer carries.
const NEAR_NAMES: usize = 5;

/// What could be called at one moment. Immutable.
#[derive(Default)]
pub struct Snapshot {
    /// Grows with every change.
    pub generation: u64,
    /// Tools by advertised name, in the order of services and of their own lists.
    pub tools: IndexMap<Arc<str>, ToolEntry>,
    /// Prompts by advertised name.
    pub prompts: IndexMap<Arc<str>, ItemEntry>,
    /// Resources by advertised URI.
    pub resources: IndexMap<Arc<str>, ItemEntry>,
    /// Resource templates by URI template.
    pub templates: IndexMap<Arc<str>, ItemEntry>,
    /// Some service completes arguments.
    pub completions: bool,
    /// Some service can be subscribed to.
    pub subscriptions: bool,
    /// Some service sends log messages.
    pub logging: bool,
    readers: Vec<Arc<dyn Service>>,
    index: OnceLock<Index>,
}

impl Snapshot {
    pub(super) fn build(services: &IndexMap<ServiceId, Registered>, generation: u64) -> Self {
        let mut snapshot = Self { generation, ..Self::default() };
        for registered in services.values() {
            snapshot.add(registered, &registered.service.contents());
        }
        snapshot
    }

    fn add(&mut self, registered: &Registered, contents: &Contents) {
        let service = &registered.service;
        let mut about = registered.about.clone();
        let told = service.capabilities();
        if !told.is_empty() {
            about = Arc::new(About { told, ..About::clone(&about) });
        }
        for tool in &contents.tools {
            let name = self.free_name(registered, &tool.spec().name, |s, name| s.tools.contains_key(name));
            let entry = ToolEntry::new(&name, tool.clone(), service.clone(), about.clone());
            self.tools.entry(entry.name.clone()).or_insert(entry);
        }
        for prompt in &contents.prompts {
            let name = self.free_name(registered, &prompt.key, |s, name| s.prompts.contains_key(name));
            let entry = ItemEntry::new(&name, "name", prompt, service);
            self.prompts.entry(entry.key.clone()).or_insert(entry);
        }
        add_uris(&mut self.resources, "uri", &contents.resources, service);
        add_uris(&mut self.templates, "uriTemplate", &contents.templates, service);
        self.completions |= contents.completions;
        self.subscriptions |= contents.subscriptions;
        self.logging |= contents.logging;
        if !contents.resources.is_empty() || !contents.templates.is_empty() {
            self.readers.push(service.clone());
        }
    }

    fn free_name(&self, registered: &Registered, own: &str, taken: impl Fn(&Self, &str) -> bool) -> String {
        if registered.names == Names::Plain && !taken(self, own) {
            return own.to_owned();
        }
        format!("{}__{own}", registered.service.id())
    }

    /// The tools by what they can do; made when it is first asked for.
    pub(crate) fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of_tools(self.tools.values()))
    }

    /// The services that can read `uri` and their own URI for it, best first: the one that lists it, those with a
    /// matching template, then every service that has resources at all.
    #[must_use]
    pub fn readers_of(&self, uri: &str) -> Vec<(Arc<dyn Service>, Arc<str>)> {
        if let Some(entry) = self.resources.get(uri) {
            return vec![(entry.service.clone(), entry.own.clone())];
        }
        let own: Arc<str> = Arc::from(uri);
        let matching: Vec<_> = self
            .templates
            .values()
            .filter(|entry| template_matches(&entry.key, uri))
            .map(|entry| {
                let added = entry.key.len() - entry.own.len();
                let own = if added == 0 { own.clone() } else { Arc::from(&uri[added..]) };
                (entry.service.clone(), own)
            })
            .collect();
        if !matching.is_empty() {
            return matching;
        }
        self.readers.iter().map(|service| (service.clone(), own.clone())).collect()
    }

    /// Advertised tool names nearest to one that is not there.
    #[must_use]
    pub fn near_tools(&self, wanted: &str) -> Vec<String> {
        nearest(wanted, self.tools.keys().map(|name| &**name), NEAR_NAMES)
    }

    /// Advertised prompt names nearest to one that is not there.
    #[must_use]
    pub fn near_prompts(&self, wanted: &str) -> Vec<String> {
        nearest(wanted, self.prompts.keys().map(|name| &**name), NEAR_NAMES)
    }
}

/// A URI is global, so it stays as it is. Where two services list the same one, the later service's is advertised
/// as `service+uri`.
fn add_uris(
    entries: &mut IndexMap<Arc<str>, ItemEntry>,
    member: &str,
    items: &[Item],
    service: &Arc<dyn Service>,
) {
    for item in items {
        let key = if entries.contains_key(&item.key) {
            format!("{}+{}", service.id(), item.key)
        } else {
            item.key.to_string()
        };
        let entry = ItemEntry::new(&key, member, item, service);
        entries.entry(entry.key.clone()).or_insert(entry);
    }
}

/// Whether `uri` may be an expansion of an RFC 6570 template: the literal parts occur in order, the first at the
/// start and the last at the end.
fn template_matches(template: &str, uri: &str) -> bool {
    let mut literals = Vec::new();
    let mut rest = template;
    while let Some((literal, tail)) = rest.split_once('{') {
        literals.push(literal);
        rest = tail.split_once('}').map_or("", |(_, tail)| tail);
    }
    literals.push(rest);
    let (Some(first), Some(last)) = (literals.first(), literals.last()) else { return false };
    let Some(mut tail) = uri.strip_prefix(first) else { return false };
    if literals.len() == 1 {
        return tail.is_empty();
    }
    for literal in &literals[1..literals.len() - 1] {
        match tail.split_once(literal) {
            Some((_, after)) => tail = after,
            None => return false,
        }
    }
    tail.len() >= last.len() && tail.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_match_their_expansions() {
        assert!(template_matches("test://template/{id}/data", "test://template/123/data"));
        assert!(!template_matches("test://template/{id}/data", "test://template/123/other"));
        assert!(template_matches("file:///{+path}", "file:///a/b"));
        assert!(!template_matches("file:///fixed", "file:///fixed/more"));
        assert!(template_matches("a{x}b{y}c", "a1b2c"));
    }
}
