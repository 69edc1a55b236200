//! Asks the caller for what is missing, in one form where its client can show one: the choice between what may be meant, and the
//! values that the schema wants. What no form can ask for is told in the answer.

use serde_json::{Map, Value, json};
use trunkline_model::{CallContext, Json, Question};

use super::super::signature::{cut, summary};
use super::understand::{Aim, Hearing, Meaning, Plan, Wish};
use crate::Gateway;

/// The most forms for one request: a choice first, what the choice wants then, and once more where that did not fit.
const MOST: usize = 3;

/// The most fields of a form.
const FIELDS: usize = 24;

/// A field of the form: of which wish it is, and the path of its value; none where it is the choice.
struct Field {
    name: String,
    wish: usize,
    path: Option<String>,
    schema: Value,
}

impl Gateway {
    /// Asks as long as something is missing and the caller answers.
    pub(super) async fn ask_back(&self, wishes: &mut [Wish<'_>], hearing: &Hearing<'_>) {
        let features = hearing.context.client.features();
        if !features.elicitation_form || features.presumed {
            return;
        }
        for _ in 0..MOST {
            let Some((fields, message)) = form(wishes) else { return };
            let Some(answers) = ask(hearing.context, &fields, &message).await else { return };
            self.take(wishes, &fields, &answers, hearing);
        }
    }

    /// Puts answers where they belong.
    fn take(
        &self,
        wishes: &mut [Wish<'_>],
        fields: &[Field],
        answers: &Map<String, Value>,
        hearing: &Hearing<'_>,
    ) {
        for (at, wish) in wishes.iter_mut().enumerate() {
            let of_wish = || fields.iter().filter(|field| field.wish == at);
            let given = |field: &Field| answers.get(&field.name).filter(|value| !value.is_null()).cloned();
            match &mut wish.meaning {
                Meaning::Nothing(_) => {}
                Meaning::Unclear(aims) => {
                    let chosen = of_wish().find_map(given);
                    let Some(aim) = aims.iter().find(|aim| chosen == Some(json!(aim.intent))) else {
                        continue;
                    };
                    let mut aim = aim.clone();
                    (aim.confidence, aim.why) = (1.0, "chosen by the caller".to_owned());
                    let known = self.known(wish.text, hearing);
                    let filled = self.filled(&aim, wish.text, &known);
                    wish.meaning = Meaning::This(Box::new(Plan::ours(aim, filled)));
                }
                Meaning::This(plan) => {
                    let value = |field: &Field| Some((field.path.clone()?, given(field)?));
                    let values: Vec<(String, Value)> = of_wish().filter_map(value).collect();
                    let form = self.forms.of(&plan.aim.entry);
                    plan.filled = form.answered(plan.filled.clone(), &values);
                }
            }
        }
    }
}

/// Puts the form to the caller. None where it was declined or could not be shown.
async fn ask(context: &CallContext, fields: &[Field], message: &str) -> Option<Map<String, Value>> {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.clone(), field.schema.clone())).collect();
    let required: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
    let schema = json!({"type": "object", "properties": properties, "required": required});
    let params = json!({"mode": "form", "message": message, "requestedSchema": schema});
    let question = Question { method: "elicitation/create".to_owned(), params: Json::from(params) };
    let answer = context.client.ask(question).await.ok()?.to_value();
    if answer["action"] != "accept" {
        return None;
    }
    answer["content"].as_object().cloned()
}

/// The fields of all that is missing, and the question above them; none where nothing is, or no form can ask for it.
fn form(wishes: &[Wish<'_>]) -> Option<(Vec<Field>, String)> {
    let mut fields = Vec::new();
    let mut message = Vec::new();
    for (wish, one) in wishes.iter().enumerate() {
        match &one.meaning {
            // Nothing that is here is meant by it: no answer helps.
            Meaning::Nothing(_) => return None,
            Meaning::Unclear(aims) => {
                message.push(format!("What is meant by \"{}\"?", cut(one.text.trim(), 200)));
                fields.push(Field { name: "meant".to_owned(), wish, path: None, schema: choice(aims) });
            }
            Meaning::This(plan) => {
                let before = fields.len();
                values(wish, plan, &mut fields)?;
                if fields.len() > before {
                    let asked = plan.filled.question();
                    let asked = asked.unwrap_or_else(|| "Is that right?".to_owned());
                    message.push(format!("{}: {asked}", plan.aim.intent));
                }
            }
        }
    }
    if fields.is_empty() || fields.len() > FIELDS {
        return None;
    }
    // Two wishes may want the same.
    for at in 1..fields.len() {
        let (before, rest) = fields.split_at_mut(at);
        if before.iter().any(|field| field.name == rest[0].name) {
            rest[0].name = format!("{}_{}", rest[0].name, at + 1);
        }
    }
    Some((fields, message.join("\n")))
}

/// The field of a choice.
fn choice(aims: &[Aim]) -> Value {
    let about = |aim: &Aim| {
        let about = summary(&aim.entry.tool.spec().description, 120);
        format!("{} {about}", aim.intent)
    };
    let (names, told): (Vec<&str>, Vec<String>) = aims.iter().map(|aim| (&*aim.intent, about(aim))).unzip();
    json!({"type": "string", "title": "What is meant", "enum": names, "enumNames": told})
}

/// The fields of what is missing or only guessed of a call. None where one of them fits no form.
fn values(wish: usize, plan: &Plan, fields: &mut Vec<Field>) -> Option<()> {
    let schema = plan.aim.entry.tool.spec().input.document();
    let missing = plan.filled.missing.iter().map(|missing| (&missing.path, &*missing.wanted, None));
    let guessed = plan.guesses().map(|found| (&found.path, "", Some(&found.value)));
    for (path, wanted, guess) in missing.chain(guessed) {
        let mut field = plain(at(schema, path)?)?;
        if let Some(guess) = guess {
            field.insert("default".to_owned(), guess.clone());
        }
        let names: Vec<&str> = path.split('/').skip(1).collect();
        if !field.contains_key("description") && !wanted.is_empty() {
            field.insert("description".to_owned(), json!(wanted));
        }
        let name = names.join(".");
        fields.push(Field { name, wish, path: Some(path.clone()), schema: Value::Object(field) });
    }
    Some(())
}

/// The schema of the value at a path of the arguments.
fn at<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    let mut inner = schema;
    for part in path.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        inner = meant(schema, meant(schema, inner)?.get("properties")?.get(part)?)?;
    }
    Some(inner).filter(|_| !path.is_empty())
}

/// What a reference within the schema stands for.
fn meant<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.strip_prefix('#')?),
        None => Some(schema),
    }
}

/// What a form can ask for: text, a number, yes or no, or one of some words.
fn plain(schema: &Value) -> Option<Map<String, Value>> {
    const KEPT: [&str; 12] = [
        "type",
        "title",
        "description",
        "enum",
        "minLength",
        "maxLength",
        "pattern",
        "minimum",
        "maximum",
        "format",
        "default",
        "const",
    ];
    let kind = schema.get("type")?.as_str()?;
    if !["string", "number", "integer", "boolean"].contains(&kind) {
        return None;
    }
    let formats = ["email", "uri", "date", "date-time"];
    let told = |(name, value): &(&String, &Value)| {
        let known = |value: &Value| value.as_str().is_some_and(|format| formats.contains(&format));
        KEPT.contains(&name.as_str()) && (*name != "format" || known(value))
    };
    let members = schema.as_object()?.iter().filter(told);
    Some(members.map(|(name, value)| (name.clone(), value.clone())).collect())
}
