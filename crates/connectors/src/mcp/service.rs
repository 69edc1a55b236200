//! An MCP server as a service.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::Instant;
use url::Url;

use trunkline_model::{
    BoxFuture, Call, CallContext, Contents, Failure, Freshness, InputRequired, Json, Operation, Outcome,
    Resume, Service, ServiceId, ServiceObserver, ServiceStatus, Task, TaskOrder, ToolResult,
};

use super::auth::Auth;
use super::client::{ClientInfo, Request, Session};
use super::config::{Config, Session as SessionKind};
use super::conversations::Conversations;
use super::error::Error;
use super::headers::header_value;
use super::hub::Hub;
use super::jsonrpc::{self, Reply};
use super::link::Link;
use super::supervise::{Remote, Runner};
use super::tasks;

/// How often one request is sent anew because it did not reach the server.
const MAX_ATTEMPTS: u32 = 3;

/// The most resources that are subscribed to.
const MAX_SUBSCRIPTIONS: usize = 10_000;

/// An MCP server as a service. What it does by itself is done by its [`Runner`].
pub struct McpService {
    core: Arc<Core>,
}

/// What the service, its tools and its runner share.
pub(super) struct Core {
    pub(super) hub: Arc<Hub>,
    pub(super) link: Arc<Link>,
    /// Sessions of single conversations, where each has its own.
    pub(super) conversations: Option<Conversations>,
    /// The resources that are subscribed to.
    pub(super) subscriptions: Mutex<BTreeSet<String>>,
    pub(super) subscriptions_changed: Notify,
}

/// Makes a service of a configured MCP server. Nothing happens before the runner runs.
///
/// # Errors
/// [`Error::Config`] where the configuration can't be used.
pub fn build(
    config: Config,
    id: ServiceId,
    client: ClientInfo,
    observer: Arc<dyn ServiceObserver>,
) -> Result<(Arc<McpService>, Runner), Error> {
    let mut auth = None;
    let remote = match (&config.url, config.command.is_empty()) {
        (Some(url), true) => {
            let url = Url::parse(url).map_err(|error| Error::Config(format!("`url` {url}: {error}")))?;
            if let Some(oauth) = &config.oauth {
                auth = Some(Auth::new(url.clone(), oauth.clone(), client.name.clone()));
            }
            Remote::Http(Box::new(super::supervise::HttpRemote::new(&url, &config, &client)?))
        }
        (None, false) => Remote::Child,
        _ => return Err(Error::Config("exactly one of `command` and `url` is needed".to_owned())),
    };
    let newest = super::supervise::newest_revision(&config)?;
    let (conversations, beginning) = match config.session {
        SessionKind::PerConversation => {
            let (conversations, beginning) = Conversations::new();
            (Some(conversations), Some(beginning))
        }
        SessionKind::Shared => (None, None),
    };
    let core = Arc::new(Core {
        hub: Arc::new(Hub::new(id, config, client, observer, auth)),
        link: Arc::default(),
        conversations,
        subscriptions: Mutex::default(),
        subscriptions_changed: Notify::new(),
    });
    Ok((Arc::new(McpService { core: Arc::clone(&core) }), Runner::new(core, remote, newest, beginning)))
}

impl Core {
    /// The failure of a tool whose service is no longer there.
    pub(super) fn gone(service: &ServiceId) -> Failure {
        let cause = "the service is no longer configured".to_owned();
        Error::Unreachable { service: service.to_string(), cause }.into_failure(service.as_str())
    }

    /// Makes a call and reads what it comes to.
    pub(super) async fn perform(
        &self,
        request: &Request<'_>,
        context: &CallContext,
    ) -> Result<Outcome, Failure> {
        self.within_time(pin!(self.call(request, context)), context).await
    }

    async fn within_time(
        &self,
        call: Pin<&mut impl Future<Output = Result<Outcome, Error>>>,
        context: &CallContext,
    ) -> Result<Outcome, Failure> {
        let limit = Duration::from_millis(self.hub.config.timeout_ms);
        within_time(limit, call, context).await.map_err(|error| error.into_failure(self.hub.id.as_str()))
    }

