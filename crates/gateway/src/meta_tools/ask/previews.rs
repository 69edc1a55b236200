//! What was shown and not done: "do it" does it, "no" forgets it. It is that of one conversation, the latest alone, for a while; whatever
//! else is asked forgets it, too.

use std::sync::Arc;

use serde_json::json;
use trunkline_discovery::ToolEntry;
use trunkline_model::{Call, CallContext, Failure, Json, Outcome, ToolResult};

use crate::Gateway;

/// How long it can be done, in milliseconds.
const LIFE: u64 = 10 * 60 * 1_000;

/// Calls that were shown.
pub(super) struct Preview {
    calls: Vec<Shown>,
    /// What was asked for.
    request: String,
    at: u64,
}

struct Shown {
    tool: Arc<str>,
    arguments: Json,
    /// What the tool said of itself then.
    listed: Json,
}

/// What is said to a preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Do,
    Forget,
}

impl Preview {
    pub(super) fn of(ready: &[(&ToolEntry, Json)], request: &str, at: u64) -> Self {
        let shown = |(entry, arguments): &(&ToolEntry, Json)| {
            let (tool, listed) = (entry.name.clone(), entry.listed.clone());
            Shown { tool, arguments: arguments.clone(), listed }
        };
        Self { calls: ready.iter().map(shown).collect(), request: request.to_owned(), at }
    }

    /// Whether it can still be done.
    pub(super) fn lives(&self, now: u64) -> bool {
        now.saturating_sub(self.at) <= LIFE
    }
}

impl Reply {
    /// A request that is nothing but a reply.
    pub(super) fn of(request: &str) -> Option<Self> {
        const DO: [&str; 14] = [
            "do it",
            "do that",
            "do so",
            "yes",
            "yes do it",
            "yes please",
            "go ahead",
            "yes go ahead",
            "confirm",
            "ok",
            "ok do it",
            "okay",
            "please do",
            "please do it",
        ];
        const FORGET: [&str; 11] = [
            "no",
            "no thanks",
            "cancel",
            "cancel that",
            "cancel it",
            "don't",
            "do not",
            "don't do it",
            "never mind",
            "forget it",
            "forget that",
        ];
        let letter = |letter: char| letter.is_alphanumeric() || letter == '\'' || letter == '’';
        let words: Vec<&str> =
            request.split(|other| !letter(other)).filter(|word| !word.is_empty()).collect();
        let said = words.join(" ").to_lowercase().replace('’', "'");
        let is = |all: &[&str]| all.contains(&said.as_str());
        if is(&DO) { Some(Self::Do) } else { is(&FORGET).then_some(Self::Forget) }
    }
}

impl Gateway {
    /// Does or forgets what was shown.
    pub(super) async fn replied(
        self: &Arc<Self>,
        reply: Reply,
        shown: Option<Preview>,
        call: &Call,
        context: &CallContext,
    ) -> Result<Outcome, Failure> {
        let Some(shown) = shown else {
            return Ok(said(
                "Nothing was shown here lately that could be done or forgotten. Say what is to be done.",
            ));
        };
        if reply == Reply::Forget {
            return Ok(said("It is forgotten; nothing was done."));
        }
        let snapshot = self.catalog.snapshot();
        let mut ready = Vec::new();
        for Shown { tool, arguments, listed } in &shown.calls {
            match snapshot.tools.get(tool).filter(|entry| entry.listed == *listed) {
                Some(entry) => ready.push((entry, arguments.clone())),
                None => {
                    let text =
                        format!("Nothing was done: {tool} is no longer what was shown. Ask for it again.");
                    return Ok(said(&text));
                }
            }
        }
        self.do_all(&ready, Some(&shown.request), call, context).await
    }
}

fn said(text: &str) -> Outcome {
    let structured = json!({"done": false, "asks": false, "calls": [], "wishes": []});
    ToolResult::content(json!([{"type": "text", "text": text}]), Some(structured), false).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_nothing_but_a_reply() {
        for (request, reply) in [
            ("do it", Some(Reply::Do)),
            ("Yes, do it!", Some(Reply::Do)),
            ("OK.", Some(Reply::Do)),
            ("No", Some(Reply::Forget)),
            ("don’t", Some(Reply::Forget)),
            ("cancel it", Some(Reply::Forget)),
            ("cancel order ord-1", None),
            ("do it for order ord-1", None),
            ("yes 5", None),
            ("", None),
            ("!?", None),
        ] {
            assert_eq!(Reply::of(request), reply, "{request}");
        }
    }

    #[test]
    fn what_was_shown_is_forgotten_after_a_while() {
        let shown = Preview::of(&[], "x", 1_000);
        assert!(shown.lives(1_000 + LIFE) && !shown.lives(1_001 + LIFE));
    }
}
