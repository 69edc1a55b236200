//! What `ask` answers where nothing was done: what was understood, what is missing, what to do next.

use std::fmt::Write as _;

use serde_json::json;
use trunkline_discovery::ToolEntry;
use trunkline_discovery::arguments::{Filled, Source};
use trunkline_model::ToolResult;

use super::super::signature::{cut, effects, signature, summary};
use super::understand::{Meaning, Wish};

/// How sure a value has to be that something is changed by.
const LIKELY: f32 = 0.5;

/// Whether a call that changes something rests on a value that is a guess.
pub(super) fn dares(entry: &ToolEntry, filled: &Filled) -> bool {
    !entry.tool.spec().effects.read_only && filled.confidence() < LIKELY
}

/// What was understood, what is missing, and what to do next.
pub(super) fn told(wishes: &[Wish<'_>]) -> ToolResult {
    let mut text = String::new();
    let (mut missing, mut calls) = (false, Vec::new());
    for wish in wishes {
        match &wish.meaning {
            Meaning::Nothing(nearest) => {
                missing = true;
                let _ = writeln!(text, "Nothing here does \"{}\".", cut(wish.text.trim(), 200));
                for entry in nearest {
                    let _ =
                        writeln!(text, "  {} {}", entry.name, summary(&entry.tool.spec().description, 80));
                }
            }
            Meaning::Unclear(entries) => {
                missing = true;
                let _ = writeln!(text, "Which of these is meant by \"{}\"?", cut(wish.text.trim(), 200));
                for entry in entries {
                    let about = summary(&entry.tool.spec().description, 120);
                    let _ = writeln!(text, "  {} {about}", signature(entry));
                }
            }
            Meaning::This(this) => {
                let (entry, filled) = &**this;
                let does = effects(entry.tool.spec().effects);
                let _ = writeln!(text, "{} {} [{does}]", entry.name, filled.arguments);
                for found in filled.found.iter().filter(|found| found.confidence < LIKELY) {
                    if let Source::Request(span) = &found.source
                        && let Some(words) = wish.text.get(span.clone())
                    {
                        let _ = writeln!(text, "  Is {} \"{}\"?", found.path, cut(words, 60));
                    }
                }
                missing |= dares(entry, filled);
                if let Some(question) = filled.question() {
                    missing = true;
                    let _ = writeln!(text, "  {question}");
                }
                calls.push(json!({"name": &*entry.name, "arguments": filled.arguments}));
            }
        }
    }
    text.push_str(match (missing, calls.is_empty()) {
        (true, true) => "Nothing was done. Say it in other words.",
        (true, false) => "Nothing was done. Ask again with what is missing, or call the tool yourself.",
        (false, _) => {
            "Nothing was done yet. Ask again with \"do\": true to do it, or call the tool yourself."
        }
    });
    let structured = json!({"done": false, "asks": missing, "calls": calls});
    ToolResult::content(json!([{"type": "text", "text": text}]), Some(structured), false)
}
