//! Which steps an expression refers to: a scan of jq's tokens for `.steps.id` and `.steps["id"]`.
//!
//! It errs on the safe side: what looks like a reference counts as one, wherever it stands.

use crate::workflow::Undo;
use crate::workflow::node::{escape, marked};
use crate::workflow::text::texts;

use super::Step;

/// A step that an expression names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The step's id; `None` where `.steps` stands alone, so that nobody can tell which step is meant.
    pub step: Option<String>,
    /// Where the expression is.
    pub part: Part,
    /// Which text of that part it is. Places are found again when they are needed: kept, they could be long and many.
    pub nth: usize,
    /// Whether `.` is certainly the whole there: nothing is piped into it.
    pub certain: bool,
}

/// A part of a plan that may hold expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A step's arguments.
    Args,
    /// The arguments of its undo.
    Undo,
    /// Its condition.
    When,
    /// Its list of items.
    ForEach,
    /// The plan's output.
    Output,
}

/// Finds the references of a step.
pub(super) fn of_step(step: &mut Step) {
    let mut found = Vec::new();
    for part in [Part::Args, Part::Undo, Part::When, Part::ForEach] {
        let mut nth = 0;
        visit(step, part, &mut |_, text| {
            let expression =
                if matches!(part, Part::When | Part::ForEach) { Some(text) } else { marked(text) };
            found.extend(expression.into_iter().flat_map(|expression| references(expression, part, nth)));
            nth += 1;
        });
    }
    step.references = found;
}

/// Visits the texts of a part of a step, with their places in it.
fn visit(step: &Step, part: Part, visit: &mut dyn FnMut(&str, &str)) {
    match part {
        Part::Args => {
            for (name, value) in &step.args {
                texts(value, &mut format!("/args/{}", escape(name)), visit);
            }
        }
        Part::Undo => {
            if let Undo::Call(undo) = &step.undo {
                texts(undo.args.source(), &mut "/undo/args".to_owned(), visit);
            }
        }
        Part::When => step.when.iter().for_each(|when| visit("/when", when.text())),
        Part::ForEach => step.for_each.iter().for_each(|items| visit("/forEach", items.text())),
        Part::Output => {}
    }
}

impl Step {
    /// Where a reference is in this step, and the text that holds it.
    pub(crate) fn locate(&self, reference: &Reference) -> (String, String) {
        let mut found = (String::new(), String::new());
        let mut nth = 0;
        visit(self, reference.part, &mut |path, text| {
            if nth == reference.nth {
                found = (path.to_owned(), text.to_owned());
            }
            nth += 1;
        });
        found
    }
}

/// The references of one expression, which is this text of this part.
pub(crate) fn references(expression: &str, part: Part, nth: usize) -> Vec<Reference> {
    let tokens = tokens(expression);
    let mut found = Vec::new();
    let mut certain = true;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Piped => certain = false,
            Token::Field(name) if name == "steps" && !continues(index.checked_sub(1).map(|i| &tokens[i])) => {
                let next: Vec<&Token> = tokens[index + 1..]
                    .iter()
                    .filter(|token| !matches!(token, Token::Other('?' | '.')))
                    .take(3)
                    .collect();
                let step = match next[..] {
                    [Token::Field(name), ..] => Some(name.clone()),
                    [Token::Other('['), Token::Text(name), Token::Other(']')] => Some(name.clone()),
                    _ => None,
                };
                found.push(Reference { step, part, nth, certain });
            }
            _ => {}
        }
    }
    found
}

/// Whether what follows this token goes on with its value, and so is no path from `.`.
fn continues(token: Option<&Token>) -> bool {
    matches!(
        token,
        Some(Token::Field(_) | Token::Value | Token::Text(_) | Token::Other(']' | ')' | '?' | '}'))
    )
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// `.name` or `."name"`.
    Field(String),
    /// Text without interpolation.
    Text(String),
    /// A variable, or a word that what follows touches.
    Value,
    /// What gives another value to `.`.
    Piped,
    /// Anything else.
    Other(char),
}

