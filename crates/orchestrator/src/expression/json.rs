//! Walks over whole values: order, equality, JSON text and `serde_json` values, each counted and bounded in depth.
//!
//! A value may share its parts (`[.,.]` sixty times), so that a walk is exponentially longer than what is in memory.

use std::cmp::Ordering;
use std::fmt::Write as _;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::budget::{Budget, Fault, Held, MAX_DEPTH, Stop};
use super::number::Num;
use super::value::{Arr, Entries, Obj, Str, Val, same};

/// Levels that a walk goes down: those that were made, above those that were lent.
const WALK_DEPTH: usize = 2 * MAX_DEPTH;

/// Bytes of a value that are shown in a message.
const SKETCH: usize = 40;

fn rank(value: &Val<'_>) -> u8 {
    match value {
        Val::Null => 0,
        Val::Bool(false) => 1,
        Val::Bool(true) => 2,
        Val::Num(_) => 3,
        Val::Str(_) => 4,
        Val::Arr(_) => 5,
        Val::Obj(_) => 6,
    }
}

pub(super) fn deeper(depth: usize) -> Result<usize, Stop> {
    if depth >= WALK_DEPTH { Err(Stop::too_deep()) } else { Ok(depth + 1) }
}

/// The order of jq over all values: null, false, true, numbers, strings, arrays, objects.
pub(super) fn order<'a>(a: &Val<'a>, b: &Val<'a>, budget: &Budget) -> Result<Ordering, Stop> {
    order_at(a, b, budget, 0)
}

fn order_at<'a>(a: &Val<'a>, b: &Val<'a>, budget: &Budget, depth: usize) -> Result<Ordering, Stop> {
    budget.step()?;
    match (a, b) {
        (Val::Num(a), Val::Num(b)) => Ok(a.order(*b)),
        (Val::Str(a), Val::Str(b)) => {
            budget.scan(a.len().min(b.len()))?;
            Ok(a.as_bytes().cmp(b.as_bytes()))
        }
        _ if same(a, b) => Ok(Ordering::Equal),
        (Val::Arr(a), Val::Arr(b)) => {
            let depth = deeper(depth)?;
            for (a, b) in a.iter().zip(b.iter()) {
                let order = order_at(&a, &b, budget, depth)?;
                if order.is_ne() {
                    return Ok(order);
                }
            }
            Ok(a.len().cmp(&b.len()))
        }
        (Val::Obj(a), Val::Obj(b)) => order_objects(a, b, budget, deeper(depth)?),
        _ => Ok(rank(a).cmp(&rank(b))),
    }
}

/// Objects are ordered by their sorted keys first, then by their values key by key.
fn order_objects<'a>(a: &Obj<'a>, b: &Obj<'a>, budget: &Budget, depth: usize) -> Result<Ordering, Stop> {
    budget.room((a.len() + b.len()) * size_of::<Str<'_>>())?;
    budget.work(4 * (a.len() + b.len()))?;
    let (keys, others) = (a.sorted_keys(), b.sorted_keys());
    let order = keys.iter().map(|key| key.as_bytes()).cmp(others.iter().map(|key| key.as_bytes()));
    if order.is_ne() {
        return Ok(order);
    }
    for key in &keys {
        if let (Some(a), Some(b)) = (a.get(key), b.get(key)) {
            let order = order_at(&a, &b, budget, depth)?;
            if order.is_ne() {
                return Ok(order);
            }
        }
    }
    Ok(Ordering::Equal)
}

/// Whether both are equal; what is no number equals nothing.
pub(super) fn equal<'a>(a: &Val<'a>, b: &Val<'a>, budget: &Budget) -> Result<bool, Stop> {
    if let (Val::Num(a), Val::Num(b)) = (a, b) {
        return Ok(!a.is_nan() && a.order(*b).is_eq());
    }
    Ok(order(a, b, budget)?.is_eq())
}

/// The value as one of `serde_json`, whose bytes count until the end of the evaluation.
pub(super) fn to_value<'a>(value: &Val<'a>, budget: &Budget) -> Result<Value, Stop> {
    to_value_at(value, budget, 0)
}

