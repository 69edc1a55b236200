//! Documents that people write: JSON or YAML text to a tree, with a bound on its size and depth that holds while the tree
//! is built. Aliases of YAML are counted as often as they are used.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The deepest nesting of a document. It keeps every recursive walk over it within a small stack.
pub const MAX_DOCUMENT_DEPTH: usize = 100;

/// How many values may still be read, and what becomes of members that are there twice. Shared by all files of a document.
#[derive(Debug)]
pub struct Budget {
    left: Cell<usize>,
    repeated: Repeated,
    exceeded: Cell<Option<&'static str>>,
}

impl Budget {
    /// So many values. An object counts as four: that is about what it costs.
    #[must_use]
    pub fn new(values: usize, repeated: Repeated) -> Self {
        Self { left: Cell::new(values), repeated, exceeded: Cell::new(None) }
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left.get()
    }

    fn take(&self, count: usize) -> bool {
        match self.left.get().checked_sub(count) {
            Some(left) => self.left.set(left),
            None => self.exceeded.set(Some("it holds too many values")),
        }
        self.exceeded.get().is_none()
    }
}

/// What becomes of two members of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// The document is refused: which of them counts must not depend on the reader.
    Refused,
    /// The last one counts: documents of others are taken as they are.
    LastWins,
}

/// Why a text is not a tree.
#[derive(Debug)]
pub enum DocumentError {
    /// It is neither JSON nor YAML.
    Syntax(String),
    /// It is too large or too deep.
    TooLarge(&'static str),
}

/// Reads JSON where the text starts like JSON, YAML otherwise. It nests [`MAX_DOCUMENT_DEPTH`] levels at most.
///
/// # Errors
/// [`DocumentError`].
pub fn read_document(text: &[u8], budget: &Budget) -> Result<Value, DocumentError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let json_like = matches!(text.trim_ascii_start().first(), Some(b'{' | b'['));
    let result = if json_like { json(text, budget) } else { yaml(text, budget) };
    if let Some(reason) = budget.exceeded.get() {
        return Err(DocumentError::TooLarge(reason));
    }
    result.map_err(DocumentError::Syntax)
}

fn json(text: &[u8], budget: &Budget) -> Result<Value, String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let parsed = Seed { budget, depth: 0 }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| format!("it is no JSON: {error}"));
    // YAML's flow style starts like JSON.
    match parsed {
        Err(error) if budget.exceeded.get().is_none() => yaml(text, budget).map_err(|_| error),
        other => other,
    }
}

fn yaml(text: &[u8], budget: &Budget) -> Result<Value, String> {
    // Our own budget counts what is built; the parser's bounds what it keeps aside for anchors.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 8_000_000,
            max_nodes: 4_000_000,
            max_recorded_anchor_events: 200_000,
            max_recorded_anchor_bytes: 16 << 20,
            max_depth: MAX_DOCUMENT_DEPTH,
            max_documents: 1,
            simple_key_max_lookahead: 65_536,
            enforce_alias_anchor_ratio: false,
        },
        // The reader of the tree decides.
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        strict_booleans: true,
        emit_comments: false,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |reader| {
        Seed { budget, depth: 0 }.deserialize(reader)
    })
    .map_err(|error| {
        let text = error.to_string();
        let text = text.lines().next().unwrap_or_default();
        // The reader has several errors for its limits, some within others; their texts agree.
        if ["budget breached", "limit exceeded"].iter().any(|limit| text.contains(limit)) {
            budget.exceeded.set(Some("it nests too deep, or its aliases make too many copies"));
        }
        format!("it is no YAML: {text}")
    })
}

#[derive(Clone, Copy)]
struct Seed<'b> {
    budget: &'b Budget,
    depth: usize,
}

impl Seed<'_> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DOCUMENT_DEPTH {
            self.budget.exceeded.set(Some("it nests more than 100 levels deep"));
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if !self.budget.take(1) {
            return Err(D::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "integers beyond 64 bits have no other JSON form here"
        )]
        Ok(Value::from(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "integers beyond 64 bits have no other JSON form here"
        )]
        Ok(Value::from(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        // An object with its table costs about as much memory as four other values.
        if !self.budget.take(3) {
            return Err(A::Error::custom("too many values"));
        }
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if map.contains_key(&key) && self.budget.repeated == Repeated::Refused {
                return Err(A::Error::custom(format!("the member {key:?} is there twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Value, DocumentError> {
        read_document(text.as_bytes(), &Budget::new(1000, Repeated::Refused))
    }

    #[test]
    fn json_and_yaml_become_the_same_tree() {
        let expected = json!({"a": [1, 2.5, null, true], "200": {"x": "no"}, "v": "0123"});
        assert_eq!(
            read(r#"{"a": [1, 2.5, null, true], "200": {"x": "no"}, "v": "0123"}"#).unwrap(),
            expected
        );
        assert_eq!(read("a: [1, 2.5, ~, true]\n200: {x: no}\nv: 0123\n").unwrap(), expected);
        assert_eq!(read("{a: [1, 2.5, null, true], 200: {x: no}, v: '0123'}").unwrap(), expected);
    }

    #[test]
    fn what_is_neither_is_refused() {
        assert!(matches!(read("{\"a\": "), Err(DocumentError::Syntax(_))));
        assert!(matches!(read("a: [1"), Err(DocumentError::Syntax(_))));
        assert!(matches!(
            read_document(b"a: \xff", &Budget::new(10, Repeated::Refused)),
            Err(DocumentError::Syntax(_))
        ));
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let wide = format!("[{}1]", "1,".repeat(2000));
        assert!(matches!(read(&wide), Err(DocumentError::TooLarge(_))));
        for deep in [format!("{}1{}", "[".repeat(120), "]".repeat(120)), "{\"a\":".repeat(120)] {
            assert!(matches!(read(&deep), Err(DocumentError::TooLarge(_))), "{deep}");
        }
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let inner = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        assert!(matches!(
            read_document(bomb.as_bytes(), &Budget::new(100_000, Repeated::Refused)),
            Err(DocumentError::TooLarge(_))
        ));
    }

    #[test]
    fn a_key_that_serde_json_treats_specially_is_an_ordinary_key() {
        let text = r#"{"$serde_json::private::RawValue": "[[1]]"}"#;
        assert_eq!(read(text).unwrap()["$serde_json::private::RawValue"], "[[1]]");
    }

    #[test]
    fn members_that_are_there_twice_are_refused_or_the_last_one_counts() {
        for text in ["{\"a\": 1, \"a\": 2}", "a: 1\na: 2\n"] {
            assert!(matches!(read(text), Err(DocumentError::Syntax(_))), "{text}");
            let budget = Budget::new(10, Repeated::LastWins);
            assert_eq!(read_document(text.as_bytes(), &budget).unwrap()["a"], 2, "{text}");
        }
    }
}
