//! The way back to the caller of one call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;
use trunkline_model::{AskError, BoxFuture, CallContext, Client, ClientFeatures, Json, Question, Quota};

use super::journal::Asked;
use super::{Journal, Step};
use crate::Gateway;
use crate::pipeline::Request;

/// The most notes that wait for the caller; the oldest progress or log message goes first.
const MAX_NOTES: usize = 1_024;

/// What is known of the caller of a call.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// What its client can do.
    pub features: ClientFeatures,
    /// It asked for progress.
    pub wants_progress: bool,
    /// The least severe log message that it wants, as an RFC 5424 severity; none where it wants none.
    pub log_level: Option<u8>,
    /// It answers questions while its request waits. Otherwise its request ends with the questions, and it sends the
    /// request again with the answers.
    pub answers_live: bool,
    /// How long it waits for a tool that can go on by itself; none where it can't follow a task.
    pub patience: Option<Duration>,
    /// How to find the caller after a restart; kept in the record with the first question.
    pub way_back: Option<WayBack>,
}

/// How a caller that answers live is found again by another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WayBack {
    /// Its session.
    pub session: Arc<str>,
    /// The id of its request, as it came.
    pub request_id: Json,
    /// The token under which it wants progress.
    pub progress_token: Option<Json>,
}

/// The way back to the caller of one call.
pub struct Outbox {
    caller: Caller,
    journal: Journal,
    question_timeout: Duration,
    state: Mutex<State>,
    waker: AtomicWaker,
    cancelled: AtomicBool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Step>,
    open: BTreeMap<u64, Open>,
    /// Answers that came before their questions: a call that is made again has not got there yet.
    early: BTreeMap<u64, Result<Json, Json>>,
    waited: Duration,
    waiting_since: Option<Instant>,
    quotas: Vec<Quota>,
}

struct Open {
    question: Question,
    reply: oneshot::Sender<Result<Json, AskError>>,
}

impl Outbox {
    pub(super) fn new(
        gateway: &Arc<Gateway>,
        request: &Request,
        context: &CallContext,
        caller: Caller,
    ) -> Self {
        let journal = Journal::new(gateway.clone(), request, context, caller.way_back.clone());
        Self::with_journal(gateway, caller, journal)
    }

    pub(super) fn with_journal(gateway: &Arc<Gateway>, caller: Caller, journal: Journal) -> Self {
        let question_timeout = Duration::from_millis(gateway.rules.load().config.question_timeout_ms);
        Self {
            caller,
            journal,
            question_timeout,
            state: Mutex::default(),
            waker: AtomicWaker::new(),
            cancelled: AtomicBool::new(false),
        }
    }

    /// What is known of the caller.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The questions and answers of this call.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The questions that have no answer yet, by number.
    #[must_use]
    pub fn open_questions(&self) -> Vec<(u64, Question)> {
        self.state.lock().open.iter().map(|(number, open)| (*number, open.question.clone())).collect()
    }

    /// Takes the answer to a question. It is in the record before the call goes on.
    ///
    /// # Errors
    /// Where the answer can't be recorded. A second answer to a question is ignored.
    pub async fn answer(&self, number: u64, answer: Result<Json, Json>) -> trunkline_event_log::Result<()> {
        if !self.journal.answered(number, &answer).await? {
            return Ok(());
        }
        let mut state = self.state.lock();
        match state.open.remove(&number) {
            Some(open) => {
                state.pause();
                drop(state);
                // The call may have ended meanwhile; then nobody waits for the answer.
                let _ = open.reply.send(answer.map_err(AskError::Refused));
            }
            None => drop(state.early.insert(number, answer)),
        }
        Ok(())
    }

    /// What the call was told of its caller's limits.
    pub(crate) fn told_quotas(&self) -> Vec<Quota> {
        std::mem::take(&mut self.state.lock().quotas)
    }

    /// Whether the call waits for an answer.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.state.lock().open.is_empty()
    }

    /// Cancels the call: its future is dropped at the next step.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Puts questions to the caller again that it left unanswered.
    pub(super) fn ask_again(&self, numbers: &[u64]) {
        let open = self.open_questions();
        for (number, question) in open.into_iter().filter(|(number, _)| numbers.contains(number)) {
            self.put(Step::Question(number, question));
        }
    }

    pub(super) fn take(&self) -> Option<Step> {
        self.state.lock().queue.pop_front()
    }

    /// Whoever drives the exchange is woken by what comes next.
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    fn put(&self, step: Step) {
        let mut state = self.state.lock();
        if state.queue.len() >= MAX_NOTES {
            let oldest = state.queue.iter().position(|s| !matches!(s, Step::Question(..)));
            state.queue.remove(oldest.unwrap_or(0));
        }
        state.queue.push_back(step);
        drop(state);
        self.waker.wake();
    }

    fn supports(&self, question: &Question) -> bool {
        let features = &self.caller.features;
        match question.method.as_str() {
            "sampling/createMessage" => features.sampling,
            "roots/list" => features.roots,
            "elicitation/create" => {
                let url = question.params.to_value()["mode"] == "url";
                if url { features.elicitation_url } else { features.elicitation_form }
            }
            _ => false,
        }
    }
}

/// A question that is being waited for. However the waiting ends, the question is closed.
struct Asking<'a> {
    outbox: &'a Outbox,
    number: u64,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.outbox.state.lock();
        state.open.remove(&self.number);
        state.pause();
    }
}

impl State {
    /// Stops the clock of waiting when no question is open.
    fn pause(&mut self) {
        if self.open.is_empty()
            && let Some(since) = self.waiting_since.take()
        {
            self.waited += since.elapsed();
        }
    }
}

impl Client for Outbox {
    fn features(&self) -> ClientFeatures {
        self.caller.features
    }

    fn wants_progress(&self) -> bool {
        self.caller.wants_progress
    }

    fn patience(&self) -> Option<Duration> {
        self.caller.patience
    }

    fn waited(&self) -> Duration {
        let state = self.state.lock();
        state.waited + state.waiting_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn quotas(&self, quotas: &[Quota]) {
        self.state.lock().quotas = quotas.to_vec();
    }

    fn progress(&self, params: &Json) {
        if self.caller.wants_progress {
            self.put(Step::Progress(params.clone()));
        }
    }

    fn log(&self, params: &Json) {
        let Some(wanted) = self.caller.log_level else { return };
        if crate::mcp::severity_of(params).is_none_or(|severity| severity <= wanted) {
            self.put(Step::Log(params.clone()));
        }
    }

    fn ask<'a>(&'a self, question: Question) -> BoxFuture<'a, Result<Json, AskError>> {
        Box::pin(async move {
            if !self.supports(&question) {
                return Err(AskError::Unsupported(question.method));
            }
            let number = match self.journal.asked(&question).await? {
                Asked::Open(number) => number,
                Asked::Before(answer) => return answer.map_err(AskError::Refused),
            };
            let (reply, answer) = oneshot::channel();
            {
                let mut state = self.state.lock();
                if let Some(answer) = state.early.remove(&number) {
                    return answer.map_err(AskError::Refused);
                }
                state.open.insert(number, Open { question: question.clone(), reply });
                state.waiting_since.get_or_insert_with(Instant::now);
            }
            let _asking = Asking { outbox: self, number };
            self.put(Step::Question(number, question));
            match tokio::time::timeout(self.question_timeout, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(AskError::Gone("the call has ended".to_owned())),
                Err(_) => {
                    let within = self.question_timeout.as_millis();
                    Err(AskError::Gone(format!("no answer within {within} ms")))
                }
            }
        })
    }
}
