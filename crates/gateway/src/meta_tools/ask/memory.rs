//! What conversations are about: what was mentioned and returned, what callers prefer and work with. Of those who ask or search, and
//! of nobody else; each principal, in each of its sessions, has its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_discovery::conversation::{Conversation, Event, LIFE};
use trunkline_model::{CallContext, Operation, Outcome, Principal, ToolResult};

use super::super::SERVICE;
use super::previews::Preview;
use crate::Gateway;
use crate::pipeline::Request;

/// The stream of all conversations.
pub(crate) const STREAM: &str = "conversations";

/// What the events are called.
pub(crate) const SAID: &str = "said";

/// The most conversations that are remembered.
const MOST: usize = 1_024;

/// The most events that a process begins with.
const MOST_REMEMBERED: usize = 8_192;

/// The largest answer that is read, in bytes.
const LARGEST: usize = 256 << 10;

/// The conversations under way.
#[derive(Default)]
pub(crate) struct Conversations {
    /// How many there are, so that a call of who has none takes no lock.
    many: AtomicUsize,
    all: Mutex<HashMap<Arc<str>, Held>>,
}

struct Held {
    conversation: Conversation,
    last: u64,
    /// What was shown last and not done.
    shown: Option<Preview>,
}

impl Held {
    fn new(last: u64) -> Self {
        Self { conversation: Conversation::default(), last, shown: None }
    }
}

/// An event of a conversation in the log.
#[derive(Serialize, Deserialize)]
pub(crate) struct Said {
    who: Arc<str>,
    event: Event,
}

impl Conversations {
    /// What a caller's conversation is about; it begins where there is none.
    pub(super) fn of(&self, context: &CallContext, now: u64) -> Conversation {
        let who = who(&context.principal, context.conversation.as_deref());
        let mut all = self.all.lock();
        make_room(&mut all, now);
        let held = all.entry(who).or_insert_with(|| Held::new(now));
        held.last = now;
        let conversation = held.conversation.clone();
        self.many.store(all.len(), Ordering::Relaxed);
        conversation
    }

    /// Goes on by an event, where the conversation is under way or may begin.
    fn apply(&self, who: &Arc<str>, event: &Event, begins: bool) -> bool {
        let mut all = self.all.lock();
        if begins && !all.contains_key(who) {
            make_room(&mut all, event.at());
            all.insert(who.clone(), Held::new(event.at()));
            self.many.store(all.len(), Ordering::Relaxed);
        }
        let Some(held) = all.get_mut(who) else { return false };
        held.last = held.last.max(event.at());
        held.conversation.apply(event);
        true
    }

    /// Takes what was shown out of a conversation, so that it is done once at most.
    fn take_shown(&self, who: &str, now: u64) -> Option<Preview> {
        let mut all = self.all.lock();
        all.get_mut(who)?.shown.take().filter(|shown| shown.lives(now))
    }

    /// Keeps what was shown in a conversation that is under way.
    fn show(&self, who: &str, shown: Preview) -> bool {
        let mut all = self.all.lock();
        all.get_mut(who).map(|held| held.shown = Some(shown)).is_some()
    }

    fn knows(&self, who: &str) -> bool {
        self.many.load(Ordering::Relaxed) > 0 && self.all.lock().contains_key(who)
    }
}

/// Lets the one go that has said nothing for longest, where there are too many.
fn make_room(all: &mut HashMap<Arc<str>, Held>, now: u64) {
    if all.len() < MOST {
        return;
    }
    let life = u64::try_from(LIFE.as_millis()).unwrap_or(u64::MAX);
    all.retain(|_, held| now.saturating_sub(held.last) <= life);
    while all.len() >= MOST {
        let oldest = all.iter().min_by_key(|(_, held)| held.last).map(|(who, _)| who.clone());
        let Some(oldest) = oldest else { return };
        all.remove(&oldest);
    }
}

/// Whose conversation it is. No two principals have the same, and no two sessions of one.
fn who(principal: &Principal, session: Option<&str>) -> Arc<str> {
    Arc::from(json!([principal.kind, principal.id, session]).to_string())
}

impl Gateway {
    /// The time of day, as conversations count it.
    pub(in super::super) fn now_ms(&self) -> u64 {
        u64::try_from((self.sources.now)().as_millisecond()).unwrap_or(0)
    }

    /// What a caller's conversation is about.
    pub(in super::super) fn conversation(&self, context: &CallContext) -> Conversation {
        self.conversations.of(context, self.now_ms())
    }

    /// Takes what was shown to a caller last. Calls without a conversation have nothing in common: to them nothing was.
    pub(super) fn take_shown(&self, context: &CallContext) -> Option<Preview> {
        let who = who(&context.principal, Some(context.conversation.as_deref()?));
        self.conversations.take_shown(&who, self.now_ms())
    }

    /// Keeps what is shown to a caller, who can then say "do it". Gives whether that is so.
    pub(super) fn show(&self, context: &CallContext, shown: Preview) -> bool {
        let Some(session) = context.conversation.as_deref() else { return false };
        self.conversations.show(&who(&context.principal, Some(session)), shown)
    }

    /// Something was said, or came of a call: that goes to the conversation and to the record.
    pub(super) fn said(self: &Arc<Self>, context: &CallContext, event: Event) {
        let who = who(&context.principal, context.conversation.as_deref());
        if !self.conversations.apply(&who, &event, true) || !self.rules.load().config.record.conversations {
            return;
        }
        let (gateway, principal) = (self.clone(), context.principal.clone());
        let said = json!(Said { who, event });
        self.spawn(async move { gateway.recorder.said(said, principal).await });
    }

