//! Finding what can do something: by capability, version, what the caller has and needs, where it runs, whether it is well, and
//! whether the caller may, in one question.
//!
//! Tools stand in an index by capability, sorted by term, so that a pattern is a range of it. A question looks at what is in
//! its range only, and at so many of it at most.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_model::{Capability, InstanceStatus, Json, Service};

use crate::{Snapshot, ToolEntry};

/// The most tools that a question looks at.
const MOST_LOOKED_AT: usize = 2_000;

/// The most answers.
const MOST: usize = 100;

/// The most tools that are told to be left out.
const MOST_LEFT_OUT: usize = 10;

/// How deep the members of a result are known.
const DEPTH: usize = 5;

/// What is known of a service beside what it says itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// What all of its tools can do.
    pub capabilities: Vec<Capability>,
    /// What some of its instances can do, as they are now: [`Service::capabilities`].
    pub told: Vec<Capability>,
    /// Its version, where its tools have none.
    pub version: Option<String>,
    /// The zone that it runs in, where its instances have none.
    pub zone: Option<String>,
    /// What else is known of it.
    pub metadata: BTreeMap<String, String>,
}

impl About {
    /// All that is known of what it can do.
    pub(crate) fn terms(&self) -> impl Iterator<Item = &Capability> {
        self.capabilities.iter().chain(&self.told)
    }
}

/// What is looked for. All that is given has to hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// A dotted term, `*` for any one part; a term covers those below it (`payments` covers `payments.refund`). Everything where
    /// left out.
    pub capability: Option<String>,
    /// A range of versions as Cargo and npm write it: `^1.2`, `>=1, <3`.
    pub version: Option<String>,
    /// The arguments that the caller can give, by name: a tool that needs another one does not fit.
    pub gives: Option<Vec<String>>,
    /// Arguments that the tool has to take as they are.
    pub arguments: Option<Value>,
    /// Members that the result has to have, as paths: `order.id`. A tool that does not say what it gives does not fit.
    pub needs: Vec<String>,
    /// The tool changes nothing.
    pub read_only: Option<bool>,
    /// Only what was configured or told of capabilities: not what names let guess, where nothing was.
    pub configured: bool,
    /// Has an instance in this zone that is well.
    pub zone: Option<String>,
    /// What is known of the service or of an instance that is well.
    pub metadata: BTreeMap<String, String>,
    /// Also tools of services that are not well now.
    pub unwell: bool,
    /// The most answers, up to 100; 10 where left out.
    pub limit: Option<usize>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The tools, the best first.
    pub tools: Vec<Fit>,
    /// Tools of this capability that do not fit, and why not; the first of them.
    pub left_out: Vec<LeftOut>,
    /// There was more to look at than a question may.
    pub more: bool,
}

/// A tool that fits.
#[derive(Clone, Debug, Serialize)]
pub struct Fit {
    /// The name to call it by.
    pub tool: Arc<str>,
    /// Its service.
    pub service: Arc<str>,
    /// The term that was matched.
    pub capability: Option<Arc<str>>,
    /// Nobody has said that it has this capability: it is guessed from its name.
    pub inferred: bool,
    /// Its version, where it has one.
    pub version: Option<Arc<str>>,
    /// Whether it can be called now.
    pub well: bool,
    /// How many of its instances are well, where it has several.
    pub instances: Option<usize>,
    /// How long its calls take lately at the fastest instance, in milliseconds, where that is known.
    pub latency_ms: Option<f64>,
}

/// A tool that does not fit.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// The name to call it by.
    pub tool: Arc<str>,
    /// Why it does not fit.
    pub why: String,
}

/// The tools by what they can do.
#[derive(Default)]
pub(crate) struct Index {
    /// Sorted by term.
    terms: Vec<Term>,
    tools: Vec<Known>,
}

/// That a tool has a capability.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Term {
    name: Arc<str>,
    /// It is guessed from the tool's name.
    inferred: bool,
    tool: u32,
}

struct Known {
    entry: ToolEntry,
    /// As it is shown, and as it is compared.
    version: Option<(Arc<str>, Option<semver::Version>)>,
    needs: Vec<Box<str>>,
    gives: HashSet<Box<str>>,
}

