//! What can be asked of an instance at its page: cancel, undo, retry from a step, decide about one that is stuck. Each is
//! asked for again before it is done.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::{Value, json};
use trunkline_model::Principal;

use super::flows::{AT, undos};
use super::form::{self, Purpose, Visit};
use super::html::{Html, encode, field, html, link, plain, state};
use super::{Page, Parameters, Refused, filled, parameter, parameters, said};
use crate::http::flows;
use crate::{Error, Gateway};

/// What can be asked of an instance as a whole, as it is now.
pub(super) fn offered(shown: &Value) -> Html {
    let mut out = Html::default();
    let status = plain(&shown["status"]);
    let offers: &[(&str, &str)] = match &*status {
        "running" | "waiting" | "stuck" => &[("cancel", "Cancel it…")],
        "completed" => &[("undo", "Undo it…")],
        _ if may_retry(shown) => &[("retry", "Retry it from the start…")],
        _ => &[],
    };
    for (verb, label) in offers {
        out = out
            .raw("<p>")
            .push(&link(&format!("{AT}/{}/{verb}", encode(&plain(&shown["id"]))), label))
            .raw("</p>");
    }
    out
}

/// Whether another instance can be begun in its place: it has ended, and none was yet.
pub(super) fn may_retry(shown: &Value) -> bool {
    !shown["ended_ms"].is_null() && shown["retried_as"].is_null()
}

/// A link to what can be asked of a step.
pub(super) fn to(shown: &Value, verb: &str, (name, key): (&str, &str), label: &str) -> Html {
    let id = encode(&plain(&shown["id"]));
    link(&format!("{AT}/{id}/{verb}?{name}={}", encode(key)), label)
}

/// Asks whether an order is meant.
pub(super) async fn confirm(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    Extension(visit): Extension<Visit>,
    Path((id, verb)): Path<(String, String)>,
    uri: Uri,
) -> Result<Page, Refused> {
    form::acts(&gateway)?;
    let (title, means) = told(&verb)?;
    let given = parameters(&filled(&uri));
    let shown = said(flows::show(State(gateway.clone()), principal.clone(), Path(id)).await?);
    let id = plain(&shown["id"]);
    let step = step_of(&given);
    let of = format!("{id} {step}");
    let purpose = Purpose { verb: &verb, of: &of, principal: &principal, visit: &visit };
    let to = format!("{AT}/{}/{verb}", encode(&id));
    let mut body = html("<p>").text(&plain(&shown["flow"])).raw(" · ").push(&state(&plain(&shown["status"])));
    if !step.is_empty() {
        body = body.raw(" · step <code>").text(step).raw("</code>");
    }
    body = body.raw("</p><p>").raw(means).raw("</p>").push(&undos(&shown, false));
    body = body.raw("<form method=\"post\" action=\"").text(&to).raw("\">").push(&purpose.field(&gateway)?);
    for name in ["from", "step"] {
        body = body
            .raw("<input type=\"hidden\" name=\"")
            .raw(name)
            .raw("\" value=\"")
            .text(parameter(&given, name))
            .raw("\">");
    }
    if verb == "resolve" {
        body = body.push(&choice());
    }
    if verb != "retry" {
        body = body.push(&field("reason", "Why, for the record", ""));
    }
    let back = link(&format!("{AT}/{}", encode(&id)), "Leave it as it is");
    body = body.raw("<button>").raw(title).raw("</button></form><p>").push(&back).raw("</p>");
    Ok(Page::new(AT, &format!("{title} {id}?"), body))
}

/// What can be decided about a step that is stuck.
fn choice() -> Html {
    html("<label>What now <select name=\"how\"><option value=\"retry\">Try it again</option>")
        .raw("<option value=\"skip\">Skip it, for the reason given</option>")
        .raw("<option value=\"done\">I looked: it took effect</option>")
        .raw("<option value=\"not_done\">I looked: it did not</option></select></label>")
        .raw("<label>Its result, as JSON, where it took effect <input name=\"result\"></label>")
}

/// The step that an order is about.
fn step_of(given: &Parameters) -> &str {
    match parameter(given, "from") {
        "" => parameter(given, "step"),
        from => from,
    }
}

/// Does it: `/v1/instances/{id}:{verb}` for the one who was asked.
pub(super) async fn act(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Arc<Principal>>,
    Extension(visit): Extension<Visit>,
    Path((id, verb)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    form::acts(&gateway)?;
    told(&verb)?;
    let form = form::read(&gateway, &headers, body).await?;
    let of = format!("{id} {}", step_of(&form));
    let purpose = Purpose { verb: &verb, of: &of, principal: &principal, visit: &visit };
    purpose.check(&gateway, &form)?;
    let order = order(&verb, &form)?;
    let path = Path(format!("{id}:{verb}"));
    let done = said(flows::order(State(gateway), principal, path, Body::from(order.to_string())).await?);
    let next = done["retried_as"].as_str().unwrap_or(&id);
    Ok(Redirect::to(&format!("{AT}/{}", encode(next))).into_response())
}

/// The order that a form asks for.
fn order(verb: &str, form: &Parameters) -> Result<Value, Error> {
    let value = |name| Some(parameter(form, name)).filter(|value| !value.is_empty());
    let reason = value("reason");
    Ok(match verb {
        "retry" => json!({"from": value("from")}),
        "resolve" => {
            let resolution = match parameter(form, "how") {
                "skip" => json!({"skip": {"reason": reason.unwrap_or("skipped at the console")}}),
                how @ ("done" | "not_done") => {
                    let result = value("result").unwrap_or("null");
                    let result: Value = serde_json::from_str(result)
                        .map_err(|error| Error::Params(format!("the result is not JSON: {error}")))?;
                    json!({"resolve": {"done": how == "done", "result": result}})
                }
                _ => json!("retry"),
            };
            json!({"step": value("step"), "resolution": resolution, "reason": reason})
        }
        _ => json!({"reason": reason}),
    })
}

/// The button of an order and what the order means.
fn told(verb: &str) -> Result<(&'static str, &'static str), Error> {
    match verb {
        "cancel" => Ok(("Cancel", "It stops, and what it has done is undone.")),
        "undo" => Ok(("Undo", "What it did is undone, the last first, by the tools below.")),
        "retry" => Ok((
            "Retry",
            "Another instance is begun in its place. It takes over what was done before the step, and does the step and all behind it \
             anew; without a step, everything. A step whose outcome is not known may so happen twice: look first.",
        )),
        "resolve" => Ok((
            "Decide",
            "The step waits for a person: it has failed too often, or its outcome is not known.",
        )),
        _ => Err(Error::NotFound(format!("{AT}/…/{}", verb.chars().take(64).collect::<String>()))),
    }
}
