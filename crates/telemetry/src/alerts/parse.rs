//! PromQL is read. What is not known is an error that names it.

use std::time::Duration;

use regex_automata::meta::Regex;

use super::promql::{
    Aggregate, Binary, Expr, Function, Grouping, Matcher, Operator, OverTime, Selector, With,
};

/// The longest expression, in bytes, and how deep it may nest.
const MAX_LENGTH: usize = 8 << 10;
const MAX_DEPTH: usize = 64;

/// The largest regular expression, compiled.
const MAX_PATTERN: usize = 256 << 10;

/// Reads an expression.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn parse(text: &str) -> Result<Expr, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("the expression is longer than {MAX_LENGTH} bytes"));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expr = parser.binary(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(token) => Err(format!("{token:?} is not expected where it stands")),
    }
}

/// Reads a duration of Prometheus: `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 5m or 1h30m");
    let (mut rest, mut millis) = (text, 0_u64);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let units = units.into_iter().chain([("w", 604_800_000), ("y", 31_536_000_000)]);
        let found = units.filter(|(unit, _)| rest.starts_with(unit)).max_by_key(|(unit, _)| unit.len());
        let (unit, size) = found.ok_or_else(wrong)?;
        millis = number.checked_mul(size).and_then(|more| millis.checked_add(more)).ok_or_else(wrong)?;
        rest = &rest[unit.len()..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(millis)) }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Duration(Duration),
    Name(String),
    Text(String),
    Sign(&'static str),
}

const SIGNS: [&str; 20] = [
    "==", "!=", ">=", "<=", "=~", "!~", "=", ">", "<", "+", "-", "*", "/", "%", "(", ")", "{", "}", "[", "]",
];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix('#') {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
            continue;
        }
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        if first == ',' {
            tokens.push(Token::Sign(","));
            rest = &rest[1..];
        } else if first.is_ascii_digit()
            || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
            let word = &rest[..end];
            tokens.push(match word.parse() {
                Ok(number) => Token::Number(number),
                Err(_) => Token::Duration(duration(word)?),
            });
            rest = &rest[end..];
        } else if first.is_alphabetic() || first == '_' || first == ':' {
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            tokens.push(Token::Name(rest[..end].to_owned()));
            rest = &rest[end..];
        } else if matches!(first, '"' | '\'') {
            let (text, after) = quoted(&rest[1..], first)?;
            tokens.push(Token::Text(text));
            rest = after;
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| format!("{first:?} is not known here"))?;
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        }
    }
}

fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let (mut out, mut characters) = (String::new(), text.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, plain @ ('\\' | '"' | '\''))) => out.push(plain),
                _ => return Err("a text has an escape that is not known".to_owned()),
            },
            end if end == quote => return Ok((out, &text[at + 1..])),
            plain => out.push(plain),
        }
    }
    Err("a text does not end".to_owned())
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Sign(known)) if *known == sign);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.sign(sign) { Ok(()) } else { Err(format!("{sign:?} is missing before {:?}", self.peek())) }
    }

    fn word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Name(name)) if name.eq_ignore_ascii_case(word));
        self.at += usize::from(is);
        is
    }

    /// The operator that comes next, and how strongly it binds.
    fn operator(&self) -> Option<(Operator, u8)> {
        use Operator as O;
        Some(match self.peek()? {
            Token::Name(name) => match name.to_ascii_lowercase().as_str() {
                "or" => (O::Or, 1),
                "and" => (O::And, 2),
                "unless" => (O::Unless, 2),
                _ => return None,
            },
            Token::Sign(sign) => match *sign {
                "==" => (O::Eq, 3),
                "!=" => (O::Ne, 3),
                ">" => (O::Gt, 3),
                "<" => (O::Lt, 3),
                ">=" => (O::Ge, 3),
                "<=" => (O::Le, 3),
                "+" => (O::Add, 4),
                "-" => (O::Sub, 4),
                "*" => (O::Mul, 5),
                "/" => (O::Div, 5),
                "%" => (O::Mod, 5),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn binary(&mut self, least: u8) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the expression nests too deeply".to_owned());
        }
        let mut left = self.unary()?;
        while let Some((operator, binds)) = self.operator().filter(|(_, binds)| *binds > least) {
            self.at += 1;
            let bool = self.word("bool");
            let on = if self.word("on") {
                Some(Grouping { labels: self.names()?, without: false })
            } else if self.word("ignoring") {
                Some(Grouping { labels: self.names()?, without: true })
            } else {
                None
            };
            if self.word("group_left") || self.word("group_right") {
                return Err("group_left and group_right are not known here".to_owned());
            }
            let right = self.binary(binds)?;
            left = Expr::Binary(Binary { operator, bool, on }, Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, String> {
        if self.sign("-") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err("the expression nests too deeply".to_owned());
            }
            let inner = self.unary()?;
            self.depth -= 1;
            return Ok(Expr::Negate(Box::new(inner)));
        }
        match self.next() {
            Some(Token::Number(number)) => Ok(Expr::Number(number)),
            Some(Token::Sign("(")) => {
                let inner = self.binary(0)?;
                self.expect(")")?;
                Ok(inner)
            }
            Some(Token::Name(name)) => self.named(name),
            other => Err(format!("{other:?} is not expected where it stands")),
        }
    }

    fn named(&mut self, name: String) -> Result<Expr, String> {
        if let Some(aggregate) = aggregate(&name) {
            let mut grouping = self.grouping()?;
            self.expect("(")?;
            let inner = self.binary(0)?;
            self.expect(")")?;
            if grouping.is_none() {
                grouping = self.grouping()?;
            }
            return Ok(Expr::Aggregate(aggregate, grouping.unwrap_or_default(), Box::new(inner)));
        }
        if matches!(self.peek(), Some(Token::Sign("("))) {
            return self.call(&name);
        }
        Ok(Expr::Select(self.selector(name)?))
    }

    fn call(&mut self, name: &str) -> Result<Expr, String> {
        self.expect("(")?;
        if let Some(over) = over_time(name) {
            let Some(Token::Name(metric)) = self.next() else {
                return Err(format!("{name} needs a series with a time, such as x[5m]"));
            };
            let selector = self.selector(metric)?;
            self.expect("[")?;
            let Some(Token::Duration(range)) = self.next() else {
                return Err(format!("{name} needs a time, such as [5m]"));
            };
            self.expect("]")?;
            self.expect(")")?;
            return Ok(Expr::OverTime(over, selector, range));
        }
        let (function, count) =
            function(name).ok_or_else(|| format!("the function {name:?} is not known here"))?;
        let mut arguments = Vec::new();
        while !self.sign(")") {
            if !arguments.is_empty() {
                self.expect(",")?;
            }
            arguments.push(self.binary(0)?);
        }
        if arguments.len() != count {
            return Err(format!("{name} takes {count} arguments"));
        }
        Ok(Expr::Call(function, arguments))
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, String> {
        let without = if self.word("by") {
            false
        } else if self.word("without") {
            true
        } else {
            return Ok(None);
        };
        Ok(Some(Grouping { labels: self.names()?, without }))
    }

    fn names(&mut self) -> Result<Vec<String>, String> {
        self.expect("(")?;
        let mut names = Vec::new();
        while !self.sign(")") {
            if !names.is_empty() {
                self.expect(",")?;
            }
            match self.next() {
                Some(Token::Name(name)) => names.push(name),
                other => return Err(format!("{other:?} is no label")),
            }
        }
        Ok(names)
    }

    fn selector(&mut self, name: String) -> Result<Selector, String> {
        let mut matchers = Vec::new();
        if self.sign("{") {
            while !self.sign("}") {
                if !matchers.is_empty() {
                    self.expect(",")?;
                }
                let Some(Token::Name(label)) = self.next() else {
                    return Err("a label is missing".to_owned());
                };
                let Some(Token::Sign(sign)) = self.next() else {
                    return Err("a comparison is missing".to_owned());
                };
                let Some(Token::Text(text)) = self.next() else { return Err("a text is missing".to_owned()) };
                let with = match sign {
                    "=" | "!=" => With::Text(text),
                    "=~" | "!~" => With::Pattern(pattern(&text)?),
                    other => return Err(format!("{other:?} compares no labels")),
                };
                matchers.push(Matcher { label, with, not: sign.starts_with('!') });
            }
        }
        if matches!(self.peek(), Some(Token::Name(word)) if word == "offset") {
            return Err("offset is not known here".to_owned());
        }
        Ok(Selector { name, matchers })
    }
}

fn pattern(text: &str) -> Result<Regex, String> {
    let config = Regex::config().nfa_size_limit(Some(MAX_PATTERN));
    let built = Regex::builder().configure(config).build(&format!("^(?s:{text})$"));
    built.map_err(|_| format!("{text:?} is no regular expression, or too large a one"))
}

fn aggregate(name: &str) -> Option<Aggregate> {
    Some(match name {
        "sum" => Aggregate::Sum,
        "avg" => Aggregate::Avg,
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        "count" => Aggregate::Count,
        _ => return None,
    })
}

fn over_time(name: &str) -> Option<OverTime> {
    Some(match name {
        "rate" => OverTime::Rate,
        "increase" => OverTime::Increase,
        "avg_over_time" => OverTime::Avg,
        "min_over_time" => OverTime::Min,
        "max_over_time" => OverTime::Max,
        "sum_over_time" => OverTime::Sum,
        "count_over_time" => OverTime::Count,
        _ => return None,
    })
}

fn function(name: &str) -> Option<(Function, usize)> {
    Some(match name {
        "histogram_quantile" => (Function::HistogramQuantile, 2),
        "absent" => (Function::Absent, 1),
        "abs" => (Function::Abs, 1),
        "ceil" => (Function::Ceil, 1),
        "floor" => (Function::Floor, 1),
        "clamp_min" => (Function::ClampMin, 2),
        "clamp_max" => (Function::ClampMax, 2),
        "vector" => (Function::Vector, 1),
        "time" => (Function::Time, 0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_known_is_named() {
        for (text, part) in [
            ("x offset 5m", "offset"),
            ("predict_linear(x[5m], 3)", "predict_linear"),
            ("x * on (a) group_left y", "group_left"),
            ("rate(x)", "["),
            ("sum by (x", "missing"),
            ("x{a=~\"(\"}", "regular expression"),
            ("1 +", "not expected"),
            ("x ^ 2", "'^'"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(duration("1h30m").unwrap().as_secs(), 5_400);
        assert!(duration("5").is_err() && duration("").is_err() && duration("5x").is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[-+*/a-c0-9(){}\\[\\]\"=~!<>, .#^and by]{0,60}") {
            let _ = parse(&text);
        }
    }
}
