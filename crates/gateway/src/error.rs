//! What can go wrong in the doors and the pipeline.

use std::time::Duration;

use trunkline_model::{CallId, EffectState, Failure, Json, Quota, Retry, Violation};

/// What can go wrong in the doors and the pipeline. Each has a page in `docs/errors/`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body is not a JSON-RPC message.
    #[error("the body is not a JSON-RPC 2.0 message: {0}")]
    Malformed(String),
    /// The body is larger than allowed.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A service has no instance that has the tool.
    #[error("no instance of {service} can take the call")]
    NoInstance {
        /// The service.
        service: String,
    },
    /// The instance that has begun something is no longer there.
    #[error("the instance of the service {service} that has begun this is no longer there")]
    InstanceGone {
        /// The service.
        service: String,
    },
    /// An instance can't be registered, or is not.
    #[error("the instance is not registered: {0}")]
    NotRegistered(String),
    /// A service may not register itself so.
    #[error("the service is not registered: {0}")]
    ServiceRefused(String),
    /// The caller has registered no such service.
    #[error("you have registered no service {0:?}")]
    NoRegistration(String),
    /// No tool has this name.
    #[error("there is no tool named {name:?}")]
    UnknownTool {
        /// The name asked for.
        name: String,
        /// Names like it.
        near: Vec<String>,
    },
    /// No prompt has this name.
    #[error("there is no prompt named {name:?}")]
    UnknownPrompt {
        /// The name asked for.
        name: String,
        /// Names like it.
        near: Vec<String>,
    },
    /// No service has a resource with this URI.
    #[error("there is no resource {uri:?}")]
    UnknownResource {
        /// The URI asked for.
        uri: String,
    },
    /// The arguments do not fit the tool's schema.
    #[error("the arguments of {name:?} do not fit its schema: {}", listed(violations))]
    Arguments {
        /// The tool.
        name: String,
        /// Every violation.
        violations: Vec<Violation>,
    },
    /// The service refused a call of a tool that is no longer what it was.
    #[error("{name} is not what it was: {change}. Its service refused the call: {said}")]
    ToolChanged {
        /// The tool.
        name: String,
        /// What the service said.
        said: String,
        /// What has changed, in words.
        change: String,
        /// The same for programs, with the schema as it is now.
        about: Box<serde_json::Value>,
    },
    /// The call took longer than it may.
    #[error("{target} did not answer within {} ms", within.as_millis())]
    Deadline {
        /// The service and tool.
        target: String,
        /// How long it had.
        within: Duration,
        /// The tool changes nothing.
        read_only: bool,
    },
    /// A caller makes more calls than it may, or dearer ones.
    #[error("{}", over(quota, *after))]
    OverLimit {
        /// The limit.
        quota: Quota,
        /// When there is room; none where there never is.
        after: Option<Duration>,
    },
    /// A caller goes round in circles.
    #[error(
        "{target} was called {times} times on end with the same arguments, with no other call between, and its answer was \
         the same each time"
    )]
    Loop {
        /// The tool.
        target: String,
        /// How often.
        times: u32,
        /// The pause after which it may be called so again.
        pause: Duration,
    },
    /// A browser page or a foreign host name reached a loopback listener.
    #[error("{what} {value:?} is not allowed here")]
    Origin {
        /// `Host` or `Origin`.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// What is asked for is not for the holders of API keys.
    #[error("that is for operators alone")]
    OperatorsOnly,
    /// The console only shows.
    #[error("the console is read-only")]
    ReadOnly,
    /// Too many sign-ins were refused.
    #[error("too many sign-ins from this address were refused")]
    SignIns {
        /// After how long another may be tried.
        after: std::time::Duration,
    },
    /// A form of the console was not made here, for this, or recently enough.
    #[error("the form can't be accepted: {0}")]
    Form(&'static str),
    /// No session has this id.
    #[error("there is no session with this id")]
    UnknownSession,
    /// A `requestState` was not made here, for this request, or recently enough.
    #[error("the requestState can't be used: {0}")]
    State(&'static str),
    /// An idempotency key came with another request before.
    #[error("the Idempotency-Key was used for another request")]
    KeyReused,
    /// The request with this idempotency key has not ended.
    #[error("the request with this Idempotency-Key has not ended yet")]
    KeyInFlight,
    /// The process that had begun the request with this idempotency key has ended without an answer.
    #[error("the gateway ended while the request with this Idempotency-Key ran{}", of_call(call.as_ref()))]
    OutcomeUnknown {
        /// The call, where it was begun by this key and not gone on with.
        call: Option<CallId>,
    },
    /// The record can't be written.
    #[error("the event log can't be written: {0}")]
    Log(String),
    /// A header and the body disagree, or a required header is missing.
    #[error("{0}")]
    HeaderMismatch(String),
    /// The protocol revision is not known.
    #[error("protocol revision {requested:?} is not supported")]
    ProtocolVersion {
        /// The revision asked for.
        requested: String,
    },
    /// The method is not known.
    #[error("there is no method {0:?}")]
    UnknownMethod(String),
    /// The params of a method are not usable.
    #[error("{0}")]
    Params(String),
    /// The body's or the answer's media type is not one that is spoken here.
    #[error("{0}")]
    MediaType(&'static str),
    /// Nothing is at this path.
    #[error("there is nothing at {0}")]
    NotFound(String),
    /// The path does not take this HTTP method.
    #[error("{path} does not take {method}")]
    HttpMethod {
        /// The method used.
        method: String,
        /// The path.
        path: String,
    },
    /// The client asks of tasks and does not declare the extension.
    #[error("the client does not declare the extension io.modelcontextprotocol/tasks in this request")]
    TasksNotDeclared,
    /// There is no such task, or it is someone else's.
    #[error("there is no task {0:?}")]
    UnknownTask(String),
    /// A task can't be cancelled that has ended.
    #[error("the task {id} is {status} already")]
    TaskEnded {
        /// The task.
        id: String,
        /// How it ended.
        status: &'static str,
    },
    /// A tool was to be called as a task that can't be one.
    #[error("the tool {0:?} can't be called as a task")]
    NeverATask(String),
    /// A call that was to be a task has ended without one.
    #[error("the call has ended without a task: {0}")]
    NoTask(String),
    /// The caller cancelled the call.
    #[error("the caller cancelled the call")]
    Cancelled,
    /// There are too many unanswered questions or open streams.
    #[error("too many {0} are open")]
    TooMany(&'static str),
}

fn over(quota: &Quota, after: Option<Duration>) -> String {
    let (policy, what) = (&quota.policy, crate::limits::in_words(quota));
    match after {
        Some(after) => {
            format!("more than {what} (limit {policy:?}): there is room for this call in {after:.1?}")
        }
        None => format!("the call alone is more than may be used at once of {what} (limit {policy:?})"),
    }
}

fn listed(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn of_call(call: Option<&CallId>) -> String {
    call.map(|call| format!(" (call {call})")).unwrap_or_default()
}

fn near_names(near: &[String], list: &str) -> String {
    if near.is_empty() { format!("Look at {list}.") } else { format!("Did you mean {}?", near.join(", ")) }
}

impl Error {
    /// The failure of a call that was made, but whose outcome is not on disk: it is not answered as done.
    pub(crate) fn after_call(self, read_only: bool) -> Failure {
        Failure { effect: if read_only { EffectState::None } else { EffectState::Unknown }, ..self.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::UnknownTool { near, .. } => {
                Self::caller("TL1003", "Unknown tool", detail, near_names(&near, "tools/list"))
                    .status(404)
                    .data(Json::from(serde_json::json!({ "near": near })))
            }
            Error::UnknownPrompt { near, .. } => {
                Self::caller("TL1004", "Unknown prompt", detail, near_names(&near, "prompts/list"))
                    .status(404)
                    .data(Json::from(serde_json::json!({ "near": near })))
            }
            Error::UnknownResource { uri } => Self::caller(
                "TL1005",
                "Unknown resource",
                detail,
                "Look at resources/list and resources/templates/list.",
            )
            .status(404)
            .data(Json::from(serde_json::json!({ "uri": uri }))),
            Error::Arguments { violations, .. } => Self::caller(
                "TL1006",
                "Invalid arguments",
                detail,
                "Correct the arguments at the paths named and call again.",
            )
            .status(422)
            .data(Json::from(serde_json::json!({ "violations": violations }))),
            Error::ToolChanged { about, .. } => tool_changed(detail, &about),
            Error::Deadline { read_only, .. } => {
                let effect = if read_only { EffectState::None } else { EffectState::Unknown };
                let next =
                    if read_only { "Call again." } else { "Find out what happened before you call again." };
                Self::service("TL1007", "Deadline exceeded", detail, effect, next).status(504)
            }
            Error::NoInstance { .. } => no_instance(detail),
            Error::InstanceGone { .. } => instance_gone(detail),
            Error::NotRegistered(_) => not_registered(detail),
            error @ (Error::OverLimit { .. } | Error::Loop { .. }) => limited(error, detail),
            Error::OutcomeUnknown { call } => Self {
                effect: EffectState::Unknown,
                ..Self::gateway(
                    "TL1026",
                    "Outcome unknown",
                    detail,
                    "Find out whether the call took effect (`trunkline events`), then use a new key.",
                )
                .status(409)
                .retry(Retry::No)
                .data(Json::from(serde_json::json!({ "call_id": call })))
            },
            Error::Log(_) => Self::gateway(
                "TL1013",
                "Record unavailable",
                detail,
                "Look at the disk under the data directory, then call again.",
            )
            .status(503),
            Error::Cancelled => Self::caller("TL1021", "Cancelled", detail, "Nothing to do.").status(499),
            Error::TooMany(_) => too_many(detail),
            other @ (Error::TasksNotDeclared
            | Error::UnknownTask(_)
            | Error::TaskEnded { .. }
            | Error::NeverATask(_)
            | Error::NoTask(_)) => task_failure(&other, detail),
            other => request_failure(other, detail),
        }
    }
}

/// The failures of tasks.
fn task_failure(error: &Error, detail: String) -> Failure {
    match error {
        Error::TasksNotDeclared => Failure::caller(
            "TL7040",
            "Tasks not declared",
            detail,
            "Declare the extension in io.modelcontextprotocol/clientCapabilities of every request.",
        )
        .status(400)
        .data(Json::from(serde_json::json!({
            "requiredCapabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } }
        }))),
        Error::UnknownTask(_) => Failure::caller(
            "TL7041",
            "Unknown task",
            detail,
            "Use the taskId that the call was answered with, as the same principal.",
        )
        .status(404),
        Error::TaskEnded { .. } => {
            Failure::caller("TL7042", "Task has ended", detail, "Get its result with tasks/result.")
                .status(409)
        }
        Error::NeverATask(_) => {
            Failure::caller("TL7043", "Not a task", detail, "Call the tool without `task`.").status(422)
        }
        _ => Failure::caller(
            "TL7044",
            "No task was made",
            detail,
            "Do as the message says and call again, without `task` for the whole answer.",
        )
        .status(422),
    }
}

/// The failures that lie in the request's form.
fn request_failure(error: Error, detail: String) -> Failure {
    if let Error::SignIns { after } = error {
        let next = "Wait, and sign in with a key that is known.";
        let failure = Failure::caller("TL9109", "Too many sign-ins", detail, next);
        return failure.status(429).retry(Retry::After(after));
    }
    let (code, title, status, next) = match error {
        Error::TooLarge { .. } => {
            ("TL1002", "Request too large", 413, "Send less, or raise doors.max_request_bytes.")
        }
        Error::Origin { .. } => (
            "TL1008",
            "Origin not allowed",
            403,
            "Call from this machine, or add it to doors.allowed_origins or doors.allowed_hosts.",
        ),
        Error::OperatorsOnly => (
            "TL9107",
            "Operators only",
            403,
            "Ask on the gateway's own machine: `trunkline config show --origin`.",
        ),
        Error::ReadOnly => (
            "TL9108",
            "Read-only",
            403,
            "Use the command line or the endpoints, or set console.read_only to false.",
        ),
        Error::Form(_) => {
            ("TL9130", "Form refused", 403, "Open the page again and send its form from there.")
        }
        Error::UnknownSession => ("TL1009", "Unknown session", 404, "Initialize again."),
        Error::State(_) => ("TL1010", "Invalid requestState", 400, "Send the request again without it."),
        Error::KeyReused => ("TL1011", "Idempotency key reused", 422, "Use a new key for a new request."),
        Error::KeyInFlight => ("TL1012", "Request in flight", 409, "Wait for the first request's answer."),
        Error::HeaderMismatch(_) => (
            "TL1014",
            "Headers and body disagree",
            400,
            "Send the headers that the protocol revision asks for.",
        ),
        Error::ProtocolVersion { .. } => {
            ("TL1015", "Unsupported protocol revision", 400, "Use a revision that server/discover lists.")
        }
        Error::UnknownMethod(_) => ("TL1016", "Unknown method", 404, "Look at server/discover."),
        Error::Params(_) => {
            ("TL1017", "Invalid params", 400, "Correct the params and send the request again.")
        }
        Error::MediaType(_) => ("TL1018", "Unsupported media type", 415, "Send and accept application/json."),
        Error::ServiceRefused(_) => (
            "TL8040",
            "Service not registered",
            403,
            "Open it with registry.services: who may register, under which names, and at which addresses.",
        ),
        Error::NoRegistration(_) => (
            "TL8041",
            "No such registration",
            404,
            "Register it again: a lease that is not renewed in time lapses.",
        ),
        Error::NotFound(_) => ("TL1019", "Not found", 404, "Look at /openapi.json."),
        Error::HttpMethod { .. } => ("TL1020", "Method not allowed", 405, "Look at /openapi.json."),
        _ => ("TL1001", "Malformed message", 400, "Send one JSON-RPC 2.0 message as JSON."),
    };
    Failure::caller(code, title, detail, next).status(status)
}

fn not_registered(detail: String) -> Failure {
    let next =
        "Open the service with services.NAME.discover.lease: who may register, and at which addresses.";
    Failure::caller("TL1029", "Not registered", detail, next).status(403)
}

fn too_many(detail: String) -> Failure {
    let next = "Answer or close some, or try later.";
    Failure::gateway("TL1022", "Too many open", detail, next).status(503).retry(Retry::Soon)
}

fn tool_changed(detail: String, about: &serde_json::Value) -> Failure {
    let next = if about["gone"] == true {
        "Look at the list of tools, and use another one."
    } else {
        "Call again with arguments that fit the tool's schema as it is now (data.recovery.changed.input_schema)."
    };
    let data = Json::from(serde_json::json!({ "recovery": { "changed": about } }));
    Failure::caller("TL8043", "The tool has changed", detail, next).status(409).data(data)
}

fn no_instance(detail: String) -> Failure {
    let next = "Nothing was done. Call again later; `trunkline services` says how its instances are.";
    Failure::service("TL1028", "No instance", detail, EffectState::None, next).status(503)
}

fn instance_gone(detail: String) -> Failure {
    let next = "Find out what has happened, then begin anew.";
    Failure::service("TL8011", "The instance is gone", detail, EffectState::Unknown, next).retry(Retry::No)
}

/// The failures of callers that use too much.
fn limited(error: Error, detail: String) -> Failure {
    match error {
        Error::OverLimit { quota, after } => over_limit(detail, &quota, after),
        Error::Loop { pause, .. } => looping(detail, pause),
        other => request_failure(other, detail),
    }
}

/// A caller has to wait, or to ask for less.
fn over_limit(detail: String, quota: &Quota, after: Option<Duration>) -> Failure {
    let data = Json::from(serde_json::json!({
        // As in the problem type quota-exceeded of draft-ietf-httpapi-ratelimit-headers.
        "violated-policies": [&*quota.policy],
        "quota": {
            "policy": &*quota.policy, "unit": quota.unit, "limit": quota.limit, "left": quota.left,
            "window_ms": millis(quota.window), "reset_ms": after.map(millis),
        },
    }));
    let failure = match after {
        Some(after) => {
            let next = "Nothing was done. Call again after that time, or do more with one call.";
            Failure::caller("TL1027", "Too many calls", detail, next).retry(Retry::After(after))
        }
        None => {
            let next = "Nothing was done. Ask for less with each call: fewer items, a shorter text.";
            Failure::caller("TL8032", "Costs more than may be used at once", detail, next)
        }
    };
    failure.status(429).data(data)
}

/// A caller goes round in circles.
fn looping(detail: String, pause: Duration) -> Failure {
    let next = "Do not repeat it: nothing was done, and nothing has changed. Use the answer that you have, change the \
                arguments, or call another tool. If you wait for something to change, wait that long first.";
    Failure::caller("TL8030", "Loop of identical calls", detail, next).status(429).retry(Retry::After(pause))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
