//! Members of JSON objects that have the same name.
//!
//! RFC 8259 leaves open which of them counts. A service may take another one than the check of its arguments did, so
//! such arguments are refused.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use trunkline_model::{Json, Violation};

/// The most violations that are told.
const MAX_TOLD: usize = 16;

/// Every member that an object within `json` has more than once.
///
/// # Errors
/// Where the text nests deeper than [`trunkline_model::MAX_DEPTH`].
pub(crate) fn repeated(json: &Json) -> Result<Vec<Violation>, serde_json::Error> {
    let mut look = Look { path: String::new(), found: Vec::new() };
    Value(&mut look).deserialize(&mut serde_json::Deserializer::from_slice(json.as_bytes()))?;
    Ok(look.found)
}

struct Look {
    /// Where we are, as a JSON Pointer (RFC 6901).
    path: String,
    found: Vec<Violation>,
}

impl Look {
    /// Goes down to a member or an item for as long as `visit` takes.
    fn within<T>(&mut self, step: fmt::Arguments<'_>, visit: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push('/');
        // Writing to a String can't fail.
        let _ = fmt::write(&mut self.path, step);
        let visited = visit(self);
        self.path.truncate(length);
        visited
    }

    fn tell(&mut self) {
        if self.found.len() < MAX_TOLD {
            let (expected, found) = ("one member of this name".to_owned(), "another one".to_owned());
            self.found.push(Violation { path: self.path.clone(), expected, found });
        }
    }
}

struct Value<'a>(&'a mut Look);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(Name(name)) = map.next_key()? {
            let step = name.replace('~', "~0").replace('/', "~1");
            self.0.within(format_args!("{step}"), |look| {
                if !names.insert(name) {
                    look.tell();
                }
                map.next_value_seed(Value(look))
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0.. {
            let more = self.0.within(format_args!("{index}"), |look| items.next_element_seed(Value(look)))?;
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// A name that is borrowed where it has no escapes.
#[derive(PartialEq, Eq, Hash)]
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        Borrowed::deserialize(deserializer).map(|Borrowed(name)| Self(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let json = Json::parse(text.to_owned()).unwrap();
        repeated(&json).unwrap().into_iter().map(|violation| violation.path).collect()
    }

    #[test]
    fn repeated_members_are_found_wherever_they_are() {
        assert!(paths(r#"{"a":1,"b":[true,null,2.5,"a"],"c":{"a":-1}}"#).is_empty());
        assert_eq!(paths(r#"{"a":1,"a":2}"#), ["/a"]);
        assert_eq!(paths(r#"{"a":1,"\u0061":2}"#), ["/a"]);
        assert_eq!(paths(r#"{"x":[0,{"a/b":{"c":1,"c":2,"c":3}}]}"#), ["/x/1/a~1b/c", "/x/1/a~1b/c"]);
    }

    #[test]
    fn too_deep_is_an_error() {
        let text = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        let raw: Box<serde_json::value::RawValue> = serde_json::from_str(&text).unwrap();
        assert!(repeated(&Json::from_raw(&raw)).is_err());
    }
}
