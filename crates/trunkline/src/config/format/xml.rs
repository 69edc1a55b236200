//! XML: an element for each name; `<item>` for each item of a list; `<entry name="…">` for names that can't be an
//! element's; JSON text where any value may stand. The schema tells which of these an element is.

use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::Value;

use super::{Document, SyntaxError};
use crate::Error;
use crate::config::finding::Finding;
use crate::config::node::{ConfigPath, Kind, Member, Node, Position};
use crate::config::schema::Cursor;
use crate::config::{Config, specification};

/// The deepest nesting of elements.
const MAX_DEPTH: usize = 64;

/// The name of the outermost element.
const ROOT: &str = "trunkline";

/// An element with what is in it.
pub(in crate::config) struct Element {
    pub(in crate::config) name: String,
    /// The `name` attribute.
    entry: Option<String>,
    pub(in crate::config) children: Vec<Self>,
    pub(in crate::config) text: String,
    pub(in crate::config) at: Position,
}

pub(super) fn parse(text: &str) -> Result<Document, SyntaxError> {
    let mut root = read(text)?;
    let mut findings = Vec::new();
    let placed = match root.name.as_str() {
        ROOT => Vec::new(),
        specification::ROOT => specification::take(&mut root, &mut findings),
        other => {
            let reason =
                format!("the outermost element is {other:?}, not {ROOT:?} or {:?}", specification::ROOT);
            return Err(SyntaxError { reason, at: Some(root.at) });
        }
    };
    let schema = Cursor::new(Config::json_schema());
    let mut node = shape(root, schema, &ConfigPath::default(), &mut findings);
    for (path, value, at) in placed {
        specification::put(&mut node, &path, value, at);
    }
    Ok(Document { root: node, findings })
}

/// Reads the elements. Document types, and with them entities of their own, are refused.
fn read(text: &str) -> Result<Element, SyntaxError> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    loop {
        let offset = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let at = Position::of_offset(text, offset);
        let fail = |reason: String| SyntaxError { reason, at: Some(at) };
        let event = reader.read_event().map_err(|error| fail(error.to_string()))?;
        let mut closed = None;
        match event {
            Event::Start(start) if open.len() < MAX_DEPTH => open.push(element(&start, at).map_err(fail)?),
            Event::Start(_) => return Err(fail(format!("elements nest deeper than {MAX_DEPTH}"))),
            Event::Empty(start) => closed = Some(element(&start, at).map_err(fail)?),
            Event::End(_) => closed = open.pop(),
            Event::Text(text) => append(&mut open, &text.xml10_content()).map_err(fail)?,
            Event::CData(text) => append(&mut open, &text.xml10_content()).map_err(fail)?,
            Event::GeneralRef(reference) => {
                let text = match reference.resolve_char_ref().map_err(|error| fail(error.to_string()))? {
                    Some(character) => character.to_string(),
                    None => resolve_predefined_entity(&reference.xml10_content())
                        .ok_or_else(|| fail("an entity that XML does not define".to_owned()))?
                        .to_owned(),
                };
                append(&mut open, &text).map_err(fail)?;
            }
            Event::DocType(_) => return Err(fail("document types are not read".to_owned())),
            Event::Eof => return Err(fail("the file ends before its last element does".to_owned())),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
        if let Some(element) = closed {
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => return finish(&mut reader, text, element),
            }
        }
    }
}

/// Nothing but comments may follow the outermost element.
fn finish(reader: &mut Reader<&[u8]>, text: &str, root: Element) -> Result<Element, SyntaxError> {
    loop {
        let offset = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let fail = |reason: &str| SyntaxError {
            reason: reason.to_owned(),
            at: Some(Position::of_offset(text, offset)),
        };
        match reader.read_event() {
            Ok(Event::Eof) => return Ok(root),
            Ok(Event::Comment(_) | Event::PI(_)) => {}
            Ok(Event::Text(text)) if text.xml10_content().trim().is_empty() => {}
            Ok(_) => return Err(fail("something follows the outermost element")),
            Err(error) => return Err(fail(&error.to_string())),
        }
    }
}

fn append(open: &mut [Element], text: &str) -> Result<(), String> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err("text stands before the outermost element".to_owned()),
    }
    Ok(())
}

fn element(start: &BytesStart<'_>, at: Position) -> Result<Element, String> {
    let local = start.local_name();
    let name: &str = local.as_ref();
    let mut entry = None;
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let key: &str = attribute.key.as_ref();
        match key {
            "name" => {
                let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
                entry = Some(value.into_owned());
            }
            // Namespaces and schema hints of editors say nothing about the configuration.
            _ if key.starts_with("xmlns") || key.starts_with("xsi:") => {}
            _ => return Err(format!("unknown attribute {key:?}; only name is possible, on entry")),
        }
    }
    Ok(Element { name: name.to_owned(), entry, children: Vec::new(), text: String::new(), at })
}

