//! Parameters on the wire: the styles of OpenAPI 3 (RFC 6570) and the collection formats of Swagger 2.0.
//!
//! Names and values are percent-encoded, so that no value can end its place and begin another: a path value can't
//! add a segment or climb with `..`, a query value can't add a parameter, a header value can't add a header.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `allowReserved`: the reserved characters stay too, but for those that would end the value (`&`, `#`) or be read
/// as another character (`+`).
const RESERVED_KEPT: &AsciiSet = &ENCODED
    .remove(b':')
    .remove(b'/')
    .remove(b'?')
    .remove(b'[')
    .remove(b']')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// Where a parameter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Location {
    Path,
    Query,
    /// OpenAPI 3.2: the whole query string is one value.
    QueryString,
    Header,
    Cookie,
}

impl Location {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::QueryString => "querystring",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// How lists and objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    Space,
    Pipe,
    Tab,
    DeepObject,
    /// `content` with JSON: the value is JSON text.
    Json,
    /// `content` with `application/x-www-form-urlencoded`: an object as a whole query string.
    Urlencoded,
}

/// A parameter as it is put into requests.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    /// The name of the tool's argument.
    pub(super) argument: String,
    /// The name on the wire.
    pub(super) name: String,
    pub(super) location: Location,
    pub(super) style: Style,
    pub(super) explode: bool,
    pub(super) allow_reserved: bool,
    pub(super) required: bool,
}

impl Parameter {
    fn encode(&self, text: &str, out: &mut String) {
        match self.location {
            // RFC 6570 does not reach headers: their values go as they are.
            Location::Header => out.push_str(text),
            _ if self.allow_reserved => out.extend(utf8_percent_encode(text, RESERVED_KEPT)),
            _ => out.extend(utf8_percent_encode(text, ENCODED)),
        }
    }

    fn encoded_name(&self, out: &mut String) {
        out.extend(utf8_percent_encode(&self.name, ENCODED));
    }

    /// Writes a value for a path or header, without the name but where the style writes it.
    ///
    /// # Errors
    /// What can't be written, in words.
    pub(super) fn write_value(&self, value: &Value, out: &mut String) -> Result<(), String> {
        let start = out.len();
        match (self.style, value) {
            (Style::Json, _) => self.encode(&value.to_string(), out),
            (Style::Label, _) => self.write_label(value, out)?,
            (Style::Matrix, _) => self.write_matrix(value, out)?,
            _ => self.write_joined(value, self.separator(), out)?,
        }
        if self.location == Location::Path {
            // An empty segment would reach another resource, and `.` and `..` are removed by whatever normalises paths.
            match &out[start..] {
                "" => return Err("it must not be empty".to_owned()),
                "." | ".." => return Err("`.` and `..` are not allowed in a path".to_owned()),
                _ => {}
            }
        }
        Ok(())
    }

