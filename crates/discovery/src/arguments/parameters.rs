//! What a schema asks for: one parameter for each leaf, with the words that tell what it means.

use std::collections::HashMap;

use rust_stemmers::{Algorithm, Stemmer};
use serde_json::Value;

use crate::embed::{Table, Vector};
use crate::text::split;

/// The most parameters of a form, and how deep they nest.
const MOST: usize = 64;
const DEEPEST: usize = 5;

/// The most choices of a parameter that are looked for.
const CHOICES: usize = 200;

/// What kind of value is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Text,
    Date,
    Time,
    Moment,
    Identifier,
    Email,
    Url,
    Number,
    Integer,
    Bool,
    Numbers,
    Texts,
    Choice,
    Literal,
}

pub(super) const WANTS: usize = 14;

/// What part in the sentence a value plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    From,
    To,
    Place,
    When,
    Quantity,
    Person,
    Other,
}

pub(super) const ROLES: usize = 7;

const ROLE_WORDS: [(Role, &[&str]); 6] = [
    (
        Role::From,
        &["from", "start", "origin", "sourc", "depart", "departur", "begin", "initi", "sender", "base"],
    ),
    (Role::To, &["to", "end", "destin", "target", "final", "arriv", "return", "recipi", "receiv", "until"]),
    (
        Role::Place,
        &[
            "locat", "citi", "place", "countri", "region", "state", "address", "area", "venu", "citi",
            "town", "zip",
        ],
    ),
    (Role::When, &["date", "time", "day", "year", "deadlin", "month", "birthday", "when", "period"]),
    (
        Role::Quantity,
        &["number", "num", "count", "limit", "quantiti", "amount", "size", "max", "min", "n", "top", "total"],
    ),
    (
        Role::Person,
        &["name", "player", "author", "person", "user", "artist", "owner", "custom", "titl", "team"],
    ),
];

/// Words of a schema that mean nothing by themselves.
const EMPTY: &[&str] = &[
    "the", "a", "an", "of", "to", "in", "for", "and", "or", "is", "be", "by", "on", "at", "as", "with", "if",
    "it", "that", "this", "which", "e", "g", "i", "use", "default", "option", "valu", "whether", "should",
    "will", "from", "are", "not", "can", "specifi", "specif", "provid", "exampl", "must", "string", "integ",
    "float", "list", "array", "includ", "you", "want", "s", "eg", "etc",
];

/// One of several values that a parameter takes.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) value: Value,
    pub(super) stems: Vec<String>,
    pub(super) vector: Vector,
}

#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) path: Vec<String>,
    pub(super) required: bool,
    pub(super) want: Want,
    /// What is told is a string, whatever is wanted.
    pub(super) string: bool,
    pub(super) role: Role,
    /// Stems of its name and of what is said of it, with how much each tells it from the others.
    pub(super) name: Vec<(String, f32)>,
    pub(super) about: Vec<(String, f32)>,
    pub(super) choices: Vec<Choice>,
    /// Only the choices are taken.
    pub(super) closed: bool,
    /// For lists: the items are whole numbers, and only the choices where there are any.
    pub(super) integers: bool,
    pub(super) percent: bool,
    /// A moment is written as RFC 3339 has it, with its offset.
    pub(super) stamp: bool,
    pub(super) description: String,
    pub(super) default: Option<Value>,
    pub(super) vector: Vector,
    /// Which it is among those that want the same.
    pub(super) rank: usize,
    /// How many want the same.
    pub(super) alike: usize,
}

