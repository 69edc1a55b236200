//! The values in a request that a parameter could take.

use jiff::Zoned;
use serde_json::{Number as JsonNumber, Value};

use super::dates::{self, Moment};
use super::numbers::{self, Number};
use super::parameters::{Parameter, Want};
use super::spans::{self, Part, Shape};
use super::tokens::Text;
use crate::embed::{Table, Vector};

/// What a candidate is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    Number,
    Percent,
    Money,
    Ordinal,
    Moment,
    Quoted,
    Email,
    Url,
    Identifier,
    Name,
    Phrase,
    Literal,
    Said,
    Alike,
    Yes,
    No,
    Row,
}

pub(super) const MAKES: usize = 17;

#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) make: Make,
    pub(super) value: Value,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) whole: bool,
    /// The number it is, by its place among the numbers.
    pub(super) number: Option<usize>,
    /// How alike it is to the parameter or, for a choice by meaning, to the choice.
    pub(super) likeness: f32,
}

/// What was read of a request, whatever is asked for.
pub(super) struct Reading<'a> {
    pub(super) text: Text<'a>,
    pub(super) numbers: Vec<Number>,
    moments: Vec<Moment>,
    parts: Vec<Part>,
    vectors: Vec<Option<Vector>>,
    rows: Vec<Row>,
    /// Seconds east of UTC.
    offset: i32,
}

/// Values that follow one another: "red, green and blue".
struct Row {
    items: Vec<Value>,
    numbers: bool,
    from: usize,
    to: usize,
}

/// The least likeness at which a choice is taken for what was said.
const ALIKE: f32 = 0.35;

impl<'a> Reading<'a> {
    pub(super) fn new(text: &'a str, now: &Zoned) -> Self {
        let text = Text::new(text);
        let numbers = numbers::of(&text);
        let moments = dates::of(&text, &numbers, now.datetime());
        let parts = spans::of(&text);
        let table = Table::built_in();
        let worth = |part: &Part| {
            matches!(part.shape, Shape::Quoted | Shape::Name | Shape::Phrase) && part.end - part.start < 200
        };
        let vectors = parts
            .iter()
            .map(|part| worth(part).then(|| table.encode(&text.text[part.start..part.end])))
            .collect();
        let rows = rows(&text, &numbers, &parts);
        Self { text, numbers, moments, parts, vectors, rows, offset: now.offset().seconds() }
    }

    /// Every value that a parameter could take.
    pub(super) fn candidates(&self, parameter: &Parameter) -> Vec<Candidate> {
        let mut found = Vec::new();
        match parameter.want {
            Want::Integer | Want::Number => self.numbers(parameter, &mut found),
            Want::Bool => self.yes_or_no(parameter, &mut found),
            Want::Numbers | Want::Texts | Want::Literal => self.lists(parameter, &mut found),
            Want::Choice => {}
            Want::Date | Want::Time | Want::Moment => {
                self.moments(parameter, &mut found);
                self.parts(parameter, &mut found);
            }
            _ => {
                self.numbers(parameter, &mut found);
                self.parts(parameter, &mut found);
            }
        }
        if matches!(
            parameter.want,
            Want::Choice | Want::Text | Want::Identifier | Want::Integer | Want::Number
        ) {
            self.choices(parameter, &mut found);
        }
        if parameter.closed && parameter.want != Want::Choice && parameter.want != Want::Texts {
            found.retain(|candidate| parameter.choices.iter().any(|choice| choice.value == candidate.value));
        }
        found
    }

    fn make(&self, make: Make, value: Value, from: usize, to: usize) -> Candidate {
        let start = self.text.tokens.get(from).map_or(0, |token| token.start);
        let end =
            to.checked_sub(1).and_then(|last| self.text.tokens.get(last)).map_or(start, |token| token.end);
        Candidate { make, value, from, to, start, end, whole: true, number: None, likeness: 0.0 }
    }

    fn numbers(&self, parameter: &Parameter, found: &mut Vec<Candidate>) {
        for (at, number) in self.numbers.iter().enumerate() {
            let make = match number {
                Number { percent: true, .. } => Make::Percent,
                Number { money: true, .. } => Make::Money,
                Number { ordinal: true, .. } => Make::Ordinal,
                _ => Make::Number,
            };
            let value = if parameter.string {
                Some(Value::from(self.text.slice(number.from, number.to)))
            } else {
                plain(scaled(number, parameter), parameter.want == Want::Integer)
            };
            if let Some(value) = value {
                found.push(Candidate { number: Some(at), ..self.make(make, value, number.from, number.to) });
            }
        }
    }

