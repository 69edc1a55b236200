//! Arguments and results as they may stand in spans: what looks like a secret is left out, and the rest has a bound.

use serde_json::Value;
use trunkline_model::Json;

/// The longest text of arguments or a result, in bytes.
const MAX_TEXT: usize = 4_096;

/// What stands for what is left out.
const HIDDEN: &str = "***";

/// Parts of the names of members that hold secrets, in lower case and without `-` and `_`.
const SECRET_NAMES: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "privatekey",
    "accesskey",
    "signature",
    "sessionid",
    "pincode",
];

/// How texts begin that are secrets wherever they stand.
const SECRET_TEXTS: [&str; 10] =
    ["bearer ", "basic ", "sk-", "ghp_", "gho_", "github_pat_", "xoxb-", "xoxp-", "akia", "-----begin "];

/// JSON as text, without what looks like a secret, up to a bound.
#[must_use]
pub fn redacted(json: &Json) -> String {
    let mut value = json.to_value();
    hide(&mut value);
    let mut text = value.to_string();
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Puts `***` in the place of what looks like a secret.
pub fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if is_secret_name(name) && !value.is_null() {
                    *value = Value::from(HIDDEN);
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::String(text) if is_secret_text(text) => HIDDEN.clone_into(text),
        // A document within a text: what tools answer with.
        Value::String(text) if text.starts_with(['{', '[']) => {
            if let Ok(mut inner) = serde_json::from_str::<Value>(text) {
                hide(&mut inner);
                *text = inner.to_string();
            }
        }
        _ => {}
    }
}

fn is_secret_name(name: &str) -> bool {
    let plain: String =
        name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect::<String>().to_lowercase();
    SECRET_NAMES.iter().any(|secret| plain.contains(secret))
}

fn is_secret_text(text: &str) -> bool {
    let start: String = text.trim_start().chars().take(16).collect::<String>().to_lowercase();
    let jwt = text.starts_with("eyJ") && text.matches('.').count() == 2 && !text.contains(' ');
    jwt || SECRET_TEXTS.iter().any(|secret| start.starts_with(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_left_out_wherever_it_stands() {
        let json = Json::parse(
            r#"{"user": "ada", "api_key": "k", "deep": [{"Access-Token": 7, "note": "Bearer abc"}],
                "text": "{\"password\": \"p\", \"n\": 1}", "plain": "the token ring"}"#,
        );
        let text = redacted(&json.unwrap());
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["user"], "ada");
        assert_eq!(value["api_key"], HIDDEN);
        assert_eq!(value["deep"][0], serde_json::json!({"Access-Token": HIDDEN, "note": HIDDEN}));
        assert_eq!(value["text"], r#"{"password":"***","n":1}"#);
        assert_eq!(value["plain"], "the token ring");
        let long = Json::from_value(&Value::from("ä".repeat(10_000)));
        assert!(redacted(&long).len() <= MAX_TEXT + 4);
    }
}
