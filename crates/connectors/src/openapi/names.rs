//! Names of tools and arguments: made of what every client takes, unique, and the same each time.

use std::collections::HashSet;

/// The longest name of a tool or argument, in characters.
const MAX_NAME: usize = 64;

/// `text` with every run of other characters than `A-Z a-z 0-9 _ -` as one `_`, at most 64 characters long. What is
/// cut off is told apart by a hash.
pub(super) fn identifier(text: &str) -> String {
    cleaned(text, "")
}

/// The name of an argument: that of its parameter where clients take it. They take dots too.
pub(super) fn argument(text: &str) -> String {
    cleaned(text, ".")
}

fn cleaned(text: &str, also: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || "_-".contains(character) || also.contains(character) {
            out.push(character);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    let trimmed = out.trim_end_matches('_');
    // An own leading underscore stays; one that stands for another character goes.
    let trimmed = if text.starts_with('_') { trimmed } else { trimmed.trim_start_matches('_') };
    if trimmed.len() <= MAX_NAME {
        return if trimmed.is_empty() { format!("n{:08x}", hash(text)) } else { trimmed.to_owned() };
    }
    format!("{}_{:08x}", &trimmed[..MAX_NAME - 9], hash(text))
}

/// `name`, or with the first number that makes it differ from all in `taken`.
pub(super) fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let mut candidate = name.clone();
    let mut number = 1;
    while !taken.insert(candidate.clone()) {
        number += 1;
        let suffix = format!("_{number}");
        let stem = &name[..name.len().min(MAX_NAME - suffix.len())];
        candidate = format!("{stem}{suffix}");
    }
    candidate
}

/// FNV-1a, 32 bits: the same on every machine and in every version.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Whether `text` fits `pattern`, in which `*` stands for any text.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<_> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_clean_bounded_and_unique() {
        assert_eq!(identifier("pets/list all"), "pets_list_all");
        assert_eq!(identifier("get /a/{b}.json"), "get_a_b_json");
        assert_eq!(argument("filter[name]"), "filter_name");
        assert_eq!(argument("a.b"), "a.b");
        assert_eq!(argument("$top"), "top");
        assert!(identifier("日本").starts_with('n'));
        let long = identifier(&"x".repeat(100));
        assert_eq!(long.len(), 64);
        assert_ne!(long, identifier(&"x".repeat(101)));
        let mut taken = HashSet::new();
        let names: Vec<_> = (0..3).map(|_| unique("a".to_owned(), &mut taken)).collect();
        assert_eq!(names, ["a", "a_2", "a_3"]);
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("GET /a/*", "GET /a/b/c", true),
            ("*delete*", "pets_delete_all", true),
            ("a*b*c", "a1b2c", true),
            ("a*b", "ab", true),
            ("ab*ba", "aba", false),
            ("list", "lists", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
