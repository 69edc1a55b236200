//! What a task says of its place in a saga, in its metadata under [`SAGA`]: the specification has no compensation of
//! its own, and leaves metadata to us.

use std::sync::Arc;

use serde_json::Value;

use crate::expression::Template;

use super::control::{self, RetryPolicy};
use super::node::Node;

/// The member of a task's metadata that holds what it says of its place in a saga.
pub const SAGA: &str = "trunkline.dev/saga";

/// A task's place in a saga.
#[derive(Clone, Debug, Default)]
pub struct Saga {
    /// The id of the step of a plan that the task came from.
    pub step: Option<Arc<str>>,
    /// What takes back its effect.
    pub undo: Undo,
    /// Whether it is the step after which nothing is taken back any more: what follows is retried until it is done.
    pub pivot: bool,
    /// How its call is retried, before anything else is done about its failure.
    pub retry: Option<Arc<RetryPolicy>>,
}

/// What takes back the effect of a step.
#[derive(Clone, Debug, Default)]
pub enum Undo {
    /// Nothing is said.
    #[default]
    Unsaid,
    /// Nothing takes it back, and its author says so (`false`).
    Nothing,
    /// Nothing needs to take it back, for this reason (text that starts with `safe`).
    Safe(Arc<str>),
    /// A call takes it back.
    Call(Arc<UndoCall>),
}

/// A call that takes back the effect of a step.
#[derive(Clone, Debug)]
pub struct UndoCall {
    /// The tool.
    pub tool: Arc<str>,
    /// Its arguments. Their expressions see `.` as `{input, steps}`, where `steps` holds the step's own result too; in a
    /// loop, the result of this round, with `$item` and `$index`. `$input` and `$output` are the task's own.
    pub args: Template,
    /// Whether it does no harm where the step had no effect: then it may also be called where nobody knows.
    pub safe: bool,
}

const UNDO: &str =
    "an object with a tool and its args, false, or text that starts with \"safe\" and says why";

pub(super) fn read(node: Node<'_>) -> Option<Saga> {
    let members = node.object()?;
    let step = members.optional("step", Node::name);
    let undo = members.optional("undo", undo).unwrap_or_default();
    let pivot = members.optional("pivot", Node::boolean).unwrap_or(false);
    let retry = members.optional("retry", control::retry).map(Arc::new);
    members.finish();
    Some(Saga { step, undo, pivot, retry })
}

pub(crate) fn undo(node: Node<'_>) -> Option<Undo> {
    match node.value() {
        Value::Bool(false) => return Some(Undo::Nothing),
        Value::String(reason) if reason.starts_with("safe") => {
            return Some(Undo::Safe(Arc::from(reason.as_str())));
        }
        Value::Object(_) => {}
        _ => return node.unexpected(UNDO),
    }
    let members = node.object()?;
    members.synonyms(&super::node::CALL_SYNONYMS);
    let tool = members.required("tool", "the name of the tool that undoes it", Node::name);
    let args = members.optional("args", |node| node.map()).unwrap_or_default();
    let safe = members.optional("safe", Node::boolean).unwrap_or(false);
    members.finish();
    Some(Undo::Call(Arc::new(UndoCall { tool: tool?, args: Template::new(Value::Object(args)), safe })))
}
