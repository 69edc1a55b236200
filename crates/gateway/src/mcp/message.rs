//! JSON-RPC messages and the parts of their params that the door looks at. Everything is borrowed from the body.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_model::{ClientFeatures, Json};
use trunkline_resilience::shed::Class;

use crate::Error;

/// A JSON-RPC message as it came.
#[derive(Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    /// The id as it came: a string or a number.
    #[serde(borrow, default)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) error: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Reads one message.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Error> {
        // Checked once as a whole: text is then not checked again for every string within it.
        let text = std::str::from_utf8(text).map_err(|error| Error::Malformed(error.to_string()))?;
        let message: Self =
            serde_json::from_str(text).map_err(|error| Error::Malformed(error.to_string()))?;
        if message.jsonrpc.as_deref() != Some("2.0") {
            return Err(Error::Malformed("the member \"jsonrpc\" must be \"2.0\"".to_owned()));
        }
        if let Some(id) = message.id
            && !matches!(id.get().as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'))
        {
            return Err(Error::Malformed("the member \"id\" must be a string or a number".to_owned()));
        }
        if message.method.is_none() && message.result.is_none() && message.error.is_none() {
            return Err(Error::Malformed("it has neither method, result nor error".to_owned()));
        }
        Ok(message)
    }

    /// The id as JSON text, shared with the body.
    pub(crate) fn id_in(&self, body: &Bytes) -> Option<Json> {
        self.id.map(|id| Json::slice_of(body, id))
    }
}

/// The members of params that the door looks at, of every method.
#[derive(Default, Deserialize)]
pub(crate) struct Params<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) uri: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) arguments: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    pub(crate) meta: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "inputResponses")]
    pub(crate) responses: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestState")]
    pub(crate) state: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) level: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) cursor: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "ref")]
    pub(crate) reference: Option<Reference<'a>>,
    #[serde(borrow, default, rename = "protocolVersion")]
    pub(crate) version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) capabilities: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "clientInfo")]
    pub(crate) client: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestId")]
    pub(crate) request_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) notifications: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "taskId")]
    pub(crate) task_id: Option<Cow<'a, str>>,
    /// The call is to be a task (revision 2025-11-25).
    #[serde(borrow, default)]
    pub(crate) task: Option<&'a RawValue>,
}

/// What a completion refers to.
#[derive(Deserialize)]
pub(crate) struct Reference<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uri: Option<Cow<'a, str>>,
}

impl Reference<'_> {
    /// The prompt's name or the template's URI, as the type says. The pipeline decides by the same one.
    pub(crate) fn key(&self) -> Option<&str> {
        match self.kind.as_deref() {
            Some("ref/resource") => self.uri.as_deref(),
            _ => self.name.as_deref(),
        }
    }
}

impl<'a> Params<'a> {
    /// Reads the params of a message; a message without params has empty ones.
    pub(crate) fn parse(raw: Option<&'a RawValue>) -> Result<Self, Error> {
        match raw {
            None => Ok(Self::default()),
            Some(raw) => serde_json::from_str(raw.get()).map_err(|error| Error::Params(error.to_string())),
        }
    }
}

/// The reserved keys of `_meta` (revision 2026-07-28).
pub(crate) mod keys {
    pub(crate) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    pub(crate) const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    pub(crate) const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
    pub(crate) const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    pub(crate) const SERVER: &str = "io.modelcontextprotocol/serverInfo";
    pub(crate) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    /// Our own.
    pub(crate) const TRANSACTION: &str = "dev.trunkline/transaction";
    pub(crate) const PRIORITY: &str = "dev.trunkline/priority";
}

/// `_meta`, taken apart.
#[derive(Default)]
pub(crate) struct Meta<'a> {
    pub(crate) version: Option<&'a RawValue>,
    pub(crate) capabilities: Option<&'a RawValue>,
    pub(crate) log_level: Option<&'a RawValue>,
    /// What the client says of itself.
    pub(crate) client: Option<&'a RawValue>,
    pub(crate) progress_token: Option<&'a RawValue>,
    pub(crate) traceparent: Option<Arc<str>>,
    pub(crate) tracestate: Option<Arc<str>>,
    pub(crate) baggage: Option<Arc<str>>,
    /// The transaction that a call belongs to.
    pub(crate) transaction: Option<Arc<str>>,
    /// How much a call matters.
    pub(crate) priority: Option<Class>,
    rest: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Meta<'a> {
    /// Takes `_meta` apart.
    pub(crate) fn parse(raw: Option<&'a RawValue>) -> Result<Self, Error> {
        let mut meta = Self::default();
        let Some(raw) = raw else { return Ok(meta) };
        let Members(members) =
            serde_json::from_str(raw.get()).map_err(|error| Error::Params(format!("_meta: {error}")))?;
        for (key, value) in members {
            match &*key {
                keys::VERSION => meta.version = Some(value),
                keys::CAPABILITIES => meta.capabilities = Some(value),
                keys::LOG_LEVEL => meta.log_level = Some(value),
                keys::CLIENT => meta.client = Some(value),
                "progressToken" => meta.progress_token = Some(value),
                "traceparent" => meta.traceparent = text(value),
                "tracestate" => meta.tracestate = text(value),
                "baggage" => meta.baggage = text(value),
                keys::TRANSACTION => meta.transaction = text(value),
                keys::PRIORITY => meta.priority = text(value).and_then(|name| Class::named(&name)),
                _ => meta.rest.push((key, value)),
            }
        }
        Ok(meta)
    }

    /// The members that are passed on to the service, where there are any.
    pub(crate) fn passed_on(&self, log_level: Option<u8>) -> Option<Json> {
        let level = log_level.and_then(|level| super::SEVERITIES.get(usize::from(level)));
        if self.rest.is_empty() && level.is_none() {
            return None;
        }
        let mut members: indexmap::IndexMap<&str, Json> =
            self.rest.iter().map(|(key, value)| (&**key, Json::from_raw(value))).collect();
        if let Some(level) = level {
            members.insert(keys::LOG_LEVEL, Json::from(serde_json::Value::from(*level)));
        }
        Json::from_serialize(&members).ok()
    }
}

