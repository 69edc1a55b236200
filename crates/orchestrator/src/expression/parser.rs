//! From the tokens of an expression to its terms: the grammar of jq 1.7, without modules and `?//`.
//!
//! Names are resolved on the way, and terms go into one flat table, so that nothing after this recurses over them.

use std::sync::Arc;

use super::ExpressionError;
use super::lexer::{Lexer, Token, syntax};
use super::number::Num;
use super::prelude::Prelude;
use super::scope::{self, Meaning, Scope};
use super::syntax::{Constant, Fold, Function, FunctionId, Operator, Program, Slot, Table, Term, TermId};

mod patterns;
mod terms;

/// How deep brackets, bindings and the like may be nested.
const NESTING: usize = 64;

/// How long an expression may be.
pub(super) const LENGTH: usize = 64 << 10;

/// Functions that are terms of their own, with their number of arguments.
pub(super) const SPECIAL: [(&str, usize); 8] = [
    ("empty", 0),
    ("path", 1),
    ("getpath", 1),
    ("limit", 2),
    ("first", 1),
    ("range", 1),
    ("range", 2),
    ("range", 3),
];

pub(super) type Parsed<T = TermId> = Result<T, ExpressionError>;

/// A parser at some place in its text.
pub(super) struct Parser<'s> {
    text: &'s str,
    lexer: Lexer<'s>,
    token: Token<'s>,
    /// Where the token starts.
    at: usize,
    depth: usize,
    prelude: Option<&'s Prelude>,
    scope: Scope,
    table: Table,
    first_term: TermId,
    first_function: FunctionId,
    globals: Vec<(Arc<str>, usize)>,
}

/// Parses an expression that may use the definitions of `prelude`.
pub(super) fn program(text: &str, prelude: &Prelude) -> Parsed<Program> {
    if text.len() > LENGTH {
        return Err(syntax(0, format!("an expression may be at most {LENGTH} bytes long")));
    }
    let mut parser = Parser::new(text, Some(prelude))?;
    let root = parser.pipe()?;
    if parser.token != Token::End {
        return Err(parser.unexpected("an operator or the end"));
    }
    Ok(Program { table: parser.table, root, globals: parser.globals })
}

/// Parses definitions that everything else may use.
pub(super) fn definitions(text: &str) -> Parsed<(Table, Scope)> {
    let mut parser = Parser::new(text, None)?;
    while parser.word("def") {
        parser.definition()?;
    }
    match parser.token {
        Token::End => Ok((parser.table, parser.scope)),
        _ => Err(parser.unexpected("`def`")),
    }
}

/// Binding strength of operators; the stronger, the more.
fn strength(symbol: &str) -> Option<u8> {
    Some(match symbol {
        "," => 1,
        "//" => 2,
        "=" | "|=" | "+=" | "-=" | "*=" | "/=" | "%=" | "//=" => 3,
        "==" | "!=" | "<" | "<=" | ">" | ">=" => 6,
        "+" | "-" => 7,
        "*" | "/" | "%" => 8,
        _ => return None,
    })
}

impl<'s> Parser<'s> {
    fn new(text: &'s str, prelude: Option<&'s Prelude>) -> Parsed<Self> {
        let slots = prelude.map_or(0, |prelude| prelude.scope.slots());
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let mut parser = Self {
            text,
            lexer: Lexer::new(text),
            token: Token::End,
            at: 0,
            depth: 0,
            prelude,
            scope: Scope::after(slots),
            table: Table::default(),
            first_term: prelude.map_or(0, |prelude| count(prelude.table.terms.len())),
            first_function: prelude.map_or(0, |prelude| count(prelude.table.functions.len())),
            globals: Vec::new(),
        };
        parser.advance()?;
        Ok(parser)
    }

    fn advance(&mut self) -> Parsed<()> {
        (self.token, self.at) = self.lexer.next()?;
        Ok(())
    }

    fn add(&mut self, term: Term) -> TermId {
        self.table.terms.push(term);
        // The text is bounded, and so is the number of its terms.
        self.first_term + u32::try_from(self.table.terms.len() - 1).unwrap_or(0)
    }

    fn text(&mut self, text: &str) -> TermId {
        self.add(Term::Constant(Constant::Text(text.into())))
    }

    fn unexpected(&self, wanted: &str) -> ExpressionError {
        let found = match self.token {
            Token::End => "the end".to_owned(),
            Token::Quote => "a string".to_owned(),
            Token::Num(text) | Token::Word(text) => format!("`{text}`"),
            Token::Field(text) => format!("`.{text}`"),
            Token::Variable(text) => format!("`${text}`"),
            Token::Format(text) => format!("`@{text}`"),
            Token::Symbol(text) => format!("`{text}`"),
        };
        syntax(self.at, format!("expected {wanted}, found {found}"))
    }