    fn separator(&self) -> &'static str {
        match self.style {
            Style::Space => "%20",
            Style::Pipe => "%7C",
            Style::Tab => "%09",
            _ => ",",
        }
    }

    /// `a,b`, `k,v,k,v` or, exploded, `k=v,k=v`.
    fn write_joined(&self, value: &Value, separator: &str, out: &mut String) -> Result<(), String> {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(separator);
                    }
                    self.encode(&scalar(item)?, out);
                }
            }
            Value::Object(members) => {
                let mut first = true;
                for (name, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                    if !std::mem::take(&mut first) {
                        out.push_str(separator);
                    }
                    self.encode(name, out);
                    out.push_str(if self.explode { "=" } else { separator });
                    self.encode(&scalar(member)?, out);
                }
            }
            one => self.encode(&scalar(one)?, out),
        }
        Ok(())
    }

    fn write_label(&self, value: &Value, out: &mut String) -> Result<(), String> {
        out.push('.');
        self.write_joined(value, if self.explode { "." } else { "," }, out)
    }

    fn write_matrix(&self, value: &Value, out: &mut String) -> Result<(), String> {
        match value {
            Value::Array(items) if self.explode => {
                for item in items {
                    self.write_pair(";", &scalar(item)?, out);
                }
                Ok(())
            }
            Value::Object(_) if self.explode => {
                out.push(';');
                self.write_joined(value, ";", out)
            }
            other => {
                out.push(';');
                self.encoded_name(out);
                let mut text = String::new();
                self.write_joined(other, ",", &mut text)?;
                if !text.is_empty() {
                    out.push('=');
                    out.push_str(&text);
                }
                Ok(())
            }
        }
    }

    fn write_pair(&self, before: &str, value: &str, out: &mut String) {
        out.push_str(before);
        self.encoded_name(out);
        out.push('=');
        self.encode(value, out);
    }

    /// Writes `name=value` pairs for a query, a form or a cookie, each with `separator` before it unless it is the
    /// first in `out`.
    ///
    /// # Errors
    /// What can't be written, in words.
    pub(super) fn write_pairs(&self, value: &Value, separator: &str, out: &mut String) -> Result<(), String> {
        let between = |out: &mut String| {
            if !out.is_empty() {
                out.push_str(separator);
            }
        };
        match (self.style, value) {
            (Style::Urlencoded, Value::Object(members)) => {
                for (name, member) in members {
                    between(out);
                    let _ = write!(out, "{}=", utf8_percent_encode(name, ENCODED));
                    self.encode(&scalar(member)?, out);
                }
            }
            (Style::Urlencoded, _) => return Err("an object is expected".to_owned()),
            (Style::DeepObject, Value::Object(_)) => {
                let mut name = String::new();
                self.encoded_name(&mut name);
                self.write_deep(&name, value, separator, out)?;
            }
            (Style::Json, _) => {
                between(out);
                self.write_pair("", &value.to_string(), out);
            }
            (_, Value::Array(items)) if self.explode => {
                for item in items {
                    between(out);
                    self.write_pair("", &scalar(item)?, out);
                }
            }
            (_, Value::Object(members)) if self.explode => {
                for (name, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                    between(out);
                    let _ = write!(out, "{}=", utf8_percent_encode(name, ENCODED));
                    self.encode(&scalar(member)?, out);
                }
            }
            _ => {
                between(out);
                self.encoded_name(out);
                out.push('=');
                self.write_joined(value, self.separator(), out)?;
            }
        }
        Ok(())
    }

    /// `name[a][b]=v`. The standard leaves depth beyond one open; brackets all the way is what servers read.
    fn write_deep(&self, name: &str, value: &Value, separator: &str, out: &mut String) -> Result<(), String> {
        match value {
            Value::Object(members) => {
                for (key, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                    let inner = format!("{name}%5B{}%5D", utf8_percent_encode(key, ENCODED));
                    self.write_deep(&inner, member, separator, out)?;
                }
            }
            Value::Array(items) => {
                let plain = items.iter().all(|item| !item.is_object() && !item.is_array());
                for (index, item) in items.iter().enumerate() {
                    if plain {
                        self.write_deep(name, item, separator, out)?;
                    } else {
                        self.write_deep(&format!("{name}%5B{index}%5D"), item, separator, out)?;
                    }
                }
            }
            one => {
                if !out.is_empty() {
                    out.push_str(separator);
                }
                let _ = write!(out, "{name}=");
                self.encode(&scalar(one)?, out);
            }
        }
        Ok(())
    }
}

