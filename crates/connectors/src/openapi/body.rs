//! Request bodies: JSON as it came, forms, multipart with files, text, bytes.

use std::collections::HashMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::engine::{DecodePaddingMode, GeneralPurpose};
use bytes::Bytes;
use http::HeaderValue;
use memchr::memmem;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use trunkline_model::Json;

use super::media::Kind;
use super::parameters::{Location, Parameter, Style};

/// Base64 with or without padding: models often leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is known of one field of a form.
#[derive(Clone, Debug, Default)]
pub(super) struct Field {
    /// The style, `explode` and `allowReserved` that the document states.
    pub(super) style: Option<(Style, bool, bool)>,
    /// The media type that the document states for a part.
    pub(super) content_type: Option<String>,
}

/// How the argument `body` is sent.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) required: bool,
    pub(super) kind: Kind,
    /// The media type sent; multipart gets its boundary added.
    pub(super) media_type: HeaderValue,
    /// By name; fields that are not named are written the usual way.
    pub(super) fields: HashMap<String, Field>,
}

/// The schema of a file within a multipart body.
pub(super) fn file_schema(described: &Value) -> Value {
    let own = described.get("description").and_then(Value::as_str).unwrap_or_default();
    let description = format!("{own}\nA file: its content as `text` or as `base64`.");
    json!({
        "type": "object",
        "description": description.trim(),
        "properties": {
            "text": {"type": "string", "description": "The content, where it is text"},
            "base64": {"type": "string", "contentEncoding": "base64", "description": "The content, where it is not text"},
            "filename": {"type": "string"},
            "content_type": {"type": "string", "description": "The media type of the content"},
        },
        "additionalProperties": false,
    })
}

impl Body {
    /// The body with its media type. `buffer` is what `value` was read from: JSON is not copied.
    ///
    /// # Errors
    /// What can't be sent, in words.
    pub(super) fn encode(&self, buffer: &Bytes, value: &RawValue) -> Result<(HeaderValue, Bytes), String> {
        let media_type = self.media_type.clone();
        match self.kind {
            Kind::Json => Ok((media_type, Json::slice_of(buffer, value).bytes())),
            Kind::Text => Ok((media_type, text(value)?.into())),
            Kind::Binary => Ok((media_type, decoded(&text(value)?)?)),
            Kind::Form => Ok((media_type, self.form(&members(value)?)?.into())),
            Kind::Multipart => self.multipart(&members(value)?),
        }
    }

    fn form(&self, members: &Map<String, Value>) -> Result<String, String> {
        let mut out = String::new();
        for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            let stated = self.fields.get(name).and_then(|field| field.style);
            let mut field = Parameter {
                argument: String::new(),
                name: name.clone(),
                location: Location::Query,
                style: stated.map_or(Style::Form, |(style, ..)| style),
                explode: stated.is_none_or(|(_, explode, _)| explode),
                allow_reserved: stated.is_some_and(|(_, _, reserved)| reserved),
                required: false,
            };
            match value {
                // Without a stated style an object is JSON (OpenAPI 3.1.1, section 4.8.15.1), and so is one in a list.
                Value::Object(_) if stated.is_none() => field.style = Style::Json,
                Value::Array(items)
                    if stated.is_none() && items.iter().any(|i| i.is_object() || i.is_array()) =>
                {
                    field.style = Style::Json;
                    for item in items {
                        field.write_pairs(item, "&", &mut out)?;
                    }
                    continue;
                }
                _ => {}
            }
            field.write_pairs(value, "&", &mut out).map_err(|cause| format!("{name}: {cause}"))?;
        }
        Ok(out)
    }

    fn multipart(&self, members: &Map<String, Value>) -> Result<(HeaderValue, Bytes), String> {
        let mut parts = Vec::new();
        for (name, value) in members {
            let stated = self.fields.get(name).and_then(|field| field.content_type.as_deref());
            match value {
                Value::Null => {}
                Value::Array(items) if stated.is_none_or(|stated| !stated.contains("json")) => {
                    for item in items {
                        parts.push(part(name, item, stated)?);
                    }
                }
                one => parts.push(part(name, one, stated)?),
            }
        }
        // A boundary must not occur in what it bounds; without chance, the first number that does not is taken.
        let mut boundary = "trunkline-boundary".to_owned();
        let mut number = 0;
        while parts.iter().any(|part| memmem::find(&part.content, boundary.as_bytes()).is_some()) {
            number += 1;
            boundary = format!("trunkline-boundary-{number}");
        }
        let mut out = Vec::with_capacity(parts.iter().map(|part| part.content.len() + 256).sum());
        for part in &parts {
            out.extend_from_slice(format!("--{boundary}\r\n{}\r\n", part.head).as_bytes());
            out.extend_from_slice(&part.content);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let essence = self.media_type.to_str().unwrap_or("multipart/form-data");
        let media_type = HeaderValue::try_from(format!("{essence}; boundary={boundary}"))
            .map_err(|error| error.to_string())?;
        Ok((media_type, out.into()))
    }
}

struct Part {
    head: String,
    content: Vec<u8>,
}

