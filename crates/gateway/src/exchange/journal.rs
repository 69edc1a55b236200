//! The questions and answers of one call, in its stream of the event log.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use trunkline_event_log::RecordedEvent;
use trunkline_model::{
    AskError, CallContext, CallId, Event, EventData, EventKind, Json, Operation, Phase, Principal, Question,
    Resume,
};

use super::WayBack;
use crate::Gateway;
use crate::pipeline::Request;

/// The most questions that one call may ask.
const MAX_QUESTIONS: usize = 64;

/// The questions and answers of one call.
///
/// A question that equals one that was answered before gets that answer: a call that is made again after a restart
/// is brought to where it was.
pub(crate) struct Journal {
    gateway: Arc<Gateway>,
    origin: Origin,
    principal: Arc<Principal>,
    door: &'static str,
    entries: Mutex<Entries>,
}

/// What becomes of a question.
pub(super) enum Asked {
    /// It is put to the caller under this number.
    Open(u64),
    /// An equal one had this answer where the call was made before.
    Before(Result<Json, Json>),
}

#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    /// The origin is in the log.
    begun: bool,
    /// How many answered entries a call that is made again has used.
    replayed: Vec<bool>,
}

/// A question and, once it is there, its answer.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) question: Question,
    pub(crate) answer: Option<Result<Json, Json>>,
    /// An answer is on its way to the log.
    answering: bool,
}

/// What is needed to make the call again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) id: CallId,
    pub(crate) operation: Operation,
    pub(crate) name: Arc<str>,
    pub(crate) arguments: Json,
    pub(crate) meta: Option<Json>,
    pub(crate) responses: Option<Json>,
    pub(crate) state: Option<String>,
    pub(crate) conversation: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transaction: Option<Arc<str>>,
    /// The way back to the caller.
    pub(crate) door: Option<WayBack>,
}

#[derive(Serialize, Deserialize)]
struct AskedContext {
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    origin: Option<Origin>,
}

#[derive(Serialize, Deserialize)]
struct AnsweredContext {
    number: u64,
    refused: bool,
}

impl Origin {
    fn of(request: &Request, context: &CallContext, door: Option<WayBack>) -> Self {
        let resume = request.resume.as_ref();
        Self {
            id: request.id,
            operation: request.operation,
            name: request.name.clone(),
            arguments: request.arguments.clone(),
            meta: request.meta.clone(),
            responses: resume.map(|resume| resume.responses.clone()),
            state: resume.and_then(|resume| resume.state.clone()),
            conversation: context.conversation.clone(),
            transaction: request.transaction.clone(),
            door,
        }
    }

    /// The request as it was.
    pub(crate) fn request(&self, door: &'static str) -> Request {
        Request {
            stands_in: false,
            id: self.id,
            door,
            operation: self.operation,
            name: self.name.clone(),
            arguments: self.arguments.clone(),
            meta: self.meta.clone(),
            resume: self.responses.clone().map(|responses| Resume { responses, state: self.state.clone() }),
            idempotency_key: None,
            journaled: false,
            transaction: self.transaction.clone(),
            priority: None,
            wish: None,
        }
    }
}

