//! What in a request could be a value: quoted text, addresses, identifiers, lists, names, phrases.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::Value;

use super::tokens::{Kind, Text, Token};

/// What a part of a request looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Quoted,
    Email,
    Url,
    Identifier,
    Name,
    Phrase,
    List,
}

/// A part of a request that could be a value.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) shape: Shape,
    pub(super) value: Value,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) from: usize,
    pub(super) to: usize,
    /// It is a whole chunk, not a part of one.
    pub(super) whole: bool,
}

/// Words that end a phrase.
static BREAKS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    "a an the of in on at to for from with by and or is are was were be been i you me my we us our your he she it its they \
     them their this that these those what which who whom whose how when where why can could would should will shall may do \
     does did has have had please as if then than so but not no into between about using given want need like there any some \
     within under over per during after before until since also near through against via 's let i'm i'd what's it's named \
     called titled while because ' without around including such just being"
        .split(' ')
        .collect()
});

/// Words that a request opens with.
static VERBS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    "find calculate get give show tell provide compute determine estimate search look retrieve fetch list check create make \
     book order send set add update delete remove convert generate predict solve identify obtain help know display analyze \
     evaluate perform return write play turn start stop open close cancel ship buy pay call use want put translate compare \
     draw plot simulate schedule reserve hi hello hey thanks ok yes could recommend suggest explain describe"
        .split(' ')
        .collect()
});

/// The most parts of a request.
const MOST: usize = 400;

/// The most words of a phrase.
const WORDS: usize = 6;

pub(super) fn is_break(token: &Token) -> bool {
    token.kind == Kind::Word && BREAKS.contains(&*token.lower)
}

/// Every part of a request that could be a value.
pub(super) fn of(text: &Text<'_>) -> Vec<Part> {
    let mut parts = Vec::new();
    quoted(text, &mut parts);
    chunks(text, &mut parts);
    lists(text, &mut parts);
    let fixed: Vec<(usize, usize)> =
        parts.iter().filter(|part| part.shape == Shape::Quoted).map(|part| (part.from, part.to)).collect();
    let taken = |at: usize| fixed.iter().any(|(from, to)| (*from..*to).contains(&at));
    names(text, &taken, &mut parts);
    phrases(text, &taken, &mut parts);
    parts.truncate(MOST);
    parts
}

fn part(text: &Text<'_>, shape: Shape, start: usize, end: usize, value: Value) -> Part {
    let (from, to) = text.within(start, end);
    Part { shape, value, start, end, from, to, whole: true }
}

/// Text in quotes; an apostrophe within a word is none.
fn quoted(text: &Text<'_>, parts: &mut Vec<Part>) {
    let source = text.text;
    let mut after = 0;
    for (at, open) in source.char_indices() {
        let close = match open {
            '"' | '\'' | '`' => open,
            '\u{201c}' => '\u{201d}',
            '\u{2018}' => '\u{2019}',
            '\u{ab}' => '\u{bb}',
            _ => continue,
        };
        let before = source[..at].chars().next_back();
        if at < after || before.is_some_and(char::is_alphanumeric) || parts.len() >= MOST / 4 {
            continue;
        }
        let inner = at + open.len_utf8();
        let ends = |(end, letter): &(usize, char)| {
            let next = source[inner + end + letter.len_utf8()..].chars().next();
            *letter == close && !next.is_some_and(char::is_alphanumeric)
        };
        // The first 4 KB are looked through: a quote that never ends must not make the search long for each of many.
        let Some((end, _)) = crate::text::beginning(&source[inner..], 1 << 12).char_indices().find(ends)
        else {
            continue;
        };
        if end > 0 {
            let value = source[inner..inner + end].trim();
            parts.push(part(text, Shape::Quoted, inner, inner + end, Value::from(value)));
        }
        after = inner + end + close.len_utf8();
    }
}

/// Addresses and identifiers: what stands between spaces and is no plain word.
fn chunks(text: &Text<'_>, parts: &mut Vec<Part>) {
    let mut at = 0;
    for chunk in text.text.split_inclusive(char::is_whitespace) {
        let start = at;
        at += chunk.len();
        let edge = |letter: char| {
            letter.is_whitespace() || ",;!?()[]{}\"'`<>\u{201c}\u{201d}\u{2018}\u{2019}".contains(letter)
        };
        let left = chunk.len() - chunk.trim_start_matches(edge).len();
        let word = chunk[left..].trim_end_matches(|letter| edge(letter) || matches!(letter, '.' | ':'));
        let word = word.strip_suffix("'s").unwrap_or(word);
        let Some(shape) = shape(word) else { continue };
        let start = start + left;
        let value = word.strip_prefix('#').filter(|_| shape == Shape::Identifier).unwrap_or(word);
        parts.push(part(text, shape, start, start + word.len(), Value::from(value)));
    }
}

