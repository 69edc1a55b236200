//! Required arguments that are missing are asked for, once, where the caller's client can show a form.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use trunkline_model::{AskError, CallContext, Failure, Json, Operation, Question, Tool};

use super::{Step, Tried, with_tried};
use crate::Gateway;
use crate::exchange::Between;
use crate::pipeline::Request;

/// The most arguments that are asked for.
const MOST: usize = 8;

/// What a form may say of a field (MCP, `PrimitiveSchemaDefinition`).
const SAID: [&str; 12] = [
    "type",
    "title",
    "description",
    "enum",
    "enumNames",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "default",
    "oneOf",
];

/// Names of what nobody types into a form: secrets come from the configuration.
const SECRET: [&str; 6] = ["password", "passwd", "secret", "token", "api_key", "apikey"];

/// A request that now has what it lacked, and what its user was asked for.
pub(crate) type Filled = (Request, Vec<String>);

impl Gateway {
    /// Asks the caller's user for what its arguments lack, where that is all that is wrong with them. One question.
    ///
    /// # Errors
    /// The failure as it was, where there is nothing to ask or nobody; with what was asked where there was no answer.
    pub(crate) async fn filled_in(
        self: &Arc<Self>,
        request: &Request,
        context: &CallContext,
        failure: Failure,
    ) -> Result<Filled, Failure> {
        let first = !request.journaled && !request.stands_in && request.resume.is_none();
        let asks = failure.code == "TL1006"
            && first
            && request.operation == Operation::CallTool
            && self.recovery.config().ask
            && context.client.features().elicitation_form;
        if !asks {
            return Err(failure);
        }
        let snapshot = self.catalog.snapshot();
        let Some(entry) = snapshot.tools.get(&request.name) else { return Err(failure) };
        let Some(form) = Form::of(&*entry.tool, &request.arguments) else { return Err(failure) };
        let between = Between { gateway: self, request, context };
        let answer = context.client.ask(form.question(&request.name)).await;
        let answer = between.ended(Ok(answer)).await?;
        let (step, service) = (Step::Asked, entry.service.id());
        match form.taken(answer) {
            Ok(given) => {
                let mut arguments = request.arguments.to_value();
                if let Some(members) = arguments.as_object_mut() {
                    members.extend(given);
                }
                let about =
                    json!({"call": request.id, "recovery": step, "asked_for": form.names(), "helped": true});
                self.recorder.recovered(service, about).await;
                Ok((Request { arguments: Json::from(arguments), ..request.clone() }, form.names()))
            }
            Err(why) => {
                let about =
                    json!({"call": request.id, "recovery": step, "asked_for": form.names(), "helped": false});
                self.recorder.recovered(service, about).await;
                let why = format!("its user was asked for {}: {why}", form.names().join(", "));
                let tried =
                    Tried { recovery: step, tool: Some(request.name.clone()), code: failure.code, why };
                Err(with_tried(failure, &[tried]))
            }
        }
    }
}

/// What is asked for: a schema for each argument.
struct Form(Map<String, Value>);

