//! JSON text that is checked once and then passed on as it came.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The deepest nesting that any JSON from outside may have. It is serde_json's own recursion limit.
pub const MAX_DEPTH: usize = 128;

/// Valid JSON text. Cloning is cheap; the bytes are shared with the buffer they were read from.
///
/// Arguments and results pass through the gateway in this form: nothing parses them into a tree unless it has to
/// look inside.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Bytes);

/// The text is not JSON, or nests deeper than [`MAX_DEPTH`].
#[derive(Debug, thiserror::Error)]
#[error("not valid JSON: {0}")]
pub struct JsonError(#[from] serde_json::Error);

impl Json {
    /// Checks that `bytes` are one JSON value in UTF-8 and keeps them.
    ///
    /// # Errors
    /// [`JsonError`] names the line and column.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, JsonError> {
        let bytes = bytes.into();
        serde_json::from_slice::<IgnoredAny>(&bytes)?;
        Ok(Self(bytes))
    }

    /// The part of `buffer` that `raw` borrows from it, without a copy. Where `raw` is not a part of `buffer` its
    /// text is copied.
    #[must_use]
    pub fn slice_of(buffer: &Bytes, raw: &RawValue) -> Self {
        let text = raw.get().as_bytes();
        let start = (text.as_ptr() as usize).wrapping_sub(buffer.as_ptr() as usize);
        if start.checked_add(text.len()).is_some_and(|end| end <= buffer.len()) {
            Self(buffer.slice(start..start + text.len()))
        } else {
            Self(Bytes::copy_from_slice(text))
        }
    }

    /// A copy of already parsed text.
    #[must_use]
    pub fn from_raw(raw: &RawValue) -> Self {
        Self(Bytes::copy_from_slice(raw.get().as_bytes()))
    }

    /// Text that was put together of what is JSON already. The caller makes sure that it is; nothing looks at it here.
    #[must_use]
    pub fn joined(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The text of `value`.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        Self(Bytes::from(value.to_string()))
    }

    /// The text of anything that serialises to JSON.
    ///
    /// # Errors
    /// [`JsonError`] where `value` has a map with keys that are not strings.
    pub fn from_serialize(value: &impl Serialize) -> Result<Self, JsonError> {
        Ok(Self(Bytes::from(serde_json::to_vec(value)?)))
    }

    /// `{}`.
    #[must_use]
    pub fn empty_object() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(Bytes::from_static(b"null"))
    }

    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, shared.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The text as a string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The constructors have checked the encoding; the fallback can't be reached and keeps `unsafe` out.
        std::str::from_utf8(&self.0).unwrap_or("null")
    }

    /// The length of the text in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true: no JSON value is empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first byte tells whether this is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.trim_ascii_start().first() == Some(&b'{')
    }

    /// Parses the text into a tree.
    #[must_use]
    pub fn to_value(&self) -> Value {
        crate::plain::value(&self.0).unwrap_or(Value::Null)
    }

    /// Parses the text into `T`.
    ///
    /// # Errors
    /// [`JsonError`] where the text does not fit `T`.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, JsonError> {
        Ok(serde_json::from_slice(&self.0)?)
    }

    /// The text with `"key":value,` put first in the object. `key` and `value` are JSON text already.
    ///
    /// Text that is not an object comes back unchanged. The caller makes sure that the key is not there yet.
    #[must_use]
    pub fn with_member(&self, key: &str, value: &str) -> Self {
        let text = self.0.trim_ascii();
        let Some(rest) = text.strip_prefix(b"{") else { return self.clone() };
        let rest = rest.trim_ascii_start();
        let mut out = Vec::with_capacity(text.len() + key.len() + value.len() + 5);
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value.as_bytes());
        if rest.first() != Some(&b'}') {
            out.push(b',');
        }
        out.extend_from_slice(rest);
        Self(Bytes::from(out))
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self::from_value(&value)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_slice(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self::from_raw(&raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_shares_the_buffer() {
        let body = Bytes::from_static(br#"{"a": {"b": [1, 2]}}"#);
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            a: &'a RawValue,
        }
        let envelope: Envelope<'_> = serde_json::from_slice(&body).unwrap();
        let json = Json::slice_of(&body, envelope.a);
        assert_eq!(json.as_str(), r#"{"b": [1, 2]}"#);
        assert_eq!(json.as_bytes().as_ptr(), body[6..].as_ptr());
    }

    #[test]
    fn a_member_is_put_first() {
        let json = Json::parse(r#" { "a" : 1 } "#).unwrap();
        assert_eq!(json.with_member("t", "\"x\"").as_str(), r#"{"t":"x","a" : 1 }"#);
        assert_eq!(Json::empty_object().with_member("t", "1").as_str(), r#"{"t":1}"#);
        assert_eq!(Json::null().with_member("t", "1").as_str(), "null");
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(100_000);
        assert!(Json::parse(deep).is_err());
    }
}
