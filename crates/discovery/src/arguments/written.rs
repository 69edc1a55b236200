//! Arguments that someone else read out of a request, such as a model: taken only where the schema takes them, and each value only as
//! sure as the request bears it out.

use serde_json::{Map, Value};
use trunkline_model::Json;

use super::candidates::{Candidate, Reading};
use super::{Filled, Form, Found, Missing, REMEMBERED, Request, Source, pointer, put, rest, wanted};

/// How sure a value is that stands in the request.
const STANDS_THERE: f32 = 0.9;

/// What the request doesn't say at all.
const UNHEARD: f32 = 0.4;

/// From where on a value of ours is put where the other has left one out that is required.
const SURE: f32 = 0.5;

/// The most values that are looked at one by one.
const MOST: usize = 256;

impl Form {
    /// Whether the schema has members that are not settled.
    #[must_use]
    pub fn is_open(&self, fixed: &Map<String, Value>) -> bool {
        let properties = self.schema.document().get("properties").and_then(Value::as_object);
        properties.is_some_and(|all| all.keys().any(|name| !fixed.contains_key(name)))
    }

    /// What was written for a request, and what we found ourselves; none where the schema does not take what was written. Settled
    /// members stay as they are, and what was left out is missing where it is required and we did not find it either.
    #[must_use]
    pub fn written(
        &self,
        request: &Request<'_>,
        own: &Filled,
        mut arguments: Map<String, Value>,
    ) -> Option<Filled> {
        leave_out_blanks(&mut arguments);
        let mut arguments = Value::Object(arguments);
        if let Some(fixed) = request.fixed {
            settle(&mut arguments, fixed);
        }
        let mut missing = Vec::new();
        for parameter in self.parameters.iter().filter(|parameter| parameter.required) {
            let path = pointer(&parameter.path);
            if arguments.pointer(&path).is_some() {
                continue;
            }
            match own.found.iter().find(|found| found.path == path && found.confidence >= SURE) {
                Some(found) => put(&mut arguments, &path, found.value.clone()),
                None => missing.push(Missing { path, wanted: wanted(parameter) }),
            }
        }
        // What the words say counts before what they don't.
        let unheard = self.borne_out(request, own, &arguments).into_iter();
        for unheard in unheard.filter(|found| found.source == Source::Written) {
            let heard = |found: &&Found| found.path == unheard.path && found.confidence >= SURE;
            if let Some(found) = own.found.iter().find(heard) {
                put(&mut arguments, &found.path, found.value.clone());
            }
        }
        if !self.faults(&arguments).is_empty() {
            return None;
        }
        let valid = self.schema.validate(&Json::from_value(&arguments)).is_ok();
        let complete = valid && missing.is_empty() && self.schema.defect().is_none();
        if !complete && missing.is_empty() {
            missing.push(rest());
        }
        let found = self.borne_out(request, own, &arguments);
        Some(Filled { found, missing, arguments, complete })
    }

    /// Where the schema does not take values. That something is not there is no fault of a value.
    fn faults(&self, arguments: &Value) -> Vec<String> {
        let checked = self.schema.validate(&Json::from_value(arguments));
        let violations = checked.err().unwrap_or_default().into_iter();
        let of_value = violations.filter(|one| !one.expected.starts_with("the required property"));
        of_value.map(|violation| violation.path).collect()
    }

    /// Each value with how far the request, or what is known beside it, bears it out.
    fn borne_out(&self, request: &Request<'_>, own: &Filled, arguments: &Value) -> Vec<Found> {
        let reading = Reading::new(request.text, request.now);
        let mut leaves = Vec::new();
        walk(arguments, String::new(), &mut leaves);
        let settled = |path: &str| {
            let fixed = request.fixed.and_then(|fixed| fixed.get(path.split('/').nth(1)?));
            fixed.is_some_and(|fixed| path.splitn(3, '/').nth(2).is_none_or(|rest| has(fixed, rest)))
        };
        let mut found = Vec::new();
        for (path, value) in leaves.into_iter().filter(|(path, _)| !settled(path)) {
            let same = own.found.iter().find(|found| found.path == path && found.value == *value);
            let (source, confidence) = match same {
                // Two have read the same.
                Some(found) => (found.source.clone(), found.confidence.max(STANDS_THERE)),
                None => self.heard(&reading, request, &path, value),
            };
            found.push(Found { path, value: value.clone(), source, confidence });
        }
        found
    }

