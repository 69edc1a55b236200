//! Tests of expressions: what they mean, what they refuse, and where hostile ones end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Expression, ExpressionError, Limits, Template, expression_in};

mod hostile;
mod meaning;
mod random;

fn evaluate(text: &str, input: &Value) -> Result<Value, ExpressionError> {
    Expression::new(text).evaluate(input, &[], Limits::default())
}

fn raised(text: &str) -> String {
    match evaluate(text, &Value::Null) {
        Err(ExpressionError::Raised(message)) => message,
        other => panic!("{text}: {other:?}"),
    }
}

fn refused(text: &str) -> String {
    match Expression::new(text).check(&["context", "item"]) {
        Err(ExpressionError::Syntax { message, at }) => format!("{message} ({at})"),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn an_expression_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let expression = Expression::new(".a");
    shared(&expression);
    shared(&Template::new(json!({"a": "${ .a }"})));
    let threads = (0..4).map(|n| {
        let expression = expression.clone();
        std::thread::spawn(move || expression.evaluate(&json!({"a": n}), &[], Limits::default()))
    });
    for (n, thread) in threads.enumerate() {
        assert_eq!(thread.join().unwrap(), Ok(json!(n)));
    }
}

#[test]
fn what_would_make_a_run_unrepeatable_is_refused() {
    assert_eq!(
        refused(". | now"),
        "`now` would make a run unrepeatable; use $workflow.startedAt or $task.startedAt (4)"
    );
    for name in [
        "env",
        "$ENV",
        "input",
        "inputs",
        "input_filename",
        "input_line_number",
        "localtime",
        "halt",
        "halt_error",
        "debug",
        "debug(.)",
        "stderr",
        "strflocaltime(\"%H\")",
        "get_search_list",
        "modulemeta",
        "import \"a\" as a; .",
        "include \"a\"; .",
        "module {}; .",
    ] {
        assert!(refused(name).starts_with('`'), "{}", refused(name));
    }
    // A definition of the expression's own may have such a name.
    assert_eq!(evaluate("def now: 1; now", &Value::Null), Ok(json!(1)));
}

#[test]
fn faults_of_grammar_and_names_say_where_and_what_is_near() {
    assert_eq!(refused(".a | lenght"), "there is no function `lenght`; did you mean `length`? (5)");
    assert_eq!(refused("select(.a; .b)"), "`select` takes 1 arguments, not 2 (0)");
    assert_eq!(refused("$contxt.a"), "there is no variable `$contxt`; did you mean `$context`? (0)");
    assert_eq!(refused("$x"), "there is no variable `$x`; there are `$context`, `$item` (0)");
    assert_eq!(refused(".a +"), "expected an expression, found the end (4)");
    assert_eq!(refused("[1, 2"), "expected `]`, found the end (5)");
    assert_eq!(refused("\"abc"), "the string that starts here has no end (0)");
    assert_eq!(refused("1 == 2 == 3"), "`==` and `==` in a row: put one of them in parentheses (7)");
    assert_eq!(refused("@bas64"), "there is no format `@bas64`; did you mean `@base64`? (0)");
    assert_eq!(refused("break $out"), "there is no `label $out` around this (6)");
    assert_eq!(refused(""), "expected an expression, found the end (0)");
    assert_eq!(Expression::new("$context.a | $item").check(&["context", "item"]), Ok(()));
    assert_eq!(Expression::new("$b, $a").variables().unwrap().collect::<Vec<_>>(), ["b", "a"]);
}

#[test]
fn variables_are_found_by_name() {
    let variables = [(Arc::from("context"), json!({"n": 2}).into()), (Arc::from("item"), json!([1]).into())];
    let expression = Expression::new("$context.n + $item[0] + .");
    assert_eq!(expression.evaluate(&json!(10), &variables, Limits::default()), Ok(json!(13)));
    let missing = Expression::new("$input").evaluate(&json!(1), &variables, Limits::default());
    assert!(matches!(missing, Err(ExpressionError::Syntax { at: 0, .. })), "{missing:?}");
}

#[test]
fn conditions_are_true_unless_false_or_null() {
    let holds = |text: &str| Expression::new(text).holds(&json!({"a": 0}), &[], Limits::default());
    assert_eq!(holds(".a"), Ok(true));
    assert_eq!(holds(".b"), Ok(false));
    assert_eq!(holds(".a > 1"), Ok(false));
    assert_eq!(holds("\"\""), Ok(true));
    assert_eq!(holds("empty"), Err(ExpressionError::Empty));
}

#[test]
fn errors_say_what_was_raised() {
    assert_eq!(raised("error(\"no\")"), "no");
    assert_eq!(raised("error"), "null (null) (not a string)");
    assert_eq!(raised("error({message: \"no\", code: 1})"), "no");
    assert_eq!(raised("1 + \"a\""), "number (1) and string (\"a\") cannot be added");
    assert_eq!(raised("\"a\" | .b"), "Cannot index string with \"b\"");
    assert_eq!(raised("1 | .[]"), "Cannot iterate over number (1)");
    assert_eq!(raised("{a: 1} | keys | .[0].b"), "Cannot index string with \"b\"");
    assert_eq!(evaluate("empty", &Value::Null), Err(ExpressionError::Empty));
}

#[test]
fn only_whole_strings_are_expressions() {
    assert_eq!(expression_in("${ .a }"), Some(".a"));
    assert_eq!(expression_in("  ${.a}\n"), Some(".a"));
    assert_eq!(expression_in("a ${ .a }"), None);
    assert_eq!(expression_in("${ .a } b"), None);
    assert_eq!(expression_in(".a"), None);
    let template = Template::new(json!({
        "whole": " ${ .a } ",
        "middle": "x ${ .a }",
        "list": [1, "${ .a | length }", {"~/": "${ $item }"}],
        "${ .a }": true,
    }));
    let variables = [(Arc::from("item"), json!(null).into())];
    assert_eq!(
        template.evaluate(&json!({"a": [1, 2]}), &variables, Limits::default()),
        Ok(json!({
            "whole": [1, 2],
            "middle": "x ${ .a }",
            "list": [1, 2, {"~/": null}],
            "${ .a }": true,
        }))
    );
    let places: Vec<_> =
        template.expressions().into_iter().map(|(place, e)| (place, e.text().to_owned())).collect();
    let place = |place: &str, text: &str| (place.to_owned(), text.to_owned());
    assert_eq!(
        places,
        [place("/whole", ".a"), place("/list/1", ".a | length"), place("/list/2/~0~1", "$item")]
    );
    assert_eq!(template.source()["middle"], json!("x ${ .a }"));
    let failing = Template::new(json!(["${ 1 + }"]));
    assert!(matches!(
        failing.evaluate(&json!(1), &[], Limits::default()),
        Err(ExpressionError::Syntax { .. })
    ));
}

#[test]
fn a_template_has_its_limits_once() {
    let limits = Limits { time: Duration::from_secs(5), memory: 1 << 20 };
    let template = Template::new(json!(vec!["${ \"x\" * 100000 }"; 100]));
    let result = template.evaluate(&json!(null), &[], limits);
    assert!(matches!(result, Err(ExpressionError::Stopped(_))), "{result:?}");
}

/// Not an assertion: a figure for the reader, by `cargo test --release -- --nocapture cost_of`.
#[test]
fn cost_of_a_small_expression() {
    let input = json!({"a": {"b": 1, "c": "x"}, "list": [{"n": 1}, {"n": 2}, {"n": 3}]});
    for text in [
        ".a.b",
        ".a.b == 1 and .a.c != \"y\"",
        "{x: .a.b, y: [.list[] | .n + 1]}",
        ".list | map(select(.n > 1))",
    ] {
        let expression = Expression::new(text);
        let times = 20_000;
        let start = std::time::Instant::now();
        for _ in 0..times {
            std::hint::black_box(expression.evaluate(&input, &[], Limits::default()).unwrap());
        }
        println!("{text}: {:?}", start.elapsed() / times);
    }
}