impl Journal {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        request: &Request,
        context: &CallContext,
        door: Option<WayBack>,
    ) -> Self {
        let origin = Origin::of(request, context, door);
        let principal = context.principal.clone();
        Self { gateway, origin, principal, door: request.door, entries: Mutex::default() }
    }

    /// Reads the journal of a call that was under way when an earlier process ended. None where the call asked
    /// nothing, or has ended.
    pub(crate) async fn read(
        gateway: &Arc<Gateway>,
        call: CallId,
        door: &'static str,
    ) -> trunkline_event_log::Result<Option<Self>> {
        let mut origin = None;
        let mut principal = None;
        let mut list: Vec<Entry> = Vec::new();
        for RecordedEvent { event, .. } in whole_stream(gateway, call).await? {
            if [Phase::Completed, Phase::Failed]
                .map(|p| Event::type_of(EventKind::ToolExecution, p))
                .contains(&&*event.kind)
            {
                return Ok(None);
            }
            if event.kind == Event::type_of(EventKind::ToolExecution, Phase::Asked) {
                let Ok(context) = event.data.context.to::<AskedContext>() else { continue };
                origin = origin.or(context.origin);
                principal.get_or_insert(event.principal);
                let question =
                    Question { method: event.data.action.into_owned(), params: event.data.parameters };
                list.push(Entry { number: context.number, question, answer: None, answering: false });
            } else if event.kind == Event::type_of(EventKind::ToolExecution, Phase::Answered) {
                let Ok(context) = event.data.context.to::<AnsweredContext>() else { continue };
                let answer =
                    if context.refused { Err(event.data.parameters) } else { Ok(event.data.parameters) };
                if let Some(entry) = list.iter_mut().find(|entry| entry.number == context.number) {
                    entry.answer = Some(answer);
                }
            }
        }
        let (Some(origin), Some(principal)) = (origin, principal) else { return Ok(None) };
        let replayed = vec![false; list.len()];
        let entries = Mutex::new(Entries { list, begun: true, replayed });
        Ok(Some(Self { gateway: gateway.clone(), origin, principal, door, entries }))
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// How many questions were asked so far.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().list.len()
    }

    /// The questions without an answer.
    pub(crate) fn unanswered(&self) -> Vec<Entry> {
        self.entries.lock().list.iter().filter(|entry| entry.answer.is_none()).cloned().collect()
    }

    /// Puts a question into the log, unless an equal one is there from an earlier making of this call: then it has
    /// that one's answer or, where there is none yet, its number.
    pub(super) async fn asked(&self, question: &Question) -> Result<Asked, AskError> {
        let (number, origin) = {
            let mut entries = self.entries.lock();
            let Entries { list, replayed, begun } = &mut *entries;
            for (used, entry) in replayed.iter_mut().zip(list.iter()) {
                if !*used && is_same(&entry.question, question) {
                    *used = true;
                    return Ok(entry.answer.clone().map_or(Asked::Open(entry.number), Asked::Before));
                }
            }
            if list.len() >= MAX_QUESTIONS {
                return Err(AskError::Gone(format!("a call may ask {MAX_QUESTIONS} questions, and it has")));
            }
            let number = list.len() as u64 + 1;
            list.push(Entry { number, question: question.clone(), answer: None, answering: false });
            let origin = (!*begun).then(|| self.origin.clone());
            (number, origin)
        };
        let data = EventData {
            action: Cow::Owned(question.method.clone()),
            parameters: question.params.clone(),
            context: Json::from_serialize(&AskedContext { number, origin })
                .unwrap_or_else(|_| Json::empty_object()),
        };
        let appended = self.append(Phase::Asked, data).await;
        appended.map_err(|error| AskError::Gone(error.to_string()))?;
        self.entries.lock().begun = true;
        Ok(Asked::Open(number))
    }

    /// Puts an answer into the log. Returns whether it counts: it does not where the question has one already.
    pub(super) async fn answered(
        &self,
        number: u64,
        answer: &Result<Json, Json>,
    ) -> trunkline_event_log::Result<bool> {
        let method = {
            let mut entries = self.entries.lock();
            let Some(entry) = entries.list.iter_mut().find(|entry| entry.number == number) else {
                return Ok(false);
            };
            if entry.answer.is_some() || entry.answering {
                return Ok(false);
            }
            entry.answering = true;
            entry.question.method.clone()
        };
        let (Ok(body) | Err(body)) = answer;
        let context = AnsweredContext { number, refused: answer.is_err() };
        let data = EventData {
            action: Cow::Owned(method),
            parameters: body.clone(),
            context: Json::from_serialize(&context).unwrap_or_else(|_| Json::empty_object()),
        };
        let appended = self.append(Phase::Answered, data).await;
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.list.iter_mut().find(|entry| entry.number == number) {
            entry.answering = false;
            if appended.is_ok() {
                entry.answer = Some(answer.clone());
            }
        }
        appended.map(|()| true)
    }

    async fn append(&self, phase: Phase, data: EventData) -> trunkline_event_log::Result<()> {
        let target = self.gateway.label(self.origin.operation, &self.origin.name);
        let principal = self.principal.clone();
        let call = self.origin.id.0;
        self.gateway.recorder.append(call, phase, target, self.door, principal, data).await
    }
}

/// Every event of a call. It asks at most [`MAX_QUESTIONS`] questions, so there are not many.
async fn whole_stream(gateway: &Gateway, call: CallId) -> trunkline_event_log::Result<Vec<RecordedEvent>> {
    let mut events = Vec::new();
    let mut from = 1;
    loop {
        let page = gateway.log.read_stream(call, from, 4 * MAX_QUESTIONS).await?;
        events.extend(page.events);
        if page.end {
            return Ok(events);
        }
        from = page.next;
    }
}

/// Whether two questions ask the same. `_meta` is no part of a question: services number their messages there.
fn is_same(a: &Question, b: &Question) -> bool {
    let asked = |question: &Question| {
        let mut params = question.params.to_value();
        if let Some(members) = params.as_object_mut() {
            members.shift_remove("_meta");
        }
        params
    };
    a.method == b.method && asked(a) == asked(b)
}
