//! `ask`: what is to be done, in plain words, to the calls that do it. What only reads is done at once; what changes something is
//! shown first.

mod act;
mod told;
mod understand;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_discovery::ToolEntry;
use trunkline_model::{Call, CallContext, Failure, Json, Outcome};

use crate::{Error, Gateway};
use told::{dares, told};
use understand::Meaning;

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
    let wishes = gateway.understand(&given.request, context);
    let ready: Vec<(&ToolEntry, Json)> = wishes
        .iter()
        .filter_map(|wish| match &wish.meaning {
            Meaning::This(this) => Some((&this.0, this.1.call().filter(|_| !dares(&this.0, &this.1))?)),
            _ => None,
        })
        .collect();
    let reads = ready.iter().all(|(entry, _)| entry.tool.spec().effects.read_only);
    if ready.len() == wishes.len() && (reads || given.act) {
        return gateway.do_all(&ready, given.act.then_some(&*given.request), call, context).await;
    }
    Ok(told(&wishes).into())
}
