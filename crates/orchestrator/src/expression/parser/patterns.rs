//! Patterns: `. as [$a, {b: $c, $d}] | …`.

use super::super::lexer::Token;
use super::super::syntax::{Slot, Term, TermId};
use super::{Parsed, Parser, Pattern};

impl Pattern {
    /// `body` where all the parts are bound.
    pub(super) fn wrap(&self, parser: &mut Parser<'_>, body: TermId) -> TermId {
        self.parts.iter().rev().fold(body, |body, &(source, slot)| parser.add(Term::Bind(source, slot, body)))
    }
}

impl Parser<'_> {
    pub(super) fn pattern(&mut self) -> Parsed<Pattern> {
        let mut parts = Vec::new();
        let slot = self.part(&mut parts)?;
        Ok(Pattern { slot, parts })
    }

    /// One pattern; gives the slot that its value is to be in.
    fn part(&mut self, parts: &mut Vec<(TermId, Slot)>) -> Parsed<Slot> {
        match self.token {
            Token::Variable(name) => {
                self.advance()?;
                Ok(self.scope.variable(name))
            }
            Token::Symbol("[") => self.nested(|parser| parser.array_pattern(parts)),
            Token::Symbol("{") => self.nested(|parser| parser.object_pattern(parts)),
            _ => Err(self.unexpected("`$` and a name, `[` or `{`")),
        }
    }

    fn array_pattern(&mut self, parts: &mut Vec<(TermId, Slot)>) -> Parsed<Slot> {
        self.expect("[")?;
        let whole = self.scope.fresh();
        for index in 0.. {
            let key = self.number(&index.to_string());
            self.at_key(whole, key, parts)?;
            if !self.symbol(",")? {
                break;
            }
        }
        self.expect("]")?;
        Ok(whole)
    }

    fn object_pattern(&mut self, parts: &mut Vec<(TermId, Slot)>) -> Parsed<Slot> {
        self.expect("{")?;
        let whole = self.scope.fresh();
        loop {
            let key = match self.token {
                Token::Variable(name) => {
                    self.advance()?;
                    let key = self.text(name);
                    let base = self.add(Term::Variable(whole));
                    let source = self.add(Term::Index(base, key));
                    parts.push((source, self.scope.variable(name)));
                    if self.token == Token::Symbol(":") { Some(key) } else { None }
                }
                Token::Word(name) => {
                    self.advance()?;
                    Some(self.text(name))
                }
                Token::Quote => Some(self.string(None)?),
                Token::Symbol("(") => {
                    self.advance()?;
                    let key = self.pipe()?;
                    self.expect(")")?;
                    Some(key)
                }
                _ => return Err(self.unexpected("a key")),
            };
            if let Some(key) = key {
                self.expect(":")?;
                self.at_key(whole, key, parts)?;
            }
            if !self.symbol(",")? {
                break;
            }
        }
        self.expect("}")?;
        Ok(whole)
    }

    /// The pattern for what is at `key` of the value at `whole`.
    fn at_key(&mut self, whole: Slot, key: TermId, parts: &mut Vec<(TermId, Slot)>) -> Parsed<()> {
        let base = self.add(Term::Variable(whole));
        let source = self.add(Term::Index(base, key));
        let place = parts.len();
        let slot = self.part(parts)?;
        parts.insert(place, (source, slot));
        Ok(())
    }
}
