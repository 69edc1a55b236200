//! `call_tool`: a call within a call.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};
use trunkline_model::{CallContext, Failure, Json, Operation};

use super::together::MOST;
use super::{CALL, SERVICE};
use crate::pipeline::{Request, Wish};
use crate::{Error, Gateway};

pub(super) const DESCRIPTION: &str = "Calls a tool that search_tools found, by its name. The answer is the tool's own. With \"names\": several that read, merged.";

pub(super) fn input() -> Value {
    json!({
        "name": {"type": "string", "description": "The tool's name."},
        "arguments": {"type": "object", "description": "Its arguments."},
        "select": {"type": "string", "description": "jq: only this of the answer."},
        "max_tokens": {"type": "integer", "minimum": 100},
        "names": {
            "type": "array", "items": {"type": "string"}, "maxItems": MOST,
            "description": "In place of name: read-only tools that are asked the same.",
        },
        "key": {"type": "string", "description": "With names: what tells records apart."},
    })
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Carried<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    arguments: Option<Json>,
    #[serde(default)]
    select: Option<String>,
    #[serde(default)]
    max_tokens: Option<usize>,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    key: Option<String>,
}

/// The call that is meant: the request itself, or the one that it carries as a call of `call_tool`, for who may use that. A call of
/// several tools at once stays as it is.
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
    let name = match (carried.name, &carried.names, &carried.key) {
        (Some(name), None, None) => name,
        (None, Some(_), _) => return Ok(request),
        _ => return Err(unfit("it names one tool by `name`, or several by `names`").into()),
    };
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
    if *name == *request.name {
        return Err(unfit("it does not call itself").into());
    }
    let wish = Wish { most_tokens: carried.max_tokens, select: carried.select, free: true };
    Ok(Request { name: name.into(), arguments, wish: Some(Arc::new(wish)), ..request })
}
