//! `ask`: what is to be done, in plain words, to the calls that do it. What only reads is done at once; what changes something is
//! shown first.

mod act;
mod elicit;
mod forms;
mod intents;
mod memory;
mod model;
mod previews;
mod route;
mod told;
mod understand;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_discovery::ToolEntry;
use trunkline_discovery::conversation::Event;
use trunkline_model::{Call, CallContext, Failure, Json, Outcome, ToolResult};

use crate::encoder::Asked;
use crate::{Error, Gateway};
pub(crate) use forms::Forms;
pub use intents::IntentConfig;
pub(crate) use intents::Intentions;
pub(crate) use memory::{Conversations, SAID, STREAM};
pub use model::{ArgumentModel, Prompt, Writer};
use previews::{Preview, Reply};
use told::{told, with_meaning};
use understand::{Hearing, Meaning, Wish};

pub(super) const DESCRIPTION: &str = "Does what is asked in plain words: finds the tools and their arguments. What only reads \
is done at once, what changes something is shown first and done with \"do\". Asks for what is missing.";

/// The longest request, in bytes.
const LONGEST: usize = 4 << 10;

pub(super) fn input() -> Value {
    json!({
        "request": {"type": "string", "description": "What is to be done."},
        "do": {"type": "boolean", "description": "Also do what changes something."},
        "required": ["request"],
    })
}

#[derive(Deserialize)]
struct Given {
    request: String,
    #[serde(rename = "do", default)]
    act: bool,
}

pub(super) async fn execute(
    gateway: &Arc<Gateway>,
    call: &Call,
    context: &CallContext,
) -> Result<Outcome, Failure> {
    let given: Given = call.arguments.to().map_err(|error| Error::Params(error.to_string()))?;
    if given.request.len() > LONGEST {
        return Err(Error::Params(format!("a request has at most {LONGEST} bytes")).into());
    }
    let now = gateway.now_ms();
    let shown = gateway.take_shown(context);
    if let Some(reply) = Reply::of(&given.request) {
        return gateway.replied(reply, shown, call, context).await;
    }
    if let Some((event, noted)) = memory::remark(&given.request, now) {
        gateway.said(context, event);
        let structured = json!({"done": true, "asks": false, "calls": [], "wishes": []});
        return Ok(
            ToolResult::content(json!([{"type": "text", "text": noted}]), Some(structured), false).into()
        );
    }
    let Asked { vectors, without } = gateway.encode_wishes(&given.request).await;
    let mut hearing = Hearing { context, conversation: gateway.conversation(context), now, vectors };
    let mut wishes = gateway.understand(&given.request, &mut hearing);
    let entities: Vec<_> = wishes.iter().flat_map(|wish| wish.meaning.mentioned()).collect();
    if !entities.is_empty() {
        gateway.said(context, Event::Mentioned { at: now, entities });
    }
    gateway.route(&mut wishes, &hearing);
    gateway.write_arguments(&mut wishes, &hearing).await;
    gateway.ask_back(&mut wishes, &hearing).await;
    let ready: Vec<(&ToolEntry, Json)> = wishes.iter().filter_map(call_of).collect();
    let reads = ready.iter().all(|(entry, _)| entry.tool.spec().effects.read_only);
    if ready.len() == wishes.len() && (reads || given.act) {
        let done = gateway.do_all(&ready, given.act.then_some(&*given.request), call, context).await?;
        return Ok(with_meaning(done, &wishes, without.as_deref()));
    }
    let complete = ready.len() == wishes.len();
    let held = complete && gateway.show(context, Preview::of(&ready, &given.request, now));
    Ok(told(&wishes, held, without.as_deref()).into())
}

/// The call that a wish comes to, where nothing of it is missing or guessed.
fn call_of<'a>(wish: &'a Wish<'_>) -> Option<(&'a ToolEntry, Json)> {
    let Meaning::This(plan) = &wish.meaning else { return None };
    let arguments = plan.filled.call().filter(|_| !plan.dares())?;
    Some((&plan.aim.entry, arguments))
}