    fn moments(&self, parameter: &Parameter, found: &mut Vec<Candidate>) {
        for moment in &self.moments {
            if let Some(value) = written(moment, parameter, self.offset) {
                found.push(self.make(Make::Moment, Value::from(value), moment.from, moment.to));
            }
        }
    }

    fn parts(&self, parameter: &Parameter, found: &mut Vec<Candidate>) {
        for (part, vector) in self.parts.iter().zip(&self.vectors) {
            let make = match part.shape {
                Shape::Quoted => Make::Quoted,
                Shape::Email => Make::Email,
                Shape::Url => Make::Url,
                Shape::Identifier => Make::Identifier,
                Shape::Name => Make::Name,
                Shape::Phrase => Make::Phrase,
                Shape::List => continue,
            };
            // A word alone is no address and no date.
            let fits = match parameter.want {
                Want::Email => make == Make::Email,
                Want::Url => matches!(make, Make::Url | Make::Identifier | Make::Quoted),
                Want::Date | Want::Time | Want::Moment => matches!(make, Make::Quoted | Make::Identifier),
                _ => true,
            };
            if fits {
                let likeness = vector.as_ref().map_or(0.0, |vector| vector.likeness(&parameter.vector));
                let (start, end) = (part.start, part.end);
                let candidate = self.make(make, part.value.clone(), part.from, part.to);
                found.push(Candidate { start, end, whole: part.whole, likeness, ..candidate });
            }
        }
    }

    /// Choices that are said, or that come nearest to something said.
    fn choices(&self, parameter: &Parameter, found: &mut Vec<Candidate>) {
        let tokens = &self.text.tokens;
        let before = found.len();
        for choice in &parameter.choices {
            let length = choice.stems.len();
            if length == 0 {
                continue;
            }
            // As tokens are cut a little differently, what is said is compared word by word without marks.
            let words: Vec<usize> = (0..tokens.len())
                .filter(|at| tokens[*at].lower.chars().next().is_some_and(char::is_alphanumeric))
                .collect();
            let same = |window: &&[usize]| {
                window
                    .iter()
                    .zip(&choice.stems)
                    .all(|(at, stem)| tokens[*at].stem == *stem || tokens[*at].lower == *stem)
            };
            if let Some(window) = words.windows(length).find(same) {
                found.push(self.make(Make::Said, choice.value.clone(), window[0], window[length - 1] + 1));
            } else if let (true, Some(at)) = (
                length > 1,
                tokens.iter().position(|token| token.lower.len() > 2 && choice.stems[0] == token.stem),
            ) {
                // The first word of several.
                if parameter
                    .choices
                    .iter()
                    .filter(|other| other.stems.first() == choice.stems.first())
                    .count()
                    == 1
                {
                    found.push(Candidate {
                        whole: false,
                        ..self.make(Make::Said, choice.value.clone(), at, at + 1)
                    });
                }
            }
        }
        if found[before..].iter().any(|candidate| candidate.whole) || !parameter.closed {
            return;
        }
        for choice in &parameter.choices {
            let alike = self
                .vectors
                .iter()
                .enumerate()
                .filter_map(|(at, vector)| Some((at, vector.as_ref()?.likeness(&choice.vector))));
            let Some((at, likeness)) = alike.max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
            if likeness > ALIKE {
                let part = &self.parts[at];
                found.push(Candidate {
                    likeness,
                    ..self.make(Make::Alike, choice.value.clone(), part.from, part.to)
                });
            }
        }
    }

    fn yes_or_no(&self, parameter: &Parameter, found: &mut Vec<Candidate>) {
        let tokens = &self.text.tokens;
        let mentions = |stems: &[(String, f32)]| {
            tokens
                .iter()
                .position(|token| stems.iter().any(|(stem, weight)| *weight > 0.4 && *stem == token.stem))
        };
        let Some(at) = mentions(&parameter.name).or_else(|| mentions(&parameter.about)) else { return };
        let lower = |back: usize| at.checked_sub(back).map_or("", |at| &*tokens[at].lower);
        let negated = (1..=3).any(|back| {
            matches!(
                lower(back),
                "not" | "no" | "without" | "don't" | "never" | "exclude" | "excluding" | "disable" | "off"
            )
        });
        let off = tokens.get(at + 1).is_some_and(|next| matches!(&*next.lower, "off" | "false" | "disabled"));
        let avoids = parameter
            .name
            .iter()
            .any(|(stem, _)| matches!(&**stem, "avoid" | "exclud" | "no" | "disabl" | "without"));
        let yes = !(negated || off) || avoids;
        found.push(self.make(if yes { Make::Yes } else { Make::No }, Value::from(yes), at, at + 1));
    }