fn part(name: &str, value: &Value, stated: Option<&str>) -> Result<Part, String> {
    let mut head = format!("Content-Disposition: form-data; name=\"{}\"", quoted(name));
    let file = value.as_object().filter(|file| {
        (file.contains_key("text") || file.contains_key("base64"))
            && file.keys().all(|key| matches!(key.as_str(), "text" | "base64" | "filename" | "content_type"))
    });
    let (content, default_type) = match (file, value) {
        (Some(file), _) => {
            let filename = file.get("filename").and_then(Value::as_str).unwrap_or(name);
            head.push_str(&format!("; filename=\"{}\"", quoted(filename)));
            match file.get("base64").and_then(Value::as_str) {
                Some(encoded) => {
                    let bytes = decoded(encoded).map_err(|cause| format!("{name}: {cause}"))?;
                    (bytes.to_vec(), Some("application/octet-stream"))
                }
                None => {
                    let text = file.get("text").and_then(Value::as_str);
                    let text = text.ok_or_else(|| format!("{name}: `text` or `base64` has to be text"))?;
                    (text.as_bytes().to_vec(), Some("text/plain; charset=utf-8"))
                }
            }
        }
        (None, Value::Object(_) | Value::Array(_)) => {
            (value.to_string().into_bytes(), Some("application/json"))
        }
        (None, Value::String(text)) => (text.clone().into_bytes(), None),
        (None, other) => (other.to_string().into_bytes(), None),
    };
    let given = file.and_then(|file| file.get("content_type")).and_then(Value::as_str);
    if let Some(media_type) = given.or(stated.filter(|stated| !stated.contains(['*', ',']))).or(default_type)
    {
        if media_type.contains(['\r', '\n']) {
            return Err(format!("{name}: `content_type` is not a media type"));
        }
        head.push_str(&format!("\r\nContent-Type: {media_type}"));
    }
    head.push_str("\r\n");
    Ok(Part { head, content })
}

/// A name within quotes, as browsers write it (HTML, section 4.10.21.8).
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

fn text(value: &RawValue) -> Result<String, String> {
    serde_json::from_str(value.get()).map_err(|_| "text is expected".to_owned())
}

fn members(value: &RawValue) -> Result<Map<String, Value>, String> {
    serde_json::from_str(value.get()).map_err(|_| "an object is expected".to_owned())
}

fn decoded(text: &str) -> Result<Bytes, String> {
    let compact: String;
    let text = if text.bytes().any(|b| b.is_ascii_whitespace()) {
        compact = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        &compact
    } else {
        text
    };
    BASE64.decode(text).map(Bytes::from).map_err(|error| format!("it is not base64: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(kind: Kind, fields: HashMap<String, Field>, value: &Value) -> Result<(String, String), String> {
        let media_type = HeaderValue::from_static("multipart/form-data");
        let body = Body { required: true, kind, media_type, fields };
        let buffer = Bytes::from(value.to_string());
        let raw: &RawValue = serde_json::from_slice(&buffer).unwrap();
        let (media_type, bytes) = body.encode(&buffer, raw)?;
        Ok((media_type.to_str().unwrap().to_owned(), String::from_utf8(bytes.to_vec()).unwrap()))
    }

    #[test]
    fn a_form_writes_lists_objects_and_stated_styles() {
        let deep = Field { style: Some((Style::DeepObject, true, false)), content_type: None };
        let fields = HashMap::from([("deep".to_owned(), deep)]);
        let value =
            json!({"a": "x y&z", "b": [1, 2], "c": {"k": 1}, "deep": {"k": 1}, "d": [{"e": 1}], "n": null});
        assert_eq!(
            encode(Kind::Form, fields, &value).unwrap().1,
            "a=x%20y%26z&b=1&b=2&c=%7B%22k%22%3A1%7D&deep%5Bk%5D=1&d=%7B%22e%22%3A1%7D"
        );
    }

    #[test]
    fn a_multipart_body_has_a_boundary_that_is_not_in_it() {
        let value = json!({
            "note": "trunkline-boundary",
            "file": {"base64": "aGk", "filename": "a\"\r\nX: y.txt", "content_type": "text/x"},
            "list": ["1", {"k": 2}],
        });
        let (media_type, text) = encode(Kind::Multipart, HashMap::new(), &value).unwrap();
        assert_eq!(media_type, "multipart/form-data; boundary=trunkline-boundary-1");
        assert_eq!(
            text,
            "--trunkline-boundary-1\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\ntrunkline-boundary\r\n\
             --trunkline-boundary-1\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"a%22%0D%0AX: y.txt\"\r\nContent-Type: text/x\r\n\r\nhi\r\n\
             --trunkline-boundary-1\r\nContent-Disposition: form-data; name=\"list\"\r\n\r\n1\r\n\
             --trunkline-boundary-1\r\nContent-Disposition: form-data; name=\"list\"\r\n\
             Content-Type: application/json\r\n\r\n{\"k\":2}\r\n--trunkline-boundary-1--\r\n"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        assert!(encode(Kind::Text, HashMap::new(), &json!(1)).unwrap_err().contains("text"));
        assert!(encode(Kind::Form, HashMap::new(), &json!([])).unwrap_err().contains("object"));
        assert!(encode(Kind::Binary, HashMap::new(), &json!("%%")).unwrap_err().contains("base64"));
        let bad = json!({"f": {"text": "x", "content_type": "a\r\nX: y"}});
        assert!(encode(Kind::Multipart, HashMap::new(), &bad).is_err());
    }
}
