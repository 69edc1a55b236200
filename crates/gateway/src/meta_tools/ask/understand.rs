//! What a request means: its wishes in their order, and the tool and arguments of each.

use serde_json::{Map, Value, json};
use trunkline_discovery::ToolEntry;
use trunkline_discovery::arguments::{Filled, Found, Known, Request as Words, Source};
use trunkline_discovery::conversation::{Conversation, Event};
use trunkline_discovery::search::{Encoded, Nearness, clauses_of};
use trunkline_model::CallContext;

use super::super::SERVICE;
use super::intents::{Intended, IntentConfig, Meant, is_flow};
use super::model::By;
use super::route::Route;
use crate::Gateway;
use crate::encoder::Asked;

/// From where on a tool is near enough to be meant.
const SURE: f32 = 0.31;

/// How sharply that turns: the chance that one is meant is one half there.
const TURN: f32 = 12.0;

/// And where a part of a request is a wish of its own.
const PART: f32 = 0.4;

/// A tool that fits almost as well as the best may be the one that is meant.
const CLOSE: f32 = 0.95;

/// How far the shares of tools are drawn apart.
const SHARPNESS: f32 = 20.0;

/// How many tools are looked at closely.
const LOOKED_AT: usize = 8;

/// How much nearer in meaning a tool has to be than the nearest example of an intent of the configuration to be meant instead.
const RATHER: f32 = 0.05;

/// An example so near is what is said.
const SAID: f32 = 0.8;

/// One wish and what is meant by it.
pub(super) struct Wish<'a> {
    pub(super) text: &'a str,
    pub(super) meaning: Meaning,
}

pub(super) enum Meaning {
    /// Nothing does that.
    Nothing(Nothing),
    /// One of these.
    Unclear(Vec<Aim>),
    /// This one, with what was found of its arguments.
    This(Box<Plan>),
}

/// That nothing is meant that is here.
pub(super) struct Nothing {
    /// What comes nearest.
    pub(super) nearest: Vec<ToolEntry>,
    /// How sure it is that none of these is meant.
    pub(super) confidence: f32,
    /// What else there is to say.
    pub(super) note: Option<String>,
}

/// What may be meant, and why.
#[derive(Clone)]
pub(super) struct Aim {
    pub(super) entry: ToolEntry,
    /// The intent: that of the configuration, or the tool itself.
    pub(super) intent: String,
    pub(super) confidence: f32,
    pub(super) why: String,
    /// Arguments that are settled.
    pub(super) fixed: Map<String, Value>,
    /// How near it is in meaning, from -1 to 1.
    pub(super) near: f32,
}

/// What is meant, and the arguments that were found.
pub(super) struct Plan {
    pub(super) aim: Aim,
    pub(super) filled: Filled,
    pub(super) by: By,
    /// Why it is this service's tool, where others can do the same.
    pub(super) route: Option<Route>,
}

impl Plan {
    /// With arguments that we have read.
    pub(super) fn ours(aim: Aim, filled: Filled) -> Self {
        Self { aim, filled, by: By::Ours, route: None }
    }
}

/// Who asks, and what was said before.
pub(super) struct Hearing<'a> {
    pub(super) context: &'a CallContext,
    pub(super) conversation: Conversation,
    pub(super) now: u64,
    /// Vectors of what is asked by a stronger encoder, where there is one.
    pub(super) vectors: Encoded,
}

/// A tool that may be meant.
struct Choice {
    aim: Aim,
    filled: Filled,
    rank: f32,
    /// How much it is put forward for having been used: between those that fit alike, and no others.
    boost: f32,
}

impl Choice {
    fn reads(&self) -> bool {
        self.aim.entry.tool.spec().effects.read_only
    }
}

impl Aim {
    fn of(entry: ToolEntry, meant: Meant, why: Option<String>) -> Self {
        let like = || meant.like.map(|like| format!("like \"{like}\""));
        let why = why.or_else(like).unwrap_or_default();
        let (fixed, near) = (meant.config.args.clone(), meant.near);
        Self { entry, intent: meant.id, confidence: meant.confidence, why, fixed, near }
    }
}

impl Meaning {
    /// How near what is meant is to the words, from -1 to 1.
    fn near(&self) -> f32 {
        match self {
            Self::Nothing(_) => -1.0,
            Self::Unclear(aims) => aims.iter().map(|aim| aim.near).fold(-1.0, f32::max),
            Self::This(plan) => plan.aim.near,
        }
    }

