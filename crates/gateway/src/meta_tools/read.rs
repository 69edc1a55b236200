//! `read_result`: the whole of an answer that was shortened, in parts.

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_model::{Call, CallContext, Failure, Outcome, ToolResult};

use super::tokens;
use crate::pipeline::Wish;
use crate::{Error, Gateway};

pub(super) const DESCRIPTION: &str = "Reads an answer that was shortened, by its handle: what jq selects of it, or its \
JSON text from an offset on.";

/// How many tokens of the text are given where the caller does not say.
const USUAL: usize = 4_000;

pub(super) fn input() -> Value {
    json!({
        "handle": {"type": "string"},
        "select": {"type": "string", "description": "jq, on the answer's value."},
        "offset": {"type": "integer", "minimum": 0, "description": "Where to go on in its text, in bytes."},
        "max_tokens": {"type": "integer", "minimum": 100},
        "required": ["handle"],
    })
}

#[derive(Deserialize)]
struct Given {
    handle: String,
    select: Option<String>,
    offset: Option<usize>,
    max_tokens: Option<usize>,
}

pub(super) fn execute(gateway: &Gateway, call: &Call, context: &CallContext) -> Result<Outcome, Failure> {
    let given: Given = call.arguments.to().map_err(|error| Error::Params(error.to_string()))?;
    let Some(body) = gateway.results.find(&given.handle, &context.principal) else {
        let why = "nothing is kept under this handle: answers are kept for an hour. Call the tool again";
        return Err(Error::Params(why.to_owned()).into());
    };
    let budget = given.max_tokens.or_else(|| gateway.rules.load().config.answers.most_tokens);
    if let Some(offset) = given.offset {
        return Ok(part(body.as_str(), offset, budget.unwrap_or(USUAL)).into());
    }
    let wish = Wish { most_tokens: budget.or(Some(USUAL)), select: given.select, free: true };
    let whole = ToolResult::raw(body, false);
    Ok(gateway.shaped(whole, &wish, None, false, &context.principal, Some(&given.handle)).into())
}

/// A part of the text, and where the next one begins. It stands in JSON text again, which makes it longer.
fn part(text: &str, offset: usize, budget: usize) -> ToolResult {
    let boundary = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(offset);
    let mut length = budget.saturating_sub(40).max(60) * 4;
    let mut end = boundary(start + length);
    while tokens(Value::from(&text[start..end]).to_string().len()) > budget && length > 64 {
        length = length * 3 / 4;
        end = boundary(start + length);
    }
    let next =
        if end < text.len() { format!("next offset {end} of {}", text.len()) } else { "the end".into() };
    let content = json!([{"type": "text", "text": &text[start..end]}, {"type": "text", "text": next}]);
    ToolResult::content(content, None, false)
}
