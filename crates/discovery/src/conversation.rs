//! What a conversation is about: the things that were mentioned and returned, what the caller prefers, the tools it works with.
//!
//! A state for each principal, made of events and of nothing else: the same events give the same state, so that the event log is
//! where it is kept. Each list is bounded and forgets what is old; time is read from the events and passed in.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::arguments::{Known, is_identifier};
use crate::text::{beginning, split};

/// The most things, preferences and tools that are remembered.
const ENTITIES: usize = 200;
const PREFERENCES: usize = 50;
const TOOLS: usize = 30;

/// The longest value that is remembered, in bytes as JSON, and the longest name.
const LONGEST: usize = 512;
const LONGEST_NAME: usize = 64;

/// The most members of a result that are read, and of a list in it.
const MEMBERS: usize = 64;
const ROWS: usize = 20;

/// How long things and tools are remembered; preferences stay.
pub const LIFE: Duration = Duration::from_secs(30 * 60);

/// The most that a tool is put forward for having been used.
const BOOST: f32 = 0.15;

/// What has happened in a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A tool was called and answered.
    Called {
        /// When, in milliseconds since 1970.
        at: u64,
        /// The tool's key.
        tool: String,
        /// Its arguments.
        arguments: Value,
        /// What it returned; null where that is no JSON.
        result: Value,
    },
    /// Things were mentioned.
    Mentioned {
        /// When, in milliseconds since 1970.
        at: u64,
        /// What each is, as a parameter is named, and its value.
        entities: Vec<(String, Value)>,
    },
    /// The caller prefers something from now on.
    Preferred {
        /// When, in milliseconds since 1970.
        at: u64,
        /// As the parameter is named: `currency`.
        name: String,
        /// The value; null takes it back.
        value: Value,
    },
    /// Forget everything.
    Cleared {
        /// When, in milliseconds since 1970.
        at: u64,
    },
}

impl Event {
    /// A call, with as much of its arguments and result as a conversation reads.
    #[must_use]
    pub fn called(at: u64, tool: &str, arguments: &Value, result: &Value) -> Self {
        let tool = beginning(tool, 4 * LONGEST_NAME).to_owned();
        let mut left = ENTITIES;
        let (arguments, result) = (kept(arguments, 0, &mut left), kept(result, 0, &mut left));
        Self::Called { at, tool, arguments, result }
    }

    /// When it was, in milliseconds since 1970.
    #[must_use]
    pub fn at(&self) -> u64 {
        match self {
            Self::Called { at, .. } | Self::Mentioned { at, .. } => *at,
            Self::Preferred { at, .. } | Self::Cleared { at } => *at,
        }
    }
}

/// What is read of a value, and no more of it.
fn kept(value: &Value, depth: usize, left: &mut usize) -> Value {
    match value {
        Value::Object(members) if depth < 4 => {
            let mut all = serde_json::Map::new();
            for (name, value) in members.iter().take(MEMBERS) {
                let nests = value.is_object() || value.is_array();
                if *left == 0 || !nests && !fits(name, value) {
                    continue;
                }
                *left -= usize::from(!nests);
                all.insert(name.clone(), kept(value, depth + 1, left));
            }
            Value::Object(all)
        }
        Value::Array(rows) if depth < 4 => {
            rows.iter().take(ROWS).map(|row| kept(row, depth + 1, left)).collect()
        }
        Value::Object(_) | Value::Array(_) => Value::Null,
        plain => plain.clone(),
    }
}

/// Something that was mentioned or returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entity {
    /// What it is, as a parameter is named: `order_id`.
    name: String,
    value: Value,
    /// Which of a list it is, from 1; 0 where it stands alone.
    row: usize,
    /// The event that it is from.
    turn: u64,
    at: u64,
}

/// A tool that was used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Used {
    tool: String,
    times: u32,
    at: u64,
    arguments: Value,
}

/// The state of one principal's conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    entities: VecDeque<Entity>,
    preferences: VecDeque<(String, Value)>,
    tools: VecDeque<Used>,
    turn: u64,
}

/// The values that a request may mean beside what it says, the likeliest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// For `arguments::Request::known`.
    pub known: Vec<Known>,
    /// A word such as "that" or "the second one" pointed to something.
    pub referred: bool,
}

