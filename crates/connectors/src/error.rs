//! What can go wrong in a connector, and what each is told as. `TL41xx` are OpenAPI services, `TL42xx` commands.

use std::time::Duration;

use trunkline_model::{EffectState, Failure, Fault, Retry};

use crate::http_client::HttpError;

/// What can go wrong in a connector.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A document can't be read or fetched.
    #[error("{location} can't be read: {cause}")]
    DocumentUnreadable {
        /// Its path or URL.
        location: String,
        /// Why.
        cause: String,
    },
    /// What was read is not an OpenAPI document.
    #[error("{location} is not an OpenAPI document: {cause}")]
    NotOpenApi {
        /// Its path or URL.
        location: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A document with all it refers to is over a limit.
    #[error("{location} is too large: {cause}")]
    DocumentTooLarge {
        /// Its path or URL.
        location: String,
        /// Which limit.
        cause: String,
    },
    /// Nothing says where the service is.
    #[error("the document names no absolute server and `base_url` is not set")]
    NoServer,
    /// The configuration of an OpenAPI service can't be used.
    #[error("{0}")]
    OpenApiConfig(String),
    /// An argument can't be put into a request.
    #[error("the argument `{argument}` can't be sent: {cause}")]
    Argument {
        /// Its name.
        argument: String,
        /// Why, with what is expected.
        cause: String,
    },
    /// No access token could be had.
    #[error("no access token for the security scheme `{scheme}`: {cause}")]
    Token {
        /// The security scheme.
        scheme: String,
        /// What the token endpoint said.
        cause: String,
    },
    /// There was no answer over HTTP.
    #[error("{method} {url}: {cause}")]
    Http {
        /// The request's method.
        method: String,
        /// Where it went, without its query.
        url: String,
        /// What happened.
        cause: HttpError,
        /// Whether repeating the request could have an effect.
        safe: bool,
    },
    /// The service answered 5xx.
    #[error("{url} answered {status}{said}")]
    ServiceStatus {
        /// Where the request went, without its query.
        url: String,
        /// The status.
        status: u16,
        /// What the service said, after ": "; empty where it said nothing.
        said: String,
        /// Its `Retry-After`.
        retry_after: Option<Duration>,
        /// Whether repeating the request could have an effect.
        safe: bool,
    },
    /// The service answered 429.
    #[error("{url} answered 429 Too Many Requests{said}")]
    RateLimited {
        /// Where the request went, without its query.
        url: String,
        /// What the service said, after ": "; empty where it said nothing.
        said: String,
        /// Its `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The service has tools only.
    #[error("the service has tools only, {0} is not among what it offers")]
    ToolsOnly(&'static str),
    /// The configuration of a command can't be used.
    #[error("the command `{tool}` can't be used: {cause}")]
    ProcessConfig {
        /// The tool.
        tool: String,
        /// What is wrong.
        cause: String,
    },
    /// An argument can't be given to a command.
    #[error("the argument `{argument}` can't be given to the command: {cause}")]
    ProcessArgument {
        /// Its name.
        argument: String,
        /// Why, with what is expected.
        cause: String,
    },
    /// A command can't be started.
    #[error("`{program}` can't be started: {cause}")]
    ProcessStart {
        /// The program.
        program: String,
        /// What the system said.
        cause: String,
    },
    /// A command ran out of time and was killed.
    #[error("`{program}` was killed after {}{said}", seconds(*.limit))]
    ProcessTimedOut {
        /// The program.
        program: String,
        /// The limit that ended it.
        limit: Duration,
        /// The end of what it wrote to standard error, after ": ".
        said: String,
    },
    /// A command was ended by a signal.
    #[error("`{program}` was ended by signal {signal}{said}")]
    ProcessSignal {
        /// The program.
        program: String,
        /// The signal's number.
        signal: i32,
        /// The end of what it wrote to standard error, after ": ".
        said: String,
    },
    /// What a command wrote is not the JSON that it should be.
    #[error("`{program}` did not write {expected}: {cause}")]
    ProcessOutput {
        /// The program.
        program: String,
        /// What was expected.
        expected: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// Reading from or writing to a command failed.
    #[error("`{program}` could not be read or written to: {cause}")]
    ProcessPipe {
        /// The program.
        program: String,
        /// What the system said.
        cause: String,
    },
}

fn seconds(limit: Duration) -> String {
    format!("{:.1} s", limit.as_secs_f64())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::DocumentUnreadable { .. }
            | Error::NotOpenApi { .. }
            | Error::DocumentTooLarge { .. }
            | Error::NoServer
            | Error::OpenApiConfig(_) => document(&error, detail),
            Error::Argument { .. } => Self::caller(
                "TL4110",
                "Argument can't be sent",
                detail,
                "Correct the argument; the tool's input schema says what it takes.",
            )
            .status(422),
            Error::Token { .. } => Self::service(
                "TL4111",
                "No access token",
                detail,
                EffectState::None,
                "Check `credentials` of the service: client_id, client_secret, scopes, token_url.",
            ),
            Error::Http { cause, safe, .. } => http(&cause, detail, safe),
            Error::ServiceStatus { status, retry_after, safe, .. } => Self::service(
                "TL4124",
                "The service failed",
                detail,
                if safe { EffectState::None } else { EffectState::Unknown },
                "Try again later. If it lasts, the service's operator has to look.",
            )
            .retry(if status == 501 {
                Retry::No
            } else {
                retry_after.map_or(Retry::Soon, Retry::After)
            }),
            Error::RateLimited { retry_after, .. } => Self::service(
                "TL4125",
                "The service limits its requests",
                detail,
                EffectState::None,
                "Wait, then send the same request.",
            )
            .status(429)
            .retry(retry_after.map_or(Retry::Soon, Retry::After)),
            Error::ToolsOnly(_) => {
                Self::caller("TL4130", "Not offered", detail, "Call one of the service's tools.").status(404)
            }
            other => process(&other, detail),
        }
    }
}

fn document(error: &Error, detail: String) -> Failure {
    let (code, title, next) = match error {
        Error::DocumentUnreadable { .. } => (
            "TL4100",
            "OpenAPI document can't be read",
            "Check `document` of the service and that it is there.",
        ),
        Error::NotOpenApi { .. } => (
            "TL4101",
            "Not an OpenAPI document",
            "Point `document` to an OpenAPI 3.x or Swagger 2.0 document in JSON or YAML.",
        ),
        Error::DocumentTooLarge { .. } => (
            "TL4102",
            "OpenAPI document too large",
            "Raise `max_document_bytes`, or point `document` to a smaller document.",
        ),
        Error::NoServer => ("TL4103", "No server", "Set `base_url` of the service."),
        _ => ("TL4104", "OpenAPI service misconfigured", "Correct the named setting of the service."),
    };
    Failure::caller(code, title, detail, next).fault(Fault::Operator).status(502)
}

fn http(cause: &HttpError, detail: String, safe: bool) -> Failure {
    let effect = if safe { EffectState::None } else { EffectState::Unknown };
    match cause {
        HttpError::Connect(_) => Failure::service(
            "TL4120",
            "The service can't be reached",
            detail,
            EffectState::None,
            "Try again later; check that the service runs and that its address is right.",
        )
        .status(503),
        HttpError::TimedOut => Failure::service(
            "TL4121",
            "The service did not answer in time",
            detail,
            effect,
            "Allow more time, or ask for less. Before repeating a change, look whether it was made.",
        )
        .status(504),
        HttpError::Broken(_) => Failure::service(
            "TL4122",
            "The connection broke",
            detail,
            effect,
            "Before repeating a change, look whether it was made.",
        ),
        HttpError::TooLarge { .. } => Failure::service(
            "TL4123",
            "The answer is too large",
            detail,
            effect,
            "Ask for less (a page, a filter), or raise `max_response_bytes` of the service.",
        )
        .retry(Retry::No),
    }
}

fn process(error: &Error, detail: String) -> Failure {
    let unknown = EffectState::Unknown;
    match error {
        Error::ProcessArgument { .. } => Failure::caller(
            "TL4201",
            "Argument can't be given to a command",
            detail,
            "Correct the argument; the tool's input schema says what it takes.",
        )
        .status(422),
        Error::ProcessStart { .. } => Failure::service(
            "TL4202",
            "Command can't be started",
            detail,
            EffectState::None,
            "Check `argv` and `cwd` of the tool, and that the program is installed.",
        )
        .fault(Fault::Operator)
        .retry(Retry::No),
        Error::ProcessTimedOut { .. } => Failure::service(
            "TL4203",
            "Command ran out of time",
            detail,
            unknown,
            "Ask for less, or raise `timeout_ms` of the tool. It may have done a part of its work.",
        )
        .status(504),
        Error::ProcessOutput { .. } => Failure::service(
            "TL4204",
            "Command wrote no valid JSON",
            detail,
            unknown,
            "Set `format: text` of the tool, or make the command write JSON. It did run.",
        )
        .retry(Retry::No),
        Error::ProcessSignal { .. } => Failure::service(
            "TL4205",
            "Command was killed",
            detail,
            unknown,
            "Something outside ended it, or it crashed. It may have done a part of its work.",
        ),
        Error::ProcessPipe { .. } => Failure::service(
            "TL4206",
            "Command can't be talked to",
            detail,
            unknown,
            "Try again; if it lasts, run the command by hand.",
        ),
        _ => Failure::caller(
            "TL4200",
            "Command misconfigured",
            detail,
            "Correct the named setting of the tool.",
        )
        .fault(Fault::Operator)
        .status(502),
    }
}