    /// What was mentioned by it.
    pub(super) fn mentioned(&self) -> Vec<(String, Value)> {
        let Self::This(plan) = self else { return Vec::new() };
        let of_request = |found: &&Found| matches!(found.source, Source::Request(_));
        let name = |found: &Found| found.path.rsplit('/').next().unwrap_or_default().to_owned();
        plan.filled.found.iter().filter(of_request).map(|found| (name(found), found.value.clone())).collect()
    }
}

/// Whether a request wants to know something, by its first word.
fn asks(request: &str) -> bool {
    const WORDS: [&str; 30] = [
        "what", "whats", "which", "who", "whose", "where", "when", "why", "how", "is", "are", "was", "were",
        "does", "did", "do", "has", "have", "show", "list", "look", "find", "get", "check", "track", "see",
        "tell", "fetch", "view", "read",
    ];
    let first = request.split(|letter: char| !letter.is_alphabetic()).find(|word| !word.is_empty());
    first.is_some_and(|first| WORDS.iter().any(|word| first.eq_ignore_ascii_case(word)))
}

impl Gateway {
    /// The vectors of all that may be looked for to understand a request.
    pub(super) async fn encode_wishes(&self, request: &str) -> Asked {
        if self.encoder.get().is_none() {
            return Asked::default();
        }
        let parts = std::iter::once(request).chain(clauses_of(request));
        let read = parts.map(|part| (self.intentions.reads(part), self.catalog.spelled(part)));
        let read: Vec<(Option<String>, String)> = read.collect();
        let texts =
            |(wish, search)| -> Vec<&str> { Encoded::texts(search).into_iter().chain(wish).collect() };
        let texts = read
            .iter()
            .flat_map(|(wish, search): &(Option<String>, String)| texts((wish.as_deref(), search)));
        self.encode(texts.collect()).await
    }

