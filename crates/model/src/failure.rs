//! What every error of every part is turned into before anyone outside sees it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Json;

/// Whose fault a failure is: who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The caller: the request is wrong or not allowed.
    Caller,
    /// The service behind the tool.
    Service,
    /// The configuration.
    Operator,
    /// Trunkline.
    Gateway,
}

/// Whether the same request may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// The same request will fail again.
    No,
    /// It may succeed at once or soon.
    Soon,
    /// It may succeed after this time.
    After(Duration),
}

/// What is known of the effect that a failed call had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectState {
    /// The service never got the request, or refused it: nothing has happened.
    None,
    /// The request was sent and the answer was not seen: it may have happened.
    Unknown,
}

/// A failure as it is shown to people and models: what failed, whose fault it is, whether to retry, what to do next.
///
/// A tool's own error (`isError`, HTTP 4xx) is an [`Outcome`](crate::Outcome), not a failure.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// A code such as `TL4003`; `docs/errors/` has a page for each.
    pub code: &'static str,
    /// A short name of the kind of failure, the same for every occurrence.
    pub title: &'static str,
    /// The HTTP status that fits (RFC 9110).
    pub status: u16,
    /// What failed this time.
    pub detail: String,
    /// Who has to change something.
    pub fault: Fault,
    /// Whether the same request may succeed later.
    pub retry: Retry,
    /// What may have happened all the same.
    pub effect: EffectState,
    /// The next step, in words.
    pub next: String,
    /// More for programs: violations, near names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<Json>>,
    /// The service's own JSON-RPC error object, where it sent one: passed on as it came.
    #[serde(skip)]
    pub rpc: Option<Box<Json>>,
}

impl Failure {
    /// A failure that is the caller's fault, won't go away by itself, and had no effect.
    #[must_use]
    pub fn caller(
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            code,
            title,
            status: 400,
            detail: detail.into(),
            fault: Fault::Caller,
            retry: Retry::No,
            effect: EffectState::None,
            next: next.into(),
            data: None,
            rpc: None,
        }
    }

    /// A failure of the service behind the tool.
    #[must_use]
    pub fn service(
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
        effect: EffectState,
        next: impl Into<String>,
    ) -> Self {
        Self {
            fault: Fault::Service,
            retry: Retry::Soon,
            effect,
            status: 502,
            ..Self::caller(code, title, detail, next)
        }
    }

    /// A failure of Trunkline itself.
    #[must_use]
    pub fn gateway(
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            fault: Fault::Gateway,
            retry: Retry::Soon,
            status: 500,
            ..Self::caller(code, title, detail, next)
        }
    }

    /// With another answer to "retry?".
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// With someone else at fault.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// With another HTTP status: 400 is the default of a caller's failure, 502 of a service's, 500 of the gateway's.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// With data for programs.
    #[must_use]
    pub fn data(mut self, data: Json) -> Self {
        self.data = Some(Box::new(data));
        self
    }

    /// With the service's own JSON-RPC error object.
    #[must_use]
    pub fn rpc(mut self, error: Json) -> Self {
        self.rpc = Some(Box::new(error));
        self
    }

    /// One paragraph for a model or a terminal.
    #[must_use]
    pub fn explain(&self) -> String {
        let retry = match self.retry {
            Retry::No => "Retrying the same request will not help.".to_owned(),
            Retry::Soon => "Retrying may help.".to_owned(),
            Retry::After(wait) => format!("Retry after {:.1} s.", wait.as_secs_f64()),
        };
        let effect = match self.effect {
            EffectState::None => "",
            EffectState::Unknown => " It is not known whether the call took effect.",
        };
        format!("{} ({}): {}{effect} {retry} {}", self.title, self.code, self.detail, self.next)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explain())
    }
}

impl std::error::Error for Failure {}
