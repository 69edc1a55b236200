//! What can go wrong between the gateway and an MCP server, and how it is told.

use std::time::Duration;

use trunkline_model::{EffectState, Failure, Fault, Json, Retry};

/// What can go wrong between the gateway and an MCP server.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection now, and none came about while the call waited.
    #[error("{service} can't be reached: {cause}")]
    Unreachable {
        /// The service.
        service: String,
        /// What the last attempt came to.
        cause: String,
    },
    /// The request could not be sent: nothing has happened.
    #[error("the request could not be sent: {0}")]
    NotSent(String),
    /// The connection or the process ended before the answer came.
    #[error("the connection ended before the answer: {0}")]
    Lost(String),
    /// No answer in time.
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The answer is larger than configured.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer is not what the protocol allows.
    #[error("the answer is not valid MCP: {0}")]
    Garbage(String),
    /// The server answered with a JSON-RPC error.
    #[error("the server answered with error {}: {}", .0.code, .0.message)]
    Rpc(RpcError),
    /// The server answered with an HTTP error and no JSON-RPC error.
    #[error("the server answered with HTTP status {status}: {body}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The start of the body.
        body: String,
    },
    /// The server wants authorization that is not there.
    #[error("the server wants authorization: {0}")]
    Unauthorized(String),
    /// The server did not declare what is asked of it.
    #[error("the server does not offer {0}")]
    NotOffered(&'static str),
    /// The two sides found no common protocol.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// The server's program can't be started.
    #[error("{program:?} can't be started: {cause}")]
    Spawn {
        /// The program.
        program: String,
        /// The operating system's reason.
        cause: String,
    },
    /// The configuration can't be used.
    #[error("the configuration can't be used: {0}")]
    Config(String),
    /// Too many conversations have a session of their own.
    #[error("{0} conversations have a session of their own already")]
    TooManySessions(usize),
    /// A task that the server made of the call was cancelled there.
    #[error("the server cancelled the task {0}")]
    TaskCancelled(String),
    /// The session is no longer known to the server: nothing has happened.
    #[error("the server does not know the session any more")]
    SessionExpired,
    /// The server wants a new or wider token; the text is its `WWW-Authenticate` header.
    #[error("the server refused the token with status {status}: {challenge}")]
    Challenge {
        /// 401 or 403.
        status: u16,
        /// The header, empty where there was none.
        challenge: String,
    },
}

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    /// The code.
    pub code: i64,
    /// The message, shortened.
    pub message: String,
    /// The whole object as it came.
    pub raw: Json,
}

impl Error {
    /// Whether the connection itself is at fault, so that a new one should be made.
    pub(super) fn breaks_connection(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Lost(_) | Self::SessionExpired)
    }

    /// The failure as it is shown for a call to `service`.
    #[must_use]
    pub fn into_failure(self, service: &str) -> Failure {
        use EffectState::{None as Nothing, Unknown};
        let detail = format!("{service}: {self}");
        match self {
            Self::Unreachable { .. } => Failure::service(
                "TL4001",
                "The MCP server can't be reached",
                self.to_string(),
                Nothing,
                "Trunkline keeps trying to reconnect. See `trunkline doctor` for the cause.",
            ),
            Self::NotSent(_) => Failure::service(
                "TL4001",
                "The MCP server can't be reached",
                detail,
                Nothing,
                "Trunkline keeps trying to reconnect. See `trunkline doctor` for the cause.",
            ),
            Self::Lost(_) => Failure::service(
                "TL4002",
                "The connection to the MCP server was lost",
                detail,
                Unknown,
                "Look whether the call took effect before repeating it.",
            ),
            Self::Timeout(_) => Failure::service(
                "TL4003",
                "The MCP server did not answer in time",
                detail,
                Unknown,
                "Look whether the call took effect; allow more time (`timeout_ms`) where the tool is slow.",
            ),
            Self::TooLarge(_) => Failure::service(
                "TL4004",
                "The MCP server's answer is too large",
                detail,
                Unknown,
                "Ask for less, or raise `max_response_bytes`.",
            )
            .retry(Retry::No),
            Self::Garbage(_) => Failure::service(
                "TL4005",
                "The MCP server's answer can't be read",
                detail,
                Unknown,
                "The server breaks the protocol: report it to its authors.",
            )
            .retry(Retry::No),
            Self::Rpc(error) => rpc_failure(detail, error),
            Self::Status { status, .. } => Failure::service(
                "TL4007",
                "The MCP server answered with an HTTP error",
                detail,
                if status < 500 { Nothing } else { Unknown },
                "Check the configured `url`, and the server's own log.",
            )
            .retry(if status < 500 { Retry::No } else { Retry::Soon }),
            Self::Unauthorized(_) | Self::Challenge { .. } => Failure::service(
                "TL4008",
                "The MCP server wants authorization",
                detail,
                Nothing,
                "Configure `bearer` or `oauth`, or follow the link that `trunkline doctor` prints.",
            )
            .fault(Fault::Operator)
            .retry(Retry::No),
            other => other.into_configuration_failure(detail),
        }
    }

    fn into_configuration_failure(self, detail: String) -> Failure {
        use EffectState::None as Nothing;
        match self {
            Self::NotOffered(_) => Failure::caller(
                "TL4009",
                "The MCP server does not offer this",
                detail,
                "Ask only for what the service lists.",
            ),
            Self::Handshake(_) => Failure::service(
                "TL4010",
                "No common protocol with the MCP server",
                detail,
                Nothing,
                "Check that the configured endpoint or command is an MCP server.",
            ),
            Self::Spawn { .. } => Failure::service(
                "TL4011",
                "The MCP server's program can't be started",
                detail,
                Nothing,
                "Check `command`, `cwd` and that the program is installed.",
            )
            .fault(Fault::Operator),
            Self::Config(_) => Failure::service(
                "TL4012",
                "The configuration of an MCP server can't be used",
                detail,
                Nothing,
                "Correct the configuration; `trunkline config check` names the place.",
            )
            .fault(Fault::Operator)
            .retry(Retry::No),
            Self::TooManySessions(_) => Failure::service(
                "TL4013",
                "Too many conversations with an MCP server",
                detail,
                Nothing,
                "End conversations that are not needed, or use `session: shared`.",
            )
            .fault(Fault::Gateway),
            Self::TaskCancelled(_) => Failure::service(
                "TL4014",
                "The MCP server cancelled the task",
                detail,
                EffectState::Unknown,
                "Look whether the call took effect before repeating it.",
            ),
            _ => Failure::service(
                "TL4015",
                "The session with the MCP server has expired",
                detail,
                Nothing,
                "Repeat the call: Trunkline makes a new session.",
            ),
        }
    }
}

/// -32601 and -32602 say that the server did nothing; of other errors that is not known.
fn rpc_failure(detail: String, error: RpcError) -> Failure {
    let refused = matches!(error.code, -32_602..=-32_600 | -32_002 | -32_022..=-32_020 | -32_042);
    let effect = if refused { EffectState::None } else { EffectState::Unknown };
    let failure = Failure::service(
        "TL4006",
        "The MCP server answered with an error",
        detail,
        effect,
        "Correct the request as the server's message says.",
    );
    let failure = if refused { failure.fault(Fault::Caller).retry(Retry::No) } else { failure };
    failure.rpc(error.raw)
}