    /// The wishes of a request, in their order. It is taken apart only where its parts mean different things.
    pub(super) fn understand<'a>(&self, request: &'a str, hearing: &mut Hearing<'_>) -> Vec<Wish<'a>> {
        if let Some(meaning) = self.command(request, hearing) {
            return vec![Wish { text: request, meaning }];
        }
        let before = hearing.conversation.clone();
        let mut parts: Vec<Wish<'_>> = Vec::new();
        for text in clauses_of(request) {
            let meaning = self.meant(text, hearing);
            // "Show order 5 and ship it": what a part mentions can be spoken of in the next.
            let entities = meaning.mentioned();
            if !entities.is_empty() {
                hearing.conversation.apply(&Event::Mentioned { at: hearing.now, entities });
            }
            parts.push(Wish { text, meaning });
        }
        if parts.len() == 1 && parts[0].text.len() == request.len() {
            return parts;
        }
        let wish = |part: &Wish<'_>| match &part.meaning {
            Meaning::This(plan) if self.is_wish(part.text, &plan.aim) => Some(plan.aim.intent.clone()),
            _ => None,
        };
        let mut intents: Vec<_> = parts.iter().filter_map(wish).collect();
        let all = intents.len();
        intents.dedup();
        if all == parts.len() && intents.len() > 1 {
            let first = request.trim_start().get(..7).unwrap_or_default();
            if parts.len() == 2 && first.eq_ignore_ascii_case("before ") {
                parts.reverse();
            }
            return parts;
        }
        hearing.conversation = before;
        vec![Wish { text: request, meaning: self.meant(request, hearing) }]
    }

    /// Whether a part of a request means a thing so surely that it is a wish of its own.
    fn is_wish(&self, text: &str, aim: &Aim) -> bool {
        if aim.intent != *aim.entry.name {
            return true;
        }
        let near = self.catalog.nearness(text, std::iter::once(&aim.entry));
        near.iter().any(|near| near.sure() >= PART)
    }

    /// `/task buy milk` means the command and nothing else.
    fn command(&self, request: &str, hearing: &Hearing<'_>) -> Option<Meaning> {
        let rest = request.trim_start();
        let name = rest.split_whitespace().next().filter(|word| word.len() > 1 && word.starts_with('/'))?;
        let text = rest[name.len()..].trim();
        let may = |config: &IntentConfig| self.may_mean(config, hearing);
        let why = format!("the command {name}");
        let meant = self.intentions.command(name).filter(|meant| may(&meant.config));
        let aim = match meant {
            Some(meant) => self.aim_of(&meant.config).map(|entry| Aim::of(entry, meant, Some(why))),
            None => self.flow_named(&name[1..], hearing).map(|entry| Aim {
                intent: entry.name.to_string(),
                entry,
                confidence: 1.0,
                why,
                fixed: Map::new(),
                near: 1.0,
            }),
        };
        let Some(mut aim) = aim else {
            let commands = self.intentions.commands(may);
            let note = match &*commands {
                [] => format!("There is no command {name}."),
                some => format!("There is no command {name}. There are {}.", some.join(", ")),
            };
            return Some(Meaning::Nothing(Nothing {
                nearest: Vec::new(),
                confidence: 1.0,
                note: Some(note),
            }));
        };
        if let Some(whole) = whole_text(&aim).filter(|_| !text.is_empty()) {
            aim.fixed.insert(whole, json!(text));
        }
        let filled = self.filled(&aim, text, &self.known(text, hearing));
        Some(Meaning::This(Box::new(Plan::ours(aim, filled))))
    }

    /// The flow of a name, where the caller may run it.
    fn flow_named(&self, name: &str, hearing: &Hearing<'_>) -> Option<ToolEntry> {
        let snapshot = self.catalog.snapshot();
        let entry = snapshot.tools.values().find(|entry| is_flow(entry, name))?;
        self.shows(&hearing.context.principal, entry.tool.spec()).then(|| entry.clone())
    }

    /// Whether an intent can be meant: its tool is there, and the caller may be told of it.
    fn may_mean(&self, config: &IntentConfig, hearing: &Hearing<'_>) -> bool {
        let entry = self.aim_of(config);
        entry.is_some_and(|entry| self.shows(&hearing.context.principal, entry.tool.spec()))
    }

    /// What one wish means: an intent of the configuration, else a tool.
    fn meant(&self, text: &str, hearing: &Hearing<'_>) -> Meaning {
        let intended = self.intentions.meant(text, &hearing.vectors, |config| self.may_mean(config, hearing));
        let known = self.known(text, hearing);
        let meaning = match intended {
            Intended::None => None,
            Intended::This(meant) => self.aim_of(&meant.config).map(|entry| {
                let aim = Aim::of(entry, meant, None);
                let filled = self.filled(&aim, text, &known);
                Meaning::This(Box::new(Plan::ours(aim, filled)))
            }),
            Intended::Unclear(some) => {
                let aim = |meant: Meant| Some(Aim::of(self.aim_of(&meant.config)?, meant, None));
                Some(Meaning::Unclear(some.into_iter().filter_map(aim).collect()))
            }
        };
        match meaning {
            Some(meaning) if meaning.near() >= SAID => meaning,
            Some(meaning) => {
                let found = self.found(text, &known, hearing);
                if found.near() > meaning.near() + RATHER { found } else { meaning }
            }
            None => self.found(text, &known, hearing),
        }
    }

    /// The tool that one wish means, by search.
    fn found(&self, text: &str, known: &[Known], hearing: &Hearing<'_>) -> Meaning {
        let spelled = self.catalog.spelled(text);
        let found = self.catalog.search(&spelled, &hearing.vectors, LOOKED_AT, |entry| {
            let spec = entry.tool.spec();
            let flows = trunkline_orchestrator::service::SERVICE;
            let built_in = spec.service.as_str() == SERVICE
                || spec.service.as_str() == flows && trunkline_orchestrator::service::is_built_in(&spec.name);
            let there = || entry.service.is_up() || self.has_equal(entry, hearing);
            !built_in && self.shows(&hearing.context.principal, spec) && there()
        });
        let nearness = self.catalog.nearness(&spelled, found.iter().map(|(entry, _)| entry));
        let surest = nearness.iter().map(Nearness::sure).fold(0.0_f32, f32::max);
        let chance = 1.0 / (1.0 + (-TURN * (surest - SURE)).exp());
        if surest < SURE {
            let nearest = found.into_iter().take(3).map(|(entry, _)| entry).collect();
            return Meaning::Nothing(Nothing { nearest, confidence: 1.0 - chance, note: None });
        }
        let asks = asks(&spelled);
        let boosts = hearing.conversation.boosts(hearing.now);
        let mut choices: Vec<Choice> = found
            .into_iter()
            .zip(nearness)
            .map(|((entry, score), near)| {
                let boost =
                    boosts.iter().find(|(tool, _)| **tool == *entry.name).map_or(0.0, |(_, boost)| *boost);
                let aim = Aim {
                    intent: entry.name.to_string(),
                    entry,
                    confidence: chance,
                    why: near_by(&near, boost),
                    fixed: Map::new(),
                    near: near.meaning,
                };
                let filled = self.filled(&aim, text, known);
                let uses =
                    filled.call().is_some() && filled.found.iter().any(|found| names(found, text, asks));
                let rank = 0.4 * score
                    + 0.4 * near.sure() / surest
                    + 0.2 * near.name
                    + if uses { 0.15 } else { 0.0 };
                Choice { aim, filled, rank, boost }
            })
            .collect();
        if asks && choices.iter().any(Choice::reads) {
            choices.retain(Choice::reads);
        }
        choose(choices, chance)
    }

    /// What was said before that a text points to.
    pub(super) fn known(&self, text: &str, hearing: &Hearing<'_>) -> Vec<Known> {
        hearing.conversation.context(text, hearing.now).known
    }

    /// The arguments that a text tells.
    pub(super) fn filled(&self, aim: &Aim, text: &str, known: &[Known]) -> Filled {
        let now = (self.sources.now)().to_zoned(jiff::tz::TimeZone::system());
        let words = Words { text, now: &now, known, fixed: Some(&aim.fixed) };
        self.forms.of(&aim.entry).fill(&words)
    }
}