impl Conversation {
    /// The state after these events, in their order.
    #[must_use]
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut state = Self::default();
        for event in events {
            state.apply(event);
        }
        state
    }

    /// Goes on by one event.
    pub fn apply(&mut self, event: &Event) {
        self.turn += 1;
        match event {
            Event::Called { at, tool, arguments, result } => {
                self.forget(*at);
                let own = thing(tool);
                self.read(arguments, &own, 0, *at, 0);
                self.read(result, &own, 0, *at, 0);
                self.used(tool, arguments, *at);
            }
            Event::Mentioned { at, entities } => {
                self.forget(*at);
                for (name, value) in entities.iter().take(MEMBERS) {
                    self.keep(name, value, 0, *at);
                }
            }
            Event::Preferred { name, value, .. } => {
                self.preferences.retain(|(had, _)| had != name);
                if !value.is_null() && fits(name, value) {
                    self.preferences.push_front((name.clone(), value.clone()));
                    self.preferences.truncate(PREFERENCES);
                }
            }
            Event::Cleared { .. } => *self = Self { turn: self.turn, ..Self::default() },
        }
    }

    fn used(&mut self, tool: &str, arguments: &Value, at: u64) {
        let before =
            self.tools.iter().position(|used| used.tool == tool).and_then(|place| self.tools.remove(place));
        let times = before.map_or(0, |used| used.times).saturating_add(1);
        // What is too large to keep is not repeated.
        let arguments =
            if arguments.to_string().len() <= 4 * LONGEST { arguments.clone() } else { Value::Null };
        self.tools.push_front(Used {
            tool: beginning(tool, 4 * LONGEST_NAME).to_owned(),
            times,
            at,
            arguments,
        });
        self.tools.truncate(TOOLS);
    }

    /// Remembers the plain values of an object, and of the objects in it.
    fn read(&mut self, value: &Value, own: &str, row: usize, at: u64, depth: usize) {
        match value {
            Value::Object(members) if depth < 4 => {
                for (name, value) in members.iter().take(MEMBERS) {
                    match value {
                        Value::Object(_) => self.read(value, name, row, at, depth + 1),
                        Value::Array(_) => self.read(value, single(name), row, at, depth + 1),
                        // The `id` of an order is what others call `order_id`.
                        _ if name == "id" && !own.is_empty() => {
                            self.keep(&format!("{own}_id"), value, row, at)
                        }
                        _ => self.keep(name, value, row, at),
                    }
                }
            }
            Value::Array(rows) if depth < 4 => {
                // From the back, so that the first is the newest and found first.
                for (place, value) in rows.iter().enumerate().take(ROWS).rev() {
                    self.read(value, own, place + 1, at, depth + 1);
                }
            }
            _ => {}
        }
    }

    fn keep(&mut self, name: &str, value: &Value, row: usize, at: u64) {
        if fits(name, value) {
            self.entities.retain(|had| had.name != name || had.value != *value || had.row != row);
            self.entities.push_front(Entity {
                name: name.to_owned(),
                value: value.clone(),
                row,
                turn: self.turn,
                at,
            });
            self.entities.truncate(ENTITIES);
        }
    }

    fn forget(&mut self, now: u64) {
        let fresh = |at: u64| now.saturating_sub(at) <= u64::try_from(LIFE.as_millis()).unwrap_or(u64::MAX);
        self.entities.retain(|entity| fresh(entity.at));
        self.tools.retain(|used| fresh(used.at));
    }

    /// What a request may mean, at a time in milliseconds since 1970: what it points to first ("the second one", "that order"), then
    /// preferences. Things that it does not point to are no part of it.
    #[must_use]
    pub fn context(&self, request: &str, now: u64) -> Context {
        let mut fresh = self.clone();
        fresh.forget(now);
        let pointer = Pointer::of(request);
        let mut known: Vec<Known> = Vec::new();
        let mut add = |name: &str, value: &Value, pointed: bool| {
            if !known.iter().any(|known| known.name == name) {
                known.push(Known { name: name.to_owned(), value: value.clone(), pointed });
            }
        };
        let mut referred = false;
        if pointer.same
            && let Some(Value::Object(members)) = fresh.tools.front().map(|used| &used.arguments)
        {
            referred = true;
            members.iter().for_each(|(name, value)| add(name, value, true));
        }
        if let Some(row) = pointer.row {
            let rows = |entity: &&Entity| entity.row > 0;
            let turn = fresh.entities.iter().find(rows).map(|entity| entity.turn);
            let of_turn = || fresh.entities.iter().filter(rows).filter(|entity| Some(entity.turn) == turn);
            let last = of_turn().map(|entity| entity.row).max();
            let row = if row == LAST { last } else { Some(row) };
            for entity in of_turn().filter(|entity| Some(entity.row) == row) {
                referred = true;
                add(&entity.name, &entity.value, true);
            }
        } else if pointer.that {
            for entity in &fresh.entities {
                // "that order" is no customer, and "it" is a thing and none of what is said of it.
                let fits = pointer.nouns.is_empty() && is_identifier(&entity.name)
                    || pointer.nouns.iter().any(|noun| entity.name.to_lowercase().contains(&**noun));
                if fits {
                    referred = true;
                    add(&entity.name, &entity.value, true);
                }
            }
        }
        for (name, value) in &fresh.preferences {
            add(name, value, false);
        }
        Context { known, referred }
    }

    /// How much each tool is put forward for having been used lately, at most 0.15 on a score from 0 to 1.
    #[must_use]
    pub fn boosts(&self, now: u64) -> Vec<(&str, f32)> {
        let life = LIFE.as_secs_f32() * 1_000.0;
        #[expect(clippy::cast_precision_loss, reason = "half an hour in milliseconds")]
        let boost = |used: &Used| {
            let left = 1.0 - now.saturating_sub(used.at).min(1 << 40) as f32 / life;
            let often = 1.0 - 0.5_f32.powf(used.times.min(20) as f32);
            BOOST * left.max(0.0) * often
        };
        self.tools.iter().map(|used| (&*used.tool, boost(used))).filter(|(_, boost)| *boost > 0.0).collect()
    }
}

