//! `ask`: what is to be done, in plain words, to the calls that do it. What only reads is done at once; what changes something is
//! shown first.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_discovery::ToolEntry;
use trunkline_discovery::arguments::{Filled, Form, Found, Request as Words, Source};
use trunkline_discovery::search::{Nearness, clauses_of};
use trunkline_model::{Call, CallContext, Failure, Json, Operation, Outcome, ToolResult};

use super::SERVICE;
use super::signature::{cut, effects, signature, summary};
use crate::pipeline::Request;
use crate::{Error, Gateway};

pub(super) const DESCRIPTION: &str = "Does what is asked in plain words: finds the tools and their arguments. What only reads \
is done at once, what changes something is shown first and done with \"do\". Asks for what is missing.";

/// From where on a tool is near enough to be meant.
const SURE: f32 = 0.31;

/// And where a part of a request is a wish of its own.
const PART: f32 = 0.4;

/// A tool that fits almost as well as the best may be the one that is meant.
const CLOSE: f32 = 0.95;

/// How sure a value has to be that something is changed by.
const LIKELY: f32 = 0.5;

/// How many tools are looked at closely.
const LOOKED_AT: usize = 8;

/// The longest request, in bytes.
const LONGEST: usize = 4 << 10;

pub(super) fn input() -> Value {
    json!({
        "request": {"type": "string", "description": "What is to be done."},
        "do": {"type": "boolean", "description": "Also do what changes something."},
        "required": ["request"],
    })
}

#[derive(Deserialize)]
struct Given {
    request: String,
    #[serde(rename = "do", default)]
    act: bool,
}

/// One wish and what is meant by it.
struct Wish<'a> {
    text: &'a str,
    meaning: Meaning,
}

enum Meaning {
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

pub(super) async fn execute(
    gateway: &Arc<Gateway>,
    call: &Call,
    context: &CallContext,
) -> Result<Outcome, Failure> {
    let given: Given = call.arguments.to().map_err(|error| Error::Params(error.to_string()))?;
    if given.request.len() > LONGEST {
        return Err(Error::Params(format!("a request has at most {LONGEST} bytes")).into());
    }
    let wishes = gateway.understand(&given.request, context);
    let ready: Vec<(&ToolEntry, Json)> = wishes
        .iter()
        .filter_map(|wish| match &wish.meaning {
            Meaning::This(this) => Some((&this.0, this.1.call().filter(|_| !dares(&this.0, &this.1))?)),
            _ => None,
        })
        .collect();
    let reads = ready.iter().all(|(entry, _)| entry.tool.spec().effects.read_only);
    if ready.len() == wishes.len() && (reads || given.act) {
        return gateway.do_all(&ready, given.act.then_some(&*given.request), call, context).await;
    }
    Ok(told(&wishes).into())
}

impl Gateway {
    /// The wishes of a request, in their order. It is taken apart only where its parts mean different tools.
    fn understand<'a>(&self, request: &'a str, context: &CallContext) -> Vec<Wish<'a>> {
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

    /// Makes the calls: one as it is, several as a plan that is undone where one of them fails.
    async fn do_all(
        self: &Arc<Self>,
        ready: &[(&ToolEntry, Json)],
        learned: Option<&str>,
        call: &Call,
        context: &CallContext,
    ) -> Result<Outcome, Failure> {
        let (name, arguments) = match ready {
            [(entry, arguments)] => (entry.name.clone(), arguments.clone()),
            several => {
                let step = |(number, (entry, arguments)): (usize, &(&ToolEntry, Json))| {
                    let id = format!("s{}", number + 1);
                    let before = format!("s{number}");
                    let after = if number == 0 { json!([]) } else { json!([before]) };
                    json!({"id": id, "tool": &*entry.name, "args": arguments.to_value(), "after": after})
                };
                let steps: Vec<Value> = several.iter().enumerate().map(step).collect();
                (Arc::from("run_plan"), Json::from_value(&json!({"plan": {"steps": steps}})))
            }
        };
        let request = Request {
            id: self.new_call(),
            door: "ask",
            operation: Operation::CallTool,
            name: name.clone(),
            arguments: arguments.clone(),
            meta: None,
            resume: None,
            idempotency_key: call.idempotency_key.clone(),
            journaled: false,
            transaction: None,
            stands_in: false,
            priority: None,
            wish: None,
        };
        let outcome = Box::pin(self.call(request, context.clone())).await?;
        // Who has seen what is to be done and wants it done, has said that it was understood.
        if let ([(entry, _)], Outcome::Complete(result), Some(request)) = (ready, &outcome, learned)
            && !result.is_error
        {
            self.catalog.learn(request, &entry.name);
        }
        Ok(outcome)
    }
}

/// Whether a call that changes something rests on a value that is a guess.
fn dares(entry: &ToolEntry, filled: &Filled) -> bool {
    !entry.tool.spec().effects.read_only && filled.confidence() < LIKELY
}

/// What was understood, what is missing, and what to do next.
fn told(wishes: &[Wish<'_>]) -> ToolResult {
    let mut text = String::new();
    let (mut missing, mut calls) = (false, Vec::new());
    for wish in wishes {
        match &wish.meaning {
            Meaning::Nothing(nearest) => {
                missing = true;
                let _ = writeln!(text, "Nothing here does \"{}\".", cut(wish.text.trim(), 200));
                for entry in nearest {
                    let _ =
                        writeln!(text, "  {} {}", entry.name, summary(&entry.tool.spec().description, 80));
                }
            }
            Meaning::Unclear(entries) => {
                missing = true;
                let _ = writeln!(text, "Which of these is meant by \"{}\"?", cut(wish.text.trim(), 200));
                for entry in entries {
                    let about = summary(&entry.tool.spec().description, 120);
                    let _ = writeln!(text, "  {} {about}", signature(entry));
                }
            }
            Meaning::This(this) => {
                let (entry, filled) = &**this;
                let does = effects(entry.tool.spec().effects);
                let _ = writeln!(text, "{} {} [{does}]", entry.name, filled.arguments);
                for found in filled.found.iter().filter(|found| found.confidence < LIKELY) {
                    if let Source::Request(span) = &found.source
                        && let Some(words) = wish.text.get(span.clone())
                    {
                        let _ = writeln!(text, "  Is {} \"{}\"?", found.path, cut(words, 60));
                    }
                }
                missing |= dares(entry, filled);
                if let Some(question) = filled.question() {
                    missing = true;
                    let _ = writeln!(text, "  {question}");
                }
                calls.push(json!({"name": &*entry.name, "arguments": filled.arguments}));
            }
        }
    }
    text.push_str(match (missing, calls.is_empty()) {
        (true, true) => "Nothing was done. Say it in other words.",
        (true, false) => "Nothing was done. Ask again with what is missing, or call the tool yourself.",
        (false, _) => {
            "Nothing was done yet. Ask again with \"do\": true to do it, or call the tool yourself."
        }
    });
    let structured = json!({"done": false, "asks": missing, "calls": calls});
    ToolResult::content(json!([{"type": "text", "text": text}]), Some(structured), false)
}
