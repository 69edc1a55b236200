//! Terms: what stands between operators.

use super::super::lexer::{Piece, Token, syntax};
use super::super::scope::{self, Meaning};
use super::super::syntax::{Constant, Operator, Term, TermId};
use super::{Parsed, Parser};

/// Words that are no names.
const KEYWORDS: [&str; 17] = [
    "def", "if", "then", "elif", "else", "end", "as", "reduce", "foreach", "try", "catch", "label", "and",
    "or", "import", "include", "module",
];

/// The formats of strings, besides `@text`.
const FORMATS: [&str; 12] =
    ["json", "text", "csv", "tsv", "html", "uri", "urid", "sh", "base64", "base64d", "base32", "base32d"];

/// What follows a term to find a part of its value.
enum Access<'s> {
    Field(&'s str),
    Key(TermId),
    Slice(TermId, TermId),
    Each,
}

impl<'s> Parser<'s> {
    /// A term and all its `.name`, `[…]` and `?`.
    pub(super) fn postfix(&mut self) -> Parsed {
        let mut term = self.primary()?;
        loop {
            let access = match self.token {
                Token::Field(name) => {
                    self.advance()?;
                    Access::Field(name)
                }
                Token::Symbol("[") => self.nested(Self::bracket)?,
                Token::Symbol(".") => {
                    self.advance()?;
                    match self.token {
                        Token::Quote => Access::Key(self.string(None)?),
                        Token::Symbol("[") => self.nested(Self::bracket)?,
                        _ => return Err(self.unexpected("a name after `.`")),
                    }
                }
                Token::Symbol("?") => {
                    self.advance()?;
                    term = self.add(Term::Try(term, None));
                    continue;
                }
                _ => return Ok(term),
            };
            term = self.place(term, access)?;
        }
    }

    /// A part of what `base` gives. A `?` right after it is about finding this part only.
    fn place(&mut self, base: TermId, access: Access<'_>) -> Parsed {
        if !self.symbol("?")? {
            return Ok(self.access(base, access));
        }
        // Keys are evaluated outside, where their errors count.
        let mut bound = Vec::new();
        let mut outside = |parser: &mut Self, key: TermId| {
            let slot = parser.scope.fresh();
            bound.push((key, slot));
            parser.add(Term::Variable(slot))
        };
        let access = match access {
            Access::Key(key) => Access::Key(outside(self, key)),
            Access::Slice(from, to) => Access::Slice(outside(self, from), outside(self, to)),
            other => other,
        };
        let input = self.add(Term::Identity);
        let part = self.access(input, access);
        let part = self.add(Term::Try(part, None));
        let found = self.add(Term::Pipe(base, part));
        Ok(bound.into_iter().rev().fold(found, |body, (key, slot)| self.add(Term::Bind(key, slot, body))))
    }

    fn access(&mut self, base: TermId, access: Access<'_>) -> TermId {
        self.add(match access {
            Access::Field(name) => Term::Field(base, name.into()),
            Access::Key(key) => Term::Index(base, key),
            Access::Slice(from, to) => Term::Slice(base, from, to),
            Access::Each => Term::Each(base),
        })
    }

