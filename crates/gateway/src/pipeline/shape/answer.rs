//! An answer within its caller's budget: what was selected of it, in fewer tokens where it is too long, and a handle to the rest.

use serde_json::{Value, json};
use trunkline_model::{Json, Principal, ToolResult};
use trunkline_orchestrator::expression::{Expression, Limits};

use super::shrink::shrunk;
use crate::Gateway;
use crate::meta_tools::{READ, tokens};

/// What is left of a budget for the words about what is left out.
const WORDS: usize = 60;

/// The least that an answer may be asked to be kept within.
const LEAST: usize = 100;

/// The longest jq expression, in bytes.
const LONGEST_SELECT: usize = 4 << 10;

/// How a caller wants an answer.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The most tokens; as configured where left out.
    pub most_tokens: Option<usize>,
    /// What of it, as jq.
    pub select: Option<String>,
    /// It is taken out of the tool's own form: a program that knows the tool's output schema does not read it.
    pub free: bool,
}

impl Wish {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.most_tokens.is_none() && self.select.is_none()
    }
}

impl Gateway {
    /// The answer as its caller can take it. `handle` is that of the whole, where it is kept already; `schema` says that the tool
    /// promises a form of its structured content.
    pub(crate) fn shaped(
        &self,
        result: ToolResult,
        wish: &Wish,
        budget: Option<usize>,
        schema: bool,
        principal: &Principal,
        handle: Option<&str>,
    ) -> ToolResult {
        let budget = wish.most_tokens.or(budget).map_or(usize::MAX, |budget| budget.max(LEAST));
        if wish.select.is_none() && tokens(result.body.len()) <= budget {
            return result;
        }
        let body = result.body.to_value();
        let document = document(&body);
        let mut notes = Vec::new();
        let mut selected = None;
        if let Some(select) = &wish.select {
            match select_of(select, document.as_ref().unwrap_or(&body["content"])) {
                Ok(value) => selected = Some(value),
                Err(why) => notes.push(format!("The selection gave nothing: {why}")),
            }
        }
        let narrowed = selected.is_some();
        let room = budget.saturating_sub(WORDS);
        let (content, whole) = match selected.or(document) {
            Some(value) => of_value(value, room),
            None => of_blocks(&body["content"], room),
        };
        // Who has read the whole in another form has lost nothing.
        if whole
            && !narrowed
            && notes.is_empty()
            && tokens(content.to_string().len()) > tokens(result.body.len())
        {
            return result;
        }
        if !whole || narrowed || !notes.is_empty() {
            let size = tokens(result.body.len());
            let new = || self.results.keep(&(self.sources.random_id)(), principal, &result.body);
            let handle = handle.map_or_else(new, ToOwned::to_owned);
            let cut = if whole { "" } else { "Shortened. " };
            notes.push(format!(
                "{cut}All of it (about {size} tokens): {READ} {{\"handle\": \"{handle}\"}} with \"select\" (jq) or \"offset\"."
            ));
        }
        let mut content = content;
        if let Some(blocks) = content.as_array_mut().filter(|_| !notes.is_empty()) {
            blocks.push(json!({"type": "text", "text": notes.join(" ")}));
        }
        let mut shaped = body;
        shaped["content"] = content;
        let programs_read_it = schema && !wish.free;
        if let Some(members) = shaped.as_object_mut().filter(|_| !programs_read_it) {
            members.remove("structuredContent");
        }
        ToolResult { body: Json::from_value(&shaped), is_error: result.is_error, freshness: result.freshness }
    }
}

/// The value that an answer is: its structured content, or its only text where that is JSON.
pub(crate) fn document(body: &Value) -> Option<Value> {
    if let Some(structured) = body.get("structuredContent").filter(|value| !value.is_null()) {
        return Some(structured.clone());
    }
    let [only] = body["content"].as_array()?.as_slice() else { return None };
    let text = only.get("text")?.as_str()?;
    let value: Value = serde_json::from_str(text).ok()?;
    (value.is_object() || value.is_array()).then_some(value)
}

fn select_of(select: &str, value: &Value) -> Result<Value, String> {
    if select.len() > LONGEST_SELECT {
        return Err(format!("the expression is longer than {LONGEST_SELECT} bytes"));
    }
    // As jq writes several values one below the other, they are a list here.
    let all = Expression::new(&format!("[{select}]"));
    let found = all.evaluate(value, &[], Limits::default()).map_err(|error| error.to_string())?;
    match found {
        Value::Array(mut values) if values.len() == 1 => Ok(values.remove(0)),
        Value::Array(values) if values.is_empty() => Err("the expression has no value".to_owned()),
        other => Ok(other),
    }
}

/// A value as a text block, and whether it is all of it.
fn of_value(value: Value, budget: usize) -> (Value, bool) {
    if let Value::String(text) = value {
        let (text, whole) = cut(&text, budget);
        return (json!([{"type": "text", "text": text}]), whole);
    }
    let text = value.to_string();
    let (text, whole) = if tokens(text.len()) <= budget {
        (text, true)
    } else {
        let (value, whole) = shrunk(&value, budget);
        (value.to_string(), whole)
    };
    (json!([{"type": "text", "text": text}]), whole)
}

/// Blocks of text cut to the budget, and others left out where they are too large; and whether that is all of it.
fn of_blocks(content: &Value, budget: usize) -> (Value, bool) {
    let (mut left, mut whole) = (budget, true);
    let mut kept = Vec::new();
    for block in content.as_array().into_iter().flatten() {
        let size = tokens(block.to_string().len());
        if size <= left {
            left -= size;
            kept.push(block.clone());
            continue;
        }
        whole = false;
        let about = match block.get("text").and_then(Value::as_str) {
            Some(text) if left > WORDS => cut(text, left - WORDS / 2).0,
            _ => {
                let kind = block["type"].as_str().unwrap_or("block");
                let media = block["mimeType"].as_str().unwrap_or("");
                format!("[{kind} {media} of about {size} tokens left out]")
            }
        };
        left = left.saturating_sub(tokens(about.len()));
        kept.push(json!({"type": "text", "text": about}));
    }
    (Value::Array(kept), whole)
}

/// The beginning and the end of a text.
fn cut(text: &str, budget: usize) -> (String, bool) {
    if tokens(text.len()) <= budget {
        return (text.to_owned(), true);
    }
    let bytes = budget.saturating_sub(8) * 4;
    let mut head = bytes * 3 / 4;
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    let mut tail = text.len() - bytes / 4;
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    (format!("{}\n… ({} bytes left out) …\n{}", &text[..head], tail - head, &text[tail..]), false)
}