/// A value that is not a list or an object, as text.
fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => {
            Err("lists and objects within it can't be written in this place; give plain values".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameter(location: Location, style: Style, explode: bool) -> Parameter {
        Parameter {
            argument: "color".to_owned(),
            name: "color".to_owned(),
            location,
            style,
            explode,
            allow_reserved: false,
            required: true,
        }
    }

    fn value(style: Style, explode: bool, value: &Value) -> String {
        let mut out = String::new();
        parameter(Location::Path, style, explode).write_value(value, &mut out).unwrap();
        out
    }

    fn pairs(style: Style, explode: bool, value: &Value) -> String {
        let mut out = String::new();
        parameter(Location::Query, style, explode).write_pairs(value, "&", &mut out).unwrap();
        out
    }

    /// The table of styles of OpenAPI 3.1.1, section 4.8.12.6.
    #[test]
    fn the_styles_write_what_the_standards_examples_show() {
        let text = json!("blue");
        let list = json!(["blue", "black", "brown"]);
        let object = json!({"R": 100, "G": 200, "B": 150});
        let values = [
            (Style::Matrix, false, [";color=blue", ";color=blue,black,brown", ";color=R,100,G,200,B,150"]),
            (
                Style::Matrix,
                true,
                [";color=blue", ";color=blue;color=black;color=brown", ";R=100;G=200;B=150"],
            ),
            (Style::Label, false, [".blue", ".blue,black,brown", ".R,100,G,200,B,150"]),
            (Style::Label, true, [".blue", ".blue.black.brown", ".R=100.G=200.B=150"]),
            (Style::Simple, false, ["blue", "blue,black,brown", "R,100,G,200,B,150"]),
            (Style::Simple, true, ["blue", "blue,black,brown", "R=100,G=200,B=150"]),
        ];
        for (style, explode, expected) in values {
            for (input, expected) in [&text, &list, &object].into_iter().zip(expected) {
                assert_eq!(value(style, explode, input), expected, "{style:?} {explode}");
            }
        }
        assert_eq!(value(Style::Matrix, false, &json!("")), ";color");
        let queries = [
            (Style::Form, false, ["color=blue", "color=blue,black,brown", "color=R,100,G,200,B,150"]),
            (Style::Form, true, ["color=blue", "color=blue&color=black&color=brown", "R=100&G=200&B=150"]),
        ];
        for (style, explode, expected) in queries {
            for (input, expected) in [&text, &list, &object].into_iter().zip(expected) {
                assert_eq!(pairs(style, explode, input), expected, "{style:?} {explode}");
            }
        }
        assert_eq!(pairs(Style::Space, false, &list), "color=blue%20black%20brown");
        assert_eq!(pairs(Style::Space, false, &object), "color=R%20100%20G%20200%20B%20150");
        assert_eq!(pairs(Style::Pipe, false, &list), "color=blue%7Cblack%7Cbrown");
        assert_eq!(pairs(Style::Tab, false, &list), "color=blue%09black%09brown");
        assert_eq!(
            pairs(Style::DeepObject, true, &object),
            "color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150"
        );
    }

    #[test]
    fn depth_and_json_have_their_own_forms() {
        let deep = json!({"a": {"b": [1, 2]}, "c": [{"d": true}], "e": null});
        assert_eq!(
            pairs(Style::DeepObject, true, &deep),
            "color%5Ba%5D%5Bb%5D=1&color%5Ba%5D%5Bb%5D=2&color%5Bc%5D%5B0%5D%5Bd%5D=true"
        );
        assert_eq!(pairs(Style::Json, true, &json!({"a": [1]})), "color=%7B%22a%22%3A%5B1%5D%7D");
        assert!(
            parameter(Location::Query, Style::Form, true)
                .write_pairs(&deep, "&", &mut String::new())
                .is_err()
        );
    }

    #[test]
    fn a_value_can_not_leave_its_place() {
        assert_eq!(value(Style::Simple, false, &json!("a/../b?c#d")), "a%2F..%2Fb%3Fc%23d");
        assert_eq!(pairs(Style::Form, true, &json!("a&admin=1#x y+z")), "color=a%26admin%3D1%23x%20y%2Bz");
        for bad in ["", ".", ".."] {
            let written =
                parameter(Location::Path, Style::Simple, false).write_value(&json!(bad), &mut String::new());
            assert!(written.is_err(), "{bad:?}");
        }
        let mut reserved = parameter(Location::Query, Style::Form, true);
        reserved.allow_reserved = true;
        let mut out = String::new();
        reserved.write_pairs(&json!("http://x/?a=b&c=d#e"), "&", &mut out).unwrap();
        assert_eq!(out, "color=http://x/?a=b%26c=d%23e");
    }
}