impl Parameter {
    /// Its own name in the schema.
    pub(super) fn name_in_full(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

/// The stems of a text.
pub(super) fn stems(stemmer: &Stemmer, text: &str) -> Vec<String> {
    let mut stems = Vec::new();
    split(text, |word| stems.push(stemmer.stem(word).into_owned()));
    stems
}

/// The leaves of a schema.
pub(super) fn of(schema: &Value, table: &Table) -> Vec<Parameter> {
    let mut walk =
        Walk { root: schema, table, stemmer: Stemmer::create(Algorithm::English), found: Vec::new() };
    walk.object(schema, &mut Vec::new(), true);
    let mut found = walk.found;
    weigh(&mut found);
    found
}

struct Walk<'a> {
    root: &'a Value,
    table: &'a Table,
    stemmer: Stemmer,
    found: Vec<Parameter>,
}

impl<'a> Walk<'a> {
    fn object(&mut self, schema: &'a Value, path: &mut Vec<String>, required: bool) {
        let Some(properties) = schema["properties"].as_object() else { return };
        let needed =
            |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        for (name, property) in properties {
            if self.found.len() == MOST {
                return;
            }
            let property = self.resolve(property);
            path.push(name.clone());
            let required = required && needed(name);
            if property["properties"].as_object().is_some_and(|inner| !inner.is_empty())
                && path.len() < DEEPEST
            {
                self.object(property, path, required);
            } else {
                let parameter = self.leaf(property, path, required);
                self.found.push(parameter);
            }
            path.pop();
        }
    }

    /// What a schema comes to: its reference followed, the first alternative that is not null taken.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        for _ in 0..8 {
            let next = if let Some(at) = schema["$ref"].as_str().and_then(|at| at.strip_prefix('#')) {
                self.root.pointer(at)
            } else {
                ["anyOf", "oneOf", "allOf"]
                    .iter()
                    .find_map(|key| schema[*key].as_array())
                    .and_then(|all| all.iter().find(|one| one["type"] != "null"))
            };
            match next {
                Some(next) => schema = next,
                None => break,
            }
        }
        schema
    }

    fn leaf(&self, schema: &'a Value, path: &[String], required: bool) -> Parameter {
        let description = schema["description"].as_str().unwrap_or_default();
        let description = crate::text::beginning(description, 1_000);
        let names: Vec<String> = path.iter().flat_map(|part| stems(&self.stemmer, part)).collect();
        let about = stems(&self.stemmer, description);
        let items = self.resolve(&schema["items"]);
        let kind = kind_of(schema);
        let listed = schema["enum"].as_array().or_else(|| items["enum"].as_array());
        let choices: Vec<Choice> = match listed {
            Some(listed) => listed.iter().take(CHOICES).map(|value| self.choice(value.clone())).collect(),
            None if kind == "string" => {
                told(description).into_iter().map(|value| self.choice(Value::from(value))).collect()
            }
            None => Vec::new(),
        };
        let want = match kind {
            "integer" => Want::Integer,
            "number" => Want::Number,
            "boolean" => Want::Bool,
            "array" => match kind_of(items) {
                "integer" | "number" => Want::Numbers,
                "object" | "array" => Want::Literal,
                _ => Want::Texts,
            },
            "object" => Want::Literal,
            _ if listed.is_some() => Want::Choice,
            _ => text(schema, &names, &description.to_lowercase()),
        };
        let plain = |stems: Vec<String>| {
            let mut kept: Vec<(String, f32)> = Vec::new();
            for stem in stems {
                if !EMPTY.contains(&&*stem) && !kept.iter().any(|(have, _)| *have == stem) {
                    kept.push((stem, 1.0));
                }
            }
            kept
        };
        let role = |words: &[String]| {
            ROLE_WORDS
                .iter()
                .find(|(_, of)| words.iter().any(|word| of.contains(&&**word)))
                .map(|(role, _)| *role)
        };
        let said = about.get(..about.len().min(8)).unwrap_or_default();
        Parameter {
            path: path.to_vec(),
            required,
            want,
            string: kind == "string" || kind == "array" && kind_of(items) == "string",
            role: role(&names).or_else(|| role(said)).unwrap_or(Role::Other),
            percent: about.iter().chain(&names).any(|stem| stem == "percent" || stem == "percentag")
                && !about.iter().any(|stem| stem == "decim"),
            vector: self.table.encode(&format!("{} {description}", path.join(" "))),
            stamp: schema["format"] == "date-time",
            name: plain(names),
            about: plain(about),
            closed: listed.is_some(),
            integers: kind == "array" && kind_of(items) == "integer",
            choices,
            description: description.to_owned(),
            default: schema.get("default").filter(|default| !default.is_null()).cloned(),
            rank: 0,
            alike: 1,
        }
    }

    fn choice(&self, value: Value) -> Choice {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Choice { stems: stems(&self.stemmer, &text), vector: self.table.encode(&text), value }
    }
}

