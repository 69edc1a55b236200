//! JSON text in one form of all that say the same (in the manner of RFC 8785): members by name, no space, numbers and
//! strings written in one way.

use serde_json::Value;
use trunkline_model::Json;

/// From here on a double does not tell whole numbers apart.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The one form of `json`. None where it has a number that a double can't hold: two that differ would be one.
pub(crate) fn canonical(json: &Json) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len());
    write(&json.to_value(), &mut out)?;
    Some(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            // By code points of UTF-8, not by those of UTF-16: the order only has to be one.
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                text(name, out)?;
                out.push(b':');
                write(value, out)?;
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::String(string) => text(string, out)?,
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64()?;
            if float.abs() >= EXACT {
                return None;
            }
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and below 2 to the 53rd")]
            let whole = float as i64;
            // 1.0 and 1e0 are 1, and -0.0 is 0.
            if float.fract() == 0.0 {
                out.extend_from_slice(whole.to_string().as_bytes());
            } else {
                serde_json::to_writer(&mut *out, &float).ok()?;
            }
        }
        other => serde_json::to_writer(&mut *out, other).ok()?,
    }
    Some(())
}

fn text(text: &str, out: &mut Vec<u8>) -> Option<()> {
    serde_json::to_writer(&mut *out, text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn form(text: &str) -> Option<String> {
        canonical(&Json::parse(text.to_owned()).unwrap()).map(|form| String::from_utf8(form).unwrap())
    }

    #[test]
    fn what_says_the_same_has_one_form() {
        for text in [r#"{"b":[1,2.5],"a":"x/é"}"#, " { \"a\" : \"x\\/\\u00e9\", \"b\" : [ 1.0, 25e-1 ] } "] {
            assert_eq!(form(text).unwrap(), r#"{"a":"x/é","b":[1,2.5]}"#);
        }
        assert_eq!(form("[-0.0,1e2,18446744073709551615]").unwrap(), "[0,100,18446744073709551615]");
        assert_ne!(form(r#"{"a":"1"}"#), form(r#"{"a":1}"#));
        assert_ne!(form(r#"{"a":null}"#), form("{}"));
    }

    #[test]
    fn numbers_that_would_become_one_have_none() {
        assert_eq!(form("[18446744073709551617]"), None);
        assert_eq!(form("[1e300]"), None);
        assert_ne!(form("[9007199254740993]"), form("[9007199254740992]"));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e6..1e6_f64).prop_map(|number| json!(number)),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((".{0,3}", inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_form_says_the_same_and_is_its_own(value in values()) {
            let json = Json::from_value(&value);
            let form = Json::parse(canonical(&json).unwrap()).unwrap();
            prop_assert_eq!(canonical(&form).unwrap(), form.as_bytes());
            let pretty = Json::parse(serde_json::to_string_pretty(&value).unwrap()).unwrap();
            prop_assert_eq!(canonical(&pretty).unwrap(), form.as_bytes());
        }
    }
}