fn tokens(expression: &str) -> Vec<Token> {
    let mut scan = Scan { text: expression.as_bytes(), at: 0, tokens: Vec::new() };
    // The levels of parentheses within interpolations that are open, so that strings resume where these end.
    let mut open: Vec<usize> = Vec::new();
    while let Some(&byte) = scan.text.get(scan.at) {
        match byte {
            b'"' => {
                scan.at += 1;
                scan.string(&mut open);
            }
            b'#' => scan.skip(|byte| byte != b'\n'),
            b'.' if scan.next_is(|byte| is_word(byte) && !byte.is_ascii_digit()) => {
                scan.at += 1;
                let name = scan.word();
                scan.tokens.push(Token::Field(name));
            }
            b'$' => {
                scan.at += 1;
                scan.word();
                scan.tokens.push(Token::Value);
            }
            byte if is_word(byte) => {
                scan.word();
                // `map(.x)`, `end.x`: the word's own value, or a function that may give another one to `.`.
                match scan.text.get(scan.at) {
                    Some(b'(') => scan.tokens.push(Token::Piped),
                    Some(b'.') => scan.tokens.push(Token::Value),
                    _ => scan.tokens.push(Token::Other('a')),
                }
            }
            _ => scan.punctuation(byte, &mut open),
        }
    }
    scan.tokens
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
    tokens: Vec<Token>,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl Scan<'_> {
    fn next_is(&self, test: impl Fn(u8) -> bool) -> bool {
        self.text.get(self.at + 1).is_some_and(|byte| test(*byte))
    }

    fn skip(&mut self, test: impl Fn(u8) -> bool) {
        while self.text.get(self.at).is_some_and(|byte| test(*byte)) {
            self.at += 1;
        }
    }

    fn word(&mut self) -> String {
        let start = self.at;
        self.skip(is_word);
        String::from_utf8_lossy(&self.text[start..self.at]).into_owned()
    }

    fn punctuation(&mut self, byte: u8, open: &mut Vec<usize>) {
        self.at += 1;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => return,
            b'|' => self.tokens.push(Token::Piped),
            _ => self.tokens.push(Token::Other(char::from(byte))),
        }
        match (byte, open.last_mut()) {
            (b'(', Some(level)) => *level += 1,
            (b')', Some(0)) => {
                open.pop();
                self.string(open);
            }
            (b')', Some(level)) => *level -= 1,
            _ => {}
        }
    }

    /// Reads a string from after its quote, or from after an interpolation, to its end or the next interpolation.
    fn string(&mut self, open: &mut Vec<usize>) {
        let start = self.at;
        let whole = start > 0 && self.text[start - 1] == b'"';
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    let text = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
                    self.at += 1;
                    let after_dot = self.tokens.last() == Some(&Token::Other('.'));
                    if whole && after_dot {
                        self.tokens.pop();
                        self.tokens.push(Token::Field(text));
                    } else {
                        self.tokens.push(Token::Text(if whole { text } else { String::new() }));
                    }
                    return;
                }
                b'\\' if self.next_is(|byte| byte == b'(') => {
                    self.at += 2;
                    // Neither what stands before nor the string so far is gone on with.
                    self.tokens.push(Token::Other('('));
                    open.push(0);
                    return;
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(expression: &str) -> Vec<Option<String>> {
        references(expression, Part::Args, 0).into_iter().map(|reference| reference.step).collect()
    }

    fn named(expression: &str) -> Vec<String> {
        steps(expression).into_iter().flatten().collect()
    }

    #[test]
    fn references_are_found() {
        assert_eq!(named(".steps.book.id"), ["book"]);
        assert_eq!(named(".steps[\"book\"].id + .steps.b2"), ["book", "b2"]);
        assert_eq!(named(".steps.\"book\""), ["book"]);
        assert_eq!(named(".\"steps\".book"), ["book"]);
        assert_eq!(named(".steps?.book"), ["book"]);
        assert_eq!(named("{a: .steps.a, b: [.steps.b]}"), ["a", "b"]);
        assert_eq!(named("if .steps.a then .steps.b else .steps.c end"), ["a", "b", "c"]);
        assert_eq!(named(r#""x \(.steps.a.n + (1)) y \(.steps.b) z""#), ["a", "b"]);
        assert_eq!(named(r#""\("\(.steps.a)")" + .steps.b"#), ["a", "b"]);
        assert_eq!(named(".steps.a // .steps.b"), ["a", "b"]);
    }

    #[test]
    fn what_only_looks_like_one_is_not() {
        assert!(steps(".input.steps.book").is_empty());
        assert!(steps("$item.steps.book").is_empty());
        assert!(steps("\".steps.book\"").is_empty());
        assert!(steps(".input # .steps.book").is_empty());
        assert!(steps(".a[0].steps.b").is_empty());
        assert!(steps(".stepsize.book").is_empty());
    }

    #[test]
    fn a_name_that_cannot_be_told_is_none() {
        assert_eq!(steps(".steps | keys"), [None]);
        assert_eq!(steps(".steps[$item]"), [None]);
    }

    #[test]
    fn behind_a_pipe_nothing_is_certain() {
        let certain = |text| references(text, Part::Args, 0)[0].certain;
        assert!(certain(".steps.a | .b"));
        assert!(!certain(".input.list | map(.steps.a)"));
    }

    #[test]
    fn broken_text_ends() {
        for text in ["\"", "\"\\", "\"\\(", "\"\\(\"", ".", "$", ".steps[", "é.steps.a", "\"\\()"] {
            let _ = steps(text);
        }
    }
}
