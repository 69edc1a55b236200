//! Records of several sources, merged by key: each value once, with whom it is from; where they disagree, all that they say. No value
//! is left out, and the order of the sources does not matter.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

/// What came of it.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Merged {
    /// The member that says which records are the same; none where each answer is one record, or none was found.
    pub(super) key: Option<String>,
    /// The records, by key.
    pub(super) records: Vec<Record>,
    /// How many of them the sources disagree about.
    pub(super) disagree: usize,
    /// Records and other values that have no key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unmatched: Vec<Sourced>,
    /// What stands around the records, by source.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) beside: Map<String, Value>,
}

/// A record.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Record {
    /// Who has it.
    pub(super) sources: Vec<String>,
    /// What they agree on.
    pub(super) values: Map<String, Value>,
    /// Which of them a value is from, where it is not from all.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) from: BTreeMap<String, Vec<String>>,
    /// What they disagree on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) conflicts: BTreeMap<String, Vec<Sourced>>,
}

/// A value and whom it is from.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Sourced {
    pub(super) value: Value,
    pub(super) sources: Vec<String>,
}

type Members = Map<String, Value>;

/// An answer, taken apart.
#[derive(Default)]
struct Answer {
    records: Vec<Members>,
    /// It is one record and no list.
    single: bool,
    /// Items of a list that are no records, or the whole where it is none.
    loose: Vec<Value>,
    /// What stands around a list.
    beside: Members,
}

/// Merges what sources have answered by `key`, or where none is given by one that is found.
pub(super) fn merge(sources: &[(&str, Value)], key: Option<&str>) -> Merged {
    let mut answers: Vec<(&str, Answer)> =
        sources.iter().map(|(source, value)| (*source, taken_apart(value, key))).collect();
    answers.sort_by_key(|(source, _)| *source);
    let single = key.is_none() && answers.iter().all(|(_, answer)| answer.single);
    let key = key.map(str::to_owned).or_else(|| if single { None } else { found(&answers) });
    let mut groups: BTreeMap<String, Vec<(&str, &Members)>> = BTreeMap::new();
    let mut unmatched = Variants::default();
    for (source, answer) in &answers {
        for record in &answer.records {
            let same = match &key {
                Some(key) => record.get(key).and_then(text),
                None => single.then(String::new),
            };
            match same {
                Some(same) => groups.entry(same).or_default().push((source, record)),
                None => unmatched.add(source, &Value::Object(record.clone())),
            }
        }
        answer.loose.iter().for_each(|value| unmatched.add(source, value));
    }
    let records: Vec<Record> = groups.values().map(|group| joined(group)).collect();
    let beside = answers.iter().filter(|(_, answer)| !answer.beside.is_empty());
    let beside = beside.map(|(source, answer)| ((*source).to_owned(), Value::Object(answer.beside.clone())));
    Merged {
        key,
        disagree: records.iter().filter(|record| !record.conflicts.is_empty()).count(),
        records,
        unmatched: unmatched.all(),
        beside: beside.collect(),
    }
}

/// Values and who says them, each once.
#[derive(Default)]
struct Variants(BTreeMap<String, (Value, BTreeSet<String>)>);

impl Variants {
    fn add(&mut self, source: &str, value: &Value) {
        let (_, sources) = self.0.entry(canonical(value)).or_insert_with(|| (value.clone(), BTreeSet::new()));
        sources.insert(source.to_owned());
    }

    fn all(self) -> Vec<Sourced> {
        let sourced = |(value, sources): (Value, BTreeSet<String>)| Sourced {
            value,
            sources: sources.into_iter().collect(),
        };
        self.0.into_values().map(sourced).collect()
    }
}

/// The records of one key as one.
fn joined(group: &[(&str, &Members)]) -> Record {
    let all: BTreeSet<String> = group.iter().map(|(source, _)| (*source).to_owned()).collect();
    let mut members: BTreeMap<&str, Variants> = BTreeMap::new();
    for (source, record) in group {
        for (name, value) in *record {
            members.entry(name).or_default().add(source, value);
        }
    }
    let sources: Vec<String> = all.into_iter().collect();
    let mut record =
        Record { values: Map::new(), from: BTreeMap::new(), conflicts: BTreeMap::new(), sources };
    for (name, variants) in members {
        let mut variants = variants.all();
        if let [_, _, ..] = variants[..] {
            record.conflicts.insert(name.to_owned(), variants);
        } else if let Some(only) = variants.pop() {
            record.values.insert(name.to_owned(), only.value);
            if only.sources != record.sources {
                record.from.insert(name.to_owned(), only.sources);
            }
        }
    }
    record
}