impl Index {
    pub(crate) fn of_tools<'a>(entries: impl Iterator<Item = &'a ToolEntry>) -> Self {
        let mut index = Self::default();
        entries.for_each(|entry| index.add(entry));
        index.terms.sort_unstable();
        index.terms.dedup();
        index
    }

    fn add(&mut self, entry: &ToolEntry) {
        let (spec, about) = (entry.tool.spec(), &entry.about);
        let Ok(tool) = u32::try_from(self.tools.len()) else { return };
        for capability in entry.capabilities() {
            self.terms.push(Term { name: Arc::from(capability.as_str()), inferred: false, tool });
        }
        if let Some(guessed) = entry.inferred_capability() {
            self.terms.push(Term { name: Arc::from(guessed.as_str()), inferred: true, tool });
        }
        let version = Some(&*spec.version).filter(|version| !version.is_empty());
        let version = version.or(about.version.as_deref()).map(|text| (Arc::from(text), lenient(text)));
        let needs = spec.input.document().get("required").and_then(Value::as_array);
        let needs = needs.into_iter().flatten().filter_map(|name| name.as_str().map(Box::from)).collect();
        let mut gives = HashSet::new();
        if let Some(output) = &spec.output {
            members(output.document(), "", DEPTH, &mut gives);
        }
        self.tools.push(Known { entry: entry.clone(), version, needs, gives });
    }

    /// The tools of a pattern, with the term that fits; all of them without one.
    fn of<'a>(
        &'a self,
        pattern: Option<&'a str>,
        configured: bool,
    ) -> Box<dyn Iterator<Item = (Option<&'a Term>, &'a Known)> + 'a> {
        let Some(pattern) = pattern else {
            return Box::new(self.tools.iter().map(|known| (None, known)));
        };
        // Up to the first star the term is literal.
        let literal = pattern.split('*').next().unwrap_or_default();
        let start = self.terms.partition_point(|term| &*term.name < literal);
        let range = self.terms[start..].iter().take_while(move |term| term.name.starts_with(literal));
        let may = move |term: &&Term| !(configured && term.inferred);
        let fits = range.filter(may).filter(move |term| Capability::matches_term(&term.name, pattern));
        Box::new(fits.map(|term| (Some(term), &self.tools[term.tool as usize])))
    }
}

impl Snapshot {
    /// Other tools that have a capability of this one that `named` holds for, to the letter. What is only guessed does not count.
    pub fn same_capability<'a>(
        &'a self,
        one: &'a ToolEntry,
        named: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = &'a ToolEntry> {
        let own: Vec<&str> = one.capabilities().map(Capability::as_str).filter(|term| named(term)).collect();
        let index = self.index();
        let others = own.into_iter().flat_map(move |name| {
            let start = index.terms.partition_point(|term| &*term.name < name);
            index.terms[start..].iter().take_while(move |term| *term.name == *name && !term.inferred)
        });
        others
            .map(|term| &index.tools[term.tool as usize].entry)
            .filter(move |other| !Arc::ptr_eq(&other.name, &one.name))
    }

    /// Looks for tools that fit and that the caller may call.
    ///
    /// # Errors
    /// A query that can't be read: what is wrong, in words.
    pub fn discover(&self, query: &Query, may: impl Fn(&ToolEntry) -> bool) -> Result<Found, String> {
        let version = query.version.as_deref().map(semver::VersionReq::parse).transpose();
        let version = version.map_err(|error| format!("`version` is no range of versions: {error}"))?;
        let arguments = query.arguments.as_ref().map(Json::from_value);
        let limit = query.limit.unwrap_or(10).clamp(1, MOST);
        let mut found = Found { tools: Vec::new(), left_out: Vec::new(), more: false };
        // A tool may have several terms that fit.
        let again = |told: &Arc<str>, known: &Known| Arc::ptr_eq(told, &known.entry.name);
        // Some more than are wanted, to have the best of them.
        let enough = limit.saturating_mul(4);
        let looked_at = self.index().of(query.capability.as_deref(), query.configured);
        for (looked, (term, known)) in looked_at.enumerate() {
            if looked >= MOST_LOOKED_AT || found.tools.len() >= enough {
                found.more = true;
                break;
            }
            // What the caller may not call is not there for it.
            if !may(&known.entry) || found.tools.iter().any(|fit| again(&fit.tool, known)) {
                continue;
            }
            match known.fits(query, version.as_ref(), arguments.as_ref(), term) {
                Ok(fit) => found.tools.push(fit),
                Err(why)
                    if found.left_out.len() < MOST_LEFT_OUT
                        && !found.left_out.iter().any(|one| again(&one.tool, known)) =>
                {
                    found.left_out.push(LeftOut { tool: known.entry.name.clone(), why: why.to_string() });
                }
                Err(_) => {}
            }
        }
        let exact = |fit: &Fit| fit.capability.as_deref() == query.capability.as_deref();
        let micros = |fit: &Fit| fit.latency_ms.map_or(u64::MAX, whole_micros);
        found.tools.sort_by_key(|fit| (Reverse(fit.well), fit.inferred, Reverse(exact(fit)), micros(fit)));
        found.more |= found.tools.len() > limit;
        found.tools.truncate(limit);
        Ok(found)
    }
}