    fn lists(&self, parameter: &Parameter, found: &mut Vec<Candidate>) {
        for part in self.parts.iter().filter(|part| part.shape == Shape::List) {
            let items = part.value.as_array();
            let fits = match parameter.want {
                Want::Numbers => items.is_some_and(|items| {
                    !items.is_empty()
                        && items.iter().all(|item| item.is_number() && (!parameter.integers || item.is_i64()))
                }),
                Want::Texts => items.is_some_and(|items| items.iter().all(Value::is_string)),
                _ => true,
            };
            if fits {
                let candidate = self.make(Make::Literal, part.value.clone(), part.from, part.to);
                found.push(Candidate { start: part.start, end: part.end, ..candidate });
            }
        }
        match parameter.want {
            Want::Numbers => {
                for row in self.rows.iter().filter(|row| row.numbers) {
                    if !parameter.integers || row.items.iter().all(Value::is_i64) {
                        found.push(self.make(Make::Row, Value::from(row.items.clone()), row.from, row.to));
                    }
                }
                for number in &self.numbers {
                    if let Some(value) = plain(scaled(number, parameter), parameter.integers) {
                        found.push(Candidate {
                            whole: false,
                            ..self.make(Make::Number, Value::from(vec![value]), number.from, number.to)
                        });
                    }
                }
            }
            Want::Texts if parameter.closed => self.chosen(parameter, found),
            Want::Texts => {
                for row in self.rows.iter().filter(|row| !row.numbers) {
                    found.push(self.make(Make::Row, Value::from(row.items.clone()), row.from, row.to));
                }
                let before = found.len();
                self.parts(parameter, found);
                for candidate in &mut found[before..] {
                    candidate.value = Value::from(vec![candidate.value.take()]);
                }
            }
            _ => {}
        }
    }

    /// All choices of a list that are said.
    fn chosen(&self, parameter: &Parameter, found: &mut Vec<Candidate>) {
        let mut said = Vec::new();
        self.choices(parameter, &mut said);
        said.retain(|candidate| candidate.make == Make::Said);
        said.sort_by_key(|candidate| candidate.from);
        if let (Some(first), Some(last)) = (said.first(), said.last()) {
            let (from, to) = (first.from, last.to);
            let values: Vec<Value> = said.into_iter().map(|candidate| candidate.value).collect();
            found.push(self.make(Make::Said, Value::from(values), from, to));
        }
    }
}

/// A value and the tokens that it takes.
type Item = (usize, usize, Value);

/// Values that follow one another with only commas and "and" between them.
fn rows(text: &Text<'_>, numbers: &[Number], parts: &[Part]) -> Vec<Row> {
    let tokens = &text.tokens;
    // "5C and 7C"
    let unit = |number: &Number| {
        let next = tokens.get(number.to);
        usize::from(next.is_some_and(|next| next.glued && next.lower.len() <= 3 && next.lower != ","))
    };
    let number = |number: &Number| Some((number.from, number.to + unit(number), plain(number.value, false)?));
    let of_numbers: Vec<Item> = numbers.iter().filter_map(number).collect();
    let mut rows = Vec::new();
    follow(text, &of_numbers, true, &mut rows);
    for shapes in [&[Shape::Quoted][..], &[Shape::Name, Shape::Identifier], &[Shape::Phrase]] {
        let fit = parts.iter().filter(|part| part.whole && shapes.contains(&part.shape));
        let mut of_texts: Vec<Item> = fit.map(|part| (part.from, part.to, part.value.clone())).collect();
        of_texts.sort_by_key(|(from, to, _)| (*from, usize::MAX - *to));
        of_texts.dedup_by_key(|(from, ..)| *from);
        follow(text, &of_texts, false, &mut rows);
    }
    rows
}