/// The element as the schema wants it.
fn shape(element: Element, schema: Cursor<'_>, path: &ConfigPath, findings: &mut Vec<Finding>) -> Node {
    let at = Some(element.at);
    let blank = element.text.trim().is_empty();
    let leaf = element.children.is_empty();
    if schema.is_any() && leaf {
        let value = serde_json::from_str(&element.text).unwrap_or(Value::String(element.text));
        return Node { at, ..Node::from_json(&value) };
    }
    let is_list = schema.takes("array") && (!leaf || blank || !schema.takes("string"));
    let is_map = schema.takes("object") || schema.is_any();
    if !is_list && !is_map && leaf {
        return Node { loose: true, ..Node::new(Kind::Text(element.text), at) };
    }
    if !blank {
        let expected = if is_list { "<item> elements" } else { "elements" }.to_owned();
        let error = Error::WrongType { expected, found: "text".to_owned() };
        findings.push(Finding::error(error, path).at(at));
    }
    if is_list {
        let mut items = Vec::with_capacity(element.children.len());
        for (index, child) in element.children.into_iter().enumerate() {
            items.push(shape(child, schema.item(), &path.join(index.to_string()), findings));
        }
        return Node::new(Kind::List(items), at);
    }
    let mut members: Vec<Member> = Vec::new();
    for child in element.children {
        let key = child.entry.clone().unwrap_or_else(|| child.name.clone());
        let (path, at) = (path.join(&key), child.at);
        if members.iter().any(|m| m.key == key) {
            let reason = "it is there twice".to_owned();
            let error = Error::Invalid { reason, fix: "Keep one of them.".to_owned() };
            findings.push(Finding::error(error, &path).at(Some(at)));
            continue;
        }
        let node = shape(child, schema.member(&key).unwrap_or(Cursor::ANY), &path, findings);
        members.push(Member { key, at: Some(at), node });
    }
    Node::new(Kind::Map(members), at)
}

/// Writes a configuration.
pub(super) fn write(value: &Value) -> Result<String, String> {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let root = Tag { name: ROOT, entry: None };
    write_element(&mut out, &root, value, Cursor::new(Config::json_schema()), 0)?;
    Ok(out)
}

struct Tag<'a> {
    name: &'a str,
    entry: Option<&'a str>,
}

impl<'a> Tag<'a> {
    /// The element for a member of a mapping.
    fn of(key: &'a str) -> Self {
        let first = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let fits = first && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        // XML keeps names that begin so for itself.
        let reserved = key.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("xml"));
        if fits && !reserved {
            Self { name: key, entry: None }
        } else {
            Self { name: "entry", entry: Some(key) }
        }
    }
}

fn write_element(
    out: &mut String,
    tag: &Tag<'_>,
    value: &Value,
    schema: Cursor<'_>,
    depth: usize,
) -> Result<(), String> {
    let indent = "  ".repeat(depth);
    let attribute = match tag.entry {
        Some(entry) => format!(" name=\"{}\"", escaped(entry)?),
        None => String::new(),
    };
    out.push_str(&format!("{indent}<{}{attribute}>", tag.name));
    let children: Vec<(Tag<'_>, &Value, Cursor<'_>)> = match value {
        Value::Object(members) if !schema.is_any() => members
            .iter()
            .map(|(key, value)| (Tag::of(key), value, schema.member(key).unwrap_or(Cursor::ANY)))
            .collect(),
        Value::Array(items) if !schema.is_any() => {
            items.iter().map(|item| (Tag { name: "item", entry: None }, item, schema.item())).collect()
        }
        _ => Vec::new(),
    };
    if children.is_empty() {
        out.push_str(&match value {
            _ if schema.is_any() => escaped(&value.to_string())?,
            Value::String(text) => escaped(text)?,
            Value::Object(_) | Value::Array(_) | Value::Null => String::new(),
            other => other.to_string(),
        });
    } else {
        out.push('\n');
        for (tag, value, schema) in children {
            write_element(out, &tag, value, schema, depth + 1)?;
        }
        out.push_str(&indent);
    }
    out.push_str(&format!("</{}>\n", tag.name));
    Ok(())
}

/// Text for element content and attributes. Line breaks and tabs are written as references, so that no reader
/// normalises them away.
fn escaped(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' => out.push_str(&format!("&#{};", u32::from(c))),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => return Err("it has control characters".to_owned()),
            _ => out.push(c),
        }
    }
    Ok(out)
}