    /// `[]`, `[key]`, `[from:to]`
    fn bracket(&mut self) -> Parsed<Access<'s>> {
        self.expect("[")?;
        if self.symbol("]")? {
            return Ok(Access::Each);
        }
        let from = if self.token == Token::Symbol(":") { None } else { Some(self.pipe()?) };
        let access = if self.symbol(":")? {
            let from = from.unwrap_or_else(|| self.add(Term::Constant(Constant::Null)));
            let to = if self.token == Token::Symbol("]") {
                self.add(Term::Constant(Constant::Null))
            } else {
                self.pipe()?
            };
            Access::Slice(from, to)
        } else {
            Access::Key(from.unwrap_or_default())
        };
        self.expect("]")?;
        Ok(access)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at;
        match self.token {
            Token::Num(text) => {
                self.advance()?;
                Ok(self.number(text))
            }
            Token::Quote => self.string(None),
            Token::Format(name) => {
                self.advance()?;
                self.format(name, at)
            }
            // What follows is read as that of any other term.
            Token::Field(_) => Ok(self.add(Term::Identity)),
            Token::Variable(name) => {
                self.advance()?;
                self.variable(name, at)
            }
            Token::Word(word) => self.named(word, at),
            Token::Symbol(symbol) => self.bracketed(symbol),
            Token::End => Err(self.unexpected("an expression")),
        }
    }

    fn bracketed(&mut self, symbol: &str) -> Parsed {
        match symbol {
            "." => {
                self.advance()?;
                let base = self.add(Term::Identity);
                if self.token == Token::Quote {
                    let key = self.string(None)?;
                    return self.place(base, Access::Key(key));
                }
                Ok(base)
            }
            ".." => {
                self.advance()?;
                self.call("recurse", Vec::new(), self.at)
            }
            "[" => {
                self.advance()?;
                let body =
                    if self.token == Token::Symbol("]") { self.add(Term::Empty) } else { self.pipe()? };
                self.expect("]")?;
                Ok(self.add(Term::Array(body)))
            }
            "{" => self.nested(Self::object),
            "(" => {
                self.advance()?;
                let body = self.pipe()?;
                self.expect(")")?;
                Ok(body)
            }
            _ => Err(self.unexpected("an expression")),
        }
    }

    /// A keyword's term, or a call.
    fn named(&mut self, word: &str, at: usize) -> Parsed {
        match word {
            "reduce" | "foreach" => self.nested(|parser| parser.fold(word == "reduce")),
            "if" => self.nested(Self::condition),
            "try" => {
                self.advance()?;
                let body = self.nested(Self::postfix)?;
                let handler = if self.word("catch") {
                    self.advance()?;
                    Some(self.nested(Self::postfix)?)
                } else {
                    None
                };
                Ok(self.add(Term::Try(body, handler)))
            }
            "break" => {
                self.advance()?;
                let Token::Variable(name) = self.token else {
                    return Err(self.unexpected("`$` and a label"));
                };
                let Some(slot) = self.scope.find_label(name) else {
                    return Err(syntax(self.at, format!("there is no `label ${name}` around this")));
                };
                self.advance()?;
                Ok(self.add(Term::Break(slot)))
            }
            "import" | "include" | "module" => Err(syntax(at, scope::refusal(word).unwrap_or_default())),
            keyword if KEYWORDS.contains(&keyword) => Err(self.unexpected("an expression")),
            name => {
                self.advance()?;
                let arguments = if self.symbol("(")? { self.arguments()? } else { Vec::new() };
                self.call(name, arguments, at)
            }
        }
    }

    fn arguments(&mut self) -> Parsed<Vec<TermId>> {
        let mut arguments = Vec::new();
        loop {
            arguments.push(self.pipe()?);
            if !self.symbol(";")? {
                break;
            }
        }
        self.expect(")")?;
        Ok(arguments)
    }

    /// A call of a filter argument, a definition, or a function of ours, in this order.
    fn call(&mut self, name: &str, arguments: Vec<TermId>, at: usize) -> Parsed {
        match self.meaning(name, arguments.len()) {
            Some(Meaning::Argument(slot)) => return Ok(self.add(Term::Argument(slot))),
            Some(Meaning::Function(id)) => return Ok(self.add(Term::Call(id, arguments.into()))),
            _ => {}
        }
        let term = match (name, arguments.as_slice()) {
            ("null", []) => Term::Constant(Constant::Null),
            ("true", []) => Term::Constant(Constant::Bool(true)),
            ("false", []) => Term::Constant(Constant::Bool(false)),
            ("empty", []) => Term::Empty,
            ("path", [body]) => Term::Path(*body),
            ("getpath", [keys]) => Term::GetPath(*keys),
            ("limit", [count, body]) => Term::Limit(*count, *body),
            ("first", [body]) => Term::Limit(self.number("1"), *body),
            ("range", [to]) => Term::Range(self.number("0"), *to, self.number("1")),
            ("range", [from, to]) => Term::Range(*from, *to, self.number("1")),
            ("range", [from, to, by]) => Term::Range(*from, *to, *by),
            _ => match scope::native(name, arguments.len()) {
                Some(native) => Term::Native(native, arguments.into()),
                None => return Err(self.unknown(name, arguments.len(), at)),
            },
        };
        Ok(self.add(term))
    }

    /// `if … then … elif … then … else … end`
    fn condition(&mut self) -> Parsed {
        let mut branches = Vec::new();
        loop {
            self.advance()?;
            let condition = self.pipe()?;
            self.expect_word("then")?;
            branches.push((condition, self.pipe()?));
            if !self.word("elif") {
                break;
            }
        }
        let otherwise = if self.word("else") {
            self.advance()?;
            self.pipe()?
        } else {
            self.add(Term::Identity)
        };
        self.expect_word("end")?;
        let nest = |no, (condition, yes)| self.add(Term::If(condition, yes, no));
        Ok(branches.into_iter().rev().fold(otherwise, nest))
    }

    /// `@name` or `@name "…"`
    fn format(&mut self, name: &str, at: usize) -> Parsed {
        if !FORMATS.contains(&name) {
            let near = scope::nearest(name, FORMATS.into_iter());
            let hint = near.map(|near| format!("; did you mean `@{near}`?")).unwrap_or_default();
            return Err(syntax(at, format!("there is no format `@{name}`{hint}")));
        }
        if self.token == Token::Quote {
            return self.string(Some(name));
        }
        self.formatted(name, None)
    }

    /// What `format` makes of `body`, or of the input.
    fn formatted(&mut self, format: &str, body: Option<TermId>) -> Parsed {
        let native = self.call(&format!("@{format}"), Vec::new(), self.at)?;
        Ok(match body {
            Some(body) => self.add(Term::Pipe(body, native)),
            None => native,
        })
    }

    /// A string, whose `\(…)` are formatted.
    pub(super) fn string(&mut self, format: Option<&str>) -> Parsed {
        let open = self.at;
        let mut parts = Vec::new();
        loop {
            let (text, more) = match self.lexer.piece(open)? {
                Piece::Open(text) => (text, true),
                Piece::Close(text) => (text, false),
            };
            if !text.is_empty() || (parts.is_empty() && !more) {
                parts.push(self.text(&text));
            }
            self.advance()?;
            if !more {
                break;
            }
            let body = self.pipe()?;
            parts.push(self.formatted(format.unwrap_or("text"), Some(body))?);
            if self.token != Token::Symbol(")") {
                return Err(self.unexpected("`)`"));
            }
            // What follows is text again, not a token.
        }
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        Ok(parts.fold(first, |left, right| self.add(Term::Binary(Operator::Add, left, right))))
    }

    /// `{key: value, …}`
    fn object(&mut self) -> Parsed {
        self.expect("{")?;
        let mut entries = Vec::new();
        while self.token != Token::Symbol("}") {
            entries.push(self.entry()?);
            if !self.symbol(",")? {
                break;
            }
        }
        self.expect("}")?;
        Ok(self.add(Term::Object(entries.into())))
    }

    fn entry(&mut self) -> Parsed<(TermId, TermId)> {
        let at = self.at;
        let (key, short) = match self.token {
            Token::Variable(name) => {
                self.advance()?;
                let value = self.variable(name, at)?;
                // `{$x: 1}` has the value of `$x` for its key, `{$x}` its name.
                let key = if self.token == Token::Symbol(":") { value } else { self.text(name) };
                (key, Some(value))
            }
            Token::Word(name) => {
                self.advance()?;
                let base = self.add(Term::Identity);
                (self.text(name), Some(self.add(Term::Field(base, name.into()))))
            }
            Token::Num(text) => {
                let message = format!("a key is a string: write \"{text}\", or ({text}|tostring)");
                return Err(syntax(at, message));
            }
            Token::Quote | Token::Format(_) => {
                let key = match self.token {
                    Token::Format(name) => {
                        self.advance()?;
                        self.format(name, at)?
                    }
                    _ => self.string(None)?,
                };
                let base = self.add(Term::Identity);
                (key, Some(self.add(Term::Index(base, key))))
            }
            Token::Symbol("(") => {
                self.advance()?;
                let key = self.pipe()?;
                self.expect(")")?;
                (key, None)
            }
            _ => return Err(self.unexpected("a key")),
        };
        if self.symbol(":")? {
            let mark = self.scope.mark();
            let value = self.nested(|parser| parser.pipeline(false))?;
            self.scope.leave(mark);
            return Ok((key, value));
        }
        short.map(|value| (key, value)).ok_or_else(|| self.unexpected("`:` and a value"))
    }
}
