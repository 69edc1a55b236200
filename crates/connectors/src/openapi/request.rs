//! A request as far as it is known before its arguments are, and the request that arguments make of it.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_model::Json;

use crate::Error;

use super::body::Body;
use super::parameters::{Location, Parameter};

/// What a path of a document may hold that a URL may not.
const LITERAL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'\\')
    .add(b'^')
    .add(b'|');

/// The name of the argument that is the body.
pub(super) const BODY: &str = "body";

/// A piece of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// The parameter with this name.
    Parameter(String),
}

/// An operation's request as far as it is known before its arguments are.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) method: Method,
    path: Vec<Segment>,
    parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    accept: HeaderValue,
}

/// What arguments make of a template.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Path and query, from the server's base on.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    /// The `Cookie` header so far.
    pub(super) cookie: String,
    pub(super) body: Bytes,
}

/// The names of `{placeholders}` in a path.
pub(super) fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

fn segments(path: &str) -> Vec<Segment> {
    let literal = |text: &str| Segment::Literal(utf8_percent_encode(text, LITERAL).to_string());
    let path = path.split('#').next().unwrap_or_default();
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else { break };
        if !before.is_empty() {
            out.push(literal(before));
        }
        out.push(Segment::Parameter(name.to_owned()));
        rest = behind;
    }
    if !rest.is_empty() {
        out.push(literal(rest));
    }
    out
}

impl Template {
    pub(super) fn new(
        method: Method,
        path: &str,
        parameters: Vec<Parameter>,
        body: Option<Body>,
        accept: HeaderValue,
    ) -> Self {
        Self { method, path: segments(path), parameters, body, accept }
    }

    /// Whether the method promises to change nothing (RFC 9110, section 9.2.1).
    pub(super) fn is_safe(&self) -> bool {
        self.method.is_safe() || self.method == "QUERY"
    }

    /// What a parameter or the body is called among the arguments, by the name that the document has for it.
    pub(super) fn argument_of(&self, name: &str) -> Option<&str> {
        let known = |p: &&Parameter| p.argument == name;
        let parameter = self.parameters.iter().find(known);
        match parameter.or_else(|| self.parameters.iter().find(|parameter| parameter.name == name)) {
            Some(parameter) => Some(&parameter.argument),
            None => (name == BODY && self.body.is_some()).then_some(BODY),
        }
    }

    /// What the arguments are called.
    pub(super) fn argument_names(&self) -> impl Iterator<Item = &str> {
        let names = self.parameters.iter().map(|parameter| &*parameter.argument);
        names.chain(self.body.is_some().then_some(BODY))
    }

    /// Puts arguments into their places.
    ///
    /// # Errors
    /// [`Error::Argument`] names the argument that is missing or can't be sent.
    pub(super) fn prepare(&self, arguments: &Json) -> Result<Prepared, Error> {
        let buffer = arguments.bytes();
        let given: Arguments<'_> = serde_json::from_slice(&buffer)
            .map_err(|error| argument("(all)", format!("an object is expected: {error}")))?;
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::ACCEPT, self.accept.clone());
        let mut target = String::with_capacity(128);
        for segment in &self.path {
            match segment {
                Segment::Literal(text) => target.push_str(text),
                Segment::Parameter(name) => self.path_value(name, &given, &mut target)?,
            }
        }
        let mut query = String::new();
        let mut cookie = String::new();
        for parameter in self.parameters.iter().filter(|parameter| parameter.location != Location::Path) {
            let Some(value) = given.value(parameter)? else { continue };
            let failed = |cause| argument(&parameter.argument, cause);
            match parameter.location {
                Location::Header => {
                    let mut text = String::new();
                    parameter.write_value(&value, &mut text).map_err(failed)?;
                    let name = HeaderName::from_bytes(parameter.name.as_bytes())
                        .map_err(|error| failed(error.to_string()))?;
                    let value = HeaderValue::from_str(text.trim())
                        .or_else(|_| HeaderValue::from_bytes(text.trim().as_bytes()))
                        .map_err(|_| failed("it has characters that no header may have".to_owned()))?;
                    headers.insert(name, value);
                }
                Location::Cookie => parameter.write_pairs(&value, "; ", &mut cookie).map_err(failed)?,
                _ => parameter.write_pairs(&value, "&", &mut query).map_err(failed)?,
            }
        }
        if !query.is_empty() {
            append_query(&mut target, &query);
        }
        let body = self.body_of(&buffer, &given, &mut headers)?;
        Ok(Prepared { target, headers, cookie, body })
    }

    fn path_value(&self, name: &str, given: &Arguments<'_>, target: &mut String) -> Result<(), Error> {
        let parameter = self.parameters.iter().find(|p| p.location == Location::Path && p.name == name);
        let Some(parameter) = parameter else { return Err(argument(name, "it is not declared".to_owned())) };
        let value = given.value(parameter)?.unwrap_or(Value::Null);
        parameter.write_value(&value, target).map_err(|cause| argument(&parameter.argument, cause))
    }

    fn body_of(
        &self,
        buffer: &Bytes,
        given: &Arguments<'_>,
        headers: &mut HeaderMap,
    ) -> Result<Bytes, Error> {
        let Some(body) = &self.body else { return Ok(Bytes::new()) };
        // `null` is as good as none, unless a body is required: then it is meant.
        match given.get(BODY).filter(|value| body.required || value.get() != "null") {
            Some(value) => {
                let (media_type, bytes) =
                    body.encode(buffer, value).map_err(|cause| argument(BODY, cause))?;
                headers.insert(header::CONTENT_TYPE, media_type);
                Ok(bytes)
            }
            None if body.required => Err(argument(BODY, "it is required".to_owned())),
            None => Ok(Bytes::new()),
        }
    }
}

