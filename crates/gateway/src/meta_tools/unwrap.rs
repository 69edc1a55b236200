//! `call_tool`: a call within a call.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};
use trunkline_model::{CallContext, Failure, Json, Operation};

use super::{CALL, SERVICE};
use crate::pipeline::{Request, Wish};
use crate::{Error, Gateway};

pub(super) const DESCRIPTION: &str =
    "Calls a tool that search_tools found, by its name. The answer is the tool's own.";

pub(super) fn input() -> Value {
    json!({
        "name": {"type": "string", "description": "The tool's name."},
        "arguments": {"type": "object", "description": "Its arguments."},
        "select": {"type": "string", "description": "jq: only this of the answer."},
        "max_tokens": {"type": "integer", "minimum": 100},
        "required": ["name"],
    })
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Carried<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    arguments: Option<Json>,
    #[serde(default)]
    select: Option<String>,
    #[serde(default)]
    max_tokens: Option<usize>,
}

/// The call that is meant: the request itself, or the one that it carries as a call of `call_tool`, for who may use that.
///
/// # Errors
/// Where it carries none, or the caller may not use `call_tool`.
pub(crate) fn unwrap(gateway: &Gateway, request: Request, context: &CallContext) -> Result<Request, Failure> {
    if request.operation != Operation::CallTool || !request.name.ends_with(CALL) {
        return Ok(request);
    }
    let snapshot = gateway.catalog().snapshot();
    let Some(entry) = snapshot.tools.get(&request.name) else { return Ok(request) };
    let spec = entry.tool.spec();
    if spec.service.as_str() != SERVICE || &*spec.name != CALL {
        return Ok(request);
    }
    let rules = gateway.rules.load();
    let allowed = rules.authorizer.check(&context.principal, &spec.service, &spec.name, request.operation);
    allowed.map_err(|denied| Failure::from(denied).status(403))?;
    let unfit =
        |why: &str| Error::Params(format!("{CALL} takes {{\"name\": \"…\", \"arguments\": {{…}}}}: {why}"));
    let text = request.arguments.as_str();
    let carried: Carried<'_> = serde_json::from_str(text).map_err(|error| unfit(&error.to_string()))?;
    let arguments = carried.arguments.unwrap_or_else(Json::empty_object);
    // Some models write the arguments as text.
    let arguments = match arguments.as_bytes().first() {
        Some(b'"') => Json::parse(arguments.to::<String>().unwrap_or_default())
            .map_err(|error| unfit(&format!("the arguments are text that is {error}")))?,
        Some(b'n') => Json::empty_object(),
        _ => arguments,
    };
    if !arguments.is_object() {
        return Err(unfit("the arguments are no object").into());
    }
    if *carried.name == *request.name {
        return Err(unfit("it does not call itself").into());
    }
    let wish = Wish { most_tokens: carried.max_tokens, select: carried.select, free: true };
    Ok(Request { name: carried.name.into(), arguments, wish: Some(Arc::new(wish)), ..request })
}
