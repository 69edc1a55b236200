//! What a request means: its wishes in their order, and the tool and arguments of each.

use trunkline_discovery::ToolEntry;
use trunkline_discovery::arguments::{Filled, Form, Found, Request as Words, Source};
use trunkline_discovery::search::{Nearness, clauses_of};
use trunkline_model::CallContext;

use super::super::SERVICE;
use crate::Gateway;

/// From where on a tool is near enough to be meant.
const SURE: f32 = 0.31;

/// And where a part of a request is a wish of its own.
const PART: f32 = 0.4;

/// A tool that fits almost as well as the best may be the one that is meant.
const CLOSE: f32 = 0.95;

/// How many tools are looked at closely.
const LOOKED_AT: usize = 8;

/// One wish and what is meant by it.
pub(super) struct Wish<'a> {
    pub(super) text: &'a str,
    pub(super) meaning: Meaning,
}

pub(super) enum Meaning {
    /// No tool does that; these are the nearest.
    Nothing(Vec<ToolEntry>),
    /// One of these.
    Unclear(Vec<ToolEntry>),
    /// This one, with what was found of its arguments.
    This(Box<(ToolEntry, Filled)>),
}

/// A tool that may be meant.
struct Choice {
    entry: ToolEntry,
    filled: Filled,
    rank: f32,
}

impl Choice {
    fn reads(&self) -> bool {
        self.entry.tool.spec().effects.read_only
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
    /// The wishes of a request, in their order. It is taken apart only where its parts mean different tools.
    pub(super) fn understand<'a>(&self, request: &'a str, context: &CallContext) -> Vec<Wish<'a>> {
        let parts: Vec<(&str, Meaning)> =
            clauses_of(request).into_iter().map(|text| (text, self.meant(text, context))).collect();
        let near = |text: &str, entry: &ToolEntry| {
            let near = self.catalog.nearness(text, std::iter::once(entry));
            near.iter().any(|near| near.sure() >= PART)
        };
        let tool = |(text, meaning): &(&str, Meaning)| match meaning {
            Meaning::This(this) if near(text, &this.0) => Some(this.0.name.clone()),
            _ => None,
        };
        let mut tools: Vec<_> = parts.iter().filter_map(tool).collect();
        let all = tools.len();
        tools.dedup();
        if all == parts.len() && tools.len() > 1 {
            return parts.into_iter().map(|(text, meaning)| Wish { text, meaning }).collect();
        }
        vec![Wish { text: request, meaning: self.meant(request, context) }]
    }

    fn meant(&self, text: &str, context: &CallContext) -> Meaning {
        let spelled = self.catalog.spelled(text);
        let found = self.catalog.search(&spelled, LOOKED_AT, |entry| {
            let spec = entry.tool.spec();
            let flows = trunkline_orchestrator::service::SERVICE;
            let built_in = spec.service.as_str() == SERVICE
                || spec.service.as_str() == flows && trunkline_orchestrator::service::is_built_in(&spec.name);
            !built_in && entry.service.is_up() && self.shows(&context.principal, spec)
        });
        let nearness = self.catalog.nearness(&spelled, found.iter().map(|(entry, _)| entry));
        let surest = nearness.iter().map(Nearness::sure).fold(0.0_f32, f32::max);
        if surest < SURE {
            return Meaning::Nothing(found.into_iter().take(3).map(|(entry, _)| entry).collect());
        }
        let asks = asks(&spelled);
        let mut choices: Vec<Choice> = found
            .into_iter()
            .zip(nearness)
            .map(|((entry, score), near)| {
                let filled = self.filled(&entry, text);
                // A question is rather one to a tool that takes up what it names: "payment pay-7", "order 12".
                let named = |found: &Found| match &found.source {
                    Source::Request(span) => {
                        let words = text.get(span.clone()).unwrap_or_default();
                        words.bytes().any(|letter| letter.is_ascii_digit())
                    }
                    _ => false,
                };
                let uses = asks && filled.call().is_some() && filled.found.iter().any(named);
                let rank = 0.4 * score
                    + 0.4 * near.sure() / surest
                    + 0.2 * near.name
                    + if uses { 0.15 } else { 0.0 };
                Choice { entry, filled, rank }
            })
            .collect();
        if asks && choices.iter().any(Choice::reads) {
            choices.retain(Choice::reads);
        }
        choices.sort_by(|a, b| b.rank.total_cmp(&a.rank));
        let best = choices[0].rank;
        choices.retain(|choice| choice.rank >= CLOSE * best);
        // Of what only reads the best is taken: a wrong one harms nobody.
        if choices.len() == 1
            || choices.iter().all(|choice| choice.reads()) && choices[0].filled.call().is_some()
        {
            let Choice { entry, filled, .. } = choices.swap_remove(0);
            return Meaning::This(Box::new((entry, filled)));
        }
        Meaning::Unclear(choices.into_iter().map(|choice| choice.entry).collect())
    }

    fn filled(&self, entry: &ToolEntry, text: &str) -> Filled {
        let spec = entry.tool.spec();
        let now = (self.sources.now)().to_zoned(jiff::tz::TimeZone::system());
        let form = Form::new(&spec.name, &spec.description, &spec.input);
        form.fill(&Words { text, now: &now, known: &[] })
    }
}