fn to_value_at<'a>(value: &Val<'a>, budget: &Budget, depth: usize) -> Result<Value, Stop> {
    budget.step()?;
    if depth > MAX_DEPTH {
        return Err(Stop::too_deep());
    }
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(bool) => Value::Bool(*bool),
        Val::Num(number) => number.to_json().map_or(Value::Null, Value::Number),
        Val::Str(text) => {
            budget.spend(text.len())?;
            Value::String(text.to_string())
        }
        Val::Arr(array) => {
            budget.spend(array.len() * size_of::<Value>())?;
            Value::Array(
                array.iter().map(|item| to_value_at(&item, budget, depth + 1)).collect::<Result<_, _>>()?,
            )
        }
        Val::Obj(object) => {
            budget.spend(object.len() * (size_of::<Value>() + size_of::<String>() + 24))?;
            let mut map = Map::with_capacity(object.len());
            for (key, value) in object.entries() {
                budget.spend(key.len())?;
                map.insert(key.to_string(), to_value_at(&value, budget, depth + 1)?);
            }
            Value::Object(map)
        }
    })
}

/// Text that grows, counted.
pub(super) struct Writer<'b> {
    pub(super) text: String,
    held: Held,
    counted: usize,
    budget: &'b Budget,
}

impl<'b> Writer<'b> {
    pub(super) fn new(budget: &'b Budget) -> Result<Self, Stop> {
        Ok(Self { text: String::new(), held: budget.hold(0)?, counted: 0, budget })
    }

    /// Counts what was written since; to be called after every small piece.
    pub(super) fn count(&mut self) -> Result<(), Stop> {
        let more = self.text.len() - self.counted;
        self.counted = self.text.len();
        self.held.grow(more)?;
        self.budget.scan(more)
    }

    /// Appends `text` if there is room for it.
    pub(super) fn push(&mut self, text: &str) -> Result<(), Stop> {
        self.budget.room(text.len())?;
        self.text.push_str(text);
        self.count()
    }

    pub(super) fn finish<'a>(self) -> Result<Val<'a>, Stop> {
        let Self { text, held, budget, .. } = self;
        drop(held);
        Val::text(text, budget)
    }

    /// Appends the JSON text of `value`.
    pub(super) fn json<'a>(&mut self, value: &Val<'a>) -> Result<(), Stop> {
        self.json_at(value, 0)
    }

    fn json_at<'a>(&mut self, value: &Val<'a>, depth: usize) -> Result<(), Stop> {
        match value {
            Val::Str(text) => {
                self.budget.room(text.len())?;
                quote(text, &mut self.text);
            }
            Val::Arr(array) => {
                let depth = deeper(depth)?;
                self.text.push('[');
                for (at, item) in array.iter().enumerate() {
                    if at > 0 {
                        self.text.push(',');
                    }
                    self.json_at(&item, depth)?;
                }
                self.text.push(']');
            }
            Val::Obj(object) => {
                let depth = deeper(depth)?;
                self.text.push('{');
                for (at, (key, value)) in object.entries().iter().enumerate() {
                    if at > 0 {
                        self.text.push(',');
                    }
                    self.budget.room(key.len())?;
                    quote(key, &mut self.text);
                    self.text.push(':');
                    self.json_at(value, depth)?;
                }
                self.text.push('}');
            }
            scalar => push_scalar(scalar, &mut self.text),
        }
        self.count()
    }
}

fn push_scalar(value: &Val<'_>, text: &mut String) {
    match value {
        Val::Bool(true) => text.push_str("true"),
        Val::Bool(false) => text.push_str("false"),
        Val::Num(number) => match number.to_json() {
            Some(number) => _ = write!(text, "{number}"),
            None => text.push_str("null"),
        },
        _ => text.push_str("null"),
    }
}

/// Appends `text` as a JSON string.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' || control == '\u{7f}' => {
                _ = write!(out, "\\u{:04x}", u32::from(control))
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Appends the beginning of the JSON text of `value`: a few dozen bytes.
pub(super) fn sketch(value: &Val<'_>, out: &mut String) {
    sketch_part(value, out);
    if out.len() > SKETCH {
        let end = (0..=SKETCH).rev().find(|&at| out.is_char_boundary(at)).unwrap_or(0);
        out.truncate(end);
        out.push('…');
    }
}

