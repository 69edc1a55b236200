//! How much work it is to check a value, counted before it is done. Alternatives that refer to one another can double
//! the work with every reference, and the checker itself can't be stopped: a few hundred bytes from a service or a
//! caller would keep it busy for good, or use up the memory.
//!
//! The count follows the schema through the value as the checker does, without looking at what holds and what does
//! not. It errs upwards, and stops at its bound.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// How many references a schema may hold. The checker follows them recursively while it is built.
const MAX_REFERENCES: usize = 2_000;

/// How many steps a check may always take, and how many more for each value in what is checked.
const STEPS: usize = 250_000;
const STEPS_PER_VALUE: usize = 16;

/// The deepest nesting of schemas that are applied to a value and to what is in it. The checker is recursive.
const MAX_DEPTH: usize = 512;

/// What a match counts that may go back and try again, in steps.
const BACKTRACKING: usize = 16;

/// The parts of a schema that references can name, as JSON Pointers.
pub(super) struct Index {
    /// Schemas with an identifier of their own, from which pointers count; the identifiers go with them.
    resources: Vec<(String, String)>,
    anchors: HashMap<String, Vec<String>>,
    references: usize,
}

impl Index {
    /// Finds the parts.
    ///
    /// # Errors
    /// What is wrong with a schema that is too large to be used.
    pub(super) fn new(document: &Value) -> Result<Self, String> {
        let mut index = Self { resources: Vec::new(), anchors: HashMap::new(), references: 0 };
        index.add(document, &mut String::new());
        if index.references > MAX_REFERENCES {
            return Err(format!("it holds more than {MAX_REFERENCES} references"));
        }
        Ok(index)
    }

    fn add(&mut self, part: &Value, pointer: &mut String) {
        let length = pointer.len();
        match part {
            Value::Object(members) => {
                for (name, member) in members {
                    if let Value::String(text) = member {
                        self.note(name, text, pointer);
                        continue;
                    }
                    pointer.push('/');
                    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    self.add(member, pointer);
                    pointer.truncate(length);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    pointer.push_str(&format!("/{index}"));
                    self.add(item, pointer);
                    pointer.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, keyword: &str, text: &str, pointer: &str) {
        match keyword {
            "$ref" | "$dynamicRef" | "$recursiveRef" => self.references += 1,
            "$id" | "id" => {
                // Old drafts write an anchor so.
                if let Some((_, anchor)) = text.split_once('#') {
                    self.anchors.entry(anchor.to_owned()).or_default().push(pointer.to_owned());
                }
                self.resources.push((last_segment(text).to_owned(), pointer.to_owned()));
            }
            "$anchor" | "$dynamicAnchor" => {
                self.anchors.entry(text.to_owned()).or_default().push(pointer.to_owned());
            }
            _ => {}
        }
    }

    /// Every part that a reference may mean. Which of several it is depends on the draft and on where it stands; all
    /// are counted. None where it names something outside the document.
    fn targets<'a>(&self, document: &'a Value, reference: &str) -> Vec<&'a Value> {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let fragment = decoded(fragment);
        let mut found: Vec<&Value> = if fragment.is_empty() || fragment.starts_with('/') {
            let named = |id: &str| !base.is_empty() && id == last_segment(base);
            let any = !self.resources.iter().any(|(id, _)| named(id));
            let resources = self.resources.iter().filter(|(id, _)| any || named(id));
            let roots = resources.filter_map(|(_, pointer)| document.pointer(pointer));
            any.then_some(document)
                .into_iter()
                .chain(roots)
                .filter_map(|root| root.pointer(&fragment))
                .collect()
        } else {
            let pointers = self.anchors.get(&fragment).into_iter().flatten();
            pointers.filter_map(|pointer| document.pointer(pointer)).collect()
        };
        found.sort_by_key(|part| std::ptr::from_ref(*part));
        found.dedup_by_key(|part| std::ptr::from_ref(*part));
        found
    }
}

fn last_segment(uri: &str) -> &str {
    let path = uri.split('#').next().unwrap_or(uri);
    path.rsplit(['/', ':']).next().unwrap_or(path)
}

/// Percent-encoding undone (RFC 3986, section 2.1).
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| first == b'%').and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How many steps it takes to check a value; `None` where that is too many.
pub(super) fn steps(document: &Value, index: &Index, value: &Value) -> Option<usize> {
    let limit = STEPS.saturating_add(size(value).saturating_mul(STEPS_PER_VALUE));
    let mut count = Count { document, index, left: limit, open: Vec::new() };
    count.schema(document, value, 0)?;
    Some(limit - count.left)
}