/// Adds `pairs` to the query of `target`.
pub(super) fn append_query(target: &mut String, pairs: &str) {
    target.push(if target.contains('?') { '&' } else { '?' });
    target.push_str(pairs);
}

fn argument(name: &str, cause: String) -> Error {
    Error::Argument { argument: name.to_owned(), cause }
}

/// The members of the arguments, each still as text: the body is passed on without being parsed.
struct Arguments<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Arguments<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// A parameter's value; `null` is as good as none.
    fn value(&self, parameter: &Parameter) -> Result<Option<Value>, Error> {
        let value = match self.get(&parameter.argument) {
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|error| argument(&parameter.argument, error.to_string()))?,
            None => Value::Null,
        };
        match value {
            Value::Null if parameter.required => {
                Err(argument(&parameter.argument, "it is required".to_owned()))
            }
            Value::Null => Ok(None),
            value => Ok(Some(value)),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Members<'a> {
            type Value = Arguments<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of arguments")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Arguments(members))
            }
        }
        deserializer.deserialize_map(Members(std::marker::PhantomData))
    }
}

/// A key that borrows from the text where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::media::Kind;
    use super::super::parameters::Style;
    use super::*;

    fn parameter(name: &str, location: Location, style: Style) -> Parameter {
        Parameter {
            argument: name.to_owned(),
            name: name.to_owned(),
            location,
            style,
            explode: style == Style::Form,
            allow_reserved: false,
            required: location == Location::Path,
        }
    }

    fn template() -> Template {
        let body = Body {
            required: false,
            kind: Kind::Json,
            media_type: HeaderValue::from_static("application/json"),
            fields: std::collections::HashMap::new(),
        };
        let parameters = vec![
            parameter("id", Location::Path, Style::Simple),
            parameter("q", Location::Query, Style::Form),
            parameter("X-H", Location::Header, Style::Simple),
            parameter("c", Location::Cookie, Style::Form),
        ];
        let accept = HeaderValue::from_static("application/json");
        Template::new(Method::POST, "/a b/{id}/x?fixed=1", parameters, Some(body), accept)
    }

    #[test]
    fn every_argument_finds_its_place_and_json_is_not_copied() {
        let arguments =
            Json::parse(r#"{"id": "7/8", "q": ["a", "b"], "X-H": true, "c": "d;e", "body": {"k":  1}}"#)
                .unwrap();
        let prepared = template().prepare(&arguments).unwrap();
        assert_eq!(prepared.target, "/a%20b/7%2F8/x?fixed=1&q=a&q=b");
        assert_eq!(prepared.headers["x-h"], "true");
        assert_eq!(prepared.cookie, "c=d%3Be");
        assert_eq!(&prepared.body[..], b"{\"k\":  1}");
        let start = arguments.as_str().find("{\"k\"").unwrap();
        assert_eq!(prepared.body.as_ptr(), arguments.as_bytes()[start..].as_ptr());
    }

    #[test]
    fn what_is_missing_or_impossible_is_named() {
        let named = |arguments: Value| match template().prepare(&Json::from(arguments)) {
            Err(Error::Argument { argument, .. }) => argument,
            other => panic!("{other:?}"),
        };
        assert_eq!(named(json!({})), "id");
        assert_eq!(named(json!({"id": null})), "id");
        assert_eq!(named(json!({"id": ".."})), "id");
        assert_eq!(named(json!({"id": 1, "X-H": "a\r\nEvil: 1"})), "X-H");
        assert_eq!(named(json!([])), "(all)");
    }
}
