//! A tool tried by a person: its arguments as JSON, and what the call came to. It goes the way of all calls.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use trunkline_model::Principal;

use super::events::pretty;
use super::form::{self, Purpose, Visit};
use super::html::{Html, encode, html, link, plain, state};
use super::tools::{self, AT};
use super::{Page, Refused, body_of, parameter};
use crate::{Error, Gateway};

/// How deep an example of arguments goes.
const DEPTH: usize = 4;

/// Asks for arguments.
pub(super) async fn ask(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Page, Refused> {
    form::acts(&gateway)?;
    let tool = tools::find(State(gateway.clone()), principal.clone(), &name).await?;
    let body = entry(&gateway, &principal, &visit, &tool, &pretty(&example(&tool["input_schema"], DEPTH)))?;
    Ok(Page::new(AT, &format!("Try {name}"), body))
}

/// The form, with these arguments in it.
fn entry(
    gateway: &Gateway,
    principal: &Principal,
    visit: &Visit,
    tool: &Value,
    arguments: &str,
) -> Result<Html, Error> {
    let name = plain(&tool["name"]);
    let purpose = Purpose { verb: "try", of: &name, principal, visit };
    let mut body = html("<p>")
        .text(&plain(&tool["description"]))
        .raw("</p><form class=\"tall\" method=\"post\" action=\"");
    body = body.text(&format!("{AT}/{}/try", encode(&name))).raw("\">").push(&purpose.field(gateway)?);
    body =
        body.raw("<label>Arguments, as JSON <textarea name=\"arguments\" rows=\"12\" spellcheck=\"false\">");
    body = body.text(arguments).raw("</textarea></label>");
    if tool["effects"]["read_only"] != true {
        body = body
            .raw("<label class=\"check\"><input type=\"checkbox\" name=\"sure\" value=\"yes\" required> ");
        let words = match tool["effects"]["destructive"] == true {
            true => "It may destroy something. Call it.",
            false => "It may change something. Call it.",
        };
        body = body.raw(words).raw("</label>");
    }
    let schema = html("<details><summary>What it takes</summary><pre>").text(&pretty(&tool["input_schema"]));
    let back = link(&format!("{AT}/{}", encode(&name)), "Back to the tool");
    Ok(body
        .raw("<button>Call it</button></form>")
        .push(&schema.raw("</pre></details><p>"))
        .push(&back)
        .raw("</p>"))
}

/// Arguments to begin with: what is required, with values of its types.
fn example(schema: &Value, depth: usize) -> Value {
    for given in ["default", "const"] {
        if let Some(value) = schema.get(given) {
            return value.clone();
        }
    }
    if let Some(first) = schema["enum"].get(0).or_else(|| schema["examples"].get(0)) {
        return first.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") | None if schema["properties"].is_object() && depth > 0 => {
            let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
            let names = required.iter().filter_map(Value::as_str);
            let pairs = names.map(|name| (name.to_owned(), example(&schema["properties"][name], depth - 1)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        Some("array") if depth > 0 => json!([example(&schema["items"], depth - 1)]),
        Some("array") => json!([]),
        Some("string") => json!(""),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(0)),
        Some("boolean") => json!(false),
        Some("null") => Value::Null,
        _ => json!({}),
    }
}

/// Calls it, as the one who was asked. A form that is sent twice calls once.
pub(super) async fn act(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Page, Refused> {
    form::acts(&gateway)?;
    let form = form::read(&gateway, &headers, body).await?;
    let purpose = Purpose { verb: "try", of: &name, principal: &principal, visit: &visit };
    let number = purpose.check(&gateway, &form)?;
    let tool = tools::find(State(gateway.clone()), principal.clone(), &name).await?;
    if tool["effects"]["read_only"] != true && parameter(&form, "sure") != "yes" {
        return Err(Error::Form("what may change something has to be confirmed").into());
    }
    let arguments = parameter(&form, "arguments").to_owned();
    let mut headers = HeaderMap::new();
    let key = HeaderValue::try_from(number).map_err(|error| Error::Params(error.to_string()))?;
    headers.insert("idempotency-key", key);
    let path = Ok(Path(format!("{name}:call")));
    let called = crate::http::tools::call(
        State(gateway.clone()),
        principal.clone(),
        path,
        headers,
        Body::from(arguments.clone()),
    )
    .await;
    // With a key of idempotency a failure is an answer, too.
    let response = called.unwrap_or_else(axum::response::IntoResponse::into_response);
    let failed = response.status().as_u16() >= 400;
    let answer = body_of(response).await?;
    let mut body = if failed { refused(&answer) } else { came_to(&answer) };
    let target = format!("{}/{}", plain(&tool["service"]), plain(&tool["original_name"]));
    let calls = link(&format!("/console/calls?target={}", encode(&target)), "Its calls");
    body = body.raw("<p>").push(&calls).raw("</p><h2>Again</h2>");
    let again = entry(&gateway, &principal, &visit, &tool, &arguments)?;
    Ok(Page::new(AT, &format!("{name} was tried"), body.push(&again)))
}

/// Why a call did not come to anything.
fn refused(problem: &Value) -> Html {
    let mut out =
        html("<p>").push(&state("failed")).raw("</p><p class=\"bad\">").text(&plain(&problem["detail"]));
    out = out.raw("</p><p>").text(&plain(&problem["next"])).raw("</p><p class=\"quiet\">");
    out.text(&plain(&problem["code"])).raw("</p>")
}

/// What a call came to.
fn came_to(answer: &Value) -> Html {
    let how = match (answer["outcome"].as_str(), answer["is_error"] == true) {
        (Some("input_required"), _) => "asks for more",
        (_, true) => "failed",
        _ => "done",
    };
    let result = html("</p><h2>Result</h2><pre>").text(&pretty(&answer["result"])).raw("</pre>");
    html("<p>").push(&state(how)).push(&result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_has_what_is_required() {
        let schema = json!({"type": "object", "required": ["id", "body"], "properties": {
            "id": {"type": "string"}, "limit": {"type": "integer"},
            "body": {"type": "object", "required": ["lines"], "properties": {"lines": {"type": "array", "items": {"type": "object",
                "required": ["sku", "count"], "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}}}}}},
        }});
        let wanted = json!({"id": "", "body": {"lines": [{"sku": "", "count": 1}]}});
        assert_eq!(example(&schema, DEPTH), wanted);
        assert_eq!(example(&json!({}), DEPTH), json!({}));
    }
}
