//! Arguments from plain words, without a model: a request and a schema in, the arguments of a call out.
//!
//! Everything in the request that could be a value is read first (numbers, dates, addresses, quoted text, names, phrases, lists). Each
//! parameter then weighs what it could take, or that it is left out, by a log-linear model over what a value looks like and what
//! stands around it; the best pairs win, and no text is used for two. What comes of it fits the schema, or is told as missing.

mod assignment;
mod candidates;
mod dates;
mod features;
mod numbers;
mod parameters;
mod spans;
mod tokens;
pub mod training;
mod weights;
mod written;

use std::ops::Range;

use jiff::Zoned;
use rust_stemmers::{Algorithm, Stemmer};
use serde_json::{Map, Value};
use trunkline_model::{Json, Schema};

use crate::embed::Table;
use assignment::Choice;
use candidates::{Candidate, Reading};
use features::Hits;
use parameters::Parameter;

/// How much less sure than of leaving it out one has to be of a value that is required. Below it is asked for.
const DARE: f32 = -2.5;

/// The same for a value that need not be there.
const DARE_OPTIONAL: f32 = -1.6;

/// How sure a value is that was taken from the conversation, by the name of the parameter.
const REMEMBERED: f32 = 0.7;

/// What a tool asks for, made ready once and used for every request.
pub struct Form {
    schema: Schema,
    parameters: Vec<Parameter>,
    /// Stems of the tool's name and description.
    tool: Vec<String>,
}

/// What is asked, and what is known beside it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The words. Of more than 8 KiB only the beginning is read.
    pub text: &'a str,
    /// What "tomorrow" is counted from, in the caller's zone.
    pub now: &'a Zoned,
    /// Values from the conversation, the likeliest first.
    pub known: &'a [Known],
    /// Members of the arguments that are settled, whatever the request says.
    pub fixed: Option<&'a Map<String, Value>>,
}

/// A value from the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// What it is, as a parameter is named: `order_id`.
    pub name: String,
    /// The value.
    pub value: Value,
    /// Words of the request point to it ("that order"). Else it is a preference.
    pub pointed: bool,
}

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Words of the request, in bytes of it.
    Request(Range<usize>),
    /// The conversation before.
    Conversation,
    /// The default of the schema.
    Default,
    /// The caller was asked for it.
    Answer,
    /// A model wrote it, and the request doesn't say it.
    Written,
}

/// A value and why it was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Where it goes, as a JSON Pointer.
    pub path: String,
    /// The value.
    pub value: Value,
    /// Where it is from.
    pub source: Source,
    /// How sure it is, from 0 to 1.
    pub confidence: f32,
}

/// A required value that the request doesn't tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Where it goes, as a JSON Pointer.
    pub path: String,
    /// What is wanted, in words.
    pub wanted: String,
}

/// What was made of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// The values that were found.
    pub found: Vec<Found>,
    /// What is missing.
    pub missing: Vec<Missing>,
    /// All values as an object, those of an unfinished call as well.
    pub arguments: Value,
    /// Nothing is missing, and the schema takes the arguments.
    complete: bool,
}

impl Filled {
    /// The arguments of the call, where nothing is missing and the schema takes them.
    #[must_use]
    pub fn call(&self) -> Option<Json> {
        self.complete.then(|| Json::from_value(&self.arguments))
    }

    /// One question for all that is missing.
    #[must_use]
    pub fn question(&self) -> Option<String> {
        let wanted: Vec<&str> = self.missing.iter().map(|missing| &*missing.wanted).collect();
        match &*wanted {
            [] => None,
            [one] => Some(format!("What is {one}?")),
            [first @ .., last] => Some(format!("What are {} and {last}?", first.join(", "))),
        }
    }

    /// How sure the least sure value is; 1 where there is none.
    #[must_use]
    pub fn confidence(&self) -> f32 {
        self.found.iter().map(|found| found.confidence).fold(1.0, f32::min)
    }
}

impl Form {
    /// Makes a tool's schema ready.
    #[must_use]
    pub fn new(name: &str, description: &str, schema: &Schema) -> Self {
        let stemmer = Stemmer::create(Algorithm::English);
        let told = format!("{name} {}", crate::text::beginning(description, 2_000));
        let parameters = parameters::of(schema.document(), Table::built_in());
        Self { schema: schema.clone(), parameters, tool: parameters::stems(&stemmer, &told) }
    }