impl Form {
    /// None where the arguments lack nothing, something else is wrong with them, or what they lack fits no form.
    fn of(tool: &dyn Tool, arguments: &Json) -> Option<Self> {
        let schema = tool.spec().input.document();
        let given = arguments.to_value();
        let given = given.as_object()?;
        let required = schema.get("required")?.as_array()?.iter().filter_map(Value::as_str);
        let missing: Vec<&str> = required.filter(|name| !given.contains_key(*name)).collect();
        let violations = tool.validate_parameters(arguments).err()?;
        if missing.is_empty() || missing.len() > MOST || violations.len() != missing.len() {
            return None;
        }
        let field = |name: &str| Some((name.to_owned(), field(name, schema.get("properties")?.get(name)?)?));
        missing.into_iter().map(field).collect::<Option<Map<_, _>>>().map(Self)
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn question(&self, tool: &str) -> Question {
        let params = json!({
            "mode": "form",
            "message": format!("{tool} needs more to be called: {}.", self.names().join(", ")),
            "requestedSchema": {"type": "object", "properties": self.0, "required": self.names()},
        });
        Question { method: "elicitation/create".to_owned(), params: Json::from(params) }
    }

    /// What was filled in, of what was asked for.
    ///
    /// # Errors
    /// Why there is nothing, in words.
    fn taken(&self, answer: Result<Json, AskError>) -> Result<Map<String, Value>, String> {
        let mut answer = answer.map_err(|error| error.to_string())?.to_value();
        match answer["action"].as_str() {
            Some("accept") => {}
            Some("decline") => return Err("they declined".to_owned()),
            _ => return Err("they gave no answer".to_owned()),
        }
        let Value::Object(mut content) = answer["content"].take() else {
            return Err("the form came back empty".to_owned());
        };
        content.retain(|name, _| self.0.contains_key(name));
        Ok(content)
    }
}

/// The field of a form for an argument; none where a form can't have it.
fn field(name: &str, schema: &Value) -> Option<Value> {
    let secret = |name: &str| SECRET.iter().any(|secret| name.to_ascii_lowercase().contains(secret));
    let kind = schema.get("type")?.as_str()?;
    let plain = matches!(kind, "string" | "number" | "integer" | "boolean")
        && schema.get("format").is_none_or(|format| format != "password")
        && schema.get("writeOnly").is_none_or(|hidden| hidden != true);
    if !plain || secret(name) {
        return None;
    }
    let said = schema.as_object()?.iter().filter(|(key, _)| SAID.contains(&key.as_str()));
    Some(Value::Object(said.map(|(key, value)| (key.clone(), value.clone())).collect()))
}

#[cfg(test)]
mod tests {
    use trunkline_model::{BoxFuture, Call, Effects, Outcome, Schema, ServiceId, ToolSpec};

    use super::*;

    struct Fake(ToolSpec);

    impl Tool for Fake {
        fn spec(&self) -> &ToolSpec {
            &self.0
        }

        fn execute<'a>(&'a self, _: &'a Call, _: &'a CallContext) -> BoxFuture<'a, Result<Outcome, Failure>> {
            Box::pin(std::future::pending())
        }
    }

    fn form(arguments: &Value) -> Option<Vec<String>> {
        let tool = Fake(ToolSpec {
            service: ServiceId::new("s"),
            name: Arc::from("t"),
            version: Arc::from(""),
            title: None,
            description: String::new(),
            capabilities: Vec::new(),
            dependencies: Vec::new(),
            input: Schema::new(json!({
                "type": "object", "required": ["city", "days", "password", "where"], "properties": {
                    "city": {"type": "string", "pattern": "^[a-z]+$"}, "days": {"type": "integer", "minimum": 1},
                    "password": {"type": "string"}, "where": {"type": "object"},
                },
            })),
            output: None,
            effects: Effects::default(),
            raw: None,
        });
        Form::of(&tool, &Json::from_value(arguments)).map(|form| form.names())
    }

    #[test]
    fn only_what_a_form_can_have_is_asked_for_and_only_where_nothing_else_is_wrong() {
        let rest = json!({"password": "x", "where": {}});
        let with = |more: Value| {
            let mut all = rest.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        assert_eq!(form(&with(json!({"city": "a"}))), Some(vec!["days".to_owned()]));
        assert_eq!(form(&rest), Some(vec!["city".to_owned(), "days".to_owned()]));
        assert_eq!(form(&with(json!({"city": "a", "days": 1}))), None);
        assert_eq!(form(&with(json!({"days": 0}))), None, "the days are wrong, too");
        assert_eq!(form(&json!({"city": "a", "days": 1, "where": {}})), None, "secrets are not typed in");
        assert_eq!(form(&json!({"city": "a", "days": 1, "password": "x"})), None, "no form has objects");
    }

    #[test]
    fn of_an_answer_only_what_was_asked_for_is_taken() {
        let form = Form(Map::from_iter([("city".to_owned(), json!({"type": "string"}))]));
        let taken = |answer: Value| form.taken(Ok(Json::from(answer)));
        let given = taken(json!({"action": "accept", "content": {"city": "oslo", "admin": true}})).unwrap();
        assert_eq!(Value::Object(given), json!({"city": "oslo"}));
        assert!(taken(json!({"action": "decline"})).unwrap_err().contains("declined"));
        assert!(taken(json!({"action": "cancel"})).is_err() && taken(json!({"action": "accept"})).is_err());
    }
}
