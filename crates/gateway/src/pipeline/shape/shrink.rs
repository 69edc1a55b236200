//! A value in fewer tokens: lists of equal objects as tables, which loses nothing; then long lists by a sample and how many there
//! are, and long text by its beginning.

use serde_json::{Map, Value, json};

use crate::meta_tools::tokens;

/// How many items of a list and characters of a text are kept, the most first.
const STEPS: [(usize, usize); 7] =
    [(100, 4_000), (40, 1_500), (15, 600), (8, 300), (4, 160), (2, 80), (1, 40)];

/// The fewest objects that are worth a table.
const TABLE: usize = 3;

/// A value that has at most so many tokens, and whether it is all of it.
pub(super) fn shrunk(value: &Value, budget: usize) -> (Value, bool) {
    let table = tabled(value);
    if size(&table) <= budget {
        return (table, true);
    }
    let mut last = Value::Null;
    for (items, letters) in STEPS {
        last = sampled(&table, items, letters, usize::MAX);
        if size(&last) <= budget {
            return (last, false);
        }
    }
    // Still too much: what is deep within is told by its kind alone.
    for depth in (0..8).rev() {
        last = sampled(&table, 1, 40, depth);
        if size(&last) <= budget {
            break;
        }
    }
    (last, false)
}

fn size(value: &Value) -> usize {
    tokens(serde_json::to_string(value).map_or(0, |text| text.len()))
}

/// Lists of objects with the same members as `columns` and `rows`.
fn tabled(value: &Value) -> Value {
    match value {
        Value::Array(items) => match columns(items) {
            Some(columns) => {
                let row = |item: &Value| columns.iter().map(|name| tabled(&item[name.as_str()])).collect();
                json!({"columns": columns, "rows": items.iter().map(row).collect::<Vec<Value>>()})
            }
            None => items.iter().map(tabled).collect(),
        },
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), tabled(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// The members that all of these objects have, where they are equal and worth it.
fn columns(items: &[Value]) -> Option<Vec<&String>> {
    let first = items.first()?.as_object()?;
    let same = |item: &Value| {
        item.as_object()
            .is_some_and(|item| item.len() == first.len() && item.keys().all(|name| first.contains_key(name)))
    };
    (items.len() >= TABLE && first.len() > 1 && items.iter().all(same)).then(|| first.keys().collect())
}

fn sampled(value: &Value, items: usize, letters: usize, depth: usize) -> Value {
    match value {
        Value::String(text) => match text.char_indices().nth(letters) {
            Some((end, _)) => json!(format!("{}… ({} characters)", &text[..end], text.chars().count())),
            None => value.clone(),
        },
        Value::Array(all) if depth == 0 && !all.is_empty() => json!(format!("… ({} items)", all.len())),
        Value::Object(all) if depth == 0 && !all.is_empty() => json!(format!("… ({} members)", all.len())),
        Value::Array(all) => {
            let below = depth.saturating_sub(1);
            let mut kept: Vec<Value> =
                all.iter().take(items).map(|item| sampled(item, items, letters, below)).collect();
            if all.len() > items {
                kept.push(json!(format!("… ({} of {} items)", items, all.len())));
            }
            Value::Array(kept)
        }
        Value::Object(all) => {
            // Objects may be lists, too: by identity.
            let most = items.max(16) * 2;
            let below = depth.saturating_sub(1);
            let kept = all.iter().take(most);
            let mut kept: Map<String, Value> =
                kept.map(|(name, value)| (name.clone(), sampled(value, items, letters, below))).collect();
            if all.len() > most {
                kept.insert("…".to_owned(), json!(format!("({most} of {} members)", all.len())));
            }
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_loses_nothing_and_a_sample_says_what_it_leaves_out() {
        let rows: Vec<Value> =
            (0..500).map(|id| json!({"id": id, "name": format!("n{id}"), "state": "open"})).collect();
        let value = json!({"orders": rows, "total": 500});
        let (table, whole) = shrunk(&value, 3_000);
        assert!(whole);
        assert_eq!(table["orders"]["columns"], json!(["id", "name", "state"]));
        assert_eq!(table["orders"]["rows"][499], json!([499, "n499", "open"]));
        let (sample, whole) = shrunk(&value, 300);
        assert!(!whole && size(&sample) <= 300);
        assert!(sample.to_string().contains("of 500 items"), "{sample}");
    }

    #[test]
    fn whatever_comes_fits_at_last() {
        let mut deep = json!("x".repeat(100_000));
        for number in 0..60 {
            deep = json!({"a": [deep.clone(), number, "y".repeat(500)], "b": number});
        }
        for value in [deep, json!("z".repeat(1 << 20)), json!((0..100_000).collect::<Vec<_>>())] {
            let (small, whole) = shrunk(&value, 200);
            assert!(!whole && size(&small) <= 200, "{}", size(&small));
        }
    }
}