    /// The arguments that a request tells.
    #[must_use]
    pub fn fill(&self, request: &Request<'_>) -> Filled {
        let reading = Reading::new(request.text, request.now);
        let open = |parameter: &Parameter| {
            if request.fixes(parameter) {
                return Vec::new();
            }
            let choices = self.weigh(&reading, parameter);
            // "Ship that order to Berlin": what is pointed to is the order, unless its id is written out.
            let pointed = parameter.required && is_identifier(parameter.name_in_full());
            let written = |choice: &Choice| has_digit(&choice.candidate.value);
            if pointed && request.known.iter().any(|known| known.pointed && self.is_named(known, parameter)) {
                return choices.into_iter().filter(written).collect();
            }
            choices
        };
        let weighed: Vec<Vec<Choice>> = self.parameters.iter().map(open).collect();
        let mut found: Vec<(usize, Found)> = Vec::new();
        for (at, (taken, choices)) in assignment::of(&weighed).into_iter().zip(weighed).enumerate() {
            let Some(choice) = taken.and_then(|taken| choices.into_iter().nth(taken)) else { continue };
            let Candidate { start, end, value, .. } = choice.candidate;
            let path = pointer(&self.parameters[at].path);
            found.push((
                at,
                Found { path, value, source: Source::Request(start..end), confidence: choice.confidence },
            ));
        }
        self.sort(&mut found);
        self.finish(found, request)
    }

    /// What was filled in, with values that the caller was asked for, by their paths.
    #[must_use]
    pub fn answered(&self, mut filled: Filled, answers: &[(String, Value)]) -> Filled {
        for (path, value) in answers {
            put(&mut filled.arguments, path, value.clone());
            filled.missing.retain(|missing| missing.path != *path);
            filled.found.retain(|found| found.path != *path);
            let (path, value) = (path.clone(), value.clone());
            filled.found.push(Found { path, value, source: Source::Answer, confidence: 1.0 });
        }
        let valid = self.schema.validate(&Json::from_value(&filled.arguments)).is_ok();
        filled.complete = valid && filled.missing.is_empty() && self.schema.defect().is_none();
        if !filled.complete && filled.missing.is_empty() {
            filled.missing.push(rest());
        }
        filled
    }

    /// What a parameter could take, the best first.
    fn weigh(&self, reading: &Reading<'_>, parameter: &Parameter) -> Vec<Choice> {
        let hits = Hits::new(reading, parameter);
        let candidates = reading.candidates(parameter);
        let nothing = features::score(&features::of_nothing(parameter, &hits, candidates.len()));
        let score =
            |candidate| features::score(&features::of(reading, &self.tool, parameter, &hits, candidate));
        let scores: Vec<f32> = candidates.iter().map(score).collect();
        let most = scores.iter().copied().fold(nothing, f32::max);
        let total: f32 = scores.iter().chain([&nothing]).map(|score| (score - most).exp()).sum();
        let least = if parameter.required { DARE } else { DARE_OPTIONAL };
        let mut choices: Vec<Choice> = Vec::new();
        for (candidate, score) in candidates.into_iter().zip(scores) {
            let gain = score - nothing - least;
            if gain > 0.0 {
                choices.push(Choice { candidate, gain, confidence: (score - most).exp() / total });
            }
        }
        choices.sort_by(|a, b| b.gain.total_cmp(&a.gain));
        choices.truncate(assignment::CHOICES);
        choices
    }

    /// Gives those of several parameters that differ by a number only (`point1`, `point2`) their values in the order of the request.
    fn sort(&self, found: &mut [(usize, Found)]) {
        let stem = |at: usize| {
            let parameter = &self.parameters[at];
            let name = parameter.path.last().map_or("", String::as_str);
            let bare = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '_');
            let bare = ["first_", "second_", "third_"]
                .iter()
                .find_map(|word| bare.strip_prefix(word))
                .unwrap_or(bare);
            (bare.len() < name.len()).then_some((bare, parameter.want))
        };
        found.sort_by_key(|(at, _)| *at);
        for first in 0..found.len() {
            let Some((bare, want)) = stem(found[first].0) else { continue };
            for next in first + 1..found.len() {
                let (head, tail) = found.split_at_mut(next);
                let Some((at, other)) = tail.first_mut() else { continue };
                let one = &mut head[first].1;
                let later = matches!((&one.source, &other.source), (Source::Request(a), Source::Request(b)) if a.start > b.start);
                if later && stem(*at) == Some((bare, want)) {
                    std::mem::swap(&mut one.value, &mut other.value);
                    std::mem::swap(&mut one.source, &mut other.source);
                }
            }
        }
    }

    /// Adds what the conversation and the schema know, and makes sure that the schema takes it all.
    fn finish(&self, found: Vec<(usize, Found)>, request: &Request<'_>) -> Filled {
        let mut values: Vec<Option<Found>> = self.parameters.iter().map(|_| None).collect();
        for (at, one) in found {
            values[at] = Some(one);
        }
        for (value, parameter) in values.iter_mut().zip(&self.parameters) {
            if value.is_some() || request.fixes(parameter) {
                continue;
            }
            let path = pointer(&parameter.path);
            // A preference holds for what need not be there, too.
            let same =
                |known: &&Known| (parameter.required || !known.pointed) && self.is_named(known, parameter);
            *value = if let Some(known) = request.known.iter().find(same) {
                Some(Found {
                    path,
                    value: known.value.clone(),
                    source: Source::Conversation,
                    confidence: REMEMBERED,
                })
            } else {
                let default = parameter.default.clone().filter(|_| parameter.required);
                default.map(|value| Found { path, value, source: Source::Default, confidence: 1.0 })
            };
        }
        let mut checked = self.check(&values, request.fixed);
        if let Err(paths) = &checked {
            // What the schema does not take is asked for, and left out where it need not be there.
            for value in &mut values {
                if value.as_ref().is_some_and(|value| {
                    paths.iter().any(|path| {
                        path.is_empty() || value.path.starts_with(&**path) || path.starts_with(&*value.path)
                    })
                }) {
                    *value = None;
                }
            }
            checked = self.check(&values, request.fixed);
        }
        let mut missing: Vec<Missing> = Vec::new();
        for (value, parameter) in values.iter().zip(&self.parameters) {
            if value.is_none() && parameter.required && !request.fixes(parameter) {
                missing.push(Missing { path: pointer(&parameter.path), wanted: wanted(parameter) });
            }
        }
        let complete = checked.is_ok() && missing.is_empty() && self.schema.defect().is_none();
        if !complete && missing.is_empty() {
            missing.push(rest());
        }
        let arguments = object(&self.parameters, &values, request.fixed);
        Filled { found: values.into_iter().flatten().collect(), missing, arguments, complete }
    }

    /// Whether a value of the conversation is that of a parameter: `order_id` is `orderId`, and the `id` of a tool about orders.
    fn is_named(&self, known: &Known, parameter: &Parameter) -> bool {
        let (known, name) = (plain(&known.name), plain(parameter.name_in_full()));
        known == name
            || name == "id"
                && known.strip_suffix("id").is_some_and(|of| self.tool.iter().any(|stem| stem == of))
    }

    fn check(&self, values: &[Option<Found>], fixed: Option<&Map<String, Value>>) -> Result<(), Vec<String>> {
        let arguments = Json::from_value(&object(&self.parameters, values, fixed));
        self.schema.validate(&arguments).map_err(|violations| {
            // That something required is not there is no fault of a value.
            let of_value = violations
                .into_iter()
                .filter(|violation| !violation.expected.starts_with("the required property"));
            of_value.map(|violation| violation.path).collect()
        })
    }
}

