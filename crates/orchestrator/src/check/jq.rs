//! Whether expressions compile, and text with expressions within is meant as it is written.

use serde_json::{Value, json};

use crate::expression::{Expression, ExpressionError};
use crate::workflow::node::{Log, marked, strip};
use crate::workflow::text::texts;

use super::Finding;

/// The variables that the language gives to every expression.
pub(super) const VARIABLES: [&str; 8] =
    ["context", "input", "output", "secrets", "task", "workflow", "runtime", "authorization"];

/// Notes that an expression, with or without marks, does not compile.
pub(super) fn expression(text: &str, path: &str, variables: &[&str], log: &Log) {
    if let Err(error) = Expression::new(strip(text)).check(variables) {
        log.note(|| broken(text, path, &error));
    }
}

fn broken(text: &str, path: &str, error: &ExpressionError) -> Finding {
    let (message, place) = match error {
        ExpressionError::Syntax { message, at } => (message.clone(), format!(", wrong at byte {at}")),
        other => (other.to_string(), String::new()),
    };
    let finding = Finding::error(path, format!("this is no jq: {message}"))
        .expected(format!("jq{place} of {:?}", strip(text)))
        .found(&Value::from(text));
    match interpolated(text) {
        Some(meant) => finding.patch(json!([{"op": "replace", "path": path, "value": meant}])),
        None => finding,
    }
}

/// Checks every expression in a template, and text that only contains one.
pub(super) fn template(value: &Value, path: &str, variables: &[&str], log: &Log) {
    texts(value, &mut path.to_owned(), &mut |path, text| {
        if marked(text).is_some() {
            return expression(text, path, variables, log);
        }
        if let Some(meant) = interpolated(text) {
            log.note(|| {
                Finding::warning(path, "an expression within text is not computed")
                    .expected("text wholly of the form ${ jq }, as jq puts text together itself")
                    .found(&Value::from(text))
                    .patch(json!([{"op": "replace", "path": path, "value": meant}]))
            });
        }
    });
}

/// Text with expressions within, as one expression that puts it together; `None` where there are none, or where the
/// whole is one.
fn interpolated(text: &str) -> Option<String> {
    let mut jq = String::new();
    let (mut rest, mut count, mut plain) = (text, 0, 0);
    while let Some(start) = rest.find("${") {
        let body = &rest[start + 2..];
        let end = closing(body)?;
        let literal = Value::from(&rest[..start]).to_string();
        plain += start;
        jq.push_str(&literal[1..literal.len() - 1]);
        jq.push_str(&format!("\\({})", body[..end].trim()));
        count += 1;
        rest = &body[end + 1..];
    }
    let literal = Value::from(rest).to_string();
    jq.push_str(&literal[1..literal.len() - 1]);
    (count > 1 || (count == 1 && plain + rest.len() > 0)).then(|| format!("${{ \"{jq}\" }}"))
}

/// Where the brace is closed that was opened before this text.
fn closing(text: &str) -> Option<usize> {
    let (mut open, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => open += 1,
            b'}' if !quoted && open == 0 => return Some(at),
            b'}' if !quoted => open -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_expressions_within_becomes_one_expression() {
        let meant = |text| interpolated(text);
        assert_eq!(meant("Hello ${ .name }!").as_deref(), Some(r#"${ "Hello \(.name)!" }"#));
        assert_eq!(meant("${ .a }-${ {a: \"}\"}.a }").as_deref(), Some(r#"${ "\(.a)-\({a: "}"}.a)" }"#));
        assert_eq!(meant("say \"${ .a }\"").as_deref(), Some(r#"${ "say \"\(.a)\"" }"#));
        assert_eq!(meant("${ .a }"), None);
        assert_eq!(meant("plain"), None);
        assert_eq!(meant("${ open"), None);
    }
}
