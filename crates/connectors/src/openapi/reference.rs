//! `$ref`: from a reference to the value it means, within a file and across files, in a bounded number of steps.

use std::cell::Cell;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::document::Document;

/// The longest chain of references that only lead to references.
const MAX_HOPS: usize = 64;

/// A value and the file it stands in, which relative references within it start from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    /// The index of the file.
    pub(super) part: usize,
    /// The value.
    pub(super) value: &'a Value,
}

/// Where a reference leads: file and JSON Pointer. Two equal keys are the same place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) part: usize,
    pub(super) pointer: String,
}

impl<'a> Node<'a> {
    /// A member of an object. What is not there is `None`.
    pub(super) fn get(self, name: &str) -> Option<Self> {
        Some(Self { part: self.part, value: self.value.as_object()?.get(name)? })
    }

    /// A member that is text.
    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        self.value.as_object()?.get(name)?.as_str()
    }

    /// A member that is `true`.
    pub(super) fn is_true(self, name: &str) -> bool {
        self.get(name).is_some_and(|member| member.value.as_bool() == Some(true))
    }

    /// The members of an object, none for anything else.
    pub(super) fn members(self) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let part = self.part;
        let members = self.value.as_object().map(serde_json::Map::iter);
        members.into_iter().flatten().map(move |(name, value)| (name.as_str(), Self { part, value }))
    }

    /// The items of a list, none for anything else.
    pub(super) fn items(self) -> impl Iterator<Item = Self> + use<'a> {
        let part = self.part;
        self.value.as_array().into_iter().flatten().map(move |value| Self { part, value })
    }

    /// The reference that the value is, where it is one.
    pub(super) fn reference(self) -> Option<&'a str> {
        self.text("$ref")
    }
}

impl Document {
    /// The value itself, or what it refers to at the end of a chain of references.
    ///
    /// # Errors
    /// Which reference leads nowhere, in words.
    pub(super) fn follow<'a>(&'a self, node: Node<'a>) -> Result<Node<'a>, String> {
        self.follow_within(node, &Cell::new(MAX_HOPS))
    }

    /// `hops` is shared by all steps, nested ones too: two ways through each of n references would be 2^n steps.
    fn follow_within<'a>(&'a self, mut node: Node<'a>, hops: &Cell<usize>) -> Result<Node<'a>, String> {
        while let Some(reference) = node.reference() {
            let left = hops.get().checked_sub(1);
            hops.set(
                left.ok_or_else(|| format!("the reference {reference} leads only to further references"))?,
            );
            node = self.target_within(node.part, reference, hops)?.1;
        }
        Ok(node)
    }

    /// What `reference`, standing in file `part`, refers to; that may be a reference itself.
    ///
    /// # Errors
    /// Why it leads nowhere, in words.
    pub(super) fn target<'a>(&'a self, part: usize, reference: &str) -> Result<(Key, Node<'a>), String> {
        self.target_within(part, reference, &Cell::new(MAX_HOPS))
    }

    fn target_within<'a>(
        &'a self,
        part: usize,
        reference: &str,
        hops: &Cell<usize>,
    ) -> Result<(Key, Node<'a>), String> {
        let (file, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let part = if file.is_empty() { part } else { self.part_of(part, file)? };
        let fragment = percent_decode_str(fragment).decode_utf8_lossy();
        let root = self.root(part);
        let found = if fragment.is_empty() || fragment.starts_with('/') {
            self.walk(root, &fragment, hops)
        } else {
            anchor(root, &fragment)
        };
        let node = found.ok_or_else(|| format!("the reference {reference} leads nowhere"))?;
        Ok((Key { part, pointer: fragment.into_owned() }, node))
    }

    /// Walks a JSON Pointer (RFC 6901). References on the way are followed.
    fn walk<'a>(&'a self, root: Node<'a>, pointer: &str, hops: &Cell<usize>) -> Option<Node<'a>> {
        let mut node = root;
        for token in pointer.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            let step = |node: Node<'a>| match node.value {
                Value::Array(items) => {
                    name.parse::<usize>().ok().and_then(|i| items.get(i)).map(|value| Node { value, ..node })
                }
                _ => node.get(&name),
            };
            node = match step(node) {
                Some(inner) => inner,
                None => step(self.follow_within(node, hops).ok()?)?,
            };
        }
        Some(node)
    }
}

/// The schema with this `$anchor` or `$dynamicAnchor`.
fn anchor<'a>(node: Node<'a>, name: &str) -> Option<Node<'a>> {
    if [node.text("$anchor"), node.text("$dynamicAnchor")].contains(&Some(name)) {
        return Some(node);
    }
    node.members().map(|(_, member)| member).chain(node.items()).find_map(|inner| anchor(inner, name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_are_unescaped_and_walk_through_references() {
        let document = Document::of_value(json!({
            "paths": {"/a/{b}": {"get": {"x~y": [10, {"z": 5}]}}},
            "alias": {"$ref": "#/paths/~1a~1%7Bb%7D"},
        }));
        let (key, node) = document.target(0, "#/alias/get/x~0y/1/z").unwrap();
        assert_eq!((node.value, key.pointer.as_str()), (&json!(5), "/alias/get/x~0y/1/z"));
        assert!(document.target(0, "#/alias/get/none").is_err());
        assert!(document.target(0, "other.yaml#/x").is_err());
    }

    #[test]
    fn a_circle_of_references_ends() {
        let document = Document::of_value(json!({
            "a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}, "c": {"$ref": "#/c/d"}
        }));
        for start in ["#/a", "#/c", "#/c/d/e/f"] {
            let found = document.target(0, start).and_then(|(_, node)| document.follow(node));
            assert!(found.is_err(), "{start}");
        }
    }

    #[test]
    fn an_anchor_is_found() {
        let document = Document::of_value(json!({"x": [{"$anchor": "pet", "type": "object"}]}));
        assert_eq!(document.target(0, "#pet").unwrap().1.value["type"], "object");
    }
}
