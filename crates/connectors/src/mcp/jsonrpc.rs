//! JSON-RPC 2.0 on raw text: writing requests around arguments that are text already, and telling messages apart
//! without parsing what they carry.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use trunkline_model::Json;

use super::error::{Error, RpcError};

/// The most messages in one batch (revision 2025-03-26).
const MAX_BATCH: usize = 256;

/// The longest error message that is shown, in bytes.
const MAX_ERROR_TEXT: usize = 1_000;

/// JSON-RPC's "method not found".
pub(super) const METHOD_NOT_FOUND: i64 = -32_601;

/// MCP's "headers and body disagree" (2026-07-28).
pub(super) const HEADER_MISMATCH: i64 = -32_020;

/// The outer members of a message, borrowed from its text.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

/// What an answer carries.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// The result, as it came.
    Result(Json),
    /// The error object.
    Error(RpcError),
}

impl Reply {
    /// The result, or the error as an error.
    pub(super) fn into_result(self) -> Result<Json, Error> {
        match self {
            Self::Result(result) => Ok(result),
            Self::Error(error) => Err(Error::Rpc(error)),
        }
    }
}

/// One message from the server.
#[derive(Debug)]
pub(super) enum Message {
    /// The answer to our request with this number; `None` where the server could not read it.
    Reply(Option<u64>, Reply),
    /// A request to us: id as text, method, params.
    Request(Json, String, Json),
    /// A notification: method, params.
    Notification(String, Json),
}

impl Message {
    /// Reads the one message, or the batch of messages, that `text` is.
    pub(super) fn read_all(text: &Bytes) -> Result<Vec<Self>, Error> {
        if text.trim_ascii_start().first() == Some(&b'[') {
            let parts: Vec<&RawValue> = serde_json::from_slice(text).map_err(|e| garbage(&e, text))?;
            if parts.len() > MAX_BATCH {
                return Err(Error::Garbage(format!("a batch of {} messages", parts.len())));
            }
            return parts.into_iter().map(|part| Self::read(&Json::slice_of(text, part).bytes())).collect();
        }
        Ok(vec![Self::read(text)?])
    }

    /// Reads the one message that `text` is. Nothing is copied but a method's name.
    pub(super) fn read(text: &Bytes) -> Result<Self, Error> {
        let utf8 = std::str::from_utf8(text).map_err(|e| garbage(&e, text))?;
        let envelope: Envelope<'_> = serde_json::from_str(utf8).map_err(|e| garbage(&e, text))?;
        let slice = |raw: &RawValue| Json::slice_of(text, raw);
        if let Some(method) = envelope.method {
            let params = envelope.params.map_or_else(Json::empty_object, slice);
            return Ok(match envelope.id {
                Some(id) if id.get() != "null" => Self::Request(slice(id), method.into_owned(), params),
                _ => Self::Notification(method.into_owned(), params),
            });
        }
        let id = envelope.id.and_then(|id| id.get().trim_matches('"').parse().ok());
        match (envelope.result, envelope.error) {
            (Some(result), _) if result.get() != "null" => Ok(Self::Reply(id, Reply::Result(slice(result)))),
            (_, Some(error)) => Ok(Self::Reply(id, Reply::Error(RpcError::read(slice(error))))),
            _ => Err(Error::Garbage(format!("neither method nor result nor error: {}", excerpt(text)))),
        }
    }
}

impl RpcError {
    /// Reads an error object. What it lacks is filled in.
    pub(super) fn read(raw: Json) -> Self {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(default)]
            code: Option<f64>,
            #[serde(borrow, default)]
            message: Option<Cow<'a, str>>,
        }
        let (code, message) = match serde_json::from_slice::<Wire<'_>>(raw.as_bytes()) {
            #[expect(clippy::cast_possible_truncation, reason = "codes are small integers; others saturate")]
            Ok(wire) => (wire.code.unwrap_or_default() as i64, wire.message.unwrap_or_default().into_owned()),
            Err(_) => (0, excerpt(raw.as_bytes())),
        };
        let message = shorten(message, MAX_ERROR_TEXT);
        Self { code, message, raw }
    }
}