    async fn call(&self, request: &Request<'_>, context: &CallContext) -> Result<Outcome, Error> {
        let (session, result) = self.send(request, Some(context)).await?;
        if !is_task(&result) {
            return outcome(result);
        }
        Box::pin(tasks::begun(&session, &result, context)).await
    }

    /// Sends a request over the present session, or the next one where this one has ended and nothing has happened.
    pub(super) async fn send(
        &self,
        request: &Request<'_>,
        context: Option<&CallContext>,
    ) -> Result<(Arc<Session>, Json), Error> {
        let mut attempt = 1;
        let link = self.link_of(context)?;
        loop {
            let Some(session) = link.session().await else { return Err(self.unreachable()) };
            self.check_offered(request, &session)?;
            let error = match session.request(request, context).await {
                Ok(reply) => {
                    if matches!(&reply, Reply::Error(error) if error.code == jsonrpc::HEADER_MISMATCH) {
                        // The tool wants other headers than it did: the next call will know.
                        self.hub.changed.notify_one();
                    }
                    return Ok((session, reply.into_result()?));
                }
                Err(error) => error,
            };
            let again = match &error {
                Error::NotSent(_) | Error::SessionExpired => {
                    link.discard(&session);
                    true
                }
                Error::Lost(_) => {
                    link.suspect.notify_one();
                    request.repeatable
                }
                _ => false,
            };
            if !again || attempt == MAX_ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
        }
    }

    /// Where a call's session is.
    fn link_of(&self, context: Option<&CallContext>) -> Result<Arc<Link>, Error> {
        match (&self.conversations, context.and_then(|context| context.conversation.as_ref())) {
            (Some(conversations), Some(conversation)) => conversations.link(conversation),
            _ => Ok(Arc::clone(&self.link)),
        }
    }

    /// Answers what a task has asked, and follows it on.
    pub(super) async fn resume_task(
        &self,
        task: &str,
        resume: &Resume,
        context: &CallContext,
    ) -> Result<Outcome, Failure> {
        let going_on = async {
            let link = self.link_of(Some(context))?;
            let Some(session) = link.session().await else { return Err(self.unreachable()) };
            tasks::resume(&session, task, &resume.responses, context).await
        };
        self.within_time(pin!(going_on), context).await
    }

    /// Asks something about a task, within the time of a call.
    async fn of_task<T, F: Future<Output = Result<T, Error>>>(
        &self,
        context: &CallContext,
        ask: impl FnOnce(Arc<Session>) -> F,
    ) -> Result<T, Failure> {
        let asking = async {
            let link = self.link_of(Some(context))?;
            let Some(session) = link.session().await else { return Err(self.unreachable()) };
            ask(session).await
        };
        let limit = Duration::from_millis(self.hub.config.timeout_ms);
        let asked = within_time(limit, pin!(asking), context).await;
        asked.map_err(|error| error.into_failure(self.hub.id.as_str()))
    }

    fn unreachable(&self) -> Error {
        let status = self.hub.status();
        let cause = status.cause.unwrap_or_else(|| "it has not answered yet".to_owned());
        Error::Unreachable { service: self.hub.id.to_string(), cause }
    }

    /// Refuses what the server has not declared.
    fn check_offered(&self, request: &Request<'_>, session: &Session) -> Result<(), Error> {
        let facts = &session.facts;
        match request.method {
            "prompts/get" if !facts.prompts => Err(Error::NotOffered("prompts")),
            "resources/read" if !facts.resources => Err(Error::NotOffered("resources")),
            "completion/complete" if !facts.completions => Err(Error::NotOffered("completion of arguments")),
            _ => Ok(()),
        }
    }

