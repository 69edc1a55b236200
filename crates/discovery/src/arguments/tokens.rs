//! A request in tokens that remember where they stand.

use rust_stemmers::{Algorithm, Stemmer};

use crate::text::beginning;

/// The longest request that is read, in bytes; of more only the beginning is.
const LONGEST: usize = 8 << 10;

/// The most tokens of a request that count.
const MOST: usize = 1_024;

/// What a token is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    Mark,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
    pub(super) lower: String,
    pub(super) stem: String,
    pub(super) capital: bool,
    /// Nothing stands between it and the token before.
    pub(super) glued: bool,
    /// It opens a sentence.
    pub(super) opens: bool,
}

/// A request with its tokens.
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) tokens: Vec<Token>,
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let text = beginning(text, LONGEST);
        let stemmer = Stemmer::create(Algorithm::English);
        let mut tokens: Vec<Token> = Vec::new();
        let mut opens = true;
        let mut at = 0;
        while let Some(letter) = text[at..].chars().next() {
            if tokens.len() == MOST {
                break;
            }
            if letter.is_whitespace() {
                opens |= letter == '\n';
                at += letter.len_utf8();
                continue;
            }
            let (kind, end) = next(text, at, letter);
            let lower = text[at..end].to_lowercase();
            let stem = if kind == Kind::Word { stemmer.stem(&lower).into_owned() } else { lower.clone() };
            let glued = tokens.last().is_some_and(|before| before.end == at);
            tokens.push(Token {
                start: at,
                end,
                kind,
                lower,
                stem,
                capital: letter.is_uppercase(),
                glued,
                opens: opens && kind != Kind::Mark,
            });
            // A dot within a word or after an initial (F.C., J. Smith) closes no sentence.
            let initial =
                tokens.len() > 1 && tokens[tokens.len() - 2].end - tokens[tokens.len() - 2].start == 1;
            opens = kind == Kind::Mark
                && match letter {
                    '.' => opens || !initial && text[end..].chars().next().is_none_or(char::is_whitespace),
                    '!' | '?' | '\u{3002}' | ';' | '"' => true,
                    _ => opens,
                };
            at = end;
        }
        Self { text, tokens }
    }

    pub(super) fn slice(&self, from: usize, to: usize) -> &'a str {
        match (self.tokens.get(from), to.checked_sub(1).and_then(|last| self.tokens.get(last))) {
            (Some(first), Some(last)) if first.start < last.end => &self.text[first.start..last.end],
            _ => "",
        }
    }

    /// The tokens that lie in a range of bytes.
    pub(super) fn within(&self, start: usize, end: usize) -> (usize, usize) {
        let from = self.tokens.partition_point(|token| token.end <= start);
        let to = self.tokens.partition_point(|token| token.start < end);
        (from, to.max(from))
    }
}

/// The kind of the token that starts here, and where it ends.
fn next(text: &str, at: usize, letter: char) -> (Kind, usize) {
    let rest = &text[at..];
    if letter.is_ascii_digit() {
        return (Kind::Number, at + number(rest));
    }
    if !letter.is_alphanumeric() {
        return (Kind::Mark, at + letter.len_utf8());
    }
    let mut end = at;
    let mut letters = rest.chars().peekable();
    while let Some(letter) = letters.next() {
        // Words of scripts without spaces are single signs.
        if wide(letter) {
            if end == at {
                end += letter.len_utf8();
            }
            break;
        }
        let inner = matches!(letter, '\'' | '\u{2019}' | '_')
            && letters.peek().is_some_and(|next| next.is_alphanumeric() || *next == '_');
        if !(letter.is_alphanumeric() || inner && !possessive(rest, end - at)) {
            break;
        }
        end += letter.len_utf8();
    }
    (Kind::Word, end.max(at + letter.len_utf8()))
}

fn wide(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

/// `'s` that ends a word is a token of its own.
fn possessive(rest: &str, at: usize) -> bool {
    let mut letters = rest[at..].chars();
    matches!(letters.next(), Some('\'' | '\u{2019}'))
        && matches!(letters.next(), Some('s' | 'S'))
        && !letters.next().is_some_and(char::is_alphanumeric)
}

/// How long the number is that a text starts with: digits, groups of three after commas, a fraction, an exponent.
fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    if end <= 3 {
        while bytes.get(end) == Some(&b',') && digits(end + 1) == 3 {
            end += 4;
        }
    }
    if bytes.get(end) == Some(&b'.') && end + 1 < bytes.len() && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let from = end + 1 + sign;
        if from < bytes.len() && digits(from) > 0 {
            end = from + digits(from);
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        Text::new(text).tokens.into_iter().map(|token| token.lower).collect()
    }

    #[test]
    fn numbers_words_and_marks_are_told_apart() {
        assert_eq!(
            of("Pay $1,250.50 to Anna's shop!"),
            ["pay", "$", "1,250.50", "to", "anna", "'", "s", "shop", "!"]
        );
        assert_eq!(of("298K, 5e-3 and DNA123"), ["298", "k", ",", "5e-3", "and", "dna123"]);
        assert_eq!(of("don't 东京 \u{1f600}"), ["don't", "东", "京", "\u{1f600}"]);
        assert_eq!(Text::new(&"a ".repeat(500_000)).tokens.len(), MOST);
    }
}
