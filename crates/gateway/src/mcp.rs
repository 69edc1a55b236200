//! The MCP door, over Streamable HTTP and standard input and output.
//!
//! Two eras meet here. *Modern* is revision 2026-07-28: no session, every request says all it needs, questions end
//! the request. *Legacy* is everything before: `initialize`, sessions, questions sent to the client while its
//! request waits. Both are adapted to an [`Exchange`](crate::exchange::Exchange), so either may use a service of
//! either era.

mod legacy;
mod listen;
mod lists;
mod message;
mod modern;
mod param_headers;
mod reply;
mod session;
pub mod stdio;
mod streamable;
mod tasks;

use trunkline_model::Json;

pub(crate) use legacy::trace_of;
pub(crate) use session::Sessions;
pub(crate) use streamable::serve;

/// The revision without sessions.
pub(crate) const MODERN: &str = "2026-07-28";

/// The revisions with sessions, newest first.
pub(crate) const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The severities of `notifications/message`, most severe first (RFC 5424).
const SEVERITIES: [&str; 8] =
    ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];

/// The severity of a log level, 0 for the most severe.
pub(crate) fn severity(level: &str) -> Option<u8> {
    SEVERITIES.iter().position(|name| *name == level).and_then(|index| u8::try_from(index).ok())
}

/// The severity of the params of a `notifications/message`.
pub(crate) fn severity_of(params: &Json) -> Option<u8> {
    #[derive(serde::Deserialize)]
    struct Leveled {
        level: String,
    }
    severity(&params.to::<Leveled>().ok()?.level)
}
