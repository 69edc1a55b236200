//! From the text of an expression to its tokens, one at a time.

use super::ExpressionError;
use super::number::Num;

/// A token. The content of a string is read by [`Lexer::piece`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'s> {
    Num(&'s str),
    /// A name or keyword.
    Word(&'s str),
    /// `.name`
    Field(&'s str),
    /// `$name`
    Variable(&'s str),
    /// `@name`
    Format(&'s str),
    /// The `"` that a string begins with.
    Quote,
    Symbol(&'static str),
    End,
}

/// A part of a string.
pub(super) enum Piece {
    /// Text up to `\(`.
    Open(String),
    /// Text up to the closing `"`.
    Close(String),
}

/// Longest first.
pub(super) const SYMBOLS: [&str; 38] = [
    "//=", "|=", "+=", "-=", "*=", "/=", "%=", "==", "!=", "<=", ">=", "//", "..", "::", "=", "<", ">", "+",
    "-", "*", "/", "%", "|", ",", ".", "[", "]", "(", ")", "{", "}", ":", ";", "?", "!", "&", "^", "~",
];

/// The text and how far it was read.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'s> {
    text: &'s str,
    at: usize,
}

pub(super) fn syntax(at: usize, message: impl Into<String>) -> ExpressionError {
    ExpressionError::Syntax { message: message.into(), at }
}

impl<'s> Lexer<'s> {
    pub(super) fn new(text: &'s str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'s str {
        &self.text[self.at..]
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'s str {
        let rest = self.rest();
        let len = rest.bytes().take_while(|&byte| accept(byte)).count();
        self.at += len;
        &rest[..len]
    }

    fn skip_space(&mut self) {
        loop {
            self.take_while(|byte| byte.is_ascii_whitespace());
            if !self.rest().starts_with('#') {
                return;
            }
            self.take_while(|byte| byte != b'\n');
        }
    }

    /// A name, which may be of a module (`a::b`).
    fn word(&mut self) -> &'s str {
        let start = self.at;
        self.take_while(is_word);
        while self.rest().starts_with("::")
            && self.text.as_bytes().get(self.at + 2).is_some_and(|&b| is_start(b))
        {
            self.at += 2;
            self.take_while(is_word);
        }
        &self.text[start..self.at]
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> Result<(Token<'s>, usize), ExpressionError> {
        self.skip_space();
        let start = self.at;
        let bytes = self.rest().as_bytes();
        let Some(&first) = bytes.first() else { return Ok((Token::End, start)) };
        let second = bytes.get(1).copied().unwrap_or(0);
        let token = match first {
            b'"' => {
                self.at += 1;
                Token::Quote
            }
            b'0'..=b'9' => self.number(start)?,
            b'.' if second.is_ascii_digit() => self.number(start)?,
            b'.' if is_start(second) => {
                self.at += 1;
                Token::Field(self.take_while(is_word))
            }
            b'$' | b'@' if is_start(second) => {
                self.at += 1;
                let word = self.word();
                if first == b'$' { Token::Variable(word) } else { Token::Format(word) }
            }
            _ if is_start(first) => Token::Word(self.word()),
            _ => {
                let symbol = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol));
                let Some(symbol) = symbol else {
                    let char = self.rest().chars().next().unwrap_or(' ');
                    return Err(syntax(start, format!("`{char}` means nothing here")));
                };
                self.at += symbol.len();
                Token::Symbol(symbol)
            }
        };
        Ok((token, start))
    }

    fn number(&mut self, start: usize) -> Result<Token<'s>, ExpressionError> {
        let digit = |byte: u8| byte.is_ascii_digit();
        self.take_while(digit);
        if self.rest().starts_with('.') && !self.rest().starts_with("..") {
            self.at += 1;
            self.take_while(digit);
        }
        if self.rest().starts_with(['e', 'E']) {
            self.at += 1;
            if self.rest().starts_with(['+', '-']) {
                self.at += 1;
            }
            self.take_while(digit);
        }
        let text = &self.text[start..self.at];
        match Num::parse(text) {
            Some(_) => Ok(Token::Num(text)),
            None => Err(syntax(start, format!("`{text}` is no number"))),
        }
    }

    /// The next part of the string that was opened at `open`.
    pub(super) fn piece(&mut self, open: usize) -> Result<Piece, ExpressionError> {
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|byte| byte != b'"' && byte != b'\\'));
            let start = self.at;
            let mut chars = self.rest().chars();
            match (chars.next(), chars.next()) {
                (Some('"'), _) => {
                    self.at += 1;
                    return Ok(Piece::Close(text));
                }
                (Some(_), Some('(')) => {
                    self.at += 2;
                    return Ok(Piece::Open(text));
                }
                (Some(_), Some(escape)) => {
                    self.at += 1 + escape.len_utf8();
                    text.push(self.escape(escape, start)?);
                }
                _ => return Err(syntax(open, "the string that starts here has no end")),
            }
        }
    }

    fn escape(&mut self, escape: char, start: usize) -> Result<char, ExpressionError> {
        Ok(match escape {
            '"' | '\\' | '/' => escape,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = self.hex(start)?;
                if (0xd800..0xdc00).contains(&high) && self.rest().starts_with("\\u") {
                    self.at += 2;
                    let low = self.hex(start)?;
                    let code = 0x10000 + ((high - 0xd800) << 10) + (low.wrapping_sub(0xdc00) & 0x3ff);
                    return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => {
                return Err(syntax(start, format!("`\\{other}` is no escape; a backslash itself is `\\\\`")));
            }
        })
    }

    fn hex(&mut self, start: usize) -> Result<u32, ExpressionError> {
        let code = self.rest().get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or_else(|| syntax(start, "`\\u` needs four hexadecimal digits"))
    }
}

fn is_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