fn kind_of(schema: &Value) -> &str {
    let of = |value: &Value| match value.as_str() {
        Some("integer") => "integer",
        Some("number") => "number",
        Some("boolean") => "boolean",
        Some("array") => "array",
        Some("object") => "object",
        Some("string") => "string",
        _ => "",
    };
    match &schema["type"] {
        Value::Array(all) => all.iter().map(of).find(|kind| !kind.is_empty()).unwrap_or("string"),
        one => match of(one) {
            "" if schema["items"].is_object() => "array",
            "" => "string",
            kind => kind,
        },
    }
}

/// What kind of text is wanted.
fn text(schema: &Value, names: &[String], about: &str) -> Want {
    let named = |words: &[&str]| names.iter().any(|name| words.contains(&&**name));
    match schema["format"].as_str() {
        Some("date") => return Want::Date,
        Some("time") => return Want::Time,
        Some("date-time") => return Want::Moment,
        Some("email") => return Want::Email,
        Some("uri" | "url") => return Want::Url,
        Some("uuid") => return Want::Identifier,
        _ => {}
    }
    let both = about.contains("hh:mm") && about.contains("yyyy");
    if both || named(&["datetim", "timestamp"]) || named(&["date"]) && named(&["time"]) {
        Want::Moment
    } else if about.contains("yyyy-mm")
        || about.contains("mm/dd")
        || about.contains("dd/mm")
        || about.contains("mm-dd")
        || about.contains("dd-mm")
        || named(&["date", "birthday", "deadlin", "birthdat", "day"]) && !named(&["week"])
    {
        Want::Date
    } else if about.contains("hh:mm") || names.last().is_some_and(|last| last == "time") {
        Want::Time
    } else if named(&["email", "mail"]) {
        Want::Email
    } else if named(&["url", "uri", "link", "websit", "webpag"]) {
        Want::Url
    } else if named(&[
        "id", "code", "token", "key", "uuid", "hash", "password", "usernam", "filenam", "path", "isbn", "sku",
    ]) {
        Want::Identifier
    } else {
        Want::Text
    }
}

/// Values that a description tells of: `Supports 'a', 'b'`; `e.g. 'x'`.
fn told(description: &str) -> Vec<String> {
    let mut told = Vec::new();
    let mut rest = description;
    while let Some(at) = rest.find(['\'', '"', '`']) {
        let mark = &rest[at..=at];
        let free = !rest[..at].chars().next_back().is_some_and(char::is_alphanumeric);
        let inner = &rest[at + 1..];
        let Some(end) = inner.find(mark).filter(|_| free) else {
            rest = inner;
            continue;
        };
        if (1..=40).contains(&end) && told.len() < CHOICES {
            told.push(inner[..end].to_owned());
        }
        rest = &inner[end + 1..];
    }
    told
}

/// A word that many parameters have tells little.
#[expect(clippy::cast_precision_loss, reason = "counts of at most 64")]
fn weigh(found: &mut [Parameter]) {
    let mut having: HashMap<String, usize> = HashMap::new();
    for parameter in &*found {
        for (stem, _) in parameter.name.iter().chain(&parameter.about) {
            *having.entry(stem.clone()).or_default() += 1;
        }
    }
    let mut seen = [0_usize; WANTS];
    for parameter in &mut *found {
        for (stem, weight) in parameter.name.iter_mut().chain(&mut parameter.about) {
            *weight = 1.0 / having.get(stem).copied().unwrap_or(1).max(1) as f32;
        }
        for (stem, weight) in &mut parameter.name {
            if parameter.about.iter().any(|(other, _)| other == stem) {
                // It was counted twice for this one.
                *weight = (1.0 / (1.0 / *weight - 1.0).max(1.0)).min(1.0);
            }
        }
        parameter.rank = seen[parameter.want as usize];
        seen[parameter.want as usize] += 1;
    }
    for parameter in found {
        parameter.alike = seen[parameter.want as usize];
    }
}