/// Appends the head of a request up to and with the brace that opens `params`.
pub(super) fn open_request(out: &mut Vec<u8>, id: u64, method: &str) {
    // Writing to a vector does not fail.
    let _ = write!(out, r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"#);
}

/// A notification. `params` is JSON text.
pub(super) fn notification(method: &str, params: &str) -> Bytes {
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#))
}

/// The answer to a request of the server. `id` is the request's.
pub(super) fn answer(id: &Json, result: &Json) -> Bytes {
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}

/// The refusal of a request of the server.
pub(super) fn refusal(id: &Json, code: i64, message: &str) -> Bytes {
    let message = quoted(message);
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#))
}

/// The refusal of a request of the server with an error object that is text already.
pub(super) fn refusal_with(id: &Json, error: &Json) -> Bytes {
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Calls `each` for every member of the object that `json` is, with the key and the value's text. Text that is not an
/// object has no members.
pub(super) fn for_each_member<'a>(json: &'a Json, each: impl FnMut(&str, &'a RawValue)) {
    struct Members<F>(F);
    impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Members<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                (self.0)(&key, map.next_value()?);
            }
            Ok(())
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(json.as_bytes());
    // Only valid JSON gets here; what is no object has no members.
    let _ = reader.deserialize_map(Members(each));
}

/// The start of what came, for an error message.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes));
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if bytes.len() > 200 { format!("{text}…") } else { text }
}

/// `text`, cut at a character boundary where it is longer than `limit` bytes.
pub(super) fn shorten(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

fn garbage(error: &dyn std::fmt::Display, text: &[u8]) -> Error {
    Error::Garbage(format!("{error} in: {}", excerpt(text)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &'static str) -> Result<Message, Error> {
        Message::read(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_result_is_a_slice_of_its_message() {
        let text = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#);
        let Ok(Message::Reply(Some(7), Reply::Result(result))) = Message::read(&text) else { panic!() };
        assert_eq!(result.as_str(), r#"{"content":[]}"#);
        assert_eq!(result.as_bytes().as_ptr(), text[33..].as_ptr());
    }

    #[test]
    fn messages_are_told_apart() {
        assert!(matches!(read(r#"{"id":"s","method":"ping"}"#), Ok(Message::Request(..))));
        assert!(matches!(read(r#"{"method":"notifications/x","params":{}}"#), Ok(Message::Notification(..))));
        assert!(matches!(read(r#"{"id":"12","result":{}}"#), Ok(Message::Reply(Some(12), _))));
        assert!(matches!(
            read(r#"{"id":null,"error":{"code":-1}}"#),
            Ok(Message::Reply(None, Reply::Error(_)))
        ));
        for bad in ["", "[]x", "{}", "7", r#"{"id":1}"#, r#"{"id":1,"result":null}"#, "{\"id\":1,"] {
            assert!(matches!(read(bad), Err(Error::Garbage(_))), "{bad}");
        }
    }

    #[test]
    fn a_batch_is_read_whole() {
        let text = Bytes::from_static(br#"[{"method":"a"},{"id":1,"result":{}}]"#);
        assert_eq!(Message::read_all(&text).unwrap().len(), 2);
    }

    #[test]
    fn members_of_an_object_are_visited() {
        let json = Json::parse(r#"{"a":1,"b\"":{"c":2}}"#).unwrap();
        let mut seen = Vec::new();
        for_each_member(&json, |key, value| seen.push(format!("{key}={}", value.get())));
        assert_eq!(seen, ["a=1", "b\"={\"c\":2}"]);
        for_each_member(&Json::null(), |_, _| panic!("no members"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Message::read_all(&Bytes::from(bytes));
        }

        #[test]
        fn arbitrary_text_survives_a_refusal(text: String, code: i64) {
            let bytes = refusal(&Json::parse("1").unwrap(), code, &text);
            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(value["error"]["message"].as_str(), Some(text.as_str()));
        }
    }
}
