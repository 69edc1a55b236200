//! Intents of the configuration: what people say, and the tool or flow that is meant by it.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use parking_lot::RwLock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_discovery::ToolEntry;
use trunkline_discovery::embed::Table;
use trunkline_discovery::intent::{Error as Full, Guess, Intents, Meaning, Said};
use trunkline_discovery::search::Encoded;

use crate::Gateway;

/// What people say, and what is meant by it. Exactly one of `tool` and `flow` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IntentConfig {
    /// What it is, in a line; it is what a question about it says.
    pub about: String,
    /// How people say it. 10 to 20 ways are enough.
    pub examples: Vec<String>,
    /// The advertised name of the tool that is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The flow that is run: its name, as its tool has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Arguments that are always these.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub args: Map<String, Value>,
    /// The command that means it and nothing else: `/task`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// The intents in force.
#[derive(Default)]
pub(crate) struct Intentions {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    intents: Intents,
    configs: Configs,
    /// The same by a stronger encoder, where there is one and every example has its vector.
    encoded: Option<Intents>,
    /// How often they have changed.
    version: u64,
}

type Configs = IndexMap<String, Arc<IntentConfig>>;

/// Intents whose examples want the vectors of an encoder.
pub(crate) struct Wanted {
    configs: Configs,
    version: u64,
    /// By intent, in the order in which they are learned: the first is its own words.
    texts: Vec<Vec<String>>,
}

impl Wanted {
    /// What is to have vectors.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().flatten().map(String::as_str)
    }
}

/// An intent that a request may mean.
#[derive(Clone)]
pub(super) struct Meant {
    pub(super) id: String,
    pub(super) config: Arc<IntentConfig>,
    pub(super) confidence: f32,
    /// The example that is most like the request.
    pub(super) like: Option<String>,
    /// How alike they are in meaning.
    pub(super) near: f32,
}

/// What a wish is among the intents.
pub(super) enum Intended {
    /// This one.
    This(Meant),
    /// One of these.
    Unclear(Vec<Meant>),
    /// None.
    None,
}

impl Intentions {
    /// Takes other intents. Those that stay as they are keep what is known of them, so that one more example is quick.
    fn configure(&self, configs: &IndexMap<String, IntentConfig>) -> Result<(), Full> {
        let mut known = self.known.write();
        if known.configs.iter().map(|(id, config)| (id, &**config)).eq(configs) {
            return Ok(());
        }
        if known.change(configs).is_err() {
            // Places of intents that went are used up: begin anew.
            *known = Known { version: known.version, ..Known::default() };
            known.change(configs)?;
        }
        known.version += 1;
        known.encoded = None;
        known.intents.settle();
        Ok(())
    }

    /// Those whose examples have no vectors of an encoder yet.
    pub(crate) fn lacking(&self) -> Option<Wanted> {
        let known = self.known.read();
        if known.encoded.is_some() || known.configs.is_empty() {
            return None;
        }
        let texts = |(id, config): (&String, &Arc<IntentConfig>)| {
            let first = Intents::first_example(id, &config.about);
            std::iter::once(first).chain(config.examples.iter().map(|example| bare(example))).collect()
        };
        let texts = known.configs.iter().map(texts).collect();
        Some(Wanted { configs: known.configs.clone(), version: known.version, texts })
    }

    /// Has wishes understood by these vectors as well, unless the intents have changed meanwhile. Forgets those of other texts.
    pub(crate) fn encoded(&self, wanted: &Wanted, vectors: &mut HashMap<String, Box<[f32]>>) {
        let mut encoded = Intents::new();
        for ((id, config), texts) in wanted.configs.iter().zip(&wanted.texts) {
            for (at, text) in texts.iter().enumerate() {
                let Some(vector) = vectors.get(text) else { return };
                let said = Said::encoded(text, vector);
                let learned = match at {
                    0 => encoded.add_said(id, &config.about, said),
                    _ => encoded.example(id, said),
                };
                if learned.is_err() {
                    // Too many: so it was without vectors, and was told.
                    break;
                }
            }
        }
        encoded.settle();
        let all: std::collections::HashSet<&str> = wanted.texts().collect();
        vectors.retain(|text, _| all.contains(&**text));
        let mut known = self.known.write();
        if known.version == wanted.version {
            known.encoded = Some(encoded);
        }
    }

