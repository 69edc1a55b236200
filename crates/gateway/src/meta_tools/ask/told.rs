//! What `ask` answers where nothing was done: what was understood, what is missing, what to do next.

use std::fmt::Write as _;

use serde_json::{Value, json};
use trunkline_discovery::arguments::{Found, Source};
use trunkline_model::{Json, Outcome, ToolResult};

use super::super::signature::{cut, effects, signature, summary};
use super::model::By;
use super::understand::{Aim, Meaning, Plan, Wish};

/// The member of a result's `_meta` that says what was understood.
const META: &str = "trunkline.dev/ask";

/// Why the encoder of the configuration had no part in it.
const WITHOUT: &str = "without_encoder";

/// How sure a value has to be that something is changed by.
const LIKELY: f32 = 0.5;

impl Plan {
    /// The values of a call that changes something that are guesses.
    pub(super) fn guesses(&self) -> impl Iterator<Item = &Found> {
        let reads = self.aim.entry.tool.spec().effects.read_only;
        self.filled.found.iter().filter(move |found| !reads && found.confidence < LIKELY)
    }

    /// Whether a call that changes something rests on a value that is a guess.
    pub(super) fn dares(&self) -> bool {
        self.guesses().next().is_some()
    }
}

/// What was understood, what is missing, and what to do next. `held` says that "do it" does it.
pub(super) fn told(wishes: &[Wish<'_>], held: bool, without: Option<&str>) -> ToolResult {
    let mut text = String::new();
    let (mut missing, mut calls) = (false, Vec::new());
    for wish in wishes {
        match &wish.meaning {
            Meaning::Nothing(nothing) => {
                missing = true;
                let _ = match &nothing.note {
                    Some(note) => writeln!(text, "{note}"),
                    None => writeln!(text, "Nothing here does \"{}\".", cut(wish.text.trim(), 200)),
                };
                for entry in &nothing.nearest {
                    let _ =
                        writeln!(text, "  {} {}", entry.name, summary(&entry.tool.spec().description, 80));
                }
            }
            Meaning::Unclear(aims) => {
                missing = true;
                let _ = writeln!(text, "Which of these is meant by \"{}\"?", cut(wish.text.trim(), 200));
                for aim in aims {
                    let about = summary(&aim.entry.tool.spec().description, 120);
                    let named = if *aim.entry.name == *aim.intent {
                        String::new()
                    } else {
                        format!("{}: ", aim.intent)
                    };
                    let _ = writeln!(text, "  {named}{} {about}", signature(&aim.entry));
                }
            }
            Meaning::This(plan) => {
                missing |= planned(&mut text, wish.text, plan);
                let Plan { aim, filled, .. } = &**plan;
                calls.push(json!({"name": &*aim.entry.name, "arguments": filled.arguments}));
            }
        }
    }
    text.push_str(match (missing, calls.is_empty()) {
        (true, true) => "Nothing was done. Say it in other words.",
        (true, false) => "Nothing was done. Ask again with what is missing, or call the tool yourself.",
        (false, _) if held => {
            "Nothing was done yet. Ask \"do it\" to have it done, \"no\" to forget it, or call the tool yourself."
        }
        (false, _) => {
            "Nothing was done yet. Ask again with \"do\": true to do it, or call the tool yourself."
        }
    });
    let mut structured =
        json!({"done": false, "asks": missing, "calls": calls, "wishes": understood(wishes)});
    if let Some(why) = without {
        let _ = write!(text, "\nUnderstood without the encoder: {}", cut(why, 200));
        structured[WITHOUT] = json!(cut(why, 200));
    }
    ToolResult::content(json!([{"type": "text", "text": text}]), Some(structured), false)
}

/// A call that was understood, and what is to be asked about it. Returns whether there is something.
fn planned(text: &mut String, words: &str, plan: &Plan) -> bool {
    let Plan { aim, filled, by, route } = plan;
    let does = effects(aim.entry.tool.spec().effects);
    let _ = writeln!(text, "{} {} [{does}]", aim.entry.name, filled.arguments);
    let _ = writeln!(text, "  {}", because(aim));
    if let Some(route) = route {
        let _ = writeln!(text, "  {}", cut(&route.in_words(), 300));
    }
    if let By::Instead(why) = by {
        let _ = writeln!(text, "  Read without the model: {}", cut(why, 200));
    }
    for found in &filled.found {
        match &found.source {
            Source::Request(span) if found.confidence < LIKELY => {
                if let Some(words) = words.get(span.clone()) {
                    let _ = writeln!(text, "  Is {} \"{}\"?", found.path, cut(words, 60));
                }
            }
            Source::Conversation => {
                let value = found.value.to_string();
                let _ = writeln!(text, "  {} {} is from the conversation.", found.path, cut(&value, 60));
            }
            Source::Written if found.confidence < LIKELY => {
                let value = found.value.to_string();
                let _ =
                    writeln!(text, "  {} {} is the model's word; is it right?", found.path, cut(&value, 60));
            }
            Source::Request(_) | Source::Default | Source::Answer | Source::Written => {}
        }
    }
    if let Some(question) = filled.question() {
        let _ = writeln!(text, "  {question}");
    }
    plan.dares() || !filled.missing.is_empty()
}

/// Why it is taken for that.
fn because(aim: &Aim) -> String {
    let intent =
        if *aim.entry.name == *aim.intent { String::new() } else { format!("intent {}, ", aim.intent) };
    format!("{intent}{:.0} % sure: {}", 100.0 * aim.confidence, cut(&aim.why, 160))
}

/// Why it is this service, where several can do it, and who read the arguments, where a model should have.
fn with_reader(mut told: Value, plan: &Plan) -> Value {
    if let Some(route) = &plan.route {
        told["route"] = route.told();
    }
    match &plan.by {
        By::Ours => {}
        By::Model => told["arguments_by"] = json!("model"),
        By::Instead(why) => told["without_model"] = json!(cut(why, 200)),
    }
    told
}

/// What was understood of each wish, for programs.
fn understood(wishes: &[Wish<'_>]) -> Vec<Value> {
    let rounded = |confidence: f32| (f64::from(confidence) * 1e3).round() / 1e3;
    let aimed = |aim: &Aim| {
        json!({
            "intent": aim.intent, "tool": &*aim.entry.name, "confidence": rounded(aim.confidence),
            "why": cut(&aim.why, 160),
        })
    };
    let one = |wish: &Wish<'_>| {
        let mut told = match &wish.meaning {
            Meaning::Nothing(nothing) => json!({"intent": null, "confidence": rounded(nothing.confidence)}),
            Meaning::Unclear(aims) => json!({"choices": aims.iter().map(aimed).collect::<Vec<_>>()}),
            Meaning::This(plan) => with_reader(aimed(&plan.aim), plan),
        };
        told["text"] = json!(cut(wish.text.trim(), 200));
        told
    };
    wishes.iter().map(one).collect()
}

/// The outcome of what was done, which says what was understood.
pub(super) fn with_meaning(outcome: Outcome, wishes: &[Wish<'_>], without: Option<&str>) -> Outcome {
    let Outcome::Complete(ToolResult { body, is_error, freshness }) = outcome else { return outcome };
    let mut told = json!({"wishes": understood(wishes)});
    if let Some(why) = without {
        told[WITHOUT] = json!(cut(why, 200));
    }
    #[derive(serde::Deserialize)]
    struct Meta {
        #[serde(rename = "_meta")]
        meta: Option<Value>,
    }
    let body = match body.to() {
        Ok(Meta { meta: None }) => body.with_member("_meta", &json!({META: told}).to_string()),
        _ => {
            let mut whole = body.to_value();
            whole["_meta"][META] = told;
            Json::from_value(&whole)
        }
    };
    Outcome::Complete(ToolResult { body, is_error, freshness })
}