/// A question is rather one to a tool that takes up what it names: "payment pay-7", "order 12". Any request is rather one to a tool
/// that takes up what it points to: "the second one".
fn names(found: &Found, text: &str, asks: bool) -> bool {
    match &found.source {
        Source::Request(span) => {
            let words = text.get(span.clone()).unwrap_or_default();
            asks && words.bytes().any(|letter| letter.is_ascii_digit())
        }
        Source::Conversation => true,
        Source::Default | Source::Answer | Source::Written => false,
    }
}

/// The choice that is meant, or those that may be.
fn choose(mut choices: Vec<Choice>, chance: f32) -> Meaning {
    choices.sort_by(|a, b| b.rank.total_cmp(&a.rank));
    let best = choices[0].rank;
    let share = |choice: &Choice| (SHARPNESS * (choice.rank - best)).exp();
    let total: f32 = choices.iter().map(share).sum();
    for choice in &mut choices {
        choice.aim.confidence = chance * (SHARPNESS * (choice.rank - best)).exp() / total;
    }
    choices.retain(|choice| choice.rank >= CLOSE * best);
    choices.sort_by(|a, b| (b.rank + b.boost).total_cmp(&(a.rank + a.boost)));
    // Of what only reads the best is taken: a wrong one harms nobody.
    if choices.len() == 1 || choices.iter().all(|choice| choice.reads()) && choices[0].filled.call().is_some()
    {
        let Choice { aim, filled, .. } = choices.swap_remove(0);
        return Meaning::This(Box::new(Plan::ours(aim, filled)));
    }
    Meaning::Unclear(choices.into_iter().map(|choice| choice.aim).collect())
}

/// Why a tool may be meant.
fn near_by(near: &Nearness, boost: f32) -> String {
    let fits = format!("meaning {:.2}, words {:.2}", near.meaning.max(0.0), near.words);
    let learned = if near.learned > 0.0 {
        format!(", like what it was called for {:.2}", near.learned)
    } else {
        String::new()
    };
    let used = if boost > 0.0 { ", used lately" } else { "" };
    format!("{fits}{learned}{used}")
}

/// The one parameter that a command's text is for, where it has but one and that is plain text.
fn whole_text(aim: &Aim) -> Option<String> {
    let schema = aim.entry.tool.spec().input.document();
    let required = schema.get("required")?.as_array()?;
    let mut open = required.iter().filter_map(Value::as_str).filter(|name| !aim.fixed.contains_key(*name));
    let (name, None) = (open.next()?, open.next()) else { return None };
    let about = schema.get("properties")?.get(name)?;
    let plain = about.get("type").is_some_and(|kind| kind == "string")
        && about.get("enum").is_none()
        && about.get("format").is_none();
    plain.then(|| name.to_owned())
}
