//! Hides what may be a secret in a service's entry before it is printed.

use serde_json::Value;
use url::Url;

/// Words that say that a value is a secret.
const SECRET_WORDS: [&str; 7] = ["token", "secret", "password", "passwd", "apikey", "api-key", "api_key"];

/// The entry for people: values of `env` and `headers`, arguments that name a secret, and what URLs carry are `***`.
pub(super) fn hide(entry: &Value) -> Value {
    let mut entry = entry.clone();
    for connector in ["mcp", "openapi", "process"] {
        let Some(members) = entry.get_mut(connector).and_then(Value::as_object_mut) else { continue };
        for key in ["env", "headers"] {
            for value in
                members.get_mut(key).and_then(Value::as_object_mut).into_iter().flat_map(|m| m.values_mut())
            {
                hide_value(value);
            }
        }
        members.get_mut("bearer").into_iter().for_each(hide_value);
        if let Some(command) = members.get_mut("command").and_then(Value::as_array_mut) {
            hide_arguments(command);
        }
        for key in ["url", "document", "base_url"] {
            members.get_mut(key).into_iter().for_each(hide_url);
        }
    }
    entry
}

/// Whether a value is only a reference, which is no secret.
pub(super) fn is_reference(text: &str) -> bool {
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| !inner.contains(":-") && !inner.contains('}'))
}

fn hide_value(value: &mut Value) {
    if !value.as_str().is_some_and(is_reference) {
        *value = Value::String("***".to_owned());
    }
}

fn hide_arguments(command: &mut [Value]) {
    let names_secret = |text: &str| {
        let text = text.to_lowercase();
        SECRET_WORDS.iter().any(|word| text.contains(word))
    };
    let mut previous_names = false;
    for argument in command {
        let Some(text) = argument.as_str().map(str::to_owned) else { continue };
        let named = names_secret(&text);
        if previous_names && !text.starts_with('-') {
            hide_value(argument);
        } else if named && let Some((name, value)) = text.split_once(['=', ':']) {
            if !is_reference(value.trim()) {
                *argument = Value::String(format!("{name}=***"));
            }
        } else if text.contains("://") {
            hide_url(argument);
        }
        previous_names = named && text.starts_with('-') && !text.contains('=');
    }
}

fn hide_url(value: &mut Value) {
    let Some(mut url) = value.as_str().and_then(|text| Url::parse(text).ok()) else { return };
    if url.query().is_none() && url.password().is_none() && url.username().is_empty() {
        return;
    }
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    if url.password().is_some() {
        // A URL that has a password can have another.
        let _ = url.set_password(Some("***"));
    }
    *value = Value::String(url.to_string());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_a_secret_is_hidden() {
        let entry = json!({"mcp": {
            "command": ["npx", "--api-key", "M1", "--token=M2", "--name", "x", "http://u:M3@h/?k=M4", "${TOKEN}"],
            "env": {"A": "M5", "B": "${B}", "C": "${C:-M6}"},
            "headers": {"Authorization": "Bearer M7"},
            "url": "https://h/mcp?key=M8",
            "bearer": "M9",
        }});
        let hidden = hide(&entry).to_string();
        for secret in 1..=9 {
            assert!(!hidden.contains(&format!("M{secret}")), "M{secret}: {hidden}");
        }
        assert!(
            hidden.contains("\"x\"") && hidden.contains("${B}") && hidden.contains("${TOKEN}"),
            "{hidden}"
        );
    }
}