impl Request<'_> {
    /// Whether a parameter is settled.
    fn fixes(&self, parameter: &Parameter) -> bool {
        let (Some(fixed), Some((first, rest))) = (self.fixed, parameter.path.split_first()) else {
            return false;
        };
        let mut settled = fixed.get(first);
        for part in rest {
            match settled {
                Some(Value::Object(members)) => settled = members.get(part),
                other => return other.is_some(),
            }
        }
        settled.is_some()
    }
}

/// That the schema wants more, and no parameter tells what.
fn rest() -> Missing {
    let wanted = "the rest of the arguments, as the schema asks for them".to_owned();
    Missing { path: String::new(), wanted }
}

/// Puts a value where a pointer says, with the objects around it.
fn put(arguments: &mut Value, path: &str, value: Value) {
    let mut inner = arguments;
    for part in path.split('/').skip(1) {
        if !inner.is_object() {
            *inner = Value::Object(Map::new());
        }
        let part = part.replace("~1", "/").replace("~0", "~");
        inner = &mut inner[part];
    }
    *inner = value;
}

/// A name without what it is written with.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether something tells one thing from others of its kind, by its name.
pub(crate) fn is_identifier(name: &str) -> bool {
    const LAST: [&str; 12] =
        ["id", "ids", "uuid", "key", "code", "sku", "number", "no", "ref", "reference", "slug", "email"];
    let mut last = String::new();
    crate::text::split(name, |word| word.clone_into(&mut last));
    LAST.contains(&&*last)
}

fn has_digit(value: &Value) -> bool {
    match value {
        Value::String(text) => text.bytes().any(|letter| letter.is_ascii_digit() || letter == b'@'),
        other => other.is_number(),
    }
}

/// The values as one object, nested as the schema is.
fn object(parameters: &[Parameter], values: &[Option<Found>], fixed: Option<&Map<String, Value>>) -> Value {
    let mut all = fixed.cloned().unwrap_or_default();
    for (parameter, value) in parameters.iter().zip(values) {
        let (Some(value), Some((last, path))) = (value, parameter.path.split_last()) else { continue };
        let mut inner = &mut all;
        for part in path {
            let next = inner.entry(part.clone()).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(next) = next else { return Value::Object(Map::new()) };
            inner = next;
        }
        inner.insert(last.clone(), value.value.clone());
    }
    Value::Object(all)
}

fn pointer(path: &[String]) -> String {
    path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

/// A parameter in words.
fn wanted(parameter: &Parameter) -> String {
    let mut words = Vec::new();
    crate::text::split(&parameter.path.join(" "), |word| words.push(word.to_owned()));
    let name = format!("the {}", words.join(" "));
    if parameter.closed && parameter.choices.len() <= 8 {
        let choices: Vec<String> = parameter
            .choices
            .iter()
            .map(|choice| choice.value.as_str().map_or_else(|| choice.value.to_string(), str::to_owned))
            .collect();
        return format!("{name} (one of {})", choices.join(", "));
    }
    name
}

#[cfg(test)]
mod tests;