/// Why a tool does not fit. It is put into words only where it is told.
#[derive(Debug, thiserror::Error)]
enum Why<'a> {
    #[error("its version is {0}")]
    Version(&'a str),
    #[error("it has no version")]
    NoVersion,
    #[error("it only reads")]
    Reads,
    #[error("it changes something")]
    Changes,
    #[error("it needs {0:?}")]
    Needs(&'a str),
    #[error("its result is not said to have {0:?}")]
    Lacks(String),
    #[error("it does not take these arguments: {0}")]
    Arguments(String),
    #[error("it can't be called now: {0}")]
    Unwell(String),
    #[error("nothing of it that can {0} is well")]
    Capability(String),
    #[error("nothing of it in {0} is well")]
    Zone(String),
    #[error("{0} is not {1:?}")]
    Metadata(String, String),
}

impl Known {
    fn fits(
        &self,
        query: &Query,
        wanted: Option<&semver::VersionReq>,
        arguments: Option<&Json>,
        term: Option<&Term>,
    ) -> Result<Fit, Why<'_>> {
        let spec = self.entry.tool.spec();
        if let Some(wanted) = wanted {
            match &self.version {
                Some((_, Some(version))) if wanted.matches(version) => {}
                Some((text, _)) => return Err(Why::Version(text)),
                None => return Err(Why::NoVersion),
            }
        }
        if query.read_only.is_some_and(|wanted| wanted != spec.effects.read_only) {
            return Err(if spec.effects.read_only { Why::Reads } else { Why::Changes });
        }
        if let Some(gives) = &query.gives
            && let Some(missing) = self.needs.iter().find(|need| !gives.iter().any(|name| **name == ***need))
        {
            return Err(Why::Needs(missing));
        }
        if let Some(missing) = query.needs.iter().find(|need| !self.gives.contains(need.as_str())) {
            return Err(Why::Lacks(missing.clone()));
        }
        if let Some(Err(violations)) =
            arguments.map(|arguments| self.entry.tool.validate_parameters(arguments))
        {
            let first =
                violations.first().map(|first| format!("{}: expected {}", first.path, first.expected));
            return Err(Why::Arguments(first.unwrap_or_default()));
        }
        self.place(query, &*self.entry.service, term)
    }

    /// Whether it has a term only from some of its instances.
    fn is_only_told(&self, term: &str) -> bool {
        let about = &self.entry.about;
        let mut own = self.entry.tool.spec().capabilities.iter().chain(&about.capabilities);
        !about.told.is_empty() && !own.any(|one| one.as_str() == term)
    }

    /// Whether it is well, and where.
    fn place(&self, query: &Query, service: &dyn Service, term: Option<&Term>) -> Result<Fit, Why<'_>> {
        let instances = service.instances();
        let well: Vec<&InstanceStatus> = instances.iter().filter(|instance| instance.healthy).collect();
        let up = service.is_up();
        if !up && !query.unwell {
            let cause = service.status().cause.unwrap_or_else(|| "it has not been reached yet".to_owned());
            return Err(Why::Unwell(cause));
        }
        if let Some(term) =
            term.map(|term| &term.name).filter(|term| !query.unwell && self.is_only_told(term))
        {
            let can =
                |instance: &&InstanceStatus| instance.capabilities.iter().any(|one| one.as_str() == &**term);
            if !well.iter().any(can) {
                return Err(Why::Capability(term.to_string()));
            }
        }
        if let Some(zone) = &query.zone {
            let there = |instance: &&InstanceStatus| {
                instance.zone.as_ref().or(self.entry.about.zone.as_ref()) == Some(zone)
            };
            let own = instances.is_empty() && self.entry.about.zone.as_ref() == Some(zone);
            if !own && !well.iter().any(there) {
                return Err(Why::Zone(zone.clone()));
            }
        }
        for (name, value) in &query.metadata {
            let has = |instance: &&InstanceStatus| instance.metadata.get(name) == Some(value);
            if self.entry.about.metadata.get(name) != Some(value) && !well.iter().any(has) {
                return Err(Why::Metadata(name.clone(), value.clone()));
            }
        }
        let latency = well.iter().filter_map(|instance| instance.latency_ms).min_by(f64::total_cmp);
        Ok(Fit {
            tool: self.entry.name.clone(),
            service: service.id().shared(),
            capability: term.map(|term| term.name.clone()),
            inferred: term.is_some_and(|term| term.inferred),
            version: self.version.as_ref().map(|(text, _)| text.clone()),
            well: up,
            instances: (!instances.is_empty()).then_some(well.len()),
            latency_ms: latency,
        })
    }
}

/// A version, also where it has fewer than three parts or a `v` before it.
fn lenient(text: &str) -> Option<semver::Version> {
    let text = text.trim().trim_start_matches('v');
    let padded = match text.split(['-', '+']).next()?.split('.').count() {
        1 => format!("{text}.0.0"),
        2 => format!("{text}.0"),
        _ => text.to_owned(),
    };
    semver::Version::parse(&padded).ok()
}

/// The paths of all members that a schema names, also those of the items of its lists.
fn members(schema: &Value, path: &str, depth: usize, found: &mut HashSet<Box<str>>) {
    if depth == 0 {
        return;
    }
    if let Some(items) = schema.get("items") {
        members(items, path, depth - 1, found);
    }
    for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        members(member, &path, depth - 1, found);
        found.insert(path.into());
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of calls")]
fn whole_micros(ms: f64) -> u64 {
    (ms * 1e3) as u64
}

#[cfg(test)]
mod tests;