    fn heard(
        &self,
        reading: &Reading<'_>,
        request: &Request<'_>,
        path: &str,
        value: &Value,
    ) -> (Source, f32) {
        let parameter = self.parameters.iter().find(|parameter| pointer(&parameter.path) == path);
        if let Some(parameter) = parameter {
            let candidates = reading.candidates(parameter);
            let says = |one: &&Candidate| one.value == *value && !is_inner(request.text, one.start..one.end);
            if let Some(one) = candidates.iter().find(says) {
                return (Source::Request(one.start..one.end), STANDS_THERE);
            }
            if parameter.default.as_ref() == Some(value) {
                return (Source::Default, 1.0);
            }
        }
        if request.known.iter().any(|known| known.value == *value) {
            return (Source::Conversation, REMEMBERED);
        }
        if let Some(span) = spoken(request.text, value) {
            return (Source::Request(span), STANDS_THERE);
        }
        (Source::Written, UNHEARD)
    }
}

/// The words of a text that say a value, case apart: whole words only, and nothing out of the middle of `ord-1004` or `12.50`.
fn spoken(text: &str, value: &Value) -> Option<std::ops::Range<usize>> {
    if let Value::Array(items) = value {
        let spans: Option<Vec<_>> = items.iter().map(|item| spoken(text, item)).collect();
        let spans = spans?;
        let start = spans.iter().map(|span| span.start).min()?;
        return Some(start..spans.iter().map(|span| span.end).max()?);
    }
    let wanted = match value {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    if wanted.is_empty() {
        return None;
    }
    // This keeps the places of all letters.
    let lower = text.to_ascii_lowercase();
    lower
        .match_indices(&wanted)
        .map(|(start, found)| start..start + found.len())
        .find(|span| !goes_on(lower[..span.start].chars().rev()) && !goes_on(lower[span.end..].chars()))
}

/// Whether a part of a text stands in the middle of what is written as one: the number in `ord-1004`.
fn is_inner(text: &str, span: std::ops::Range<usize>) -> bool {
    let (Some(before), Some(after)) = (text.get(..span.start), text.get(span.end..)) else { return false };
    let joined = |first: Option<char>, second: Option<char>| {
        first.is_some_and(|letter| matches!(letter, '-' | '_')) && second.is_some_and(char::is_alphanumeric)
    };
    let (mut back, mut on) = (before.chars().rev(), after.chars());
    joined(back.next(), back.next()) || joined(on.next(), on.next())
}

/// Whether a word goes on with these letters.
fn goes_on(mut letters: impl Iterator<Item = char>) -> bool {
    const JOIN: [char; 7] = ['-', '_', '.', ',', '/', '@', ':'];
    match letters.next() {
        Some(letter) if JOIN.contains(&letter) => letters.next().is_some_and(char::is_alphanumeric),
        letter => letter.is_some_and(char::is_alphanumeric),
    }
}

/// Takes out how a model says that it does not know, where it has to say something.
fn leave_out_blanks(members: &mut Map<String, Value>) {
    members.retain(|_, value| {
        let object = value.as_object_mut();
        let emptied = object.is_some_and(|inner| {
            let had = !inner.is_empty();
            leave_out_blanks(inner);
            had && inner.is_empty()
        });
        !emptied && !value.is_null() && *value != ""
    });
}

/// Puts what is settled over what is there.
fn settle(arguments: &mut Value, fixed: &Map<String, Value>) {
    let Value::Object(members) = arguments else { return };
    for (name, value) in fixed {
        match (members.get_mut(name), value) {
            (Some(there @ Value::Object(_)), Value::Object(inner)) => settle(there, inner),
            _ => {
                members.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Whether a value has something at a path, or ends before it: then all of it is settled.
fn has(value: &Value, path: &str) -> bool {
    match value {
        Value::Object(_) => value.pointer(&format!("/{path}")).is_some(),
        _ => true,
    }
}

/// The values of an object that have no members, with their paths. Lists of plain values are one value, others are gone into.
fn walk<'v>(value: &'v Value, path: String, leaves: &mut Vec<(String, &'v Value)>) {
    if leaves.len() >= MOST {
        return;
    }
    let step = |name: &str| format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                walk(inner, step(name), leaves);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (at, inner) in items.iter().enumerate() {
                walk(inner, step(&at.to_string()), leaves);
            }
        }
        plain => leaves.push((path, plain)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trunkline_model::Schema;

    use super::*;

    fn form() -> Form {
        let schema = Schema::new(json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "order_id": {"type": "string"},
                "speed": {"enum": ["standard", "express"]},
                "parcels": {"type": "integer", "minimum": 1},
                "note": {"type": "string"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "to": {"type": "object", "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
                    "required": ["city"]},
            },
            "required": ["order_id", "to"],
        }));
        Form::new("ship_order", "Ships an order", &schema)
    }

    fn written(text: &str, fixed: Option<&Map<String, Value>>, arguments: &Value) -> Option<Filled> {
        let now = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
        let request = Request { text, now: &now, known: &[], fixed };
        let form = form();
        let own = form.fill(&request);
        form.written(&request, &own, arguments.as_object().unwrap().clone())
    }

    fn sure(filled: &Filled, path: &str) -> f32 {
        filled.found.iter().find(|found| found.path == path).unwrap().confidence
    }

    #[test]
    fn what_the_request_says_is_sure_and_what_it_does_not_is_a_guess() {
        let text = "Get ord-7 to Berlin, quick";
        let given = json!({"order_id": "ord-7", "to": {"city": "Berlin", "country": "Norway"},
            "speed": "express", "parcels": 3, "note": "", "tags": ["berlin", "quick"]});
        let filled = written(text, None, &given).unwrap();
        assert!(filled.call().is_some(), "{filled:?}");
        assert!(sure(&filled, "/order_id") >= STANDS_THERE && sure(&filled, "/to/city") >= STANDS_THERE);
        assert!(sure(&filled, "/tags") >= STANDS_THERE);
        assert!(sure(&filled, "/to/country") < SURE && sure(&filled, "/parcels") < SURE);
        assert!(sure(&filled, "/speed") < SURE, "what no word of the request says is to be asked about");
        assert!(filled.arguments.get("note").is_none(), "an empty text is nothing");
        // A part of a word is not the word.
        let text = "have it sent out, a-71-b2 in Berlinchen";
        let filled = written(text, None, &json!({"parcels": 71, "to": {"country": "Berlin"}})).unwrap();
        assert!(sure(&filled, "/parcels") < SURE && sure(&filled, "/to/country") < SURE, "{filled:?}");
        assert_eq!(spoken("twelve, 12.50 or 12.", &json!(12)), Some(17..19));
    }

    #[test]
    fn what_the_words_say_counts_before_what_they_do_not() {
        let filled = written("ship order ord-1004 to Berlin", None, &json!({"order_id": "1004"})).unwrap();
        assert_eq!(filled.arguments["order_id"], "ord-1004");
        assert!(matches!(filled.found[0].source, Source::Request(_)), "{filled:?}");
    }

    #[test]
    fn what_the_schema_does_not_take_is_not_taken() {
        for wrong in [
            json!({"order_id": 7, "to": {"city": "Berlin"}}),
            json!({"order_id": "ord-7", "to": {"city": "Berlin"}, "parcels": 0}),
            json!({"order_id": "ord-7", "to": {"city": "Berlin"}, "speed": "warp"}),
            json!({"order_id": "ord-7", "to": {"city": "Berlin"}, "sudo": true}),
            json!({"order_id": "ord-7", "to": "Berlin"}),
        ] {
            assert_eq!(written("send it off", None, &wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_left_out_is_found_by_ours_or_missing_and_what_is_settled_stays() {
        let filled = written("ship order ord-7", None, &json!({})).unwrap();
        assert_eq!(filled.arguments["order_id"], "ord-7");
        assert_eq!(filled.missing.len(), 1, "{filled:?}");
        assert!(filled.call().is_none());
        let fixed = json!({"to": {"country": "DE", "city": "Bonn"}, "speed": "standard"});
        let given = json!({"order_id": "ord-7", "to": {"city": "Berlin"}, "speed": "express"});
        let filled = written("ship order ord-7 to Berlin", fixed.as_object(), &given).unwrap();
        assert_eq!(filled.arguments["to"], json!({"country": "DE", "city": "Bonn"}));
        assert_eq!(filled.arguments["speed"], "standard");
        assert_eq!(filled.found.len(), 1, "what is settled is no finding: {filled:?}");
        assert!(
            !form().is_open(
                json!({"order_id": 1, "speed": 1, "parcels": 1, "note": 1, "tags": 1, "to": 1})
                    .as_object()
                    .unwrap()
            )
        );
        assert!(form().is_open(&Map::new()));
    }
}
