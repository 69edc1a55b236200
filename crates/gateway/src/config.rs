//! What is configured of the doors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits and habits of the doors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The largest request body, in bytes.
    pub max_request_bytes: usize,
    /// How long a call may take in all where the caller sets no nearer deadline, in milliseconds.
    pub call_timeout_ms: u64,
    /// How long a call of a flow by a client that can follow tasks may take before it becomes one, in milliseconds.
    pub task_after_ms: u64,
    /// How long a question to the caller waits for its answer, in milliseconds.
    pub question_timeout_ms: u64,
    /// How long an MCP session may be idle, in milliseconds.
    pub session_idle_ms: u64,
    /// The most MCP sessions held at once; the longest idle one goes first.
    pub max_sessions: usize,
    /// Values of `Origin` that a browser may call from, beside this machine's own.
    pub allowed_origins: Vec<String>,
    /// Values of `Host` that are answered on a loopback listener, beside this machine's own names.
    pub allowed_hosts: Vec<String>,
    /// How long clients may keep lists of tools, prompts and resources, in milliseconds (`ttlMs`).
    pub list_ttl_ms: u64,
    /// Which tools clients are told of at once.
    pub listing: crate::Listing,
    /// How long the answer to an `Idempotency-Key` is kept, in milliseconds.
    pub idempotency_ttl_ms: u64,
    /// How long answers to agents may be.
    pub answers: Answers,
    /// What the record keeps of calls.
    pub record: Record,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_request_bytes: 8 << 20,
            call_timeout_ms: 120_000,
            task_after_ms: 500,
            question_timeout_ms: 600_000,
            session_idle_ms: 3_600_000,
            max_sessions: 10_000,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            list_ttl_ms: 60_000,
            listing: crate::Listing::default(),
            idempotency_ttl_ms: 86_400_000,
            answers: Answers::default(),
            record: Record::default(),
        }
    }
}

/// How long answers to agents may be, which come by MCP. What is longer is given in fewer tokens, with a handle to the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Answers {
    /// The most tokens of an answer, estimated as a quarter of its bytes; no limit where `null`.
    pub most_tokens: Option<usize>,
    /// The same by the name of a principal.
    #[serde(skip_serializing_if = "indexmap::IndexMap::is_empty")]
    pub callers: indexmap::IndexMap<String, usize>,
}

impl Default for Answers {
    fn default() -> Self {
        Self { most_tokens: Some(20_000), callers: indexmap::IndexMap::new() }
    }
}

/// What the record keeps of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    /// Keeps the arguments of calls.
    pub arguments: bool,
    /// Keeps the results of calls.
    pub results: bool,
    /// Keeps what conversations with `ask` are about (values that were mentioned and returned), so that they go on after a restart.
    pub conversations: bool,
    /// Waits for the disk before a read-only call is answered, too.
    pub durable_reads: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self { arguments: true, results: false, conversations: true, durable_reads: false }
    }
}
