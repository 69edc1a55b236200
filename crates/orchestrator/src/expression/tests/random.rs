//! Random expressions: whatever they are, they end within their bounds and without a panic.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Expression, ExpressionError, Limits};

/// Terms that stand alone; functions are called besides.
const TERMS: [&str; 22] = [
    ".",
    ".a",
    ".[0]",
    ".[]",
    ".[]?",
    "..",
    ".[1:]",
    ".[:-1]",
    ".[-1]",
    "1",
    "-1",
    "1e300",
    "nan",
    "\"x\"",
    "\"é\\(.)\"",
    "[]",
    "{}",
    "null",
    "[range(4)]",
    "$x",
    "empty",
    "(0, 1)",
];

const OPERATORS: [&str; 18] =
    ["+", "-", "*", "/", "%", "==", "<", "and", "or", "//", ",", "|", "|", "|", "|=", "=", "+=", "//="];

/// Shapes with holes for expressions.
const SHAPES: [&str; 26] = [
    "[~]",
    "(try (~) catch .)",
    "(~)?",
    "if ~ then ~ else ~ end",
    "reduce (~) as $x (~; ~)",
    "[foreach (~) as $x (~; ~; ~)]",
    "((~) as $x | ~)",
    "((~) as [$x, {a: $y}] | ~)",
    "{a: (~), \"b\": (~)}",
    "{(~): 1}",
    "[label $f | (~) | ., break $f]",
    "(def f: ~; f | f)",
    "(def f(g): g | ~ | g; f(~))",
    "(def f: if length > 3 then . else ~ | f end; f)",
    "path(~)",
    "[paths(~)]",
    "first(~)",
    "[limit(3; ~)]",
    "(~)[~]?",
    "(~)[~:~]?",
    "map(~)",
    "sort_by(~)",
    "del(~)",
    "walk(~)",
    "\"\\(~)\"",
    "with_entries(~)",
];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % bound
    }

    fn expression(&mut self, depth: usize, calls: &[(String, usize)]) -> String {
        if depth == 0 || self.below(6) == 0 {
            return TERMS[self.below(TERMS.len())].to_owned();
        }
        match self.below(3) {
            0 => {
                let operator = OPERATORS[self.below(OPERATORS.len())];
                format!(
                    "({} {operator} {})",
                    self.expression(depth - 1, calls),
                    self.expression(depth - 1, calls)
                )
            }
            1 => {
                let shape = SHAPES[self.below(SHAPES.len())];
                let parts: Vec<_> = shape.split('~').collect();
                let mut text = parts[0].to_owned();
                for part in &parts[1..] {
                    text += &self.expression(depth - 1, calls);
                    text += part;
                }
                text
            }
            _ => {
                let (name, arity) = &calls[self.below(calls.len())];
                let arguments: Vec<_> = (0..*arity).map(|_| self.expression(depth - 1, calls)).collect();
                let input = self.expression(depth - 1, calls);
                if arguments.is_empty() {
                    format!("({input} | {name})")
                } else {
                    format!("({input} | {name}({}))", arguments.join("; "))
                }
            }
        }
    }
}

#[test]
fn random_expressions_end() {
    let natives = super::super::natives::TABLE.iter().map(|native| (native.name.to_owned(), native.arity));
    let defined =
        super::super::prelude::Prelude::get().scope.filters().map(|(name, arity)| (name.to_owned(), arity));
    let calls: Vec<_> = natives.chain(defined).filter(|(name, _)| !name.starts_with('_')).collect();
    let inputs = [
        json!(null),
        json!([3, 1, [2, "b"], {"a": null}]),
        json!({"a": {"b": [1, 2.5]}, "c": "xéx", "d": i64::MAX}),
        json!("a1 b2,c3"),
        json!(-1.5e300),
        json!([["a", 1], ["b", 2]]),
    ];
    let variables = [("x".into(), json!([1, {"a": "x"}]).into())];
    let limits = Limits { time: Duration::from_millis(5), memory: 256 << 10 };
    let times = std::env::var("EXPRESSIONS").map_or(1500, |times| times.parse().unwrap());
    let mut random = Random(times as u64);
    let mut ends = [0; 5];
    for _ in 0..times {
        let text = random.expression(4, &calls);
        let input = &inputs[random.below(inputs.len())];
        let result = Expression::new(&text).evaluate(input, &variables, limits);
        let end = match result {
            Ok(Value::Null) => 0,
            Ok(_) => 1,
            Err(ExpressionError::Empty) => 2,
            Err(ExpressionError::Raised(_)) => 3,
            Err(ExpressionError::Stopped(_)) => 4,
            Err(ExpressionError::Syntax { message, .. }) => panic!("{text}: {message}"),
        };
        ends[end] += 1;
    }
    println!("null, other, no value, raised, stopped: {ends:?}");
    assert!(ends.iter().all(|count| *count > 0), "{ends:?}");
}

#[test]
fn random_texts_are_refused_or_run() {
    const TOKENS: [&str; 44] = [
        ".", "a", ".a", "[", "]", "(", ")", "{", "}", ":", ";", ",", "|", "?", "//", "=", "|=", "==", "+",
        "-", "*", "as", "$x", "if", "then", "else", "end", "reduce", "foreach", "try", "catch", "def", "f",
        "label", "break", "\"", "\\(", "@json", "1", "..", " ", "#\n", "é", "::",
    ];
    let mut random = Random(7);
    let limits = Limits { time: Duration::from_millis(5), memory: 256 << 10 };
    for _ in 0..3000 {
        let text: String = (0..random.below(25)).map(|_| TOKENS[random.below(TOKENS.len())]).collect();
        _ = Expression::new(&text).evaluate(&json!({"a": [1]}), &[("x".into(), json!(1).into())], limits);
        let spaced: Vec<_> = (0..random.below(25)).map(|_| TOKENS[random.below(TOKENS.len())]).collect();
        _ = Expression::new(&spaced.join(" ")).evaluate(&json!({"a": [1]}), &[], limits);
    }
}