fn shape(word: &str) -> Option<Shape> {
    let has = |test: fn(char) -> bool| word.chars().any(test);
    if word.len() > 400 {
        return None;
    }
    if let Some((name, host)) = word.split_once('@') {
        return (!name.is_empty() && host.contains('.') && !host.contains('@')).then_some(Shape::Email);
    }
    if word.contains("://") || word.starts_with("www.") && word.len() > 6 {
        return Some(Shape::Url);
    }
    let letters = has(char::is_alphabetic);
    if letters
        && (word.contains('_')
            || word.contains('/') && !word.starts_with(char::is_numeric) && word.matches('/').count() > 1)
    {
        return Some(Shape::Identifier);
    }
    // A number with its unit (`10cm`) is none.
    let unit = word
        .trim_start_matches('-')
        .trim_start_matches(|letter: char| letter.is_ascii_digit() || ".,".contains(letter));
    let only_unit = unit.len() < word.len() && unit.chars().all(char::is_alphabetic) && unit.len() <= 3;
    let mixed = letters && has(|letter| letter.is_ascii_digit()) && !only_unit;
    let dotted = word.contains('.')
        && letters
        && !word.ends_with('.')
        && word.rsplit('.').next().is_some_and(|end| (2..=5).contains(&end.len()));
    // "2020-2021", "555-1234"
    let joined = !letters
        && word.contains('-')
        && !word.starts_with('-')
        && word.chars().all(|letter| letter.is_ascii_digit() || letter == '-');
    let number = word.starts_with('#') && word.len() > 1 || joined;
    (mixed && !word.contains(['=', '\u{b0}', '%', '$', '(']) || dotted || number).then_some(Shape::Identifier)
}

