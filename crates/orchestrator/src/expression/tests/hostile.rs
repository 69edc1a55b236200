//! Expressions that would run for ever, fill memory, or recurse without end: each is stopped or raises an error.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Expression, ExpressionError, Limits};

fn limits() -> Limits {
    Limits { time: Duration::from_millis(40), memory: 2 << 20 }
}

fn run(text: &str, input: &Value) -> Result<Value, ExpressionError> {
    Expression::new(text).evaluate(input, &[], limits())
}

fn stopped(text: &str) -> String {
    match run(text, &json!({"a": [1, 2, 3]})) {
        Err(ExpressionError::Stopped(why)) => why,
        other => shown(&other),
    }
}

/// The beginning of a result.
fn shown(result: &Result<Value, ExpressionError>) -> String {
    format!("{result:?}").chars().take(300).collect()
}

/// Checks that each is stopped with some of these words.
fn all_stopped(texts: &[&str], words: &[&str]) {
    let wrong = texts.iter().map(|text| (text, stopped(text)));
    let wrong: Vec<_> = wrong.filter(|(_, why)| !words.iter().any(|word| why.starts_with(word))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const TIME: &str = "it ran longer than 40 ms";
const MEMORY: &str = "it needs more than 2 MiB of memory";
const DEPTH: &str = "a value may be nested at most 100 levels deep";

#[test]
fn what_runs_for_ever_is_stopped() {
    let texts = [
        "def f: f; f",
        "last(range(1e12))",
        "until(false; .)",
        "first(range(1; infinite) | select(. < 0))",
        "[limit(1e10; empty, (range(1e10) | empty))]",
        "reduce range(1e12) as $i (0; . + $i)",
        "last(foreach range(1e12) as $i (0; . + 1))",
        "last(repeat(1))",
        "label $x | last(while(true; .))",
        "any(range(1e12); . < 0)",
        "[.a[] as $x | .a[] | range(1e9) | select(false)]",
        "first(range(1e9) | try error(\"x\") catch empty)",
        "isempty(range(1e12) | empty)",
        "path(last(def f: ., f; f))",
        "reduce range(1e12) as $i ({}; .a = $i)",
        "[range(1000)] | map(select(. >= 0)) as $x | $x - ($x | map(. + 5000)) | until(false; . - $x + $x)",
        "[range(100)] | sort_by(until(false; .))",
        "([range(10000)] | indices([range(5000)])) as $x | until(false; $x)",
        "range(1e12) as $x | select($x < 0)",
    ];
    all_stopped(&texts, &[TIME]);
}

#[test]
fn what_fills_memory_is_stopped() {
    let texts = [
        "[range(1e12)]",
        "[limit(1e10; repeat(1))]",
        "\"x\" * 1e9",
        "\"x\" * 1e300",
        "reduce range(1e9) as $i ([]; . + [$i])",
        "reduce range(1e9) as $i (\"\"; . + \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\")",
        "reduce range(1e9) as $i ({}; .[$i | tostring] = $i)",
        "\"x\" | until(false; . + .)",
        "[1] | until(false; . + .)",
        ".a[1e9] = 1",
        "setpath([\"b\", 1e9]; 1)",
        "null | .[1e18] = 1",
        "null | .[536870911] |= 1",
        "[range(20000)] | [., ., ., .] | tojson | until(false; . * 2)",
        "\"x\" * 1000000 | explode",
        "\"x\" * 1000000 | @base32 | @base32",
        "\"<\" * 1000000 | @html",
        "\"'\" * 1000000 | @sh",
        "\"é\" * 500000 | @uri",
        "\"x\" * 1500000 | @base64",
        "\"\\u0001\" * 1000000 | tojson",
        "\"x\" * 1000000 | split(\"\")",
        "[\"x\" * 100000] | [.[], .[], .[]] | join(\"y\" * 1000000)",
        "[range(10) | \"x\" * 100000] | map(tojson) | add | . + .",
        "[range(8)] | [., ., ., ., ., ., ., .] | [combinations]",
        "[limit(1e9; .a | combinations(20))]",
        "\"x\" * 500000 | [match(\"x\"; \"g\")]",
        "\"x\" * 500000 | gsub(\"\"; \"xxxxxxxxxx\")",
        "\"[1,1,1,1,1,1,1,1]\" | fromjson | tojson | \"[\" + (. + \",\") * 20000 + \"1]\" | fromjson",
        "[range(30000)] | map({a: ., b: ., c: .})",
        "[range(30000)] | to_entries? // with_entries(.)? // map([.]) | map([., .])",
        "[range(40000)] | [., .] | transpose | transpose | map(tostring)",
    ];
    all_stopped(&texts, &[MEMORY, TIME]);
}

#[test]
fn what_recurses_without_end_is_stopped() {
    let texts = [
        "def f: (., 1) | f; f",
        "def f: 1 + f; f",
        "def f: f + 1; f",
        "def f: [f]; f",
        "def f: {a: f}; f",
        "def f: f | .; f",
        "def f: f | f; f",
        "def f: try f catch .; f",
        "def f: f // 1; f",
        "def f: if f then 1 else 2 end; f",
        "def f: . as $x | [f, $x]; f",
        "def f: reduce f as $x (0; .); f",
        "def f: .b |= f; f",
        "def f: path(f); f",
        "def f: label $x | f | break $x; f",
        "def f: first(f); f",
        "def f(g): f(g | g); f(.)",
        "def f(g): f(g, 1) | g; f(.)",
        "def f(g): g | f(g | [., 1] | .[0]); f(.)",
        "def f: . , (f | f); [f]",
        "[recurse([.])]",
        "[recurse(., .)]",
        "0 | last(recurse(. + 1; true))",
        "last(recurse(.; true))",
        "path(def f: .b | f; f)",
        "path(def f: .[0:] | f; .a | f)",
        "path(last(repeat(.b)))",
        "reduce range(1e9) as $i (null; [.])",
        "reduce range(1e9) as $i (null; {a: .})",
        "null | until(false; {a: [.]})",
        "def f(x): if x > 1e9 then x else f(x + 1) end; f(0)",
    ];
    all_stopped(&texts, &[MEMORY, TIME, DEPTH]);
}

#[test]
fn long_lists_of_the_evaluator_are_dropped_without_recursion() {
    // Each builds a list of the evaluator's own as long as memory lets it: of arguments, of continuations, of paths.
    let limits = Limits { time: Duration::from_secs(20), memory: 256 << 20 };
    for text in [
        "def f($n; g): if $n == 0 then 1 else f($n - 1; g | .) end; f(100000; .)",
        "def f: if . == 0 then 1 else (. - 1 | f) + 0 end; 100000 | f",
        "first(path(def f($n): if $n == 0 then . else .a | f($n - 1) end; f(100000))) | length",
        "def f($n): if $n == 0 then 1 else . as $x | f($n - 1) end; f(100000)",
    ] {
        let result = Expression::new(text).evaluate(&Value::Null, &[], limits);
        assert!(
            matches!(&result, Ok(Value::Number(_)) | Err(ExpressionError::Stopped(_))),
            "{text}: {}",
            shown(&result)
        );
    }
}

#[test]
fn shared_parts_are_not_written_out() {
    let mut wrong = Vec::new();
    let doubled = vec!["[., .]"; 60].join(" | ");
    for end in [
        "tojson",
        ".",
        "tostring",
        "@json",
        "flatten",
        "[..] | length",
        "[paths] | length",
        ". == (. | map(.))",
        "sort",
        "unique",
        "walk(.)",
        "[leaf_paths]",
        "tojson | fromjson",
        "del(.. | select(. == 7))",
        "[tostream]",
        "contains([[[7]]])",
        "map_values(.) | @text",
        "group_by(.)",
        "[.[] | tostring]",
        "error(.)",
        "(.. |= .)",
    ] {
        let result = run(&format!("{doubled} | {end}"), &json!(1));
        // Some can tell without looking at every part.
        let fine = match &result {
            Err(ExpressionError::Stopped(_)) => true,
            Err(ExpressionError::Raised(message)) => end.starts_with("error") && message.len() < 200,
            Ok(value) => value.is_boolean(),
            _ => false,
        };
        if !fine {
            wrong.push(format!("{end}: {}", shown(&result)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn deep_values_are_refused() {
    let nested = "[".repeat(10_000) + &"]".repeat(10_000);
    let result = run("fromjson", &json!(nested));
    assert!(matches!(result, Err(ExpressionError::Stopped(_) | ExpressionError::Raised(_))), "{result:?}");
    assert!(stopped("reduce range(101) as $i (0; [.])").contains("100 levels"));
    assert!(run("reduce range(100) as $i (0; [.])", &json!(1)).is_ok());
    assert!(stopped("null | setpath([range(1000) | \"a\"]; 1)").contains("100 levels"));
    assert!(run("getpath([range(1000) | \"a\"])", &json!(null)).is_ok());
    assert!(stopped("delpaths([[range(1000) | \"a\"]])").contains("100 levels"));
    // A value that came in deep can be read, not given out.
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!([deep]);
    }
    assert!(run(".[0][0] | length", &deep).is_ok());
    assert!(matches!(run(".", &deep), Err(ExpressionError::Stopped(_))));
    assert!(matches!(run("[.] | . == [.]", &deep), Ok(Value::Bool(false))));
    for text in ["flatten", "tojson", "sort", "walk(.)", "[..] | length", "[paths] | length", "map_values(.)"]
    {
        let result = run(text, &deep);
        assert!(matches!(result, Ok(_) | Err(ExpressionError::Stopped(_))), "{text}: {result:?}");
    }
}

#[test]
fn hostile_texts_are_refused() {
    let texts = [
        "(".repeat(20_000),
        "[".repeat(20_000) + &"]".repeat(20_000),
        "-".repeat(20_000) + "1",
        "{a:".repeat(10_000),
        "\"\\(".repeat(10_000),
        "if . then ".repeat(6_000),
        "def f: ".repeat(6_000),
        ". as $x | ".repeat(5_000) + ".",
        "reduce . as $x (".repeat(3_000),
        "try ".repeat(10_000) + "1",
        "label $x | ".repeat(5_000) + "1",
        ". as [".repeat(5_000),
        ". as {a: ".repeat(5_000),
        "1 // ".repeat(10_000) + "1",
        "x(".repeat(10_000),
        ".[".repeat(10_000),
        "1".repeat(70_000),
        "\u{0}".to_owned(),
        "é".to_owned(),
        "\"\\u12".to_owned(),
        "\"\\ud800\\u".to_owned(),
        "\"\\u12é4\"".to_owned(),
        "\"\\é\"".to_owned(),
    ];
    for text in texts {
        let result = run(&text, &json!(null));
        let shown: String = text.chars().take(30).collect();
        assert!(matches!(result, Err(ExpressionError::Syntax { .. })), "{shown}: {result:?}");
    }
    // Long, but flat.
    for text in [
        "1 + ".repeat(10_000) + "1",
        ". | ".repeat(10_000) + "1",
        ".a".repeat(10_000),
        "1, ".repeat(10_000) + "1",
        format!("[{}1]", "1, ".repeat(10_000)),
        "def f: 1; ".repeat(3_000) + "f",
        ".[0]?".repeat(5_000) + " | 1",
    ] {
        let result = run(&text, &json!(null));
        let shown: String = text.chars().take(30).collect();
        assert!(matches!(result, Ok(_) | Err(ExpressionError::Empty)), "{shown}: {result:?}");
    }
}

#[test]
fn hostile_patterns_end() {
    let mut wrong = Vec::new();
    for text in [
        "\"a\" * 5000 | test(\"(a*)*b\")",
        "\"a\" * 5000 | test(\"(a|a)*(a|aa)*$b\")",
        "\"x\" | test(\"a{1000}{1000}\")",
        "\"x\" | test(\"((a{100}){100}){100}\")",
        "\"x\" | test(\"(\" * 1000)",
        "\"x\" | test(\"(\" * 200 + \")\" * 200)",
        "\"x\" | test(\"\\\\w{500}\" * 3)",
        "\"x\" | test(\"a?\" * 900 + \"a\" * 900)",
        "\"a\" * 20000 | [match(\"(a+)+b\"; \"g\")]",
        "\"a\" * 2000 | [match(\"(?:a|b|ab)*c\"; \"g\")] | length",
        "\"x\" * 3000 | test(.)",
        "\"x\" | test(\"[\\\\w\\\\W]\" * 200; \"i\")",
        "\"x\" | test(\"[\\\\w\\\\W]\" * 13; \"i\")",
        "\"x\" | test(\"[^a]\" * 30; \"i\")",
        "\"x\" | test(\"[ -\u{10ffff}]\" * 30; \"i\")",
        "\"x\" | test(\"x\"; \"q\" * 1000)",
        "\"x\" | test(\"(?P<\" + \"n\" * 1000)",
    ] {
        let result = run(text, &json!(null));
        let fine = match &result {
            Ok(value) => value.is_boolean() || value == &json!(0) || value == &json!([]),
            Err(ExpressionError::Stopped(_)) => true,
            Err(ExpressionError::Raised(message)) => message.len() <= 6000,
            _ => false,
        };
        if !fine {
            wrong.push(format!("{text}: {}", shown(&result)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn odd_numbers_do_no_harm() {
    let mut wrong = Vec::new();
    for (text, expected) in [
        ("pow(2; 1e9)", json!(f64::MAX)),
        ("\"9\" * 1000000 | tonumber", json!(f64::MAX)),
        ("1e1000 | tojson", json!("1.7976931348623157e+308")),
        (
            "[nan, infinite, -infinite] | tojson",
            json!("[null,1.7976931348623157e+308,-1.7976931348623157e+308]"),
        ),
        ("[.[nan]?, .[infinite]?, .[-infinite]?]", json!([null, null, null])),
        ("[1, 2] | .[nan:infinite], .[infinite:]", json!([1, 2])),
        ("[limit(nan; 1, 2)]", json!([1, 2])),
        ("[range(0; 3; nan)]", json!([])),
        ("5 % infinite, 5 % -9223372036854775808", json!(5)),
        ("-9223372036854775808 % -1", json!(0)),
        ("-9223372036854775808 / -1", json!(9_223_372_036_854_775_808u64 as f64)),
        ("-(-9223372036854775808)", json!(9_223_372_036_854_775_808u64 as f64)),
        ("-9223372036854775808 | abs", json!(9_223_372_036_854_775_808u64 as f64)),
        ("[.[1e300]?]", json!([null])),
        ("try (1 / 0) catch \"zero\"", json!("zero")),
        ("try (1 % 0) catch \"zero\"", json!("zero")),
        ("try (1 % 0.5) catch \"zero\"", json!("zero")),
        ("try ([1e400] | implode) catch \"no\"", json!("no")),
        ("try ([55296] | implode) catch \"no\"", json!("no")),
        ("try ([-1] | implode) catch \"no\"", json!("no")),
        ("try (1e300 | todate) catch \"no\"", json!("no")),
        ("try ([1e300, nan, -1, 0, 0, infinite] | mktime) catch \"no\"", json!("no")),
        ("try (0 | strftime(\"%\" * 10000)) catch \"no\"", json!("no")),
        ("try (0 | strftime(\"%q%!\")) catch \"no\"", json!("no")),
        ("try (0 | strftime(\"%999999999999d\")) catch \"no\"", json!("no")),
        ("try ([1][-5] = 2) catch \"no\"", json!("no")),
        ("ltrimstr(1), 1", json!(null)),
        ("limit(1; error)?, 1", json!(1)),
    ] {
        let result = run(text, &json!(null));
        if result != Ok(expected) {
            wrong.push(format!("{text}: {}", shown(&result)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(matches!(run("limit(1; error)", &json!(null)), Err(ExpressionError::Raised(_))));
}