/// The rows that items of one kind make.
fn follow(text: &Text<'_>, all: &[Item], numbers: bool, rows: &mut Vec<Row>) {
    let between = |from: usize, to: usize| {
        let words: Vec<&str> =
            text.tokens.get(from..to).into_iter().flatten().map(|token| &*token.lower).collect();
        let link = |word: &&str| matches!(*word, "," | "and" | "or" | "&" | ";");
        words.len() <= 4
            && words.iter().any(link)
            && words.iter().all(|word| link(word) || matches!(*word, "'" | "\"" | "the" | "a"))
    };
    let mut at = 0;
    while at < all.len() {
        let mut items = vec![all[at].2.clone()];
        let (mut end, mut next) = (all[at].1, at + 1);
        while next < all.len() && items.len() < 100 {
            // What lies within the one before is passed over.
            if all[next].0 >= end {
                if !between(end, all[next].0) {
                    break;
                }
                items.push(all[next].2.clone());
                end = all[next].1;
            }
            next += 1;
        }
        if items.len() > 1 {
            rows.push(Row { items, numbers, from: all[at].0, to: end });
        }
        at = next;
    }
}

/// A number as JSON: whole where it is.
fn plain(value: f64, whole: bool) -> Option<Value> {
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Some(Value::from(value as i64));
    }
    if whole { None } else { JsonNumber::from_f64(value).map(Value::Number) }
}

/// What units measure, and how many of the base unit each is.
const MEASURES: [&[(&str, f64)]; 3] = [
    &[("second", 1.0), ("minut", 60.0), ("hour", 3600.0), ("day", 86_400.0), ("week", 604_800.0)],
    &[
        ("millimet", 0.001),
        ("centimet", 0.01),
        ("meter", 1.0),
        ("kilomet", 1000.0),
        ("inch", 0.0254),
        ("feet", 0.3048),
        ("mile", 1609.344),
    ],
    &[("milligram", 1e-6), ("gram", 0.001), ("kilogram", 1.0), ("ounc", 0.028_349_5), ("pound", 0.453_592)],
];

/// The number in the unit that the parameter wants.
fn scaled(number: &Number, parameter: &Parameter) -> f64 {
    if number.percent && !parameter.percent && parameter.want == Want::Number {
        return number.value / 100.0;
    }
    let Some(unit) = number.unit.as_deref() else { return number.value };
    for measure in MEASURES {
        let Some((_, have)) = measure.iter().find(|(name, _)| *name == unit) else { continue };
        let mut wanted = measure.iter().filter(|(name, _)| {
            parameter.name.iter().chain(&parameter.about).any(|(stem, _)| numbers::unit(stem) == *name)
        });
        return match (wanted.next(), wanted.next()) {
            (Some((name, want)), None) if *name != unit => {
                let scaled = number.value * have / want;
                (scaled * 1e6).round() / 1e6
            }
            _ => number.value,
        };
    }
    number.value
}

/// A date or time as the parameter wants it written.
fn written(moment: &Moment, parameter: &Parameter, offset: i32) -> Option<String> {
    let date = |date: jiff::civil::Date| {
        let (year, month, day) = (date.year(), date.month(), date.day());
        let about = parameter.description.to_lowercase();
        let has = |form: &str| about.contains(form);
        if has("mm/dd/yyyy") {
            format!("{month:02}/{day:02}/{year:04}")
        } else if has("dd/mm/yyyy") {
            format!("{day:02}/{month:02}/{year:04}")
        } else if has("mm-dd-yyyy") {
            format!("{month:02}-{day:02}-{year:04}")
        } else if has("dd-mm-yyyy") {
            format!("{day:02}-{month:02}-{year:04}")
        } else if has("dd.mm.yyyy") {
            format!("{day:02}.{month:02}.{year:04}")
        } else if has("yyyy/mm/dd") {
            format!("{year:04}/{month:02}/{day:02}")
        } else {
            date.to_string()
        }
    };
    let time = |time: jiff::civil::Time| {
        if parameter.description.to_lowercase().contains("hh:mm:ss") {
            time.to_string()
        } else {
            format!("{:02}:{:02}", time.hour(), time.minute())
        }
    };
    match (parameter.want, moment.date, moment.time) {
        (Want::Date, Some(day), _) => Some(date(day)),
        (Want::Time, _, Some(hour)) => Some(time(hour)),
        (Want::Moment, Some(day), hour) => {
            let hour = hour.unwrap_or_else(jiff::civil::Time::midnight);
            if parameter.stamp {
                let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
                return Some(format!("{day}T{hour}{sign}{:02}:{:02}", minutes / 60, minutes % 60));
            }
            let mark = if parameter.description.contains("DDT") { "T" } else { " " };
            Some(format!("{}{mark}{hour}", date(day)))
        }
        _ => None,
    }
}