    async fn request(&self, call: &Call, context: &CallContext) -> Result<Outcome, Failure> {
        let name = jsonrpc::quoted(&call.name);
        let arguments = if call.arguments.is_object() { call.arguments.as_str() } else { "{}" };
        let params = match call.operation {
            Operation::CallTool | Operation::GetPrompt => format!(r#""name":{name},"arguments":{arguments}"#),
            Operation::ReadResource => format!(r#""uri":{name}"#),
            Operation::Complete => members(&call.arguments),
        };
        let resume = call.resume.as_ref().map(resume_members).unwrap_or_default();
        let named = call.operation != Operation::Complete;
        let request = Request {
            method: call.operation.method(),
            params: &[params.as_bytes(), &resume],
            meta: call.meta.as_ref(),
            name: named.then(|| header_value(&call.name)).flatten(),
            param_headers: Vec::new(),
            repeatable: call.operation != Operation::CallTool,
        };
        self.perform(&request, context).await
    }

    async fn subscribe(&self, uri: &str, on: bool) -> Result<(), Error> {
        {
            let mut subscriptions = self.subscriptions.lock();
            if on && subscriptions.len() >= MAX_SUBSCRIPTIONS {
                return Err(Error::TooManySessions(MAX_SUBSCRIPTIONS));
            }
            if !(if on { subscriptions.insert(uri.to_owned()) } else { subscriptions.remove(uri) }) {
                return Ok(());
            }
        }
        let Some(session) = self.link.session().await else { return Err(self.unreachable()) };
        if !session.facts.subscribe {
            self.subscriptions.lock().remove(uri);
            return Err(Error::NotOffered("subscriptions to resources"));
        }
        if session.revision.is_modern() {
            self.subscriptions_changed.notify_one();
            return Ok(());
        }
        let method = if on { "resources/subscribe" } else { "resources/unsubscribe" };
        let limit = Duration::from_millis(self.hub.config.timeout_ms);
        let params = format!(r#""uri":{}"#, jsonrpc::quoted(uri));
        let answer = tokio::time::timeout(limit, session.ask(method, &params));
        let answer = answer.await.unwrap_or(Err(Error::Timeout(limit)));
        if answer.is_err() && on {
            self.subscriptions.lock().remove(uri);
        }
        answer.map(|_| ())
    }
}

impl Service for McpService {
    fn id(&self) -> &ServiceId {
        &self.core.hub.id
    }

    fn status(&self) -> ServiceStatus {
        self.core.hub.status()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let Some(session) = self.core.link.session().await else {
                return Err(self.core.unreachable().to_string());
            };
            let method = if session.revision.is_modern() { "server/discover" } else { "ping" };
            match session.ask(method, "").await {
                // An error of the server's own is an answer.
                Ok(_) | Err(Error::Rpc(_)) => Ok(()),
                Err(error) => Err(format!("{method}: {error}")),
            }
        })
    }

    fn rediscover(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let hub = &self.core.hub;
            let mut reads = hub.reads.subscribe();
            // One that is under way may have begun too early.
            let (begun, _) = *reads.borrow_and_update();
            hub.changed.notify_one();
            reads.wait_for(|(_, ended)| *ended > begun).await.is_ok()
        })
    }

    fn contents(&self) -> Arc<Contents> {
        self.core.hub.contents.load_full()
    }

    fn request<'a>(
        &'a self,
        call: &'a Call,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(self.core.request(call, context))
    }

    fn task<'a>(
        &'a self,
        id: &'a str,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Option<Task>, Failure>> {
        Box::pin(async move {
            let look = |session| async move { tasks::look(&session, id, context).await };
            self.core.of_task(context, look).await.map(Some)
        })
    }

    fn order_task<'a>(
        &'a self,
        id: &'a str,
        order: TaskOrder,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move {
            let order = &order;
            let asked = |session| async move { tasks::order(&session, id, order, context).await };
            self.core.of_task(context, asked).await.map(|()| true)
        })
    }

    fn subscribe<'a>(&'a self, uri: &'a str, on: bool) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let done = self.core.subscribe(uri, on).await;
            done.map_err(|error| error.into_failure(self.core.hub.id.as_str()))
        })
    }
}