/// Lists and objects that are written out.
fn lists(text: &Text<'_>, parts: &mut Vec<Part>) {
    let source = text.text;
    let mut after = 0;
    for (at, open) in source.char_indices().filter(|(_, letter)| matches!(letter, '[' | '{' | '(')) {
        if at < after {
            continue;
        }
        let mut depth = 0_usize;
        let close = source[at..].char_indices().take(4_096).find(|(_, letter)| {
            match letter {
                '[' | '{' | '(' => depth += 1,
                ']' | '}' | ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        });
        let Some((end, _)) = close else { continue };
        let end = at + end + 1;
        let Some(value) = literal(&source[at..end], open) else { continue };
        parts.push(part(text, Shape::List, at, end, value));
        after = end;
        if parts.len() >= MOST / 2 {
            break;
        }
    }
}

/// JSON, or what Python writes for it; a bare list of words as well.
fn literal(text: &str, open: char) -> Option<Value> {
    let round = open == '(';
    let json = if round { text.replace('(', "[").replace(')', "]") } else { text.to_owned() };
    if let Ok(value) = serde_json::from_str(&json) {
        return Some(value);
    }
    let json =
        json.replace('\'', "\"").replace("True", "true").replace("False", "false").replace("None", "null");
    if let Ok(value) = serde_json::from_str(&json) {
        return Some(value);
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    if inner.contains(['[', '{']) || !inner.contains(',') {
        return None;
    }
    let items = inner.split(',').map(|item| item.trim().trim_matches(['"', '\'']));
    Some(items.filter(|item| !item.is_empty()).map(Value::from).collect())
}

/// Words with capitals that stand together.
fn names(text: &Text<'_>, taken: &impl Fn(usize) -> bool, parts: &mut Vec<Part>) {
    let tokens = &text.tokens;
    let named = |at: usize| {
        tokens.get(at).is_some_and(|token| {
            token.kind == Kind::Word
                && token.capital
                && !taken(at)
                && (!token.opens || tokens.get(at + 1).is_some_and(|next| next.capital))
                && !(VERBS.contains(&*token.lower) && token.opens)
                && !(token.opens && is_break(token))
                && token.lower != "i"
                && !matches!(&*token.lower, "i'm" | "i'd" | "i've" | "i'll")
        })
    };
    let mut at = 0;
    while at < tokens.len() {
        if !named(at) {
            at += 1;
            continue;
        }
        let from = at;
        at += 1;
        while at < tokens.len() {
            let lower = &*tokens[at].lower;
            let link =
                matches!(lower, "of" | "the" | "de" | "la" | "van" | "von" | "del" | "di" | "&" | "-" | ".");
            if named(at)
                || tokens[at].kind == Kind::Number
                    && !tokens[at].glued
                    && tokens[at].end - tokens[at].start <= 2
            {
                at += 1;
            } else if link && (named(at + 1) || lower == "of" && named(at + 2)) {
                at += 1 + usize::from(!named(at + 1)) + 1;
            } else if matches!(lower, "'" | "\u{2019}")
                && tokens.get(at + 1).is_some_and(|next| next.lower == "s")
                && named(at + 2)
            {
                at += 3;
            } else {
                break;
            }
        }
        at = at.min(tokens.len());
        // "F.C." and "Inc." keep their dot.
        let dot = tokens.get(at).is_some_and(|token| token.lower == "." && token.glued)
            && tokens[at - 1].lower.len() == 1;
        push(text, Shape::Name, from, at + usize::from(dot), true, parts);
        // "Seattle, WA"
        if tokens.get(at).is_some_and(|token| token.lower == ",") && named(at + 1) {
            let mut to = at + 2;
            while named(to) {
                to += 1;
            }
            push(text, Shape::Name, from, to, true, parts);
        }
        // The parts of a longer name.
        for cut in from + 1..at {
            if named(cut) {
                push(text, Shape::Name, cut, at, false, parts);
            }
            if named(cut - 1) && cut - from > 1 || cut - from == 1 {
                push(text, Shape::Name, from, cut, false, parts);
            }
        }
    }
}

fn push(text: &Text<'_>, shape: Shape, from: usize, to: usize, whole: bool, parts: &mut Vec<Part>) {
    let (Some(first), Some(last)) = (text.tokens.get(from), text.tokens.get(to - 1)) else { return };
    if parts.len() >= MOST {
        return;
    }
    let (start, end) = (first.start, last.end);
    parts.push(Part { shape, value: Value::from(&text.text[start..end]), start, end, from, to, whole });
}

/// Runs of words without a break, and their parts.
fn phrases(text: &Text<'_>, taken: &impl Fn(usize) -> bool, parts: &mut Vec<Part>) {
    let tokens = &text.tokens;
    let content = |at: usize| {
        tokens.get(at).is_some_and(|token| match token.kind {
            Kind::Word => !(is_break(token) || taken(at) || token.opens && VERBS.contains(&*token.lower)),
            Kind::Number => false,
            // "gluten-free"
            Kind::Mark => {
                token.lower == "-"
                    && token.glued
                    && at > 0
                    && tokens.get(at + 1).is_some_and(|next| next.glued && next.kind == Kind::Word)
                    && tokens[at - 1].kind == Kind::Word
            }
        })
    };
    let mut at = 0;
    while at < tokens.len() {
        if !content(at) {
            at += 1;
            continue;
        }
        let from = at;
        while content(at) {
            at += 1;
        }
        let hyphen = |at: usize| tokens.get(at).is_some_and(|token| token.kind == Kind::Mark);
        // "the law of universal gravitation"
        if tokens.get(at).is_some_and(|token| token.lower == "of") && content(at + 1) {
            let mut to = at + 1;
            while content(to) {
                to += 1;
            }
            push(text, Shape::Phrase, at - 1, to, at - from == 1, parts);
        }
        for start in from..at {
            for end in start + 1..=at.min(start + WORDS) {
                if !(hyphen(start)
                    || hyphen(end - 1)
                    || start > from && hyphen(start - 1)
                    || end < at && hyphen(end))
                {
                    push(text, Shape::Phrase, start, end, start == from && end == at, parts);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(request: &str, shape: Shape) -> Vec<String> {
        let show = |part: Part| part.value.as_str().map_or_else(|| part.value.to_string(), str::to_owned);
        of(&Text::new(request))
            .into_iter()
            .filter(|part| part.shape == shape && part.whole)
            .map(show)
            .collect()
    }

    #[test]
    fn parts_are_told_by_their_shape() {
        let review = "review 'I love it here! It's fresh.' of \"My Shop\"";
        assert_eq!(whole(review, Shape::Quoted), ["I love it here! It's fresh.", "My Shop"]);
        assert_eq!(
            whole("mail ann@example.com, see https://a.example/x?y=1.", Shape::Email),
            ["ann@example.com"]
        );
        assert_eq!(
            whole("mail ann@example.com, see https://a.example/x?y=1.", Shape::Url),
            ["https://a.example/x?y=1"]
        );
        assert_eq!(
            whole("case 123456-ABC of t0k3n, 10cm, #42, data.csv", Shape::Identifier),
            ["123456-ABC", "t0k3n", "42", "data.csv"]
        );
        assert_eq!(
            whole("flows [-5, 10] and ['a', 'b'] and [G, C]", Shape::List),
            ["[-5,10]", r#"["a","b"]"#, r#"["G","C"]"#]
        );
        assert_eq!(
            whole("Find the Museum of Modern Art in New York", Shape::Name),
            ["Museum of Modern Art", "New York"]
        );
        assert_eq!(whole("a gluten-free cookie recipe", Shape::Phrase), ["gluten-free cookie recipe"]);
    }

    #[test]
    fn text_without_end_is_bounded() {
        for text in
            ["[".repeat(100_000), "'x ".repeat(100_000), "Ab ".repeat(100_000), "word ".repeat(100_000)]
        {
            assert!(of(&Text::new(&text)).len() <= MOST);
        }
    }
}