    /// A call has come to something: what it was made with and what it returned can be spoken of from now on.
    pub(crate) fn heard(self: &Arc<Self>, request: &Request, context: &CallContext, outcome: &Outcome) {
        if self.conversations.many.load(Ordering::Relaxed) == 0 || request.operation != Operation::CallTool {
            return;
        }
        let Outcome::Complete(result) = outcome else { return };
        let known = || self.conversations.knows(&who(&context.principal, context.conversation.as_deref()));
        if result.is_error || result.body.len() > LARGEST || !known() {
            return;
        }
        let snapshot = self.catalog.snapshot();
        let Some(entry) = snapshot.tools.get(&request.name) else { return };
        let spec = entry.tool.spec();
        if spec.service.as_str() == SERVICE {
            return;
        }
        let arguments = request.arguments.to_value();
        self.said(context, Event::called(self.now_ms(), &entry.name, &arguments, &value(result)));
    }

    /// Takes up the conversations of an earlier process.
    pub(in super::super) async fn recall(&self) {
        let Ok(events) = self.log.newest_of(STREAM, MOST_REMEMBERED).await else { return };
        for recorded in events.iter().rev().filter(|recorded| recorded.event.data.action == SAID) {
            if let Ok(Said { who, event }) = recorded.event.data.context.to() {
                self.conversations.apply(&who, &event, true);
            }
        }
    }
}

/// What a result says, as JSON.
fn value(result: &ToolResult) -> Value {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        structured_content: Option<Value>,
        content: Option<Vec<Block>>,
    }
    #[derive(Deserialize)]
    struct Block {
        text: Option<String>,
    }
    let Ok(Body { structured_content, content }) = result.body.to() else { return Value::Null };
    let text = || {
        let first = content.into_iter().flatten().next()?.text?;
        serde_json::from_str(&first).ok()
    };
    structured_content.or_else(text).unwrap_or(Value::Null)
}

/// What a request says of itself and of no tool: a preference, or that all be forgotten.
pub(super) fn remark(request: &str, at: u64) -> Option<(Event, String)> {
    let bare = request.trim().trim_end_matches(['.', '!']);
    if ["forget everything", "forget it all", "start over"].iter().any(|all| bare.eq_ignore_ascii_case(all)) {
        return Some((Event::Cleared { at }, "Everything that was said is forgotten.".to_owned()));
    }
    if let Some(name) = after(bare, "forget my ").filter(|name| name.split_whitespace().count() <= 3) {
        let event = Event::Preferred { at, name: joined(name), value: Value::Null };
        return Some((event, format!("Your {name} is forgotten.")));
    }
    let rest = ["remember that ", "remember: ", "from now on ", "from now on, ", "by default "]
        .iter()
        .find_map(|begins| after(bare, begins))?;
    let rest = ["my ", "our ", "the "].iter().find_map(|of| after(rest, of)).unwrap_or(rest);
    let (name, told) = [" is ", " are ", " = ", ": "].iter().find_map(|is| rest.split_once(is))?;
    let (name, told) = (name.trim(), told.trim().trim_matches('"'));
    if told.is_empty() || name.is_empty() || name.split_whitespace().count() > 3 {
        return None;
    }
    let value = match serde_json::from_str::<Value>(told) {
        Ok(plain @ (Value::Number(_) | Value::Bool(_))) => plain,
        _ => json!(told),
    };
    Some((Event::Preferred { at, name: joined(name), value }, format!("Noted: {name} is {told}.")))
}

fn joined(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join("_").to_lowercase()
}

/// What follows these words, in whatever case.
fn after<'a>(text: &'a str, begins: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(begins.len())?;
    head.eq_ignore_ascii_case(begins).then(|| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_preferred_is_told_from_what_is_wanted() {
        let name = |text: &str| match remark(text, 1) {
            Some((Event::Preferred { name, value, .. }, _)) => Some((name, value)),
            _ => None,
        };
        assert_eq!(name("Remember that my currency is EUR."), Some(("currency".into(), json!("EUR"))));
        assert_eq!(name("from now on the page size is 5"), Some(("page_size".into(), json!(5))));
        assert_eq!(name("forget my currency"), Some(("currency".into(), Value::Null)));
        assert_eq!(name("ship order 5 to Berlin"), None);
        assert_eq!(name("remember that"), None);
        assert!(matches!(remark("forget everything", 1), Some((Event::Cleared { .. }, _))));
    }

    #[test]
    fn the_longest_silent_goes_first() {
        let conversations = Conversations::default();
        let said = |at: u64| Event::Mentioned { at, entities: vec![("order_id".to_owned(), json!("o-1"))] };
        for number in 0..=MOST as u64 {
            conversations.apply(&Arc::from(number.to_string()), &said(number), true);
        }
        assert!(!conversations.knows("0") && conversations.knows("1"));
        assert!(!conversations.apply(&Arc::from("0"), &said(9), false));
        let (ann, bob) = (Principal::api_key("ann"), Principal::api_key("bob"));
        assert_ne!(who(&ann, None), who(&bob, None));
        assert_ne!(who(&ann, None), who(&ann, Some("s")));
        assert_ne!(who(&Principal::local(), None), who(&Principal::api_key("local"), None));
    }
}