/// An answer as records: a list of objects, an object around one such list, or an object.
fn taken_apart(value: &Value, key: Option<&str>) -> Answer {
    let mut answer = Answer::default();
    match value {
        Value::Array(items) => answer.take(items),
        Value::Object(members) => match list_in(members, key) {
            Some((name, items)) => {
                answer.take(items);
                answer.beside = members.clone();
                answer.beside.remove(name);
            }
            None => {
                answer.single = true;
                answer.records.push(members.clone());
            }
        },
        other => answer.loose.push(other.clone()),
    }
    answer
}

impl Answer {
    fn take(&mut self, items: &[Value]) {
        for item in items {
            match item {
                Value::Object(members) => self.records.push(members.clone()),
                other => self.loose.push(other.clone()),
            }
        }
    }
}

/// The list that an object stands around: its only list, of objects alone. What has an identity is a record itself.
fn list_in<'a>(members: &'a Members, key: Option<&str>) -> Option<(&'a str, &'a [Value])> {
    let identified = match key {
        Some(key) => members.contains_key(key),
        None => members.iter().any(|(name, value)| rank(name).is_some() && text(value).is_some()),
    };
    let mut lists = members.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_array()?)));
    let (Some((name, items)), None) = (lists.next(), lists.next()) else { return None };
    let lists_records = items.iter().all(Value::is_object) && (!items.is_empty() || members.len() == 1);
    (lists_records && !identified).then_some((name, items))
}

/// The member that tells records apart in every answer and is in all of them; of several the one that most answers share values of.
fn found(answers: &[(&str, Answer)]) -> Option<String> {
    let with_records =
        || answers.iter().map(|(_, answer)| &answer.records).filter(|records| !records.is_empty());
    let first = with_records().next()?.first()?;
    let candidates = first.keys().filter_map(|name| Some((rank(name)?, name)));
    let tells_apart = |records: &Vec<Members>, name: &str| {
        let mut seen = BTreeSet::new();
        records.iter().all(|record| record.get(name).and_then(text).is_some_and(|value| seen.insert(value)))
    };
    let shared = |name: &str| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let all = with_records().flatten().filter_map(|record| record.get(name).and_then(text));
        all.for_each(|value| *counts.entry(value).or_default() += 1);
        counts.values().filter(|count| **count > 1).count()
    };
    let fit = candidates.filter(|(_, name)| with_records().all(|records| tells_apart(records, name)));
    let best = fit.max_by_key(|(rank, name)| (shared(name), std::cmp::Reverse((*rank, (*name).clone()))));
    best.map(|(_, name)| name.clone())
}

/// How much a member's name says that it tells records apart, the least the most; none where it does not.
fn rank(name: &str) -> Option<usize> {
    const NAMES: [&str; 12] =
        ["id", "uuid", "key", "sku", "isbn", "ean", "code", "email", "slug", "number", "url", "name"];
    let lower = name.to_lowercase();
    if let Some(rank) = NAMES.iter().position(|known| *known == lower) {
        return Some(2 * rank);
    }
    let ends = |known: &&str| {
        let snake = lower.ends_with(&format!("_{known}")) || lower.ends_with(&format!("-{known}"));
        snake || name.ends_with(&format!("{}{}", known[..1].to_uppercase(), &known[1..]))
    };
    NAMES[..11].iter().position(ends).map(|rank| 2 * rank + 1)
}