fn sketch_part(value: &Val<'_>, out: &mut String) {
    if out.len() > SKETCH {
        return;
    }
    match value {
        Val::Str(text) => {
            let end = text.char_indices().nth(SKETCH).map_or(text.len(), |(at, _)| at);
            quote(&text[..end], out);
        }
        Val::Arr(array) => {
            out.push('[');
            for (at, item) in array.iter().take(SKETCH).enumerate() {
                if at > 0 {
                    out.push(',');
                }
                sketch_part(&item, out);
            }
            out.push(']');
        }
        Val::Obj(object) => {
            out.push('{');
            for (at, key) in object.keys(SKETCH).iter().enumerate() {
                if out.len() > SKETCH {
                    break;
                }
                if at > 0 {
                    out.push(',');
                }
                sketch_part(&Val::Str(key.clone()), out);
                out.push(':');
                sketch_part(&object.get(key).unwrap_or(Val::Null), out);
            }
            out.push('}');
        }
        scalar => push_scalar(scalar, out),
    }
}

/// Reads JSON text straight into a value, so that every part of it is counted as it is made.
pub(super) fn parse<'a>(text: &str, budget: &Budget) -> Result<Val<'a>, Fault<'a>> {
    budget.scan(text.len() * 4)?;
    if let Some(number) = Num::parse(text.trim()) {
        return Ok(Val::Num(number));
    }
    let stopped = std::cell::RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Reader { budget, stopped: &stopped, marker: std::marker::PhantomData, depth: 0 }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match (read, stopped.into_inner()) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(stop)) => Err(Stop(stop).into()),
        (Err(error), None) => {
            let mut shown = String::new();
            sketch(&Val::lent(text), &mut shown);
            Err(Fault::raise(format!("{error} (while parsing {shown})")))
        }
    }
}

struct Reader<'b, 'a> {
    budget: &'b Budget,
    /// Words of the bound that was met: an error of `serde_json` cannot carry them.
    stopped: &'b std::cell::RefCell<Option<String>>,
    marker: std::marker::PhantomData<&'a ()>,
    depth: usize,
}

impl<'b, 'a> Reader<'b, 'a> {
    fn inner(&self) -> Self {
        Self { budget: self.budget, stopped: self.stopped, marker: self.marker, depth: self.depth + 1 }
    }

    fn counted<T, E: de::Error>(&self, result: Result<T, Stop>) -> Result<T, E> {
        result.map_err(|stop| {
            self.stopped.replace(Some(stop.0));
            E::custom("stopped")
        })
    }
}

impl<'de, 'a> DeserializeSeed<'de> for Reader<'_, 'a> {
    type Value = Val<'a>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Val<'a>, D::Error> {
        self.counted(if self.depth > MAX_DEPTH { Err(Stop::too_deep()) } else { self.budget.step() })?;
        deserializer.deserialize_any(self)
    }
}

impl<'de, 'a> Visitor<'de> for Reader<'_, 'a> {
    type Value = Val<'a>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Val<'a>, E> {
        Ok(Val::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Val<'a>, E> {
        Ok(Val::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Val<'a>, E> {
        Ok(Val::Num(Num::Int(value)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Val<'a>, E> {
        Ok(Val::Num(i64::try_from(value).map_or(Num::Big(value), Num::Int)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Val<'a>, E> {
        Ok(Val::Num(Num::Float(value)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Val<'a>, E> {
        let text = self.budget.room(value.len()).and_then(|()| Val::text(value.to_owned(), self.budget));
        self.counted(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Val<'a>, A::Error> {
        let mut held = self.counted(self.budget.hold(0))?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.inner())? {
            self.counted(held.grow(super::value::ITEM))?;
            items.push(item);
        }
        self.counted(Val::list(items, held))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Val<'a>, A::Error> {
        let mut held = self.counted(self.budget.hold(0))?;
        let mut entries = Entries::default();
        while let Some(key) = access.next_key_seed(self.inner())? {
            self.counted(held.grow(super::value::ENTRY))?;
            let value = access.next_value_seed(self.inner())?;
            if let Val::Str(key) = key {
                entries.insert(key, value);
            }
        }
        drop(held);
        self.counted(Val::object(entries, self.budget))
    }
}

/// Whether `value` is an array.
pub(super) fn array_of<'a>(value: Val<'a>) -> Result<Arr<'a>, Fault<'a>> {
    match value {
        Val::Arr(array) => Ok(array),
        other => Err(Fault::raise(format!("{} is not an array", other.shown()))),
    }
}