    /// The texts whose vectors are of use for what a wish means: none where no intents are encoded.
    pub(super) fn reads(&self, wish: &str) -> Option<String> {
        let text = bare(wish);
        (self.known.read().encoded.is_some() && !text.is_empty()).then_some(text)
    }

    /// What a wish means, in plain words; by its vector where it has one.
    pub(super) fn meant(
        &self,
        text: &str,
        vectors: &Encoded,
        may: impl Fn(&IntentConfig) -> bool,
    ) -> Intended {
        let known = self.known.read();
        if known.configs.is_empty() {
            return Intended::None;
        }
        let text = bare(text);
        let (intents, said) = match (&known.encoded, vectors.get(&text)) {
            (Some(encoded), Some(vector)) => (encoded, Said::encoded(&text, vector)),
            _ => (&known.intents, Said::from(&text)),
        };
        let meant = |guess: &Guess| {
            let config = known.configs.get(&guess.intent).filter(|config| may(config))?.clone();
            let like = intents.like(&guess.intent, said);
            let near = like.map_or(0.0, |like| alike(like, &text));
            let whole = |like: &str| config.examples.iter().find(|example| bare(example) == like).cloned();
            let like = like.map(|like| whole(like).unwrap_or_else(|| like.to_owned()));
            Some(Meant { id: guess.intent.clone(), config, confidence: guess.confidence, like, near })
        };
        match intents.meaning(said) {
            Meaning::Intent(guess) => meant(&guess).map_or(Intended::None, Intended::This),
            Meaning::Ambiguous { guesses, .. } => {
                let mut some: Vec<Meant> = guesses.iter().filter_map(meant).collect();
                match some.len() {
                    0 => Intended::None,
                    1 => Intended::This(some.swap_remove(0)),
                    _ => Intended::Unclear(some),
                }
            }
            Meaning::None { .. } => Intended::None,
        }
    }

    /// The intent that a command means: `/task`.
    pub(super) fn command(&self, name: &str) -> Option<Meant> {
        let known = self.known.read();
        let is = |(id, config): &(&String, &Arc<IntentConfig>)| match &config.command {
            Some(command) => command == name,
            None => Some(id.as_str()) == name.strip_prefix('/'),
        };
        let (id, config) = known.configs.iter().find(is)?;
        Some(Meant { id: id.clone(), config: config.clone(), confidence: 1.0, like: None, near: 1.0 })
    }

    /// The commands that there are.
    pub(super) fn commands(&self, may: impl Fn(&IntentConfig) -> bool) -> Vec<String> {
        let known = self.known.read();
        let of = known.configs.iter().filter(|(_, config)| may(config));
        of.filter_map(|(_, config)| config.command.clone()).collect()
    }
}

impl Known {
    fn change(&mut self, configs: &IndexMap<String, IntentConfig>) -> Result<(), Full> {
        let same = |id: &str, config: &IntentConfig| {
            configs
                .get(id)
                .is_some_and(|now| now.about == config.about && now.examples.starts_with(&config.examples))
        };
        let gone: Vec<String> =
            self.configs.iter().filter(|(id, config)| !same(id, config)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.intents.remove(&id);
            self.configs.shift_remove(&id);
        }
        for (id, config) in configs {
            let had = self.configs.get(id).map(|config| config.examples.len());
            if had.is_none() {
                self.intents.add(id, &config.about)?;
            }
            for example in &config.examples[had.unwrap_or(0)..] {
                self.intents.example(id, &bare(example))?;
            }
        }
        self.configs = configs.iter().map(|(id, config)| (id.clone(), Arc::new(config.clone()))).collect();
        Ok(())
    }
}