/// A string as shared text.
pub(crate) fn text(raw: &RawValue) -> Option<Arc<str>> {
    serde_json::from_str::<Cow<'_, str>>(raw.get()).ok().map(|text| Arc::from(&*text))
}

/// The members of an object in their order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A key that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The name that a client gives itself in its `clientInfo`.
pub(crate) fn name_of(client: &RawValue) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    let Named { name } = serde_json::from_str(client.get()).ok()?;
    Some(Arc::from(crate::meta_tools::cut(&name, 128)))
}

/// What a client's capabilities object declares.
pub(crate) fn features(capabilities: Option<&RawValue>) -> ClientFeatures {
    use serde::de::IgnoredAny;
    #[derive(Default, Deserialize)]
    struct Elicitation {
        form: Option<IgnoredAny>,
        url: Option<IgnoredAny>,
    }
    #[derive(Default, Deserialize)]
    struct Capabilities {
        elicitation: Option<Elicitation>,
        sampling: Option<IgnoredAny>,
        roots: Option<IgnoredAny>,
    }
    let declared: Capabilities =
        capabilities.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    ClientFeatures {
        // An empty object means forms, as it did before there were modes.
        elicitation_form: declared.elicitation.as_ref().is_some_and(|e| e.form.is_some() || e.url.is_none()),
        elicitation_url: declared.elicitation.as_ref().is_some_and(|e| e.url.is_some()),
        sampling: declared.sampling.is_some(),
        roots: declared.roots.is_some(),
        presumed: false,
    }
}

/// Whether a client's capabilities object declares the extension of tasks.
pub(crate) fn follows_tasks(capabilities: Option<&RawValue>) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Capabilities {
        extensions: indexmap::IndexMap<String, serde_json::Value>,
    }
    let occurs = |raw: &&RawValue| raw.get().contains(super::tasks::EXTENSION);
    let declared = capabilities.filter(occurs).and_then(|raw| serde_json::from_str(raw.get()).ok());
    let Capabilities { extensions } = declared.unwrap_or_default();
    extensions.get(super::tasks::EXTENSION).is_some_and(serde_json::Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_are_none_are_refused() {
        for bad in [
            "",
            "{",
            "[]",
            "1",
            "null",
            "{}",
            r#"{"jsonrpc":"1.0","method":"x"}"#,
            r#"{"jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":true,"method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#,
            r#"{"jsonrpc":"2.0","method":7}"#,
        ] {
            assert!(Message::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_stay_as_they_came() {
        let body = Bytes::from_static(br#"{"jsonrpc":"2.0","id":12345678901234567890,"method":"ping"}"#);
        let message = Message::parse(&body).unwrap();
        assert_eq!(message.id_in(&body).unwrap().as_str(), "12345678901234567890");
    }

    #[test]
    fn meta_is_taken_apart() {
        let raw =
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":7,"a/b":{"c":1}}"#;
        let raw: &RawValue = serde_json::from_str(raw).unwrap();
        let meta = Meta::parse(Some(raw)).unwrap();
        assert_eq!(meta.progress_token.unwrap().get(), "7");
        assert_eq!(meta.passed_on(None).unwrap().as_str(), r#"{"a/b":{"c":1}}"#);
    }

    #[test]
    fn only_the_extension_declares_tasks() {
        let declared = |text: &str| follows_tasks(Some(serde_json::from_str(text).unwrap()));
        assert!(declared(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#));
        assert!(!declared(r#"{"tasks":{"list":{}}}"#));
        assert!(!declared(r#"{"extensions":{"io.modelcontextprotocol/tasks":null}}"#));
        assert!(!declared(r#"{"experimental":{"io.modelcontextprotocol/tasks":{}}}"#));
    }

    #[test]
    fn an_empty_elicitation_capability_means_forms() {
        let raw: &RawValue = serde_json::from_str(r#"{"elicitation":{},"sampling":{}}"#).unwrap();
        let features = features(Some(raw));
        assert!(
            features.elicitation_form && features.sampling && !features.elicitation_url && !features.roots
        );
    }
}