/// A value as it tells records apart: 5 and "5" are the same.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A value as text, the same whatever the order of its members.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<&String, String> =
                members.iter().map(|(name, value)| (name, canonical(value))).collect();
            let all: Vec<String> = sorted
                .into_iter()
                .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
                .collect();
            format!("{{{}}}", all.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn records_are_joined_by_a_key_that_is_found_and_disagreement_is_shown() {
        let merged = merge(
            &[
                (
                    "b",
                    json!({"items": [{"sku": "x", "name": "Wool", "price": 5}, {"sku": "y", "name": "Felt"}], "total": 2}),
                ),
                ("a", json!([{"sku": "x", "name": "Wool", "price": 7, "stock": 3}, {"note": 1}, 8])),
            ],
            None,
        );
        assert_eq!(merged.key, None, "a record without it is in no key");
        let merged = merge(
            &[
                (
                    "b",
                    json!({"items": [{"sku": "x", "name": "Wool", "price": 5}, {"sku": "y", "name": "Felt"}], "total": 2}),
                ),
                ("a", json!([{"sku": "x", "name": "Wool", "price": 7, "stock": 3}, 8])),
            ],
            None,
        );
        assert_eq!(
            json!(merged),
            json!({
                "key": "sku", "disagree": 1,
                "records": [
                    {"sources": ["a", "b"], "values": {"name": "Wool", "sku": "x", "stock": 3}, "from": {"stock": ["a"]},
                     "conflicts": {"price": [{"value": 5, "sources": ["b"]}, {"value": 7, "sources": ["a"]}]}},
                    {"sources": ["b"], "values": {"name": "Felt", "sku": "y"}},
                ],
                "unmatched": [{"value": 8, "sources": ["a"]}],
                "beside": {"b": {"total": 2}},
            })
        );
    }

    #[test]
    fn answers_of_one_record_each_are_one_and_a_record_with_a_list_is_no_list() {
        let order = |state: &str| json!({"order_id": "o-1", "lines": [{"sku": "x"}], "state": state});
        let merged = merge(&[("a", order("open")), ("b", order("shut"))], None);
        assert_eq!((merged.key, merged.records.len(), merged.disagree), (None, 1, 1));
        let merged = merge(&[("a", order("open")), ("b", json!({"order_id": "o-2"}))], Some("order_id"));
        assert_eq!((merged.records.len(), merged.disagree), (2, 0));
        assert_eq!(merge(&[], None), Merged::default());
    }

    /// Plain values, and some that are not.
    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            (0..4_i64).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
            Just(Value::Null),
            Just(json!([1, {"b": 2}])),
            any::<bool>().prop_map(Value::from),
        ]
    }

    fn record() -> impl Strategy<Value = Value> {
        let name = prop::sample::select(vec!["id", "name", "x", "order_id"]);
        prop::collection::btree_map(name, value(), 0..4).prop_map(|members| json!(members))
    }

    fn answer() -> impl Strategy<Value = Value> {
        let list = || prop::collection::vec(prop_oneof![4 => record(), 1 => value()], 0..5);
        prop_oneof![
            list().prop_map(Value::from),
            record(),
            list().prop_map(|list| json!({"items": list, "total": 3})),
            value()
        ]
    }

    /// Every (source, member, value) that is told.
    fn said(merged: &Merged) -> BTreeSet<(String, String, String)> {
        let mut said = BTreeSet::new();
        let mut add = |source: &String, name: &str, value: &Value| {
            said.insert((source.clone(), name.to_owned(), canonical(value)));
        };
        for record in &merged.records {
            for (name, value) in &record.values {
                let from = record.from.get(name).unwrap_or(&record.sources);
                from.iter().for_each(|source| add(source, name, value));
            }
            for (name, all) in &record.conflicts {
                all.iter()
                    .for_each(|one| one.sources.iter().for_each(|source| add(source, name, &one.value)));
            }
        }
        for one in &merged.unmatched {
            for source in &one.sources {
                match one.value.as_object() {
                    Some(members) => members.iter().for_each(|(name, value)| add(source, name, value)),
                    None => add(source, "", &one.value),
                }
            }
        }
        for (source, members) in &merged.beside {
            members.as_object().unwrap().iter().for_each(|(name, value)| add(source, name, value));
        }
        said
    }

    proptest! {
        #[test]
        fn no_value_is_lost_none_is_made_up_and_order_does_not_matter(
            answers in prop::collection::vec(answer(), 0..4),
            key in prop::option::of(prop::sample::select(vec!["id", "name"])),
        ) {
            let names = ["a", "b", "c", "d"];
            let mut sources: Vec<(&str, Value)> = names.into_iter().zip(answers).collect();
            let merged = merge(&sources, key);
            let mut wanted = BTreeSet::new();
            for (source, value) in &sources {
                let mut add = |name: &str, value: &Value| {
                    wanted.insert(((*source).to_owned(), name.to_owned(), canonical(value)));
                };
                let apart = taken_apart(value, key);
                for members in apart.records.iter().chain([&apart.beside]) {
                    members.iter().for_each(|(name, value)| add(name, value));
                }
                apart.loose.iter().for_each(|value| add("", value));
                // Taking apart loses nothing either.
                let parts = apart.records.len() + apart.loose.len();
                let expected = match value {
                    Value::Array(items) => items.len(),
                    Value::Object(_) if apart.single => 1,
                    Value::Object(members) => members.values().filter_map(Value::as_array).map(Vec::len).sum(),
                    _ => 1,
                };
                prop_assert_eq!(parts, expected);
            }
            prop_assert_eq!(said(&merged), wanted);
            sources.reverse();
            prop_assert_eq!(merge(&sources, key), merged);
        }
    }
}