impl Gateway {
    /// Takes other intents.
    ///
    /// # Errors
    /// Where there are too many; those in force stay then as far as they fit.
    pub fn intend(&self, configs: &IndexMap<String, IntentConfig>) -> Result<(), Full> {
        self.intentions.configure(configs)
    }

    /// The tool that an intent means, where it is there.
    pub(super) fn aim_of(&self, config: &IntentConfig) -> Option<ToolEntry> {
        let snapshot = self.catalog.snapshot();
        if let Some(tool) = &config.tool {
            return snapshot.tools.get(&**tool).cloned();
        }
        let flow = config.flow.as_deref()?;
        snapshot.tools.values().find(|entry| is_flow(entry, flow)).cloned()
    }
}

/// A text without the ids in it: which order is meant says nothing of what is to be done with it.
fn bare(text: &str) -> String {
    const SHORT: usize = 3;
    let is_id = |word: &&str| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        digits >= SHORT || digits > 0 && word.bytes().any(|letter| letter.is_ascii_alphabetic())
    };
    text.split_whitespace().filter(|word| !is_id(word)).collect::<Vec<_>>().join(" ")
}

/// How alike two texts are in meaning, from -1 to 1.
fn alike(one: &str, other: &str) -> f32 {
    let table = Table::built_in();
    table.encode(one).likeness(&table.encode(other))
}

/// Whether a tool is the named flow.
pub(super) fn is_flow(entry: &ToolEntry, name: &str) -> bool {
    let spec = entry.tool.spec();
    let flows = trunkline_orchestrator::service::SERVICE;
    spec.service.as_str() == flows
        && *spec.name == *name
        && !trunkline_orchestrator::service::is_built_in(&spec.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(about: &[(&str, &[&str])]) -> IndexMap<String, IntentConfig> {
        let config = |examples: &[&str]| IntentConfig {
            examples: examples.iter().map(|one| (*one).to_owned()).collect(),
            tool: Some("t".to_owned()),
            ..IntentConfig::default()
        };
        about.iter().map(|(id, examples)| ((*id).to_owned(), config(examples))).collect()
    }

    fn meant(intentions: &Intentions, text: &str) -> Option<String> {
        match intentions.meant(text, &Encoded::default(), |_| true) {
            Intended::This(meant) => Some(meant.id),
            Intended::Unclear(_) | Intended::None => None,
        }
    }

    #[test]
    fn what_changes_counts_at_once_and_what_goes_is_forgotten() {
        let intentions = Intentions::default();
        let first = [
            ("lost", &["my parcel never arrived", "the package is gone"][..]),
            ("bill", &["send me an invoice"]),
        ];
        intentions.configure(&configs(&first)).unwrap();
        assert_eq!(meant(&intentions, "my parcel has never arrived").as_deref(), Some("lost"));
        assert_eq!(meant(&intentions, "the gizmo blinks red"), None);
        let more = [first[0], ("bill", &["send me an invoice", "the gizmo blinks red"])];
        intentions.configure(&configs(&more)).unwrap();
        assert_eq!(meant(&intentions, "my gizmo blinks red").as_deref(), Some("bill"));
        intentions.configure(&configs(&[("bill", &["send me an invoice"])])).unwrap();
        assert_eq!(meant(&intentions, "my gizmo blinks red"), None);
        assert_eq!(meant(&intentions, "my parcel has never arrived"), None);
        for round in 0..3_000 {
            let name = format!("i{round}");
            intentions.configure(&configs(&[(&name, &["send me an invoice"])])).unwrap();
        }
        assert_eq!(meant(&intentions, "send me an invoice").as_deref(), Some("i2999"));
    }
}