/// How many values there are in a value, with itself.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

struct Count<'a> {
    document: &'a Value,
    index: &'a Index,
    left: usize,
    /// The references that are being followed, with the values: the checker leaves circles out.
    open: Vec<(*const Value, *const Value)>,
}

impl Count<'_> {
    fn take(&mut self, steps: usize) -> Option<()> {
        self.left = self.left.checked_sub(steps)?;
        Some(())
    }

    fn schema(&mut self, schema: &Value, value: &Value, depth: usize) -> Option<()> {
        self.take(1)?;
        let Value::Object(keywords) = schema else { return Some(()) };
        if depth == MAX_DEPTH {
            return None;
        }
        let depth = depth + 1;
        // What is not evaluated yet is found by evaluating the rest once more.
        let again =
            keywords.contains_key("unevaluatedProperties") || keywords.contains_key("unevaluatedItems");
        for (keyword, inner) in keywords {
            self.in_place(keyword, inner, value, depth)?;
            if again {
                self.in_place(keyword, inner, value, depth)?;
            }
            match value {
                Value::Object(members) => self.members(keyword, inner, members, depth)?,
                Value::Array(items) => self.items(keyword, inner, items, depth)?,
                _ => {}
            }
        }
        Some(())
    }

    /// Schemas that are applied to the value itself.
    fn in_place(&mut self, keyword: &str, inner: &Value, value: &Value, depth: usize) -> Option<()> {
        match (keyword, inner) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                self.reference(reference, value, depth)
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(list)) => {
                list.iter().try_for_each(|inner| self.schema(inner, value, depth))
            }
            ("not" | "if" | "then" | "else", inner) => self.schema(inner, value, depth),
            ("dependentSchemas" | "dependencies", Value::Object(map)) => {
                map.values().try_for_each(|inner| self.schema(inner, value, depth))
            }
            ("pattern", Value::String(pattern)) => self.take(weight(pattern)),
            _ => Some(()),
        }
    }

    fn reference(&mut self, reference: &str, value: &Value, depth: usize) -> Option<()> {
        // Each of the resources is looked at.
        self.take(self.index.resources.len() / 16)?;
        for target in self.index.targets(self.document, reference) {
            let place = (std::ptr::from_ref(target), std::ptr::from_ref(value));
            if self.open.contains(&place) {
                continue;
            }
            self.open.push(place);
            self.schema(target, value, depth)?;
            self.open.pop();
        }
        Some(())
    }

    /// Schemas that are applied to the members of an object.
    fn members(
        &mut self,
        keyword: &str,
        inner: &Value,
        members: &Map<String, Value>,
        depth: usize,
    ) -> Option<()> {
        match (keyword, inner) {
            ("properties", Value::Object(map)) => {
                for (name, inner) in map {
                    if let Some(member) = members.get(name) {
                        self.schema(inner, member, depth)?;
                    }
                }
                Some(())
            }
            ("patternProperties", Value::Object(map)) => {
                for (pattern, inner) in map {
                    for member in members.values() {
                        self.take(weight(pattern))?;
                        self.schema(inner, member, depth)?;
                    }
                }
                Some(())
            }
            ("additionalProperties" | "unevaluatedProperties", inner) => {
                members.values().try_for_each(|member| self.schema(inner, member, depth))
            }
            // A name is text; nothing can be applied to what is in it.
            ("propertyNames", inner) => {
                members.keys().try_for_each(|_| self.schema(inner, &Value::Null, depth))
            }
            _ => Some(()),
        }
    }

    /// Schemas that are applied to the items of a list.
    fn items(&mut self, keyword: &str, inner: &Value, items: &[Value], depth: usize) -> Option<()> {
        match (keyword, inner) {
            ("items" | "prefixItems", Value::Array(list)) => {
                list.iter().zip(items).try_for_each(|(inner, item)| self.schema(inner, item, depth))
            }
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", inner) => {
                items.iter().try_for_each(|item| self.schema(inner, item, depth))
            }
            _ => Some(()),
        }
    }
}

/// What a match of a pattern counts: one with references back or looks around can't be matched in one go.
fn weight(pattern: &str) -> usize {
    let mut escaped = false;
    let goes_back = pattern.contains("(?")
        || pattern.chars().any(|c| {
            let reference = escaped && (c.is_ascii_digit() || c == 'k');
            escaped = c == '\\' && !escaped;
            reference
        });
    if goes_back { BACKTRACKING } else { 1 }
}