    fn symbol(&mut self, symbol: &str) -> Parsed<bool> {
        let found = self.token == Token::Symbol(symbol_of(symbol));
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.symbol(symbol)? { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    /// Whether the next token is this word.
    fn word(&self, word: &str) -> bool {
        matches!(self.token, Token::Word(found) if found == word)
    }

    fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if !self.word(word) {
            return Err(self.unexpected(&format!("`{word}`")));
        }
        self.advance()
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= NESTING {
            return Err(syntax(
                self.at,
                format!("an expression may be nested at most {NESTING} levels deep"),
            ));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// `def …; a | b | c`
    fn pipe(&mut self) -> Parsed {
        self.nested(|parser| {
            let mark = parser.scope.mark();
            let parsed = parser.pipeline(true);
            parser.scope.leave(mark);
            parsed
        })
    }

    fn pipeline(&mut self, comma: bool) -> Parsed {
        let mut stages = Vec::new();
        loop {
            while self.word("def") {
                self.definition()?;
            }
            stages.push(self.binary(if comma { 1 } else { 2 })?);
            if !self.symbol("|")? {
                break;
            }
        }
        let last = stages.pop().unwrap_or(self.first_term);
        Ok(stages.into_iter().rev().fold(last, |rest, stage| self.add(Term::Pipe(stage, rest))))
    }

    /// `def name(argument; $argument): body;`
    fn definition(&mut self) -> Parsed<()> {
        self.expect_word("def")?;
        let Token::Word(name) = self.token else { return Err(self.unexpected("the name of a definition")) };
        self.advance()?;
        let base = self.scope.innermost();
        let mut names = Vec::new();
        if self.symbol("(")? {
            loop {
                match self.token {
                    Token::Word(name) => names.push((name, false)),
                    Token::Variable(name) => names.push((name, true)),
                    _ => return Err(self.unexpected("the name of an argument")),
                }
                self.advance()?;
                if !self.symbol(";")? {
                    break;
                }
            }
            self.expect(")")?;
        }
        self.expect(":")?;
        let index = self.table.functions.len();
        let id = self.first_function + u32::try_from(index).unwrap_or(0);
        self.table.functions.push(Function { base, arguments: Vec::new(), body: self.first_term });
        self.scope.function(name, names.len(), id);
        let mark = self.scope.mark();
        let arguments: Vec<_> = names.iter().map(|(name, _)| self.scope.argument(name)).collect();
        // `def f($a): body` is `def f(a): a as $a | body`.
        let mut bound = Vec::new();
        for ((name, _), argument) in names.iter().zip(&arguments).filter(|((_, value), _)| *value) {
            bound.push((*argument, self.scope.variable(name)));
        }
        let mut body = self.pipe()?;
        for (argument, slot) in bound.into_iter().rev() {
            let source = self.add(Term::Argument(argument));
            body = self.add(Term::Bind(source, slot, body));
        }
        self.scope.leave(mark);
        let function = &mut self.table.functions[index];
        (function.arguments, function.body) = (arguments, body);
        self.expect(";")
    }

    /// Operators at least as strong as `least`.
    fn binary(&mut self, least: u8) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let (symbol, strength) = match self.token {
                Token::Symbol(symbol) => (symbol, strength(symbol)),
                Token::Word("or") => ("or", Some(4)),
                Token::Word("and") => ("and", Some(5)),
                _ => return Ok(left),
            };
            let Some(strength) = strength.filter(|&strength| strength >= least) else { return Ok(left) };
            self.advance()?;
            let right_least = if symbol == "//" { strength } else { strength + 1 };
            let right = self.nested(|parser| parser.binary(right_least))?;
            left = self.operation(symbol, left, right);
            if matches!(strength, 3 | 6)
                && let Token::Symbol(next) = self.token
                && self::strength(next) == Some(strength)
            {
                let message = format!("`{symbol}` and `{next}` in a row: put one of them in parentheses");
                return Err(syntax(self.at, message));
            }
        }
    }

    fn operation(&mut self, symbol: &str, left: TermId, right: TermId) -> TermId {
        use Operator::{Add, Div, Eq, Ge, Gt, Le, Lt, Mul, Ne, Rem, Sub};
        let operator = match symbol {
            "," => return self.add(Term::Comma(left, right)),
            "//" => return self.add(Term::Alternative(left, right)),
            "and" => return self.add(Term::And(left, right)),
            "or" => return self.add(Term::Or(left, right)),
            "|=" => return self.add(Term::Modify(left, right)),
            "+" | "+=" => Add,
            "-" | "-=" => Sub,
            "*" | "*=" => Mul,
            "/" | "/=" => Div,
            "%" | "%=" => Rem,
            "==" => Eq,
            "!=" => Ne,
            "<" => Lt,
            "<=" => Le,
            ">" => Gt,
            ">=" => Ge,
            assign => {
                return self.assignment(left, right, |parser, value| match assign {
                    "//=" => {
                        let place = parser.add(Term::Identity);
                        parser.add(Term::Alternative(place, value))
                    }
                    _ => value,
                });
            }
        };
        if matches!(symbol, "+=" | "-=" | "*=" | "/=" | "%=") {
            return self.assignment(left, right, |parser, value| {
                let place = parser.add(Term::Identity);
                parser.add(Term::Binary(operator, place, value))
            });
        }
        self.add(Term::Binary(operator, left, right))
    }

    /// `right as $value | left |= update($value)`
    fn assignment(
        &mut self,
        left: TermId,
        right: TermId,
        update: impl FnOnce(&mut Self, TermId) -> TermId,
    ) -> TermId {
        let slot = self.scope.fresh();
        let value = self.add(Term::Variable(slot));
        let update = update(self, value);
        let modify = self.add(Term::Modify(left, update));
        self.add(Term::Bind(right, slot, modify))
    }

    /// A term with a sign, or one that binds names for all that follows.
    fn unary(&mut self) -> Parsed {
        if self.symbol("-")? {
            // As strong as `*`: `-1 * 2` is `-(1 * 2)`.
            let body = self.nested(|parser| parser.binary(8))?;
            return Ok(self.add(Term::Negate(body)));
        }
        if self.word("label") {
            self.advance()?;
            let Token::Variable(name) = self.token else { return Err(self.unexpected("`$` and a name")) };
            self.advance()?;
            self.expect("|")?;
            let mark = self.scope.mark();
            let slot = self.scope.label(name);
            let body = self.pipe()?;
            self.scope.leave(mark);
            return Ok(self.add(Term::Label(slot, body)));
        }
        let source = self.postfix()?;
        if !self.word("as") {
            return Ok(source);
        }
        self.advance()?;
        let mark = self.scope.mark();
        let pattern = self.pattern()?;
        self.expect("|")?;
        let body = self.pipe()?;
        self.scope.leave(mark);
        let body = pattern.wrap(self, body);
        Ok(self.add(Term::Bind(source, pattern.slot, body)))
    }

    /// `reduce source as $x (start; update)` and `foreach source as $x (start; update; extract)`
    fn fold(&mut self, reduce: bool) -> Parsed {
        self.advance()?;
        let source = self.nested(Self::postfix)?;
        self.expect_word("as")?;
        let mark = self.scope.mark();
        let pattern = self.pattern()?;
        self.expect("(")?;
        // The start sees none of the names, but they have slots of their own, so it does no harm that it could.
        let start = self.pipe()?;
        self.expect(";")?;
        let update = self.pipe()?;
        let extract = if reduce {
            None
        } else if self.symbol(";")? {
            let extract = self.pipe()?;
            Some(pattern.wrap(self, extract))
        } else {
            Some(self.add(Term::Identity))
        };
        self.expect(")")?;
        self.scope.leave(mark);
        let update = pattern.wrap(self, update);
        Ok(self.add(Term::Fold(Box::new(Fold { source, slot: pattern.slot, start, update, extract }))))
    }

    fn meaning(&self, name: &str, arity: usize) -> Option<Meaning> {
        let own = self.scope.find_filter(name, arity);
        own.or_else(|| self.prelude.and_then(|prelude| prelude.scope.find_filter(name, arity)))
    }

    fn number(&mut self, text: &str) -> TermId {
        let number = Num::parse(text).unwrap_or(Num::Int(0));
        self.add(Term::Constant(Constant::Num(number)))
    }

    fn variable(&mut self, name: &str, at: usize) -> Parsed {
        if let Some(slot) = self.scope.find_variable(name) {
            return Ok(self.add(Term::Variable(slot)));
        }
        if name == "__loc__" {
            return Ok(self.location(at));
        }
        if let Some(refused) = (name == "ENV").then(|| scope::refusal(name)).flatten() {
            return Err(syntax(at, refused));
        }
        let known = self.globals.iter().position(|(known, _)| **known == *name);
        let index = known.unwrap_or_else(|| {
            self.globals.push((Arc::from(name), at));
            self.globals.len() - 1
        });
        Ok(self.add(Term::Global(u32::try_from(index).unwrap_or(0))))
    }

    /// `$__loc__`
    fn location(&mut self, at: usize) -> TermId {
        let line = self.text[..at].matches('\n').count() + 1;
        let entries =
            [("file", Constant::Text("<expression>".into())), ("line", Constant::Num(Num::Int(line as i64)))];
        let entries = entries.map(|(key, value)| (self.text(key), self.add(Term::Constant(value))));
        self.add(Term::Object(entries.into()))
    }

    fn unknown(&self, name: &str, arity: usize, at: usize) -> ExpressionError {
        if let Some(refused) = scope::refusal(name) {
            return syntax(at, refused);
        }
        let prelude = self.prelude.map(|prelude| &prelude.scope);
        let scopes: Vec<_> = [Some(&self.scope), prelude].into_iter().flatten().collect();
        syntax(at, scope::unknown(name, arity, &scopes))
    }
}

/// The token's own text of a symbol: tokens are compared by value, and hold `'static` text.
fn symbol_of(symbol: &str) -> &'static str {
    super::lexer::SYMBOLS.iter().find(|known| **known == symbol).copied().unwrap_or("")
}

/// A pattern of names for the parts of a value.
struct Pattern {
    /// Where the whole value is.
    slot: Slot,
    /// Where each part is, and how to get at it; in order.
    parts: Vec<(TermId, Slot)>,
}