fn fits(name: &str, value: &Value) -> bool {
    let short = match value {
        Value::String(text) => text.len() <= LONGEST && !text.is_empty(),
        Value::Number(_) | Value::Bool(_) => true,
        _ => false,
    };
    short && name.len() <= LONGEST_NAME
}

/// What a tool is about, from its name: `shop.get_order` of an order.
fn thing(tool: &str) -> String {
    let mut last = String::new();
    split(tool, |word| word.clone_into(&mut last));
    single(&last).to_owned()
}

/// One of several: `orders` without its ending.
fn single(name: &str) -> &str {
    match name.strip_suffix('s') {
        Some(one) if !one.ends_with(['s', 'u', 'i']) && one.len() > 2 => one,
        _ => name,
    }
}

/// The last of a list.
const LAST: usize = usize::MAX;

const ORDINALS: [&str; 10] =
    ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];

/// What the words of a request point to.
#[derive(Debug, Default, PartialEq)]
struct Pointer {
    same: bool,
    that: bool,
    row: Option<usize>,
    /// What "that" is said of.
    nouns: Vec<String>,
}

impl Pointer {
    fn of(request: &str) -> Self {
        let mut words: Vec<String> = Vec::new();
        split(beginning(request, 4 << 10), |word| words.push(word.to_owned()));
        let mut pointer = Self::default();
        let at = |place: usize| words.get(place).map_or("", String::as_str);
        for place in 0..words.len() {
            let next = single(at(place + 1));
            match at(place) {
                "same" => pointer.same = true,
                "again" => pointer.same = true,
                "it" | "them" | "one" | "him" | "her" => pointer.that = true,
                "that" | "this" | "those" | "these" => {
                    pointer.that = true;
                    if next.len() > 2 && next != "one" {
                        pointer.nouns.push(next.to_owned());
                    }
                }
                "last" if next == "one" => pointer.row = Some(LAST),
                word => {
                    let ordinal = ORDINALS.iter().position(|ordinal| *ordinal == word);
                    if let Some(row) = ordinal.filter(|_| place > 0 && at(place - 1) == "the") {
                        pointer.row = Some(row + 1);
                    }
                }
            }
        }
        pointer
    }
}

#[cfg(test)]
mod tests;
