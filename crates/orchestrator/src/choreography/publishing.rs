//! The tool `publish_event`: the one way by which events come in from outside, whichever door they come by.

use serde_json::{Map, Value, json};
use trunkline_model::{
    Call, CallContext, Effects, Json, Outcome, PrincipalKind, Schema, ServiceId, ToolResult, ToolSpec,
};
use uuid::Uuid;

use super::Choreography;
use crate::entry::InstanceId;
use crate::published::{By, Published};
use crate::{Error, identity, service};

/// The name of the tool.
pub const TOOL: &str = "publish_event";

/// The longest type, source, subject and id, in characters.
const MAX_TEXT: usize = 500;

/// The most extension attributes.
const MAX_EXTENSIONS: usize = 32;

/// The longest name of an extension attribute, as CloudEvents asks for.
const MAX_NAME: usize = 20;

/// The longest value of an extension attribute, in characters.
const MAX_VALUE: usize = 2000;

/// What the tool says of itself.
pub(crate) fn spec() -> ToolSpec {
    let text =
        |what: &str| json!({"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "description": what});
    let input = json!({
        "type": "object",
        "properties": {
            "type": text("What has happened, such as com.example.order.paid."),
            "source": text("Where it has happened: a URI reference. That of the caller where left out."),
            "subject": text("What it happened to, within the source."),
            "id": text("Names the event within its source. Publishing it again under the same id does nothing."),
            "time": {"type": "string", "description": "When it happened (RFC 3339)."},
            "data": {"description": "What there is to say of it."},
            "data_base64": {"type": "string", "description": "The same where it is bytes."},
            "datacontenttype": {"type": "string", "maxLength": MAX_TEXT},
            "dataschema": {"type": "string", "maxLength": MAX_TEXT},
            "extensions": {
                "type": "object", "maxProperties": MAX_EXTENSIONS,
                "description": "Further attributes: names of small letters and digits.",
                "additionalProperties": {"type": ["string", "integer", "boolean"]},
            },
        },
        "required": ["type"],
        "additionalProperties": false,
    });
    ToolSpec {
        service: ServiceId::new(service::SERVICE),
        name: TOOL.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        title: None,
        description:
            "Tells everyone who wants to know that something has happened: a CloudEvent. Flows that listen \
                      and subscriptions react to it."
                .to_owned(),
        capabilities: Vec::new(),
        dependencies: Vec::new(),
        input: Schema::new(input),
        output: None,
        effects: Effects { destructive: false, open_world: false, ..Effects::default() },
        raw: None,
    }
}

/// Publishes what a call asks for.
pub(crate) async fn call(
    choreography: &Choreography,
    call: &Call,
    context: &CallContext,
) -> Result<Outcome, Error> {
    let principal = &context.principal;
    let mut event = cloudevent(call.arguments.to_value())?;
    let source = match event.get("source").and_then(Value::as_str) {
        Some(source) => source.to_owned(),
        None => format!("/clients/{}", principal.id),
    };
    let holder = choreography.webhook_of(&source);
    let own = |holder: &str| {
        principal.kind == PrincipalKind::System && principal.id.strip_prefix("webhook:") == Some(holder)
    };
    if holder.as_deref().is_some_and(|holder| !own(holder)) || source.starts_with("/flows/") {
        return Err(Error::ForeignSource(source));
    }
    event.insert("source".to_owned(), json!(source));
    if let Some(key) = &call.idempotency_key
        && !event.contains_key("id")
    {
        // The same call made again is the same event.
        event.insert("id".to_owned(), json!(identity::of(&["key", &principal.id, key])));
    }
    let instance = instance_of(call);
    let cause = instance.and_then(|id| choreography.0.engine.cause_of(id, &principal.id));
    let correlation = match (&cause, instance) {
        (Some(_), Some(instance)) => instance.0,
        _ => call.id.0,
    };
    let by = By { principal: principal.clone(), correlation, cause };
    let Published { id, source, position } = choreography.0.engine.publish(&Value::Object(event), by).await?;
    let answer = json!({"id": id, "source": source, "position": position, "duplicate": position.is_none()});
    Ok(ToolResult::document(&Json::from_value(&answer), false).into())
}

/// The instance whose step a call is: the key of a step begins with it.
fn instance_of(call: &Call) -> Option<InstanceId> {
    let id = call.idempotency_key.as_deref()?.get(..36)?;
    id.parse::<Uuid>().ok().map(InstanceId)
}

/// The CloudEvent that arguments stand for.
fn cloudevent(arguments: Value) -> Result<Map<String, Value>, Error> {
    let refused = |why: String| Err(Error::NotAnEvent(why));
    let Value::Object(mut event) = arguments else { return refused("it is no object".to_owned()) };
    for name in ["type", "source", "subject", "id"] {
        if event.get(name).and_then(Value::as_str).is_some_and(|text| text.chars().any(char::is_control)) {
            return refused(format!("`{name}` has control characters"));
        }
    }
    if let Some(time) = event.get("time").and_then(Value::as_str)
        && time.parse::<jiff::Timestamp>().is_err()
    {
        return refused("`time` is no time as of RFC 3339, such as 2026-11-22T10:00:00Z".to_owned());
    }
    if event.contains_key("data") && event.contains_key("data_base64") {
        return refused("it has `data` and `data_base64`; one event has one of them".to_owned());
    }
    let Some(Value::Object(extensions)) = event.remove("extensions") else { return Ok(event) };
    for (name, value) in extensions {
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !plain || name.is_empty() || name.len() > MAX_NAME {
            let name: String = name.chars().take(MAX_NAME).collect();
            return refused(format!(
                "the attribute {name:?} is not named by up to 20 small letters and digits"
            ));
        }
        if name.starts_with("trunkline") {
            return refused("attributes that begin with `trunkline` are Trunkline's own".to_owned());
        }
        if value.as_str().is_some_and(|text| text.chars().count() > MAX_VALUE) {
            return refused(format!("the attribute {name:?} has more than {MAX_VALUE} characters"));
        }
        event.entry(name).or_insert(value);
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_an_event_or_are_refused() {
        let event = cloudevent(json!({"type": "a", "extensions": {"shop": "x", "type": "b"}})).unwrap();
        assert_eq!(Value::Object(event), json!({"type": "a", "shop": "x"}));
        for (bad, why) in [
            (json!({"type": "a\n"}), "control"),
            (json!({"type": "a", "time": "yesterday"}), "RFC 3339"),
            (json!({"type": "a", "data": 1, "data_base64": "AA=="}), "one of them"),
            (json!({"type": "a", "extensions": {"Shop": "x"}}), "small letters"),
            (json!({"type": "a", "extensions": {"trunklinechain": "x"}}), "Trunkline's own"),
            (json!({"type": "a", "extensions": {"x": "y".repeat(3000)}}), "2000"),
        ] {
            let error = cloudevent(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