/// Waits for a call as long as the service and the caller's deadline allow. Time spent waiting for the caller's answers
/// counts for neither.
async fn within_time<T>(
    limit: Duration,
    mut call: Pin<&mut impl Future<Output = Result<T, Error>>>,
    context: &CallContext,
) -> Result<T, Error> {
    let start = Instant::now();
    let before = context.client.waited();
    let deadline = || {
        let waited = context.client.waited();
        (start + limit + waited.saturating_sub(before)).min(Instant::from_std(context.deadline) + waited)
    };
    let mut sleep = pin!(tokio::time::sleep_until(deadline()));
    loop {
        tokio::select! {
            biased;
            outcome = &mut call => return outcome,
            () = &mut sleep => {
                let deadline = deadline();
                if deadline <= Instant::now() + Duration::from_millis(1) {
                    return Err(Error::Timeout(start.elapsed()));
                }
                sleep.as_mut().reset(deadline);
            }
        }
    }
}

/// The members of `params` that continue a call which asked for input, each preceded by a comma.
pub(super) fn resume_members(resume: &Resume) -> Vec<u8> {
    let mut out = format!(r#","inputResponses":{}"#, resume.responses);
    if let Some(state) = &resume.state {
        out.push_str(r#","requestState":"#);
        out.push_str(&jsonrpc::quoted(state));
    }
    out.into_bytes()
}

/// The members of an object but for `_meta`, as text without the braces.
fn members(object: &Json) -> String {
    let mut out = String::with_capacity(object.len());
    jsonrpc::for_each_member(object, |key, value| {
        if key != "_meta" {
            if !out.is_empty() {
                out.push(',');
            }
            out.push_str(&jsonrpc::quoted(key));
            out.push(':');
            out.push_str(value.get());
        }
    });
    out
}

/// Whether a result tells of a task. Looks at the whole text only where a cheap search finds the word.
fn is_task(result: &Json) -> bool {
    memchr::memmem::find(result.as_bytes(), br#""task""#).is_some() && {
        let mut task = false;
        jsonrpc::for_each_member(result, |key, value| {
            task |= key == "resultType" && value.get() == r#""task""#;
        });
        task
    }
}

/// What a result object means.
pub(super) fn outcome(result: Json) -> Result<Outcome, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe<'a> {
        #[serde(default)]
        is_error: Option<bool>,
        #[serde(borrow, default)]
        result_type: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        ttl_ms: Option<&'a RawValue>,
        #[serde(borrow, default)]
        cache_scope: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wanted<'a> {
        #[serde(borrow, default)]
        input_requests: Option<&'a RawValue>,
        #[serde(default)]
        request_state: Option<String>,
    }
    let unreadable = |error: serde_json::Error| Error::Garbage(format!("{error} in the result"));
    if !result.is_object() {
        return Err(Error::Garbage(format!(
            "the result is no object: {}",
            jsonrpc::excerpt(result.as_bytes())
        )));
    }
    let probe: Probe<'_> = serde_json::from_slice(result.as_bytes()).map_err(unreadable)?;
    match probe.result_type.as_deref() {
        None | Some("complete") => {
            let is_error = probe.is_error.unwrap_or(false);
            let freshness = probe.ttl_ms.map(|ttl| freshness(ttl, probe.cache_scope));
            let result = ToolResult::raw(result, is_error);
            Ok(match freshness {
                Some(freshness) => result.fresh(freshness),
                None => result,
            }
            .into())
        }
        Some("input_required") => {
            let bytes = result.bytes();
            let wanted: Wanted<'_> = serde_json::from_slice(&bytes).map_err(unreadable)?;
            let requests = wanted.input_requests.map(|raw| Json::slice_of(&bytes, raw));
            let requests = requests.filter(Json::is_object).unwrap_or_else(Json::empty_object);
            Ok(Outcome::InputRequired(InputRequired { requests, state: wanted.request_state }))
        }
        Some(other) => Err(Error::Garbage(format!("the result is of the unknown type {other:?}"))),
    }
}

/// What a result says of how long it may be kept. A time that can't be read is none.
fn freshness(ttl_ms: &RawValue, scope: Option<&RawValue>) -> Freshness {
    let ttl = serde_json::from_str::<u64>(ttl_ms.get()).unwrap_or(0);
    Freshness {
        fresh_for: Some(Duration::from_millis(ttl)),
        public: scope.is_some_and(|scope| scope.get() == r#""public""#),
        ..Freshness::default()
    }
}
